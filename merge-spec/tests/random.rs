//! The random histories: that they are what they promise.

use std::collections::{BTreeMap, BTreeSet};

use merge_spec::random::{self, Event, History};
use merge_spec::{Case, ChangeSet, Item, Kind, NodeId, Operation, RULES, fold};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

fn histories(count: usize) -> Vec<History> {
    let mut runner = TestRunner::deterministic();
    let strategy = random::history();
    (0..count)
        .map(|_| strategy.new_tree(&mut runner).expect("a history").current())
        .collect()
}

/// Branches that no history can reach, whoever plays it.
const OUT_OF_REACH: [&str; 3] = ["M2 held", "M9 cycle without a reason", "M12 root or trash"];

#[test]
fn histories_take_every_branch_of_the_rules() {
    let (mut fired, mut saves) = (BTreeMap::new(), Vec::new());
    let (mut structural, mut operations) = (0, 0);
    // So many histories; HISTORIES says otherwise.
    let count = std::env::var("HISTORIES").map_or(300, |count| count.parse().expect("a number"));
    for history in histories(count) {
        let sets = &history.case.change_sets;
        saves.push(sets.len() - 1);
        for operation in sets.iter().skip(1).flat_map(|set| &set.operations) {
            operations += 1;
            structural += usize::from(matches!(
                operation,
                Operation::Add { .. }
                    | Operation::AddUnique { .. }
                    | Operation::Remove { .. }
                    | Operation::Move { .. }
            ));
        }
        for (rule, times) in fold(sets).fired() {
            *fired.entry(rule).or_insert(0) += times;
        }
    }
    saves.sort_unstable();
    let (median, share) = (saves[saves.len() / 2], 100 * structural / operations);
    println!("{count} histories, {median} saves in the median, {share} % structural");
    for rule in RULES {
        println!("{:8} {rule}", fired.get(rule).unwrap_or(&0));
    }
    // At least one in four histories; most have it far more often.
    let seldom = |rule: &&&str| fired.get(**rule).unwrap_or(&0) * 4 < count as u64;
    let reachable = |rule: &&&str| !OUT_OF_REACH.contains(*rule);
    let missing: Vec<&&str> = RULES.iter().filter(reachable).filter(seldom).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!((32..=48).contains(&median), "{median}");
    assert!((25..=40).contains(&share), "{share}");
}

#[test]
fn a_history_shrinks_to_what_matters() {
    // As if it were wrong that a removal hands back what a skipped move left there.
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let failed = runner.run(&random::history(), |history| {
        let fired = fold(&history.case.change_sets).fired();
        prop_assert!(!fired.contains_key("M8 (b)"));
        Ok(())
    });
    let Err(TestError::Fail(_, history)) = failed else {
        panic!("{failed:?}");
    };
    let (saves, operations) = size(&history.case);
    assert!(saves <= 8 && operations <= 24, "{saves}, {operations}");

    let mut tried = 0;
    let least = merge_spec::minimise(&history.case, |case| {
        tried += 1;
        fold(&case.change_sets).fired().contains_key("M8 (b)")
    });
    println!("{tried} tried\n{}", least.to_toml());
    let again = Case::parse("least", &least.to_toml()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.change_sets, least.change_sets);
    // Three adds, a removal, a move in vain, a removal by one who saw that move.
    assert_eq!(size(&least), (5, 6));
}

#[test]
fn what_is_minimised_still_fails() {
    for (at, history) in histories(4).iter().enumerate() {
        let rules = [
            "M8 (b)",
            "M6 comes back",
            "M13 voided by a skip",
            "M9 cycle",
        ];
        let rule = rules[at % rules.len()];
        let fails = |case: &Case| fold(&case.change_sets).fired().contains_key(rule);
        if fails(&history.case) {
            let least = merge_spec::minimise(&history.case, fails);
            assert!(fails(&least));
            assert!(size(&least).1 <= 24, "{}", least.to_toml());
        }
    }
}

#[test]
fn a_history_that_is_transcribed_does_the_same() {
    let (mut whole, count) = (0, 60);
    for history in histories(count) {
        let sets = &history.case.change_sets;
        let case = Case::transcribe("again", "as it was", sets).expect("a history has a case");
        let read = Case::parse("again", &case.to_toml()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.change_sets, case.change_sets);
        let model = read.check();
        model.unwrap_or_else(|mismatch| panic!("{}", mismatch.what));
        // Its base is somebody's first save now, and there is an empty base before that.
        let operations = |sets: &[ChangeSet]| -> Vec<usize> {
            sets.iter().map(|set| set.operations.len()).collect()
        };
        if operations(&case.change_sets)[1..] == operations(sets) {
            assert_eq!(fold(&case.change_sets).fired(), fold(sets).fired());
            whole += 1;
        }
    }
    // Other ids may leave no place between two nodes of one name.
    assert!(whole * 10 >= count * 9, "{whole} of {count}");
}

/// The saves, the base not counted if it is empty, and the operations.
fn size(case: &Case) -> (usize, usize) {
    let lengths = case.change_sets.iter().map(|set| set.operations.len());
    let saves = lengths.clone().filter(|length| *length > 0).count();
    (saves, lengths.sum())
}

/// The parts that a report of a kind can be about (M14).
fn parts(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Overwritten => &["parent", "name", "order", "property"],
        Kind::UnderRemoved => &["node", "parent", "name", "order", "property"],
        Kind::TargetRemoved | Kind::Cycle | Kind::RemovalUndone => &["parent"],
        Kind::NameClash => &["name"],
        _ => &["node"],
    }
}

#[test]
fn reports_have_the_part_and_the_winner_that_the_readme_says() {
    let mut met = BTreeSet::new();
    for history in histories(100) {
        for conflict in fold(&history.case.change_sets).conflicts() {
            let part = match conflict.item {
                Item::Node => "node",
                Item::Parent => "parent",
                Item::Name => "name",
                Item::Order => "order",
                Item::Property(_) => "property",
            };
            assert!(parts(conflict.kind).contains(&part), "{conflict:?}");
            let none = matches!(conflict.kind, Kind::Voided | Kind::UnknownNode);
            assert_eq!(conflict.winner.is_none(), none, "{conflict:?}");
            assert!(conflict.kind != Kind::Voided || conflict.node == NodeId::ROOT);
            met.insert((conflict.kind, part));
        }
    }
    let all: usize = Kind::ALL.iter().map(|kind| parts(*kind).len()).sum();
    assert_eq!(met.len(), all, "each of them was met: {met:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_history_written_as_a_case_is_read_again(history in random::history()) {
        let text = history.case.to_toml();
        let again = Case::parse("random", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        prop_assert_eq!(&again, &history.case);
        prop_assert!(again.check().is_ok());
    }

    #[test]
    fn events_tell_what_each_author_had_seen(history in random::history()) {
        let mut seen: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for event in &history.events {
            match event {
                Event::Saved(id) => {
                    let seen = seen.entry(id.origin).or_default();
                    prop_assert!(seen.iter().all(|other| other < id));
                    seen.push(*id);
                }
                Event::Delivered { to, sets } => {
                    let seen = seen.entry(*to).or_default();
                    prop_assert!(sets.iter().all(|id| !seen.contains(id)));
                    seen.extend(sets);
                }
            }
        }
    }
}
