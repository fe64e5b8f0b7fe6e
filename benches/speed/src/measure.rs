//! How a ratio is measured and printed.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Rounds of a measurement, each of which takes both sides.
pub(crate) const ROUNDS: usize = 3;

/// The first lines of the table.
pub(crate) const HEADING: &str =
    "| what | measured | against | ratio | aim |\n| --- | --- | --- | --- | --- |";

/// How much is measured.
pub(crate) struct Settings {
    /// How long each side of a round lasts where that can be chosen.
    pub(crate) seconds: f64,
    /// The size of what is large.
    pub(crate) large: usize,
}

impl Settings {
    /// The same as a duration.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// What a ratio should come to.
#[derive(Clone, Copy)]
pub(crate) enum Aim {
    AtLeast(f64),
    AtMost(f64),
    /// Printed to be known.
    None,
}

/// A line of the table.
pub(crate) struct Row<'a> {
    pub(crate) what: &'a str,
    /// Of both sides, as `/s` or `µs`.
    pub(crate) unit: &'a str,
    pub(crate) against: &'a str,
    pub(crate) aim: Aim,
}

impl Row<'_> {
    /// Measures the two sides in turn, and prints the medians and the median ratio.
    pub(crate) fn measure(&self, mut ours: impl FnMut() -> f64, mut theirs: impl FnMut() -> f64) {
        let pairs: Vec<_> = (0..ROUNDS).map(|_| (ours(), theirs())).collect();
        self.print(&pairs);
    }

    /// Prints what was measured: a pair for each round.
    pub(crate) fn print(&self, pairs: &[(f64, f64)]) {
        let ours = median(pairs.iter().map(|pair| pair.0));
        let theirs = median(pairs.iter().map(|pair| pair.1));
        let ratio = median(pairs.iter().map(|pair| pair.0 / pair.1));
        let Self {
            what,
            unit,
            against,
            aim,
        } = self;
        let aim = match aim {
            Aim::AtLeast(aim) => format!("≥ {aim}"),
            Aim::AtMost(aim) => format!("≤ {aim}"),
            Aim::None => String::new(),
        };
        let [ours, theirs, ratio] = [ours, theirs, ratio].map(shown);
        println!("| {what} | {ours} {unit} | {against}: {theirs} {unit} | {ratio} | {aim} |");
    }
}

/// How long this thread has been running, in seconds: what other processes do does not count, nor
/// waiting. Where the system does not tell, the time of a clock.
pub(crate) fn running() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(
        || START.elapsed().as_secs_f64(),
        |nanoseconds| nanoseconds / 1e9,
    )
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The middle one.
pub(crate) fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// The one that a share of all, from 0 to 1, does not exceed.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// A number with three figures at least.
fn shown(number: f64) -> String {
    let decimals = match number.abs() {
        0.0 => 0,
        x if x >= 100.0 => 0,
        x if x >= 10.0 => 1,
        x if x >= 0.1 => 2,
        _ => 4,
    };
    format!("{number:.decimals$}")
}

/// Calls a second of processor time of this thread, which does all the work: what else runs on the
/// machine counts less. Of the clock on the wall where the system does not tell.
pub(crate) fn rate_on_processor(time: Duration, mut step: impl FnMut() -> usize) -> f64 {
    let (start, before) = (Instant::now(), on_processor());
    let mut count = 0;
    while start.elapsed() < time {
        count += step();
    }
    let used = before.and_then(|before| Some(on_processor()? - before));
    count as f64 / used.unwrap_or(start.elapsed()).as_secs_f64()
}

/// How long this thread has run.
fn on_processor() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

/// Calls a second: `step` is called again and again, and says how many calls it stands for.
pub(crate) fn rate(time: Duration, mut step: impl FnMut() -> usize) -> f64 {
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < time {
        count += step();
    }
    count as f64 / start.elapsed().as_secs_f64()
}
