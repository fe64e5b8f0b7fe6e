//! Many runs: a row of seeds, or as many as fit into some time, on all cores.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::plan::{Kind, Options};
use crate::run::{Outcome, Verdict, run};
use crate::world::Tally;

/// Runs with everything drawn from which on a sweep has to meet every kind of fault and every mark.
pub const ENOUGH: u64 = 300;

/// What a sweep has come to.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// Runs that have ended.
    pub runs: u64,
    /// In how many runs each kind of fault was met.
    pub kinds: BTreeMap<Kind, u64>,
    /// In how many runs each mark was passed.
    pub marks: BTreeMap<&'static str, u64>,
    /// Everything that was counted, added up.
    pub tally: Tally,
    /// Saves acknowledged.
    pub acknowledged: u64,
    /// Those that were lost and may have been.
    pub excused: u64,
    /// Virtual time.
    pub virtual_time: Duration,
    /// Runs that failed: their seeds, and why.
    pub failures: Vec<(u64, Verdict)>,
    /// The longest healing, and its seed.
    pub slowest: (Duration, u64),
}

impl Total {
    fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.runs += 1;
        for kind in outcome.tally.kinds.keys() {
            *self.kinds.entry(*kind).or_default() += 1;
        }
        for (mark, times) in &outcome.tally.marks {
            if *times > 0 {
                *self.marks.entry(mark).or_default() += 1;
            }
        }
        self.tally.add(&outcome.tally);
        self.acknowledged += outcome.losses.acknowledged;
        self.excused += outcome.losses.excused;
        self.virtual_time += outcome.virtual_time;
        self.slowest = self.slowest.max((outcome.healing, seed));
        if outcome.verdict != Verdict::Good {
            self.failures.push((seed, outcome.verdict.clone()));
        }
    }

    /// Kinds of faults that no run met.
    pub fn unmet(&self) -> Vec<Kind> {
        let all = Kind::ALL.iter().copied();
        all.filter(|kind| !self.kinds.contains_key(kind)).collect()
    }

    /// Marks that no run passed, of those that a sweep is to pass sometimes.
    pub fn unpassed(&self) -> Vec<&'static str> {
        let all = SOMETIMES.iter().copied();
        all.filter(|mark| !self.marks.contains_key(mark)).collect()
    }
}

/// What has to happen now and then, or the runs do not try hard enough.
pub const SOMETIMES: &[&str] = &[
    "late",
    "rewinds",
    "revised",
    "handed_back",
    "skipped",
    "come_back",
    "clashes_met",
    "voided",
    "refused_changed",
    "duplicates",
    "dropped",
    "held_ever",
    "gaps",
    "forks",
    "invalid",
    "not_members",
    "refused_connections",
    "timeouts",
    "wants_sent",
    "checkpoints",
    "alarms",
    "crash before a commit",
    "crash after a commit",
    "crash amid a commit",
    "crash amid a checkpoint",
    "equivocation with one id",
    "equivocation with two ids",
    "store opened again",
    "save failed",
    "save refused: changed",
    "save refused: read only",
    "frame refused",
    "connection closed for bad manners",
    "queue paused a connection",
    "model compared",
];

/// Which runs.
#[derive(Clone, Copy, Debug)]
pub enum Seeds {
    /// From the first up to and without the second.
    Range(u64, u64),
    /// From this one on, until told to stop.
    From(u64),
}

/// How single runs are played.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runner {
    #[cfg(feature = "faults")]
    fault: Option<Deliberate>,
}

impl Runner {
    /// With a deliberate fault, if one is given.
    #[cfg(feature = "faults")]
    pub fn with(fault: Option<Deliberate>) -> Self {
        Self { fault }
    }

    /// Plays a run.
    pub fn run(self, options: &Options) -> Outcome {
        self.within(|| run(options))
    }

    /// Does something as runs are played.
    pub fn within<T>(self, act: impl FnOnce() -> T) -> T {
        #[cfg(feature = "faults")]
        if let Some(fault) = self.fault {
            return fault.with(act);
        }
        act()
    }
}

/// A deliberate fault of the program, for the test of the sweep.
#[cfg(feature = "faults")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deliberate {
    /// In merging.
    Merge(leveret::merge::Fault),
    /// In gossip and storage.
    Replica(leveret::replica::Fault),
}

#[cfg(feature = "faults")]
impl Deliberate {
    /// Finds one by its name.
    ///
    /// # Errors
    /// If none has it.
    pub fn parse(name: &str) -> Result<Self, String> {
        let merge = leveret::merge::Fault::ALL.iter().copied().map(Self::Merge);
        let replica = leveret::replica::Fault::ALL
            .iter()
            .copied()
            .map(Self::Replica);
        let mut all = merge.chain(replica);
        all.find(|fault| fault.name() == name)
            .ok_or_else(|| format!("no fault is called {name}"))
    }

    /// What it is called.
    pub fn name(self) -> String {
        match self {
            Self::Merge(fault) => format!("{fault:?}"),
            Self::Replica(fault) => format!("{fault:?}"),
        }
    }

    fn with<T>(self, act: impl FnOnce() -> T) -> T {
        match self {
            Self::Merge(fault) => fault.with(act),
            Self::Replica(fault) => fault.with(act),
        }
    }
}

/// Runs seeds on so many threads, and tells of each run that ends. `stop` is asked between runs.
pub fn sweep(
    options: &Options,
    seeds: Seeds,
    threads: usize,
    runner: Runner,
    stop: &(dyn Fn() -> bool + Sync),
    tell: &(dyn Fn(&Total, u64, &Outcome) + Sync),
) -> Total {
    let (first, end) = match seeds {
        Seeds::Range(first, end) => (first, end),
        Seeds::From(first) => (first, u64::MAX),
    };
    let next = AtomicU64::new(first);
    let total = Mutex::new(Total::default());
    let stopped = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !stopped.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let options = Options {
                        seed,
                        ..options.clone()
                    };
                    let outcome = runner.run(&options);
                    let mut total = total
                        .lock()
                        .expect("nothing panics while it holds the lock");
                    total.add(seed, &outcome);
                    tell(&total, seed, &outcome);
                    if stop() {
                        stopped.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut total = total
        .into_inner()
        .expect("nothing panics while it holds the lock");
    total.failures.sort_by_key(|(seed, _)| *seed);
    total
}
