//! Everybody comes to the same state: equal applied heads, equal digests, equal trees, equal
//! conflicts, and nothing that waits.

use std::collections::BTreeMap;

use leveret::model::{OriginId, RepoId, Sequence};

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

fn applied(end: &End<'_>, machine: usize, repo: RepoId) -> BTreeMap<OriginId, Sequence> {
    let snapshot = end.world.replica(machine).state(repo).snapshot();
    let heads = snapshot.heads().iter();
    heads
        .map(|(origin, head)| (*origin, head.sequence))
        .collect()
}

/// The machines that are compared: those that run, but for one that lives in the future, which
/// has applied of its own what the others hold back.
fn compared(end: &End<'_>) -> Vec<usize> {
    let mut machines = end.world.running();
    machines.retain(|machine| !end.ahead.contains(machine));
    machines
}

/// Whether all have applied the same, and if not, who lags.
///
/// # Errors
/// Where two of them differ.
pub fn has_converged(end: &End<'_>) -> Result<(), Lag> {
    let machines = compared(end);
    let Some((first, others)) = machines.split_first() else {
        return Ok(());
    };
    for repo in RepoId::ALL {
        let expected = applied(end, *first, repo);
        for other in others {
            let found = applied(end, *other, repo);
            if found == expected {
                continue;
            }
            let origins = expected.keys().chain(found.keys());
            let differs = origins
                .copied()
                .find(|origin| expected.get(origin) != found.get(origin));
            let origin = differs.expect("they differ");
            return Err(Lag(format!(
                "m{first} has applied {:?} of {origin} in `{}`, and m{other} {:?}",
                expected.get(&origin).map(|s| s.0),
                repo.name(),
                found.get(&origin).map(|s| s.0),
            )));
        }
    }
    Ok(())
}

impl Watcher for Convergence {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        match note {
            Note::Alarm {
                machine,
                alarm: leveret::replica::Alarm::Digest { .. },
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
