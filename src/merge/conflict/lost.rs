//! What removals took along unseen and what was written into the trash (`under-removed`), and
//! operations on nodes that do not exist (`unknown-node`, M12).
//!
//! An edit, add or move that takes effect is a *deed*. A removal loses the deeds on its node and
//! below that its author had not seen: they are found from the deed by following its node's place
//! through time ([`super::coverage`]), and from the removal by going through the change sets that
//! were unseen to it ([`super::window`]) or the records of what was ever below its node, whichever
//! is new. Whether the node is trashed in the end is left to reading.

use std::collections::{BTreeMap, BTreeSet};

use super::coverage::{self, Span, Trash};
use super::deed::{Deed, deed, deeds_of, edited, edits_of, effective, is_known};
use super::unseen::Unseen;
use super::window::Windows;
use super::{Batch, Entries, entries_at, put, remove, replace};
use crate::codec::record::{NodeRecord, Record};
use crate::codec::state_key::{self as key, ConflictEntry};
use crate::merge::History;
use crate::merge::fault::{Fault, on};
use crate::merge::overlay::{Overlay, WrittenNode};
use crate::merge::structure::{Effects, indexed_below};
use crate::merge::view::{self, ReadError, View};
use crate::model::{ChangeSet, ConflictItem, ConflictKind, NodeId, Operation, Stamp};

/// The change sets that a removal had not seen are gone through if they are at most so many.
/// Both are small in test builds, so that small histories meet every way.
const SETS_FEW: u64 = if cfg!(feature = "faults") { 2 } else { 64 };
/// Otherwise what was ever below the removed node, if it is at most so many nodes.
const BELOW_FEW: usize = if cfg!(feature = "faults") { 4 } else { 256 };

