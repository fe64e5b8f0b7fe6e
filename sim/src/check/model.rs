//! The naive model of the rules comes to the same state, for runs that are small enough for it.

use std::sync::Arc;

use leveret::model::{ChangeSet, RepoId, Sequence};
use leveret::replica::Replica;
use merge_spec::fold;

use super::{Checker, End};
use crate::engine::{Visible, to_spec};
use crate::observation::{Observation, nodes_of};
use crate::world::{Note, Watcher};

/// Runs of more change sets are not folded.
const CHANGE_SETS_MAX: usize = 150;
/// Deeper trees are not folded: the model writes them as JSON, whose readers bound the depth.
const DEPTH_MAX: usize = 100;
/// Runs of more operations are not folded.
const OPERATIONS_MAX: usize = 1_000;

/// The mark of a run that was small enough.
const COMPARED: &str = "model compared";

/// See the top of the file.
#[derive(Default)]
pub(super) struct Model {
    compared: bool,
}

/// Everything that a replica has applied of `main`; nothing if that is too much, or if something
/// depends on what is not there (a fork's lost part).
pub(crate) fn history(replica: &Replica) -> Option<Vec<Arc<ChangeSet>>> {
    let snapshot = replica.state(RepoId::MAIN).snapshot();
    let reader = replica.journal(RepoId::MAIN);
    let heads = snapshot.heads();
    let status = replica.repo_status(RepoId::MAIN);
    let mut history = Vec::new();
    let mut operations = 0;
    for (origin, head) in heads.iter() {
        for sequence in 1..=head.sequence.0 {
            let found = reader.change_set(*origin, Sequence(sequence));
            let mut set = found.expect("a store in memory can be read")?;
            // What is beyond an end counts as what there is before it (M17).
            for on in &mut set.dependencies {
                if status.has_ended(on.origin) {
                    let head = heads.get(&on.origin).map(|head| head.sequence);
                    on.sequence = on.sequence.min(head.unwrap_or_default());
                }
            }
            set.dependencies.retain(|on| on.sequence > Sequence(0));
            operations += set.operations.len();
            let there = |on: &leveret::model::Dependency| {
                heads
                    .get(&on.origin)
                    .is_some_and(|head| head.sequence >= on.sequence)
            };
            if history.len() == CHANGE_SETS_MAX
                || operations > OPERATIONS_MAX
                || !set.dependencies.iter().all(there)
            {
                return None;
            }
            history.push(Arc::new(set));
        }
    }
    Some(history)
}

impl Watcher for Model {
    fn note(&mut self, _: &Note<'_>) -> Result<(), String> {
        Ok(())
    }
}

impl Checker for Model {
    fn name(&self) -> &'static str {
        "model"
    }

    fn mark(&self) -> Option<&'static str> {
        self.compared.then_some(COMPARED)
    }

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        let mut machines = end.world.running().into_iter();
        let Some(machine) = machines.find(|machine| !end.ahead.contains(machine)) else {
            return Ok(());
        };
        let replica = end.world.replica(machine);
        let Some(history) = history(replica) else {
            return Ok(());
        };
        let snapshot = replica.state(RepoId::MAIN).snapshot();
        let visible = Visible::of(&snapshot);
        if visible.nodes.iter().any(|node| node.depth > DEPTH_MAX) {
            return Ok(());
        }
        let sets: Vec<_> = history.iter().map(|set| to_spec(set)).collect();
        let fold = fold(&sets);
        let found = Observation::of_visible(&visible, &snapshot, nodes_of(&fold));
        self.compared = true;
        match found.first_difference(&Observation::of_model(&fold)) {
            None => Ok(()),
            Some(difference) => Err(format!("m{machine}: {difference}")),
        }
    }
}
