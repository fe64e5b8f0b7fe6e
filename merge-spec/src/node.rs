//! One node: every write it ever took, in stamp order, and what follows from them.
//!
//! Nothing is forgotten here and nothing is cached: the newest write of each list is the value
//! (M4). Since the fold goes in stamp order, pushing at the end keeps each list sorted.

use std::collections::BTreeMap;

use crate::change::{NodeId, Stamp};
use crate::conflict::Item;
use crate::value::Value;

/// What a write of a parent came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParentCause {
    /// An add made the node (M6).
    Add,
    /// An add brought the node back, empty (M6).
    ComeBack,
    /// An add brought the parent back empty, so this child went to the trash (M6).
    Emptied,
    /// A move (M9).
    Move,
    /// A removal of this very node (M7).
    Remove,
    /// A removal above it handed it back (M8); the stamp of the write is the remover's.
    HandBack {
        /// The write that was undone, on whose author (a) of M8 depends: the move that was handed
        /// back or, for (b), the write that is the reason of the skip; of a hand-back that is
        /// handed back, what the first one undid.
        undid: Stamp,
        /// The move that put the node where this removal took it from or, for (b), was to take it
        /// away; a name clash is laid to its author (M14).
        blamed: Stamp,
    },
}

/// A write of a node's parent that took effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParentWrite {
    /// The operation that wrote it.
    pub stamp: Stamp,
    /// The new parent, or [`NodeId::TRASH`].
    pub to: NodeId,
    /// What kind of write it was.
    pub cause: ParentCause,
}

/// A move that was skipped (M9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SkippedMove {
    /// The move.
    pub stamp: Stamp,
    /// The parent it wanted.
    pub parent: NodeId,
    /// The parent write that is to blame; none where the new parent was the moved node itself, so
    /// that there was nothing on the way.
    pub reason: Option<Stamp>,
}

/// What a write of a name came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameCause {
    /// An add; such a name never counts as lost (M14).
    Add,
    /// A rename, or a move that gives a name.
    Given,
}

/// A write of a node's name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameWrite {
    /// The operation that wrote it.
    pub stamp: Stamp,
    /// The name.
    pub name: String,
    /// What kind of write it was.
    pub cause: NameCause,
}

/// A write of a node's order key (M11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderWrite {
    /// The operation that wrote it.
    pub stamp: Stamp,
    /// The key.
    pub key: Vec<u8>,
}

/// What is done to a property.
#[derive(Clone, PartialEq, Debug)]
pub enum PropertyChange {
    /// It gets a value.
    Set(Value),
    /// It goes.
    Unset,
    /// It is added to (M5).
    Inc(i64),
}

/// A write of a property.
#[derive(Clone, PartialEq, Debug)]
pub struct PropertyWrite {
    /// The operation that wrote it.
    pub stamp: Stamp,
    /// What it does.
    pub change: PropertyChange,
}

/// A node, visible or trashed, with all its history.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Node {
    /// The parent writes that took effect; empty only for the root.
    pub parents: Vec<ParentWrite>,
    /// The moves that were skipped.
    pub skipped: Vec<SkippedMove>,
    /// The names it was given; empty only for the root.
    pub names: Vec<NameWrite>,
    /// The order keys it was given.
    pub orders: Vec<OrderWrite>,
    /// Every write of every property, those that no longer count included.
    pub properties: BTreeMap<String, Vec<PropertyWrite>>,
    /// The newest add that brought the node back empty: older property writes do not count (M6).
    pub emptied: Option<Stamp>,
    /// The operations on it that were not skipped, removals left out and adds that changed
    /// nothing included, with what they touched (M14, `under-removed`).
    pub touched: Vec<(Stamp, Item)>,
}

impl Node {
    /// Where the node is: its newest parent write; none for the root.
    #[must_use]
    pub fn parent(&self) -> Option<&ParentWrite> {
        self.parents.last()
    }

    /// What it is called: its newest name write; none for the root.
    #[must_use]
    pub fn name(&self) -> Option<&NameWrite> {
        self.names.last()
    }

    /// The order key last written for it, if any (M11).
    #[must_use]
    pub fn order_key(&self) -> Option<&OrderWrite> {
        self.orders.last()
    }

    /// The key it sorts by among its siblings: the order key last written or, if there is none,
    /// the byte `0x80` and the name (M11).
    #[must_use]
    pub fn effective_key(&self) -> Vec<u8> {
        match (self.orders.last(), self.names.last()) {
            (Some(order), _) => order.key.clone(),
            (None, name) => {
                let name = name.map_or("", |write| &write.name);
                [&[0x80], name.as_bytes()].concat()
            }
        }
    }

    /// When it came to its place: the greater of its newest parent and name stamps (M10).
    #[must_use]
    pub fn placed(&self) -> Option<Stamp> {
        let parent = self.parents.last().map(|write| write.stamp);
        let name = self.names.last().map(|write| write.stamp);
        parent.max(name)
    }

    /// The writes that the value of a property is made of (M4, M5): the newest set or unset, and
    /// the incs that are newer. Writes from before the node came back empty do not count (M6).
    #[must_use]
    pub fn counting(&self, property: &str) -> (Option<&PropertyWrite>, Vec<&PropertyWrite>) {
        let mut incs = Vec::new();
        for write in self.properties.get(property).into_iter().flatten().rev() {
            if self.emptied > Some(write.stamp) {
                break;
            }
            if !matches!(write.change, PropertyChange::Inc(_)) {
                return (Some(write), incs);
            }
            incs.push(write);
        }
        (None, incs)
    }

    /// The exact sum that the value of a property is; none where it has no incs that count (M5).
    pub(crate) fn sum(&self, property: &str) -> Option<i128> {
        let (under, incs) = self.counting(property);
        if incs.is_empty() {
            return None;
        }
        // 0 where what lies under the incs is no integer.
        let start = match under.map(|write| &write.change) {
            Some(PropertyChange::Set(Value::Int(integer))) => i128::from(*integer),
            _ => 0,
        };
        let deltas = incs.iter().map(|write| match write.change {
            PropertyChange::Inc(delta) => i128::from(delta),
            _ => 0,
        });
        Some(start + deltas.sum::<i128>())
    }

    /// The value of a property, and the stamp of the newest write in it. None where no write of
    /// it counts; no value but a stamp where it was unset.
    #[must_use]
    pub fn property(&self, property: &str) -> Option<(Option<Value>, Stamp)> {
        let (under, incs) = self.counting(property);
        let newest = incs.first().copied().or(under)?.stamp;
        let under = match under.map(|write| &write.change) {
            Some(PropertyChange::Set(value)) => Some(value.clone()),
            _ => None,
        };
        let Some(sum) = self.sum(property) else {
            return Some((under, newest));
        };
        // M5: exact, then clamped.
        let clamped = sum.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        let value = i64::try_from(clamped).expect("clamped to 64 bits");
        Some((Some(Value::Int(value)), newest))
    }
}
