//! Conflicts that follow from one node's record: of its parents, names, order keys and adds.
//!
//! Each looks only at what is older than the operation at whose turn it arises, so those up to the
//! first change of the record stay.

use super::unseen::Unseen;
use super::{Entries, replace};
use crate::codec::record::{How, NodeRecord};
use crate::codec::state_key::ConflictEntry;
use crate::merge::overlay::{Overlay, WrittenNode};
use crate::merge::structure::{is_added_at, name_at, placed_at};
use crate::merge::view::{ReadError, View};
use crate::model::{ChangeSetId, ConflictItem, ConflictKind, NodeId, Stamp};

pub(super) fn derive(
    overlay: &mut Overlay<'_>,
    nodes: &[WrittenNode],
    unseen: &Unseen<'_>,
) -> Result<(), ReadError> {
    let base = overlay.base();
    for WrittenNode { id, before, after } in nodes {
        let before = before.clone().unwrap_or_default();
        let Some(from) = first_difference(&before, after) else {
            continue;
        };
        let mut place = Place {
            view: &*base,
            unseen,
            id: *id,
            record: &before,
            from,
            entries: Entries::new(),
        };
        place.derive()?;
        let old = std::mem::take(&mut place.entries);
        let mut place = Place {
            view: overlay,
            record: after,
            ..place
        };
        place.derive()?;
        let new = place.entries;
        replace(overlay, &old, &new)?;
    }
    Ok(())
}

/// From which stamp on two states of a node differ, but for its properties.
fn first_difference(before: &NodeRecord, after: &NodeRecord) -> Option<Stamp> {
    fn of<T: PartialEq>(before: &[T], after: &[T], stamp: impl Fn(&T) -> Stamp) -> Option<Stamp> {
        let shared = before.iter().zip(after).take_while(|(a, b)| a == b).count();
        let next = [before.get(shared), after.get(shared)];
        next.into_iter().flatten().map(stamp).min()
    }
    let first = [
        of(&before.parents, &after.parents, |write| write.stamp),
        of(&before.skips, &after.skips, |skip| skip.stamp),
        of(&before.again, &after.again, |again| again.stamp),
        of(&before.names, &after.names, |(stamp, _)| *stamp),
        of(&before.orders, &after.orders, |(stamp, _)| *stamp),
    ];
    first.into_iter().flatten().min()
}

struct Place<'p> {
    view: &'p dyn View,
    unseen: &'p Unseen<'p>,
    id: NodeId,
    record: &'p NodeRecord,
    /// Conflicts of older operations are left out.
    from: Stamp,
    entries: Entries,
}

