//! `leveret-sim sweep`: many runs, on all cores.

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use super::finding::{Finder, Sabotage, failure_as_json};
use super::options::Choices;
use crate::plan::{Kind, Options};
use crate::run::{Outcome, Verdict};
use crate::seeds;
use crate::sweep::{ENOUGH, Seeds, Total, sweep};

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
    #[command(flatten)]
    finder: Finder,
    #[command(flatten)]
    sabotage: Sabotage,
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
    pub(super) fn run(self, out: &mut (dyn Write + Send)) -> io::Result<ExitCode> {
        let begun = instant();
        if self.kept {
            return self.run_kept(out);
        }
        let seeds = match (self.seeds, self.time) {
            (Some((first, end)), _) => Seeds::Range(first, end),
            (None, _) => Seeds::From(self.from.unwrap_or_else(fresh_seed)),
        };
        tell_seeds(out, seeds, self.json)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.unwrap_or(cores);
        let options = self.choices.options(0);
        let runner = self.sabotage.runner();
        let is_terminal = io::stderr().is_terminal();
        let planned = self.seeds.map(|(first, end)| end - first);
        let lines = Mutex::new((io::stderr(), &mut *out));
        let stop = || self.time.is_some_and(|time| begun.elapsed() >= time);
        let tell = |total: &Total, seed: u64, outcome: &Outcome| {
            let mut lines = lines
                .lock()
                .expect("nothing panics while it holds the lock");
            let (lines, out) = &mut *lines;
            let verdict = &outcome.verdict;
            // Whoever does not listen any more is noticed at the end.
            if *verdict != Verdict::Good && self.json {
                let object = failure_as_json(&self.choices.options(seed), verdict);
                let _ = writeln!(out, "{object}").and_then(|()| out.flush());
            } else if *verdict != Verdict::Good {
                let _ = writeln!(lines, "\rseed {seed}: {verdict}");
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
        out.flush()?;
        if self.finder.shrink {
            for (seed, verdict) in total.failures.iter().take(SHRUNK_MAX) {
                let options = self.choices.options(*seed);
                self.finder
                    .look_into(&options, verdict, runner, self.json, out)?;
            }
        }
        let code = total
            .failures
            .first()
            .map_or(0, |(_, verdict)| verdict.exit_code());
        Ok(ExitCode::from(if code == 0 && lacking { 12 } else { code }))
    }
}

fn tell_seeds(out: &mut dyn Write, seeds: Seeds, json: bool) -> io::Result<()> {
    match (seeds, json) {
        (Seeds::Range(first, end), false) => writeln!(out, "seeds {first}..{end}")?,
        (Seeds::From(first), false) => writeln!(out, "seeds from {first} on")?,
        (Seeds::Range(first, end), true) => {
            writeln!(
                out,
                "{}",
                json!({"what": "seeds", "first": first, "end": end})
            )?;
        }
        (Seeds::From(first), true) => {
            writeln!(
                out,
                "{}",
                json!({"what": "seeds", "first": first, "end": null})
            )?;
        }
    }
    out.flush()
}

/// Most failures that are shrunk.
const SHRUNK_MAX: usize = 3;

impl Sweep {
    /// Plays the runs that are kept, one after the other.
    fn run_kept(&self, out: &mut dyn Write) -> io::Result<ExitCode> {
        let lines = seeds::parse(seeds::KEPT).map_err(io::Error::other)?;
        let runner = self.sabotage.runner();
        let mut failures = Vec::new();
        for (number, line) in &lines {
            let verdict = runner.run(&line.0).verdict;
            if verdict == Verdict::Good {
                continue;
            }
            if self.json {
                let mut object = failure_as_json(&line.0, &verdict);
                object["number"] = json!(number);
                writeln!(out, "{object}")?;
            } else {
                writeln!(out, "line {number}: {line}: {verdict}")?;
            }
            out.flush()?;
            failures.push((&line.0, verdict));
        }
        let (runs, failed) = (lines.len(), failures.len());
        if self.json {
            let total = json!({"what": "kept", "runs": runs, "failed": failed});
            writeln!(out, "{total}")?;
        } else {
            let fail = match failed {
                0 => "none does now".to_owned(),
                _ => format!("{failed} do now"),
            };
            writeln!(out, "{runs} runs that failed once, of which {fail}")?;
        }
        if self.finder.shrink {
            for (options, verdict) in failures.iter().take(SHRUNK_MAX) {
                self.finder
                    .look_into(options, verdict, runner, self.json, out)?;
            }
        }
        let code = failures.first().map_or(0, |(_, first)| first.exit_code());
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
    if let Some(cpu) = cpu_time() {
        let cpu = cpu.as_secs_f64();
        writeln!(
            out,
            "{cpu:.1} s of processor time: {:.0} virtual hours a processor hour",
            virtual_hours / (cpu / 3_600.0)
        )?;
    }
    for (seed, verdict) in &total.failures {
        writeln!(out, "seed {seed}: {verdict}")?;
    }
    writeln!(
        out,
        "{} good, {} failed",
        total.runs - total.failures.len() as u64,
        total.failures.len()
    )
}

/// Processor time that this process has taken, if the system tells in `/proc`.
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name before the last bracket may hold anything. After it the fields are counted from 3;
    // 14 and 15 are the time in user and system mode, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks(14)? + ticks(15)?) * 10))
}

fn as_json(total: &Total, took: Duration) -> serde_json::Value {
    let kinds: serde_json::Map<_, _> = total
        .kinds
        .iter()
        .map(|(kind, n)| (kind.name().to_owned(), json!(n)))
        .collect();
    json!({
        "what": "total",
        "runs": total.runs,
        "failed": total.failures.len(),
        "failed_seeds": total.failures.iter().map(|(seed, _)| seed).collect::<Vec<_>>(),
        "met": kinds,
        "marks": total.marks,
        "never_met": total.unmet().iter().map(|kind| kind.name()).collect::<Vec<_>>(),
        "never_happened": total.unpassed(),
        "acknowledged": total.acknowledged,
        "excused": total.excused,
        "virtual_seconds": total.virtual_time.as_secs_f64(),
        "seconds": took.as_secs_f64(),
        "cpu_seconds": cpu_time().map(|time| time.as_secs_f64()),
    })
}
