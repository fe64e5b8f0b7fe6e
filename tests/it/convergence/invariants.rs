//! What must hold of every state, whatever the rules say in detail.
//!
//! These look at what came out, and at who had seen what; they know nothing of how a merge is done.

use std::collections::{BTreeMap, BTreeSet};

use leveret::merge::{ReadTree, Snapshot};
use leveret::model::NodeId;
use leveret_sim::observation::Observation;
use merge_spec::{
    ChangeSet, Conflict, Fold, Item, Kind, Node, NodeId as SpecNode, Operation, Origin,
    ParentCause, SetId, Stamp, Value,
};

/// Every node is once in the tree, or in the trash.
pub(super) fn one_place_each(found: &Observation, nodes: &[NodeId]) -> Result<(), String> {
    let mut visible = BTreeSet::from([NodeId::ROOT]);
    for child in found.children.values().flatten() {
        if !visible.insert(child.node) {
            return Err(format!("places: {child} has two parents"));
        }
    }
    for node in nodes {
        if visible.contains(node) == found.trashed.contains(node) {
            return Err(format!(
                "places: node {node} is neither here nor there, or both"
            ));
        }
    }
    Ok(())
}

/// The path of every child leads to it, be it looked up or remembered.
pub(super) fn paths_lead_there(found: &Observation, snapshot: &Snapshot) -> Result<(), String> {
    for (parent, children) in &found.children {
        for child in children {
            let path = format!("{}/{}", parent.trim_end_matches('/'), child.name);
            let parsed = path.parse().map_err(|error| format!("{path}: {error}"))?;
            let leads_to = snapshot.resolve(&parsed).map_err(|e| e.to_string())?;
            if leads_to != Some(child.node) {
                return Err(format!("paths: {path} does not lead to {child}"));
            }
        }
    }
    Ok(())
}

/// Checks the fold of a whole history.
pub(super) fn check(sets: &[ChangeSet], fold: &Fold) -> Result<(), String> {
    let history = Histories::of(sets);
    history.ids_rise(sets)?;
    reaches_root_or_trash(fold)?;
    no_unseen_move_is_removed(fold, &history)?;
    concurrent_only(fold, &history)?;
    nothing_is_lost_silently(sets, fold, &history)
}

/// Who had seen what.
struct Histories(BTreeMap<SetId, BTreeSet<SetId>>);

impl Histories {
    fn of(sets: &[ChangeSet]) -> Self {
        let numbers: BTreeMap<(Origin, u64), SetId> = sets
            .iter()
            .map(|set| ((set.id.origin, set.sequence), set.id))
            .collect();
        let mut all: BTreeMap<SetId, BTreeSet<SetId>> = BTreeMap::new();
        for set in sets {
            let mut seen = BTreeSet::new();
            for dependency in &set.dependencies {
                let id = numbers[dependency];
                seen.insert(id);
                seen.extend(&all[&id]);
            }
            all.insert(set.id, seen);
        }
        Self(all)
    }

    fn has_seen(&self, by: SetId, what: SetId) -> bool {
        by == what || self.0[&by].contains(&what)
    }

    /// Ids are greater than all that was seen (M15).
    fn ids_rise(&self, sets: &[ChangeSet]) -> Result<(), String> {
        for set in sets {
            if self.0[&set.id].last().is_some_and(|seen| *seen >= set.id) {
                return Err(format!("ids: {} does not exceed what it has seen", set.id));
            }
        }
        Ok(())
    }
}

fn parent_of(node: &Node) -> Option<SpecNode> {
    node.parent().map(|write| write.to)
}

fn reaches_root_or_trash(fold: &Fold) -> Result<(), String> {
    let nodes = fold.nodes();
    for id in nodes.keys() {
        let mut at = *id;
        for _ in 0..=nodes.len() {
            if at == SpecNode::ROOT || at == SpecNode::TRASH {
                break;
            }
            at = parent_of(&nodes[&at]).ok_or("a node that was never placed")?;
        }
        if at != SpecNode::ROOT && at != SpecNode::TRASH {
            return Err(format!("places: {id:?} is below itself"));
        }
    }
    Ok(())
}

