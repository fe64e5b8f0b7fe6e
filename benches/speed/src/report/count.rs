//! A store in memory that counts how often it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use leveret::storage::memory::MemoryStorage;
use leveret::storage::{Change, Key, Storage, StorageError};

type Between<'a> = &'a mut dyn FnMut() -> Result<(), StorageError>;
type Rows = Vec<(Key, Vec<u8>)>;

/// See the top of the file.
#[derive(Default)]
pub(super) struct Counted {
    store: MemoryStorage,
    asked: AtomicU64,
}

impl Counted {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Gets and scans so far.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }
}

impl Storage for Counted {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.count();
        self.store.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Rows, StorageError> {
        self.count();
        self.store.scan(from, to, limit)
    }

    fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Rows, StorageError> {
        self.count();
        self.store.scan_back(from, to, limit)
    }

    fn append(&self, records: &[(Key, Vec<u8>)]) -> Result<(), StorageError> {
        self.store.append(records)
    }

    fn checkpoint(&self, changes: &[Change], between: Between<'_>) -> Result<(), StorageError> {
        self.store.checkpoint(changes, between)
    }

    fn witness(&self, mark: &[u8]) -> Result<(), StorageError> {
        self.store.witness(mark)
    }

    fn last_witness(&self) -> Result<Option<Vec<u8>>, StorageError> {
        self.store.last_witness()
    }

    fn size_on_disk(&self) -> u64 {
        self.store.size_on_disk()
    }
}
