//! Change sets: what one save did, and what its author had seen.

use std::sync::Arc;

use super::id::{ChangeSetId, ConflictId, NodeId, OriginId, PublicKey, RepoId, Sequence, Stamp};
use super::name::{NodeName, PropertyName};
use super::order::OrderKey;
use super::value::Value;

/// The version of the merge rules that this code knows (M19).
pub const RULES_VERSION: u16 = 1;

/// blake3 of an encoded change set; all zero before an origin's first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ChainHash(pub [u8; 32]);

/// One save.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeSet {
    /// The repository it belongs to.
    pub repo: RepoId,
    /// Its id, and its place in the fold (M1).
    pub id: ChangeSetId,
    /// Its number in the origin's stream of this repository, from 1.
    pub sequence: Sequence,
    /// Hash of the one before it in that stream.
    pub previous: ChainHash,
    /// Who the origin is: in its first change set, and only there.
    pub birth: Option<Birth>,
    /// The newest change sets of other origins that its author had seen (M2), sorted by origin.
    /// The one before it of its own origin is always meant too.
    pub dependencies: Vec<Dependency>,
    /// The version of the rules it was made under (M19).
    pub rules: u16,
    /// Whether it is voided whole rather than in part (M13).
    pub all_or_nothing: bool,
    /// What its author had to say about it.
    pub message: Option<Arc<str>>,
    /// What it does, in this order.
    pub operations: Vec<Operation>,
}

impl ChangeSet {
    /// The stamp of the operation at `index`.
    pub fn stamp(&self, index: usize) -> Stamp {
        let index = u32::try_from(index).expect("operations are counted in 32 bits");
        Stamp { id: self.id, index }
    }

    /// The stamp of its last operation; of its first if it has none.
    pub fn last_stamp(&self) -> Stamp {
        self.stamp(self.operations.len().saturating_sub(1))
    }

    /// Whether any operation needs its place in time (see `merge`).
    pub fn is_structural(&self) -> bool {
        self.operations.iter().any(Operation::is_structural)
    }
}

/// A change set that another one has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// Its origin.
    pub origin: OriginId,
    /// Its number there.
    pub sequence: Sequence,
}

/// What an origin says of itself in its first change set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Birth {
    /// The replica's key; every seal of the origin verifies under it.
    pub key: PublicKey,
    /// Random bytes. The origin id is [`Birth::origin`] of key and nonce.
    pub nonce: [u8; 16],
    /// The end of the replica's stream before this one, if it knows of one.
    pub predecessor: Option<Predecessor>,
}

impl Birth {
    /// The origin id that belongs to a key and a nonce.
    pub fn origin(key: &PublicKey, nonce: &[u8; 16]) -> OriginId {
        let mut hash = blake3::Hasher::new();
        hash.update(b"leveret origin 1\0")
            .update(&key.0)
            .update(nonce);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        OriginId(id)
    }
}

/// The last change set of the writing life before this one, as the replica knew it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// The earlier origin.
    pub origin: OriginId,
    /// Its last sequence number.
    pub sequence: Sequence,
    /// The hash of that change set.
    pub hash: ChainHash,
}

/// One operation, in terms of ids, as it is stored and sent.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Operation {
    /// Makes the node [`NodeId::of_add`] of these (M3, M6).
    Add {
        /// The parent.
        parent: NodeId,
        /// The name.
        name: NodeName,
        /// Up to where history was truncated in the author's view (M18).
        truncated_at: Option<ChangeSetId>,
        /// The smallest number for which no such node was known there.
        generation: u32,
    },
    /// Makes the node [`NodeId::of_add_unique`] of its stamp.
    AddUnique {
        /// The parent.
        parent: NodeId,
        /// The name.
        name: NodeName,
    },
    /// Puts a node in the trash (M7, M8).
    Remove {
        /// The node.
        node: NodeId,
    },
    /// Writes a node's parent, and its name if one is given (M9).
    Move {
        /// The node.
        node: NodeId,
        /// The new parent.
        parent: NodeId,
        /// The new name, if it changes.
        name: Option<NodeName>,
    },
    /// Writes a node's name alone.
    Rename {
        /// The node.
        node: NodeId,
        /// The new name.
        name: NodeName,
    },
    /// Writes a property (M4).
    Set {
        /// The node.
        node: NodeId,
        /// The property.
        property: PropertyName,
        /// The value.
        value: Value,
    },
    /// Writes nothing to a property (M4).
    Unset {
        /// The node.
        node: NodeId,
        /// The property.
        property: PropertyName,
    },
    /// Adds to a property (M5).
    Inc {
        /// The node.
        node: NodeId,
        /// The property.
        property: PropertyName,
        /// How much, of either sign.
        delta: i64,
    },
    /// Writes a node's order key (M11).
    Order {
        /// The node.
        node: NodeId,
        /// The key.
        key: OrderKey,
    },
    /// Takes a conflict off the list of open ones (M14). Changes nothing else.
    Dismiss {
        /// The conflict.
        conflict: ConflictId,
    },
}

impl Operation {
    /// Whether the operation's effect depends on the tree at its place in time: adds, removals
    /// and moves. The others are writes to registers.
    pub fn is_structural(&self) -> bool {
        matches!(
            self,
            Self::Add { .. } | Self::AddUnique { .. } | Self::Remove { .. } | Self::Move { .. }
        )
    }

    /// The node it is about, given its stamp; the root if it is about none.
    pub fn node(&self, stamp: Stamp) -> NodeId {
        match self {
            Self::Add {
                parent,
                name,
                truncated_at,
                generation,
            } => NodeId::of_add(*parent, name, *truncated_at, *generation),
            Self::AddUnique { .. } => NodeId::of_add_unique(stamp),
            Self::Remove { node }
            | Self::Move { node, .. }
            | Self::Rename { node, .. }
            | Self::Set { node, .. }
            | Self::Unset { node, .. }
            | Self::Inc { node, .. }
            | Self::Order { node, .. } => *node,
            Self::Dismiss { .. } => NodeId::ROOT,
        }
    }

    /// The ids of existing nodes in it, to be replaced.
    pub fn nodes_mut(&mut self) -> impl Iterator<Item = &mut NodeId> {
        let (first, second) = match self {
            Self::Add { parent, .. } | Self::AddUnique { parent, .. } => (Some(parent), None),
            Self::Move { node, parent, .. } => (Some(node), Some(parent)),
            Self::Remove { node }
            | Self::Rename { node, .. }
            | Self::Set { node, .. }
            | Self::Unset { node, .. }
            | Self::Inc { node, .. }
            | Self::Order { node, .. } => (Some(node), None),
            Self::Dismiss { .. } => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// An upper bound of its encoded size, in bytes.
    pub fn weight(&self) -> usize {
        64 + match self {
            Self::Add { name, .. } | Self::AddUnique { name, .. } | Self::Rename { name, .. } => {
                name.as_str().len()
            }
            Self::Move { name, .. } => name.as_ref().map_or(0, |name| name.as_str().len()),
            Self::Set {
                property, value, ..
            } => property.as_str().len() + 2 * value.weight(),
            Self::Unset { property, .. } | Self::Inc { property, .. } => property.as_str().len(),
            Self::Order { key, .. } => key.as_bytes().len(),
            Self::Remove { .. } | Self::Dismiss { .. } => 0,
        }
    }
}
