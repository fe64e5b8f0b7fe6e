//! How long many things took, in bounded memory: a histogram whose steps are below a hundredth of
//! what they hold (after HdrHistogram, Tene 2012), and the longest exactly.

use std::time::Duration;

use serde_json::{Value, json};

/// Steps from one power of two to the next.
const STEPS: u64 = 128;

/// See the top of the file. Counted in microseconds.
#[derive(Default)]
pub(crate) struct Delays {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

/// Where so many microseconds are counted.
fn step(micros: u64) -> usize {
    let bits = u64::from((micros / STEPS).checked_ilog2().map_or(0, |log| log + 1));
    // Below the first power of two that has all its steps, each microsecond has its own.
    let shift = bits.saturating_sub(1);
    let step = match bits {
        0 => micros,
        _ => STEPS * (shift + 1) + ((micros >> shift) - STEPS),
    };
    usize::try_from(step).unwrap_or(usize::MAX)
}

/// The most that is counted there, in microseconds.
fn most(step: usize) -> u64 {
    let (power, rest) = (step as u64 / STEPS, step as u64 % STEPS);
    match power {
        0 => rest,
        _ => ((STEPS + rest + 1) << (power - 1)) - 1,
    }
}

impl Delays {
    /// Counts one.
    pub(crate) fn add(&mut self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        let step = step(micros);
        if self.counts.len() <= step {
            self.counts.resize(step + 1, 0);
        }
        self.counts[step] += 1;
        self.total += 1;
        self.max = self.max.max(delay);
    }

    /// Counts all of another one.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.total
    }

    /// The time, in milliseconds, that so many in a hundred did not exceed; 0 if there are none.
    pub(crate) fn percentile(&self, percent: u64) -> f64 {
        let wanted = (self.total * percent).div_ceil(100).max(1);
        let mut counted = 0;
        for (step, count) in self.counts.iter().enumerate() {
            counted += count;
            if counted >= wanted {
                return millis(Duration::from_micros(most(step)).min(self.max));
            }
        }
        0.0
    }

    /// Median, 99th percentile and maximum, in milliseconds.
    pub(crate) fn json(&self) -> Value {
        json!({
            "median": self.percentile(50),
            "p99": self.percentile(99),
            "max": millis(self.max),
        })
    }

    /// The same for people.
    pub(crate) fn text(&self) -> String {
        format!(
            "median {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            self.percentile(50),
            self.percentile(99),
            millis(self.max)
        )
    }
}

fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_counted_within_a_hundredth_of_itself() {
        let mut last = 0;
        for micros in (0..100_000).chain([1 << 20, (1 << 40) + 12_345, u64::MAX >> 8]) {
            let at = step(micros);
            assert!(at >= last, "{micros}");
            last = at;
            let most = most(at);
            assert!(
                most >= micros && most - micros <= micros / 100,
                "{micros}: {most}"
            );
        }
        step(u64::MAX);
    }

    #[test]
    fn the_median_is_in_the_middle_and_the_longest_is_exact() {
        let mut delays = Delays::default();
        assert_eq!(delays.percentile(50), 0.0);
        let mut others = Delays::default();
        for micros in 1..=1_000 {
            let half = if micros % 2 == 0 {
                &mut delays
            } else {
                &mut others
            };
            half.add(Duration::from_micros(micros * 100));
        }
        delays.merge(&others);
        assert_eq!(delays.len(), 1_000);
        let near = |percent: u64, millis: f64| {
            let found = delays.percentile(percent);
            assert!((found / millis - 1.0).abs() < 0.01, "{percent}: {found}");
        };
        near(50, 50.0);
        near(99, 99.0);
        assert_eq!(delays.percentile(100), 100.0);
        assert!(delays.text().ends_with("max 100.00 ms"));
    }
}
