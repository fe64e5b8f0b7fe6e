//! Registers: properties as small histories of writes, none of which needs a rewind (M4, M5).
//!
//! A late write goes to its place in stamp order; the newest one that counts is the value, and incs
//! add up over the newest older set. A register that grows moves its oldest writes to segments and
//! remembers what they come to only while it has to: as long as it holds nothing but incs itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fault::{Fault, on};
use super::overlay::Overlay;
use super::view::{ReadError, View};
use crate::codec::record::{Older, Record, Register, Under, Write, Written};
use crate::codec::state_key as key;
use crate::model::{NodeId, PropertyName, Stamp, Value};

/// Most writes that a register keeps itself.
const WRITES_MAX: usize = 32;
/// Most bytes of writes that it keeps itself, but for the newest.
const WRITES_BYTES_MAX: usize = 2_048;

/// What a property comes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Effective {
    /// Its value; nothing if it is unset.
    pub(crate) value: Option<Value>,
    /// The newest write that counts.
    pub(crate) stamp: Stamp,
}

/// Which property of which node.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) node: NodeId,
    pub(crate) name: &'a PropertyName,
}

/// Puts a write in its place. One that is there already changes nothing.
pub(crate) fn insert(
    overlay: &mut Overlay<'_>,
    place: Place<'_>,
    register: &mut Register,
    write: Write,
) -> Result<(), ReadError> {
    if register
        .older
        .as_ref()
        .is_some_and(|older| write.stamp <= older.newest)
    {
        return insert_older(overlay, place, register, write);
    }
    match register
        .writes
        .binary_search_by(|other| other.stamp.cmp(&write.stamp))
    {
        Err(i) if on(Fault::OriginIgnored) && is_same_time(register, i, &write) => {
            register.writes.insert(i + 1, write);
        }
        Err(i) if on(Fault::IndexIgnored) && is_same_set(register, i, &write) => return Ok(()),
        Ok(_) => return Ok(()),
        Err(position) => register.writes.insert(position, write),
    }
    spill(overlay, place, register)
}

/// Whether a write is one of the same time as that at a position.
fn is_same_time(register: &Register, at: usize, write: &Write) -> bool {
    let there = register.writes.get(at);
    there.is_some_and(|there| there.stamp.id.time == write.stamp.id.time)
}

/// Whether a write is one of the same change set as those beside a position.
fn is_same_set(register: &Register, at: usize, write: &Write) -> bool {
    let mut beside = register.writes[at.saturating_sub(1)..].iter().take(2);
    beside.any(|there| there.stamp.id == write.stamp.id)
}

/// A write older than those that were moved to segments makes a segment of its own, unread.
fn insert_older(
    overlay: &mut Overlay<'_>,
    place: Place<'_>,
    register: &mut Register,
    write: Write,
) -> Result<(), ReadError> {
    let older = register
        .older
        .as_mut()
        .expect("an older write has older ones beside it");
    let stamp = write.stamp;
    let what = write.what.clone();
    overlay.put(
        key::segment(overlay.repo(), place.node, place.name, stamp),
        Record::Segment(Arc::new(vec![write])),
    );
    if let Some(under) = &mut older.under {
        let counts =
            stamp > under.floor && under.base.as_ref().is_none_or(|(base, _)| stamp > *base);
        match what {
            _ if !counts => {}
            Written::Inc(_) if on(Fault::LateIncForgotten) => {}
            Written::Inc(delta) => {
                under.oldest = under.oldest.min(stamp);
                under.incs += i128::from(delta);
            }
            // A base under a part of the run: what lies over it has to be summed up again.
            Written::Set(_) | Written::Unset if on(Fault::SumStale) => {}
            Written::Set(_) | Written::Unset => {
                let floor = under.floor;
                older.under = Some(sum_segments(overlay, place, floor)?);
            }
        }
    }
    Ok(())
}

