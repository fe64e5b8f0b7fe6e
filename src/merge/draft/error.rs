//! Why a draft refuses an operation.

use crate::merge::view::ReadError;
use crate::model::limits::{MESSAGE_BYTES_MAX, OPERATIONS_MAX, PATH_DEPTH_MAX, PROPERTIES_MAX};
use crate::model::{ConflictId, NodeId, NodeName, NodePath, ValueError};

/// Why an operation was refused. The draft is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DraftError {
    /// No node is at this path.
    #[error("there is no node at {0}")]
    NoSuchPath(NodePath),
    /// No visible node has this id.
    #[error("there is no node {0}")]
    NoSuchNode(NodeId),
    /// A node that is to be restored is not in the trash.
    #[error("{0} is not in the trash")]
    NotTrashed(NodePath),
    /// The place that a node had is in the trash too, so it can not be restored there.
    #[error("the place that the node {node} had, {}, is in the trash too", shown(*place, path.as_ref()))]
    PlaceGone {
        /// The node.
        node: NodeId,
        /// Its parent then.
        place: NodeId,
        /// The path which that had.
        path: Option<NodePath>,
    },
    /// The parent has a child of this name.
    #[error("{parent} has a child named `{name}` already")]
    NameTaken {
        /// The parent's path.
        parent: NodePath,
        /// The name.
        name: NodeName,
    },
    /// The new node's name is given as `name~digits`.
    #[error("`{0}` ends in `~` and 8 or more hex digits, which is reserved")]
    ReservedName(String),
    /// Moving a node into itself or below itself.
    #[error("{node} can not be moved to {target}: that is the node itself, or below it")]
    BelowItself {
        /// The node's path.
        node: NodePath,
        /// The new parent's path.
        target: NodePath,
    },
    /// The root can not be added, removed, moved or ordered.
    #[error("the root can not be {0}")]
    Root(&'static str),
    /// A path deeper than [`PATH_DEPTH_MAX`].
    #[error("a node there would be {depth} names deep; at most {PATH_DEPTH_MAX} are allowed")]
    TooDeep {
        /// Its depth.
        depth: usize,
    },
    /// More than [`PROPERTIES_MAX`] properties.
    #[error("{0} has {PROPERTIES_MAX} properties already, and no more are allowed")]
    TooManyProperties(NodePath),
    /// More than [`OPERATIONS_MAX`] operations.
    #[error("a save has at most {OPERATIONS_MAX} operations")]
    TooManyOperations,
    /// A message longer than [`MESSAGE_BYTES_MAX`].
    #[error("the message has {0} bytes; at most {MESSAGE_BYTES_MAX} are allowed")]
    MessageTooLong(usize),
    /// A bad value.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The sibling is not a child of the same parent.
    #[error("there is no sibling `{0}`")]
    NoSuchSibling(String),
    /// No order key fits between the two neighbours.
    #[error("nothing fits between the two neighbours there; order one of them first")]
    NoRoom,
    /// No conflict of this id is open.
    #[error("there is no open conflict {0}")]
    NoSuchConflict(ConflictId),
    /// The view could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

fn shown(node: NodeId, path: Option<&NodePath>) -> String {
    match path {
        Some(path) => format!("{path} ({node})"),
        None => node.to_string(),
    }
}
