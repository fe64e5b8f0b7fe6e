//! Power cuts: a run is recorded, and its disk shown as it might be had the power gone at some
//! moment of it; once more while the peer recovers from that.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::bail;
use leveret_sim::chance::Chance;

use crate::disk::Disk;
use crate::judge::{Promises, judge};
use crate::strace;
use crate::tally::Tally;
use crate::threads::on_all;
use crate::trial::{Trial, record};

/// Cuts of one recorded run.
const CUTS_A_RUN: u64 = 50;
/// Moments of a recovery at which the power goes again.
const CUTS_A_RECOVERY: u64 = 3;
/// Saves that a recovery goes on with.
const SAVES_AFTER: u64 = 2;

/// Cut the power of recorded runs, and once more while the peer recovers
///
/// What was synced is kept; of the rest each write may be lost, kept or torn, and each name too. An
/// acknowledged save that is not there afterwards must be told.
#[derive(clap::Args)]
pub(crate) struct Cuts {
    /// How many cuts
    #[arg(long, value_name = "N", default_value_t = 300)]
    cuts: u64,
    /// Where everything that is drawn comes from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Saves of a run
    #[arg(long, value_name = "N", default_value_t = 50)]
    saves: u64,
    /// Let the disk forget what it has synced, and succeed only if that is noticed
    #[arg(long)]
    forget_syncs: bool,
}

impl Cuts {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        strace::must_be_installed()?;
        if !self.forget_syncs {
            return self.cut_all();
        }
        match self.cut_all() {
            Ok(()) => bail!("the disk forgot what it had synced, and nothing was noticed"),
            Err(error) => {
                println!("a disk that forgets is noticed: {error:#}");
                Ok(())
            }
        }
    }

    fn cut_all(&self) -> anyhow::Result<()> {
        let runs = self.cuts.div_ceil(CUTS_A_RUN);
        let tallies = Mutex::new((Tally::default(), Tally::default()));
        let next = AtomicU64::new(0);
        on_all(|| {
            loop {
                let run = next.fetch_add(1, Ordering::Relaxed);
                if run >= runs {
                    return Ok(());
                }
                let cuts = CUTS_A_RUN.min(self.cuts - run * CUTS_A_RUN);
                let seed = self.seed + run;
                self.cut(seed, cuts, &tallies).inspect_err(|_| {
                    next.store(runs, Ordering::Relaxed);
                })?;
            }
        })?;
        let (first, again) = tallies
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        first.print("power cuts");
        again.print("power cuts while recovering");
        Ok(())
    }

    fn disk(&self, trial: &Trial) -> anyhow::Result<Disk> {
        let disk = Disk::of(&trial.root)?;
        Ok(match self.forget_syncs {
            true => disk.forgetful(),
            false => disk,
        })
    }

    /// Records one run and cuts it so many times.
    fn cut(&self, seed: u64, cuts: u64, tallies: &Mutex<(Tally, Tally)>) -> anyhow::Result<()> {
        let trial = Trial::new()?;
        let disk = self.disk(&trial)?;
        let arguments = [("--saves", self.saves), ("--seed", seed), ("--lives", 2)];
        let record = record(&trial, &arguments)?;
        let mut chance = Chance::new(seed, "power cuts");
        let moments = moments(&mut chance, record.steps.len(), cuts);
        let at_moments = at(disk, &record, &moments, &Promises::default());
        for (number, (disk, promises)) in at_moments.into_iter().enumerate() {
            let after = Trial::new()?;
            disk.write_cut(&after.root, &mut chance)?;
            let name = format!("seed {seed}, cut {number}");
            let recover = number % 2 == 1;
            let copy = if recover { Some(after.copy()?) } else { None };
            let verdict = after.judged(&name, |data| judge(data, &promises))?;
            lock(tallies).0.count(&verdict);
            if let Some(copy) = copy {
                self.cut_recovery(&name, seed, copy, &promises, &mut chance, tallies)?;
            }
        }
        Ok(())
    }

    /// Lets a peer recover from a cut, records that, and cuts it.
    fn cut_recovery(
        &self,
        name: &str,
        seed: u64,
        trial: Trial,
        promises: &Promises,
        chance: &mut Chance,
        tallies: &Mutex<(Tally, Tally)>,
    ) -> anyhow::Result<()> {
        let disk = self.disk(&trial)?;
        let arguments = [
            ("--first", self.saves + 1),
            ("--saves", SAVES_AFTER),
            ("--seed", seed),
            ("--lives", 1),
        ];
        let record = record(&trial, &arguments)?;
        let moments = moments(chance, record.steps.len(), CUTS_A_RECOVERY);
        for (disk, promises) in at(disk, &record, &moments, promises) {
            let after = Trial::new()?;
            disk.write_cut(&after.root, chance)?;
            let name = format!("{name}, while it recovered");
            let verdict = after.judged(&name, |data| judge(data, &promises))?;
            lock(tallies).1.count(&verdict);
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Steps after which the power goes, in order.
fn moments(chance: &mut Chance, steps: usize, count: u64) -> BTreeSet<usize> {
    let mut moments = BTreeSet::new();
    while (moments.len() as u64) < count.min(steps as u64) {
        moments.insert(chance.index(steps) + 1);
    }
    moments
}

/// The disk at some moments of a run, and what had been promised by then.
fn at(
    mut disk: Disk,
    record: &strace::Record,
    moments: &BTreeSet<usize>,
    before: &Promises,
) -> Vec<(Disk, Promises)> {
    let mut found = Vec::new();
    let mut promises = before.clone();
    for (number, step) in record.steps.iter().enumerate() {
        if moments.contains(&number) {
            found.push((disk.clone(), promises.clone()));
        }
        disk.step(record, *step);
        if let strace::Step::Begins(at) = step
            && let Some(line) = record.calls[*at].said()
        {
            promises.hear(&line);
        }
    }
    if moments.contains(&record.steps.len()) {
        found.push((disk, promises));
    }
    found
}
