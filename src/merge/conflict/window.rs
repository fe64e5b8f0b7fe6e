//! The change sets of a time, by origin: what a removal had not seen, what came after it.
//!
//! The journal holds them by number, and times rise along an origin, so the first of a time is
//! found by a search that starts at the newest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Batch;
use super::unseen::Unseen;
use crate::merge::History;
use crate::merge::view::{ReadError, View};
use crate::model::{ChangeSet, OriginId, Sequence, Stamp, Time};

/// For each origin the times to look at: after the first, up to the second.
pub(super) struct Windows(BTreeMap<OriginId, (Time, Time)>);

impl Windows {
    /// What was unseen to the authors of these removals, and everything within these times.
    pub(super) fn new(
        view: &dyn View,
        batch: &Batch<'_>,
        unseen: &Unseen<'_>,
        removals: &BTreeSet<Stamp>,
        times: &[(Stamp, Stamp)],
    ) -> Result<Self, ReadError> {
        let mut windows = BTreeMap::new();
        for (origin, head) in batch.heads {
            let mut window: Option<(Time, Time)> = None;
            let mut widen = |after: Time, until: Time| {
                if after < until.min(head.time) {
                    let (from, to) = window.unwrap_or((after, until));
                    window = Some((from.min(after), to.max(until)));
                }
            };
            for removal in removals {
                let seen = unseen.seen_up_to(view, removal.id, *origin)?;
                widen(seen, removal.id.time);
            }
            for (from, until) in times {
                widen(Time(from.id.time.0.saturating_sub(1)), until.id.time);
            }
            if let Some(window) = window {
                windows.insert(*origin, window);
            }
        }
        Ok(Self(windows))
    }

    /// Whether there are more change sets in them than `few`.
    pub(super) fn are_many(
        &self,
        batch: &Batch<'_>,
        history: &dyn History,
        few: u64,
    ) -> Result<bool, ReadError> {
        let mut count = 0;
        for (origin, (after, until)) in &self.0 {
            let get = |sequence: Sequence| match batch.by_sequence.get(&(*origin, sequence)) {
                Some(set) => Ok(set.clone()),
                None => history.change_set(*origin, sequence),
            };
            let newest = batch.heads[origin].sequence;
            let first = first_after(newest, *after, &get)?;
            count += first_after(newest, *until, &get)?.0 - first.0;
            if count > few {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Calls `look` with every change set of the windows.
    pub(super) fn each(
        &self,
        batch: &Batch<'_>,
        history: &dyn History,
        mut look: impl FnMut(&ChangeSet) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        for (origin, (after, until)) in &self.0 {
            let get = |sequence: Sequence| match batch.by_sequence.get(&(*origin, sequence)) {
                Some(set) => Ok(set.clone()),
                None => history.change_set(*origin, sequence),
            };
            let newest = batch.heads[origin].sequence;
            let mut sequence = first_after(newest, *after, &get)?;
            while sequence <= newest {
                let set = get(sequence)?;
                if set.id.time > *until {
                    break;
                }
                look(&set)?;
                sequence = sequence.next();
            }
        }
        Ok(())
    }
}

/// The first change set of an origin that is newer than a time; the one after `newest` if none is.
fn first_after<E>(
    newest: Sequence,
    after: Time,
    get: &impl Fn(Sequence) -> Result<Arc<ChangeSet>, E>,
) -> Result<Sequence, E> {
    // `high` is newer than the time, or behind the end; `low` is not, or before the beginning.
    let (mut low, mut high) = (0, newest.0 + 1);
    let mut step = 1;
    while let candidate @ 1.. = high.saturating_sub(step) {
        if get(Sequence(candidate))?.id.time <= after {
            low = candidate;
            break;
        }
        high = candidate;
        step *= 2;
    }
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if get(Sequence(middle))?.id.time <= after {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(Sequence(high))
}
