//! `leveret verify`: whether a data directory holds what it should.

use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Failure, advised};
use crate::peer::{VerifyReport, verify};
use crate::replica::Verified;

/// Check a data directory that no daemon has open
///
/// Reads the whole journal with its chains and signatures, folds it anew, and compares the result
/// with the state that is stored.
#[derive(clap::Args)]
pub(crate) struct Verify {
    /// The data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Make the stored state anew from the journal where it is wrong
    #[arg(long)]
    rebuild: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let report = verify(&self.data, self.rebuild)
            .map_err(|error| advised(&error, "look at the disk, and try again"))?;
        if self.json {
            writeln!(out, "{}", report_json(&report))?;
        } else {
            for repo in &report.repos {
                describe(out, repo)?;
            }
        }
        out.flush()?;
        let problems: u64 = report.repos.iter().map(|repo| repo.problem_count).sum();
        let rebuilt: u64 = report.repos.iter().map(|repo| repo.rebuilt).sum();
        if problems == 0 {
            return Ok(());
        }
        let advice = match (self.rebuild, rebuilt) {
            (false, _) => "`leveret verify --rebuild` makes the state anew from the journal".into(),
            (true, 0) => "the state is what the journal says; what the journal lacks comes back \
                          from the other replicas"
                .into(),
            (true, many) => format!("{many} records were made anew; verify once more"),
        };
        let noun = if problems == 1 { "problem" } else { "problems" };
        let place = self.data.display();
        Err(Failure::error(
            format!("{problems} {noun} in {place}"),
            advice,
        ))
    }
}

fn describe(out: &mut dyn Write, repo: &Verified) -> std::io::Result<()> {
    writeln!(
        out,
        "{}: {} change sets of {} origins, {} applied, {} not sealed yet, digest {}: {}",
        repo.repo.name(),
        repo.change_sets,
        repo.origins,
        repo.applied,
        repo.unsealed,
        repo.digest.map_or("-".into(), |digest| digest.to_string()),
        match repo.problem_count {
            0 => "sound".into(),
            1 => "1 problem".into(),
            many => format!("{many} problems"),
        }
    )?;
    for problem in &repo.problems {
        writeln!(out, "  {problem}")?;
    }
    if repo.problem_count > repo.problems.len() as u64 {
        writeln!(
            out,
            "  and {} more",
            repo.problem_count - repo.problems.len() as u64
        )?;
    }
    Ok(())
}

fn report_json(report: &VerifyReport) -> Value {
    let repos: serde_json::Map<String, Value> = report
        .repos
        .iter()
        .map(|repo| {
            let one = json!({
                "origins": repo.origins,
                "change_sets": repo.change_sets,
                "applied": repo.applied,
                "unsealed": repo.unsealed,
                "digest": repo.digest.map(|digest| digest.to_string()),
                "problems": repo.problems,
                "problem_count": repo.problem_count,
                "rebuilt": repo.rebuilt,
            });
            (repo.repo.name().to_owned(), one)
        })
        .collect();
    json!({
        "sound": report.is_sound(),
        "cluster": report.cluster.to_string(),
        "repositories": repos,
    })
}
