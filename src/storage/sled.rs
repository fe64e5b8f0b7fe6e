//! The store on disk, on sled 0.34.7. No other module of leveret knows of it.
//!
//! In the data directory, beside files that are none of this module's business:
//!
//! ```text
//! db/               sled's files
//! checkpoint.redo   a complete checkpoint that is being put in its place   (redo.rs)
//! witness           the mark of `Storage::witness`                         (witness.rs)
//! store.lock        locked while the store is open
//! open              there while the store is open                          (opening.rs)
//! before-opening/   sled's files as a bad end left them                    (opening.rs)
//! *.new             not complete yet; a crash's leftovers, forgotten
//! ```
//!
//! What is inlined, cut up and noted in sled itself is drawn in `value.rs`, what stands together in
//! `pack.rs`; when its log is synced, in `writer.rs`; that its `flush` alone is not durable, in `engine.rs`; how its log is kept small, in
//! `cleaning.rs` and in `docs/decisions/0012-sled-is-made-to-clean.md`.
//!
//! An **append** is plain inserts and one barrier. sled's log keeps their order, so a crash leaves
//! the first so many. A **checkpoint** goes to the redo file as a whole first, and from there to its
//! places. Opening repeats a redo file that it finds, so either all of it is there or nothing was
//! begun. Why a file and not records in sled: `docs/decisions/0001-checkpoints-through-a-redo-file.md`.
//!
//! **A full disk.** Before a write it is asked how much room there is; with less than
//! [`SledOptions::with_room_min_bytes`] left over the write is refused with
//! [`StorageError::Full`], nothing has happened, and it can be tried again later. That is to keep
//! sled from meeting the end of the disk on its way, which it survives, but only by being opened
//! again: after any write that failed half-way the store is read-only.

mod cleaning;
mod directory;
mod engine;
mod opening;
mod pack;
mod redo;
mod scan;
mod store;
#[cfg(test)]
pub(super) mod tests;
mod value;
mod witness;
mod writer;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use self::directory::Directory;
use self::redo::WriteError;
use self::store::Store;
use super::{Change, Key, Storage, StorageError, Upkeep, assert_entry};

/// Most changes, and most bytes of them, that are put in their places between two calls of
/// `between`.
const PUT_KEYS: usize = 200;
const PUT_BYTES: usize = 64 << 10;

/// Most pages that are cleaned at a time: some milliseconds at most, or more if a checkpoint does it.
const TIDY_PAGES: u32 = 32;
const CHECKPOINT_PAGES: u32 = 256;
/// How often at most an append does so, where much is due.
const LATE_TIDIES: u32 = 8;

/// Room that cleaning needs.
const CLEAN_ROOM_BYTES: u64 = 8 << 20;

/// How often sled writes what it is given, at worst, before it frees the old: for the question
/// whether there is room.
const COPIES: u64 = 4;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct SledOptions {
    cache_bytes: u64,
    room_min_bytes: u64,
    copy_max_bytes: u64,
    slack_bytes: u64,
    /// Of a segment of sled's log. It can not be changed once a store has been made.
    segment_bytes: usize,
}

impl Default for SledOptions {
    /// 64 MiB of cache, 16 MiB to be left on the disk, 256 MiB copied before a repair, 16 MiB of slack.
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            room_min_bytes: 16 << 20,
            copy_max_bytes: 256 << 20,
            slack_bytes: 16 << 20,
            segment_bytes: 8 << 20,
        }
    }
}

impl SledOptions {
    /// Sets how much of the store may stay in memory, in bytes.
    #[must_use]
    pub fn with_cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Sets how much has to be left on the disk after a write, in bytes, or it is refused.
    #[must_use]
    pub fn with_room_min_bytes(mut self, bytes: u64) -> Self {
        self.room_min_bytes = bytes;
        self
    }