/// Moves the oldest writes to a segment if there are too many.
fn spill(
    overlay: &mut Overlay<'_>,
    place: Place<'_>,
    register: &mut Register,
) -> Result<(), ReadError> {
    let bytes: usize = register.writes.iter().map(Write::weight).sum();
    if register.writes.len() <= 1
        || (register.writes.len() <= WRITES_MAX && bytes <= WRITES_BYTES_MAX)
    {
        return Ok(());
    }
    let keep = (register.writes.len() / 2).max(1);
    let moved: Vec<Write> = register
        .writes
        .drain(..register.writes.len() - keep)
        .collect();
    let newest = moved.last().expect("at least one write moves").stamp;
    let self_contained = is_self_contained(&register.writes);
    let older = register.older.take().map(|older| *older);
    let under = match (self_contained, older) {
        (true, _) => None,
        (false, None) => Some(sum(&moved, Under::new(Stamp::MIN))),
        (
            false,
            Some(Older {
                under: Some(under), ..
            }),
        ) => Some(sum(&moved, under)),
        // The writes that stayed were incs over a set that moves now: it is among the moved.
        (false, Some(Older { under: None, .. })) => Some(sum(&moved, Under::new(Stamp::MIN))),
    };
    overlay.put(
        key::segment(overlay.repo(), place.node, place.name, newest),
        Record::Segment(Arc::new(moved)),
    );
    register.older = Some(Box::new(Older { newest, under }));
    Ok(())
}

/// Takes writes out, as if they had never been there (M13). One that is not there changes nothing.
pub(crate) fn erase(
    overlay: &mut Overlay<'_>,
    place: Place<'_>,
    register: &mut Register,
    stamps: &BTreeSet<Stamp>,
) -> Result<(), ReadError> {
    if register.older.is_none() {
        let writes = &mut register.writes;
        writes.retain(|write| !stamps.contains(&write.stamp));
        return Ok(());
    }
    // What the register remembers of its segments may not be so any more: they are made again.
    let mut writes = all_writes(overlay, place, register)?;
    writes.retain(|write| !stamps.contains(&write.stamp));
    let prefix = key::segments(overlay.repo(), place.node, place.name);
    for (key, _) in overlay.scan(&prefix, &key::after_prefix(&prefix), usize::MAX)? {
        overlay.remove(key);
    }
    *register = Register::default();
    for write in writes {
        insert(overlay, place, register, write)?;
    }
    Ok(())
}

/// Every write of a register, in stamp order, those in segments included.
pub(crate) fn all_writes(
    view: &dyn View,
    place: Place<'_>,
    register: &Register,
) -> Result<Vec<Write>, ReadError> {
    let mut writes = match register.older {
        None => Vec::new(),
        Some(_) => segment_writes(view, place)?,
    };
    writes.extend(register.writes.iter().cloned());
    Ok(writes)
}

fn is_self_contained(writes: &[Write]) -> bool {
    writes
        .iter()
        .any(|write| !matches!(write.what, Written::Inc(_)))
}

impl Under {
    fn new(floor: Stamp) -> Self {
        Self {
            floor,
            oldest: Stamp::MAX,
            base: None,
            incs: 0,
        }
    }

    /// Whether it is the sum of exactly the writes newer than `floor`, from the newest set on.
    fn holds_above(&self, floor: Stamp) -> bool {
        match &self.base {
            Some((base, _)) => *base > floor,
            None => self.floor <= floor && self.oldest > floor,
        }
    }
}

/// Adds newer writes, in stamp order, to a sum.
fn sum(writes: &[Write], mut under: Under) -> Under {
    for write in writes.iter().filter(|write| write.stamp > under.floor) {
        under.oldest = under.oldest.min(write.stamp);
        match &write.what {
            Written::Set(value) => {
                under.base = Some((write.stamp, Some(value.clone())));
                under.incs = 0;
            }
            Written::Unset => {
                under.base = Some((write.stamp, None));
                under.incs = 0;
            }
            Written::Inc(delta) => under.incs += i128::from(*delta),
        }
    }
    under
}

