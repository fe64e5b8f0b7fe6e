//! The way from a node up to the root or the trash, as it was at a stamp.

use crate::codec::record::{NodeRecord, ParentWrite};
use crate::merge::view::{self, ReadError, View};
use crate::model::{NodeId, Stamp};

/// Longest way up that is walked before the tree is taken to have a cycle, which M9 rules out.
const WAY_UP_MAX: usize = 1 << 20;

/// The way from a node up.
pub(crate) struct WayUp {
    /// The nodes, that node first, each with the stamp of the write that put it where it is.
    pub(crate) nodes: Vec<(NodeId, Stamp)>,
    /// Where it ends.
    pub(crate) end: End,
    /// The next parent write of any of them: until then the way is the same. The greatest stamp if
    /// there is none.
    pub(crate) next: Stamp,
}

/// Where a way up ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// At the root: the node is live.
    Root,
    /// In the trash.
    Trash,
    /// At a node that is not known then.
    Unknown,
}

impl WayUp {
    pub(super) fn position(&self, node: NodeId) -> Option<usize> {
        self.nodes.iter().position(|(other, _)| *other == node)
    }

    pub(super) fn passes(&self, node: NodeId) -> bool {
        self.position(node).is_some()
    }
}

/// The newest parent write of a node that is not newer than `at`.
pub(crate) fn placed_at(node: &NodeRecord, at: Stamp) -> Option<&ParentWrite> {
    let position = node.parents.partition_point(|write| write.stamp <= at);
    node.parents[..position].last()
}

/// The way up from a node as it was at a stamp.
pub(crate) fn way_up(view: &dyn View, from: NodeId, at: Stamp) -> Result<WayUp, ReadError> {
    let mut nodes = Vec::with_capacity(12);
    let mut next = Stamp::MAX;
    let mut node = from;
    loop {
        let end = match node {
            NodeId::ROOT => Some(End::Root),
            NodeId::TRASH => Some(End::Trash),
            _ => None,
        };
        if let Some(end) = end {
            return Ok(WayUp { nodes, end, next });
        }
        let record = view::node(view, node)?.unwrap_or_default();
        let position = record.parents.partition_point(|write| write.stamp <= at);
        if let Some(newer) = record.parents.get(position) {
            next = next.min(newer.stamp);
        }
        let Some(write) = record.parents[..position].last() else {
            nodes.push((node, Stamp::MIN));
            let end = End::Unknown;
            return Ok(WayUp { nodes, end, next });
        };
        nodes.push((node, write.stamp));
        assert!(
            nodes.len() < WAY_UP_MAX,
            "no node is below itself (M9), yet {from} is"
        );
        node = write.parent;
    }
}

/// Where the way up from a node ends as of the newest writes.
pub(crate) fn end_now(view: &dyn View, from: NodeId) -> Result<End, ReadError> {
    let mut node = from;
    for _ in 0..WAY_UP_MAX {
        match node {
            NodeId::ROOT => return Ok(End::Root),
            NodeId::TRASH => return Ok(End::Trash),
            _ => {}
        }
        let record = view::node(view, node)?;
        match record.as_deref().and_then(|record| record.parents.last()) {
            Some(write) => node = write.parent,
            None => return Ok(End::Unknown),
        }
    }
    panic!("no node is below itself (M9), yet {from} is")
}
