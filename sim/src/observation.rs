//! What of a state is compared, and where two states differ.
//!
//! The one place to add to when the engine and the model come to tell more of what they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use leveret::merge::{ReadTree, Snapshot, StateDigest};
use leveret::model::{
    ChangeSetId, Conflict, ConflictItem, ConflictKind, NodeId, OriginId, PropertyName, Time,
};
use merge_spec::{self as spec, Fold};
use serde_json::Value as Json;

use crate::engine::{Visible, spec_children};

/// Everything of a state that the engine and the naive model both tell.
#[derive(Clone, PartialEq, Debug)]
pub struct Observation {
    /// The visible tree, in the JSON form of cases.
    pub tree: Json,
    /// The children of every visible node in order, by the path of the parent.
    pub children: BTreeMap<String, Vec<Shown>>,
    /// The nodes that are not in the tree, of those that the model knows.
    pub trashed: BTreeSet<NodeId>,
    /// The open conflicts.
    pub conflicts: BTreeSet<Conflict>,
    /// The digest of the state.
    pub digest: StateDigest,
}

/// A child in its parent's list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// What it is shown as (M10).
    pub name: String,
    /// The node.
    pub node: NodeId,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, &self.node.to_string()[..8])
    }
}

impl Observation {
    /// What the engine tells of a state. `nodes` are those that may be trashed: the engine does
    /// not list its trash, but is asked of each whether it is in the tree.
    ///
    /// # Panics
    /// If the state can not be read.
    pub fn of_engine(snapshot: &Snapshot, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        Self::of_visible(&Visible::of(snapshot), snapshot, nodes)
    }

    /// The same, of a state whose visible part has been read.
    ///
    /// # Panics
    /// If the rest can not be read.
    pub fn of_visible(
        visible: &Visible,
        snapshot: &Snapshot,
        nodes: impl IntoIterator<Item = NodeId>,
    ) -> Self {
        let is_trashed = |node: &NodeId| {
            let visible = snapshot.is_visible(*node);
            !visible.expect("the store of a test can be read")
        };
        Self {
            tree: visible.tree(),
            children: visible.children(),
            trashed: nodes.into_iter().filter(is_trashed).collect(),
            conflicts: snapshot
                .conflicts()
                .expect("the store of a test can be read"),
            digest: snapshot.digest(),
        }
    }

    /// What the model tells of a fold.
    pub fn of_model(fold: &Fold) -> Self {
        Self {
            tree: fold.tree(),
            children: spec_children(fold),
            trashed: fold.trashed().iter().map(|node| NodeId(node.0)).collect(),
            conflicts: fold.open_conflicts().iter().map(conflict).collect(),
            digest: StateDigest(fold.digest().0),
        }
    }

    /// The conflicts as cases have them: `AUTHOR@TIME kind`, each pair once.
    pub fn conflict_pairs(&self) -> Vec<String> {
        let pair = |conflict: &Conflict| format!("{} {}", set_id(conflict.loser), conflict.kind);
        let pairs: BTreeSet<String> = self.conflicts.iter().map(pair).collect();
        pairs.into_iter().collect()
    }

    /// Where this differs from what it should be, in one line; nothing if it does not.
    pub fn first_difference(&self, expected: &Self) -> Option<String> {
        first_member(&self.tree, &expected.tree)
            .or_else(|| first_list(&self.children, &expected.children))
            .or_else(|| first_trashed(&self.trashed, &expected.trashed))
            .or_else(|| first_conflict(&self.conflicts, &expected.conflicts))
            .or_else(|| {
                let (found, expected) = (self.digest, expected.digest);
                (found != expected).then(|| format!("digest: {found} instead of {expected}"))
            })
    }
}

/// The nodes that a fold knows, for [`Observation::of_engine`].
pub fn nodes_of(fold: &Fold) -> Vec<NodeId> {
    fold.nodes().keys().map(|node| NodeId(node.0)).collect()
}

/// The first member, from the root down, that two trees do not share.
fn first_member(found: &Json, expected: &Json) -> Option<String> {
    let mut waiting = vec![(String::new(), Some(found), Some(expected))];
    while let Some((path, found, expected)) = waiting.pop() {
        if found == expected {
            continue;
        }
        let (Some(Json::Object(a)), Some(Json::Object(b))) = (found, expected) else {
            let shown = |json: Option<&Json>| json.map_or("nothing".to_owned(), Json::to_string);
            let (found, expected) = (shown(found), shown(expected));
            return Some(format!("tree: at {path} is {found} instead of {expected}"));
        };
        let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        // The first one is to be popped first.
        for name in names.into_iter().rev() {
            waiting.push((format!("{path}/{name}"), a.get(name), b.get(name)));
        }
    }
    None
}

