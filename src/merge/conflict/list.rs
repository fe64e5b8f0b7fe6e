//! Reading conflicts: those that stand, but for the dismissed ones.

use std::collections::BTreeSet;

use crate::codec::record::{How, NodeRecord, Record};
use crate::codec::state_key::{self as key, ConflictEntry};
use crate::merge::fault::{Fault, on};
use crate::merge::read::namesakes;
use crate::merge::settle::is_visible;
use crate::merge::structure::{End, way_up};
use crate::merge::view::{self, ReadError, View};
use crate::model::{Conflict, ConflictId, ConflictItem, ConflictKind, NodeId, Stamp};

/// Rows read at a time.
const PAGE: usize = 512;

/// The conflicts that stand and that nobody has dismissed, each once.
pub(in crate::merge) fn open(view: &dyn View) -> Result<BTreeSet<Conflict>, ReadError> {
    let mut all = BTreeSet::new();
    let prefix = key::conflicts(view.repo());
    each(view, prefix, |key, record| {
        let (Some(entry), Record::Conflict(winner)) = (key::conflict_of(key), record) else {
            return Ok(());
        };
        if entry.kind != ConflictKind::UnderRemoved || is_still_lost(view, &entry)? {
            all.insert(Conflict {
                loser: entry.loser.id,
                kind: entry.kind,
                node: entry.node,
                item: entry.item,
                winner: *winner,
            });
        }
        Ok(())
    })?;
    each(
        view,
        key::clashes(view.repo()),
        |key, _| match key::clash_of(key) {
            Some((parent, name)) if is_visible(view, parent)? => {
                let namesakes = namesakes(view, parent, &name)?;
                let mut placed = namesakes.iter().map(|namesake| namesake.id);
                let Some(winner) = placed.next() else {
                    return Ok(());
                };
                let winner = placed_by(view, winner)?.map(|stamp| stamp.id);
                for node in placed {
                    if let Some(stamp) = placed_by(view, node)? {
                        all.insert(Conflict {
                            loser: stamp.id,
                            kind: ConflictKind::NameClash,
                            node,
                            item: ConflictItem::Name,
                            winner,
                        });
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        },
    )?;
    let mut open = BTreeSet::new();
    for conflict in all {
        if on(Fault::DismissedListed) || !is_dismissed(view, conflict.id())? {
            open.insert(conflict);
        }
    }
    Ok(open)
}

/// Whether anybody has dismissed a conflict.
pub(in crate::merge) fn is_dismissed(
    view: &dyn View,
    conflict: ConflictId,
) -> Result<bool, ReadError> {
    let prefix = key::dismissals(view.repo(), conflict);
    let rows = view.scan(&prefix, &key::after_prefix(&prefix), 1)?;
    Ok(!rows.is_empty())
}

fn each(
    view: &dyn View,
    prefix: Vec<u8>,
    mut look: impl FnMut(&[u8], &Record) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let end = key::after_prefix(&prefix);
    let mut from = prefix;
    loop {
        let rows = view.scan(&from, &end, PAGE)?;
        for (key, record) in &rows {
            look(key, record)?;
        }
        match rows.last() {
            Some((last, _)) if rows.len() == PAGE => {
                from.clone_from(last);
                from.push(0);
            }
            _ => return Ok(()),
        }
    }
}

/// Whether the node is trashed in the end, or has come back empty since (M6).
fn is_still_lost(view: &dyn View, entry: &ConflictEntry) -> Result<bool, ReadError> {
    if on(Fault::LostForGood) || way_up(view, entry.node, Stamp::MAX)?.end == End::Trash {
        return Ok(true);
    }
    let record = view::node(view, entry.node)?.unwrap_or_default();
    let mut newer = record.parents.iter().rev();
    let emptied = newer.any(|write| write.how == How::ComeBack && write.stamp > entry.loser);
    Ok(emptied && !on(Fault::LostForgottenOnComeBack))
}

/// The operation that a node's place is laid to: its newest parent or name write; of a hand-back
/// the move that it took back or, for (b) of M8, that was skipped.
fn placed_by(view: &dyn View, node: NodeId) -> Result<Option<Stamp>, ReadError> {
    let record = view::node(view, node)?.unwrap_or_default();
    let (Some(parent), Some((named, _))) = (record.parents.last(), record.names.last()) else {
        return Ok(None);
    };
    let placed = parent.stamp.max(*named);
    Ok(Some(match parent.how {
        How::HandBack { .. } if on(Fault::ClashLaidToRemover) => placed,
        How::HandBack { .. } if parent.stamp == placed => blamed(&record),
        _ => placed,
    }))
}

/// The move that a node's newest parent write, a hand-back, is laid to.
fn blamed(record: &NodeRecord) -> Stamp {
    let writes = record.parents.iter().rev();
    let pairs = writes.clone().zip(writes.skip(1));
    for (write, before) in pairs {
        match (write.how, before.how) {
            // It handed back what had been handed back before.
            (How::HandBack { cause }, How::HandBack { cause: earlier }) if cause == earlier => {}
            (How::HandBack { cause }, How::Move) if before.stamp == cause => return cause,
            _ => {
                let position = record
                    .skips
                    .partition_point(|skip| skip.stamp <= write.stamp);
                let skip = record.skips[..position].last();
                return skip.map_or(write.stamp, |skip| skip.stamp);
            }
        }
    }
    unreachable!("a node is added before it is handed back")
}
