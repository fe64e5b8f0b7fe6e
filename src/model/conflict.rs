//! Conflicts: what somebody wrote and is not there, and why (M14).
//!
//! Only what a conflict *is*, and its id; finding them is `merge`'s work.

use std::fmt;

use super::id::{ChangeSetId, ConflictId, NodeId};
use super::name::PropertyName;

/// One thing that was written and lost.
///
/// The lost value is not in it: the losing change set still has it. Conflicts are ordered by the
/// change set that lost, then by kind, node and item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The change set that lost.
    pub loser: ChangeSetId,
    /// How it lost.
    pub kind: ConflictKind,
    /// The node it is about; the root of a voided change set.
    pub node: NodeId,
    /// What about the node.
    pub item: ConflictItem,
    /// The change set that won, where there is one.
    pub winner: Option<ChangeSetId>,
}

/// How something was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ConflictKind {
    /// A newer write by somebody who had not seen this one left another value.
    Overwritten,
    /// An edit, add or move went along with a removal, or landed in the trash.
    UnderRemoved,
    /// A move into something removed, or one that a removal handed back.
    TargetRemoved,
    /// A move of a node below itself.
    Cycle,
    /// A removal that a newer move took back.
    RemovalUndone,
    /// An add of something that is there already, at another place.
    Elsewhere,
    /// One of several siblings of one name, and not the first.
    NameClash,
    /// An all-or-nothing change set that counts as empty.
    Voided,
    /// An operation on a node that does not exist.
    UnknownNode,
}

/// What about a node was lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ConflictItem {
    /// The node as such: it was added, or the change set is lost whole.
    Node,
    /// Where it is.
    Parent,
    /// What it is called.
    Name,
    /// Its order key.
    Order,
    /// A property.
    Property(PropertyName),
}

impl ConflictKind {
    /// All kinds, in the order of their bytes.
    pub const ALL: [Self; 9] = [
        Self::Overwritten,
        Self::UnderRemoved,
        Self::TargetRemoved,
        Self::Cycle,
        Self::RemovalUndone,
        Self::Elsewhere,
        Self::NameClash,
        Self::Voided,
        Self::UnknownNode,
    ];

    /// The kind as people and cases write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overwritten => "overwritten",
            Self::UnderRemoved => "under-removed",
            Self::TargetRemoved => "target-removed",
            Self::Cycle => "cycle",
            Self::RemovalUndone => "removal-undone",
            Self::Elsewhere => "elsewhere",
            Self::NameClash => "name-clash",
            Self::Voided => "voided",
            Self::UnknownNode => "unknown-node",
        }
    }

    /// The byte that stands for it in ids and keys: its place in [`ConflictKind::ALL`].
    pub fn byte(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for ConflictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ConflictItem {
    /// The byte that stands for it in ids and keys.
    pub fn byte(&self) -> u8 {
        match self {
            Self::Node => 0,
            Self::Parent => 1,
            Self::Name => 2,
            Self::Order => 3,
            Self::Property(_) => 4,
        }
    }
}

impl fmt::Display for ConflictItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Parent => "parent",
            Self::Name => "name",
            Self::Order => "order",
            Self::Property(name) => return write!(f, "property {name}"),
        })
    }
}

impl Conflict {
    /// What it is dismissed by: a hash of all of it, the same on every replica.
    pub fn id(&self) -> ConflictId {
        let mut hash = blake3::Hasher::new();
        hash.update(b"leveret conflict 1\0")
            .update(&[self.kind.byte()])
            .update(&self.loser.to_bytes())
            .update(&self.node.0)
            .update(&[self.item.byte()]);
        if let ConflictItem::Property(name) = &self.item {
            let name = name.as_str().as_bytes();
            let length = u16::try_from(name.len()).expect("a name has at most 255 bytes");
            hash.update(&length.to_le_bytes()).update(name);
        }
        match self.winner {
            None => hash.update(&[0]),
            Some(winner) => hash.update(&[1]).update(&winner.to_bytes()),
        };
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        ConflictId(id)
    }
}
