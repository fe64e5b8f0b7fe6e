//! The tree that the fold works on, and the questions the rules ask of it.
//!
//! Every question is answered by walking or scanning all there is. The trash is a parent that is
//! no node, so a walk upwards from something trashed ends below it and never meets the root.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::change::{NodeId, SetId, Stamp};
use crate::conflict::{Conflict, UnderRemoved};
use crate::node::Node;

/// All nodes, and the conflicts so far.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Tree {
    /// Shared with the copies that are kept while an all-or-nothing set is tried.
    pub(crate) nodes: BTreeMap<NodeId, Arc<Node>>,
    /// Conflicts that nothing later in the fold can take back.
    pub(crate) conflicts: BTreeSet<Conflict>,
    /// Conflicts that depend on whether the node is trashed in the end.
    pub(crate) under_removed: Vec<UnderRemoved>,
    /// The dismissals, with the conflicts that they close (M14).
    pub(crate) dismissals: BTreeMap<Stamp, [u8; 16]>,
    /// How often each branch of the rules was taken.
    pub(crate) fired: BTreeMap<&'static str, u64>,
}

/// Whose operation is being applied: its change set, and all that its author had seen (M2).
pub(crate) struct Author<'a> {
    pub(crate) set: SetId,
    pub(crate) seen: &'a BTreeSet<SetId>,
}

impl Author<'_> {
    /// Whether the author had not seen what that stamp belongs to. One's own is never unseen.
    pub(crate) fn unseen(&self, stamp: Stamp) -> bool {
        stamp.set != self.set && !self.seen.contains(&stamp.set)
    }
}

impl Tree {
    /// The tree before the first change set: a root.
    pub(crate) fn empty() -> Tree {
        Tree {
            nodes: BTreeMap::from([(NodeId::ROOT, Arc::default())]),
            conflicts: BTreeSet::new(),
            under_removed: Vec::new(),
            dismissals: BTreeMap::new(),
            fired: BTreeMap::new(),
        }
    }

    /// Whether there is such a node, in the trash or out of it. The trash itself is none (M12).
    pub(crate) fn contains(&self, id: NodeId) -> bool {
        self.nodes.contains_key(&id)
    }

    /// Whether there is such a node, and it is one that has a parent and a name: the root can be
    /// neither removed, moved, renamed nor ordered (M12).
    pub(crate) fn contains_below_root(&self, id: NodeId) -> bool {
        id != NodeId::ROOT && self.contains(id)
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        self.nodes
            .get(&id)
            .expect("only ids of known nodes are asked for")
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        let node = self.nodes.get_mut(&id);
        Arc::make_mut(node.expect("only ids of known nodes are asked for"))
    }

    /// The parent of a node, the trash included; none for the root.
    pub(crate) fn parent(&self, id: NodeId) -> Option<NodeId> {
        self.node(id).parent().map(|write| write.to)
    }

    /// The name of a node; empty for the root.
    pub(crate) fn name(&self, id: NodeId) -> &str {
        self.node(id).name().map_or("", |write| &write.name)
    }

    /// The node, its parent, and so on, up to the root or to the last one before the trash.
    pub(crate) fn upwards(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(id), |at| {
            self.parent(*at).filter(|up| *up != NodeId::TRASH)
        })
    }

    /// The topmost of [`Tree::upwards`]: the root or, for what is trashed, the nearest
    /// ancestor-or-self that is itself in the trash.
    pub(crate) fn top(&self, id: NodeId) -> NodeId {
        self.upwards(id)
            .last()
            .expect("the walk starts with the node itself")
    }

    /// Whether the node is itself in the trash.
    pub(crate) fn in_trash(&self, id: NodeId) -> bool {
        self.parent(id) == Some(NodeId::TRASH)
    }

    /// Whether the node or an ancestor of it is in the trash.
    pub(crate) fn trashed(&self, id: NodeId) -> bool {
        self.top(id) != NodeId::ROOT
    }

    /// Whether the node is `above` or below it.
    pub(crate) fn at_or_below(&self, id: NodeId, above: NodeId) -> bool {
        self.upwards(id).any(|up| up == above)
    }

    /// How many steps up from the node `above` is; none where it is not above it.
    pub(crate) fn steps_below(&self, id: NodeId, above: NodeId) -> Option<usize> {
        self.upwards(id).position(|up| up == above)
    }

    /// The children of a node, by id.
    pub(crate) fn children(&self, of: NodeId) -> Vec<NodeId> {
        let below = |node: &Node| node.parent().is_some_and(|write| write.to == of);
        let children = self.nodes.iter().filter(|(_, node)| below(node));
        children.map(|(id, _)| *id).collect()
    }

    /// Whether the node is live and another live node has its parent and its name (M10).
    pub(crate) fn clashes(&self, id: NodeId) -> bool {
        let Some(parent) = self.parent(id).filter(|_| !self.trashed(id)) else {
            return false;
        };
        let name = self.name(id);
        self.children(parent)
            .iter()
            .any(|other| *other != id && self.name(*other) == name)
    }
}
