//! The end of a pass: indexes, digest, and what people are told.
//!
//! All of it follows from comparing each changed node with what it was before the pass, so
//! operations evaluated again to the same effect leave no trace here.

mod children;

use std::collections::{BTreeMap, BTreeSet};

use super::counters::MergeCounters;
use super::digest::{self, Term};
use super::fault::{Fault, on};
use super::overlay::{Overlay, WrittenNode};
use super::pass::Written;
use super::register::{self, Effective, Place};
use super::structure::{End, end_now};
use super::view::{self, ReadError, View};
use crate::codec::record::{How, NodeRecord, Record, Sums};
use crate::codec::state_key as key;
use crate::model::order::effective_key;
use crate::model::{NodeId, NodeName, OrderKey, PropertyName, Stamp, Value};

/// One visible difference between two states. Nodes are named by their own, unescaped, names.
///
/// A list of them can be applied to a mirror of the tree in its order: what appears, moves, is
/// ordered, changes its properties, vanishes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// The node is there now, with everything below it, none of which was.
    Appeared {
        /// The node.
        node: NodeId,
        /// Its parent.
        parent: NodeId,
        /// Its name.
        name: NodeName,
    },
    /// The node has another parent or another name; what is below it came along.
    Moved {
        /// The node.
        node: NodeId,
        /// Parent and name before.
        from: (NodeId, NodeName),
        /// Parent and name after.
        to: (NodeId, NodeName),
    },
    /// The node has another place among its siblings.
    Ordered {
        /// The node.
        node: NodeId,
    },
    /// A property of the node changed.
    Property {
        /// The node.
        node: NodeId,
        /// The property.
        name: PropertyName,
        /// Its value before; nothing if it had none.
        before: Option<Value>,
        /// Its value after; nothing if it has none.
        after: Option<Value>,
    },
    /// The node is not there any more, nor is anything that is still below it.
    Vanished {
        /// The node.
        node: NodeId,
        /// Its parent before.
        parent: NodeId,
        /// Its name before.
        name: NodeName,
    },
}

impl Change {
    /// The node it is about.
    pub fn node(&self) -> NodeId {
        match self {
            Self::Appeared { node, .. }
            | Self::Moved { node, .. }
            | Self::Ordered { node }
            | Self::Property { node, .. }
            | Self::Vanished { node, .. } => *node,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Appeared { .. } => 0,
            Self::Moved { .. } => 1,
            Self::Ordered { .. } => 2,
            Self::Property { .. } => 3,
            Self::Vanished { .. } => 4,
        }
    }
}

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
    let place = Place { node: id, name };
    if let Some(register) = node.properties.get(name) {
        return register::effective(view, place, register, floor);
    }
    match view::register(view, id, node, name)? {
        None => Ok(None),
        Some(register) => register::effective(view, place, &register, floor),
    }
}

/// Settles everything that follows from the changed nodes: indexes, the digest's sums if they are
/// given, the net difference.
pub(super) fn settle(
    overlay: &mut Overlay<'_>,
    nodes: &[WrittenNode],
    mut digest: Option<&mut Sums>,
    counters: &mut MergeCounters,
    written: &Written,
) -> Result<Vec<Change>, ReadError> {
    let nothing = BTreeMap::new();
    let mut changes = Vec::new();
    let mut any_moved = false;
    let none = NodeRecord::default();
    for WrittenNode { id, before, after } in nodes {
        let before = before.as_deref().unwrap_or(&none);
        let properties = written.get(id).unwrap_or(&nothing);
        let mut settling = Settling {
            overlay,
            digest: digest.as_deref_mut(),
            counters,
            id: *id,
            before,
            after,
        };
        settling.digest_structure();
        let moved = !settling.stands_alike();
        any_moved |= moved;
        if moved {
            settling.index_place()?;
        }
        settling.properties(properties, &mut changes)?;
        if moved && settling.digest.is_some() {
            settling.structure_changes(&mut changes)?;
        }
    }
    if digest.is_none() {
        return Ok(Vec::new()); // a draft tells nobody
    }
    keep_visible(overlay, any_moved, &mut changes)?;
    changes.sort_by_key(Change::rank);
    Ok(changes)
}

struct Settling<'p, 'a> {
    overlay: &'p mut Overlay<'a>,
    /// Kept up where it is wanted: a draft has none.
    digest: Option<&'p mut Sums>,
    counters: &'p mut MergeCounters,
    id: NodeId,
    before: &'p NodeRecord,
    after: &'p NodeRecord,
}

impl Settling<'_, '_> {
    /// Whether nothing was written of where the node is.
    fn stands_alike(&self) -> bool {
        let (before, after) = (self.before, self.after);
        before.parents == after.parents
            && before.names == after.names
            && before.orders == after.orders
    }

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

    /// Digest, references and changes of the properties that can have changed.
    fn properties(
        &mut self,
        written: &BTreeMap<PropertyName, BTreeSet<Stamp>>,
        changes: &mut Vec<Change>,
    ) -> Result<(), ReadError> {
        let base = self.overlay.base();
        let mut names: BTreeSet<PropertyName> = written.keys().cloned().collect();
        if floor(self.id, self.before) != floor(self.id, self.after) {
            names.extend(view::registers(&*base, self.id, self.before)?.into_keys());
            names.extend(view::registers(self.overlay, self.id, self.after)?.into_keys());
        }
        for name in names {
            let before = property(&*base, self.id, self.before, &name)?;
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
        let was = before.is_some() && is_visible(&*self.overlay.base(), node)?;
        let is = after.is_some() && is_visible(self.overlay, node)?;
        match (
            was.then_some(before).flatten(),
            is.then_some(after).flatten(),
        ) {
            (None, Some(Standing { parent, name, .. })) => {
                // Unless it came to be visible along with what is above it.
                if parent == NodeId::ROOT || is_visible(&*self.overlay.base(), parent)? {
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

/// Whether a node is in the tree as of the newest writes.
pub(super) fn is_visible(view: &dyn View, node: NodeId) -> Result<bool, ReadError> {
    Ok(end_now(view, node)? == End::Root)
}

/// Leaves out property changes of nodes that were not there before or are not there after: the same
/// if no node has moved.
fn keep_visible(
    overlay: &Overlay<'_>,
    any_moved: bool,
    changes: &mut Vec<Change>,
) -> Result<(), ReadError> {
    let mut visible: BTreeMap<NodeId, bool> = BTreeMap::new();
    for change in changes.iter() {
        if let Change::Property { node, .. } = change
            && !visible.contains_key(node)
        {
            let both =
                is_visible(&*overlay.base(), *node)? && (!any_moved || is_visible(overlay, *node)?);
            visible.insert(*node, both);
        }
    }
    changes.retain(|change| match change {
        Change::Property { node, .. } => visible[node],
        _ => true,
    });
    Ok(())
}
