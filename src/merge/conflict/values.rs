//! Conflicts of properties: `overwritten` (M4, M5).
//!
//! A set or unset takes the place of the writes that made the value just below it, an inc of
//! nothing but a value that is no integer. So a write that comes or goes matters to itself, and to
//! those above it up to the next set or unset.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::unseen::Unseen;
use super::{Entries, entries_at, replace};
use crate::codec::record::{How, NodeRecord, Register, Write, Written as What};
use crate::codec::state_key::ConflictEntry;
use crate::merge::fault::{Fault, on};
use crate::merge::overlay::{Overlay, WrittenNode};
use crate::merge::pass::Written;
use crate::merge::register::{self, Place};
use crate::merge::view::{self, ReadError, View};
use crate::model::{ConflictItem, ConflictKind, NodeId, Stamp, Value};

pub(super) fn derive(
    overlay: &mut Overlay<'_>,
    nodes: &[WrittenNode],
    written: &Written,
    unseen: &Unseen<'_>,
) -> Result<(), ReadError> {
    let mut whole = BTreeSet::new();
    for WrittenNode { id, before, after } in nodes {
        if let Some(before) = before
            && !floors(before).eq(floors(after))
        {
            whole.insert(*id);
            derive_whole(overlay, *id, before, after, unseen)?;
        }
    }
    for (id, properties) in written {
        if whole.contains(id) {
            continue;
        }
        let Some(record) = view::node(overlay, *id)? else {
            continue;
        };
        for (name, stamps) in properties {
            let place = Place { node: *id, name };
            let register = view::register(overlay, *id, &record, name)?;
            let register = register.as_deref();
            let (at, writes) = affected(overlay, place, register, stamps)?;
            for at in at {
                let mut old = match unseen.is_new(at.id) {
                    true => Entries::new(),
                    false => entries_at(overlay, at, ConflictKind::Overwritten)?,
                };
                old.retain(|entry, _| {
                    entry.node == *id && entry.item == ConflictItem::Property(name.clone())
                });
                let mut new = Entries::new();
                let finder = Finder {
                    view: overlay,
                    unseen,
                    place,
                    record: &record,
                };
                finder.losers(&writes, at, &mut new)?;
                replace(overlay, &old, &new)?;
            }
        }
    }
    Ok(())
}

/// A node's property that came to be known, or was emptied, at another time: all of it.
fn derive_whole(
    overlay: &mut Overlay<'_>,
    id: NodeId,
    before: &NodeRecord,
    after: &NodeRecord,
    unseen: &Unseen<'_>,
) -> Result<(), ReadError> {
    let mut old = Entries::new();
    let mut new = Entries::new();
    let base = overlay.base();
    let views: [(&dyn View, &NodeRecord, &mut Entries); 2] =
        [(&*base, before, &mut old), (overlay, after, &mut new)];
    for (view, record, entries) in views {
        for (name, register) in view::registers(view, id, record)? {
            let place = Place {
                node: id,
                name: &name,
            };
            let writes = register::all_writes(view, place, &register)?;
            let finder = Finder {
                view,
                unseen,
                place,
                record,
            };
            for write in &writes {
                finder.losers(&writes, write.stamp, entries)?;
            }
        }
    }
    replace(overlay, &old, &new)
}

/// The stamps from which a node's properties count: its creation, and when it came back empty.
fn floors(node: &NodeRecord) -> impl Iterator<Item = Stamp> + '_ {
    let come_back = node.parents.iter().skip(1);
    let come_back = come_back.filter(|write| write.how == How::ComeBack);
    node.parents
        .first()
        .into_iter()
        .chain(come_back)
        .map(|write| write.stamp)
}

