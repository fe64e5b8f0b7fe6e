//! Who notes when each change set was asked for, when each replica showed it, and how late it was.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use leveret::model::{ChangeSetId, OriginId, RepoId, Sequence};

use crate::world::{Micros, Note, Watcher};

/// A change set of `main`.
#[derive(Default)]
struct Spread {
    /// When it was asked for, once its save was answered.
    asked: Option<Micros>,
    /// When replicas showed it, in that order.
    shown: Vec<Micros>,
}

/// A change set that came after newer ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Late {
    /// How many newer ones had been merged before.
    pub(super) newer: u64,
    /// How much older it is than the newest of them, in milliseconds.
    pub(super) millis: u64,
}

/// What was noted.
pub(super) struct Seen {
    replicas: usize,
    sets: BTreeMap<(OriginId, Sequence), Spread>,
    /// How many of them all replicas show.
    complete: usize,
    /// What each replica has merged, in order of the ids.
    merged: Vec<Vec<ChangeSetId>>,
    late: Vec<Late>,
    /// Change sets that came from others, at all replicas together.
    arrived: u64,
}

impl Seen {
    pub(super) fn new(replicas: usize) -> Self {
        Self {
            replicas,
            sets: BTreeMap::new(),
            complete: 0,
            merged: vec![Vec::new(); replicas],
            late: Vec::new(),
            arrived: 0,
        }
    }

    /// Forgets what was noted of what everybody shows, and what came late.
    pub(super) fn begin(&mut self) {
        self.sets.clear();
        self.complete = 0;
        self.late.clear();
        self.arrived = 0;
    }

    /// Whether everybody shows everything, and at least something.
    pub(super) fn is_complete(&self) -> bool {
        !self.sets.is_empty() && self.complete == self.sets.len()
    }

    /// Of each change set, how long after it was asked for so many percent of the replicas, its
    /// author among them, showed it, in microseconds; in ascending order.
    pub(super) fn times_to(&self, percent: usize) -> Vec<u64> {
        let enough = (self.replicas * percent).div_ceil(100).max(1);
        let time = |spread: &Spread| {
            let shown = spread.shown.get(enough - 1)?;
            Some(shown.0.saturating_sub(spread.asked?.0))
        };
        let mut times: Vec<u64> = self.sets.values().filter_map(time).collect();
        times.sort_unstable();
        times
    }

    /// How many change sets were noted.
    pub(super) fn count(&self) -> usize {
        self.sets.len()
    }

    /// How many came from others, at all replicas together.
    pub(super) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Those that came late, at all replicas together.
    pub(super) fn late(&self) -> &[Late] {
        &self.late
    }

    fn merge(&mut self, machine: usize, ids: impl Iterator<Item = ChangeSetId> + Clone) {
        let merged = &mut self.merged[machine];
        let newest = merged.last().copied();
        for id in ids.clone() {
            let older = merged.partition_point(|other| *other < id);
            if let Some(newest) = newest
                && older < merged.len()
            {
                let newest = newest.time.unix_millis();
                self.late.push(Late {
                    newer: (merged.len() - older) as u64,
                    millis: newest.saturating_sub(id.time.unix_millis()),
                });
            }
        }
        // What came together was merged in order: none of it is late for the other's sake.
        for id in ids {
            let place = merged.partition_point(|other| *other < id);
            merged.insert(place, id);
        }
    }
}

/// See the top of the file.
pub(super) struct Witness(pub(super) Rc<RefCell<Seen>>);

impl Watcher for Witness {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        let seen = &mut *self.0.borrow_mut();
        match note {
            Note::Saved { receipt, asked, .. } if receipt.repo == RepoId::MAIN => {
                let place = (receipt.id.origin, receipt.sequence);
                seen.sets.entry(place).or_default().asked = Some(*asked);
            }
            Note::Event {
                machine,
                event,
                now,
                ..
            } if event.repo == RepoId::MAIN => {
                for set in &event.change_sets {
                    let spread = seen.sets.entry((set.id.origin, set.sequence)).or_default();
                    spread.shown.push(*now);
                    seen.complete += usize::from(spread.shown.len() == seen.replicas);
                    seen.arrived += u64::from(!set.local);
                }
                seen.merge(*machine, event.change_sets.iter().map(|set| set.id));
            }
            // No machine of an experiment goes down.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use leveret::model::Time;

    use super::*;

    fn id(millis: u64) -> ChangeSetId {
        ChangeSetId {
            time: Time::from_unix_millis(millis),
            origin: OriginId([7; 16]),
        }
    }

    #[test]
    fn late_is_what_comes_after_something_newer_that_did_not_come_with_it() {
        let mut seen = Seen::new(1);
        seen.merge(0, [id(5), id(1)].into_iter());
        assert_eq!(seen.late(), []);
        seen.merge(0, [id(9)].into_iter());
        seen.merge(0, [id(4), id(12)].into_iter());
        let late = Late {
            newer: 2,
            millis: 5,
        };
        assert_eq!(seen.late(), [late]);
    }
}
