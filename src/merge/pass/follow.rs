//! What newer operations a change of effects can affect.

use std::collections::{BTreeMap, BTreeSet};

use super::Pass;
use crate::codec::record::{How, NodeRecord, Record};
use crate::codec::state_key as key;
use crate::merge::fault::{Fault, on};
use crate::merge::structure::Effects;
use crate::merge::view::{self, ReadError, View};
use crate::model::{ChangeSetId, NodeId, NodeName, Stamp};

impl Pass<'_> {
    /// Brings the index of causes up to date with changed effects, and finds how far newer
    /// operations can be affected.
    pub(super) fn follow(
        &mut self,
        stamp: Stamp,
        before: &Effects,
        after: &Effects,
    ) -> Result<(), ReadError> {
        let repo = self.overlay.repo();
        let (old, new) = (causes(before), causes(after));
        for (cause, node) in old.difference(&new) {
            let key = key::cause(repo, *cause, *node, stamp);
            self.overlay.remove_known(key, Record::Mark);
        }
        for (cause, node) in new.difference(&old) {
            let newest = self.meta.causes.entry(cause.origin).or_default();
            *newest = (*newest).max(cause.time);
            let key = key::cause(repo, *cause, *node, stamp);
            self.overlay.put_over(key, None, Record::Mark);
        }
        if before.skip != after.skip {
            self.reach.removals = self.reach.removals.max(self.meta.removal);
        }
        if before.name != after.name {
            for (node, name) in [&before.name, &after.name].into_iter().flatten() {
                let record = view::node(&self.overlay, *node)?.unwrap_or_default();
                self.follow_names(stamp, *node, &record, &[], [name])?;
            }
        }
        // An operation writes the parent of a node once at most.
        let all = |effects: &Effects| effects.parents.iter().copied().collect::<BTreeMap<_, _>>();
        let (all_before, all_after) = (all(before), all(after));
        let moved = before
            .parents
            .iter()
            .filter(|(node, write)| all_after.get(node) != Some(write));
        let come = after
            .parents
            .iter()
            .filter(|(node, write)| all_before.get(node) != Some(write));
        let moved = moved.chain(come);
        for (node, write) in moved {
            let record = view::node(&self.overlay, *node)?.unwrap_or_default();
            let name = [&before.name, &after.name];
            let names = name.into_iter().flatten().map(|(_, name)| name);
            self.follow_names(stamp, *node, &record, &[write.parent], names)?;
            self.follow_emptied(stamp, write.parent, &record)?;
            if write.how == How::Add && record.parents.first().is_none_or(|w| w.stamp > stamp) {
                self.follow_unknown(*node, stamp, &record)?;
            }
            let alone = record.parents.iter().all(|other| other.stamp == stamp);
            if alone && write.how == How::Add && view::node(&*self.overlay.base(), *node)?.is_none()
            {
                continue; // a new node: nobody can have looked at it
            }
            self.affect(*node, stamp, &record)?;
        }
        Ok(())
    }

    /// A node has ceased to be known as of `stamp` (its maker is voided, M13): what was done with it
    /// since, and added to it, has to be looked at again. Nobody remembers having found it known.
    fn follow_unknown(
        &mut self,
        node: NodeId,
        stamp: Stamp,
        record: &NodeRecord,
    ) -> Result<(), ReadError> {
        let own = [
            record.parents.last().map(|write| write.stamp),
            record.skips.last().map(|skip| skip.stamp),
            record.again.last().map(|again| again.stamp),
        ];
        let mut newest = own.into_iter().flatten().max();
        for child in self.evaluator().ever_below(node)? {
            let child = view::node(&self.overlay, child)?.unwrap_or_default();
            let below = child.parents.iter().filter(|write| write.parent == node);
            newest = newest.max(below.map(|write| write.stamp).max());
        }
        if let Some(newest) = newest
            && newest > stamp
            && !on(Fault::UnknownUnfollowed)
        {
            self.reach.all = self.reach.all.max(newest);
        }
        Ok(())
    }

    /// An add that brings a node back empties it of its children (M6): those of a parent that this
    /// node has come to, or gone from, as of `stamp`, until its next parent write.
    fn follow_emptied(
        &mut self,
        stamp: Stamp,
        written: NodeId,
        record: &NodeRecord,
    ) -> Result<(), ReadError> {
        let next = record.parents.partition_point(|other| other.stamp <= stamp);
        let until = record
            .parents
            .get(next)
            .map_or(Stamp::MAX, |write| write.stamp);
        let before = record.parents[..next]
            .iter()
            .rev()
            .find(|write| write.stamp < stamp);
        for parent in [Some(written), before.map(|write| write.parent)]
            .into_iter()
            .flatten()
        {
            let Some(parent) = view::node(&self.overlay, parent)? else {
                continue;
            };
            let emptied = parent.parents.iter().rev().find(|write| {
                write.how == How::ComeBack && write.stamp > stamp && write.stamp <= until
            });
            if let Some(emptied) = emptied.filter(|_| !on(Fault::EmptiedUnfollowed)) {
                self.reach.all = self.reach.all.max(emptied.stamp);
            }
        }
        Ok(())
    }

    /// All-or-nothing change sets look at who has a name, and at what the nodes they move are called
    /// (M13). A node has, or no more has, one of these parents or names as of `stamp`, besides what
    /// its record says.
    pub(super) fn follow_names<'n>(
        &mut self,
        stamp: Stamp,
        node: NodeId,
        record: &'n NodeRecord,
        parents: &[NodeId],
        names: impl IntoIterator<Item = &'n NodeName>,
    ) -> Result<(), ReadError> {
        if self.meta.atomic <= stamp {
            return Ok(());
        }
        let since = record.parents.partition_point(|write| write.stamp < stamp);
        let mut all_parents: BTreeSet<NodeId> = parents.iter().copied().collect();
        all_parents.extend(
            record.parents[since.saturating_sub(1)..]
                .iter()
                .map(|write| write.parent),
        );
        let since = record.names.partition_point(|(other, _)| *other < stamp);
        let mut all_names: BTreeSet<&NodeName> = names.into_iter().collect();
        all_names.extend(
            record.names[since.saturating_sub(1)..]
                .iter()
                .map(|(_, name)| name),
        );
        for looked_at in all_parents.into_iter().chain([node]) {
            for name in &all_names {
                let key = key::name_touched(self.overlay.repo(), looked_at, name);
                if let Some(Record::Touched(touched)) = self.overlay.get(&key)?
                    && touched > stamp
                {
                    self.reach.all = self.reach.all.max(touched);
                }
            }
        }
        Ok(())
    }

    /// Newer operations may have looked at this node's place, which has changed as of `stamp`.
    fn affect(&mut self, node: NodeId, stamp: Stamp, record: &NodeRecord) -> Result<(), ReadError> {
        self.reach.removals = self.reach.removals.max(self.meta.removal);
        let next = record.parents.partition_point(|write| write.stamp <= stamp);
        let next = record.parents.get(next);
        let touched = self.overlay.touched(node)?.unwrap_or(Stamp::MIN);
        // From the node's next parent write on its place is what it was.
        let until = next.map_or(touched, |next| touched.min(next.stamp));
        let until = until.min(if next.is_some() && on(Fault::ReachEndsEarly) {
            stamp
        } else {
            until
        });
        if until > stamp {
            self.reach.all = self.reach.all.max(until);
        }
        if let Some(next) = next
            && matches!(next.how, How::Add | How::ComeBack | How::Emptied)
        {
            self.reach.all = self.reach.all.max(next.stamp);
        }
        Ok(())
    }
}

/// What the index of causes has to know of effects: unseen by a removal, they matter to it (M8).
fn causes(effects: &Effects) -> BTreeSet<(ChangeSetId, NodeId)> {
    let writes = effects
        .parents
        .iter()
        .filter_map(|(node, write)| match write.how {
            How::Move => Some((write.stamp.id, *node)),
            How::HandBack { cause } => Some((cause.id, *node)),
            _ => None,
        });
    writes
        .chain(
            effects
                .skip
                .iter()
                .map(|(node, skip)| (skip.reason.id, *node)),
        )
        .collect()
}
