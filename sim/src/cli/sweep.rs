//! `leveret-sim sweep`: many runs, on all cores.

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use super::options::Choices;
use crate::plan::{Kind, Options};
use crate::run::{Outcome, Verdict, run};
use crate::seeds::{self, SeedLine};
use crate::shrink::shrink;
use crate::sweep::{ENOUGH, Runner, Seeds, Total, sweep};

/// Play many runs, and count what they met
///
/// Prints each run that fails as it does, and at the end how many histories were played, which
/// faults they met and in how many of them, and what never happened: a sweep of at least 300 runs
/// with everything drawn that never meets some kind of fault, or never passes some mark, fails.
/// The exit status is that of the first run that failed, by seed; see `run`. It is 12 too if
/// something was never met.
#[derive(clap::Args)]
pub(crate) struct Sweep {
    /// From the first seed up to and without the last
    #[arg(long, value_name = "A..B", value_parser = parse_seeds, conflicts_with_all = ["time", "kept"])]
    seeds: Option<(u64, u64)>,
    /// The runs that failed once, and are kept with the program
    #[arg(long, conflicts_with = "time")]
    kept: bool,
    /// For how long, as in 90s, 10m or 2h; from a seed that is printed
    #[arg(long = "for", id = "time", value_name = "TIME", value_parser = parse_time, required_unless_present_any = ["seeds", "kept"])]
    time: Option<Duration>,
    /// The first seed of `--for` [default: taken from the clock]
    #[arg(long, value_name = "N", requires = "time")]
    from: Option<u64>,
    /// How many runs at a time [default: as many as there are cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    choices: Choices,
    /// Look for a smaller run that fails in the same way, for each of the first three failures
    #[arg(long)]
    shrink: bool,
    /// A deliberate fault of the program, to see whether it is found
    #[cfg(feature = "faults")]
    #[arg(long, value_name = "NAME", value_parser = crate::sweep::Deliberate::parse)]
    fault: Option<crate::sweep::Deliberate>,
    /// Print a JSON object for each run that failed, and one for all
    #[arg(long)]
    json: bool,
}

fn parse_seeds(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("`{text}` is not of the form A..B, with A below B");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    let first: u64 = first.parse().map_err(|_| wrong())?;
    let end: u64 = end.parse().map_err(|_| wrong())?;
    (first < end).then_some((first, end)).ok_or_else(wrong)
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time such as 90s, 10m or 2h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: u64 = text[..text.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| wrong())?;
    let seconds = match unit {
        's' => number,
        'm' => number * 60,
        'h' => number * 3_600,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(seconds))
}

#[expect(clippy::disallowed_methods, reason = "it says how long real time was")]
fn instant() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a sweep without seeds draws fresh ones"
)]
fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // Room for many sweeps between two seconds, and short enough to type.
    now.map_or(0, |time| time.as_secs() % 1_000_000_000 * 1_000)
}

