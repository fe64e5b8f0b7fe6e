//! How a store is made, opened after a good end or a bad one, and ended.
//!
//! sled's opening repairs, and so destroys what could be seen of a damage: it cuts its log where it
//! stops to understand it and, if it understands nothing, gives back an empty store. Therefore:
//!
//! * A store is made under a temporary name and renamed when it is complete and synced, so that
//!   everything under the final name has been whole once. Its first record is the format's; if
//!   that one is missing, the store was not read.
//! * The marker file `open` is there while the store is. Found at an opening, it means that the
//!   last life had no good end. Then sled's files are copied to `before-opening/` first: by
//!   reference where the file system can (`FICLONE`), byte by byte only up to
//!   [`super::SledOptions::with_copy_max_bytes`], since an opening after a kill may take seconds,
//!   not minutes; a larger store opens without. The copy is for people. It is not synced, is kept
//!   while openings fail, and goes with the next good end.
//! * A snapshot that sled had not finished (`snap.*.generating`) makes it fail: removed. If opening
//!   fails, it is tried once more without the snapshots, which makes sled read its whole log. If
//!   that fails too, they are put back.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use super::SledOptions;
use super::directory::{Directory, UNFINISHED, disk_error, sync_directory};
use super::engine::{self, Engine, OpenFailure};
use super::store::Store;
use super::{redo, witness};
use crate::storage::StorageError;

/// sled's own directory.
pub(super) const DB: &str = "db";
/// Copies of sled's files from before a repair.
pub(super) const COPY: &str = "before-opening";
const MARKER: &str = "open";
const LOCK: &str = "store.lock";
const SET_ASIDE: &str = "snapshots-aside";

/// What the marker says while sled opens, and after.
const OPENING: &[u8] = b"opening\n";
const OPEN: &[u8] = b"open\n";

/// Takes the lock by which only one store is open on a directory. It lasts as long as the file.
pub(super) fn lock(directory: &Directory) -> Result<File, StorageError> {
    let path = directory.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| disk_error(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(in_use(&path)),
        Err(TryLockError::Error(error)) => Err(disk_error(&path, &error)),
    }
}

fn in_use(path: &Path) -> StorageError {
    StorageError::InUse(format!("{} is locked", path.display()))
}

/// Opens the store in a locked directory, making it if there is none, and finishes what the last
/// life had left half-way.
pub(super) fn open(directory: &Directory, options: &SledOptions) -> Result<Store, StorageError> {
    for name in [redo::NAME, witness::NAME, MARKER, DB, COPY] {
        directory.remove(&format!("{name}{UNFINISHED}"))?;
    }
    if !directory.has(DB) {
        create(directory, options)?;
    }
    let db = directory.join(DB);
    put_back_snapshots(directory)?;
    let marker = directory.read(MARKER)?;
    let good_end = marker.is_none();
    if let Some(marker) = marker {
        // The first copy is the one from before anything was repaired.
        if marker == OPEN || !directory.has(COPY) {
            // No reason not to open: the disk may be full, and the copy is for people only.
            if let Err(error) = copy(directory, options) {
                tracing::warn!(%error, "sled's files are not copied before they are opened");
                directory.remove(&format!("{COPY}{UNFINISHED}"))?;
            }
        }
    }
    // After a good end there is no copy that is to be kept, so it need not be told that it is opened.
    directory.replace(MARKER, if good_end { OPEN } else { OPENING })?;
    for name in engine::snapshots(&db, true)? {
        let path = db.join(name);
        fs::remove_file(&path).map_err(|error| disk_error(&path, &error))?;
    }

    let store = Store::new(open_engine(directory, options)?, options);
    let was_unpacked = store
        .check_format()
        .map_err(|error| explain(directory, &error))?;
    // What was written before a bad end and is read now is made to last before anything rests on it.
    // After a good end it does; what sled itself has written since is, before anything else is written.
    if !good_end {
        store.barrier()?;
    }
    if let Err(error) = store.count() {
        // It is for cleaning alone; who reads what can not be read is told.
        tracing::warn!(%error, "what lives in the store can not be counted");
    }
    if was_unpacked {
        store.put_format()?;
    }
    store.put_fence()?;
    store.sweep_under_way()?;
    if let Some(changes) = redo::read(directory)? {
        tracing::info!(changes = changes.len(), "finishing a checkpoint");
        store.put_again(&changes)?;
        directory.remove(redo::NAME)?;
    }
    if !good_end {
        directory.replace(MARKER, OPEN)?;
    }
    Ok(store)
}

/// Notes a good end. The store is closed and everything in it durable.
pub(super) fn note_good_end(directory: &Directory) -> Result<(), StorageError> {
    directory.remove(MARKER)?;
    directory.remove(COPY)
}

