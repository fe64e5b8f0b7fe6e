//! The end of a pass: indexes, digest, and what people are told.
//!
//! All of it follows from comparing each changed node with what it was before the pass, so
//! operations evaluated again to the same effect leave no trace here.

mod change;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use change::Change;

use super::counters::MergeCounters;
use super::digest::{self, Term};
use super::fault::{Fault, on};
use super::pass::Written;
use super::register::{self, Effective, Place};
use super::structure::{End, way_up};
use super::view::{self, Overlay, ReadError, View};
use crate::codec::record::{ChildEntry, How, NodeRecord, Record};
use crate::codec::state_key as key;
use crate::model::order::effective_key;
use crate::model::{NodeId, NodeName, OrderKey, PropertyName, Stamp, Value};

/// Where a node is: what its newest writes come to.
#[derive(Clone, PartialEq)]
pub(super) struct Standing {
    pub(super) parent: NodeId,
    pub(super) name: NodeName,
    /// The greater of its newest parent and name stamps (M10).
    pub(super) placed: Stamp,
    pub(super) effective: Vec<u8>,
}

impl Standing {
    /// Nothing for a node that is not known.
    pub(super) fn of(node: &NodeRecord) -> Option<Self> {
        let parent = node.parents.last()?;
        let (named, name) = node.names.last()?;
        Some(Self {
            parent: parent.parent,
            name: name.clone(),
            placed: parent.stamp.max(*named),
            effective: effective_key(order(node).map(|(_, key)| key), name),
        })
    }
}

/// The name that counts: a node that is not known has none, though it may have been renamed (M12).
fn name(node: &NodeRecord) -> Option<&(Stamp, NodeName)> {
    node.parents.first().and(node.names.last())
}

/// The order key that counts: one written before the node was there does not (M12).
pub(super) fn order(node: &NodeRecord) -> Option<&(Stamp, OrderKey)> {
    let first = node.parents.first()?.stamp;
    let counts = |stamp: Stamp| stamp > first || on(Fault::EarlyOrderCounts);
    node.orders.last().filter(|(stamp, _)| counts(*stamp))
}

/// The stamp up to which a node's property writes do not count: it did not exist (M12), or an add
/// brought it back empty since (M6). Nothing for a node that is not known.
pub(super) fn floor(id: NodeId, node: &NodeRecord) -> Option<Stamp> {
    if id == NodeId::ROOT {
        return Some(Stamp::MIN);
    }
    let first = node.parents.first()?;
    let emptied = node
        .parents
        .iter()
        .rev()
        .find(|write| write.how == How::ComeBack && !on(Fault::ComeBackKeepsProperties));
    Some(emptied.unwrap_or(first).stamp)
}

/// What a property comes to; nothing if no write of it counts.
pub(super) fn property(
    view: &dyn View,
    id: NodeId,
    node: &NodeRecord,
    name: &PropertyName,
) -> Result<Option<Effective>, ReadError> {
    let Some(floor) = floor(id, node) else {
        return Ok(None);
    };
    match view::register(view, id, node, name)? {
        None => Ok(None),
        Some(register) => register::effective(view, Place { node: id, name }, &register, floor),
    }
}

/// Settles everything that follows from the changed nodes: indexes, the digest's sums if they are
/// given, the net difference.
pub(super) fn settle(
    overlay: &mut Overlay<'_>,
    mut digest: Option<&mut [u128; 256]>,
    counters: &mut MergeCounters,
    written: &Written,
) -> Result<Vec<Change>, ReadError> {
    let prefix = key::node(overlay.repo(), NodeId::ROOT);
    let nodes: Vec<(NodeId, Arc<NodeRecord>)> = overlay
        .changed()
        .range(prefix[..2].to_vec()..key::after_prefix(&prefix[..2]))
        .filter_map(|(key, record)| match record {
            Some(Record::Node(node)) => Some((key::node_of(key)?, node.clone())),
            _ => None,
        })
        .collect();
    let nothing = BTreeMap::new();
    let mut changes = Vec::new();
    for (id, after) in &nodes {
        let before = view::node(overlay.base(), *id)?.unwrap_or_default();
        let properties = written.get(id).unwrap_or(&nothing);
        let mut settling = Settling {
            overlay,
            digest: digest.as_deref_mut(),
            counters,
            id: *id,
            before: &before,
            after,
        };
        settling.digest_structure();
        settling.index_place()?;
        settling.properties(properties, &mut changes)?;
        settling.structure_changes(&mut changes)?;
    }
    keep_visible(overlay, &mut changes)?;
    changes.sort_by_key(Change::rank);
    Ok(changes)
}

struct Settling<'p, 'a> {
    overlay: &'p mut Overlay<'a>,
    /// Kept up where it is wanted: a draft has none.
    digest: Option<&'p mut [u128; 256]>,
    counters: &'p mut MergeCounters,
    id: NodeId,
    before: &'p NodeRecord,
    after: &'p NodeRecord,
}

