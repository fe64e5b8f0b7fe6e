//! What was acknowledged is not lost: whatever a disk has made durable and has not lost since is
//! there when its machine is started again, and everywhere in the end.
//!
//! A disk loses what it lied about, what an older copy of its directory has not, and everything if
//! its machine is taken out. What was acknowledged and is then on no other disk is lost; that is
//! counted, and no fault of leveret's. So is what a relaxed replica had answered before it was
//! durable.

use std::collections::{BTreeMap, BTreeSet};

use leveret::codec::key;
use leveret::model::{OriginId, RepoId, Sequence};
use leveret::replica::Replica;
use leveret::storage::Key;

use super::again::StandIns;
use super::{Checker, End};
use crate::world::{Down, Note, Watcher, World};

/// What was lost though it had been acknowledged, and why that may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Acknowledged saves that were lost with an old copy of a directory, a lying disk, or a
    /// machine that was taken out, and were on no other disk.
    pub excused: u64,
    /// Acknowledged saves of `main` in all.
    pub acknowledged: u64,
}

/// A save that was answered.
struct Answer {
    machine: usize,
    repo: RepoId,
    origin: OriginId,
    sequence: Sequence,
}

/// Heads in all repositories.
type Stored = BTreeMap<(RepoId, OriginId), Sequence>;

/// See the top of the file.
#[derive(Default)]
pub(super) struct Durability {
    answers: Vec<Answer>,
    /// What each machine's disk has made durable, and not lost.
    disks: BTreeMap<usize, Stored>,
    /// Machines that will find less on their disks than these had.
    lost: BTreeSet<usize>,
    /// What some machine has had stored since the faults stopped.
    stock: Stored,
    excused: u64,
}

/// What a replica has stored, and which origins have ended for it.
fn stored(replica: &Replica) -> (Stored, BTreeSet<(RepoId, OriginId)>) {
    let mut heads = Stored::new();
    let mut ended = BTreeSet::new();
    for repo in RepoId::ALL {
        let status = replica.repo_status(repo);
        heads.extend(status.stored.into_iter().map(|(o, s)| ((repo, o), s)));
        let all = status.quarantined.into_iter().chain(status.closed);
        ended.extend(all.map(|origin| (repo, origin)));
    }
    (heads, ended)
}

fn raise(heads: &mut Stored, place: (RepoId, OriginId), sequence: Sequence) {
    let head = heads.entry(place).or_default();
    *head = sequence.max(*head);
}

/// The origins that hostile members write under, as far as anybody knows them.
fn hostile_origins(world: &World) -> BTreeSet<(RepoId, OriginId)> {
    let mut found = BTreeSet::new();
    for machine in world.running() {
        for repo in RepoId::ALL {
            let authors = world.replica(machine).repo_status(repo).authors;
            let hostile = authors.iter().filter(|(_, key)| world.is_hostile(key));
            found.extend(hostile.map(|(origin, _)| (repo, *origin)));
        }
    }
    found
}

impl Durability {
    /// Takes stock of what is stored anywhere, or was before.
    pub(super) fn take_stock(&mut self, world: &World) {
        for machine in world.running() {
            for (place, sequence) in stored(world.replica(machine)).0 {
                raise(&mut self.stock, place, sequence);
            }
        }
        // Whoever was taken out took along what nobody else had.
        self.disks
            .retain(|machine, _| world.machines[*machine].is_member());
        for (place, sequence) in self.disks.values().flatten() {
            raise(&mut self.stock, *place, *sequence);
        }
    }

    /// What was somewhere when the faults stopped and is missing somewhere now.
    pub(super) fn missing(&self, end: &End<'_>) -> Option<String> {
        let world = end.world;
        let mut hostile = None;
        for machine in world.running() {
            let has = stored(world.replica(machine)).0;
            for (place, sequence) in &self.stock {
                let here = has.get(place).copied().unwrap_or_default();
                let (repo, origin) = *place;
                if here >= *sequence
                    || world
                        .replica(machine)
                        .repo_status(repo)
                        .closed
                        .contains(&origin)
                    || hostile
                        .get_or_insert_with(|| hostile_origins(world))
                        .contains(place)
                {
                    continue;
                }
                let (repo, origin) = place;
                return Some(format!(
                    "m{machine} has {here} of {origin} in `{}`, of which there were {sequence} \
                     somewhere after the faults had stopped",
                    repo.name()
                ));
            }
        }
        None
    }

