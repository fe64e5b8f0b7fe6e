//! A replica of a replay: an engine over a store, and what has been made of it.

use std::sync::Arc;

use leveret::merge::{Checkpoint, Snapshot};
use leveret::storage::Storage;
use leveret::storage::memory::MemoryStorage;
use leveret::storage::sled::{SledOptions, SledStorage};
use leveret_sim::engine::{Engine, Log, Receiver};
use tempfile::TempDir;

use leveret_sim::mirror::Mirror;

/// An engine, and what it has been told and has told.
pub(super) struct Peer {
    pub(super) receiver: Receiver,
    pub(super) mirror: Mirror,
    pub(super) store: Store,
    log: Log,
    /// The change sets it has applied, one bit each.
    pub(super) applied: u128,
    /// A checkpoint that is not in the store yet.
    under_way: Option<Checkpoint>,
    /// A snapshot that somebody holds, and what was applied to it.
    pub(super) held: Option<(Snapshot, u128)>,
}

pub(super) enum Store {
    Memory(Arc<MemoryStorage>),
    Sled(TempDir),
}

impl Store {
    fn open(&self) -> Arc<dyn Storage> {
        match self {
            Self::Memory(storage) => storage.clone(),
            Self::Sled(directory) => {
                let options = SledOptions::default();
                Arc::new(SledStorage::open(directory.path(), &options).unwrap())
            }
        }
    }
}

impl Peer {
    pub(super) fn new(store: Store) -> Self {
        let log = Log::default();
        Self {
            receiver: Receiver::new(Engine::on(store.open(), log.clone())),
            mirror: Mirror::default(),
            store,
            log,
            applied: 0,
            under_way: None,
            held: None,
        }
    }

    pub(super) fn in_memory() -> Self {
        Self::new(Store::Memory(Arc::default()))
    }

    /// Begins a checkpoint, or ends the one that is under way.
    pub(super) fn checkpoint(&mut self) {
        let engine = &self.receiver.engine;
        match self.under_way.take() {
            Some(checkpoint) => engine.write(checkpoint),
            None => self.under_way = engine.state.take_checkpoint(),
        }
    }

    /// Writes a checkpoint and opens the state again; of sled the whole store.
    pub(super) fn restart(&mut self) {
        if self.under_way.is_some() {
            self.checkpoint();
        }
        // It would go on reading a store that goes on.
        self.held = None;
        self.receiver.engine.restart();
        if let Store::Sled(_) = self.store {
            // The store must be closed before it can be opened again.
            let away = Engine::new(self.log.clone());
            drop(std::mem::replace(&mut self.receiver.engine, away));
            self.receiver.engine = Engine::on(self.store.open(), self.log.clone());
        }
    }
}