impl Settling<'_, '_> {
    fn digest_structure(&mut self) {
        let (before, after, id) = (self.before, self.after, self.id);
        let Some(sums) = self.digest.as_deref_mut() else {
            return;
        };
        let shared = before
            .parents
            .iter()
            .zip(&after.parents)
            .take_while(|(a, b)| a == b)
            .count();
        before.parents[shared..]
            .iter()
            .filter(|_| !on(Fault::DigestKeepsParents))
            .for_each(|write| digest::subtract(sums, id, &Term::Parent(write)));
        after.parents[shared..]
            .iter()
            .for_each(|write| digest::add(sums, id, &Term::Parent(write)));
        if before.skips != after.skips {
            before
                .skips
                .iter()
                .for_each(|skip| digest::subtract(sums, id, &Term::Skip(skip)));
            after
                .skips
                .iter()
                .for_each(|skip| digest::add(sums, id, &Term::Skip(skip)));
        }
        if name(before) != name(after) {
            if let Some((stamp, name)) = name(before) {
                digest::subtract(sums, id, &Term::Name(*stamp, name));
            }
            if let Some((stamp, name)) = name(after) {
                digest::add(sums, id, &Term::Name(*stamp, name));
            }
        }
        if order(before) != order(after) {
            if let Some((stamp, key)) = order(before) {
                digest::subtract(sums, id, &Term::Order(*stamp, key));
            }
            if let Some((stamp, key)) = order(after) {
                digest::add(sums, id, &Term::Order(*stamp, key));
            }
        }
    }

    /// The indexes of children, present and former.
    fn index_place(&mut self) -> Result<(), ReadError> {
        let (before, after) = (Standing::of(self.before), Standing::of(self.after));
        if before != after {
            if let Some(standing) = &before {
                self.leave(standing)?;
            }
            if let Some(standing) = &after {
                self.enter(standing)?;
            }
        }
        if (&self.before.parents, &self.before.names) != (&self.after.parents, &self.after.names) {
            let repo = self.overlay.repo();
            let (old, new) = (former_places(self.before), former_places(self.after));
            for (parent, name) in old.difference(&new) {
                self.overlay
                    .remove(key::former_child(repo, *parent, name, self.id));
            }
            for (parent, name) in new.difference(&old) {
                self.overlay.put(
                    key::former_child(repo, *parent, name, self.id),
                    Record::Mark,
                );
            }
        }
        Ok(())
    }

    fn leave(&mut self, standing: &Standing) -> Result<(), ReadError> {
        let repo = self.overlay.repo();
        let plain = effective_key(None, &standing.name);
        self.overlay.remove(key::child(
            repo,
            standing.parent,
            &standing.effective,
            self.id,
        ));
        if plain != standing.effective {
            self.overlay
                .remove(key::child(repo, standing.parent, &plain, self.id));
        }
        let others = self.namesakes(standing)?;
        if others > 0 {
            self.counters.clashes = self.counters.clashes.saturating_sub(1);
        }
        if others == 1 {
            self.overlay
                .remove(key::clash(repo, standing.parent, &standing.name));
        }
        Ok(())
    }

    fn enter(&mut self, standing: &Standing) -> Result<(), ReadError> {
        let repo = self.overlay.repo();
        let others = self.namesakes(standing)?;
        if others > 0 {
            self.counters.clashes += 1;
            self.counters.clashes_met += 1;
        }
        if others == 1 {
            let key = key::clash(repo, standing.parent, &standing.name);
            self.overlay.put(key, Record::Mark);
        }
        let plain = effective_key(None, &standing.name);
        let entry = |shadow| {
            let (name, placed) = (standing.name.clone(), standing.placed);
            Record::Child(Arc::new(ChildEntry {
                name,
                placed,
                shadow,
            }))
        };
        if plain != standing.effective && !on(Fault::OrderedUnnamed) {
            self.overlay.put(
                key::child(repo, standing.parent, &plain, self.id),
                entry(true),
            );
        }
        self.overlay.put(
            key::child(repo, standing.parent, &standing.effective, self.id),
            entry(false),
        );
        Ok(())
    }

    /// How many other children of the same parent have the same name: none, one, or more.
    fn namesakes(&self, standing: &Standing) -> Result<usize, ReadError> {
        if standing.parent == NodeId::TRASH {
            return Ok(0);
        }
        let plain = effective_key(None, &standing.name);
        let mut from = key::children_at(self.overlay.repo(), standing.parent, &plain);
        let end = key::after_prefix(&from);
        let mut found = 0;
        loop {
            let rows = self.overlay.scan(&from, &end, 16)?;
            found += rows
                .iter()
                .filter(|(key, record)| {
                    matches!(record, Record::Child(entry) if entry.name == standing.name)
                        && key::child_of(key).is_some_and(|(_, child)| child != self.id)
                })
                .count();
            match rows.last() {
                Some((last, _)) if found < 2 && rows.len() == 16 => {
                    from.clone_from(last);
                    from.push(0);
                }
                _ => return Ok(found.min(2)),
            }
        }
    }

