//! The rows of a table of the store, in the order of their keys, a page at a time.

use std::iter::Peekable;
use std::vec::IntoIter;

use crate::codec::state_key;
use crate::model::RepoId;
use crate::storage::{Key, Storage, StorageError};

/// Fewest and most rows read at a time. A value can have a mebibyte, and the one before tells little.
const PAGE_MIN: usize = 8;
const PAGE_MAX: usize = 64;
/// Bytes of values in a page after which the next one has fewer rows.
const PAGE_BYTES: usize = 1 << 20;

/// A key and what is there.
pub(super) type Row = (Key, Vec<u8>);

/// See the top of the file.
pub(super) struct Rows<'a> {
    storage: &'a dyn Storage,
    from: Key,
    to: Key,
    page: Peekable<IntoIter<Row>>,
    limit: usize,
    ended: bool,
}

impl<'a> Rows<'a> {
    /// All rows of a table of a repository.
    pub(super) fn new(storage: &'a dyn Storage, table: u8, repo: RepoId) -> Self {
        let from = vec![table, repo.0];
        let to = state_key::after_prefix(&from);
        Self::between(storage, from, to)
    }

    /// The rows from a key on, up to another one, exclusive.
    pub(super) fn between(storage: &'a dyn Storage, from: Key, to: Key) -> Self {
        Self {
            storage,
            from,
            to,
            page: Vec::new().into_iter().peekable(),
            limit: PAGE_MIN,
            ended: false,
        }
    }

    /// The next row; reads a page where one is needed.
    pub(super) fn peek(&mut self) -> Result<Option<&Row>, StorageError> {
        if self.page.peek().is_none() && !self.ended {
            let page = self.storage.scan(&self.from, &self.to, self.limit)?;
            self.ended = page.len() < self.limit;
            if let Some((last, _)) = page.last() {
                self.from.clone_from(last);
                self.from.push(0);
            }
            let bytes: usize = page.iter().map(|(_, value)| value.len()).sum();
            self.limit = match bytes > PAGE_BYTES {
                true => (self.limit / 4).max(PAGE_MIN),
                false => (self.limit * 2).min(PAGE_MAX),
            };
            self.page = page.into_iter().peekable();
        }
        Ok(self.page.peek())
    }

    /// The row that was peeked at.
    pub(super) fn next(&mut self) -> Option<Row> {
        self.page.next()
    }

    /// The value of the row that was peeked at, if that has this key.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let (_, value) = self.page.next_if(|(other, _)| other == key)?;
        Some(value)
    }
}
