//! Everybody comes to the same state: equal heads, equal digests, equal trees, equal conflicts; and
//! nothing waits that could be applied.

use std::collections::{BTreeMap, BTreeSet};

use leveret::model::{Dependency, OriginId, RepoId, Sequence};
use leveret::replica::RepoStatus;

use super::{Checker, End};
use crate::engine::Visible;
use crate::world::{Note, Watcher};

/// Trees of more nodes are compared by their digests alone.
const NODES_MAX: usize = 2_000;

/// See the top of the file.
pub(super) struct Convergence;

/// How far apart the machines still are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag(pub String);

/// The machines that are compared: those that run, but for one that lives in the future, which
/// has applied of its own what the others hold back.
fn compared(end: &End<'_>) -> Vec<usize> {
    let mut machines = end.world.running();
    machines.retain(|machine| !end.ahead.contains(machine));
    machines
}

/// How one repository stands everywhere.
struct Standing<'a> {
    end: &'a End<'a>,
    repo: RepoId,
    machines: Vec<(usize, RepoStatus)>,
    /// What is stored on any machine that runs, those of the future too.
    anywhere: BTreeMap<OriginId, Sequence>,
}

impl<'a> Standing<'a> {
    fn new(end: &'a End<'a>, repo: RepoId) -> Self {
        let world = end.world;
        let status = |machine: usize| world.replica(machine).repo_status(repo);
        let mut anywhere: BTreeMap<OriginId, Sequence> = BTreeMap::new();
        for machine in world.running() {
            for (origin, sequence) in status(machine).stored {
                let most = anywhere.entry(origin).or_default();
                *most = sequence.max(*most);
            }
        }
        let machines = compared(end).into_iter().map(|i| (i, status(i))).collect();
        Self {
            end,
            repo,
            machines,
            anywhere,
        }
    }

    /// Whether an origin is of somebody whose word does not count: hostile, or once far in the future.
    fn is_odd(&self, status: &RepoStatus, origin: OriginId) -> bool {
        let author = status.authors.get(&origin);
        author.is_some_and(|key| self.end.world.is_hostile(key) || self.end.odd.contains(key))
    }

    /// All have stored and applied the same.
    fn same(&self) -> Result<(), Lag> {
        let Some(((first, expected), others)) = self.machines.split_first() else {
            return Ok(());
        };
        for (other, found) in others {
            let origins = expected.stored.keys().chain(found.stored.keys());
            for origin in origins.chain(found.applied.keys()) {
                let applied = (expected.applied.get(origin), found.applied.get(origin));
                let stored = (expected.stored.get(origin), found.stored.get(origin));
                // Of what is ahead of time or of a hostile member not all is kept.
                let odd = self.is_odd(expected, *origin) || self.is_odd(found, *origin);
                let (what, (here, there)) = match () {
                    () if applied.0 != applied.1 => ("applied", applied),
                    () if stored.0 != stored.1 && !odd => ("stored", stored),
                    () => continue,
                };
                return Err(Lag(format!(
                    "m{first} has {what} {:?} of {origin} in `{}`, and m{other} {:?}",
                    here.map(|s| s.0),
                    self.repo.name(),
                    there.map(|s| s.0),
                )));
            }
        }
        Ok(())
    }

    /// Nothing waits that could be applied.
    fn nothing_waits(&self) -> Result<(), Lag> {
        for (machine, status) in &self.machines {
            for origin in status.stored.keys() {
                let mut looked_at = BTreeSet::new();
                if !self.may_wait(*machine, status, *origin, &mut looked_at) {
                    return Err(Lag(format!(
                        "m{machine} has stored {} of {origin} in `{}` and applied {:?}, and \
                         nothing is lacking",
                        status.stored[origin],
                        self.repo.name(),
                        status.applied.get(origin).map(|s| s.0),
                    )));
                }
            }
        }
        Ok(())
    }

    /// Whether what a machine has stored of an origin is applied, or rightly not: it is odd, or what
    /// the next one depends on is lost, or waits itself.
    fn may_wait(
        &self,
        machine: usize,
        status: &RepoStatus,
        origin: OriginId,
        looked_at: &mut BTreeSet<OriginId>,
    ) -> bool {
        let stored = status.stored.get(&origin).copied().unwrap_or_default();
        let applied = |origin: OriginId| status.applied.get(&origin).copied().unwrap_or_default();
        if applied(origin) >= stored || self.is_odd(status, origin) {
            return true;
        }
        let journal = self.end.world.replica(machine).journal(self.repo);
        let next = journal.change_set(origin, applied(origin).next());
        let set = next.expect("a store in memory can be read");
        let Some(set) = set else {
            return false;
        };
        let waits = |on: &Dependency, looked_at: &mut BTreeSet<OriginId>| {
            if applied(on.origin) >= on.sequence {
                return false;
            }
            let most = self.anywhere.get(&on.origin).copied().unwrap_or_default();
            let here = status.stored.get(&on.origin).copied().unwrap_or_default();
            let ended = status.has_ended(on.origin);
            if most < on.sequence {
                // Nobody has it any more; of an origin that has ended that is as it should be.
                return !(ended && applied(on.origin) == here);
            }
            self.is_odd(status, on.origin)
                || (here >= on.sequence
                    && looked_at.insert(on.origin)
                    && self.may_wait(machine, status, on.origin, looked_at))
        };
        set.dependencies.iter().any(|on| waits(on, looked_at))
    }
}

/// Whether all have applied the same, which is all that can be, and if not, who lags.
///
/// # Errors
/// Where two of them differ, or what somebody has not applied.
pub fn has_converged(end: &End<'_>) -> Result<(), Lag> {
    if let Some(machine) = (compared(end).into_iter()).find(|one| end.world.is_reopening(*one)) {
        return Err(Lag(format!("m{machine} is going to be opened again")));
    }
    for repo in RepoId::ALL {
        let standing = Standing::new(end, repo);
        standing.same()?;
        standing.nothing_waits()?;
    }
    Ok(())
}

impl Watcher for Convergence {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        match note {
            Note::Alarm {
                machine,
                alarm: leveret::replica::Alarm::Digest { .. },
                ..
            } => Err(format!(
                "m{machine} met another with equal heads and an unequal digest"
            )),
            _ => Ok(()),
        }
    }
}

impl Checker for Convergence {
    fn name(&self) -> &'static str {
        "convergence"
    }

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        has_converged(end).map_err(|lag| lag.0)?;
        let machines = compared(end);
        let Some((first, others)) = machines.split_first() else {
            return Ok(());
        };
        for repo in RepoId::ALL {
            let expected = end.world.replica(*first).state(repo).snapshot();
            let visible = Visible::of(&expected);
            for other in others {
                let found = end.world.replica(*other).state(repo).snapshot();
                let differs = |what: &str| {
                    let repo = repo.name();
                    Err(format!(
                        "the {what} of `{repo}` on m{first} and m{other} differ"
                    ))
                };
                if found.digest() != expected.digest() {
                    return differs("digests");
                }
                if visible.nodes.len() > NODES_MAX {
                    continue;
                }
                if Visible::of(&found) != visible {
                    return differs("trees");
                }
                let conflicts = |snapshot: &leveret::merge::Snapshot| {
                    snapshot.conflicts().expect("a store in memory can be read")
                };
                if conflicts(&found) != conflicts(&expected) {
                    return differs("conflicts");
                }
            }
        }
        Ok(())
    }
}
