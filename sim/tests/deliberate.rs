//! Deliberate faults of gossip, storage and merging: a sweep finds each of them.
//!
//! `make sim-faults` runs it; it takes a while.
#![cfg(feature = "faults")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use leveret::replica::Fault;
use leveret_sim::plan::{Kind, Options};
use leveret_sim::run::Verdict;
use leveret_sim::sweep::{Deliberate, Runner, Seeds, sweep};

/// How long a fault may hide, on [`THREADS`] cores.
const TIME_MAX: Duration = Duration::from_secs(600);
/// Runs at a time.
const THREADS: usize = 2;

/// Of the faults in merging, those that are tried: the first of each sort.
const MERGE: [&str; 6] = [
    "CycleUnchecked",
    "HandBackForgotten",
    "ComeBackKeepsChildren",
    "TrashedTargetAccepted",
    "HandBackOnlyOnce",
    "RemovedAgain",
];

/// The runs of the default profile, but for what makes some of them long and finds none of these.
fn options(seed: u64) -> Options {
    Options {
        without: [Kind::WideNode, Kind::DeepPath, Kind::LargeSet].into(),
        ..Options::new(seed)
    }
}

/// The first run that fails with this fault, of those that were played until then, and how many were.
fn search(fault: Deliberate) -> (u64, Option<(u64, Verdict)>) {
    let found = AtomicBool::new(false);
    let begun = instant();
    let stop = || found.load(Ordering::Relaxed) || begun.elapsed() >= TIME_MAX;
    let runner = Runner::with(Some(fault));
    let total = sweep(
        &options(0),
        Seeds::From(1),
        THREADS,
        runner,
        &stop,
        &|_, _, outcome| {
            found.fetch_or(outcome.verdict != Verdict::Good, Ordering::Relaxed);
        },
    );
    (total.runs, total.failures.into_iter().next())
}

#[expect(clippy::disallowed_methods, reason = "it says how long real time was")]
fn instant() -> Instant {
    Instant::now()
}

#[test]
#[ignore = "takes long: make sim-faults"]
fn a_sweep_finds_every_deliberate_fault() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let only = std::env::var("FAULT").ok();
    let merge = MERGE.iter().map(|name| Deliberate::parse(name).unwrap());
    let replica = Fault::ALL.iter().copied().map(Deliberate::Replica);
    let (mut missed, mut odd) = (Vec::new(), Vec::new());
    for fault in replica.chain(merge) {
        let name = fault.name();
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let begun = instant();
        let (runs, found) = search(fault);
        let took = begun.elapsed().as_secs_f64();
        let Some((seed, verdict)) = found else {
            println!("{name:26} not found in {runs} runs, {took:.0} s");
            missed.push(name);
            continue;
        };
        let (how, reason) = (verdict.name(), verdict.reason());
        let reason: String = reason.replace('\n', " ").chars().take(90).collect();
        println!("{name:26} {runs:4} runs, {took:5.1} s, seed {seed:3}, {how}: {reason}");
        let without = Runner::default().run(&options(seed)).verdict;
        if without != Verdict::Good {
            odd.push((seed, without));
        }
    }
    std::panic::set_hook(told);
    assert!(odd.is_empty(), "these fail without any fault: {odd:?}");
    assert!(missed.is_empty(), "not found: {missed:?}");
}