    /// Digest, references and changes of the properties that can have changed.
    fn properties(
        &mut self,
        written: &BTreeMap<PropertyName, BTreeSet<Stamp>>,
        changes: &mut Vec<Change>,
    ) -> Result<(), ReadError> {
        let base = self.overlay.base();
        let mut names: BTreeSet<PropertyName> = written.keys().cloned().collect();
        if floor(self.id, self.before) != floor(self.id, self.after) {
            names.extend(view::registers(base, self.id, self.before)?.into_keys());
            names.extend(view::registers(self.overlay, self.id, self.after)?.into_keys());
        }
        for name in names {
            let before = property(base, self.id, self.before, &name)?;
            let after = property(self.overlay, self.id, self.after, &name)?;
            if before == after {
                continue;
            }
            if let Some(sums) = self.digest.as_deref_mut() {
                if let Some(effective) = &before
                    && !on(Fault::DigestKeepsValues)
                {
                    digest::subtract(sums, self.id, &Term::Property(&name, effective));
                }
                if let Some(effective) = &after {
                    digest::add(sums, self.id, &Term::Property(&name, effective));
                }
            }
            let before = before.and_then(|effective| effective.value);
            let after = after.and_then(|effective| effective.value);
            if before == after {
                continue;
            }
            let repo = self.overlay.repo();
            for target in before.iter().flat_map(Value::references) {
                self.overlay
                    .remove(key::referrer(repo, target, self.id, &name));
            }
            for target in after.iter().flat_map(Value::references) {
                self.overlay
                    .put(key::referrer(repo, target, self.id, &name), Record::Mark);
            }
            if after.is_none() && on(Fault::EmptyingUntold) {
                continue;
            }
            changes.push(Change::Property {
                node: self.id,
                name,
                before,
                after,
            });
        }
        Ok(())
    }

    fn structure_changes(&self, changes: &mut Vec<Change>) -> Result<(), ReadError> {
        let (before, after) = (Standing::of(self.before), Standing::of(self.after));
        let node = self.id;
        if node == NodeId::ROOT || before == after {
            return Ok(());
        }
        let was = before.is_some() && is_visible(self.overlay.base(), node)?;
        let is = after.is_some() && is_visible(self.overlay, node)?;
        match (
            was.then_some(before).flatten(),
            is.then_some(after).flatten(),
        ) {
            (None, Some(Standing { parent, name, .. })) => {
                // Unless it came to be visible along with what is above it.
                if parent == NodeId::ROOT || is_visible(self.overlay.base(), parent)? {
                    changes.push(Change::Appeared { node, parent, name });
                }
            }
            (Some(Standing { parent, name, .. }), None) => {
                if parent == NodeId::ROOT || is_visible(self.overlay, parent)? {
                    changes.push(Change::Vanished { node, parent, name });
                }
            }
            (Some(_), Some(_)) if on(Fault::MoveUntold) => {}
            (Some(before), Some(after)) => {
                if (before.parent, &before.name) != (after.parent, &after.name) {
                    let from = (before.parent, before.name);
                    let to = (after.parent, after.name);
                    changes.push(Change::Moved { node, from, to });
                } else if before.effective != after.effective {
                    changes.push(Change::Ordered { node });
                }
            }
            (None, None) => {}
        }
        Ok(())
    }
}

/// Parents that a node had once, and its name there, but for its present place and the trash.
fn former_places(node: &NodeRecord) -> BTreeSet<(NodeId, &NodeName)> {
    let mut places = BTreeSet::new();
    let (mut parents, mut names) = (node.parents.iter().peekable(), node.names.iter().peekable());
    let (mut parent, mut name) = (None, None);
    loop {
        let stamps = [
            parents.peek().map(|write| write.stamp),
            names.peek().map(|(stamp, _)| *stamp),
        ];
        let Some(now) = stamps.into_iter().flatten().min() else {
            break;
        };
        places.extend(parent.zip(name));
        if let Some(write) = parents.next_if(|write| write.stamp == now) {
            parent = Some(write.parent);
        }
        if let Some((_, written)) = names.next_if(|(stamp, _)| *stamp == now) {
            name = Some(written);
        }
    }
    places.retain(|place| place.0 != NodeId::TRASH && Some(*place) != parent.zip(name));
    places
}

/// Whether a node is in the tree as of the newest writes.
pub(super) fn is_visible(view: &dyn View, node: NodeId) -> Result<bool, ReadError> {
    Ok(way_up(view, node, Stamp::MAX)?.end == End::Root)
}

/// Leaves out property changes of nodes that were not there before or are not there after.
fn keep_visible(overlay: &Overlay<'_>, changes: &mut Vec<Change>) -> Result<(), ReadError> {
    let mut visible: BTreeMap<NodeId, bool> = BTreeMap::new();
    for change in changes.iter() {
        if let Change::Property { node, .. } = change
            && !visible.contains_key(node)
        {
            let both = is_visible(overlay.base(), *node)? && is_visible(overlay, *node)?;
            visible.insert(*node, both);
        }
    }
    changes.retain(|change| match change {
        Change::Property { node, .. } => visible[node],
        _ => true,
    });
    Ok(())
}
