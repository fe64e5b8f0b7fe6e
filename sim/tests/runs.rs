//! Whole runs: they repeat, they end well, and what failed once does not fail again.

use std::collections::BTreeSet;

use leveret_sim::plan::{Kind, Options, Profile};
use leveret_sim::run::{Verdict, run};
use leveret_sim::seeds;

/// What the runs below came to when this was written. Changes of leveret that change what is sent or
/// when change them: then they are taken anew, from the message of the failing test. They are the
/// same on every machine, and in debug and release builds.
const TRACES: [(u64, &str); 3] = [
    (1, "9353a37f48ac6e3461fa462f18428005"),
    (2, "d5b9781625f7c193946f663d95c7e185"),
    (3, "38bb224a893091c5799175dfe6c8f37a"),
];

/// Kinds that make a run long.
fn without_large() -> BTreeSet<Kind> {
    [Kind::WideNode, Kind::DeepPath, Kind::LargeSet].into()
}

#[test]
fn a_seed_gives_the_same_trace_everywhere() {
    let found = TRACES.map(|(seed, _)| {
        let options = Options {
            without: without_large(),
            ..Options::new(seed)
        };
        let outcome = run(&options);
        assert_eq!(outcome.verdict, Verdict::Good, "seed {seed}");
        assert_eq!(run(&options).trace, outcome.trace, "seed {seed} once more");
        (seed, outcome.trace)
    });
    let found: Vec<_> = found
        .iter()
        .map(|(seed, trace)| (*seed, trace.as_str()))
        .collect();
    assert_eq!(found, TRACES);
}

#[test]
fn a_run_without_its_last_saves_has_the_same_first_ones() {
    let mut options = Options::new(5);
    options.saves = Some(30);
    let all = leveret_sim::plan::Plan::new(&options).schedule;
    options.saves = Some(20);
    let fewer = leveret_sim::plan::Plan::new(&options).schedule;
    assert!(fewer.iter().all(|planned| all.contains(planned)));
    assert_eq!(all.len() - fewer.len(), 10);
}

#[test]
fn what_failed_once_does_not_fail_again() {
    for (number, line) in seeds::parse(seeds::KEPT).unwrap() {
        let outcome = run(&line.0);
        assert_eq!(
            outcome.verdict,
            Verdict::Good,
            "sim/seeds.txt, line {number}: {line}"
        );
    }
}

#[test]
fn everything_at_once_and_nothing_at_all_end_well() {
    for profile in [Profile::Storm, Profile::Calm] {
        for seed in 1..4 {
            let options = Options {
                profile,
                saves: Some(60),
                without: without_large(),
                ..Options::new(seed)
            };
            assert_eq!(
                run(&options).verdict,
                Verdict::Good,
                "{profile}, seed {seed}"
            );
        }
    }
}
