//! sled 0.34.7, and how to make it keep what it was given.
//!
//! The only file that names the crate. Three things stand between it and the rest:
//!
//! * its `flush` hands the log to the operating system and leaves it there; the barrier is
//!   `flush`, then `sync_data` through a second handle to the log;
//! * where it finds damage it may panic instead of returning an error: every call is caught;
//! * once it has seen a failed write it refuses everything that would touch the disk. Reads finish
//!   splits of pages that they come by, so some of them fail then too, until it is opened again.

use std::any::Any;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub(super) use ::sled::IVec as Bytes;
use ::sled::{Config, Db, Error, Tree};

use super::directory::{disk_error, sync_directory};
use crate::storage::StorageError;

/// How long sled's lock is waited for: a store that was just closed in this process may give it
/// back a moment later. That nobody else has the store open is made sure by a lock of our own.
const LOCK_TRIES: u32 = 400;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The name of a tree of its own beside the store's, with one entry.
const NOTE_TREE: &[u8] = b"leveret note";
const NOTE_KEY: &[u8] = &[0];

/// How often the note is written until sled replaces the page that it stands on.
pub(super) const NOTES_A_PAGE: u32 = 10;

/// Why a store did not open.
#[derive(Debug)]
pub(super) enum OpenFailure {
    /// Somebody has it open.
    Locked,
    /// The disk did not do its part.
    Disk(StorageError),
    /// What is on disk makes no sense to sled.
    Broken(String),
}

/// An open store of sled's.
#[derive(Debug)]
pub(super) struct Engine {
    open: Option<Open>,
    log: File,
    /// Its directory, until the names are synced that opening has made in it.
    names: Mutex<Option<PathBuf>>,
}

#[derive(Debug)]
struct Open {
    db: Db,
    note: Tree,
}

fn storage_error(error: Error) -> StorageError {
    match error {
        Error::Io(error) => disk_error(Path::new("sled"), &error),
        other => StorageError::Damaged(other.to_string()),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("sled panicked: {}", text.unwrap_or("no message"))
}

/// Calls sled, taking a panic for damage.
fn call<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, StorageError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(storage_error),
        Err(panic) => Err(StorageError::Damaged(panic_text(&*panic))),
    }
}

impl Engine {
    /// Opens the store in a directory; makes it if it is not there. The bytes of a segment are those
    /// that it was made with.
    pub(super) fn open(
        path: &Path,
        cache_bytes: u64,
        segment_bytes: usize,
    ) -> Result<Self, OpenFailure> {
        for _ in 0..LOCK_TRIES {
            let config = Config::new()
                .path(path)
                .segment_size(segment_bytes)
                .flush_every_ms(None)
                .cache_capacity(cache_bytes);
            let open = || {
                let db = config.open()?;
                let note = db.open_tree(NOTE_TREE)?;
                Ok(Open { db, note })
            };
            match catch_unwind(AssertUnwindSafe(open)) {
                Ok(Ok(open)) => {
                    let log = path.join("db");
                    let handle = File::open(&log)
                        .map_err(|error| OpenFailure::Disk(disk_error(&log, &error)))?;
                    return Ok(Self {
                        open: Some(open),
                        log: handle,
                        names: Mutex::new(Some(path.to_owned())),
                    });
                }
                Ok(Err(Error::Io(error))) if error.to_string().contains("acquire lock") => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Ok(Err(Error::Io(error))) => {
                    return Err(OpenFailure::Disk(disk_error(path, &error)));
                }
                Ok(Err(error)) => return Err(OpenFailure::Broken(error.to_string())),
                Err(panic) => return Err(OpenFailure::Broken(panic_text(&*panic))),
            }
        }
        Err(OpenFailure::Locked)
    }

    fn open_trees(&self) -> &Open {
        self.open.as_ref().expect("it is open until it is closed")
    }

    fn db(&self) -> &Db {
        &self.open_trees().db
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        call(|| self.db().get(key))
    }

    /// Puts a value in its place and gives the one that was there.
    pub(super) fn insert(&self, key: &[u8], value: Vec<u8>) -> Result<Option<Bytes>, StorageError> {
        call(|| self.db().insert(key, value))
    }

    /// Removes a value and gives it.
    pub(super) fn remove(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        call(|| self.db().remove(key))
    }

    /// The first `limit` entries of `from..to`, or the last ones, last first.
    pub(super) fn range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        back: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        if from >= to {
            return Ok(Vec::new());
        }
        call(|| {
            let range = self.db().range(from..to);
            if back {
                range.rev().take(limit).collect()
            } else {
                range.take(limit).collect()
            }
        })
    }

    /// The note that stands beside the entries, and is no entry.
    pub(super) fn note(&self) -> Result<Option<Bytes>, StorageError> {
        call(|| self.open_trees().note.get(NOTE_KEY))
    }

    #[cfg(test)]
    pub(super) fn forget_note(&self) {
        self.open_trees().note.remove(NOTE_KEY).unwrap();
    }

    /// Replaces the note by another one. Each [`NOTES_A_PAGE`] times sled replaces the page that has
    /// it, and so moves a page of a segment that it wants to have free, if there is one.
    pub(super) fn put_note(&self, note: Vec<u8>) -> Result<(), StorageError> {
        call(|| self.open_trees().note.insert(NOTE_KEY, note)).map(drop)
    }

    /// Returns when everything written before is on the disk itself.
    pub(super) fn barrier(&self) -> Result<(), StorageError> {
        call(|| self.db().flush())?;
        self.sync_log()?;
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = names.as_ref() {
            sync_directory(path)?;
            *names = None;
        }
        Ok(())
    }

    fn sync_log(&self) -> Result<(), StorageError> {
        self.log
            .sync_data()
            .map_err(|error| disk_error(Path::new("sled's log"), &error))
    }

    /// Bytes of the log, with what is dead or free in it.
    pub(super) fn log_bytes(&self) -> Result<u64, StorageError> {
        let about = self.log.metadata();
        about
            .map(|about| about.len())
            .map_err(|error| disk_error(Path::new("sled's log"), &error))
    }

    /// Lets go of the store. Whoever cares for the last writes sets a barrier before.
    pub(super) fn close(&mut self) -> Result<(), StorageError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        // It syncs on its way, and panics if that fails.
        catch_unwind(AssertUnwindSafe(move || drop(open)))
            .map_err(|panic| StorageError::Io(panic_text(&*panic)))?;
        self.sync_log()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.close();
    }
}

/// Syncs what sled writes once, when it makes a store, and never syncs itself.
pub(super) fn sync_new(path: &Path) -> Result<(), StorageError> {
    for name in ["conf", "db"] {
        let file = path.join(name);
        File::open(&file)
            .and_then(|handle| handle.sync_all())
            .map_err(|error| disk_error(&file, &error))?;
    }
    sync_directory(path)
}

/// The snapshots of a store, finished ones or not: `snap.` and a number.
pub(super) fn snapshots(path: &Path, unfinished: bool) -> Result<Vec<String>, StorageError> {
    let failed = |error: std::io::Error| disk_error(path, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with("snap.") && name.ends_with(".generating") == unfinished {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
