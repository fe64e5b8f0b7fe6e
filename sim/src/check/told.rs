//! Nothing is told to others, or answered, that is not durable: what a replica says it has, what it
//! sends, and what it acknowledges is on its disk by then. Only a relaxed replica answers sooner,
//! and tells its own observers. Nor does a checkpoint ever hold what the journal has not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use leveret::codec::key;
use leveret::merge::State;
use leveret::model::{OriginId, RepoId, Sequence};
use leveret::replica::{Durability, Message};
use leveret::storage::Storage;

use super::{Checker, End};
use crate::world::{Note, Watcher};

/// Bytes of records that are kept of a state on disk.
const CACHE_BYTES: usize = 4 << 10;

/// See the top of the file.
#[derive(Default)]
pub(super) struct Told {
    /// Up to where each machine's disk was looked at in this life, by what it says of itself.
    found: BTreeMap<(usize, RepoId, OriginId), Sequence>,
    /// Machines that answer before what they answer is durable.
    relaxed: BTreeSet<usize>,
}

impl Told {
    /// Whether a change set is on a machine's disk. A chain has no gaps.
    fn has(
        &mut self,
        (machine, disk): (usize, &dyn Storage),
        repo: RepoId,
        (origin, sequence): (OriginId, Sequence),
    ) -> bool {
        let found = self.found.entry((machine, repo, origin)).or_default();
        if *found >= sequence {
            return true;
        }
        let there = disk.get(&key::journal(repo, origin, sequence));
        let there = there.is_ok_and(|record| record.is_some());
        if there {
            *found = sequence;
        }
        there
    }

    fn checkpointed(&mut self, machine: usize, disk: &Arc<dyn Storage>) -> Result<(), String> {
        for repo in RepoId::ALL {
            let state = State::open(repo, disk.clone(), CACHE_BYTES);
            let state = state.map_err(|error| format!("m{machine}: {error}"))?;
            for (origin, head) in state.heads().iter() {
                if !self.has((machine, disk.as_ref()), repo, (*origin, head.sequence)) {
                    return Err(format!(
                        "the checkpoint of `{}` on m{machine} has number {} of {origin}, and its \
                         journal has not",
                        repo.name(),
                        head.sequence
                    ));
                }
            }
        }
        Ok(())
    }

    fn sent(
        &mut self,
        of: (usize, &dyn Storage),
        message: &Message,
    ) -> Result<(), (OriginId, Sequence)> {
        match message {
            Message::Heads { repo, heads, .. } | Message::Have { repo, heads } => {
                let lacking = heads.iter().find(|head| !self.has(of, *repo, **head));
                lacking.map_or(Ok(()), |head| Err(*head))
            }
            Message::Range {
                repo,
                origin,
                first,
                records,
                ..
            } if !records.is_empty() => {
                let last = (*origin, Sequence(first.0 + records.len() as u64 - 1));
                let there = self.has(of, *repo, last);
                there.then_some(()).ok_or(last)
            }
            _ => Ok(()),
        }
    }
}

impl Watcher for Told {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        match note {
            Note::Opened { machine, replica } => {
                self.found.retain(|(of, ..), _| of != machine);
                if replica.config().durability == Durability::Relaxed {
                    self.relaxed.insert(*machine);
                }
                Ok(())
            }
            Note::Sent {
                machine,
                message,
                disk,
            } => self
                .sent((*machine, *disk), message)
                .map_err(|(origin, number)| {
                    format!(
                        "m{machine} tells others of number {number} of {origin}, which is not on \
                         its disk"
                    )
                }),
            Note::Saved {
                machine,
                receipt,
                disk,
                ..
            } => {
                let place = (receipt.id.origin, receipt.sequence);
                let may = self.relaxed.contains(machine)
                    || self.has((*machine, *disk), receipt.repo, place);
                may.then_some(()).ok_or_else(|| {
                    format!(
                        "m{machine} acknowledges {}, which is not on its disk",
                        receipt.id
                    )
                })
            }
            Note::Event {
                machine,
                event,
                disk,
                ..
            } => {
                if !event.durable {
                    return match self.relaxed.contains(machine) {
                        true => Ok(()),
                        false => Err(format!("m{machine} tells of what is not durable")),
                    };
                }
                let mut sets = event.change_sets.iter();
                let lacking = sets.find(|set| {
                    !self.has((*machine, *disk), event.repo, (set.id.origin, set.sequence))
                });
                lacking.map_or(Ok(()), |set| {
                    Err(format!(
                        "m{machine} tells of {} as durable, which is not on its disk",
                        set.id
                    ))
                })
            }
            Note::Checkpointed { machine, disk } => self.checkpointed(*machine, disk),
            Note::Down { .. } | Note::Durable { .. } | Note::Alarm { .. } => Ok(()),
        }
    }
}

impl Checker for Told {
    fn name(&self) -> &'static str {
        "told"
    }

    fn finish(&mut self, _: &End<'_>) -> Result<(), String> {
        Ok(())
    }
}
