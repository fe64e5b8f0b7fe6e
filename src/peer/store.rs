//! A store that can be closed under those who still hold it, and how one is opened.
//!
//! The store under a replica must be opened anew after a failed write, and two must never be open
//! on one directory. Snapshots that readers keep hold on to the old one; so what is handed down is
//! this shell, and closing empties it: whoever reads through it afterwards gets an error, and the
//! directory is free.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::storage::{Change, Key, Storage, StorageError, Upkeep};

/// Opens the store in a directory. Tests put one in that fails on demand.
pub(super) type OpenStore =
    Arc<dyn Fn(&Path) -> Result<Box<dyn Storage>, StorageError> + Send + Sync>;

/// A store, until it is closed.
pub(super) struct Store {
    inner: RwLock<Option<Arc<dyn Storage>>>,
}

impl Store {
    /// Takes a freshly opened store.
    pub(super) fn new(store: Box<dyn Storage>) -> Arc<Self> {
        Arc::new(Self {
            inner: RwLock::new(Some(Arc::from(store))),
        })
    }

    /// Drops the store, after every call that is running has returned.
    pub(super) fn close(&self) {
        let taken = self
            .inner
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut store) = taken else { return };
        while Arc::get_mut(&mut store).is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn get_inner(&self) -> Result<Arc<dyn Storage>, StorageError> {
        self.inner
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(|| StorageError::ReadOnly("it was closed".into()))
    }
}

impl Storage for Store {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.get_inner()?.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Vec<u8>)>, StorageError> {
        self.get_inner()?.scan(from, to, limit)
    }

    fn scan_back(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Vec<u8>)>, StorageError> {
        self.get_inner()?.scan_back(from, to, limit)
    }

    fn append(&self, records: &[(Key, Vec<u8>)]) -> Result<(), StorageError> {
        self.get_inner()?.append(records)
    }

    fn checkpoint(
        &self,
        changes: &[Change],
        between: &mut dyn FnMut() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.get_inner()?.checkpoint(changes, between)
    }

    fn tidy(&self) -> Result<bool, StorageError> {
        self.get_inner()?.tidy()
    }

    fn witness(&self, mark: &[u8]) -> Result<(), StorageError> {
        self.get_inner()?.witness(mark)
    }

    fn last_witness(&self) -> Result<Option<Vec<u8>>, StorageError> {
        self.get_inner()?.last_witness()
    }

    fn size_on_disk(&self) -> u64 {
        self.get_inner().map_or(0, |store| store.size_on_disk())
    }

    fn upkeep(&self) -> Option<Upkeep> {
        self.get_inner().ok()?.upkeep()
    }
}
