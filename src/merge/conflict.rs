//! Conflicts: what was written and is lost, found as it happens (M14).
//!
//! Every conflict but a name clash belongs to the operation at whose turn in the fold it arises:
//! the newer write, the removal, the skipped move. It is kept under that operation's stamp (table
//! `x`), so the conflicts of an operation can be derived anew when something below it changes, and
//! those of all others stay. At the end of a pass:
//!
//! - what follows from one node's record alone is derived from its first change on ([`places`]);
//! - a property's conflicts are those of the writes that changed, and of the next ones above
//!   ([`values`]);
//! - what was lost under removals is found from both sides: for a new write by walking up from its
//!   node through time, for a new removal by going through the change sets that its author had not
//!   seen, or what was ever below its node, whichever is little ([`lost`], [`deed`], [`coverage`],
//!   [`window`]). Nothing looks through a large subtree.
//!
//! Two kinds also depend on whether a node is trashed in the end, which a single write high up can
//! change for a whole subtree: that is asked when conflicts are read ([`list`]), as are the name
//! clashes, of which only the names are kept (table `c`).

mod coverage;
mod deed;
mod list;
mod lost;
mod places;
mod unseen;
mod values;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) use list::{is_dismissed, open};

use super::History;
use super::fault::{Fault, on};
use super::overlay::{Overlay, WrittenNode};
use super::pass::{Evaluated, Written};
use super::state::Heads;
use super::view::{ReadError, View};
use crate::codec::record::Record;
use crate::codec::state_key::{self as key, ConflictEntry};
use crate::model::{
    ChangeSet, ChangeSetId, ConflictItem, ConflictKind, NodeId, OriginId, Sequence, Stamp,
};
use unseen::Unseen;

/// What a pass did, as far as conflicts can follow from it.
pub(super) struct Batch<'a> {
    /// The new change sets, in order of their ids.
    pub(super) sets: &'a [Arc<ChangeSet>],
    /// The same, by number.
    pub(super) by_sequence: &'a BTreeMap<(OriginId, Sequence), Arc<ChangeSet>>,
    /// Their ids.
    pub(super) ids: &'a BTreeSet<ChangeSetId>,
    /// Property writes that came or went.
    pub(super) written: &'a Written,
    /// What evaluating came to.
    pub(super) evaluated: &'a [Evaluated],
    /// The applied heads, the batch included.
    pub(super) heads: &'a Heads,
    /// The newest removal there ever was.
    pub(super) removal: Stamp,
}

/// Entries, with the change sets that won.
type Entries = BTreeMap<ConflictEntry, Option<ChangeSetId>>;

/// Brings the conflicts up to date with a pass.
pub(super) fn derive(
    overlay: &mut Overlay<'_>,
    nodes: &[WrittenNode],
    batch: &Batch<'_>,
    history: &dyn History,
) -> Result<(), ReadError> {
    let unseen = Unseen::new(batch.ids);
    derive_voided(overlay, batch.evaluated)?;
    places::derive(overlay, nodes, &unseen)?;
    values::derive(overlay, nodes, batch.written, &unseen)?;
    lost::derive(overlay, nodes, batch, history, &unseen)
}

fn derive_voided(overlay: &mut Overlay<'_>, evaluated: &[Evaluated]) -> Result<(), ReadError> {
    for evaluated in evaluated {
        let at = evaluated.set.stamp(0);
        let entry = ConflictEntry {
            at,
            kind: ConflictKind::Voided,
            node: NodeId::ROOT,
            item: ConflictItem::Node,
            loser: at,
        };
        match (evaluated.was_voided.unwrap_or(false), evaluated.voided) {
            (false, true) if on(Fault::VoidingUnreported) => {}
            (false, true) => put(overlay, &entry, None),
            (true, false) => remove(overlay, &entry)?,
            _ => {}
        }
    }
    Ok(())
}

fn put(overlay: &mut Overlay<'_>, entry: &ConflictEntry, winner: Option<ChangeSetId>) {
    let key = key::conflict(overlay.repo(), entry);
    overlay.put(key, Record::Conflict(winner));
}

fn remove(overlay: &mut Overlay<'_>, entry: &ConflictEntry) -> Result<(), ReadError> {
    let key = key::conflict(overlay.repo(), entry);
    if let Some(before) = overlay.get(&key)? {
        overlay.remove_known(key, before);
    }
    Ok(())
}

/// Puts `new` in the place of `old`.
fn replace(overlay: &mut Overlay<'_>, old: &Entries, new: &Entries) -> Result<(), ReadError> {
    let keep = on(Fault::ConflictStays);
    for entry in old.keys().filter(|entry| !keep && !new.contains_key(entry)) {
        remove(overlay, entry)?;
    }
    for (entry, winner) in new {
        if old.get(entry) != Some(winner) {
            put(overlay, entry, *winner);
        }
    }
    Ok(())
}

/// The entries of one kind that an operation has.
fn entries_at(view: &dyn View, at: Stamp, kind: ConflictKind) -> Result<Entries, ReadError> {
    let mut prefix = key::conflicts_at(view.repo(), at);
    prefix.push(kind.byte());
    let rows = view.scan(&prefix, &key::after_prefix(&prefix), usize::MAX)?;
    Ok(rows
        .iter()
        .filter_map(|(key, record)| match record {
            Record::Conflict(winner) => Some((key::conflict_of(key)?, *winner)),
            _ => None,
        })
        .collect())
}
