//! Histories by hand, written as cases are, and many made by chance.

use merge_spec::Case;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::engine::from_spec;

/// Compares the history of a case: a base, and saves as `A@3 [what it saw]: operations; ...`.
fn compare_case(base: &str, saves: &[&str]) -> Comparison {
    let lines = |ops: &str| ops.replace("; ", "\n");
    let mut text = format!("title = \"t\"\nbase = '''\n{}\n'''\n", lines(base));
    for save in saves {
        let (who, ops) = save.split_once(": ").expect("an author");
        let (id, saw) = who.split_once(' ').unwrap_or((who, "[]"));
        let (by, at) = id.split_once('@').expect("a time");
        text += &format!(
            "[[save]]\nby = \"{by}\"\nat = {at}\nsaw = {saw}\nops = '''\n{}\n'''\n",
            lines(ops)
        );
    }
    text += "[expect]\ntree = '{}'\nconflicts = []\n";
    let case = Case::parse("t", &text).expect("a case");
    let mut sets: Vec<Arc<ChangeSet>> = case.change_sets.iter().map(from_spec).collect();
    sets.sort_by_key(|set| set.id);
    compare(&sets)
}

/// Concurrent, lost by node, lost by property, told; and all told is all lost.
fn counts(base: &str, saves: &[&str]) -> (u64, u64, u64) {
    let comparison = compare_case(base, saves);
    assert_eq!(comparison.lost_by_property, comparison.told_by_property);
    let Comparison {
        concurrent,
        lost_by_node,
        lost_by_property,
        ..
    } = comparison;
    (concurrent, lost_by_node, lost_by_property)
}

#[test]
fn of_two_properties_written_at_once_only_the_simple_way_loses_one() {
    assert_eq!(
        counts("add /a", &["A@3: set /a x 1", "B@9: set /a y 2"]),
        (2, 1, 0)
    );
}

#[test]
fn of_two_values_of_one_property_both_ways_lose_one_and_one_of_them_tells() {
    let comparison = compare_case("add /a", &["A@3: set /a x 1", "B@9: set /a x 2"]);
    let expected = Comparison {
        writes: 2,
        left_out: 0,
        concurrent: 2,
        lost_by_node: 1,
        lost_by_property: 1,
        told_by_property: 1,
    };
    assert_eq!(comparison, expected);
}

#[test]
fn who_has_seen_a_value_replaces_it_and_nothing_is_lost() {
    let saves = ["A@3: set /a x 1; set /a y 1", "B@9 [\"A@3\"]: set /a x 2"];
    assert_eq!(counts("add /a", &saves), (0, 0, 0));
}

#[test]
fn writes_to_different_nodes_never_meet() {
    let saves = ["A@3: set /a x 1", "B@9: set /b x 2", "B@10: inc /b n 2"];
    assert_eq!(counts("add /a; add /b", &saves), (0, 0, 0));
}

#[test]
fn counters_add_up_only_where_old_changes_are_merged() {
    let saves = ["A@3: inc /a n 2", "B@9: inc /a n 3"];
    assert_eq!(counts("add /a", &saves), (2, 1, 0));
    // A set replaces what its author had not seen.
    let saves = ["A@3: inc /a n 2", "B@9: set /a n 3"];
    assert_eq!(counts("add /a", &saves), (2, 1, 1));
    // An older set replaces nothing.
    let saves = ["A@3: set /a n 3", "B@9: inc /a n 2"];
    assert_eq!(counts("add /a", &saves), (2, 1, 0));
    // What is no integer can not be added to.
    let saves = ["A@3: set /a n \"three\"", "B@9: inc /a n 2"];
    assert_eq!(counts("add /a", &saves), (2, 1, 1));
    // Set and counted in one save: what is counted is lost with it.
    let saves = ["A@3: set /a n 2; inc /a n 3", "B@9: set /a n 2"];
    assert_eq!(counts("add /a", &saves), (2, 1, 1));
    let saves = ["A@3: set /a n 2", "B@9: set /a n 2; inc /a n 3"];
    assert_eq!(counts("add /a", &saves), (2, 0, 0));
}

#[test]
fn a_node_that_was_only_renamed_meanwhile_is_carried_whole_too() {
    assert_eq!(
        counts("add /a", &["A@3: set /a x 1", "B@9: move /a /b"]),
        (1, 1, 0)
    );
    assert_eq!(
        counts("add /a", &["A@9: set /a x 1", "B@3: move /a /b"]),
        (1, 0, 0)
    );
}

