//! Heads never fall: what a state contains it goes on containing, and what a disk has stored is
//! there in the next life, unless somebody took it away, or its author broke the rules (M17).

use std::collections::BTreeMap;

use leveret::model::{OriginId, RepoId, Sequence};
use leveret::replica::Replica;

use super::{Checker, End};
use crate::world::{Down, Note, Watcher};

type Applied = BTreeMap<OriginId, Sequence>;

/// See the top of the file.
#[derive(Default)]
pub(super) struct Heads {
    /// What the state of each machine had, by repository.
    applied: BTreeMap<(usize, RepoId), Applied>,
    /// What each machine had stored when it went down.
    stored: BTreeMap<(usize, RepoId), Applied>,
}

fn stored(replica: &Replica) -> Vec<(RepoId, Applied)> {
    let stored = |repo| (repo, replica.repo_status(repo).stored);
    RepoId::ALL.into_iter().map(stored).collect()
}

fn fallen(before: &Applied, now: &Applied) -> Option<(OriginId, Sequence)> {
    let lower = |(origin, sequence): &(&OriginId, &Sequence)| now.get(origin) < Some(*sequence);
    let found = before.iter().find(lower);
    found.map(|(origin, sequence)| (*origin, *sequence))
}

impl Watcher for Heads {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        match note {
            Note::Opened { machine, replica } => {
                for (repo, now) in stored(replica) {
                    let mut before = self.stored.remove(&(*machine, repo)).unwrap_or_default();
                    let quarantined = replica.repo_status(repo).quarantined;
                    before.retain(|origin, _| !quarantined.contains(origin));
                    if let Some((origin, sequence)) = fallen(&before, &now) {
                        return Err(format!(
                            "m{machine} had stored {sequence} of {origin} in `{}`, and has it no \
                             more after it was started again",
                            repo.name()
                        ));
                    }
                    self.applied.insert((*machine, repo), Applied::new());
                }
                Ok(())
            }
            Note::Down {
                machine,
                how,
                replica,
            } => {
                for (repo, heads) in stored(replica) {
                    let kept = matches!(how, Down::Crashed | Down::Stopped);
                    let heads = if kept { heads } else { Applied::new() };
                    self.stored.insert((*machine, repo), heads);
                }
                Ok(())
            }
            Note::Event { machine, event, .. } => {
                let heads = event.snapshot.heads().iter();
                let now: Applied = heads
                    .map(|(origin, head)| (*origin, head.sequence))
                    .collect();
                let before = self.applied.entry((*machine, event.repo)).or_default();
                if let Some((origin, sequence)) = fallen(before, &now) {
                    return Err(format!(
                        "m{machine} had applied {sequence} of {origin} in `{}`, and has not any more",
                        event.repo.name()
                    ));
                }
                *before = now;
                Ok(())
            }
            Note::Saved { .. } | Note::Alarm { .. } => Ok(()),
        }
    }
}

impl Checker for Heads {
    fn name(&self) -> &'static str {
        "heads"
    }

    fn finish(&mut self, _: &End<'_>) -> Result<(), String> {
        Ok(())
    }
}
