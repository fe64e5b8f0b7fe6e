//! The events mirror the tree: whoever applies them to a copy of the tree has the tree. No change
//! set is told twice, and none that is in the state is left out.

use std::collections::BTreeMap;

use leveret::model::{OriginId, RepoId, Sequence};
use leveret::replica::Replica;

use super::{Checker, End};
use crate::engine::Visible;
use crate::mirror::Mirror;
use crate::world::{Note, Watcher};

/// Mirrors of more nodes are compared at the end alone.
const OFTEN_NODES_MAX: usize = 500;

/// What was told of one machine's life.
struct Told {
    mirror: Mirror,
    heads: BTreeMap<OriginId, Sequence>,
}

/// See the top of the file.
#[derive(Default)]
pub(super) struct Events {
    told: BTreeMap<(usize, RepoId), Told>,
}

impl Events {
    fn begin(&mut self, machine: usize, replica: &Replica) {
        for repo in RepoId::ALL {
            let snapshot = replica.state(repo).snapshot();
            let heads = snapshot.heads().iter();
            let told = Told {
                mirror: Mirror::of(&snapshot),
                heads: heads
                    .map(|(origin, head)| (*origin, head.sequence))
                    .collect(),
            };
            self.told.insert((machine, repo), told);
        }
    }

    fn compare(&self, machine: usize, replica: &Replica, nodes_max: usize) -> Result<(), String> {
        for repo in RepoId::ALL {
            let told = &self.told[&(machine, repo)];
            if told.mirror.nodes() > nodes_max {
                continue;
            }
            let snapshot = replica.state(repo).snapshot();
            let visible = Visible::of(&snapshot);
            let same = told.mirror.check(&visible);
            same.map_err(|what| {
                let heads = snapshot.heads().iter();
                let heads: Vec<_> = heads.map(|(o, h)| (*o, h.sequence)).collect();
                format!(
                    "m{machine}, `{}`: {what}; told {:?}, has {heads:?}",
                    repo.name(),
                    told.heads
                )
            })?;
            for (origin, head) in snapshot.heads().iter() {
                if told.heads.get(origin) != Some(&head.sequence) {
                    return Err(format!(
                        "m{machine} has {} of {origin} in `{}`, and told of {:?}",
                        head.sequence,
                        repo.name(),
                        told.heads.get(origin)
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Watcher for Events {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        match note {
            Note::Opened { machine, replica } => {
                self.begin(*machine, replica);
                Ok(())
            }
            Note::Event { machine, event, .. } => {
                let Some(told) = self.told.get_mut(&(*machine, event.repo)) else {
                    return Err(format!("m{machine} tells of something before it is open"));
                };
                for set in &event.change_sets {
                    let head = told.heads.entry(set.id.origin).or_default();
                    if set.sequence != head.next() {
                        return Err(format!(
                            "m{machine} tells of number {} of {} after number {head}",
                            set.sequence, set.id.origin
                        ));
                    }
                    *head = set.sequence;
                }
                let applied = told.mirror.apply(&event.changes, &event.snapshot);
                applied.map_err(|what| format!("m{machine}: {what}"))
            }
            Note::Down {
                machine, replica, ..
            } => self.compare(*machine, replica, OFTEN_NODES_MAX),
            Note::Saved { .. }
            | Note::Sent { .. }
            | Note::Durable { .. }
            | Note::Checkpointed { .. }
            | Note::Alarm { .. } => Ok(()),
        }
    }
}

impl Checker for Events {
    fn name(&self) -> &'static str {
        "events"
    }

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        end.world
            .running()
            .into_iter()
            .try_for_each(|i| self.compare(i, end.world.replica(i), usize::MAX))
    }
}
