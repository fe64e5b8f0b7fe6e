//! Heads never fall: what a published state contains it goes on containing, and so does that of the
//! machine's next life, unless a crash could take it back or its author broke the rules (M17).

use std::collections::BTreeMap;

use leveret::model::{OriginId, RepoId, Sequence};
use leveret::replica::{HeldReason, Replica};

use super::{Checker, End};
use crate::world::{Down, Note, Watcher};

type Applied = BTreeMap<OriginId, Sequence>;

/// See the top of the file.
#[derive(Default)]
pub(super) struct Heads {
    /// What the published state of each machine has, or had durably when it went down, by
    /// repository.
    applied: BTreeMap<(usize, RepoId), Applied>,
    /// What it had when its life began.
    opened: BTreeMap<(usize, RepoId), Applied>,
}

fn applied(replica: &Replica, repo: RepoId) -> Applied {
    replica.repo_status(repo).applied
}

fn fallen(before: &Applied, now: &Applied) -> Option<(OriginId, Sequence)> {
    let lower = |(origin, sequence): &(&OriginId, &Sequence)| now.get(origin) < Some(*sequence);
    let found = before.iter().find(lower);
    found.map(|(origin, sequence)| (*origin, *sequence))
}

impl Heads {
    /// A published state is there now in place of another one.
    fn follow(&mut self, machine: usize, repo: RepoId, now: Applied) -> Result<(), String> {
        let before = self.applied.entry((machine, repo)).or_default();
        if let Some((origin, sequence)) = fallen(before, &now) {
            return Err(format!(
                "m{machine} had applied {sequence} of {origin} in `{}`, and has {:?} now",
                repo.name(),
                now.get(&origin).map(|s| s.0)
            ));
        }
        *before = now;
        Ok(())
    }
}

impl Watcher for Heads {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        match note {
            Note::Opened { machine, replica } => RepoId::ALL.into_iter().try_for_each(|repo| {
                let status = replica.repo_status(repo);
                if let Some(before) = self.applied.get_mut(&(*machine, repo)) {
                    // If its clock was set back, what is from the future again waits again (M16).
                    let future = |origin: &OriginId| {
                        let held = status.held.get(origin);
                        held.is_some_and(|(_, reason)| *reason == HeldReason::Future)
                    };
                    before.retain(|origin, _| !status.has_ended(*origin) && !future(origin));
                }
                self.opened.insert((*machine, repo), status.applied.clone());
                self.follow(*machine, repo, status.applied)
            }),
            Note::Down {
                machine,
                how,
                replica,
            } => {
                for repo in RepoId::ALL {
                    let stored = replica.repo_status(repo).stored;
                    let mut heads = applied(replica, repo);
                    // A relaxed one may have shown what a crash takes back, and with it the reason for
                    // which something that is durable could be shown.
                    if fallen(&heads, &stored).is_some() {
                        let before = self.opened.remove(&(*machine, repo));
                        heads = before.unwrap_or_default();
                    }
                    if !matches!(how, Down::Crashed | Down::Stopped) {
                        heads.clear();
                    }
                    self.applied.insert((*machine, repo), heads);
                }
                Ok(())
            }
            Note::Event { machine, event, .. } => {
                let heads = event.snapshot.heads().iter();
                let now = heads.map(|(origin, head)| (*origin, head.sequence));
                self.follow(*machine, event.repo, now.collect())
            }
            Note::Saved { .. }
            | Note::Sent { .. }
            | Note::Durable { .. }
            | Note::Checkpointed { .. }
            | Note::Alarm { .. } => Ok(()),
        }
    }
}

impl Checker for Heads {
    fn name(&self) -> &'static str {
        "heads"
    }

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        for machine in end.world.running() {
            for repo in RepoId::ALL {
                self.follow(machine, repo, applied(end.world.replica(machine), repo))?;
            }
        }
        Ok(())
    }
}