/// Which writes have to be looked at again when those at `stamps` have come or gone; and all
/// writes of the register that bear on them.
fn affected<'r>(
    view: &dyn View,
    place: Place<'_>,
    register: Option<&'r Register>,
    stamps: &BTreeSet<Stamp>,
) -> Result<(BTreeSet<Stamp>, Cow<'r, [Write]>), ReadError> {
    let mut at = stamps.clone();
    let (Some(register), Some(lowest)) = (register, stamps.first()) else {
        return Ok((at, Cow::Borrowed(&[])));
    };
    let writes = bearing(view, place, register, *lowest, stamps)?;
    // Where a look upwards, from an inc or from another write, would find nothing new.
    let (mut incs_end, mut others_end) = (writes.len(), writes.len());
    for stamp in stamps.iter().rev() {
        let position = writes.partition_point(|write| write.stamp <= *stamp);
        let own = writes[..position].last();
        let is_inc = own.is_some_and(|own| own.stamp == *stamp && is_inc(own));
        let end = match is_inc {
            true => std::mem::replace(&mut incs_end, position),
            false => std::mem::replace(&mut others_end, position),
        };
        for above in &writes[position..end] {
            if is_inc && self::is_inc(above) {
                continue; // what lies under it is the same
            }
            at.insert(above.stamp);
            if !self::is_inc(above) {
                break;
            }
        }
    }
    Ok((at, writes))
}

fn is_inc(write: &Write) -> bool {
    matches!(write.what, What::Inc(_))
}

/// The writes of a register that bear on those from `lowest` on: without reading what stands in
/// segments, if that can be.
fn bearing<'r>(
    view: &dyn View,
    place: Place<'_>,
    register: &'r Register,
    lowest: Stamp,
    stamps: &BTreeSet<Stamp>,
) -> Result<Cow<'r, [Write]>, ReadError> {
    let Some(older) = &register.older else {
        return Ok(Cow::Borrowed(&register.writes));
    };
    let below = register.writes.partition_point(|w| w.stamp < lowest);
    if lowest > older.newest && register.writes[..below].iter().any(|w| !is_inc(w)) {
        return Ok(Cow::Borrowed(&register.writes));
    }
    // A run of incs: only what it stands on can matter to them.
    let incs = register.writes.iter().all(is_inc)
        && stamps
            .iter()
            .all(|stamp| register.writes.iter().any(|w| w.stamp == *stamp));
    if let (true, Some(under)) = (incs, &older.under)
        && let Some((stamp, value)) = &under.base
    {
        let what = value.clone().map_or(What::Unset, What::Set);
        let mut writes = vec![Write {
            stamp: *stamp,
            what,
        }];
        writes.extend(register.writes.iter().cloned());
        return Ok(Cow::Owned(writes));
    }
    Ok(Cow::Owned(register::all_writes(view, place, register)?))
}

struct Finder<'f> {
    view: &'f dyn View,
    unseen: &'f Unseen<'f>,
    place: Place<'f>,
    record: &'f NodeRecord,
}

impl Finder<'_> {
    /// What the write at `at`, if there is one that counts, takes the place of, unseen.
    fn losers(&self, writes: &[Write], at: Stamp, found: &mut Entries) -> Result<(), ReadError> {
        let Ok(position) = writes.binary_search_by(|write| write.stamp.cmp(&at)) else {
            return Ok(());
        };
        let floor = if self.place.node == NodeId::ROOT {
            Stamp::MIN
        } else {
            match floors(self.record).take_while(|floor| *floor < at).last() {
                Some(floor) => floor,
                None => return Ok(()), // M12
            }
        };
        let what = &writes[position].what;
        let below = writes[..position].iter().rev();
        for old in below.take_while(|old| old.stamp > floor) {
            let loses = match (&old.what, what) {
                // An inc on top takes nothing away, unless what is under it is no integer.
                (What::Set(value), What::Inc(_)) => !matches!(value, Value::Int(_)),
                (_, What::Inc(_)) => false,
                (What::Inc(_), _) => true,
                (old, new) => old != new,
            };
            if loses && self.unseen.is(self.view, at.id, old.stamp.id)? {
                let entry = ConflictEntry {
                    at,
                    kind: ConflictKind::Overwritten,
                    node: self.place.node,
                    item: ConflictItem::Property(self.place.name.clone()),
                    loser: old.stamp,
                };
                found.insert(entry, Some(at.id));
            }
            if !is_inc(old) || on(Fault::OnlyNewestLost) {
                break;
            }
        }
        Ok(())
    }
}
