//! What stands before an engine: change sets wait until they are ready, and are taken once.

use std::collections::BTreeMap;
use std::sync::Arc;

use leveret::merge::Merged;
use leveret::model::{ChangeSet, ChangeSetId};

use super::fault::{ReceiverFault, on};
use super::{Engine, applied, fits};

/// An engine that takes change sets as they come: late, early, twice.
pub struct Receiver {
    /// The engine. What it merges by itself is not received.
    pub engine: Engine,
    applied: Vec<Arc<ChangeSet>>,
    held: BTreeMap<ChangeSetId, Arc<ChangeSet>>,
}

impl Receiver {
    /// Puts an engine that has merged nothing yet behind a receiver.
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            applied: Vec::new(),
            held: BTreeMap::new(),
        }
    }

    /// Takes in a change set and merges nothing. One that was there before changes nothing (M17).
    pub fn receive(&mut self, set: &Arc<ChangeSet>) {
        if on(ReceiverFault::AgainPushesOut) && self.held.contains_key(&set.id) {
            self.held.pop_last();
        }
        if on(ReceiverFault::MergedAgain) && self.applied.contains(set) {
            self.engine.merge(std::slice::from_ref(set));
        }
        if on(ReceiverFault::HeldForgotten) && !self.engine.is_ready(set) {
            self.applied.push(set.clone());
        }
        if self.applied.iter().all(|other| other.id != set.id) {
            self.held.insert(set.id, set.clone());
        }
    }

    /// Merges everything that has become ready in one batch, as a replica does, what depends on
    /// others of the batch included; nothing if there is none.
    ///
    /// # Panics
    /// As [`Engine::merge`].
    pub fn merge_ready(&mut self) -> Option<Merged> {
        let batch = self.ready();
        (!batch.is_empty()).then(|| self.merge(batch))
    }

    /// Merges one of those that are ready now, that with the smallest id; nothing if there is none.
    ///
    /// # Panics
    /// As [`Engine::merge`].
    pub fn merge_one(&mut self) -> Option<Merged> {
        let next = self.held.values().find(|set| self.engine.is_ready(set));
        next.cloned().map(|set| self.merge(vec![set]))
    }

    /// What was merged, in the order in which it was.
    pub fn applied(&self) -> &[Arc<ChangeSet>] {
        &self.applied
    }

    /// What waits for something that it depends on.
    pub fn held(&self) -> impl Iterator<Item = &Arc<ChangeSet>> {
        self.held.values()
    }

    /// What can be merged as one batch, the greatest ids first: the engine is to bring them in
    /// order by itself.
    fn ready(&self) -> Vec<Arc<ChangeSet>> {
        let heads = self.engine.state.heads();
        let mut reached = BTreeMap::new();
        let mut batch = Vec::new();
        // An id is greater than those of all it depends on, so one walk finds everything.
        for set in self.held.values() {
            let at = |origin| match reached.get(&origin) {
                Some(sequence) => *sequence,
                None => applied(&heads, origin),
            };
            let held = on(ReceiverFault::HeldCountsAsApplied);
            let waits = |origin| match self.held.values().rfind(|set| set.id.origin == origin) {
                Some(newest) if held && origin != set.id.origin => newest.sequence,
                _ => at(origin),
            };
            if fits(set, waits) {
                reached.insert(set.id.origin, set.sequence);
                batch.push(set.clone());
            }
        }
        batch.reverse();
        batch
    }

    fn merge(&mut self, batch: Vec<Arc<ChangeSet>>) -> Merged {
        let merged = self.engine.merge(&batch);
        for set in batch {
            self.held.remove(&set.id);
            self.applied.push(set);
        }
        merged
    }
}