    pub(super) fn losses(&self) -> Losses {
        let main = self.answers.iter().filter(|a| a.repo == RepoId::MAIN);
        Losses {
            excused: self.excused,
            acknowledged: main.count() as u64,
        }
    }

    fn durable(&mut self, machine: usize, records: &[(Key, Vec<u8>)]) {
        let disk = self.disks.entry(machine).or_default();
        for (key, _) in records {
            if let Some((origin, sequence)) = key::parse_journal(key) {
                raise(disk, (RepoId(key[1]), origin), sequence);
            }
        }
    }

    /// A machine has been started: what its disk had is there.
    fn opened(&mut self, machine: usize, replica: &Replica) -> Result<(), String> {
        let (found, ended) = stored(replica);
        let disk = self.disks.entry(machine).or_default();
        if self.lost.remove(&machine) {
            disk.clear();
        }
        for (place, sequence) in disk.iter().filter(|(place, _)| !ended.contains(place)) {
            let here = found.get(place).copied().unwrap_or_default();
            if here < *sequence {
                let (repo, origin) = place;
                return Err(format!(
                    "number {sequence} of {origin} in `{}` was durable on m{machine}, which finds \
                     {here} after it was started again",
                    repo.name()
                ));
            }
        }
        for (place, sequence) in found {
            raise(disk, place, sequence);
        }
        Ok(())
    }
}

impl Watcher for Durability {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        match note {
            Note::Saved {
                machine, receipt, ..
            } => {
                self.answers.push(Answer {
                    machine: *machine,
                    repo: receipt.repo,
                    origin: receipt.id.origin,
                    sequence: receipt.sequence,
                });
                Ok(())
            }
            Note::Durable { machine, records } => {
                self.durable(*machine, records);
                Ok(())
            }
            Note::Down { machine, how, .. } => {
                if matches!(how, Down::Restored | Down::TailLost) {
                    self.lost.insert(*machine);
                }
                Ok(())
            }
            Note::Opened { machine, replica } => self.opened(*machine, replica),
            Note::Sent { .. }
            | Note::Event { .. }
            | Note::Checkpointed { .. }
            | Note::Alarm { .. } => Ok(()),
        }
    }
}

impl Checker for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        let running = end.world.running().into_iter();
        let here: Vec<_> = running.map(|i| stored(end.world.replica(i)).0).collect();
        let running = end.world.running().into_iter();
        let again: Vec<_> = running
            .map(|i| RepoId::ALL.map(|repo| StandIns::of(end.world.replica(i), repo)))
            .collect();
        for answer in &self.answers {
            let place = (answer.repo, answer.origin);
            let has = |stored: &Stored| stored.get(&place) >= Some(&answer.sequence);
            let (origin, sequence) = (answer.origin, answer.sequence);
            let mut again = again.iter().map(|all| &all[usize::from(answer.repo.0)]);
            // What its author has closed has to be there again.
            let closed = again.clone().any(|all| all.is_closed(origin, sequence));
            let everywhere = match closed {
                true => again.all(|all| all.has(origin, sequence)),
                false => here.iter().all(has),
            };
            if everywhere {
                continue;
            }
            let survived = has(&self.stock)
                || here.iter().any(has)
                || self
                    .disks
                    .iter()
                    .any(|(machine, disk)| end.world.machines[*machine].is_member() && has(disk));
            if survived {
                return Err(format!(
                    "number {sequence} of {origin} in `{}` was acknowledged by m{} and is not \
                     everywhere{}",
                    answer.repo.name(),
                    answer.machine,
                    if closed { " again" } else { "" }
                ));
            }
            self.excused += u64::from(answer.repo == RepoId::MAIN);
        }
        match self.missing(end) {
            None => Ok(()),
            Some(what) => Err(what),
        }
    }
}
