//! No effect is visible before its cause (M2): a change set names all that its author had seen, and
//! no state contains it without that, or comes to it before that.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use leveret::model::{Dependency, OriginId, RepoId, Sequence};
use leveret::replica::Replica;

use super::{Checker, End};
use crate::world::{Note, Watcher};

/// Histories of more change sets are not looked at again in the end.
const HISTORY_MAX: u64 = 20_000;

type Place = (RepoId, OriginId, Sequence);
type Heads = BTreeMap<OriginId, Sequence>;

/// See the top of the file.
#[derive(Default)]
pub(super) struct Causality {
    /// What the authors had seen, of the change sets whose saves were answered.
    seen: BTreeMap<Place, Vec<Dependency>>,
    /// What change sets name, as the journals have them.
    named: BTreeMap<Place, Vec<Dependency>>,
    /// What each machine shows.
    shown: BTreeMap<(usize, RepoId), Heads>,
}

fn shown(replica: &Replica, repo: RepoId) -> Heads {
    let snapshot = replica.state(repo).snapshot();
    let heads = snapshot.heads().iter();
    heads.map(|(o, head)| (*o, head.sequence)).collect()
}

fn lacks(heads: &Heads, on: &Dependency) -> bool {
    heads.get(&on.origin).is_none_or(|head| *head < on.sequence)
}

/// Whether a replica takes an origin for ended: what there is of it is all there ever will be (M17).
fn has_ended(replica: &Replica, repo: RepoId, origin: OriginId) -> bool {
    replica.repo_status(repo).has_ended(origin)
}

impl Causality {
    /// What a change set depends on: what its author had seen, and what it names, of which the first
    /// has to be a part.
    fn causes(&mut self, replica: &Replica, place: Place) -> Result<Vec<Dependency>, String> {
        let (repo, origin, sequence) = place;
        if let Entry::Vacant(vacant) = self.named.entry(place) {
            let set = replica.journal(repo).change_set(origin, sequence);
            // One that is not durable yet is looked at again in the end.
            if let Some(set) = set.map_err(|error| error.to_string())? {
                vacant.insert(set.dependencies);
            }
        }
        let seen = self.seen.get(&place).map_or(&[][..], Vec::as_slice);
        let Some(named) = self.named.get(&place) else {
            return Ok(seen.to_vec());
        };
        let is_named = |on: &&Dependency| {
            on.origin == origin
                || named
                    .iter()
                    .any(|named| named.origin == on.origin && named.sequence >= on.sequence)
        };
        if let Some(on) = seen.iter().find(|on| !is_named(on)) {
            return Err(format!(
                "number {sequence} of {origin} does not name {} of {}, which its author had seen",
                on.sequence, on.origin
            ));
        }
        Ok(named.clone())
    }

    fn event(
        &mut self,
        machine: usize,
        event: &leveret::replica::CommitEvent,
        replica: &Replica,
    ) -> Result<(), String> {
        let repo = event.repo;
        let mut heads = self.shown.remove(&(machine, repo)).unwrap_or_default();
        for set in &event.change_sets {
            for on in self.causes(replica, (repo, set.id.origin, set.sequence))? {
                if lacks(&heads, &on) && !has_ended(replica, repo, on.origin) {
                    return Err(format!(
                        "m{machine} shows {} without {} of {}, which its author had seen",
                        set.id, on.sequence, on.origin
                    ));
                }
            }
            heads.insert(set.id.origin, set.sequence);
        }
        let now = event.snapshot.heads();
        for set in &event.change_sets {
            let head = now.get(&set.id.origin);
            if head.is_none_or(|head| head.sequence < set.sequence) {
                return Err(format!("m{machine} tells of {} and has it not", set.id));
            }
        }
        self.shown.insert((machine, repo), heads);
        Ok(())
    }
}

impl Watcher for Causality {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        match note {
            Note::Opened { machine, replica } => {
                for repo in RepoId::ALL {
                    self.shown.insert((*machine, repo), shown(replica, repo));
                }
                Ok(())
            }
            Note::Saved { receipt, seen, .. } => {
                let place = (receipt.repo, receipt.id.origin, receipt.sequence);
                self.seen.insert(place, seen.to_vec());
                Ok(())
            }
            Note::Event {
                machine,
                event,
                replica,
                ..
            } => self.event(*machine, event, replica),
            Note::Down { .. }
            | Note::Sent { .. }
            | Note::Durable { .. }
            | Note::Checkpointed { .. }
            | Note::Alarm { .. } => Ok(()),
        }
    }
}

impl Checker for Causality {
    fn name(&self) -> &'static str {
        "causality"
    }

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        for machine in end.world.running() {
            let replica = end.world.replica(machine);
            for repo in RepoId::ALL {
                let heads = shown(replica, repo);
                if heads.values().map(|head| head.0).sum::<u64>() > HISTORY_MAX {
                    continue;
                }
                for (origin, head) in &heads {
                    for sequence in 1..=head.0 {
                        let place = (repo, *origin, Sequence(sequence));
                        for on in self.causes(replica, place)? {
                            if lacks(&heads, &on) && !has_ended(replica, repo, on.origin) {
                                return Err(format!(
                                    "m{machine} has {sequence} of {origin} in `{}` without {} of \
                                     {}, which it depends on",
                                    repo.name(),
                                    on.sequence,
                                    on.origin
                                ));
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