impl Sweep {
    pub(super) fn run(self, out: &mut dyn Write) -> io::Result<ExitCode> {
        let begun = instant();
        if self.kept {
            return self.run_kept(out);
        }
        let seeds = match (self.seeds, self.time) {
            (Some((first, end)), _) => Seeds::Range(first, end),
            (None, _) => Seeds::From(self.from.unwrap_or_else(fresh_seed)),
        };
        if !self.json {
            match seeds {
                Seeds::Range(first, end) => writeln!(out, "seeds {first}..{end}")?,
                Seeds::From(first) => writeln!(out, "seeds from {first} on")?,
            }
            out.flush()?;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.unwrap_or(cores);
        let options = self.choices.options(0);
        #[cfg(feature = "faults")]
        let runner = Runner::with(self.fault);
        #[cfg(not(feature = "faults"))]
        let runner = Runner::default();
        let is_terminal = io::stderr().is_terminal();
        let planned = self.seeds.map(|(first, end)| end - first);
        let lines = Mutex::new(io::stderr());
        let stop = || self.time.is_some_and(|time| begun.elapsed() >= time);
        let tell = |total: &Total, seed: u64, outcome: &Outcome| {
            let mut lines = lines
                .lock()
                .expect("nothing panics while it holds the lock");
            if outcome.verdict != Verdict::Good {
                let (name, reason) = (outcome.verdict.name(), outcome.verdict.reason());
                let _ = writeln!(lines, "\rseed {seed}: {name}: {reason}");
            }
            if is_terminal {
                let done = total.runs;
                let share = match (planned, self.time) {
                    (Some(all), _) => done as f64 / all as f64,
                    (None, Some(time)) => begun.elapsed().as_secs_f64() / time.as_secs_f64(),
                    (None, None) => 0.0,
                };
                let bar = "#".repeat((share.min(1.0) * 30.0) as usize);
                let rate = done as f64 / begun.elapsed().as_secs_f64();
                let _ = write!(lines, "\r[{bar:30}] {done} histories, {rate:.1} a second ");
            }
        };
        let total = sweep(&options, seeds, threads, runner, &stop, &tell);
        if is_terminal {
            eprintln!();
        }
        let took = begun.elapsed();
        // What was switched off or fixed can not be asked for.
        let enough = total.runs >= ENOUGH && options == Options::new(0);
        let lacking = enough && !(total.unmet().is_empty() && total.unpassed().is_empty());
        if self.json {
            writeln!(out, "{}", as_json(&total, took))?;
        } else {
            tell_total(out, &total, took, threads)?;
        }
        if self.shrink {
            for (seed, verdict) in total.failures.iter().take(SHRUNK_MAX) {
                let (options, verdict) = shrink(&self.choices.options(*seed), verdict, runner);
                writeln!(
                    out,
                    "smaller: {}  # {}",
                    SeedLine(options),
                    verdict.reason()
                )?;
            }
        }
        let code = total
            .failures
            .first()
            .map_or(0, |(_, verdict)| verdict.exit_code());
        Ok(ExitCode::from(if code == 0 && lacking { 12 } else { code }))
    }
}

/// Most failures that are shrunk.
const SHRUNK_MAX: usize = 3;

impl Sweep {
    /// Plays the runs that are kept, one after the other.
    fn run_kept(&self, out: &mut dyn Write) -> io::Result<ExitCode> {
        let lines = seeds::parse(seeds::KEPT).map_err(io::Error::other)?;
        let mut code = 0;
        for (number, line) in &lines {
            let outcome = run(&line.0);
            if outcome.verdict != Verdict::Good {
                let (name, reason) = (outcome.verdict.name(), outcome.verdict.reason());
                writeln!(out, "line {number}: {line}: {name}: {reason}")?;
                code = if code == 0 {
                    outcome.verdict.exit_code()
                } else {
                    code
                };
            }
        }
        writeln!(
            out,
            "{} runs that failed once, of which {}",
            lines.len(),
            match code {
                0 => "none does now",
                _ => "some do now",
            }
        )?;
        Ok(ExitCode::from(code))
    }
}

fn tell_total(
    out: &mut dyn Write,
    total: &Total,
    took: Duration,
    threads: usize,
) -> io::Result<()> {
    writeln!(out, "runs  what was met")?;
    for kind in Kind::ALL {
        let runs = total.kinds.get(kind).copied().unwrap_or_default();
        let times = total.tally.kinds.get(kind).copied().unwrap_or_default();
        writeln!(out, "{runs:4}  {kind} ({times} times)")?;
    }
    writeln!(out, "runs  what happened")?;
    for (mark, runs) in &total.marks {
        writeln!(out, "{runs:4}  {mark} ({} times)", total.tally.marks[mark])?;
    }
    for kind in total.unmet() {
        writeln!(out, "never met: {kind}")?;
    }
    for mark in total.unpassed() {
        writeln!(out, "never happened: {mark}")?;
    }
    let (seconds, virtual_hours) = (
        took.as_secs_f64(),
        total.virtual_time.as_secs_f64() / 3_600.0,
    );
    writeln!(
        out,
        "{} saves acknowledged, {} of them lost with what a machine lost; longest healing {:.1} s \
         (seed {})",
        total.acknowledged,
        total.excused,
        total.slowest.0.as_secs_f64(),
        total.slowest.1
    )?;
    writeln!(
        out,
        "{} histories in {seconds:.1} s on {threads} threads: {:.2} a second; {virtual_hours:.2} \
         virtual hours, {:.0} an hour on each thread",
        total.runs,
        total.runs as f64 / seconds,
        virtual_hours / (seconds * threads as f64 / 3_600.0),
    )?;
    for (seed, verdict) in &total.failures {
        writeln!(out, "seed {seed}: {}: {}", verdict.name(), verdict.reason())?;
    }
    writeln!(
        out,
        "{} good, {} failed",
        total.runs - total.failures.len() as u64,
        total.failures.len()
    )
}

fn as_json(total: &Total, took: Duration) -> serde_json::Value {
    let kinds: serde_json::Map<_, _> = total
        .kinds
        .iter()
        .map(|(kind, n)| (kind.name().to_owned(), json!(n)))
        .collect();
    let failures: Vec<_> = total
        .failures
        .iter()
        .map(|(seed, verdict)| {
            json!({"seed": seed, "verdict": verdict.name(), "reason": verdict.reason()})
        })
        .collect();
    json!({
        "runs": total.runs,
        "met": kinds,
        "marks": total.marks,
        "never_met": total.unmet().iter().map(|kind| kind.name()).collect::<Vec<_>>(),
        "never_happened": total.unpassed(),
        "acknowledged": total.acknowledged,
        "excused": total.excused,
        "virtual_seconds": total.virtual_time.as_secs_f64(),
        "seconds": took.as_secs_f64(),
        "failures": failures,
    })
}
