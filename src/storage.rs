//! The store under a replica: an ordered map of keys to bytes, with a journal's kind of write and
//! a checkpoint's kind of write.
//!
//! What the keys mean is no concern of an implementation (see `codec::key`). [`memory`] loses on
//! demand what no barrier covered; [`sled`] is the real one. One contract test runs against both.

pub mod memory;
#[cfg(feature = "sled")]
pub mod sled;

/// A key. Its first byte names the table, its second the repository.
pub type Key = Vec<u8>;

/// A key and what is to be there: bytes, or nothing.
pub type Change = (Key, Option<Vec<u8>>);

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The disk is full. Nothing more can be written until the store is opened again.
    #[error("the disk is full: {0}")]
    Full(String),
    /// Reading or writing failed. After a failed write the store must be opened again.
    #[error("the disk failed: {0}")]
    Io(String),
    /// What was read is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// An earlier write failed, so this one was refused; reads go on.
    #[error("the store takes no more writes since an earlier failure: {0}")]
    ReadOnly(String),
}

/// An ordered map of keys to bytes that outlives the process.
///
/// Keys are at most 1 KiB, values at most 64 MiB (an implementation cuts large ones up). Reads see
/// every write that has returned, from any thread. Writes come from one thread at a time. After a
/// write has failed every later one fails with [`StorageError::ReadOnly`], since what is on disk
/// is not known any more: the store has to be opened again.
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
    /// If they could not be made durable; some may be there nevertheless.
    fn append(&self, records: &[(Key, Vec<u8>)]) -> Result<(), StorageError>;

    /// Writes and removes entries, all or none of them: after a crash in between, the next
    /// opening has either. `between` is called now and then, at least every few milliseconds of
    /// work, so that the caller can [`Storage::append`] meanwhile; reads may see part of the
    /// changes until it returns.
    ///
    /// # Errors
    /// If they could not be made durable.
    fn checkpoint(
        &self,
        changes: &[Change],
        between: &mut dyn FnMut() -> Result<(), StorageError>,
    ) -> Result<(), StorageError>;

    /// Notes in a place of its own that everything up to `mark` has been acknowledged, so that
    /// the next opening can tell whether a tail was lost. Called now and then; not durable at once.
    ///
    /// # Errors
    /// If it could not be written.
    fn witness(&self, mark: &[u8]) -> Result<(), StorageError>;

    /// What [`Storage::witness`] noted last, in this life or an earlier one.
    ///
    /// # Errors
    /// If it can not be read.
    fn last_witness(&self) -> Result<Option<Vec<u8>>, StorageError>;

    /// Bytes that the store takes on disk; 0 if it takes none.
    fn size_on_disk(&self) -> u64;
}