#[test]
fn what_a_version_lost_is_back_with_a_newer_one_that_had_it() {
    // C saw A, not B, and is the newest: what A wrote is there again, and B's is not.
    let saves = [
        "A@3: set /a x 1",
        "B@5: set /a y 2",
        "C@9 [\"A@3\"]: set /a z 3",
    ];
    assert_eq!(counts("add /a", &saves), (3, 1, 0));
}

#[test]
fn to_have_seen_both_does_not_help_where_the_store_had_lost_one_already() {
    let saves = [
        "A@3: set /a x 1",
        "B@5: set /a y 2",
        "C@9 [\"A@3\", \"B@5\"]: set /a z 3",
    ];
    assert_eq!(counts("add /a", &saves), (2, 1, 0));
}

#[test]
fn what_was_replaced_knowingly_is_not_lost_again_with_what_replaced_it() {
    let saves = ["A@3: set /a x 1", "A@4: set /a x 2", "B@9: set /a y 3"];
    // Of A's two writes only the second is lost.
    assert_eq!(counts("add /a", &saves), (3, 1, 0));
}

#[test]
fn the_same_value_written_twice_is_lost_neither_time_and_told_once_if_it_is() {
    let saves = ["A@3: set /a x 1", "B@9: set /a x 1"];
    assert_eq!(counts("add /a", &saves), (2, 0, 0));
    let saves = ["A@3: set /a x 1", "B@9: set /a x 1", "C@11: set /a x 2"];
    assert_eq!(counts("add /a", &saves), (3, 2, 2));
    // Whoever replaces the second one has replaced the first.
    let saves = [
        "A@3: set /a x 1",
        "B@9: set /a x 1",
        "C@11 [\"B@9\"]: set /a x 2",
    ];
    assert_eq!(counts("add /a", &saves), (3, 0, 0));
    let saves = ["A@3: unset /a x", "B@9: unset /a x"];
    assert_eq!(counts("add /a; set /a x 1", &saves), (2, 0, 0));
}

#[test]
fn what_a_save_writes_too_and_changes_at_once_is_lost_without_a_word() {
    // M14 compares with B's first value, which is A's, and B's second replaces B's own.
    let comparison = compare_case(
        "add /a",
        &["A@3: set /a x 1", "B@9: set /a x 1; set /a x 2"],
    );
    let lost = (comparison.lost_by_property, comparison.told_by_property);
    assert_eq!(lost, (1, 0));
}

#[test]
fn equal_adds_are_one_node_of_which_the_simple_way_keeps_one_half() {
    let saves = ["A@3: add /a; set /a x 1", "B@9: add /a; set /a y 2"];
    assert_eq!(counts("", &saves), (2, 1, 0));
}

#[test]
fn what_is_in_the_trash_or_came_back_empty_is_left_out() {
    let comparison = compare_case(
        "add /a; add /b; set /b x 1",
        &["A@3: set /a x 1", "B@9: remove /a", "C@11: set /b y 1"],
    );
    assert_eq!((comparison.writes, comparison.left_out), (2, 1));
    let comparison = compare_case(
        "",
        &[
            "A@3: add /e; set /e x 1",
            "A@4: remove /e",
            "B@9: add /e; set /e y 1",
        ],
    );
    assert_eq!((comparison.writes, comparison.left_out), (0, 2));
}

#[test]
fn what_a_voided_save_wrote_is_left_out() {
    let text = "title = \"t\"\nbase = 'add /a'\n\
        [[save]]\nby = \"A\"\nat = 3\nsaw = []\nops = 'remove /a'\n\
        [[save]]\nby = \"B\"\nat = 9\nsaw = []\nall_or_nothing = true\n\
        ops = '''\nset / x 2\nset /a x 2\n'''\n\
        [expect]\ntree = '{}'\nconflicts = []\n";
    let case = Case::parse("t", text).expect("a case");
    let sets: Vec<Arc<ChangeSet>> = case.change_sets.iter().map(from_spec).collect();
    let comparison = compare(&sets);
    assert_eq!((comparison.writes, comparison.left_out), (0, 2));
}

#[test]
fn an_empty_history_loses_nothing_and_sums_of_comparisons_add_up() {
    assert_eq!(compare(&[]), Comparison::default());
    let one = compare_case("add /a", &["A@3: set /a x 1", "B@9: set /a y 2"]);
    let mut both = one;
    both += one;
    assert_eq!((both.writes, both.concurrent, both.lost_by_node), (4, 4, 2));
}

