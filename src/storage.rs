//! The store under a replica: an ordered map of keys to bytes, with a journal's kind of write and
//! a checkpoint's kind of write.
//!
//! What the keys mean is no concern of an implementation (see `codec::key`). [`memory`] loses on
//! demand what no barrier covered; [`sled`] is the real one. One contract test runs against both.

#[cfg(test)]
mod contract;
pub mod memory;
#[cfg(feature = "sled")]
pub mod sled;

use crate::codec::key;

/// A key. Its first byte names the table, its second the repository.
pub type Key = Vec<u8>;

/// A key and what is to be there: bytes, or nothing.
pub type Change = (Key, Option<Vec<u8>>);

/// Longest key, in bytes. The shortest has one.
pub const KEY_MAX_BYTES: usize = 2_048;

/// Longest value, in bytes.
pub const VALUE_MAX_BYTES: usize = 64 << 20;

/// The tables from this byte on belong to the implementations: no key begins with one of them.
pub const TABLE_END: u8 = 0xfe;

/// The table whose keys end in a number of eight bytes, highest byte first, that counts up in what is
/// appended: an implementation may keep such values together. All its keys have this length.
pub const COUNTED_TABLE: u8 = key::JOURNAL;
/// See [`COUNTED_TABLE`].
pub const COUNTED_KEY_BYTES: usize = key::JOURNAL_KEY_BYTES;

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The disk is full. A write that was refused beforehand, for lack of room, has changed
    /// nothing, and the store goes on: the same write can be tried again. One that ran out of room
    /// on its way has failed, and trying again gives [`StorageError::ReadOnly`].
    #[error("the disk is full: {0}")]
    Full(String),
    /// Reading or writing failed. After a failed write the store must be opened again.
    #[error("the disk failed: {0}")]
    Io(String),
    /// What was read is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// An earlier write failed, so this one was refused. Reads go on as far as what failed lets
    /// them: one may give [`StorageError::Io`], but none gives what nobody wrote.
    #[error("the store takes no more writes since an earlier failure: {0}")]
    ReadOnly(String),
    /// The directory is open already, here or in another process.
    #[error("the store is in use: {0}")]
    InUse(String),
}

/// Refuses what no caller may hand in: it would be a defect, not bad input.
pub(crate) fn assert_entry(key: &[u8], value_bytes: usize) {
    assert!(
        !key.is_empty() && key.len() <= KEY_MAX_BYTES && key[0] < TABLE_END,
        "a key has 1 to {KEY_MAX_BYTES} bytes and begins with the byte of a table"
    );
    assert!(
        key[0] != COUNTED_TABLE || key.len() == COUNTED_KEY_BYTES,
        "a key of the counted table has {COUNTED_KEY_BYTES} bytes"
    );
    assert!(
        value_bytes <= VALUE_MAX_BYTES,
        "a value has at most {VALUE_MAX_BYTES} bytes"
    );
}

/// An ordered map of keys to bytes that outlives the process.
///
/// Keys have 1 byte to [`KEY_MAX_BYTES`], the first one below [`TABLE_END`], and those of
/// [`COUNTED_TABLE`] exactly [`COUNTED_KEY_BYTES`]; values have at most [`VALUE_MAX_BYTES`] (an
/// implementation cuts large ones up). No key comes twice in one write.
/// Reads see every write that has returned, from any thread. Writes come from one thread at a
/// time. After a write has failed every later one fails with [`StorageError::ReadOnly`], since what
/// is on disk is not known any more: the store has to be opened again. A write that was *refused*
/// because the disk is nearly full ([`StorageError::Full`]) has not failed in this sense: nothing
/// of it was begun, and once there is room again it can be repeated. Whoever gets `Full` can
/// therefore always try the same write again: the answer tells which it was. Room is looked at
/// before a write and may be gone a moment later, so that is a courtesy, no promise.
pub trait Storage: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// If it can not be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;

    /// The first `limit` entries of `from..to`, in ascending order of keys.
    ///
    /// # Errors
    /// If they can not be read.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Vec<u8>)>, StorageError>;

    /// The last `limit` entries of `from..to`, in descending order of keys.
    ///
    /// # Errors
    /// If they can not be read.
    fn scan_back(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Vec<u8>)>, StorageError>;

    /// Writes journal records. All are durable when it returns; each is there whole or not at all
    /// after a crash in between, and those before it too.
    ///
    /// # Errors
    /// If they could not be made durable; some may be there nevertheless, unless the write was
    /// refused ([`StorageError::Full`] and the store goes on, or [`StorageError::ReadOnly`]).
    ///
    /// # Panics
    /// If a key or a value is out of bounds.
    fn append(&self, records: &[(Key, Vec<u8>)]) -> Result<(), StorageError>;

    /// Writes and removes entries, all or none of them: after a crash in between, the next
    /// opening has either. `between` is called now and then, at least every few milliseconds of
    /// work, so that the caller can [`Storage::append`] meanwhile, other keys than those of the
    /// checkpoint; reads may see part of the changes until it returns.
    ///
    /// # Errors
    /// If they could not be made durable; and whatever error `between` gives, which then is not
    /// called again. If the store takes writes after that, none or all of the changes are there,
    /// and repeating the checkpoint is safe.
    ///
    /// # Panics
    /// If a key or a value is out of bounds.
    fn checkpoint(
        &self,
        changes: &[Change],
        between: &mut dyn FnMut() -> Result<(), StorageError>,
    ) -> Result<(), StorageError>;

    /// Does some of the work that the store has put off, a few milliseconds of it; true if there is
    /// more. It changes nothing that is read. Called by the thread that writes when nobody waits for
    /// it; who never calls it pays with his writes.
    ///
    /// # Errors
    /// If something could not be written: as after any failed write.
    fn tidy(&self) -> Result<bool, StorageError> {
        Ok(false)
    }

    /// Notes in a place of its own that everything up to `mark` has been acknowledged, so that
    /// the next opening can tell whether a tail was lost. Called now and then; not durable at once.
    ///
    /// # Errors
    /// If it could not be written; the earlier one is still there, and the store goes on.
    fn witness(&self, mark: &[u8]) -> Result<(), StorageError>;

    /// What [`Storage::witness`] noted last, in this life or an earlier one.
    ///
    /// # Errors
    /// If it can not be read, or is damaged.
    fn last_witness(&self) -> Result<Option<Vec<u8>>, StorageError>;

    /// Bytes that the store takes on disk; 0 if it takes none.
    fn size_on_disk(&self) -> u64;

    /// What the store has counted of that; nothing if it counts nothing. Waits for no write.
    fn upkeep(&self) -> Option<Upkeep> {
        None
    }
}

/// How a store keeps small what it takes on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// Bytes of the keys and values in it.
    pub live_bytes: u64,
    /// Whether it is so much larger than they are, and grows, that it is cleaned as fast as can be.
    pub behind: bool,
}
