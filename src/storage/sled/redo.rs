//! The redo file: a whole checkpoint, written down before the first change goes to its place.
//!
//! ```text
//! offset  bytes
//!      0      8  "LVRTREDO"
//!      8      4  version: 1
//!     12      8  how many changes there are
//!     20      8  n, bytes of all changes
//!     28      n  the changes
//! 28 + n     32  BLAKE3 of all before
//!
//! a change:   2  bytes of the key
//!                the key
//!             4  bytes of the value; ff ff ff ff: the key is removed
//!                the value
//! ```
//!
//! Numbers are big-endian. It is written under a temporary name, piece by piece, each piece synced
//! before the next so that nobody waits long for the disk, and renamed when it is complete. So a
//! file under its final name is complete, and if its checksum says otherwise the disk is at fault.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use super::directory::{Directory, disk_error};
use crate::storage::{Change, StorageError};

/// The name of a complete redo file.
pub(super) const NAME: &str = "checkpoint.redo";

/// Bytes written between two calls of `between`.
const PIECE_BYTES: usize = 1 << 20;

const MAGIC: &[u8; 8] = b"LVRTREDO";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 28;
const HASH_BYTES: usize = 32;
const REMOVED: u32 = u32::MAX;

/// Why no redo file came to be. Nothing of it is left.
#[derive(Debug)]
pub(super) enum WriteError {
    /// The disk did not take it.
    Disk(StorageError),
    /// The caller's `between` gave this error.
    Between(StorageError),
}

type Between<'a> = &'a mut dyn FnMut() -> Result<(), StorageError>;

/// A redo file that is being written.
struct Writer<'a> {
    file: File,
    path: PathBuf,
    hash: blake3::Hasher,
    piece: Vec<u8>,
    between: Between<'a>,
}

impl Writer<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while self.piece.len() + bytes.len() >= PIECE_BYTES {
            let (now, later) = bytes.split_at(PIECE_BYTES - self.piece.len());
            self.piece.extend_from_slice(now);
            self.put_piece()?;
            (self.between)().map_err(WriteError::Between)?;
            bytes = later;
        }
        self.piece.extend_from_slice(bytes);
        Ok(())
    }

    fn put_piece(&mut self) -> Result<(), WriteError> {
        self.hash.update(&self.piece);
        self.put()
    }

    fn put(&mut self) -> Result<(), WriteError> {
        self.file
            .write_all(&self.piece)
            .and_then(|()| self.file.sync_data())
            .map_err(|error| WriteError::Disk(disk_error(&self.path, &error)))?;
        self.piece.clear();
        Ok(())
    }

    fn write_all(&mut self, changes: &[Change]) -> Result<(), WriteError> {
        self.write(&header(changes))?;
        for (key, value) in changes {
            let bytes = u16::try_from(key.len()).expect("a key has at most 1 KiB");
            self.write(&bytes.to_be_bytes())?;
            self.write(key)?;
            self.write(&value_bytes(value.as_deref()).to_be_bytes())?;
            self.write(value.as_deref().unwrap_or_default())?;
        }
        self.hash.update(&self.piece);
        let hash = self.hash.finalize();
        self.piece.extend_from_slice(hash.as_bytes());
        self.put()?;
        (self.between)().map_err(WriteError::Between)
    }
}

fn value_bytes(value: Option<&[u8]>) -> u32 {
    value.map_or(REMOVED, |value| {
        u32::try_from(value.len()).expect("a value has at most 64 MiB")
    })
}

fn header(changes: &[Change]) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend(MAGIC);
    header.extend(VERSION.to_be_bytes());
    header.extend((changes.len() as u64).to_be_bytes());
    header.extend(body_bytes(changes).to_be_bytes());
    header
}

fn body_bytes(changes: &[Change]) -> u64 {
    let bytes = |(key, value): &Change| 6 + key.len() + value.as_ref().map_or(0, Vec::len);
    changes.iter().map(bytes).sum::<usize>() as u64
}

/// Bytes that the redo file of these changes takes.
pub(super) fn file_bytes(changes: &[Change]) -> u64 {
    (HEADER_BYTES + HASH_BYTES) as u64 + body_bytes(changes)
}

