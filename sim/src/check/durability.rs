//! What was acknowledged is not lost: it is at its author's, or somewhere else, when the faults
//! stop, and everywhere in the end. What a machine lost whose directory was replaced, or whose disk
//! lied, counts as lost only if nobody else had it; that is counted, and no fault of leveret's.

use std::collections::BTreeMap;

use leveret::model::{OriginId, RepoId, Sequence};
use leveret::replica::{Durability as Promise, Replica};

use super::{Checker, End};
use crate::world::{Down, Note, Watcher, World};

/// What was lost though it had been acknowledged, and why that may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Acknowledged saves that were lost with an old copy of a directory, a lying disk, or a
    /// machine that was taken out, and were nowhere else.
    pub excused: u64,
    /// Acknowledged saves in all.
    pub acknowledged: u64,
}

/// A save that was answered.
struct Answer {
    machine: usize,
    origin: OriginId,
    sequence: Sequence,
    /// Whether it need not have survived.
    excused: bool,
}

/// See the top of the file.
#[derive(Default)]
pub(super) struct Durability {
    answers: Vec<Answer>,
    /// Up to where each machine's answers have been looked at when it went down.
    settled: BTreeMap<usize, usize>,
    /// What some machine had stored when the faults stopped.
    stock: BTreeMap<(RepoId, OriginId), Sequence>,
    excused: u64,
}

/// What a replica has stored of an origin of `main`.
fn stored(replica: &Replica, origin: OriginId) -> Sequence {
    let stored = replica.repo_status(RepoId::MAIN).stored;
    stored.get(&origin).copied().unwrap_or_default()
}

impl Durability {
    /// Takes stock of what is stored anywhere.
    pub(super) fn take_stock(&mut self, world: &World) {
        for machine in world.running() {
            for repo in RepoId::ALL {
                for (origin, sequence) in world.stored(machine, repo) {
                    let most = self.stock.entry((repo, origin)).or_default();
                    *most = sequence.max(*most);
                }
            }
        }
        // Whoever was taken out took along what nobody else had.
        for answer in &mut self.answers {
            answer.excused |= !world.machines[answer.machine].is_member();
        }
    }

    /// What was somewhere when the faults stopped and is missing somewhere now.
    pub(super) fn missing(&self, end: &End<'_>) -> Option<String> {
        let world = end.world;
        for machine in world.running() {
            for repo in RepoId::ALL {
                let has = world.stored(machine, repo);
                for ((of, origin), sequence) in &self.stock {
                    let here = has.get(origin).copied().unwrap_or_default();
                    let missing = *of == repo && here < *sequence;
                    if missing && !world.is_hostile_origin(machine, repo, *origin) {
                        return Some(format!(
                            "m{machine} has {here} of {origin} in `{}`, of which there were \
                             {sequence} somewhere when the faults stopped",
                            repo.name()
                        ));
                    }
                }
            }
        }
        None
    }

    pub(super) fn losses(&self) -> Losses {
        Losses {
            excused: self.excused,
            acknowledged: self.answers.len() as u64,
        }
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
                    origin: receipt.id.origin,
                    sequence: receipt.sequence,
                    excused: false,
                });
                Ok(())
            }
            Note::Down {
                machine,
                how,
                replica,
            } => {
                // What was answered before it was durable may be lost in a crash.
                let relaxed = replica.config().durability == Promise::Relaxed;
                let replaced = matches!(how, Down::Restored | Down::TailLost);
                let from = self
                    .settled
                    .insert(*machine, self.answers.len())
                    .unwrap_or(0);
                let from = if replaced { 0 } else { from };
                let mut kept: BTreeMap<OriginId, Sequence> = BTreeMap::new();
                for answer in &mut self.answers[from..] {
                    if answer.machine != *machine {
                        continue;
                    }
                    let kept = *kept
                        .entry(answer.origin)
                        .or_insert_with(|| stored(replica, answer.origin));
                    answer.excused |= replaced || (relaxed && kept < answer.sequence);
                }
                Ok(())
            }
            Note::Opened { .. } | Note::Event { .. } | Note::Alarm { .. } => Ok(()),
        }
    }
}

impl Checker for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        let running = end.world.running().into_iter();
        let stored: Vec<_> = running
            .map(|machine| end.world.stored(machine, RepoId::MAIN))
            .collect();
        for answer in &self.answers {
            let has = |stored: &BTreeMap<OriginId, Sequence>| {
                stored.get(&answer.origin) >= Some(&answer.sequence)
            };
            if stored.iter().all(has) {
                continue;
            }
            if !answer.excused {
                return Err(format!(
                    "number {} of {} was acknowledged by m{} and is not everywhere",
                    answer.sequence, answer.origin, answer.machine
                ));
            }
            self.excused += 1;
        }
        match self.missing(end) {
            None => Ok(()),
            Some(what) => Err(what),
        }
    }
}
