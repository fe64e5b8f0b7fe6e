//! The disk of one machine: a store, how long its barriers take, and what is wrong with it.

use std::sync::Arc;

use leveret::storage::memory::{Fault, MemoryStorage};
use leveret::storage::{Change, Key, Storage, StorageError};

use crate::chance::Chance;

/// Longest time between two barriers on a good disk, in microseconds.
const BARRIER_US_MAX: u64 = 3_000;
/// Shortest.
const BARRIER_US_MIN: u64 = 100;
/// Longest time that a checkpoint takes until it is durable, in microseconds. A small one takes no
/// longer than a commit, and can overtake one.
const CHECKPOINT_US_MAX: u64 = 50_000;

/// A machine's disk.
pub struct Disk {
    store: Arc<MemoryStorage>,
    /// How many times slower than usual its barriers are.
    slow: u64,
    full: bool,
    /// Whether it answers barriers that it does not keep.
    lying: bool,
}

impl Default for Disk {
    fn default() -> Self {
        Self::of(MemoryStorage::new())
    }
}

impl Disk {
    fn of(store: MemoryStorage) -> Self {
        Self {
            store: Arc::new(store),
            slow: 1,
            full: false,
            lying: false,
        }
    }

    /// The store, as a replica reads it.
    pub fn storage(&self) -> Arc<dyn Storage> {
        self.store.clone()
    }

    /// What a copy of the directory, taken now, would hold.
    pub fn copy(&self) -> Self {
        Self::of(self.store.copy())
    }

    /// How long the next commit takes, in microseconds.
    pub fn commit_us(&self, chance: &mut Chance) -> u64 {
        chance.within(BARRIER_US_MIN, BARRIER_US_MAX) * self.slow
    }

    /// How long the next checkpoint takes, in microseconds.
    pub fn checkpoint_us(&self, chance: &mut Chance) -> u64 {
        chance.spread(BARRIER_US_MIN, CHECKPOINT_US_MAX) * self.slow
    }

    /// Makes journal records durable.
    ///
    /// # Errors
    /// If it is full, or was crashed.
    pub fn append(&self, records: &[(Key, Vec<u8>)]) -> Result<(), StorageError> {
        self.store.append(records)
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// As [`Disk::append`].
    pub fn checkpoint(&self, changes: &[Change]) -> Result<(), StorageError> {
        self.store.checkpoint(changes, &mut || Ok(()))
    }

    /// Notes a witness mark.
    ///
    /// # Errors
    /// If it can not be written.
    pub fn witness(&self, mark: &[u8]) -> Result<(), StorageError> {
        self.store.witness(mark)
    }

    /// Ends the life of whatever used it, amid writing these records: what of them is there
    /// afterwards is the first `kept`.
    pub fn tear(&mut self, records: &[(Key, Vec<u8>)], kept: usize) {
        self.store.fail_next(Fault::Fail {
            error: StorageError::Io("the machine went down".into()),
            kept,
        });
        // What it answers nobody hears any more.
        let _ = self.store.append(records);
    }

    /// Ends the life of whatever used it: what the next one finds is what barriers covered.
    pub fn crash(&mut self) {
        let mark = self.store.last_witness().ok().flatten();
        self.store = Arc::new(self.store.crash());
        if let Some(mark) = mark {
            // The witness is a file of its own: it is not lost with the store's cache.
            let _ = self.store.witness(&mark);
            self.store.sync();
        }
        self.lying = false;
        self.store.set_full(self.full);
    }

    /// Puts a copy that was taken earlier in its place.
    pub fn restore(&mut self, copy: &Self) {
        self.store = Arc::new(copy.store.copy());
        self.lying = false;
        self.store.set_full(self.full);
    }

    /// Makes it full, or gives it room again.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
        self.store.set_full(full);
    }

    /// Whether it is full.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Makes its barriers take so many times longer than usual.
    pub fn set_slow(&mut self, times: u64) {
        self.slow = times.max(1);
    }

    /// Lets it answer barriers that it does not keep, until it is crashed or told otherwise.
    pub fn set_lying(&mut self, lying: bool) {
        self.lying = lying;
        self.store.set_holding(lying);
        if !lying {
            self.store.sync();
        }
    }

    /// Whether it lies.
    pub fn is_lying(&self) -> bool {
        self.lying
    }
}
