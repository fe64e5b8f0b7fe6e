//! The events mirror the tree: whoever applies them to a copy of the tree has the tree. No change
//! set is told twice, and none that is in the state is left out.

use std::collections::BTreeMap;

use leveret::merge::StateDigest;
use leveret::model::{OriginId, RepoId, Sequence};
use leveret::replica::Replica;

use super::{Checker, End};
use crate::engine::Visible;
use crate::mirror::Mirror;
use crate::world::{Note, Watcher};

/// Mirrors of more nodes are compared at the end alone.
const OFTEN_NODES_MAX: usize = 500;

/// A tree of this many nodes is read once for all machines whose states have the same digest: that
/// equal digests are equal trees is what smaller runs show.
const ALONE_NODES_MAX: usize = 5_000;

/// What was told of one machine's life.
struct Told {
    mirror: Mirror,
    /// Of the state that it mirrors.
    digest: StateDigest,
    heads: BTreeMap<OriginId, Sequence>,
}

/// The tree that was read last, and the digest of its state.
type Read = Option<(StateDigest, Visible)>;

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
            let digest = snapshot.digest();
            let told = Told {
                mirror: match self.large_mirror(repo, digest) {
                    Some(mirror) => mirror,
                    None => Mirror::of(&snapshot),
                },
                digest,
                heads: heads
                    .map(|(origin, head)| (*origin, head.sequence))
                    .collect(),
            };
            self.told.insert((machine, repo), told);
        }
    }

    /// A large mirror of a state that some machine was in when it told of something last.
    fn large_mirror(&self, repo: RepoId, digest: StateDigest) -> Option<Mirror> {
        let mut same = self.told.iter().filter(|((_, of), told)| {
            *of == repo && told.digest == digest && told.mirror.nodes() > ALONE_NODES_MAX
        });
        same.next().map(|(_, told)| told.mirror.clone())
    }

    fn compare(
        &self,
        machine: usize,
        replica: &Replica,
        nodes_max: usize,
        read: &mut Read,
    ) -> Result<(), String> {
        for repo in RepoId::ALL {
            let told = &self.told[&(machine, repo)];
            if told.mirror.nodes() > nodes_max {
                continue;
            }
            let snapshot = replica.state(repo).snapshot();
            let known = read.take_if(|(of, _)| *of == snapshot.digest());
            let (_, visible) = known.unwrap_or_else(|| (snapshot.digest(), Visible::of(&snapshot)));
            let same = told.mirror.check(&visible);
            if visible.nodes.len() > ALONE_NODES_MAX {
                *read = Some((snapshot.digest(), visible));
            }
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
                told.digest = event.snapshot.digest();
                let applied = told.mirror.apply(&event.changes, &event.snapshot);
                applied.map_err(|what| format!("m{machine}: {what}"))
            }
            Note::Down {
                machine, replica, ..
            } => self.compare(*machine, replica, OFTEN_NODES_MAX, &mut None),
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
        let mut read = None;
        end.world
            .running()
            .into_iter()
            .try_for_each(|i| self.compare(i, end.world.replica(i), usize::MAX, &mut read))
    }
}
