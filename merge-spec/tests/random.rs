//! The random histories: that they are what they promise.

use std::collections::BTreeMap;

use merge_spec::random::{self, Event, History};
use merge_spec::{Case, Operation, RULES, fold};
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
    println!("{}", history.case.to_toml());
    let operations = history
        .case
        .change_sets
        .iter()
        .map(|set| set.operations.len());
    assert!(operations.sum::<usize>() <= 24);
    assert!(history.case.saves.len() <= 8);
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