fn create(directory: &Directory, options: &SledOptions) -> Result<(), StorageError> {
    for name in [redo::NAME, MARKER] {
        if directory.has(name) {
            return Err(StorageError::Damaged(format!(
                "{} is there, but the store it belongs to is not",
                directory.join(name).display()
            )));
        }
    }
    let name = format!("{DB}{UNFINISHED}");
    let path = directory.join(&name);
    let engine =
        Engine::open(&path, options.cache_bytes, options.segment_bytes).map_err(|failure| {
            match failure {
                OpenFailure::Locked => in_use(&path),
                OpenFailure::Disk(error) => error,
                OpenFailure::Broken(why) => StorageError::Damaged(why),
            }
        })?;
    let mut store = Store::new(engine, options);
    store.put_format()?;
    store.close()?;
    engine::sync_new(&path)?;
    directory.finish(DB)
}

fn explain(directory: &Directory, error: &StorageError) -> StorageError {
    let mut text = match error {
        StorageError::Damaged(what) => format!("{}: {what}", directory.join(DB).display()),
        other => return other.clone(),
    };
    if directory.has(COPY) {
        text += &format!(
            "; its files as they were before are in {}",
            directory.join(COPY).display()
        );
    }
    StorageError::Damaged(text)
}

fn open_engine(directory: &Directory, options: &SledOptions) -> Result<Engine, StorageError> {
    let db = directory.join(DB);
    let first = match Engine::open(&db, options.cache_bytes, options.segment_bytes) {
        Ok(engine) => return Ok(engine),
        Err(OpenFailure::Locked) => return Err(in_use(&db)),
        Err(OpenFailure::Disk(error)) => return Err(error),
        Err(OpenFailure::Broken(why)) => StorageError::Damaged(why),
    };
    let snapshots = engine::snapshots(&db, false)?;
    if snapshots.is_empty() {
        return Err(explain(directory, &first));
    }
    tracing::warn!(%first, "sled does not open; trying without its snapshots");
    let aside = directory.join(SET_ASIDE);
    let moved = |error: std::io::Error| disk_error(&aside, &error);
    fs::create_dir_all(&aside).map_err(moved)?;
    for name in &snapshots {
        fs::rename(db.join(name), aside.join(name)).map_err(moved)?;
    }
    sync_directory(&aside)?;
    sync_directory(&db)?;
    directory.sync()?;
    match Engine::open(&db, options.cache_bytes, options.segment_bytes) {
        Ok(engine) => {
            directory.remove(SET_ASIDE)?;
            Ok(engine)
        }
        Err(_) => {
            put_back_snapshots(directory)?;
            Err(explain(directory, &first))
        }
    }
}

/// Puts back snapshots that an opening had set aside and that did not help.
fn put_back_snapshots(directory: &Directory) -> Result<(), StorageError> {
    let aside = directory.join(SET_ASIDE);
    if !aside.is_dir() {
        return Ok(());
    }
    let db = directory.join(DB);
    let moved = |error: std::io::Error| disk_error(&aside, &error);
    for unfinished in [false, true] {
        for name in engine::snapshots(&db, unfinished)? {
            fs::remove_file(db.join(name)).map_err(moved)?;
        }
    }
    for name in engine::snapshots(&aside, false)? {
        fs::rename(aside.join(&name), db.join(&name)).map_err(moved)?;
    }
    sync_directory(&db)?;
    directory.remove(SET_ASIDE)
}

/// Copies sled's files as they are, if that is cheap.
fn copy(directory: &Directory, options: &SledOptions) -> Result<(), StorageError> {
    directory.remove(COPY)?;
    let from = directory.join(DB);
    let to = directory.join(&format!("{COPY}{UNFINISHED}"));
    let copied = |error: std::io::Error| disk_error(&to, &error);
    let bytes = directory.size_on_disk(DB);
    let room = directory.room_bytes().unwrap_or(u64::MAX);
    let small = bytes <= options.copy_max_bytes && bytes < room / 2;

    fs::create_dir_all(&to).map_err(copied)?;
    for entry in fs::read_dir(&from).map_err(copied)? {
        let entry = entry.map_err(copied)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if !from.is_file() || share(&from, &to).is_ok() {
            continue;
        }
        if !small {
            tracing::warn!(bytes, "the last life had no good end; too large to copy");
            return directory.remove(&format!("{COPY}{UNFINISHED}"));
        }
        fs::copy(&from, &to).map_err(copied)?;
    }
    directory.finish(COPY)
}

/// Makes a file that shares its bytes with another one until one of them changes.
#[cfg(target_os = "linux")]
fn share(from: &Path, to: &Path) -> std::io::Result<()> {
    rustix::fs::ioctl_ficlone(File::create(to)?, File::open(from)?)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn share(_from: &Path, _to: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