/// What moved into a subtree unseen by its remover did not go with it (M8).
fn no_unseen_move_is_removed(fold: &Fold, history: &Histories) -> Result<(), String> {
    for (id, node) in fold.nodes() {
        let mut at = *id;
        let mut top = None;
        while let Some(write) = fold.nodes()[&at].parent() {
            if write.to == SpecNode::TRASH {
                top = (at != *id).then_some(*write);
                break;
            }
            at = write.to;
        }
        let (Some(removal), Some(moved)) = (top, node.parent()) else {
            continue;
        };
        let unseen = !history.has_seen(removal.stamp.set, moved.stamp.set);
        if removal.cause == ParentCause::Remove
            && moved.cause == ParentCause::Move
            && moved.stamp < removal.stamp
            && unseen
        {
            return Err(format!("removals: {id:?} moved in unseen, and is gone"));
        }
    }
    Ok(())
}

/// Kinds that are about concurrent change sets are only about those.
fn concurrent_only(fold: &Fold, history: &Histories) -> Result<(), String> {
    for conflict in fold.conflicts() {
        let between = matches!(
            conflict.kind,
            Kind::Overwritten | Kind::RemovalUndone | Kind::Elsewhere
        );
        if let Some(winner) = conflict.winner
            && between
            && (history.has_seen(winner, conflict.loser)
                || history.has_seen(conflict.loser, winner))
        {
            return Err(format!("conflicts: {conflict} though it was seen"));
        }
    }
    Ok(())
}

/// A write to one item of a node, to compare it with others.
struct Write<'s> {
    stamp: Stamp,
    value: Written<'s>,
}