    /// Sets how large a store may be, in bytes, to be copied byte by byte before it is opened
    /// after a bad end. Where the file system can share bytes, any store is copied.
    #[must_use]
    pub fn with_copy_max_bytes(mut self, bytes: u64) -> Self {
        self.copy_max_bytes = bytes;
        self
    }

    /// Sets how much the store may take on disk beside a little over twice what lives in it, in
    /// bytes, before it is cleaned. Below some segments of 8 MiB there is nothing to clean.
    #[must_use]
    pub fn with_slack_bytes(mut self, bytes: u64) -> Self {
        self.slack_bytes = bytes;
        self
    }
}

/// A [`Storage`] in a directory.
///
/// Dropping it is a good end too, but tells nobody if it was not: [`SledStorage::close`] does.
#[derive(Debug)]
pub struct SledStorage {
    // In the order in which they are let go: the lock last.
    store: Store,
    room_min_bytes: AtomicU64,
    failed: OnceLock<String>,
    closed: bool,
    witness: Mutex<()>,
    directory: Directory,
    _lock: File,
}

impl SledStorage {
    /// Opens the store in a directory; makes both if they are not there. A checkpoint that the
    /// last life had begun is finished.
    ///
    /// # Errors
    /// [`StorageError::InUse`] if it is open already, [`StorageError::Damaged`] if what is there
    /// makes no sense (the message says where it can still be seen as it was), and what the disk
    /// reports. Opening can then be tried again.
    pub fn open(directory: &Path, options: &SledOptions) -> Result<Self, StorageError> {
        let directory = Directory::open(directory)?;
        let lock = opening::lock(&directory)?;
        let store = opening::open(&directory, options)?;
        Ok(Self {
            store,
            room_min_bytes: AtomicU64::new(options.room_min_bytes),
            failed: OnceLock::new(),
            closed: false,
            witness: Mutex::new(()),
            directory,
            _lock: lock,
        })
    }

    /// Makes everything durable and lets go of the directory.
    ///
    /// # Errors
    /// If a write had failed before, or something can not be made durable now. What had been
    /// acknowledged is there in any case; the next opening takes this for a bad end.
    pub fn close(mut self) -> Result<(), StorageError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), StorageError> {
        if std::mem::replace(&mut self.closed, true) {
            return Ok(());
        }
        if let Err(error) = self.writable() {
            // The failure has been told; whether sled closes well does not matter any more.
            let _ = self.store.close();
            return Err(error);
        }
        self.store.last_barrier()?;
        self.store.close()?;
        opening::note_good_end(&self.directory)
    }

    fn writable(&self) -> Result<(), StorageError> {
        match self.failed.get() {
            Some(why) => Err(StorageError::ReadOnly(why.clone())),
            None => Ok(()),
        }
    }

    /// Remembers that a write has failed.
    fn fail(&self, error: StorageError) -> StorageError {
        tracing::warn!(%error, "a write failed; the store is read-only");
        self.failed.get_or_init(|| error.to_string());
        error
    }

    fn written(&self, outcome: Result<(), StorageError>) -> Result<(), StorageError> {
        outcome.map_err(|error| self.fail(error))
    }

    /// Cleans what is due, up to so many pages, if there is room for it; true if there is more.
    fn clean(&self, pages_max: u32) -> Result<bool, StorageError> {
        self.writable()?;
        // What is moved is there twice until a segment is free.
        if self.room(CLEAN_ROOM_BYTES).is_err() {
            return Ok(false);
        }
        let cleaned = self.store.clean(pages_max);
        cleaned.map_err(|error| self.fail(error))
    }

    /// Refuses a write of so many bytes if the disk would be nearly full after it. Where the file
    /// system can not tell, it is tried.
    fn room(&self, bytes: u64) -> Result<(), StorageError> {
        let room = self.directory.room_bytes().unwrap_or(u64::MAX);
        let needed = self
            .room_min_bytes
            .load(Ordering::Relaxed)
            .saturating_add(bytes);
        if room >= needed {
            return Ok(());
        }
        Err(StorageError::Full(format!(
            "{room} bytes are free where {needed} are needed"
        )))
    }
}

