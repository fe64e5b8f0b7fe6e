//! Structural operations, evaluated at their stamp (M6 to M9).
//!
//! Every parent write that took effect stays in its node's record under its stamp, so the tree *as
//! it was at a stamp* can be read at any time: a node's parent then is that of its newest write not
//! newer than the stamp. An operation is evaluated against that, whatever has been merged since;
//! what it comes to are its [`Effects`], which lie in the records under its own stamp and can be
//! taken out again. Nothing here scans a large subtree: a removal finds what was moved below its node
//! unseen through an index of the change sets that moved something ([`removal`]). Most operations that
//! are evaluated again come out as they did, which can be told without taking anything out ([`again`]).
//!
//! The operations of an all-or-nothing change set are evaluated here whatever they are, for each
//! tells whether it voids the set ([`atomic`], M13).

mod again;
mod atomic;
mod removal;
mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use atomic::{is_added_at, name_at};
pub(crate) use way::{End, WayUp, end_now, placed_at, way_up};

use super::counters::MergeCounters;
use super::fault::{Fault, on};
use super::overlay::Overlay;
use super::seen::Knowledge;
use super::view::{self, ReadError, View};
use crate::codec::record::{AddedAgain, How, NodeRecord, ParentWrite, SkippedMove};
use crate::codec::state_key as key;
use crate::model::{ChangeSetId, NodeId, NodeName, Operation, OriginId, Stamp, Time};

/// What an operation came to. Equal effects are interchangeable.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Effects {
    pub(crate) parents: Vec<(NodeId, ParentWrite)>,
    pub(crate) skip: Option<(NodeId, SkippedMove)>,
    pub(crate) again: Option<(NodeId, AddedAgain)>,
    pub(crate) name: Option<(NodeId, NodeName)>,
    /// The node that it is about, or names, and that is not known (M12).
    pub(crate) unknown: Option<NodeId>,
}

impl Effects {
    fn unknown(node: NodeId) -> Self {
        Self {
            unknown: Some(node),
            ..Self::default()
        }
    }
}

/// Whose operation is evaluated, and what that author had seen.
pub(crate) struct Author {
    /// The change set; its own writes count as seen.
    pub(crate) id: ChangeSetId,
    /// What it had seen of other origins.
    pub(crate) seen: Seen,
}

/// Where to look up what an author had seen.
pub(crate) enum Seen {
    /// What was noted at its turn.
    Noted(Knowledge),
    /// Everything there is: the author of a draft.
    Everything,
}

impl Author {
    /// How far it had seen another origin.
    fn seen_up_to(&self, view: &dyn View, other: OriginId) -> Result<Time, ReadError> {
        if other == self.id.origin {
            return Ok(self.id.time);
        }
        match &self.seen {
            Seen::Noted(seen) => seen.up_to(view, other),
            Seen::Everything => Ok(Time(u64::MAX)),
        }
    }

    fn has_seen(&self, view: &dyn View, id: ChangeSetId) -> Result<bool, ReadError> {
        Ok(id.time <= self.seen_up_to(view, id.origin)?)
    }
}

/// What the indexes of children do not know yet.
#[derive(Default)]
pub(crate) struct Arrivals {
    /// Nodes that got a parent write in this pass, by that parent.
    parents: BTreeMap<NodeId, BTreeSet<NodeId>>,
    /// Nodes that got a parent or name write in this pass, by every parent and name that they ever
    /// had; nothing if nobody is going to ask.
    names: Option<BTreeMap<(NodeId, NodeName), BTreeSet<NodeId>>>,
}

impl Arrivals {
    /// With `names` if all-or-nothing change sets are going to be evaluated.
    pub(crate) fn new(names: bool) -> Self {
        Self {
            names: names.then(BTreeMap::new),
            ..Self::default()
        }
    }

    /// A node's parent or name has been written.
    pub(crate) fn named(&mut self, node: NodeId, record: &NodeRecord) {
        let Some(names) = &mut self.names else {
            return;
        };
        for parent in record.parents.iter().map(|write| write.parent) {
            for (_, name) in &record.names {
                let place = names.entry((parent, name.clone())).or_default();
                place.insert(node);
            }
        }
    }
}

