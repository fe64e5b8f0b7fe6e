//! What `run` and `sweep` do about a run that failed, and how programs are told of it.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::finding::Finding;
use crate::plan::Options;
use crate::run::Verdict;
use crate::seeds::SeedLine;
use crate::sweep::Runner;

/// Whether and where something is found out about runs that fail.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Finder {
    /// Look for a smaller run that fails in the same way, keep its seed line, and if merging alone
    /// is at fault a case too; of a sweep, for the first three that fail
    #[arg(long)]
    pub(super) shrink: bool,
    /// Where these are kept: a folder, in which lines are added to seeds.txt
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "found",
        requires = "shrink"
    )]
    found: PathBuf,
}

/// A deliberate fault of the program, in builds that have them.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(crate) struct Sabotage {
    /// A deliberate fault of the program, to see whether it is found
    #[cfg(feature = "faults")]
    #[arg(long, value_name = "NAME", value_parser = crate::sweep::Deliberate::parse)]
    fault: Option<crate::sweep::Deliberate>,
}

impl Sabotage {
    pub(super) fn runner(self) -> Runner {
        #[cfg(feature = "faults")]
        return Runner::with(self.fault);
        #[cfg(not(feature = "faults"))]
        Runner::default()
    }
}

impl Finder {
    /// Looks into a run that failed, keeps what is found, and tells of it.
    pub(super) fn look_into(
        &self,
        options: &Options,
        verdict: &Verdict,
        runner: Runner,
        json: bool,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        // Runs and merges that panic are played over and over: once is enough to be told.
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let finding = Finding::of(options, verdict, runner);
        std::panic::set_hook(told);
        let case = finding.write(&self.found)?;
        if json {
            let mut object = failure_as_json(&finding.line.0, &finding.verdict);
            object["what"] = json!("smaller");
            object["of"] = json!(SeedLine(options.clone()).to_string());
            object["kept_in"] = json!(self.found);
            object["case"] = json!(case);
            return writeln!(out, "{object}");
        }
        writeln!(out, "smaller: {finding}")?;
        if let Some(case) = case {
            writeln!(out, "merging alone is at fault: {}", case.display())?;
        }
        out.flush()
    }
}

/// A run that failed, for programs.
pub(super) fn failure_as_json(options: &Options, verdict: &Verdict) -> Value {
    json!({
        "what": "failure",
        "seed": options.seed,
        "line": SeedLine(options.clone()).to_string(),
        "verdict": verdict.name(),
        "exit": verdict.exit_code(),
        "reason": verdict.reason(),
    })
}
