//! `leveret-sim run`: one run, from its seed to its verdict.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;

use super::options::Choices;
use crate::plan::{Options, Plan};
use crate::run::{Outcome, Verdict, run};
use crate::seeds::SeedLine;
use crate::shrink::shrink;
use crate::sweep::Runner;

/// Play one run: faults, then healing, then everything must be the same everywhere
///
/// Everything is drawn from the seed, and the same seed and options give the same run, everywhere:
/// the hash of its trace says so. The exit status is 0 if all was well, 10 if something panicked,
/// 11 if the machines did not come to the same state in time, 12 if they came to different states
/// or lost something.
#[derive(clap::Args)]
pub(crate) struct Run {
    /// From which everything is drawn
    #[arg(long, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    choices: Choices,
    /// Print what happens, as it happens
    #[arg(long)]
    trace: bool,
    /// If it fails, look for a smaller run that fails in the same way, and print its seed line
    #[arg(long)]
    shrink: bool,
    /// Print the outcome as a JSON object
    #[arg(long, conflicts_with = "trace")]
    json: bool,
}

impl Run {
    pub(super) fn run(self, out: &mut dyn Write) -> io::Result<ExitCode> {
        let options = Options {
            trace: self.trace,
            ..self.choices.options(self.seed)
        };
        if !self.json {
            writeln!(out, "seed {}: {}", self.seed, summary(&Plan::new(&options)))?;
            out.flush()?;
        }
        let outcome = run(&options);
        let shrunk = (self.shrink && outcome.verdict != Verdict::Good)
            .then(|| shrink(&options, &outcome.verdict, Runner::default()));
        if self.json {
            writeln!(out, "{}", as_json(&options, &outcome))?;
        } else {
            tell(out, &outcome)?;
            if let Some((options, verdict)) = shrunk {
                writeln!(
                    out,
                    "smaller: {}  # {}",
                    SeedLine(options),
                    verdict.reason()
                )?;
            }
        }
        Ok(ExitCode::from(outcome.verdict.exit_code()))
    }
}

fn summary(plan: &Plan) -> String {
    let kinds: Vec<_> = plan.kinds.iter().map(|kind| kind.name()).collect();
    format!(
        "{} machines ({}, {:?}), {} saves in {} s; {}",
        plan.replicas,
        plan.geography.name(),
        plan.topology,
        plan.saves(),
        plan.safety.0 / 1_000_000,
        if kinds.is_empty() {
            "no faults".to_owned()
        } else {
            kinds.join(" ")
        }
    )
}

fn tell(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    let tally = &outcome.tally;
    let met: Vec<_> = tally
        .kinds
        .iter()
        .map(|(kind, n)| format!("{kind} {n}"))
        .collect();
    writeln!(out, "met: {}", met.join(", "))?;
    let marks: Vec<_> = tally
        .marks
        .iter()
        .map(|(mark, n)| format!("{mark} {n}"))
        .collect();
    writeln!(out, "marks: {}", marks.join(", "))?;
    writeln!(
        out,
        "{} saves acknowledged, {} of them lost with what a machine lost; {} messages, {} bytes",
        outcome.losses.acknowledged, outcome.losses.excused, tally.messages, tally.bytes
    )?;
    writeln!(
        out,
        "{:.1} s of virtual time, {:.1} s of them healing; {} steps, trace {}",
        outcome.virtual_time.as_secs_f64(),
        outcome.healing.as_secs_f64(),
        outcome.steps,
        outcome.trace
    )?;
    match &outcome.verdict {
        Verdict::Good => writeln!(out, "good"),
        other => writeln!(out, "{}: {}", other.name(), other.reason()),
    }
}

/// An outcome for programs.
pub(super) fn as_json(options: &Options, outcome: &Outcome) -> serde_json::Value {
    let tally = &outcome.tally;
    let kinds: serde_json::Map<_, _> = tally
        .kinds
        .iter()
        .map(|(kind, n)| (kind.name().to_owned(), json!(n)))
        .collect();
    json!({
        "seed": options.seed,
        "verdict": outcome.verdict.name(),
        "exit": outcome.verdict.exit_code(),
        "reason": outcome.verdict.reason(),
        "trace": outcome.trace,
        "steps": outcome.steps,
        "met": kinds,
        "marks": tally.marks,
        "acknowledged": outcome.losses.acknowledged,
        "excused": outcome.losses.excused,
        "messages": tally.messages,
        "bytes": tally.bytes,
        "virtual_seconds": outcome.virtual_time.as_secs_f64(),
        "healing_seconds": outcome.healing.as_secs_f64(),
    })
}