/// What all segments of a register come to, above a floor.
fn sum_segments(view: &dyn View, place: Place<'_>, floor: Stamp) -> Result<Under, ReadError> {
    Ok(sum(&segment_writes(view, place)?, Under::new(floor)))
}

/// The writes in a register's segments, in stamp order.
fn segment_writes(view: &dyn View, place: Place<'_>) -> Result<Vec<Write>, ReadError> {
    let prefix = key::segments(view.repo(), place.node, place.name);
    let mut writes = Vec::new();
    for (_, record) in view.scan(&prefix, &key::after_prefix(&prefix), usize::MAX)? {
        if let Record::Segment(segment) = record {
            writes.extend(segment.iter().cloned());
        }
    }
    // Segments made by late writes lie between those they belong into.
    writes.sort_by_key(|write| write.stamp);
    Ok(writes)
}

/// Whether what a register remembers of its older writes is true of them. They are given in stamp
/// order.
pub(crate) fn remembers(register: &Register, segments: &[Write]) -> bool {
    let Some(older) = &register.older else {
        return segments.is_empty();
    };
    let first = register.writes.first();
    let in_order = first.is_none_or(|write| write.stamp > older.newest);
    let true_sum = |under: &Under| *under == sum(segments, Under::new(under.floor));
    in_order
        && segments
            .last()
            .is_some_and(|write| write.stamp == older.newest)
        && older.under.as_ref().is_none_or(true_sum)
}

/// What a register comes to, of the writes newer than `floor`; nothing if none of them counts.
pub(crate) fn effective(
    view: &dyn View,
    place: Place<'_>,
    register: &Register,
    floor: Stamp,
) -> Result<Option<Effective>, ReadError> {
    let counting = register
        .writes
        .iter()
        .rev()
        .take_while(|write| write.stamp > floor);
    let (mut newest, mut incs) = (None, 0_i128);
    for write in counting {
        let stamp = *newest.get_or_insert(write.stamp);
        match &write.what {
            Written::Set(value) if newest == Some(write.stamp) => {
                return Ok(Some(Effective {
                    value: Some(value.clone()),
                    stamp,
                }));
            }
            Written::Unset if newest == Some(write.stamp) => {
                return Ok(Some(Effective { value: None, stamp }));
            }
            Written::Set(_) if on(Fault::IncsStay) => {}
            Written::Set(value) => {
                return Ok(Some(Effective {
                    value: Some(total(Some(value), incs)),
                    stamp,
                }));
            }
            Written::Unset if on(Fault::UnsetShinesThrough) => {}
            Written::Unset => {
                return Ok(Some(Effective {
                    value: Some(total(None, incs)),
                    stamp,
                }));
            }
            Written::Inc(delta) if on(Fault::ClampedEarly) => {
                let sum = incs + i128::from(*delta);
                incs = sum.clamp(i64::MIN.into(), i64::MAX.into());
            }
            Written::Inc(delta) => incs += i128::from(*delta),
        }
    }
    let under = match &register.older {
        Some(older) if older.newest > floor => match &older.under {
            Some(under) if under.holds_above(floor) => under.clone(),
            _ => sum_segments(view, place, floor)?,
        },
        _ => Under::new(floor),
    };
    let Some(stamp) = newest else { return Ok(None) };
    let base = under.base.and_then(|(_, value)| value);
    Ok(Some(Effective {
        value: Some(total(base.as_ref(), incs + under.incs)),
        stamp,
    }))
}

/// An integer base, or 0, and the incs on it; exact, and clamped to 64 bits (M5).
fn total(base: Option<&Value>, incs: i128) -> Value {
    let base = match base {
        Some(Value::Int(number)) => i128::from(*number),
        _ => 0,
    };
    let sum = (base + incs).clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    Value::Int(i64::try_from(sum).expect("the sum was clamped"))
}
