//! Merging by itself: a state over a store, without a replica around it.
//!
//! `benches/peers` uses this file too.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use leveret::merge::{History, State};
use leveret::model::{ChangeSet, OriginId, RepoId, Sequence};
use leveret::storage::memory::MemoryStorage;
use leveret::storage::sled::{SledOptions, SledStorage};
use leveret::storage::{Storage, StorageError};

/// Change sets that are merged in one pass, at most: as many as a replica takes.
pub(crate) const PASS_MAX: usize = 65_536;
/// Bytes of clean records that are kept, as a replica has it.
const CACHE_BYTES: usize = 64 << 20;
/// Bytes of changed records from which on a checkpoint is written, as a replica has it.
const DIRTY_BYTES_MAX: usize = 64 << 20;

/// The change sets that were merged, by origin and number.
#[derive(Default)]
struct Journal(Mutex<HashMap<OriginId, Vec<Arc<ChangeSet>>>>);

impl History for Journal {
    fn change_set(
        &self,
        origin: OriginId,
        sequence: Sequence,
    ) -> Result<Arc<ChangeSet>, StorageError> {
        Ok(self.0.lock().unwrap()[&origin][sequence.0 as usize - 1].clone())
    }
}

/// A state that change sets are merged into.
pub(crate) struct Engine {
    pub(crate) state: Arc<State>,
    storage: Arc<dyn Storage>,
    journal: Journal,
}

impl Engine {
    /// Nothing yet, over a store in memory.
    pub(crate) fn in_memory() -> Self {
        Self::on(Arc::new(MemoryStorage::new()))
    }

    /// Nothing yet, over a store on sled.
    pub(crate) fn on_sled(directory: &Path) -> Self {
        let storage = SledStorage::open(directory, &SledOptions::default()).unwrap();
        Self::on(Arc::new(storage))
    }

    fn on(storage: Arc<dyn Storage>) -> Self {
        Self {
            state: State::open(RepoId::MAIN, storage.clone(), CACHE_BYTES).unwrap(),
            storage,
            journal: Journal::default(),
        }
    }

    /// Merges these, of which each author's come in order, in as few passes as a replica would.
    /// Writes a checkpoint as soon as there is enough for one.
    pub(crate) fn merge(&self, sets: &[Arc<ChangeSet>]) {
        for sets in sets.chunks(PASS_MAX) {
            for set in sets {
                let mut journal = self.journal.0.lock().unwrap();
                journal.entry(set.id.origin).or_default().push(set.clone());
            }
            let merged = self.state.merge(sets, &self.journal).unwrap();
            self.state.publish(merged.version);
            if self.state.dirty_bytes() > DIRTY_BYTES_MAX {
                self.checkpoint();
            }
        }
    }

    /// Writes what changed to the store.
    pub(crate) fn checkpoint(&self) {
        if let Some(checkpoint) = self.state.take_checkpoint() {
            let mut go_on = || Ok(());
            self.storage
                .checkpoint(&checkpoint.changes, &mut go_on)
                .unwrap();
            self.state.checkpoint_done(checkpoint);
        }
    }
}