impl Place<'_> {
    fn derive(&mut self) -> Result<(), ReadError> {
        if self.record.parents.is_empty() {
            return Ok(());
        }
        self.parents()?;
        self.skips();
        self.names()?;
        self.orders()?;
        self.adds()
    }

    fn lost(
        &mut self,
        at: Stamp,
        kind: ConflictKind,
        item: ConflictItem,
        loser: Stamp,
        winner: Option<ChangeSetId>,
    ) {
        let entry = ConflictEntry {
            at,
            kind,
            node: self.id,
            item,
            loser,
        };
        self.entries.insert(entry, winner);
    }

    /// `lost` if the author of `at` had not seen the loser.
    fn lost_unseen(
        &mut self,
        at: Stamp,
        kind: ConflictKind,
        item: ConflictItem,
        loser: Stamp,
    ) -> Result<(), ReadError> {
        if self.unseen.is(self.view, at.id, loser.id)? {
            self.lost(at, kind, item, loser, Some(at.id));
        }
        Ok(())
    }

    fn parents(&mut self) -> Result<(), ReadError> {
        let parents = &self.record.parents;
        let since = parents.partition_point(|write| write.stamp < self.from);
        for (i, write) in parents.iter().enumerate().skip(since.max(1)) {
            let (at, older) = (write.stamp, &parents[..i]);
            let newest = older[i - 1];
            match write.how {
                How::Move => {
                    if newest.how == How::Remove {
                        let kind = ConflictKind::RemovalUndone;
                        self.lost_unseen(at, kind, ConflictItem::Parent, newest.stamp)?;
                    }
                    let placed = older.iter().rfind(|old| old.parent != NodeId::TRASH);
                    if let Some(placed) = placed
                        && placed.how == How::Move
                        && placed.parent != write.parent
                    {
                        let kind = ConflictKind::Overwritten;
                        self.lost_unseen(at, kind, ConflictItem::Parent, placed.stamp)?;
                    }
                }
                // M8 (a) of a move, and not of an earlier hand-back.
                How::HandBack { cause } if newest.how == How::Move && newest.stamp == cause => {
                    let (kind, item) = (ConflictKind::TargetRemoved, ConflictItem::Parent);
                    self.lost(at, kind, item, cause, Some(at.id));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn skips(&mut self) {
        let record = self.record;
        let since = record.skips.partition_point(|skip| skip.stamp < self.from);
        for skip in &record.skips[since..] {
            let kind = match skip.cycle {
                true => ConflictKind::Cycle,
                false => ConflictKind::TargetRemoved,
            };
            let winner = (skip.reason != skip.stamp).then_some(skip.reason.id);
            self.lost(skip.stamp, kind, ConflictItem::Parent, skip.stamp, winner);
        }
    }

    fn names(&mut self) -> Result<(), ReadError> {
        let record = self.record;
        let first = record.parents[0].stamp;
        let since = record
            .names
            .partition_point(|(stamp, _)| *stamp < self.from);
        for i in since.max(1)..record.names.len() {
            let (old, old_name) = &record.names[i - 1];
            let (at, name) = &record.names[i];
            // Names that adds give neither lose nor win; those given before it was there are not.
            let given = |stamp: &Stamp| *stamp > first && !is_added_at(record, *stamp);
            if given(old) && given(at) && old_name != name {
                self.lost_unseen(*at, ConflictKind::Overwritten, ConflictItem::Name, *old)?;
            }
        }
        Ok(())
    }

    fn orders(&mut self) -> Result<(), ReadError> {
        let record = self.record;
        let first = record.parents[0].stamp;
        let since = record.orders.partition_point(|(at, _)| *at < self.from);
        for i in since.max(1)..record.orders.len() {
            let (old, old_key) = &record.orders[i - 1];
            let (at, key) = &record.orders[i];
            if *old > first && old_key != key {
                self.lost_unseen(*at, ConflictKind::Overwritten, ConflictItem::Order, *old)?;
            }
        }
        Ok(())
    }

    /// M6, second case: it is there already, and elsewhere than the add says.
    fn adds(&mut self) -> Result<(), ReadError> {
        let record = self.record;
        // All adds of a node say the same; the first made it.
        let birth = record.parents[0];
        let birth_name = name_at(record, birth.stamp);
        for again in &record.again {
            let at = again.stamp;
            if at < self.from || !again.live {
                continue;
            }
            let moved = placed_at(record, at).filter(|write| write.parent != birth.parent);
            let position = record.names.partition_point(|(stamp, _)| *stamp <= at);
            let renamed = record.names[..position].last();
            let renamed = renamed.filter(|(_, name)| Some(name) != birth_name);
            let mut winner = None;
            for stamp in [
                moved.map(|write| write.stamp),
                renamed.map(|(stamp, _)| *stamp),
            ] {
                if let Some(stamp) = stamp
                    && self.unseen.is(self.view, at.id, stamp.id)?
                {
                    winner = winner.max(Some(stamp));
                }
            }
            if let Some(winner) = winner {
                let (kind, item) = (ConflictKind::Elsewhere, ConflictItem::Node);
                self.lost(at, kind, item, at, Some(winner.id));
            }
        }
        Ok(())
    }
}