fn first_list(
    found: &BTreeMap<String, Vec<Shown>>,
    expected: &BTreeMap<String, Vec<Shown>>,
) -> Option<String> {
    let paths: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let path = paths
        .into_iter()
        .find(|path| found.get(*path) != expected.get(*path))?;
    let shown = |lists: &BTreeMap<String, Vec<Shown>>| match lists.get(path) {
        None => "no node".to_owned(),
        Some(list) => {
            let list: Vec<String> = list.iter().map(Shown::to_string).collect();
            format!("[{}]", list.join(", "))
        }
    };
    let (found, expected) = (shown(found), shown(expected));
    let path = if path.is_empty() { "/" } else { path };
    Some(format!(
        "order: the children of {path} are {found} instead of {expected}"
    ))
}

fn first_trashed(found: &BTreeSet<NodeId>, expected: &BTreeSet<NodeId>) -> Option<String> {
    let node = found.symmetric_difference(expected).next()?;
    let not = if found.contains(node) { "" } else { "not " };
    Some(format!("trash: the node {node} is {not}trashed"))
}

fn first_conflict(found: &BTreeSet<Conflict>, expected: &BTreeSet<Conflict>) -> Option<String> {
    let conflict = found.symmetric_difference(expected).next()?;
    let what = match found.contains(conflict) {
        true => "is not one",
        false => "is missing",
    };
    let winner = conflict.winner.map(set_id);
    let winner = winner.map_or("nobody".to_owned(), |id| id.to_string());
    Some(format!(
        "conflicts: {} {} of {} of the node {}, won by {winner}, {what}",
        set_id(conflict.loser),
        conflict.kind,
        conflict.item,
        &conflict.node.to_string()[..8],
    ))
}

/// A change set's id as cases write it.
fn set_id(id: ChangeSetId) -> spec::SetId {
    spec::SetId {
        time: id.time.0,
        origin: spec::Origin(id.origin.0),
    }
}

/// A conflict of the model in the engine's types.
fn conflict(conflict: &spec::Conflict) -> Conflict {
    let id = |id: spec::SetId| ChangeSetId {
        time: Time(id.time),
        origin: OriginId(id.origin.0),
    };
    let mut kinds = ConflictKind::ALL.into_iter();
    let kind = kinds.find(|kind| kind.as_str() == conflict.kind.as_str());
    Conflict {
        loser: id(conflict.loser),
        kind: kind.expect("engine and model know the same kinds"),
        node: NodeId(conflict.node.0),
        item: match &conflict.item {
            spec::Item::Node => ConflictItem::Node,
            spec::Item::Parent => ConflictItem::Parent,
            spec::Item::Name => ConflictItem::Name,
            spec::Item::Order => ConflictItem::Order,
            spec::Item::Property(name) => {
                let name = PropertyName::new(name);
                ConflictItem::Property(name.expect("a name of a case is one of leveret's"))
            }
        },
        winner: conflict.winner.map(id),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(tree: Json) -> Observation {
        Observation {
            tree,
            children: BTreeMap::new(),
            trashed: BTreeSet::new(),
            conflicts: BTreeSet::new(),
            digest: StateDigest([0; 16]),
        }
    }

    #[test]
    fn equal_states_have_no_difference() {
        let tree = json!({"a": {"x": 1}});
        assert_eq!(seen(tree.clone()).first_difference(&seen(tree)), None);
    }

    #[test]
    fn a_difference_in_the_tree_names_the_first_member() {
        let found = seen(json!({"a": {"b": {"x": 1}, "y": 2}, "z": 9}));
        let expected = seen(json!({"a": {"b": {}, "y": 3}}));
        let difference = found.first_difference(&expected);
        assert_eq!(
            difference.as_deref(),
            Some("tree: at /a/b/x is 1 instead of nothing")
        );
    }

    #[test]
    fn children_in_another_order_and_other_nodes_of_the_same_names_are_differences() {
        let list = |nodes: &[(&str, u8)]| Observation {
            children: BTreeMap::from([(
                String::new(),
                nodes
                    .iter()
                    .map(|(name, id)| Shown {
                        name: (*name).to_owned(),
                        node: NodeId([*id; 16]),
                    })
                    .collect(),
            )]),
            ..seen(json!({}))
        };
        let found = list(&[("a", 1), ("b", 2)]);
        assert_eq!(found.first_difference(&found), None);
        let difference = found.first_difference(&list(&[("b", 2), ("a", 1)]));
        let text = "order: the children of / are [a (01010101), b (02020202)] \
                    instead of [b (02020202), a (01010101)]";
        assert_eq!(difference.as_deref(), Some(text));
        assert!(
            found
                .first_difference(&list(&[("a", 1), ("b", 3)]))
                .is_some()
        );
    }

    #[test]
    fn a_node_that_only_one_side_trashed_is_a_difference() {
        let mut found = seen(json!({}));
        found.trashed.insert(NodeId([7; 16]));
        let node = "07".repeat(16);
        let expected = seen(json!({}));
        assert_eq!(
            found.first_difference(&expected),
            Some(format!("trash: the node {node} is trashed"))
        );
        assert_eq!(
            expected.first_difference(&found),
            Some(format!("trash: the node {node} is not trashed"))
        );
    }
}
