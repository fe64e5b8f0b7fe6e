//! What voids an all-or-nothing change set (M13).
//!
//! Each of its operations is asked at its turn, after it has been applied: was it skipped, did it
//! land in the trash, did it make its node clash with a live one's name? Whatever the answer looked
//! at is remembered, the names of siblings too, so that it is asked again when that changes.

use std::collections::BTreeSet;

use super::{Effects, End, Evaluator, placed_at};
use crate::codec::record::{How, NodeRecord, Record};
use crate::codec::state_key as key;
use crate::merge::fault::{Fault, on};
use crate::merge::view::{self, ReadError, View};
use crate::model::order::effective_key;
use crate::model::{NodeId, NodeName, Operation, Stamp};

/// The newest name of a node that is not newer than `at`.
pub(crate) fn name_at(node: &NodeRecord, at: Stamp) -> Option<&NodeName> {
    let position = node.names.partition_point(|(stamp, _)| *stamp <= at);
    node.names[..position].last().map(|(_, name)| name)
}

impl Evaluator<'_, '_> {
    /// A rename in an all-or-nothing change set; others only go to their place.
    pub(super) fn rename(
        &mut self,
        node: NodeId,
        name: &NodeName,
        stamp: Stamp,
    ) -> Result<Effects, ReadError> {
        let mut effects = Effects::default();
        self.name(&mut effects, node, stamp, name)?;
        Ok(effects)
    }

    /// Whether an operation of an all-or-nothing change set, which has just been evaluated to
    /// these effects, leaves the set whole.
    pub(crate) fn fits(
        &mut self,
        operation: &Operation,
        stamp: Stamp,
        effects: &Effects,
    ) -> Result<bool, ReadError> {
        if effects.unknown.is_some() || effects.skip.is_some() {
            return Ok(false);
        }
        let node = operation.node(stamp);
        match operation {
            Operation::Dismiss { .. } | Operation::Remove { .. } => Ok(true),
            Operation::Add { .. } | Operation::AddUnique { .. } => match effects.again {
                Some((_, again)) => Ok(again.live),
                None => Ok(self.is_live(node, stamp)? && !self.clashes(node, stamp)?),
            },
            // It may be moved to where its new parent was live, so it is.
            Operation::Move { .. } => Ok(!self.clashes(node, stamp)?),
            Operation::Rename { .. } => {
                Ok(self.is_live(node, stamp)? && !self.clashes(node, stamp)?)
            }
            Operation::Set { .. }
            | Operation::Unset { .. }
            | Operation::Inc { .. }
            | Operation::Order { .. } => self.is_live(node, stamp),
        }
    }

    fn is_live(&mut self, node: NodeId, at: Stamp) -> Result<bool, ReadError> {
        Ok(on(Fault::TrashedEditVoidsNothing) || self.look_up(node, at)?.end == End::Root)
    }

    /// Whether another child of a live node's parent had its name then (M10).
    fn clashes(&mut self, node: NodeId, at: Stamp) -> Result<bool, ReadError> {
        let repo = self.overlay.repo();
        let Some(record) = view::node(self.overlay, node)? else {
            return Ok(false);
        };
        let (Some(place), Some(name)) = (placed_at(&record, at), name_at(&record, at)) else {
            return Ok(false);
        };
        let parent = place.parent;
        // Where it is put may be taken out of its record again, so that its name is remembered too.
        for looked_at in [parent, node] {
            let touched = key::name_touched(repo, looked_at, name);
            match self.overlay.get(&touched)? {
                _ if on(Fault::NameTouchForgotten) => {}
                Some(Record::Touched(known)) if known >= at => {}
                _ => self.overlay.put(touched, Record::Touched(at)),
            }
        }
        let mut others: BTreeSet<NodeId> = BTreeSet::new();
        if let Some(names) = &self.arrivals.names
            && let Some(nodes) = names.get(&(parent, name.clone()))
        {
            others.extend(nodes);
        }
        let now = key::children_at(repo, parent, &effective_key(None, name));
        for (key, _) in self
            .overlay
            .scan(&now, &key::after_prefix(&now), usize::MAX)?
        {
            others.extend(key::child_of(&key).map(|(_, child)| child));
        }
        let once = key::former_children_named(repo, parent, name);
        for (key, _) in self
            .overlay
            .scan(&once, &key::after_prefix(&once), usize::MAX)?
        {
            others.extend(key::former_child_of(&key));
        }
        others.remove(&node);
        for other in others {
            let Some(record) = view::node(self.overlay, other)? else {
                continue;
            };
            let same = placed_at(&record, at).is_some_and(|place| place.parent == parent)
                && name_at(&record, at) == Some(name);
            if same && !on(Fault::ClashVoidsNothing) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether an add made the node, or brought it back, at this stamp: it gave the name, then (M6).
pub(crate) fn is_added_at(node: &NodeRecord, stamp: Stamp) -> bool {
    node.parents
        .binary_search_by(|write| write.stamp.cmp(&stamp))
        .is_ok_and(|i| matches!(node.parents[i].how, How::Add | How::ComeBack))
}