/// Evaluates structural operations on the records of a pass.
pub(crate) struct Evaluator<'p, 'a> {
    pub(crate) overlay: &'p mut Overlay<'a>,
    pub(crate) arrivals: &'p mut Arrivals,
    /// For each origin its newest write that a removal may have to look at (M8).
    pub(crate) causes: &'p BTreeMap<OriginId, Time>,
    pub(crate) counters: &'p mut MergeCounters,
}

impl Evaluator<'_, '_> {
    /// Evaluates an operation at its stamp and puts its effects into the records.
    pub(crate) fn evaluate(
        &mut self,
        operation: &Operation,
        stamp: Stamp,
        author: &Author,
    ) -> Result<Effects, ReadError> {
        let node = operation.node(stamp);
        match operation {
            Operation::Rename { name, .. } => self.rename(node, name, stamp),
            Operation::Add { parent, name, .. } | Operation::AddUnique { parent, name } => {
                self.add(node, *parent, name, stamp)
            }
            Operation::Remove { .. } => self.remove(node, stamp, author),
            Operation::Move { parent, name, .. } => {
                self.move_to(node, *parent, name.as_ref(), stamp)
            }
            _ => unreachable!("the others are writes to registers"),
        }
    }

    /// M6.
    fn add(
        &mut self,
        node: NodeId,
        parent: NodeId,
        name: &NodeName,
        stamp: Stamp,
    ) -> Result<Effects, ReadError> {
        let record = view::node(self.overlay, node)?;
        let known = record
            .as_deref()
            .is_some_and(|record| placed_at(record, stamp).is_some());
        let mut effects = Effects::default();
        if !known {
            // It comes to be under its parent, even a trashed one; but there must be one.
            if !self.is_known(parent, stamp)? {
                self.touch_unknown(parent, stamp)?;
                return Ok(Effects::unknown(parent));
            }
            self.place(&mut effects, node, stamp, parent, How::Add)?;
            self.name(&mut effects, node, stamp, name)?;
            return Ok(effects);
        }
        let live = self.look_up(node, stamp)?.end == End::Root;
        let parent_end = self.look_up(parent, stamp)?.end;
        if parent_end == End::Unknown {
            return Ok(Effects::unknown(parent));
        }
        if live || (parent_end == End::Trash && !on(Fault::ComeBackInTrash)) {
            return self.add_again(node, AddedAgain { stamp, live });
        }
        // Its remover was unseen by this author: it comes back, empty.
        for child in self.children_at(node, stamp)? {
            if !on(Fault::ComeBackKeepsChildren) {
                self.place(&mut effects, child, stamp, NodeId::TRASH, How::Emptied)?;
            }
        }
        self.place(&mut effects, node, stamp, parent, How::ComeBack)?;
        self.name(&mut effects, node, stamp, name)?;
        self.counters.come_back += 1;
        Ok(effects)
    }

    /// An add of what is there already: nothing changes (M6).
    fn add_again(&mut self, node: NodeId, again: AddedAgain) -> Result<Effects, ReadError> {
        let mut record = self.overlay.take_node(node)?;
        let all = &mut Arc::make_mut(&mut record).again;
        all.insert(
            all.partition_point(|other| other.stamp < again.stamp),
            again,
        );
        self.overlay.put_node(node, record);
        Ok(Effects {
            again: Some((node, again)),
            ..Effects::default()
        })
    }

