//! Queues and memory are bounded, whoever sends what. Looked at every second or so, and whenever a
//! machine goes down.

use leveret::model::Time;
use leveret::replica::{HeldReason, Replica};

use super::{Checker, End};
use crate::world::{Note, Watcher, World};

/// Bytes of change sets on their way to the disk: the bound, and one message more.
const ON_THEIR_WAY_BYTES_MAX: usize = (64 + 4) << 20;
/// Bytes of old versions of records that are kept for readers.
const OLD_BYTES_MAX: usize = leveret::merge::OLD_BYTES_MAX + (8 << 20);
/// Change sets of one origin that wait since they are from the future (M16).
const FUTURE_MAX: u64 = 1_024;
/// Heads of another replica that are remembered, for each repository.
const HEADS_MAX: usize = 65_536;

/// See the top of the file.
pub(super) struct Bounds;

fn check(machine: usize, replica: &Replica) -> Result<(), String> {
    let status = replica.status(Time(0));
    if status.on_their_way_bytes > ON_THEIR_WAY_BYTES_MAX {
        return Err(format!(
            "m{machine} has {} bytes on their way to the disk",
            status.on_their_way_bytes
        ));
    }
    for repo in &status.repos {
        let old = replica.state(repo.repo).old_bytes();
        if old > OLD_BYTES_MAX {
            return Err(format!("m{machine} keeps {old} bytes of old versions"));
        }
        for (origin, (count, reason)) in &repo.held {
            if *reason == HeldReason::Future && *count > FUTURE_MAX {
                return Err(format!(
                    "m{machine} keeps {count} of {origin} that are from the future"
                ));
            }
        }
    }
    for peer in &status.peers {
        if peer.heads.values().any(|heads| heads.len() > HEADS_MAX) {
            return Err(format!("m{machine} keeps too many heads of {}", peer.key));
        }
    }
    Ok(())
}

impl Watcher for Bounds {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        match note {
            Note::Down {
                machine, replica, ..
            } => check(*machine, replica),
            _ => Ok(()),
        }
    }
}

impl Checker for Bounds {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        world
            .running()
            .into_iter()
            .try_for_each(|i| check(i, world.replica(i)))
    }

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        self.look(end.world)
    }
}
