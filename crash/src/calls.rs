//! Every call of a run to the file system: it is the last one, or it fails.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::ensure;

use crate::disk::Disk;
use crate::judge::{Promises, Verdict, judge};
use crate::strace::{self, Record, Step};
use crate::tally::Tally;
use crate::trial::{Trial, record, tamper};

/// Calls that can fail for want of room.
const WRITING: [&str; 6] = [
    "openat",
    "mkdir",
    "write",
    "pwrite64",
    "rename",
    "ftruncate",
];
/// Calls that can fail since the disk does.
const SYNCING: [&str; 2] = ["fsync", "fdatasync"];
/// The other calls before which a process can be killed.
const NAMING: [&str; 2] = ["unlink", "unlinkat"];
/// How long a slow sync takes, in microseconds.
const SLOW_US: u32 = 30_000;

/// Kill a run at every call to the file system, and let every call fail
///
/// For the first, a run is recorded, and its files are shown as they were after each call; that
/// reaches every one of them. Then `strace` kills, and lets calls fail, in as many runs.
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
        let most = self.shown()?;
        let killed: Vec<&str> = [&WRITING[..], &SYNCING, &NAMING].concat();
        self.tampered("killed at a call", &killed, "signal=KILL", &most)?;
        self.tampered("no room", &WRITING, "error=ENOSPC", &most)?;
        let failing: Vec<&str> = [&WRITING[..], &SYNCING].concat();
        self.tampered("a call failed", &failing, "error=EIO", &most)?;
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
    fn shown(&self) -> anyhow::Result<Most> {
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
        Ok(most_of_a_thread(&trial.root, &record))
    }

    /// Does something to each call about each file, one a run.
    fn tampered(&self, what: &str, names: &[&str], how: &str, most: &Most) -> anyhow::Result<()> {
        let (mut tally, mut calls, mut cut_short) = (Tally::default(), 0, 0);
        for ((name, file), count) in most {
            if !names.contains(&name.as_str()) {
                continue;
            }
            for when in 1..=*count {
                calls += 1;
                if calls % self.every != 0 {
                    continue;
                }
                let trial = Trial::new()?;
                let injection = format!("{name}:{how}:when={when}");
                let file = trial.root.join(file);
                let (promises, ended) = tamper(&trial, &self.arguments(), &injection, Some(&file))?;
                cut_short += u64::from(!ended);
                let name = format!("{injection} about {}", file.display());
                let verdict = trial.judged(&name, |data| must_be_kept(judge(data, &promises)?))?;
                tally.count(&verdict);
            }
        }
        tally.print(what);
        println!("  of {calls} calls; {cut_short} runs did not come to their end");
        ensure!(
            cut_short > 0 || tally.is_empty(),
            "none of the runs noticed: that shows nothing"
        );
        Ok(())
    }

    fn slow(&self) -> anyhow::Result<()> {
        let trial = Trial::new()?;
        let injection = format!("fsync,fdatasync:delay_enter={SLOW_US}");
        let (promises, ended) = tamper(&trial, &self.arguments(), &injection, None)?;
        ensure!(
            ended && promises.saved.len() as u64 == self.saves,
            "a slow disk: it did not come to its end"
        );
        let verdict = trial.judged(&injection, |data| must_be_kept(judge(data, &promises)?))?;
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

/// How often the busiest thread made each call about each file, whose path is below the disk: so does
/// `strace` count.
type Most = BTreeMap<(String, PathBuf), u64>;

fn most_of_a_thread(root: &Path, record: &Record) -> Most {
    let mut counts: BTreeMap<(&str, PathBuf, &str), u64> = BTreeMap::new();
    for call in &record.calls {
        if let Some(path) = call.about()
            && let Ok(file) = path.strip_prefix(root)
        {
            let place = (call.name.as_str(), file.to_owned(), call.thread.as_str());
            *counts.entry(place).or_default() += 1;
        }
    }
    let mut most = Most::new();
    for ((name, file, _), count) in counts {
        let known = most.entry((name.to_owned(), file)).or_insert(0);
        *known = count.max(*known);
    }
    most
}
