//! What the naive model makes of parts of a history, and the engine held against it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use leveret::merge::Snapshot;
use leveret::model::{ChangeSet, Dependency, NodeId, OriginId, Sequence};
use leveret_sim::engine::{Visible, from_spec};
use leveret_sim::observation::{Observation, nodes_of};
use merge_spec::random::History;
use merge_spec::{Fold, Origin, SetId};

use super::invariants;
use leveret_sim::mirror::Mirror;

/// A history, and what the naive model makes of parts of it: worked out once for all replays.
pub(crate) struct Model<'h> {
    pub(super) history: &'h History,
    /// As in the case, in order of ids.
    pub(super) sets: Vec<Arc<ChangeSet>>,
    pub(super) index: BTreeMap<SetId, usize>,
    /// By the change sets, one bit each.
    known: HashMap<u128, Rc<Known>>,
}

/// What some change sets must come to.
pub(super) struct Known {
    pub(super) fold: Fold,
    pub(super) model: Observation,
    pub(super) nodes: Vec<NodeId>,
}

impl<'h> Model<'h> {
    pub(crate) fn new(history: &'h History) -> Self {
        let case = &history.case;
        assert!(case.change_sets.len() < 128, "a bit for each change set");
        let ids = case.change_sets.iter().map(|set| set.id);
        Self {
            history,
            sets: case.change_sets.iter().map(from_spec).collect(),
            index: ids.enumerate().map(|(i, id)| (id, i)).collect(),
            known: HashMap::new(),
        }
    }

    /// What the model makes of some change sets.
    pub(super) fn known(&mut self, applied: u128) -> Rc<Known> {
        if let Some(known) = self.known.get(&applied) {
            return known.clone();
        }
        let sets = &self.history.case.change_sets;
        // Often all but the newest has been asked before.
        let newest = 127_u32.checked_sub(applied.leading_zeros());
        let before = newest.and_then(|newest| self.known.get(&(applied & !(1 << newest))));
        let fold = match before.zip(newest) {
            Some((known, newest)) => {
                let mut fold = known.fold.clone();
                fold.apply(&sets[newest as usize]);
                fold
            }
            None => {
                let some = sets.iter().enumerate();
                let some = some.filter(|(i, _)| applied & (1 << i) != 0);
                merge_spec::fold(&some.map(|(_, set)| set.clone()).collect::<Vec<_>>())
            }
        };
        let known = Rc::new(Known {
            model: Observation::of_model(&fold),
            nodes: nodes_of(&fold),
            fold,
        });
        self.known.insert(applied, known.clone());
        known
    }

    /// Compares what the engine shows with what the model makes of these change sets, and with
    /// what a mirror has been told.
    pub(super) fn compare(
        &mut self,
        snapshot: &Snapshot,
        applied: u128,
        mirror: Option<&Mirror>,
    ) -> Result<(), String> {
        let known = self.known(applied);
        let visible = Visible::of(snapshot);
        if let Some(mirror) = mirror {
            mirror.check(&visible)?;
        }
        let nodes = known.nodes.iter().copied();
        let found = Observation::of_visible(&visible, snapshot, nodes);
        invariants::one_place_each(&found, &known.nodes)?;
        if let Some(difference) = found.first_difference(&known.model) {
            return Err(difference);
        }
        invariants::paths_lead_there(&found, snapshot)?;
        let (found, expected) = (snapshot.frontier(), self.frontier(applied));
        if found != expected {
            return Err(format!("frontier: {found:?} instead of {expected:?}"));
        }
        Ok(())
    }

    /// Those of some change sets that no other of them depends on (M2).
    fn frontier(&self, applied: u128) -> Vec<Dependency> {
        let sets = self.history.case.change_sets.iter().enumerate();
        let sets = sets.filter(|(i, _)| applied & (1 << i) != 0);
        let below: BTreeSet<(Origin, u64)> = (sets.clone())
            .flat_map(|(_, set)| set.dependencies.iter().copied())
            .collect();
        let names = sets.map(|(_, set)| (set.id.origin, set.sequence));
        let mut frontier: Vec<Dependency> = names
            .filter(|name| !below.contains(name))
            .map(|(origin, sequence)| Dependency {
                origin: OriginId(origin.0),
                sequence: Sequence(sequence),
            })
            .collect();
        frontier.sort();
        frontier
    }
}