/// Writes and syncs the redo file under its temporary name.
///
/// # Errors
/// If that fails or `between` does: then the file is gone again.
pub(super) fn write(
    directory: &Directory,
    changes: &[Change],
    between: Between<'_>,
) -> Result<(), WriteError> {
    let (file, path) = directory.begin(NAME).map_err(WriteError::Disk)?;
    let mut writer = Writer {
        file,
        path,
        hash: blake3::Hasher::new(),
        piece: Vec::with_capacity(PIECE_BYTES),
        between,
    };
    let written = writer.write_all(changes);
    if written.is_err() {
        // Opening removes it, should this fail; and the next checkpoint writes over it.
        let _ = fs::remove_file(&writer.path);
    }
    written
}

/// Reads the complete redo file, if there is one.
///
/// # Errors
/// If it can not be read, or is not what was written.
pub(super) fn read(directory: &Directory) -> Result<Option<Vec<Change>>, StorageError> {
    let Some(bytes) = directory.read(NAME)? else {
        return Ok(None);
    };
    let changes = decode(&bytes).ok_or_else(|| {
        StorageError::Damaged(format!(
            "{}: the checkpoint in it is not the one that was written",
            directory.join(NAME).display()
        ))
    })?;
    Ok(Some(changes))
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn take_number<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    take(bytes, N)?.try_into().ok()
}

fn decode(bytes: &[u8]) -> Option<Vec<Change>> {
    let (written, hash) = bytes.split_last_chunk::<HASH_BYTES>()?;
    if blake3::hash(written) != blake3::Hash::from(*hash) {
        return None;
    }
    let mut rest = written;
    if take(&mut rest, MAGIC.len())? != MAGIC
        || u32::from_be_bytes(take_number(&mut rest)?) != VERSION
    {
        return None;
    }
    let count = u64::from_be_bytes(take_number(&mut rest)?);
    if u64::from_be_bytes(take_number(&mut rest)?) != rest.len() as u64 {
        return None;
    }
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let key_bytes = u16::from_be_bytes(take_number(&mut rest)?);
        let key = take(&mut rest, usize::from(key_bytes))?.to_vec();
        let value = match u32::from_be_bytes(take_number(&mut rest)?) {
            REMOVED => None,
            value_bytes => Some(take(&mut rest, value_bytes as usize)?.to_vec()),
        };
        changes.push((key, value));
    }
    (changes.len() as u64 == count).then_some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(changes: &[Change]) -> Vec<u8> {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        write(&directory, changes, &mut || Ok(())).unwrap();
        directory.finish(NAME).unwrap();
        assert_eq!(read(&directory).unwrap().unwrap(), changes);
        let bytes = directory.read(NAME).unwrap().unwrap();
        assert_eq!(bytes.len() as u64, file_bytes(changes));
        bytes
    }

    #[test]
    fn the_bytes_of_a_redo_file_are_these() {
        let changes = [
            (b"sx".to_vec(), Some(vec![9])),
            (b"t".to_vec(), None),
            (b"u".to_vec(), Some(vec![])),
        ];
        let bytes = written(&changes);
        let (written, hash) = bytes.split_at(bytes.len() - 32);
        assert_eq!(
            written,
            b"LVRTREDO\0\0\0\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x17\
              \0\x02sx\0\0\0\x01\x09\0\x01t\xff\xff\xff\xff\0\x01u\0\0\0\0"
        );
        assert_eq!(hash, blake3::hash(written).as_bytes());
    }

    #[test]
    fn a_torn_or_changed_redo_file_is_never_read() {
        let changes: Vec<Change> = (0..20u8)
            .map(|n| (vec![b's', n], (n % 3 > 0).then(|| vec![n; usize::from(n)])))
            .collect();
        let bytes = written(&changes);
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None);
            let mut changed = bytes.clone();
            changed[length] ^= 1;
            assert_eq!(decode(&changed), None);
        }
    }

    #[test]
    fn a_large_redo_file_is_written_in_pieces() {
        let changes = [(b"s".to_vec(), Some(vec![3; 5 << 20]))];
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let mut calls = 0;
        write(&directory, &changes, &mut || {
            calls += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(calls, 6);
        directory.finish(NAME).unwrap();
        assert_eq!(read(&directory).unwrap().unwrap(), changes);
    }

    #[test]
    fn one_that_was_given_up_leaves_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let stop = || Err(StorageError::Full("no".to_owned()));
        let outcome = write(&directory, &[(b"s".to_vec(), None)], &mut { stop });
        assert!(matches!(
            outcome,
            Err(WriteError::Between(StorageError::Full(_)))
        ));
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    }
}
