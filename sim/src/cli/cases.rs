//! `leveret-sim cases`: case files, against the naive model and the engine.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

use super::finding::Sabotage;
use crate::cases::{Verdict, find};

/// Run merge cases, in many deliveries each
///
/// Each case is run against the naive model and against leveret's engine: in every delivery order
/// if it has at most 6 saves, otherwise in 200 random ones that follow from the file's text; each
/// of them both one save at a time and in batches, with saves delivered again and with restarts.
/// The engine must agree with the model after every merge, and with the case in the end.
///
/// Prints a line for each case that failed, with the first difference and what had been delivered
/// before it, then how many passed and failed. A file that cannot be read as a case has failed.
#[derive(clap::Args)]
pub(crate) struct Cases {
    /// Case files, and folders in which every *.toml is one
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    sabotage: Sabotage,
    /// Print a JSON object for each case, and one for all of them
    #[arg(long)]
    json: bool,
}

impl Cases {
    /// Runs them. Gives whether all passed.
    pub(super) fn run(self, out: &mut dyn Write) -> io::Result<bool> {
        let (mut passed, mut failed, mut deliveries) = (0, 0, 0);
        let runner = self.sabotage.runner();
        for found in self.paths.iter().flat_map(|path| find(path)) {
            let verdict = runner.within(|| found.run());
            deliveries += verdict.deliveries;
            match verdict.failure {
                None => passed += 1,
                Some(_) => failed += 1,
            }
            if self.json {
                writeln!(out, "{}", as_json(&verdict))?;
            } else if let Some(failure) = &verdict.failure {
                writeln!(out, "{}: {failure}", verdict.file)?;
            }
            // Whoever watches sees each as it comes.
            out.flush()?;
        }
        if self.json {
            let summary = json!({"what": "cases", "passed": passed, "failed": failed, "deliveries": deliveries});
            writeln!(out, "{summary}")?;
        } else {
            writeln!(out, "{passed} passed, {failed} failed")?;
        }
        Ok(failed == 0)
    }
}

fn as_json(verdict: &Verdict) -> serde_json::Value {
    json!({
        "what": "case",
        "file": verdict.file,
        "title": verdict.title,
        "passed": verdict.failure.is_none(),
        "deliveries": verdict.deliveries,
        "difference": verdict.failure.as_ref().map(|failure| &failure.what),
        "after": verdict.failure.as_ref().map(|failure| &failure.after),
    })
}
