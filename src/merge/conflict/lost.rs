//! What removals took along unseen and what was written into the trash (`under-removed`), and
//! operations on nodes that do not exist (`unknown-node`, M12).
//!
//! An edit, add or move that takes effect is a *deed*. A removal loses the deeds on its node and
//! below that its author had not seen: they are found from the deed by following its node's place
//! through time ([`super::coverage`]), and from the removal by going through the change sets that
//! were unseen to it ([`super::window`]), whichever is new. Whether the node is trashed in the end
//! is left to reading.

use std::collections::{BTreeMap, BTreeSet};

use super::coverage::{self, Span, Trash};
use super::unseen::Unseen;
use super::window::Windows;
use super::{Batch, ChangedNode, Entries, entries_at, put, remove, replace};
use crate::codec::record::{How, NodeRecord, Record};
use crate::codec::state_key::{self as key, ConflictEntry};
use crate::merge::History;
use crate::merge::fault::{Fault, on};
use crate::merge::structure::{Effects, is_added_at};
use crate::merge::view::{self, Overlay, ReadError, View};
use crate::model::{ChangeSet, ConflictItem, ConflictKind, NodeId, Operation, PropertyName, Stamp};

/// An operation that takes effect, and can be lost with its node.
#[derive(Clone, Debug, PartialEq)]
struct Deed {
    stamp: Stamp,
    node: NodeId,
    item: ConflictItem,
    /// The node by which it lands in the trash, if that is trashed: of an add the parent. A move
    /// does not land there.
    through: Option<NodeId>,
}

impl Deed {
    fn edit(stamp: Stamp, node: NodeId, item: ConflictItem) -> Self {
        let through = Some(node);
        Self {
            stamp,
            node,
            item,
            through,
        }
    }

    fn entry(&self, at: Stamp) -> ConflictEntry {
        ConflictEntry {
            at,
            kind: ConflictKind::UnderRemoved,
            node: self.node,
            item: self.item.clone(),
            loser: self.stamp,
        }
    }
}

pub(super) fn derive(
    overlay: &mut Overlay<'_>,
    nodes: &[ChangedNode],
    batch: &Batch<'_>,
    history: &dyn History,
    unseen: &Unseen<'_>,
) -> Result<(), ReadError> {
    let mut lost = Lost {
        overlay,
        nodes,
        batch,
        unseen,
        settled: BTreeMap::new(),
    };
    lost.known_otherwise()?;
    for set in batch.sets.iter().filter(|set| !set.all_or_nothing) {
        lost.edits(set, true)?;
    }
    for evaluated in batch.evaluated {
        for (stamp, before, after) in &evaluated.effects {
            let operation = &evaluated.set.operations[stamp.index as usize];
            lost.effects(operation, *stamp, before, after)?;
        }
        let (stood, stands) = (evaluated.was_voided == Some(false), !evaluated.voided);
        if evaluated.set.all_or_nothing && stood != stands {
            lost.edits(&evaluated.set, stands)?;
        }
    }
    if batch.removal > Stamp::MIN {
        lost.places(history)?;
    }
    Ok(())
}

struct Lost<'l, 'a> {
    overlay: &'l mut Overlay<'a>,
    nodes: &'l [ChangedNode],
    batch: &'l Batch<'l>,
    unseen: &'l Unseen<'l>,
    /// Nodes whose places nothing newer changes: since when, and how they are trashed.
    settled: BTreeMap<NodeId, (Stamp, Option<Trash>)>,
}

impl Lost<'_, '_> {
    /// The edits of a change set come, or go.
    fn edits(&mut self, set: &ChangeSet, come: bool) -> Result<(), ReadError> {
        for (index, operation) in set.operations.iter().enumerate() {
            let stamp = set.stamp(index);
            let Some(item) = edited(operation) else {
                continue;
            };
            let node = operation.node(stamp);
            if !come {
                self.goes(&Deed::edit(stamp, node, item))?;
            } else if is_known(self.overlay, node, stamp)? {
                self.comes(&Deed::edit(stamp, node, item))?;
            } else {
                put(self.overlay, &unknown(stamp, node), None);
            }
        }
        Ok(())
    }

    /// The effects of a structural operation have changed.
    fn effects(
        &mut self,
        operation: &Operation,
        stamp: Stamp,
        before: &Effects,
        after: &Effects,
    ) -> Result<(), ReadError> {
        if before.unknown != after.unknown {
            if let Some(node) = before.unknown {
                remove(self.overlay, &unknown(stamp, node))?;
            }
            if let Some(node) = after.unknown {
                put(self.overlay, &unknown(stamp, node), None);
            }
        }
        if let Some(deed) = effective(operation, stamp, before) {
            self.goes(&deed)?;
        }
        if let Some(deed) = effective(operation, stamp, after) {
            self.comes(&deed)?;
        }
        Ok(())
    }

