//! Runs on real disks: leveret's store on sled does what the pretended one does.
#![cfg(feature = "sled")]

use leveret_sim::plan::{Kind, Options};
use leveret_sim::run::{Verdict, run};
use leveret_sim::world::DiskKind;

#[test]
fn a_run_on_sled_is_the_same_run_whatever_happens_to_its_disks() {
    let kinds = [
        Kind::Crash,
        Kind::Torn,
        Kind::Restart,
        Kind::RestoredBackup,
        Kind::Clone,
        Kind::LostTail,
        Kind::DiskFull,
        Kind::SlowSync,
    ];
    let mut met = std::collections::BTreeSet::new();
    for seed in 1..4 {
        let in_memory = Options {
            replicas: Some(3),
            saves: Some(30),
            seconds: Some(15),
            with: kinds.into(),
            without: [Kind::WideNode, Kind::DeepPath, Kind::LargeSet].into(),
            ..Options::new(seed)
        };
        let on_sled = Options {
            disk: DiskKind::Sled,
            ..in_memory.clone()
        };
        let (expected, found) = (run(&in_memory), run(&on_sled));
        assert_eq!(expected.verdict, Verdict::Good, "seed {seed} in memory");
        assert_eq!(found.verdict, Verdict::Good, "seed {seed} on sled");
        assert_eq!(found.trace, expected.trace, "seed {seed}");
        met.extend(found.tally.kinds.keys().copied());
    }
    let missing: Vec<_> = kinds.iter().filter(|kind| !met.contains(kind)).collect();
    assert!(missing.is_empty(), "never met: {missing:?}");
}
