//! What a replica has saved while its clock was far ahead, and its author has closed, is saved again
//! once: every closed change set that was answered has exactly one that stands for it.

use std::collections::BTreeMap;

use leveret::model::{OriginId, RepoId, Sequence};
use leveret::replica::Replica;

use super::{Checker, End};
use crate::world::{Note, Watcher};

type Place = (OriginId, Sequence);

/// Which change sets stand for closed ones.
pub(super) struct StandIns {
    /// The last numbers that count of closed origins.
    closed: BTreeMap<OriginId, Sequence>,
    /// By the one that is closed: the ones that stand for it.
    found: BTreeMap<Place, Vec<Place>>,
}

impl StandIns {
    /// Those that a replica has applied.
    pub(super) fn of(replica: &Replica, repo: RepoId) -> Self {
        let status = replica.repo_status(repo);
        let applied = |origin: &OriginId| status.applied.get(origin).copied().unwrap_or_default();
        let closed = status.closed.iter();
        let closed: BTreeMap<_, _> = closed.map(|origin| (*origin, applied(origin))).collect();
        let mut found: BTreeMap<Place, Vec<Place>> = BTreeMap::new();
        let journal = replica.journal(repo);
        for (origin, head) in &status.applied {
            // Others may have seen what is closed, and name it as that.
            let author = status.authors.get(origin);
            let own = |on: &OriginId| status.authors.get(on) == author;
            if !closed.keys().any(own) {
                continue;
            }
            for number in (1..=head.0).map(Sequence) {
                let set = journal.change_set(*origin, number);
                let set = set.expect("a store in memory can be read");
                for on in set.into_iter().flat_map(|set| set.dependencies) {
                    let ends = closed.get(&on.origin);
                    if own(&on.origin) && ends.is_some_and(|last| on.sequence > *last) {
                        let places = found.entry((on.origin, on.sequence)).or_default();
                        places.push((*origin, number));
                    }
                }
            }
        }
        Self { closed, found }
    }

    /// Whether a change set is closed, and another one stands for it.
    pub(super) fn has(&self, origin: OriginId, sequence: Sequence) -> bool {
        self.is_closed(origin, sequence) && self.found.contains_key(&(origin, sequence))
    }

    /// Whether a change set does not count any more.
    pub(super) fn is_closed(&self, origin: OriginId, sequence: Sequence) -> bool {
        self.closed
            .get(&origin)
            .is_some_and(|last| sequence > *last)
    }
}

/// See the top of the file.
#[derive(Default)]
pub(super) struct Again {
    met: bool,
}

impl Watcher for Again {
    fn note(&mut self, _: &Note<'_>) -> Result<(), String> {
        Ok(())
    }
}

impl Checker for Again {
    fn name(&self) -> &'static str {
        "again"
    }

    fn mark(&self) -> Option<&'static str> {
        self.met.then_some("saved again after a clock was ahead")
    }

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        for machine in end.world.running() {
            for repo in RepoId::ALL {
                let all = StandIns::of(end.world.replica(machine), repo);
                self.met |= !all.found.is_empty();
                if let Some(((origin, number), twice)) = all.found.iter().find(|(_, f)| f.len() > 1)
                {
                    return Err(format!(
                        "m{machine} has number {number} of {origin} in `{}` again more than once: \
                         {twice:?}",
                        repo.name()
                    ));
                }
            }
        }
        Ok(())
    }
}
