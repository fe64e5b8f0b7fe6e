//! Why a node is as it is: what was written to each of its items, and what became of each write.
//!
//! Nothing is kept for this. Every write stays in the records under its stamp, the skipped moves
//! too, so what lost to what, and whether who won had seen it (M2), is read off them. What a voided
//! change set would have written (M13) is not there to be told.

mod telling;

use self::telling::Telling;
use super::read::ReadTree;
use super::trash::Trashed;
use super::view::{self, ReadError, View};
use crate::model::{ConflictItem, NodeId, NodeName, NodePath, OrderKey, Stamp, Value};

/// Most writes that are told of one item.
pub const WRITES_TOLD_MAX: usize = 256;

/// A node, and how it came to be as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Its id.
    pub node: NodeId,
    /// Its path; nothing if it is not visible.
    pub path: Option<NodePath>,
    /// Where it was, if it is in the trash.
    pub trashed: Option<Trashed>,
    /// Its items: parent, name, order key, then the properties by name; those that were ever
    /// written.
    pub items: Vec<ItemHistory>,
}

/// One item of a node, and what was written to it.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemHistory {
    /// Which.
    pub item: ConflictItem,
    /// What it comes to.
    pub value: ItemValue,
    /// The newest writes, and moves that were skipped, newest first.
    pub writes: Vec<ToldWrite>,
    /// How many older ones are left out, as far as they were counted.
    pub left_out: usize,
    /// Whether there are still more, which were not counted.
    pub uncounted: bool,
}

/// What an item comes to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ItemValue {
    /// Nothing: a property without a value, an order key that was not written.
    Nothing,
    /// The parent; [`NodeId::TRASH`] if it is in the trash by itself.
    Parent(NodeId),
    /// The name.
    Name(NodeName),
    /// The order key.
    Order(OrderKey),
    /// The property's value.
    Property(Value),
}

/// One write to an item, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToldWrite {
    /// The operation that wrote it.
    pub stamp: Stamp,
    /// What it wrote, or wanted to.
    pub wrote: Wrote,
    /// What became of it.
    pub outcome: Outcome,
}

/// What a write wrote.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Wrote {
    /// The node was added below this parent.
    Added(NodeId),
    /// It was added by somebody who did not know that it was there, or in the trash.
    AddedAgain,
    /// An add brought it back from the trash, empty, below this parent (M6).
    CameBack(NodeId),
    /// It was moved below this parent.
    Moved(NodeId),
    /// It was removed.
    Removed,
    /// It went to the trash since an add brought its parent back empty (M6).
    Emptied,
    /// A removal of a node above it handed it back (M8).
    HandedBack {
        /// To this parent.
        to: NodeId,
        /// The operation that had moved it below the removed node, or kept it there.
        undid: Stamp,
    },
    /// It was given a name.
    Name(NodeName),
    /// It was given an order key.
    Order(OrderKey),
    /// The property was set.
    Set(Value),
    /// The property was unset.
    Unset,
    /// The property was added to.
    Inc(i64),
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It is the value, or part of the sum.
    Counts,
    /// A newer write took its place, and nothing was lost: its author had seen this one, or it
    /// left the same, or this one gave what an add gives.
    Replaced {
        /// That write.
        by: Stamp,
    },
    /// A newer write took its place, by an author who had not seen it, and left something else.
    Overwritten {
        /// That write.
        by: Stamp,
    },
    /// The move was skipped (M9).
    Skipped {
        /// The operation that is the reason.
        reason: Stamp,
        /// Whether the node would have come below itself; otherwise its target was trashed.
        cycle: bool,
    },
    /// It was where the node was until that was removed.
    Removed {
        /// The removal.
        by: Stamp,
        /// Whether its author had seen this one.
        seen: bool,
    },
    /// The removal was undone, by a move or an add.
    Undone {
        /// The operation that undid it.
        by: Stamp,
        /// Whether its author had seen the removal.
        seen: bool,
    },
    /// A removal of a node above handed the node back from there (M8).
    HandedBack {
        /// The removal.
        by: Stamp,
    },
    /// It does not count any more, since an add brought the node back empty (M6).
    Emptied {
        /// The add.
        by: Stamp,
    },
    /// The add changed nothing (M6).
    Nothing {
        /// Whether the node was in the tree then; otherwise it was in the trash, and its parent too.
        live: bool,
    },
    /// It was written before the node existed (M12).
    BeforeAdd,
}

/// The items of a node that were ever written; nothing if it is not known.
pub(super) fn items(view: &dyn View, node: NodeId) -> Result<Option<Vec<ConflictItem>>, ReadError> {
    let record = view::node(view, node)?;
    let record = match record {
        Some(record) if node == NodeId::ROOT || !record.parents.is_empty() => record,
        None if node == NodeId::ROOT => return Ok(Some(Vec::new())),
        _ => return Ok(None),
    };
    let mut items = Vec::new();
    if node != NodeId::ROOT {
        items.extend([ConflictItem::Parent, ConflictItem::Name]);
        if !record.orders.is_empty() {
            items.push(ConflictItem::Order);
        }
    }
    let properties = view::registers(view, node, &record)?.into_keys();
    items.extend(properties.map(ConflictItem::Property));
    Ok(Some(items))
}

/// An item, and the newest `limit` writes to it.
pub(super) fn item(
    view: &dyn View,
    node: NodeId,
    item: &ConflictItem,
    limit: usize,
) -> Result<ItemHistory, ReadError> {
    let record = view::node(view, node)?.unwrap_or_default();
    let telling = Telling {
        view,
        node,
        record: &record,
        limit: limit.clamp(1, WRITES_TOLD_MAX),
    };
    match item {
        ConflictItem::Parent => telling.parent(),
        ConflictItem::Name => telling.name(),
        ConflictItem::Order => telling.order(),
        ConflictItem::Property(name) => telling.property(name),
        _ => Ok(telling.history(item.clone(), ItemValue::Nothing, Vec::new())),
    }
}

/// All of a node; nothing if it is not known.
pub(super) fn explain(
    tree: &(impl ReadTree + ?Sized),
    node: NodeId,
    limit: usize,
) -> Result<Option<Explanation>, ReadError> {
    let Some(names) = items(tree.view(), node)? else {
        return Ok(None);
    };
    let mut items = Vec::with_capacity(names.len());
    for name in &names {
        items.push(item(tree.view(), node, name, limit)?);
    }
    Ok(Some(Explanation {
        node,
        path: tree.path_of(node)?,
        trashed: tree.trashed(node)?,
        items,
    }))
}
