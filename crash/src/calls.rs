//! Every call of a run to the file system: it is the last one, or it fails.

mod meddle;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;

use crate::disk::Disk;
use crate::judge::{Promises, Verdict, judge};
use crate::strace::{self, Step};
use crate::tally::Tally;
use crate::threads::on_all;
use crate::trial::{Trial, record, run_meddled, run_slowed};
use meddle::{Library, Meddling};

/// How long a slow sync takes, in microseconds.
const SLOW_US: u32 = 30_000;
/// A call that so many runs after one another have not come to is beyond the last.
const BEYOND: u64 = 3;

/// Kill a run at every call to the file system, and let every call fail
///
/// First a run is recorded, and its files are shown as they were after each call. Then a library that
/// is loaded before the C library kills a run at its first call about its files, one at its second, and
/// so on; and in as many runs the call finds no room, or fails.
#[derive(clap::Args)]
pub(crate) struct Calls {
    /// Take only one call in so many
    #[arg(long, value_name = "N", default_value_t = 1)]
    every: u64,
    /// Saves of the run
    #[arg(long, value_name = "N", default_value_t = 50)]
    saves: u64,
    /// Where everything that is drawn comes from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

impl Calls {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        strace::must_be_installed()?;
        self.shown()?;
        let library = Library::build()?;
        for how in meddle::ALL {
            self.meddled(&library, how)?;
        }
        self.slow()
    }

    fn arguments(&self) -> [(&'static str, u64); 3] {
        [
            ("--saves", self.saves),
            ("--seed", self.seed),
            ("--lives", 2),
        ]
    }

    /// Judges the files of a recorded run as they were after each call.
    fn shown(&self) -> anyhow::Result<()> {
        let trial = Trial::new()?;
        let mut disk = Disk::of(&trial.root)?;
        let record = record(&trial, &self.arguments())?;
        let mut promises = Promises::default();
        let (mut tally, mut changes) = (Tally::default(), 0);
        for step in &record.steps {
            if let Step::Begins(at) = step
                && let Some(line) = record.calls[*at].said()
            {
                promises.hear(&line);
            }
            if !disk.step(&record, *step) {
                continue;
            }
            changes += 1;
            if changes % self.every != 0 {
                continue;
            }
            let after = Trial::new()?;
            disk.write_seen(&after.root)?;
            let name = format!("killed after change {changes}");
            let verdict = after.judged(&name, |data| must_be_kept(judge(data, &promises)?))?;
            tally.count(&verdict);
        }
        tally.print("killed after a call, as recorded");
        println!("  of {changes} calls that changed something");
        Ok(())
    }

    /// Does something to each call, one a run, until there is none with such a number.
    fn meddled(&self, library: &Library, how: Meddling) -> anyhow::Result<()> {
        let tally = Mutex::new(Tally::default());
        // The next call, and the last one that a run has come to.
        let (next, met) = (AtomicU64::new(1), AtomicU64::new(0));
        let work = || -> anyhow::Result<()> {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed) * self.every;
                if at > met.load(Ordering::Relaxed) + BEYOND * self.every {
                    return Ok(());
                }
                if let Some(verdict) = self.meddle(library, how, at)? {
                    met.fetch_max(at, Ordering::Relaxed);
                    let mut tally = tally.lock().unwrap_or_else(|tally| tally.into_inner());
                    tally.count(&verdict);
                }
            }
        };
        on_all(work)?;
        let tally = tally
            .into_inner()
            .unwrap_or_else(|tally| tally.into_inner());
        tally.print(how.name);
        println!("  of calls 1 to {}", met.into_inner());
        ensure!(
            !tally.is_empty(),
            "no run came to such a call: that shows nothing"
        );
        Ok(())
    }

    /// One such run; nothing if it did not come to that call.
    fn meddle(&self, library: &Library, how: Meddling, at: u64) -> anyhow::Result<Option<Verdict>> {
        let trial = Trial::new()?;
        let below = trial.root.clone();
        let ran = run_meddled(&trial, &self.arguments(), |command| {
            library.preload(command, how, &below, at);
        })?;
        if !meddle::was_met(&ran.said) {
            ensure!(
                ran.ended,
                "{}, call {at}: it ended before that call",
                how.name
            );
            return Ok(None);
        }
        let name = format!("{}, call {at}", how.name);
        let promises = ran.promises;
        let verdict = trial.judged(&name, |data| must_be_kept(judge(data, &promises)?))?;
        Ok(Some(verdict))
    }

    fn slow(&self) -> anyhow::Result<()> {
        let trial = Trial::new()?;
        let ran = run_slowed(&trial, &self.arguments(), SLOW_US)?;
        let promises = ran.promises;
        ensure!(
            ran.ended && promises.saved.len() as u64 == self.saves,
            "a slow disk: it did not come to its end"
        );
        let verdict = trial.judged("slow syncs", |data| must_be_kept(judge(data, &promises)?))?;
        let mut tally = Tally::default();
        tally.count(&verdict);
        tally.print("every sync was slow");
        Ok(())
    }
}

/// Neither a kill nor a call that failed is a reason to lose anything.
fn must_be_kept(verdict: Verdict) -> anyhow::Result<Verdict> {
    ensure!(verdict == Verdict::Kept, "{verdict:?}");
    Ok(verdict)
}
