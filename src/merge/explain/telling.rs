//! The items of one node, each with its writes and what became of them.

use std::collections::BTreeSet;

use super::{ItemHistory, ItemValue, Outcome, ToldWrite, WRITES_TOLD_MAX, Wrote};
use crate::codec::record::{How, NodeRecord, ParentWrite, Record, Register, Write, Written};
use crate::codec::state_key as key;
use crate::merge::register::Place;
use crate::merge::view::{self, ReadError, View};
use crate::merge::{seen, settle};
use crate::model::{ConflictItem, NodeId, PropertyName, Stamp, Time, Value};

/// Most segments of a register's older writes that are read for it. Not fewer than
/// [`WRITES_TOLD_MAX`]: each has at least one write that is newer than all those not read.
const SEGMENTS_MAX: usize = WRITES_TOLD_MAX;

/// See the top of the file.
pub(super) struct Telling<'a> {
    pub(super) view: &'a dyn View,
    pub(super) node: NodeId,
    pub(super) record: &'a NodeRecord,
    /// How many writes are told.
    pub(super) limit: usize,
}

impl Telling<'_> {
    /// Cuts a list, newest first, to what is wanted.
    pub(super) fn history(
        &self,
        item: ConflictItem,
        value: ItemValue,
        all: Vec<ToldWrite>,
    ) -> ItemHistory {
        let left_out = all.len().saturating_sub(self.limit);
        let mut writes = all;
        writes.truncate(self.limit);
        ItemHistory {
            item,
            value,
            writes,
            left_out,
            uncounted: false,
        }
    }

    /// Whether who wrote `by` had seen `other`, which is older.
    fn seen(&self, by: Stamp, other: Stamp) -> Result<bool, ReadError> {
        let (by, other) = (by.id, other.id);
        // The pending operations of a draft are as if of the end of time.
        if by.origin == other.origin || by.time == Time(u64::MAX) {
            return Ok(true);
        }
        Ok(other.time <= seen::seen_of(self.view, by, other.origin)?)
    }

    pub(super) fn parent(&self) -> Result<ItemHistory, ReadError> {
        let mut all = Vec::new();
        let parents = &self.record.parents;
        for (i, write) in parents.iter().enumerate() {
            all.push(ToldWrite {
                stamp: write.stamp,
                wrote: wrote(write),
                outcome: match parents.get(i + 1) {
                    None => Outcome::Counts,
                    Some(next) => self.succeeded(write, next)?,
                },
            });
        }
        all.extend(self.record.skips.iter().map(|skip| ToldWrite {
            stamp: skip.stamp,
            wrote: Wrote::Moved(skip.parent),
            outcome: Outcome::Skipped {
                reason: skip.reason,
                cycle: skip.cycle,
            },
        }));
        all.extend(self.record.again.iter().map(|again| ToldWrite {
            stamp: again.stamp,
            wrote: Wrote::AddedAgain,
            outcome: Outcome::Nothing { live: again.live },
        }));
        all.sort_by_key(|write| std::cmp::Reverse(write.stamp));
        let value = match parents.last() {
            Some(write) => ItemValue::Parent(write.parent),
            None => ItemValue::Nothing,
        };
        Ok(self.history(ConflictItem::Parent, value, all))
    }

    /// What became of a parent write when the next one took effect.
    fn succeeded(&self, write: &ParentWrite, next: &ParentWrite) -> Result<Outcome, ReadError> {
        let by = next.stamp;
        let seen = self.seen(by, write.stamp)?;
        Ok(match next.how {
            _ if write.parent == NodeId::TRASH => Outcome::Undone { by, seen },
            How::Remove => Outcome::Removed { by, seen },
            How::Emptied => Outcome::Emptied { by },
            How::HandBack { .. } => Outcome::HandedBack { by },
            // Only a move loses to a move (M14).
            How::Move if !seen && write.how == How::Move && write.parent != next.parent => {
                Outcome::Overwritten { by }
            }
            How::Add | How::ComeBack | How::Move => Outcome::Replaced { by },
        })
    }

    pub(super) fn name(&self) -> Result<ItemHistory, ReadError> {
        let names = self.record.names.iter();
        let writes: Vec<_> = names
            .map(|(stamp, name)| (*stamp, Wrote::Name(name.clone())))
            .collect();
        let value = match self.record.names.last() {
            Some((_, name)) => ItemValue::Name(name.clone()),
            None => ItemValue::Nothing,
        };
        let all = self.in_a_row(writes)?;
        Ok(self.history(ConflictItem::Name, value, all))
    }

    pub(super) fn order(&self) -> Result<ItemHistory, ReadError> {
        let orders = self.record.orders.iter();
        let writes: Vec<_> = orders
            .map(|(stamp, key)| (*stamp, Wrote::Order(key.clone())))
            .collect();
        let value = match settle::order(self.record) {
            Some((_, key)) => ItemValue::Order(key.clone()),
            None => ItemValue::Nothing,
        };
        let all = self.in_a_row(writes)?;
        Ok(self.history(ConflictItem::Order, value, all))
    }

    /// Since when the node exists.
    fn added(&self) -> Option<Stamp> {
        self.record.parents.first().map(|write| write.stamp)
    }

    /// Whether it was an add that wrote there.
    fn is_by_add(&self, stamp: Stamp) -> bool {
        let mut parents = self.record.parents.iter();
        parents.any(|write| write.stamp == stamp && matches!(write.how, How::Add | How::ComeBack))
    }

    /// What becomes of a write when a newer one leaves something else.
    fn replaced(&self, by: Stamp, write: Stamp) -> Result<Outcome, ReadError> {
        Ok(match self.seen(by, write)? {
            true => Outcome::Replaced { by },
            false => Outcome::Overwritten { by },
        })
    }

    /// Writes of which each takes the place of the one before, from oldest to newest; told the
    /// other way round.
    fn in_a_row(&self, writes: Vec<(Stamp, Wrote)>) -> Result<Vec<ToldWrite>, ReadError> {
        let mut all: Vec<ToldWrite> = Vec::with_capacity(writes.len());
        for (stamp, wrote) in writes.into_iter().rev() {
            let outcome = match all.last() {
                _ if Some(stamp) < self.added() => Outcome::BeforeAdd,
                None => Outcome::Counts,
                // Names that adds give neither lose nor win (M14).
                Some(next)
                    if wrote == next.wrote
                        || self.is_by_add(stamp)
                        || self.is_by_add(next.stamp) =>
                {
                    Outcome::Replaced { by: next.stamp }
                }
                Some(next) => self.replaced(next.stamp, stamp)?,
            };
            all.push(ToldWrite {
                stamp,
                wrote,
                outcome,
            });
        }
        Ok(all)
    }

    pub(super) fn property(&self, name: &PropertyName) -> Result<ItemHistory, ReadError> {
        let item = ConflictItem::Property(name.clone());
        let Some(register) = view::register(self.view, self.node, self.record, name)? else {
            return Ok(self.history(item, ItemValue::Nothing, Vec::new()));
        };
        let value = settle::property(self.view, self.node, self.record, name)?;
        let value = match value.and_then(|effective| effective.value) {
            Some(value) => ItemValue::Property(value),
            None => ItemValue::Nothing,
        };
        let place = Place {
            node: self.node,
            name,
        };
        let (writes, uncounted) = newest_writes(self.view, place, &register)?;
        let left_out = writes.len().saturating_sub(self.limit);
        let mut told = Vec::new();
        // Of those over the one that is looked at: the nearest that is no inc, and the incs below
        // that, the newest first.
        let (mut set_over, mut incs_over): (Option<&Write>, Vec<&Write>) = (None, Vec::new());
        for write in writes.iter().take(self.limit) {
            let incs = incs_over.iter().rev().copied();
            // What is no integer counts 0 for an inc (M5): that takes its place, and a value is lost.
            let over: Vec<&Write> = match &write.what {
                Written::Set(Value::Int(_)) | Written::Inc(_) => set_over.into_iter().collect(),
                Written::Set(_) => incs.chain(set_over).collect(),
                Written::Unset => set_over.into_iter().chain(incs).take(1).collect(),
            };
            told.push(ToldWrite {
                stamp: write.stamp,
                wrote: match &write.what {
                    Written::Set(value) => Wrote::Set(value.clone()),
                    Written::Unset => Wrote::Unset,
                    Written::Inc(delta) => Wrote::Inc(*delta),
                },
                outcome: self.property_outcome(write, &over)?,
            });
            match &write.what {
                Written::Inc(_) => incs_over.push(write),
                Written::Set(_) | Written::Unset => {
                    set_over = Some(write);
                    incs_over.clear();
                }
            }
        }
        Ok(ItemHistory {
            item,
            value,
            writes: told,
            left_out,
            uncounted,
        })
    }

    /// What became of a write over which these came to lie: of them it lost to the first that had
    /// not seen it and left something else.
    fn property_outcome(&self, write: &Write, over: &[&Write]) -> Result<Outcome, ReadError> {
        let next = over.first();
        if self.node != NodeId::ROOT && Some(write.stamp) < self.added() {
            return Ok(Outcome::BeforeAdd);
        }
        let emptied = self
            .record
            .parents
            .iter()
            .find(|other| other.how == How::ComeBack && other.stamp > write.stamp);
        if let Some(emptied) = emptied
            && next.is_none_or(|next| next.stamp > emptied.stamp)
        {
            return Ok(Outcome::Emptied { by: emptied.stamp });
        }
        let Some(next) = next else {
            return Ok(Outcome::Counts);
        };
        for other in over {
            let lossless = match (&write.what, &other.what) {
                (Written::Unset, Written::Inc(_)) => true,
                (Written::Inc(_), _) => false,
                (what, other) => what == other,
            };
            if !lossless && !self.seen(other.stamp, write.stamp)? {
                return Ok(Outcome::Overwritten { by: other.stamp });
            }
        }
        Ok(Outcome::Replaced { by: next.stamp })
    }
}

