//! People who set a clock right that was far ahead, and say so.

use leveret::model::RepoId;
use leveret::replica::{Repair, RepairError};

use super::{Director, LEAD_MS_MAX, Todo};
use crate::chance::Chance;
use crate::plan::Kind;
use crate::world::World;

/// Time between two looks at a repair, in microseconds, and most of them.
const PAUSE_US: u64 = 500_000;
const LOOKS_MAX: u32 = 120;
/// A lead above this is one of years, in milliseconds.
const FAR_MS: u64 = LEAD_MS_MAX + 60_000;
/// Of a thousand clocks that are far ahead in the end, so many are repaired.
const REPAIRED_PERMILLE: u32 = 600;
/// Kinds of faults after which a directory may lack what its replica has written.
const LOSING: [Kind; 3] = [Kind::RestoredBackup, Kind::Clone, Kind::LostTail];

/// How far the clock of a replica is above its machine's, in milliseconds.
fn lead_ms(world: &World, machine: usize) -> u64 {
    let now = world.clock(machine);
    world.replica(machine).status(now).clock_ahead_ms
}

/// Whether a machine holds something of its own that is from the future.
fn holds_own(world: &World, machine: usize) -> bool {
    let key = world.machines[machine].identity.public();
    RepoId::ALL.into_iter().any(|repo| {
        let status = world.replica(machine).repo_status(repo);
        let mut held = status.until.keys();
        held.any(|origin| status.authors.get(origin) == Some(&key))
    })
}

/// Whether whoever says so can know that the machine has all that it has ever written. A person
/// makes sure of that.
fn has_all_its_own(world: &World, machine: usize) -> bool {
    let key = world.machines[machine].identity.public();
    let members = world.members();
    let alike = |other: &&usize| world.machines[**other].identity.public() == key;
    if members.iter().filter(alike).count() > 1 {
        return false;
    }
    let lost = LOSING
        .iter()
        .any(|kind| world.tally.kinds.contains_key(kind));
    let running = world.running();
    if lost && running.len() < members.len() {
        return false;
    }
    RepoId::ALL.into_iter().all(|repo| {
        let mine = world.stored(machine, repo);
        running.iter().all(|other| {
            let status = world.replica(*other).repo_status(repo);
            let mut stored = status.stored.iter();
            stored.all(|(origin, sequence)| {
                status.authors.get(origin) != Some(&key)
                    || status.has_ended(*origin)
                    || mine.get(origin) >= Some(sequence)
            })
        })
    })
}

impl Director {
    /// A machine whose clock is, or was, far ahead is repaired while other things happen.
    pub(super) fn repair_one(&mut self, world: &mut World, chance: &mut Chance) {
        let mut odd = world.running();
        odd.retain(|machine| {
            let clock = world.machines[*machine].clock.lead_ms(world.now);
            self.ahead.contains(machine) || clock > 60_000 || holds_own(world, *machine)
        });
        if odd.is_empty() {
            return;
        }
        let machine = *chance.one_of(&odd);
        world.machines[machine].clock.repair();
        world.tally.meet(Kind::RepairClock);
        self.repair(world, machine, LOOKS_MAX);
    }

    /// The faults have stopped: of those that are far ahead some are repaired.
    pub(super) fn repair_some(&mut self, world: &mut World) {
        for machine in self.ahead.clone() {
            let mut chance = Chance::new(self.seed, &format!("repaired {machine}"));
            if chance.permille(REPAIRED_PERMILLE) {
                world.tally.meet(Kind::RepairClock);
                self.repair_later(world, machine, LOOKS_MAX);
            }
        }
    }

    fn repair_later(&mut self, world: &mut World, machine: usize, looks: u32) {
        self.repairing += 1;
        let at = world.now.plus(PAUSE_US);
        self.later(world, at, Todo::Repair(machine, looks));
    }

    /// Says on a machine that its clock is right, again and again until nothing is left to do.
    pub(super) fn repair(&mut self, world: &mut World, machine: usize, looks: u32) {
        if looks == 0 || !world.machines[machine].is_member() {
            return;
        }
        let done = world.machines[machine].is_up()
            && has_all_its_own(world, machine)
            && match world.repair_clock(machine) {
                Ok(Repair::Done) => true,
                Ok(_) | Err(RepairError::Alone | RepairError::Behind | RepairError::Storage(_)) => {
                    false
                }
                Err(error) => panic!("m{machine} can not be repaired: {error}"),
            };
        if !done {
            self.repair_later(world, machine, looks - 1);
        }
    }

    /// Who was far ahead, and has come back to the present, is like all the others.
    pub(crate) fn look_who_is_ahead(&mut self, world: &World) {
        self.ahead.retain(|machine| {
            !world.machines[*machine].is_up() || lead_ms(world, *machine) > FAR_MS
        });
    }

    /// Whether somebody is being repaired.
    pub(crate) fn is_repairing(&self) -> bool {
        self.repairing > 0
    }
}
