//! Queues and memory are bounded, whoever sends what.

use leveret::model::Time;
use leveret::replica::Replica;

use super::{Checker, End};
use crate::world::{Note, Watcher};

/// Bytes of change sets on their way to the disk: the bound, and one message more.
const ON_THEIR_WAY_BYTES_MAX: usize = (64 + 4) << 20;
/// Bytes of old versions of records that are kept for readers.
const OLD_BYTES_MAX: usize = leveret::merge::OLD_BYTES_MAX + (8 << 20);

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
    for repo in leveret::model::RepoId::ALL {
        let old = replica.state(repo).old_bytes();
        if old > OLD_BYTES_MAX {
            return Err(format!("m{machine} keeps {old} bytes of old versions"));
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

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        let world = end.world;
        world
            .running()
            .into_iter()
            .try_for_each(|i| check(i, world.replica(i)))
    }
}