    /// Nodes that came to be known at another time: edits of earlier passes in between.
    fn known_otherwise(&mut self) -> Result<(), ReadError> {
        for ChangedNode { id, before, after } in self.nodes {
            let Some(before) = before else {
                continue;
            };
            let first = |node: &NodeRecord| node.parents.first().map(|write| write.stamp);
            let (old, new) = (first(before), first(after));
            if old == new {
                continue;
            }
            let (old, new) = (old.unwrap_or(Stamp::MAX), new.unwrap_or(Stamp::MAX));
            let between = old.min(new)..=old.max(new);
            for (stamp, item) in edits_of(self.overlay.base(), *id, before)? {
                if between.contains(&stamp) && old < stamp {
                    self.goes(&Deed::edit(stamp, *id, item))?;
                }
            }
            for (stamp, item) in edits_of(self.overlay, *id, after)? {
                if !between.contains(&stamp) {
                    continue;
                }
                if new < stamp && !on(Fault::UnknownStays) {
                    remove(self.overlay, &unknown(stamp, *id))?;
                    self.comes(&Deed::edit(stamp, *id, item))?;
                } else {
                    put(self.overlay, &unknown(stamp, *id), None);
                }
            }
        }
        Ok(())
    }

    /// A deed is new, or takes effect now.
    fn comes(&mut self, deed: &Deed) -> Result<(), ReadError> {
        if self.batch.removal == Stamp::MIN {
            return Ok(());
        }
        self.lands_in_trash(deed)?;
        if self.batch.removal < deed.stamp || self.is_settled(deed.node, deed.stamp)? {
            return Ok(());
        }
        for removal in removals(self.overlay, deed)? {
            let unseen = self.unseen.is(self.overlay, removal.id, deed.stamp.id)?;
            if unseen && !on(Fault::LateEditUnreported) {
                put(self.overlay, &deed.entry(removal), Some(removal.id));
            }
        }
        Ok(())
    }

    /// A deed takes no effect any more.
    fn goes(&mut self, deed: &Deed) -> Result<(), ReadError> {
        if on(Fault::DeedStays) {
            return Ok(());
        }
        remove(self.overlay, &deed.entry(deed.stamp))?;
        for removal in removals(self.overlay.base(), deed)? {
            remove(self.overlay, &deed.entry(removal))?;
        }
        Ok(())
    }

    /// An edit of something trashed, or an add under it, whoever had seen what.
    fn lands_in_trash(&mut self, deed: &Deed) -> Result<(), ReadError> {
        let Some(through) = deed.through else {
            return Ok(());
        };
        match self.trash_at(through, deed.stamp)? {
            Some(_) if on(Fault::LandingUnreported) => {}
            Some(trash) => put(self.overlay, &deed.entry(deed.stamp), Some(trash.since.id)),
            // What is new has no entry that would have to go.
            None if self.unseen.is_new(deed.stamp.id) => {}
            None => remove(self.overlay, &deed.entry(deed.stamp))?,
        }
        Ok(())
    }

    /// How a node was trashed at a stamp.
    fn trash_at(&mut self, node: NodeId, at: Stamp) -> Result<Option<Trash>, ReadError> {
        if let Some((since, trash)) = self.settled.get(&node)
            && *since <= at
        {
            return Ok(*trash);
        }
        let place = coverage::place(self.overlay, node, at)?;
        if place.until == Stamp::MAX {
            self.settled.insert(node, (place.since, place.trash));
        }
        Ok(place.trash)
    }

    /// Whether a node's place is what it was at a stamp, since nothing above it moved.
    fn is_settled(&mut self, node: NodeId, at: Stamp) -> Result<bool, ReadError> {
        self.trash_at(node, at)?;
        Ok(self
            .settled
            .get(&node)
            .is_some_and(|(since, _)| *since <= at))
    }

    /// Nodes that have come to other places: removals that take other things along now, and times
    /// in which what was below was trashed, and is not, or the contrary.
    fn places(&mut self, history: &dyn History) -> Result<(), ReadError> {
        let mut removals: BTreeSet<Stamp> = BTreeSet::new();
        let mut times: Vec<(Stamp, Stamp)> = Vec::new();
        for ChangedNode { id, before, after } in self.nodes {
            // What is on a new node, or below it, is new as well.
            let Some(before) = before else {
                continue;
            };
            let Some((from, until)) = changed_time(before, after) else {
                continue;
            };
            let old = coverage::spans(self.overlay.base(), *id, from, until)?;
            let new = coverage::spans(self.overlay, *id, from, until)?;
            let events = |spans: &[Span]| spans.iter().filter_map(Span::removal).collect();
            let (gone, come): (BTreeSet<Stamp>, BTreeSet<Stamp>) = (events(&old), events(&new));
            removals.extend(gone.symmetric_difference(&come));
            times.extend(different_times(&old, &new, until));
        }
        if removals.is_empty() && times.is_empty() {
            return Ok(());
        }
        let windows = Windows::new(self.overlay, self.batch, self.unseen, &removals, &times)?;
        let mut lost: BTreeMap<Stamp, Entries> = BTreeMap::new();
        windows.each(self.batch, history, |set| {
            self.look_again(set, &removals, &times, &mut lost)
        })?;
        for removal in removals {
            let old = entries_at(self.overlay, removal, ConflictKind::UnderRemoved)?;
            let new = lost.remove(&removal).unwrap_or_default();
            replace(self.overlay, &old, &new)?;
        }
        Ok(())
    }

