//! What conflicts say of a node its explanation says too, and the other way round.

use std::collections::BTreeMap;
use std::path::Path;

use leveret::merge::{Outcome, ReadTree as _, Snapshot};
use leveret::model::{Conflict, ConflictItem, ConflictKind, Stamp};
use leveret_sim::observation::nodes_of;
use merge_spec::Case;
use proptest::prelude::*;

use super::engine_of;

/// Whether an explanation has what a conflict says.
fn is_told(tree: &Snapshot, conflict: &Conflict) -> bool {
    let explanation = tree.explain(conflict.node, 100).unwrap().unwrap();
    let mut items = explanation.items.iter();
    let Some(history) = items.find(|history| history.item == conflict.item) else {
        return false;
    };
    let won = |by: Stamp| Some(by.id) == conflict.winner;
    let mut writes = history.writes.iter();
    writes.any(|write| {
        write.stamp.id == conflict.loser
            && match (conflict.kind, write.outcome) {
                // Of several that it lost to, the explanation names the first.
                (ConflictKind::Overwritten, Outcome::Overwritten { by }) => {
                    won(by) || matches!(conflict.item, ConflictItem::Property(_))
                }
                // A removal that has been undone came between them.
                (ConflictKind::Overwritten, Outcome::Removed { .. }) => {
                    conflict.item == ConflictItem::Parent
                }
                (ConflictKind::Cycle, Outcome::Skipped { reason, cycle }) => cycle && won(reason),
                (ConflictKind::TargetRemoved, Outcome::Skipped { reason, cycle }) => {
                    !cycle && won(reason)
                }
                (ConflictKind::TargetRemoved, Outcome::HandedBack { by }) => won(by),
                (ConflictKind::RemovalUndone, Outcome::Undone { by, seen }) => !seen && won(by),
                _ => false,
            }
    })
}

/// Holds what conflicts say against what explanations say, of all nodes. Counts the conflicts.
fn compare(case: &Case, told: &mut BTreeMap<ConflictKind, usize>) {
    let tree = engine_of(case).state.snapshot();
    let open = tree.conflicts().unwrap();
    let kinds = [
        ConflictKind::Overwritten,
        ConflictKind::Cycle,
        ConflictKind::TargetRemoved,
        ConflictKind::RemovalUndone,
    ];
    for conflict in open.iter().filter(|open| kinds.contains(&open.kind)) {
        assert!(is_told(&tree, conflict), "{}\n{conflict:?}", case.to_toml());
        *told.entry(conflict.kind).or_default() += 1;
    }
    for node in nodes_of(&merge_spec::fold(&case.change_sets)) {
        let Some(explanation) = tree.explain(node, 256).unwrap() else {
            continue;
        };
        assert_eq!(explanation.path.is_some(), explanation.trashed.is_none());
        for history in explanation.items {
            for write in &history.writes {
                let Outcome::Overwritten { by } = write.outcome else {
                    continue;
                };
                let conflict = Conflict {
                    loser: write.stamp.id,
                    kind: ConflictKind::Overwritten,
                    node,
                    item: history.item.clone(),
                    winner: Some(by.id),
                };
                let known = open.contains(&conflict) || tree.is_dismissed(conflict.id()).unwrap();
                assert!(known, "{}\n{conflict:?}", case.to_toml());
            }
        }
    }
}

#[test]
fn what_conflicts_say_of_a_node_its_explanation_says_too() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("merge-spec/cases");
    let mut told = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        compare(&Case::read(entry.unwrap().path()).unwrap(), &mut told);
    }
    assert_eq!(told.len(), 4, "{told:?}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn in_random_histories_too(history in merge_spec::random::history()) {
        compare(&history.case, &mut BTreeMap::new());
    }
}
