//! Deeds: edits, adds and moves that take effect, and can be lost with their nodes.

use crate::codec::record::{How, NodeRecord};
use crate::codec::state_key::ConflictEntry;
use crate::merge::register::{self, Place};
use crate::merge::structure::{Effects, is_added_at};
use crate::merge::view::{self, ReadError, View};
use crate::model::{ConflictItem, ConflictKind, NodeId, Operation, PropertyName, Stamp};

/// An operation that takes effect, and can be lost with its node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Deed {
    pub(super) stamp: Stamp,
    pub(super) node: NodeId,
    pub(super) item: ConflictItem,
    /// The node by which it lands in the trash, if that is trashed: of an add the parent. A move
    /// does not land there.
    pub(super) through: Option<NodeId>,
}

impl Deed {
    pub(super) fn edit(stamp: Stamp, node: NodeId, item: ConflictItem) -> Self {
        let through = Some(node);
        Self {
            stamp,
            node,
            item,
            through,
        }
    }

    pub(super) fn entry(&self, at: Stamp) -> ConflictEntry {
        ConflictEntry {
            at,
            kind: ConflictKind::UnderRemoved,
            node: self.node,
            item: self.item.clone(),
            loser: self.stamp,
        }
    }
}

/// What an edit edits; nothing for other operations.
pub(super) fn edited(operation: &Operation) -> Option<ConflictItem> {
    let property = |name: &PropertyName| Some(ConflictItem::Property(name.clone()));
    match operation {
        Operation::Set { property: name, .. }
        | Operation::Unset { property: name, .. }
        | Operation::Inc { property: name, .. } => property(name),
        Operation::Rename { .. } => Some(ConflictItem::Name),
        Operation::Order { .. } => Some(ConflictItem::Order),
        _ => None,
    }
}

/// What an add or move with these effects did.
pub(super) fn effective(operation: &Operation, stamp: Stamp, effects: &Effects) -> Option<Deed> {
    let node = operation.node(stamp);
    let wrote = |how: How| {
        let mut writes = effects.parents.iter();
        writes.any(|(other, write)| *other == node && write.how == how)
    };
    match operation {
        Operation::Add { parent, .. } | Operation::AddUnique { parent, .. } => {
            let did = wrote(How::Add) || wrote(How::ComeBack) || effects.again.is_some();
            did.then_some(Deed {
                stamp,
                node,
                item: ConflictItem::Node,
                through: Some(*parent),
            })
        }
        Operation::Move { .. } => wrote(How::Move).then_some(Deed {
            stamp,
            node,
            item: ConflictItem::Parent,
            through: None,
        }),
        _ => None,
    }
}

/// What an operation of a change set that is not voided did, as the records tell.
pub(super) fn deed(
    view: &dyn View,
    operation: &Operation,
    stamp: Stamp,
) -> Result<Option<Deed>, ReadError> {
    let node = operation.node(stamp);
    if let Some(item) = edited(operation) {
        let known = is_known(view, node, stamp)?;
        return Ok(known.then(|| Deed::edit(stamp, node, item)));
    }
    let Some(record) = view::node(view, node)? else {
        return Ok(None);
    };
    let parents = record.parents.iter().filter(|write| write.stamp == stamp);
    let again = record.again.iter().find(|again| again.stamp == stamp);
    let effects = Effects {
        parents: parents.map(|write| (node, *write)).collect(),
        again: again.map(|again| (node, *again)),
        ..Effects::default()
    };
    Ok(effective(operation, stamp, &effects))
}

pub(super) fn is_known(view: &dyn View, node: NodeId, at: Stamp) -> Result<bool, ReadError> {
    if node == NodeId::ROOT {
        return Ok(true);
    }
    let record = view::node(view, node)?;
    let first = record.as_deref().and_then(|record| record.parents.first());
    Ok(first.is_some_and(|write| write.stamp < at))
}

/// The edits of a node that its record holds.
pub(super) fn edits_of(
    view: &dyn View,
    id: NodeId,
    record: &NodeRecord,
) -> Result<Vec<(Stamp, ConflictItem)>, ReadError> {
    let mut edits = Vec::new();
    for (stamp, _) in &record.names {
        let by_move = |how: How| how == How::Move;
        let moved = record
            .parents
            .iter()
            .any(|w| w.stamp == *stamp && by_move(w.how));
        if !moved && !is_added_at(record, *stamp) {
            edits.push((*stamp, ConflictItem::Name));
        }
    }
    edits.extend(
        record
            .orders
            .iter()
            .map(|(stamp, _)| (*stamp, ConflictItem::Order)),
    );
    for (name, register) in view::registers(view, id, record)? {
        let place = Place {
            node: id,
            name: &name,
        };
        for write in register::all_writes(view, place, &register)? {
            edits.push((write.stamp, ConflictItem::Property(name.clone())));
        }
    }
    Ok(edits)
}

/// All deeds on a node that its record tells of, before a stamp.
pub(super) fn deeds_of(
    view: &dyn View,
    id: NodeId,
    record: &NodeRecord,
    before: Stamp,
) -> Result<Vec<Deed>, ReadError> {
    let Some(first) = record.parents.first() else {
        return Ok(Vec::new());
    };
    let edits = edits_of(view, id, record)?.into_iter();
    let mut deeds: Vec<Deed> = edits
        .filter(|(stamp, _)| *stamp > first.stamp)
        .map(|(stamp, item)| Deed::edit(stamp, id, item))
        .collect();
    let add = |stamp: Stamp| Deed {
        stamp,
        node: id,
        item: ConflictItem::Node,
        // All adds of a node say the same; the first made it.
        through: Some(first.parent),
    };
    for write in &record.parents {
        match write.how {
            How::Add | How::ComeBack => deeds.push(add(write.stamp)),
            How::Move => deeds.push(Deed {
                stamp: write.stamp,
                node: id,
                item: ConflictItem::Parent,
                through: None,
            }),
            How::Emptied | How::Remove | How::HandBack { .. } => {}
        }
    }
    deeds.extend(record.again.iter().map(|again| add(again.stamp)));
    deeds.retain(|deed| deed.stamp < before);
    Ok(deeds)
}