#[test]
fn a_dismissed_conflict_was_told() {
    let text = "title = \"t\"\nbase = 'add /a'\n\
        [[save]]\nby = \"A\"\nat = 3\nsaw = []\nops = 'set /a x 1'\n\
        [[save]]\nby = \"B\"\nat = 9\nsaw = []\nops = 'set /a x 2'\n\
        [expect]\ntree = '{}'\nconflicts = []\n";
    let case = Case::parse("t", text).expect("a case");
    let mut sets: Vec<Arc<ChangeSet>> = case.change_sets.iter().map(from_spec).collect();
    let conflicts = Judge::of(&sets).conflicts();
    let conflict = conflicts.first().expect("A's write is overwritten").id();
    let mut dismissal = ChangeSet::clone(&sets[2]);
    dismissal.id.time.0 += 1;
    dismissal.sequence = dismissal.sequence.next();
    dismissal.operations = vec![Operation::Dismiss { conflict }];
    sets.push(Arc::new(dismissal));
    assert!(Judge::of(&sets).conflicts().is_empty());
    let comparison = compare(&sets);
    assert_eq!(
        (comparison.lost_by_property, comparison.told_by_property),
        (1, 1)
    );
}

/// A few authors who write to a few properties of a few nodes, and now and then see each other.
fn by_chance(random: &mut ChaCha8Rng) -> Comparison {
    let authors = ["A", "B", "C", "D"];
    let mut saves: Vec<String> = Vec::new();
    for at in 1..random.random_range(2..24) {
        let by = authors.choose(random).expect("an author");
        let seen = random.random_range(0..3);
        let ids = saves
            .iter()
            .filter_map(|save| save.split([' ', ':']).next());
        let ids: Vec<String> = ids.map(|id| format!("\"{id}\"")).collect();
        let saw: Vec<String> = ids.choose_multiple(random, seen).cloned().collect();
        // A save sets a property once, and then counts.
        let mut set = BTreeSet::new();
        let mut operation = |random: &mut ChaCha8Rng| {
            let node = ["/a", "/a/b", "/c"].choose(random).expect("a node");
            let name = ["x", "y"].choose(random).expect("a name");
            let number = random.random_range(1..4);
            match random.random_range(0..10) {
                kind if kind > 6 || !set.insert((node, name)) => {
                    format!("inc {node} {name} {number}")
                }
                6 => format!("unset {node} {name}"),
                5 => format!("set {node} {name} \"{number}\""),
                _ => format!("set {node} {name} {number}"),
            }
        };
        let count = random.random_range(1..4);
        let operations: Vec<String> = (0..count).map(|_| operation(random)).collect();
        saves.push(format!(
            "{by}@{at} [{}]: {}",
            saw.join(", "),
            operations.join("; ")
        ));
    }
    let base = "add /a; add /a/b; add /c; set /a x 1; set /a/b x 1; set /c x 1; set /a y 1; \
                set /a/b y 1; set /c y 1";
    let saves: Vec<&str> = saves.iter().map(String::as_str).collect();
    compare_case(base, &saves)
}

#[test]
fn whatever_is_lost_is_concurrent_and_leveret_tells_all_that_it_loses() {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let mut all = Comparison::default();
    for run in 0..400 {
        let one = by_chance(&mut random);
        assert_eq!(
            one.told_by_property, one.lost_by_property,
            "run {run}: {one:?}"
        );
        assert!(
            one.lost_by_node <= one.concurrent && one.concurrent <= one.writes,
            "{one:?}"
        );
        all += one;
    }
    assert!(all.lost_by_property > 300, "{all:?}");
    assert!(all.lost_by_node > all.lost_by_property, "{all:?}");
}

#[test]
fn every_worked_case_can_be_compared_and_the_engine_agrees_with_the_naive_store() {
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../merge-spec/cases");
    let mut count = 0;
    for file in std::fs::read_dir(cases).expect("the cases are there") {
        let path = file.expect("a file").path();
        let case = Case::read(&path).expect("a case");
        let mut sets: Vec<Arc<ChangeSet>> = case.change_sets.iter().map(from_spec).collect();
        sets.sort_by_key(|set| set.id);
        let one = compare(&sets);
        assert_eq!(one.lost_by_property, one.told_by_property, "{path:?}");
        assert!(one.lost_by_node <= one.concurrent, "{path:?}: {one:?}");
        count += 1;
    }
    assert!(count > 50, "{count} cases");
}
