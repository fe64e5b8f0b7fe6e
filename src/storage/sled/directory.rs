//! The data directory as a place for small files that are replaced as a whole.
//!
//! A file under its final name is always complete: it is written under a temporary one, synced,
//! renamed, and then the directory is synced. What a crash leaves under a temporary name is
//! nobody's.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::storage::StorageError;

/// Ends the name of a file that is still being written.
pub(super) const UNFINISHED: &str = ".new";

/// A directory that exists, with a handle to sync it by.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    handle: File,
}

/// Says which file it was, and tells a full disk from a failing one.
pub(super) fn disk_error(path: &Path, error: &io::Error) -> StorageError {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StorageError::Full(text),
        _ => StorageError::Io(text),
    }
}

/// Syncs a directory, so that names in it last.
pub(super) fn sync_directory(path: &Path) -> Result<(), StorageError> {
    File::open(path)
        .and_then(|handle| handle.sync_all())
        .map_err(|error| disk_error(path, &error))
}

impl Directory {
    /// Opens a directory, making it durably first if it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, StorageError> {
        let failed = |error: io::Error| disk_error(path, &error);
        // Absolute, so that neither this nor the engine minds a change of the working directory.
        let path = std::path::absolute(path).map_err(failed)?;
        if !path.is_dir() {
            fs::create_dir_all(&path).map_err(failed)?;
            if let Some(parent) = path.parent() {
                sync_directory(parent)?;
            }
        }
        let handle = File::open(&path).map_err(failed)?;
        Ok(Self { path, handle })
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.join(name).exists()
    }

    pub(super) fn sync(&self) -> Result<(), StorageError> {
        self.handle
            .sync_all()
            .map_err(|error| disk_error(&self.path, &error))
    }

    /// The whole of a file; nothing if there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let path = self.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(disk_error(&path, &error)),
        }
    }

    /// Begins a file under its temporary name.
    pub(super) fn begin(&self, name: &str) -> Result<(File, PathBuf), StorageError> {
        let path = self.join(&format!("{name}{UNFINISHED}"));
        let file = File::create(&path).map_err(|error| disk_error(&path, &error))?;
        Ok((file, path))
    }

    /// Gives what was written and synced under the temporary name its final one, durably.
    pub(super) fn finish(&self, name: &str) -> Result<(), StorageError> {
        let path = self.join(name);
        fs::rename(self.join(&format!("{name}{UNFINISHED}")), &path)
            .map_err(|error| disk_error(&path, &error))?;
        self.sync()
    }

    /// Replaces a file as a whole. If that fails, the earlier one is still there.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let (mut file, path) = self.begin(name)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(|error| {
                // What is left of it is in nobody's way, should this fail too.
                let _ = fs::remove_file(&path);
                disk_error(&path, &error)
            })?;
        self.finish(name)
    }

    /// Removes a file or a whole directory, durably; it need not be there.
    pub(super) fn remove(&self, name: &str) -> Result<(), StorageError> {
        let path = self.join(name);
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        match removed {
            Ok(()) => self.sync(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(disk_error(&path, &error)),
        }
    }

    /// Bytes that the file system still has for us. Nothing if it can not tell.
    pub(super) fn room_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::fstatvfs(&self.handle).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Bytes that a file, or the files of a directory, take on disk.
    pub(super) fn size_on_disk(&self, name: &str) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let path = self.join(name);
        let files = match fs::read_dir(&path) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(_) => vec![path],
        };
        let blocks = files
            .iter()
            .flat_map(fs::metadata)
            .map(|file| file.blocks());
        blocks.sum::<u64>() * 512
    }
}