fn wrote(write: &ParentWrite) -> Wrote {
    match write.how {
        How::Add => Wrote::Added(write.parent),
        How::ComeBack => Wrote::CameBack(write.parent),
        How::Emptied => Wrote::Emptied,
        How::Move => Wrote::Moved(write.parent),
        How::Remove => Wrote::Removed,
        How::HandBack { cause } => Wrote::HandedBack {
            to: write.parent,
            undid: cause,
        },
    }
}

/// The writes of a register, newest first: all of them, or the newest, and whether there are more.
fn newest_writes(
    view: &dyn View,
    place: Place<'_>,
    register: &Register,
) -> Result<(Vec<Write>, bool), ReadError> {
    let mut writes = register.writes.clone();
    let mut more = false;
    if register.older.is_some() {
        let prefix = key::segments(view.repo(), place.node, place.name);
        let mut to = key::after_prefix(&prefix);
        for read in 0.. {
            let Some((key, Record::Segment(segment))) = view.last(&prefix, &to)? else {
                break;
            };
            if read == SEGMENTS_MAX {
                more = true;
                break;
            }
            writes.extend(segment.iter().cloned());
            to = key;
        }
    }
    writes.sort_by_key(|write| std::cmp::Reverse(write.stamp));
    let mut known = BTreeSet::new();
    writes.retain(|write| known.insert(write.stamp));
    Ok((writes, more))
}