pub(super) fn derive(
    overlay: &mut Overlay<'_>,
    nodes: &[WrittenNode],
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
    nodes: &'l [WrittenNode],
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
        for WrittenNode { id, before, after } in self.nodes {
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
            for (stamp, item) in edits_of(&*self.overlay.base(), *id, before)? {
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
        for removal in removals(&*self.overlay.base(), deed)? {
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
        let mut moved: Vec<(NodeId, Moved)> = Vec::new();
        for WrittenNode { id, before, after } in self.nodes {
            // What is on a new node, or below it, is new as well.
            let Some(before) = before else {
                continue;
            };
            let Some((from, until)) = changed_time(before, after) else {
                continue;
            };
            let old = coverage::spans(&*self.overlay.base(), *id, from, until)?;
            let new = coverage::spans(self.overlay, *id, from, until)?;
            let events = |spans: &[Span]| spans.iter().filter_map(Span::removal).collect();
            let (gone, come): (BTreeSet<Stamp>, BTreeSet<Stamp>) = (events(&old), events(&new));
            let one = Moved {
                removals: gone.symmetric_difference(&come).copied().collect(),
                times: joined(different_times(&old, &new, until)),
            };
            removals.extend(&one.removals);
            times.extend(&one.times);
            moved.push((*id, one));
        }
        if removals.is_empty() && times.is_empty() {
            return Ok(());
        }
        let mut windows = Windows::new(
            self.overlay,
            self.batch,
            self.unseen,
            &removals,
            &joined(times),
        )?;
        if windows.are_many(self.batch, history, SETS_FEW)? {
            let mut few = Vec::new();
            (removals, times) = Default::default();
            for (id, one) in moved {
                match ever_below(self.overlay, id)? {
                    Some(below) => few.push((below, one)),
                    None => {
                        removals.extend(one.removals);
                        times.extend(one.times);
                    }
                }
            }
            self.look_below(&few)?;
            times = joined(times);
            windows = Windows::new(self.overlay, self.batch, self.unseen, &removals, &times)?;
        } else {
            times = joined(moved.into_iter().flat_map(|(_, one)| one.times).collect());
        }
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

    /// Finds which removals take along what lies on and below nodes that have little below them,
    /// and what of it lands in the trash, from the nodes' own records.
    fn look_below(&mut self, moved: &[(BTreeSet<NodeId>, Moved)]) -> Result<(), ReadError> {
        let mut by_removal: BTreeMap<Stamp, BTreeSet<NodeId>> = BTreeMap::new();
        for (below, Moved { removals, times }) in moved {
            for removal in removals {
                by_removal.entry(*removal).or_default().extend(below);
            }
            let Some((_, until)) = times.last() else {
                continue;
            };
            for node in below {
                for deed in self.deeds(*node, *until)? {
                    if is_within(times, deed.stamp) {
                        self.lands_in_trash(&deed)?;
                    }
                }
            }
        }
        for (removal, nodes) in by_removal {
            let mut old = entries_at(self.overlay, removal, ConflictKind::UnderRemoved)?;
            old.retain(|entry, _| nodes.contains(&entry.node));
            let mut new = Entries::new();
            for node in nodes {
                for deed in self.deeds(node, removal)? {
                    if !on(Fault::LateRemovalUnreported)
                        && self.unseen.is(self.overlay, removal.id, deed.stamp.id)?
                        && !self.is_settled(node, deed.stamp)?
                        && removals(self.overlay, &deed)?.contains(&removal)
                    {
                        new.insert(deed.entry(removal), Some(removal.id));
                    }
                }
            }
            replace(self.overlay, &old, &new)?;
        }
        Ok(())
    }

    fn deeds(&self, node: NodeId, before: Stamp) -> Result<Vec<Deed>, ReadError> {
        match view::node(self.overlay, node)? {
            Some(record) => deeds_of(self.overlay, node, &record, before),
            None => Ok(Vec::new()),
        }
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
            let next = times.partition_point(|(from, _)| *from <= stamp);
            if times[..next]
                .last()
                .is_some_and(|(_, until)| stamp < *until)
            {
                self.lands_in_trash(&deed)?;
            }
            if changed.last().is_none_or(|newest| *newest < stamp)
                || self.is_settled(deed.node, stamp)?
            {
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

/// What follows from that a node has come to another place.
struct Moved {
    /// Removals that take it along now and did not, or the contrary.
    removals: BTreeSet<Stamp>,
    /// When it was trashed, and is not, or the contrary; in order.
    times: Vec<(Stamp, Stamp)>,
}

/// A node and everything that was ever below it; nothing if that is much, or has long histories.
fn ever_below(view: &dyn View, node: NodeId) -> Result<Option<BTreeSet<NodeId>>, ReadError> {
    let mut all = BTreeSet::from([node]);
    let mut open = vec![node];
    while let Some(parent) = open.pop() {
        let record = view::node(view, parent)?.unwrap_or_default();
        let registers = view::registers(view, parent, &record)?;
        if registers.values().any(|register| register.older.is_some()) {
            return Ok(None);
        }
        let Some(children) = indexed_below(view, parent, BELOW_FEW)? else {
            return Ok(None);
        };
        open.extend(children.into_iter().filter(|child| all.insert(*child)));
        if all.len() > BELOW_FEW {
            return Ok(None);
        }
    }
    Ok(Some(all))
}

/// Whether a stamp is within one of these times, which are in order and apart from each other.
fn is_within(times: &[(Stamp, Stamp)], stamp: Stamp) -> bool {
    let next = times.partition_point(|(from, _)| *from <= stamp);
    times[..next]
        .last()
        .is_some_and(|(_, until)| stamp < *until)
}

/// The removals newer than a deed that took its node along.
fn removals(view: &dyn View, deed: &Deed) -> Result<Vec<Stamp>, ReadError> {
    let spans = coverage::spans(view, deed.node, deed.stamp, Stamp::MAX)?;
    let removals = spans.iter().filter_map(Span::removal);
    Ok(removals.filter(|removal| *removal > deed.stamp).collect())
}

/// The same times, in order and apart from each other.
fn joined(mut times: Vec<(Stamp, Stamp)>) -> Vec<(Stamp, Stamp)> {
    times.sort_unstable();
    let mut joined: Vec<(Stamp, Stamp)> = Vec::new();
    for (from, until) in times {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ => joined.push((from, until)),
        }
    }
    joined
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

fn is_voided(view: &dyn View, set: &ChangeSet) -> Result<bool, ReadError> {
    let record = view.get(&key::structural(view.repo(), set.id))?;
    Ok(matches!(record, Some(Record::Structural(record)) if record.voided))
}
