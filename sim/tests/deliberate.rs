//! Deliberate faults of gossip, storage and merging: a sweep finds each of them.
//!
//! `make sim-faults` runs it; it takes a while.
#![cfg(feature = "faults")]

use leveret::replica::Fault;
use leveret_sim::plan::Options;
use leveret_sim::run::Verdict;
use leveret_sim::sweep::{Deliberate, Runner};

/// Runs that a fault may take. At one and a half a second on a core they take some six minutes.
const RUNS_MAX: u64 = 600;

/// Of the faults in merging, those that are tried: the first of each sort.
const MERGE: [&str; 6] = [
    "CycleUnchecked",
    "HandBackForgotten",
    "ComeBackKeepsChildren",
    "TrashedTargetAccepted",
    "HandBackOnlyOnce",
    "RemovedAgain",
];

#[test]
#[ignore = "takes long: make sim-faults"]
fn a_sweep_finds_every_deliberate_fault() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let merge = MERGE.iter().map(|name| Deliberate::parse(name).unwrap());
    let replica = Fault::ALL.iter().copied().map(Deliberate::Replica);
    let mut missed = Vec::new();
    for fault in replica.chain(merge) {
        let runner = Runner::with(Some(fault));
        let found = (1..=RUNS_MAX).find_map(|seed| {
            let verdict = runner.run(&Options::new(seed)).verdict;
            (verdict != Verdict::Good).then_some((seed, verdict))
        });
        match found {
            Some((seed, verdict)) => {
                let reason: String = verdict.reason().chars().take(90).collect();
                println!(
                    "{:26} seed {seed:3}, {}: {reason}",
                    fault.name(),
                    verdict.name()
                );
            }
            None => {
                println!("{:26} not found in {RUNS_MAX} runs", fault.name());
                missed.push(fault.name());
            }
        }
    }
    std::panic::set_hook(told);
    assert!(missed.is_empty(), "not found: {missed:?}");
}
