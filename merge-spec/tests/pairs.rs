//! The cases have every pair of concurrent operations on nodes that are close to each other.
//!
//! Which operations of a case are concurrent, and how their nodes were related for the authors
//! when they wrote, is derived from its change sets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use merge_spec::{Case, ChangeSet, Fold, NodeId, Operation, Origin, SetId, Stamp, fold};

/// How the node of the older operation is related to that of the newer one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Relation {
    /// It is the same.
    Same,
    /// It is the parent of the other.
    Parent,
    /// It is a child of the other.
    Child,
    /// Both have one parent.
    Sibling,
}

const RELATIONS: [Relation; 4] = [
    Relation::Same,
    Relation::Parent,
    Relation::Child,
    Relation::Sibling,
];

const KINDS: [&str; 10] = [
    "add",
    "add_unique",
    "remove",
    "move",
    "rename",
    "move with name",
    "set",
    "unset",
    "inc",
    "order",
];

/// The relation, the older operation, the newer operation.
type Pair = (Relation, &'static str, &'static str);

/// Why no case can have a pair; none for those that it can have.
fn impossible((relation, older, newer): Pair) -> Option<&'static str> {
    let unique = "add_unique";
    match relation {
        Relation::Same if older == unique || newer == unique => {
            Some("nobody else knows a node that an add_unique is about to make")
        }
        Relation::Parent if older == unique => {
            Some("nobody else knows a node that an add_unique is about to make")
        }
        Relation::Child if newer == unique => {
            Some("nobody else knows a node that an add_unique is about to make")
        }
        _ => None,
    }
}

fn kind(operation: &Operation) -> Option<&'static str> {
    Some(match operation {
        Operation::Add { .. } => "add",
        Operation::AddUnique { .. } => "add_unique",
        Operation::Remove { .. } => "remove",
        Operation::Move { name: None, .. } => "move",
        Operation::Move { name: Some(_), .. } => "move with name",
        Operation::Rename { .. } => "rename",
        Operation::Set { .. } => "set",
        Operation::Unset { .. } => "unset",
        Operation::Inc { .. } => "inc",
        Operation::Order { .. } => "order",
        Operation::Dismiss { .. } => return None,
    })
}

/// An operation, with its node and the parent that this had in the author's view just before.
struct Done {
    kind: &'static str,
    node: NodeId,
    parent: Option<NodeId>,
}

fn done(operation: &Operation, stamp: Stamp, view: &Fold) -> Option<Done> {
    let kind = kind(operation)?;
    let above = |node: &NodeId| Some(view.nodes().get(node)?.parent()?.to);
    let (node, parent) = match operation {
        Operation::Add { parent, name, k } => (NodeId::of_add(*parent, name, *k), Some(*parent)),
        Operation::AddUnique { parent, .. } => (NodeId::of_add_unique(stamp), Some(*parent)),
        Operation::Remove { node }
        | Operation::Move { node, .. }
        | Operation::Rename { node, .. }
        | Operation::Set { node, .. }
        | Operation::Unset { node, .. }
        | Operation::Inc { node, .. }
        | Operation::Order { node, .. } => (*node, above(node)),
        Operation::Dismiss { .. } => return None,
    };
    Some(Done { kind, node, parent })
}

/// What each author did, and what he had seen.
fn all_done(sets: &[ChangeSet]) -> BTreeMap<SetId, (BTreeSet<SetId>, Vec<Done>)> {
    let by_sequence: BTreeMap<(Origin, u64), SetId> = sets
        .iter()
        .map(|set| ((set.id.origin, set.sequence), set.id))
        .collect();
    let mut all: BTreeMap<SetId, (BTreeSet<SetId>, Vec<Done>)> = BTreeMap::new();
    for set in sets {
        let mut seen = BTreeSet::new();
        for dependency in &set.dependencies {
            let id = by_sequence[dependency];
            seen.insert(id);
            seen.extend(&all[&id].0);
        }
        let past = sets.iter().filter(|other| seen.contains(&other.id));
        let mut past: Vec<ChangeSet> = past.cloned().collect();
        let mut draft = set.clone();
        draft.operations.clear();
        past.push(draft);
        let mut operations = Vec::new();
        for (index, operation) in (0..).zip(&set.operations) {
            let stamp = Stamp { set: set.id, index };
            operations.extend(done(operation, stamp, &fold(&past)));
            let draft = past.last_mut().expect("the draft");
            draft.operations.push(operation.clone());
        }
        all.insert(set.id, (seen, operations));
    }
    all
}

fn relation(older: &Done, newer: &Done) -> Option<Relation> {
    if older.node == newer.node {
        Some(Relation::Same)
    } else if newer.parent == Some(older.node) {
        Some(Relation::Parent)
    } else if older.parent == Some(newer.node) {
        Some(Relation::Child)
    } else if older.parent.is_some() && older.parent == newer.parent {
        Some(Relation::Sibling)
    } else {
        None
    }
}

fn pairs(case: &Case) -> BTreeSet<Pair> {
    let all = all_done(&case.change_sets);
    let mut pairs = BTreeSet::new();
    for (older_id, (_, older)) in &all {
        for (_, (seen, newer)) in all.range(older_id..).skip(1) {
            if seen.contains(older_id) {
                continue;
            }
            for one in older {
                for other in newer {
                    pairs.extend(relation(one, other).map(|how| (how, one.kind, other.kind)));
                }
            }
        }
    }
    pairs
}

#[test]
fn every_pair_of_concurrent_operations_has_a_case() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut covered = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the folder of the cases") {
        let path = entry.expect("a case").path();
        let case = Case::read(path).unwrap_or_else(|error| panic!("{error}"));
        covered.extend(pairs(&case));
    }
    let (mut missing, mut wrong, mut impossible_pairs) = (Vec::new(), Vec::new(), 0);
    for relation in RELATIONS {
        for older in KINDS {
            for newer in KINDS {
                let pair = (relation, older, newer);
                let there = covered.contains(&pair);
                match impossible(pair) {
                    None if !there => missing.push(pair),
                    Some(why) if there => wrong.push((pair, why)),
                    Some(_) => impossible_pairs += 1,
                    None => {}
                }
            }
        }
    }
    assert!(wrong.is_empty(), "said to be impossible: {wrong:#?}");
    assert!(missing.is_empty(), "{}: {missing:#?}", missing.len());
    assert_eq!((covered.len(), impossible_pairs), (400 - 39, 39));
}