    /// Finds which of `removals` take a change set's deeds along, and which of its deeds land in
    /// the trash within `times`.
    fn look_again(
        &mut self,
        set: &ChangeSet,
        changed: &BTreeSet<Stamp>,
        times: &[(Stamp, Stamp)],
        lost: &mut BTreeMap<Stamp, Entries>,
    ) -> Result<(), ReadError> {
        if set.all_or_nothing && is_voided(self.overlay, set)? {
            return Ok(());
        }
        for (index, operation) in set.operations.iter().enumerate() {
            let stamp = set.stamp(index);
            let Some(deed) = deed(self.overlay, operation, stamp)? else {
                continue;
            };
            if times
                .iter()
                .any(|(from, until)| (*from..*until).contains(&stamp))
            {
                self.lands_in_trash(&deed)?;
            }
            if changed.last().is_none_or(|newest| *newest < stamp) {
                continue;
            }
            for removal in removals(self.overlay, &deed)? {
                if changed.contains(&removal)
                    && !on(Fault::LateRemovalUnreported)
                    && self.unseen.is(self.overlay, removal.id, stamp.id)?
                {
                    let entries = lost.entry(removal).or_default();
                    entries.insert(deed.entry(removal), Some(removal.id));
                }
            }
        }
        Ok(())
    }
}

/// The removals newer than a deed that took its node along.
fn removals(view: &dyn View, deed: &Deed) -> Result<Vec<Stamp>, ReadError> {
    let spans = coverage::spans(view, deed.node, deed.stamp, Stamp::MAX)?;
    let removals = spans.iter().filter_map(Span::removal);
    Ok(removals.filter(|removal| *removal > deed.stamp).collect())
}

/// From when to when a node's place is not what it was.
fn changed_time(before: &NodeRecord, after: &NodeRecord) -> Option<(Stamp, Stamp)> {
    let (old, new) = (&before.parents, &after.parents);
    let shared = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let first = [old.get(shared), new.get(shared)];
    let from = first.into_iter().flatten().map(|write| write.stamp).min()?;
    let ends = old[shared..].iter().rev().zip(new[shared..].iter().rev());
    let until = ends.take_while(|(a, b)| a == b).last();
    Some((from, until.map_or(Stamp::MAX, |(write, _)| write.stamp)))
}

/// The times at which two lists of spans, of the same time, differ.
fn different_times(old: &[Span], new: &[Span], until: Stamp) -> Vec<(Stamp, Stamp)> {
    let at = |spans: &[Span], stamp: Stamp| {
        let position = spans.partition_point(|span| span.from <= stamp);
        spans[..position].last().and_then(|span| span.trash)
    };
    let starts: BTreeSet<Stamp> = old.iter().chain(new).map(|span| span.from).collect();
    let ends = starts.iter().skip(1).copied().chain([until]);
    let times = starts.iter().copied().zip(ends);
    times
        .filter(|(from, _)| at(old, *from) != at(new, *from))
        .collect()
}

fn unknown(stamp: Stamp, node: NodeId) -> ConflictEntry {
    ConflictEntry {
        at: stamp,
        kind: ConflictKind::UnknownNode,
        node,
        item: ConflictItem::Node,
        loser: stamp,
    }
}

/// What an edit edits; nothing for other operations.
fn edited(operation: &Operation) -> Option<ConflictItem> {
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
fn effective(operation: &Operation, stamp: Stamp, effects: &Effects) -> Option<Deed> {
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
fn deed(view: &dyn View, operation: &Operation, stamp: Stamp) -> Result<Option<Deed>, ReadError> {
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

fn is_known(view: &dyn View, node: NodeId, at: Stamp) -> Result<bool, ReadError> {
    if node == NodeId::ROOT {
        return Ok(true);
    }
    let record = view::node(view, node)?;
    let first = record.as_deref().and_then(|record| record.parents.first());
    Ok(first.is_some_and(|write| write.stamp < at))
}

fn is_voided(view: &dyn View, set: &ChangeSet) -> Result<bool, ReadError> {
    let record = view.get(&key::structural(view.repo(), set.id))?;
    Ok(matches!(record, Some(Record::Structural(record)) if record.voided))
}

/// The edits of a node that its record holds.
fn edits_of(
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
        let place = crate::merge::register::Place {
            node: id,
            name: &name,
        };
        for write in crate::merge::register::all_writes(view, place, &register)? {
            edits.push((write.stamp, ConflictItem::Property(name.clone())));
        }
    }
    Ok(edits)
}