    /// M9.
    fn move_to(
        &mut self,
        node: NodeId,
        parent: NodeId,
        name: Option<&NodeName>,
        stamp: Stamp,
    ) -> Result<Effects, ReadError> {
        let mut effects = Effects::default();
        let way = self.look_up(parent, stamp)?;
        if node == NodeId::ROOT || !self.is_known(node, stamp)? {
            self.touch_unknown(node, stamp)?;
            return Ok(Effects::unknown(node));
        }
        if parent == NodeId::TRASH {
            return Ok(Effects::unknown(parent));
        }
        let cycle = (way.position(node)).filter(|_| !on(Fault::CycleUnchecked));
        let cycle = cycle.filter(|_| way.end != End::Trash || !on(Fault::TrashBeforeCycle));
        let skip = if let Some(position) = cycle {
            let writes = way.nodes[..position].iter().map(|(_, write)| *write);
            let reason = match on(Fault::OldestReason) {
                true => writes.min(),
                false => writes.max(),
            };
            Some(SkippedMove {
                stamp,
                parent,
                reason: reason.unwrap_or(stamp),
                cycle: true,
            })
        } else {
            match way.end {
                End::Root => None,
                End::Trash if on(Fault::TrashedTargetAccepted) => None,
                End::Trash => {
                    let reason = way.nodes.last().map_or(stamp, |(_, write)| *write);
                    Some(SkippedMove {
                        stamp,
                        parent,
                        reason,
                        cycle: false,
                    })
                }
                End::Unknown => return Ok(Effects::unknown(parent)),
            }
        };
        if let Some(skip) = skip {
            let mut record = self.overlay.take_node(node)?;
            let skips = &mut Arc::make_mut(&mut record).skips;
            skips.insert(skips.partition_point(|other| other.stamp < stamp), skip);
            self.overlay.put_node(node, record);
            self.counters.skipped += 1;
            effects.skip = Some((node, skip));
            return Ok(effects);
        }
        self.place(&mut effects, node, stamp, parent, How::Move)?;
        if let Some(name) = name.filter(|_| !on(Fault::MoveForgetsName)) {
            self.name(&mut effects, node, stamp, name)?;
        }
        Ok(effects)
    }

    /// Takes an operation's effects out of the records; `others` are the nodes besides its own
    /// whose parents it wrote.
    pub(crate) fn take_effects(
        &mut self,
        operation: &Operation,
        stamp: Stamp,
        others: &[NodeId],
    ) -> Result<Effects, ReadError> {
        let mut effects = Effects::default();
        let own = operation.node(stamp);
        let others = if on(Fault::OldEffectsStay) {
            &[]
        } else {
            others
        };
        for node in others.iter().copied().chain([own]) {
            let mut record = self.overlay.take_node(node)?;
            let written = record.parents.binary_search_by(|w| w.stamp.cmp(&stamp));
            if let Ok(i) = written {
                let write = Arc::make_mut(&mut record).parents.remove(i);
                effects.parents.push((node, write));
            }
            if let Some(i) = record.names.iter().position(|(other, _)| *other == stamp) {
                let (_, name) = Arc::make_mut(&mut record).names.remove(i);
                effects.name = Some((node, name));
            }
            if let Some(i) = record.again.iter().position(|again| again.stamp == stamp) {
                effects.again = Some((node, Arc::make_mut(&mut record).again.remove(i)));
            }
            if let Some(i) = record.skips.iter().position(|skip| skip.stamp == stamp) {
                effects.skip = Some((node, Arc::make_mut(&mut record).skips.remove(i)));
            }
            // It is where it was before, perhaps under a name that it has got since.
            self.arrivals.named(node, &record);
            self.overlay.put_node(node, record);
        }
        Ok(effects)
    }

    fn place(
        &mut self,
        effects: &mut Effects,
        node: NodeId,
        stamp: Stamp,
        parent: NodeId,
        how: How,
    ) -> Result<(), ReadError> {
        let write = ParentWrite { stamp, parent, how };
        let mut record = self.overlay.take_node(node)?;
        let parents = &mut Arc::make_mut(&mut record).parents;
        parents.insert(parents.partition_point(|other| other.stamp < stamp), write);
        self.arrivals
            .parents
            .entry(parent)
            .or_default()
            .insert(node);
        self.arrivals.named(node, &record);
        self.overlay.put_node(node, record);
        effects.parents.push((node, write));
        Ok(())
    }

    fn name(
        &mut self,
        effects: &mut Effects,
        node: NodeId,
        stamp: Stamp,
        name: &NodeName,
    ) -> Result<(), ReadError> {
        let mut record = self.overlay.take_node(node)?;
        write_name(Arc::make_mut(&mut record), stamp, name);
        self.arrivals.named(node, &record);
        self.overlay.put_node(node, record);
        effects.name = Some((node, name.clone()));
        Ok(())
    }

    fn is_known(&self, node: NodeId, at: Stamp) -> Result<bool, ReadError> {
        if node == NodeId::ROOT {
            return Ok(true);
        }
        let record = view::node(self.overlay, node)?;
        Ok(record
            .as_deref()
            .is_some_and(|record| placed_at(record, at).is_some()))
    }