#[derive(PartialEq)]
enum Written<'s> {
    Value(Option<&'s Value>),
    Sum,
    Place(SpecNode),
    Name(&'s str),
    Key(&'s [u8]),
    Removed,
}

/// Every acknowledged write is there, was followed by one whose author had seen it, or by one that
/// wrote the same, or is named in a conflict.
fn nothing_is_lost_silently(
    sets: &[ChangeSet],
    fold: &Fold,
    history: &Histories,
) -> Result<(), String> {
    let conflicts = fold.conflicts();
    let named = |set: SetId, node: SpecNode, item: &Item| {
        conflicts.iter().any(|conflict: &Conflict| {
            conflict.loser == set
                && (matches!(conflict.kind, Kind::Voided | Kind::UnknownNode)
                    || (conflict.node == node && (conflict.item == *item || is_whole(conflict))))
        })
    };
    let trashed = fold.trashed();
    let mut items: BTreeMap<(SpecNode, Item), Vec<Write<'_>>> = BTreeMap::new();
    for set in sets.iter().filter(|set| !fold.voided().contains(&set.id)) {
        for (index, operation) in set.operations.iter().enumerate() {
            let index = u32::try_from(index).unwrap();
            let stamp = Stamp { set: set.id, index };
            for (node, item, value) in writes(operation, stamp) {
                let all = items.entry((node, item)).or_default();
                all.push(Write { stamp, value });
            }
        }
    }
    let removals = |by: SetId| {
        sets.iter().any(|set| {
            let removes = |operation: &Operation| matches!(operation, Operation::Remove { .. });
            history.has_seen(set.id, by) && set.operations.iter().any(removes)
        })
    };
    for ((node, item), writes) in &items {
        for (i, write) in writes.iter().enumerate() {
            let set = write.stamp.set;
            let newer = &writes[i + 1..];
            let followed = newer.iter().any(|other| {
                history.has_seen(other.stamp.set, set)
                    || other.value == write.value
                    // Incs add up.
                    || (write.value == Written::Sum && other.value == Written::Sum)
            });
            if followed || named(set, *node, item) || is_there(fold, *node, item, &write.value) {
                continue;
            }
            // A removal by one who knew took its place away, and handed it back (M8).
            let parents = fold.nodes().get(node).map_or(&[][..], |n| &n.parents);
            let handed_back = parents.iter().any(|parent| {
                matches!(parent.cause, ParentCause::HandBack { .. })
                    && parent.stamp > write.stamp
                    && history.has_seen(parent.stamp.set, set)
            });
            if *item == Item::Parent && handed_back {
                continue;
            }
            // What is in the trash went there with somebody who knew, or it is named.
            let emptied = fold.nodes().get(node).is_some_and(|n| n.emptied.is_some());
            if (trashed.contains(node) || emptied) && removals(set) {
                continue;
            }
            // A removal is done if the node came back empty. One that found the node in the trash
            // has changed nothing (M7), so there is nothing of it to lose.
            let before = parents.iter().rfind(|parent| parent.stamp < write.stamp);
            let was_in_trash = before.is_some_and(|parent| parent.to == SpecNode::TRASH);
            if write.value == Written::Removed && (emptied || was_in_trash) {
                continue;
            }
            return Err(format!(
                "lost: {item:?} of {node:?}, written by {set} at {}, and nobody is told",
                write.stamp.index
            ));
        }
    }
    Ok(())
}

/// Whether a conflict is about all that the losing set did to its node: a move that is lost takes
/// its name along.
fn is_whole(conflict: &Conflict) -> bool {
    matches!(conflict.item, Item::Node | Item::Parent)
}

fn writes(operation: &Operation, stamp: Stamp) -> Vec<(SpecNode, Item, Written<'_>)> {
    let property = |name: &String| Item::Property(name.clone());
    match operation {
        Operation::Remove { node } => vec![(*node, Item::Parent, Written::Removed)],
        Operation::Move { node, parent, name } => {
            let mut all = vec![(*node, Item::Parent, Written::Place(*parent))];
            all.extend(name.iter().map(|n| (*node, Item::Name, Written::Name(n))));
            all
        }
        Operation::Rename { node, name } => vec![(*node, Item::Name, Written::Name(name))],
        Operation::Set {
            node,
            property: p,
            value,
        } => vec![(*node, property(p), Written::Value(Some(value)))],
        Operation::Unset { node, property: p } => vec![(*node, property(p), Written::Value(None))],
        Operation::Inc {
            node, property: p, ..
        } => vec![(*node, property(p), Written::Sum)],
        Operation::Order { node, key } => vec![(*node, Item::Order, Written::Key(key))],
        Operation::Add { parent, name, k } => {
            let node = SpecNode::of_add(*parent, name, *k);
            vec![(node, Item::Node, Written::Place(*parent))]
        }
        Operation::AddUnique { parent, .. } => {
            let node = SpecNode::of_add_unique(stamp);
            vec![(node, Item::Node, Written::Place(*parent))]
        }
        Operation::Dismiss { .. } => Vec::new(),
    }
}

/// Whether a node is as a write left it.
fn is_there(fold: &Fold, id: SpecNode, item: &Item, value: &Written<'_>) -> bool {
    let Some(node) = fold.nodes().get(&id) else {
        return false;
    };
    let trashed = fold.trashed().contains(&id);
    match (item, value) {
        (Item::Parent, Written::Removed) => trashed,
        _ if trashed => false,
        (Item::Node, _) => true,
        (Item::Parent, Written::Place(parent)) => parent_of(node) == Some(*parent),
        (Item::Name, Written::Name(name)) => node.name().is_some_and(|write| write.name == *name),
        (Item::Order, Written::Key(key)) => node.order_key().is_some_and(|write| write.key == *key),
        // An inc is there if it is in the value.
        (Item::Property(name), Written::Sum) => {
            matches!(node.property(name), Some((Some(Value::Int(_)), _)))
        }
        (Item::Property(name), Written::Value(value)) => {
            let now = node.property(name).and_then(|(value, _)| value);
            let (under, incs) = node.counting(name);
            now.as_ref() == *value || (!incs.is_empty() && under.is_some())
        }
        _ => false,
    }
}