impl Drop for SledStorage {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, "the store had no good end");
        }
    }
}

/// Amid a checkpoint a full disk is a failure like any other: some of it is in its place.
fn midway<T>(outcome: Result<T, StorageError>) -> Result<T, StorageError> {
    outcome.map_err(|error| match error {
        StorageError::Full(why) => StorageError::ReadOnly(why),
        other => other,
    })
}

/// How many of the changes are put in their places in one step: at least one.
fn step(changes: &[Change]) -> usize {
    let mut bytes = 0;
    let fitting = changes.iter().take(PUT_KEYS).take_while(|(_, value)| {
        let fits = bytes < PUT_BYTES;
        bytes += value.as_ref().map_or(0, Vec::len);
        fits
    });
    fitting.count()
}

impl Storage for SledStorage {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.store.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Vec<u8>)>, StorageError> {
        self.store.scan(from, to, limit, false)
    }

    fn scan_back(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Vec<u8>)>, StorageError> {
        self.store.scan(from, to, limit, true)
    }

    fn append(&self, records: &[(Key, Vec<u8>)]) -> Result<(), StorageError> {
        let mut bytes = 0;
        for (key, value) in records {
            assert_entry(key, value.len());
            bytes += (key.len() + value.len()) as u64;
        }
        self.writable()?;
        self.room(COPIES * bytes)?;
        self.written(self.store.append(records))?;
        for _ in 0..LATE_TIDIES {
            // If it fails, what was appended is durable all the same: whoever writes next is told.
            if !self.store.is_cleaning_late() || !self.tidy().unwrap_or(false) {
                break;
            }
        }
        Ok(())
    }

    fn checkpoint(
        &self,
        changes: &[Change],
        between: &mut dyn FnMut() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        for (key, value) in changes {
            assert_entry(key, value.as_ref().map_or(0, Vec::len));
        }
        self.writable()?;
        self.room((1 + COPIES) * redo::file_bytes(changes))?;
        if changes.is_empty() {
            return Ok(());
        }
        match redo::write(&self.directory, changes, between) {
            Ok(()) => {}
            // Nothing has been touched yet.
            Err(WriteError::Between(error) | WriteError::Disk(error @ StorageError::Full(_))) => {
                return Err(error);
            }
            Err(WriteError::Disk(error)) => return Err(self.fail(error)),
        }
        self.writable()?;
        self.written(self.directory.finish(redo::NAME))?;

        // From here on all of it has to come to its place, whatever `between` says.
        let mut outcome = Ok(());
        let mut rest = changes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(step(rest));
            midway(self.written(self.store.put(now)))?;
            rest = later;
            midway(self.clean(CHECKPOINT_PAGES))?;
            if outcome.is_ok() {
                outcome = between();
            }
            if let Err(error) = self.writable() {
                // An append in between has failed; its own error says more.
                return outcome.and(Err(error));
            }
        }
        midway(self.written(self.store.barrier()))?;
        midway(self.written(self.directory.remove(redo::NAME)))?;
        outcome
    }

    fn tidy(&self) -> Result<bool, StorageError> {
        self.clean(TIDY_PAGES)
    }

    fn witness(&self, mark: &[u8]) -> Result<(), StorageError> {
        self.writable()?;
        let _one_at_a_time = self
            .witness
            .lock()
            .expect("nothing panics while it holds the lock");
        witness::write(&self.directory, mark)
    }

    fn last_witness(&self) -> Result<Option<Vec<u8>>, StorageError> {
        witness::read(&self.directory)
    }

    fn size_on_disk(&self) -> u64 {
        let names = [opening::DB, opening::COPY, redo::NAME, witness::NAME];
        names
            .map(|name| self.directory.size_on_disk(name))
            .iter()
            .sum()
    }

    fn upkeep(&self) -> Option<Upkeep> {
        Some(self.store.upkeep())
    }
}
