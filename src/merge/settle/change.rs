//! What people are told of a merge: one visible difference between two states.

use crate::model::{NodeId, NodeName, PropertyName, Value};

/// One visible difference between two states. Nodes are named by their own, unescaped, names.
///
/// A list of them can be applied to a mirror of the tree in its order: what appears, moves, is
/// ordered, changes its properties, vanishes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// The node is there now, with everything below it, none of which was.
    Appeared {
        /// The node.
        node: NodeId,
        /// Its parent.
        parent: NodeId,
        /// Its name.
        name: NodeName,
    },
    /// The node has another parent or another name; what is below it came along.
    Moved {
        /// The node.
        node: NodeId,
        /// Parent and name before.
        from: (NodeId, NodeName),
        /// Parent and name after.
        to: (NodeId, NodeName),
    },
    /// The node has another place among its siblings.
    Ordered {
        /// The node.
        node: NodeId,
    },
    /// A property of the node changed.
    Property {
        /// The node.
        node: NodeId,
        /// The property.
        name: PropertyName,
        /// Its value before; nothing if it had none.
        before: Option<Value>,
        /// Its value after; nothing if it has none.
        after: Option<Value>,
    },
    /// The node is not there any more, nor is anything that is still below it.
    Vanished {
        /// The node.
        node: NodeId,
        /// Its parent before.
        parent: NodeId,
        /// Its name before.
        name: NodeName,
    },
}

impl Change {
    /// The node it is about.
    pub fn node(&self) -> NodeId {
        match self {
            Self::Appeared { node, .. }
            | Self::Moved { node, .. }
            | Self::Ordered { node }
            | Self::Property { node, .. }
            | Self::Vanished { node, .. } => *node,
        }
    }

    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Appeared { .. } => 0,
            Self::Moved { .. } => 1,
            Self::Ordered { .. } => 2,
            Self::Property { .. } => 3,
            Self::Vanished { .. } => 4,
        }
    }
}
