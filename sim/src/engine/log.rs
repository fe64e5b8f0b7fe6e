//! The history that engines look change sets up in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use leveret::merge::History;
use leveret::model::{ChangeSet, OriginId, Sequence};
use leveret::storage::StorageError;

/// Every change set that was ever made, shared by the engines of a test. Clones share it too.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Sets>>);

type Sets = BTreeMap<(OriginId, Sequence), Arc<ChangeSet>>;

impl Log {
    /// Adds a change set. One that is there already stays as it is.
    pub fn add(&self, set: Arc<ChangeSet>) {
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sets.entry((set.id.origin, set.sequence)).or_insert(set);
    }

    /// A log with the same change sets, which does not get what is added to this one from now on.
    #[must_use]
    pub fn copy(&self) -> Self {
        let sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Self(Arc::new(Mutex::new(sets.clone())))
    }
}

impl History for Log {
    fn change_set(
        &self,
        origin: OriginId,
        sequence: Sequence,
    ) -> Result<Arc<ChangeSet>, StorageError> {
        let sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let set = sets.get(&(origin, sequence)).cloned();
        set.ok_or_else(|| StorageError::Damaged(format!("no change set {origin} {sequence}")))
    }
}
