//! Whoever is connected compares what it has with others, again and again, whatever its clock does:
//! it may stand still, and be set forward or back.

use std::collections::BTreeMap;

use leveret::model::Time;

use super::{Checker, End};
use crate::world::{Micros, Note, Watcher, World};

/// Longest time for which a replica may not have begun a comparison; it is to begin one a second.
const SILENCE_MAX: Micros = Micros::from_seconds(15);

/// See the top of the file.
#[derive(Default)]
pub(super) struct Talk {
    /// Comparisons that each machine had begun in this life, since when there have been no more, and
    /// what its clock showed when it was looked at last.
    silent: BTreeMap<usize, (u64, Micros, Time)>,
}

impl Watcher for Talk {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        if let Note::Opened { machine, .. } | Note::Down { machine, .. } = note {
            self.silent.remove(machine);
        }
        Ok(())
    }
}

impl Checker for Talk {
    fn name(&self) -> &'static str {
        "talk"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        for machine in world.running() {
            let replica = world.replica(machine);
            let (ticks, clock) = (replica.counters().ticks, world.clock(machine));
            let (before, since, shown) = self
                .silent
                .insert(machine, (ticks, world.now, clock))
                .unwrap_or((ticks, world.now, Time(0)));
            let excused = || {
                world.connections_of(machine).is_empty()
                    || clock == shown
                    || replica.status(clock).failed.is_some()
            };
            if ticks != before || excused() {
                continue;
            }
            if since.after(SILENCE_MAX) < world.now {
                return Err(format!(
                    "m{machine} is connected, and has compared with nobody for {} s",
                    SILENCE_MAX.0 / 1_000_000
                ));
            }
            self.silent.insert(machine, (ticks, since, clock));
        }
        Ok(())
    }

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        self.look(end.world)
    }
}