    /// The way up from a node, remembering that the operation at `stamp` looked at it.
    fn look_up(&mut self, node: NodeId, stamp: Stamp) -> Result<WayUp, ReadError> {
        let way = way_up(self.overlay, node, stamp)?;
        self.touch_way(&way, stamp)?;
        if let (End::Unknown, Some((node, _))) = (way.end, way.nodes.last()) {
            self.touch_unknown(*node, stamp)?;
        }
        Ok(way)
    }

    /// Remembers that the operation at `stamp` looked at all places on a way.
    fn touch_way(&mut self, way: &WayUp, stamp: Stamp) -> Result<(), ReadError> {
        for (node, _) in &way.nodes {
            self.touch(*node, stamp)?;
        }
        Ok(())
    }

    /// Remembers that the operation at `stamp` looked at a node's place.
    fn touch(&mut self, node: NodeId, stamp: Stamp) -> Result<(), ReadError> {
        if !on(Fault::TouchForgotten) {
            self.overlay.touch(node, stamp)?;
        }
        Ok(())
    }

    /// The same of a node that is not known then (M12). It gets an empty record, by which an add
    /// that comes to be before sees that somebody has asked for it.
    fn touch_unknown(&mut self, node: NodeId, stamp: Stamp) -> Result<(), ReadError> {
        self.touch(node, stamp)?;
        if view::node(self.overlay, node)?.is_none() {
            self.overlay.put_node(node, Arc::default());
        }
        Ok(())
    }

    /// The nodes that have this parent, or had it once.
    pub(crate) fn ever_below(&self, node: NodeId) -> Result<BTreeSet<NodeId>, ReadError> {
        let all = self.few_ever_below(node, usize::MAX)?;
        Ok(all.expect("no limit is ever reached"))
    }

    /// The same; nothing if they are more than `limit`.
    fn few_ever_below(
        &self,
        node: NodeId,
        limit: usize,
    ) -> Result<Option<BTreeSet<NodeId>>, ReadError> {
        let Some(mut nodes) = indexed_below(self.overlay, node, limit)? else {
            return Ok(None);
        };
        if let Some(arrived) = self.arrivals.parents.get(&node) {
            if arrived.len() > limit {
                return Ok(None);
            }
            nodes.extend(arrived);
        }
        Ok((nodes.len() <= limit).then_some(nodes))
    }

    /// The children of a node as they were at a stamp.
    fn children_at(&mut self, node: NodeId, at: Stamp) -> Result<BTreeSet<NodeId>, ReadError> {
        let candidates = self.ever_below(node)?;
        let mut children = BTreeSet::new();
        for child in candidates {
            let record = view::node(self.overlay, child)?;
            let place = record.as_deref().and_then(|record| placed_at(record, at));
            if place.is_some_and(|write| write.parent == node) {
                children.insert(child);
            }
        }
        for child in &children {
            self.touch(*child, at)?;
        }
        Ok(children)
    }
}

/// The nodes that have this parent or had it once, as far as the indexes know; nothing if they are
/// more than `limit`.
pub(crate) fn indexed_below(
    view: &dyn View,
    node: NodeId,
    limit: usize,
) -> Result<Option<BTreeSet<NodeId>>, ReadError> {
    let repo = view.repo();
    let mut nodes = BTreeSet::new();
    // A child has an entry or two.
    let rows_max = limit.saturating_mul(2).saturating_add(1);
    for prefix in [key::children(repo, node), key::former_children(repo, node)] {
        let rows = view.scan(&prefix, &key::after_prefix(&prefix), rows_max)?;
        let present = |key: &[u8]| key::child_of(key).map(|(_, child)| child);
        let child = |key: &[u8]| present(key).or_else(|| key::former_child_of(key));
        nodes.extend(rows.iter().filter_map(|(key, _)| child(key)));
        if rows.len() == rows_max || nodes.len() > limit {
            return Ok(None);
        }
    }
    Ok(Some(nodes))
}

/// Puts a name in its place among a node's names.
pub(crate) fn write_name(record: &mut NodeRecord, stamp: Stamp, name: &NodeName) {
    let position = record.names.partition_point(|(other, _)| {
        *other < stamp || (on(Fault::NameOriginIgnored) && other.id.time == stamp.id.time)
    });
    record.names.insert(position, (stamp, name.clone()));
}
