//! The journal as the replica uses it: every change set ever taken, by origin and number.
//!
//! Change sets that are on their way to the disk are found here as well, and those read lately
//! are kept decoded, within a bound.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::ends::{Ends, within};
use crate::codec::journal::{Seal, decode as decode_record};
use crate::codec::message::{RANGE_RECORDS_MAX, SealedBytes};
use crate::codec::{change_set, key};
use crate::merge::History;
use crate::model::{ChangeSet, OriginId, RepoId, Sequence};
use crate::storage::{Storage, StorageError};

/// Most decoded change sets kept of those that are on disk.
const CACHE_ENTRIES_MAX: usize = 4_096;
/// Most of them in bytes, encoded.
const CACHE_BYTES_MAX: usize = 16 << 20;
/// Bytes of change sets after which a range is ended, if it can be (it has to end sealed).
pub(super) const RANGE_BYTES_MAX: usize = 1 << 20;
/// What a record in a range takes beside its change set, in bytes, at most.
pub(super) const RECORD_OVERHEAD_BYTES: usize = 80;
/// Records read from the store at a time.
const PAGE_RECORDS: usize = 32;

type Place = (OriginId, Sequence);

/// Reads the journal of one repository from the store. May be used by any thread.
#[derive(Clone)]
pub struct JournalReader {
    repo: RepoId,
    storage: Arc<dyn Storage>,
}

/// One change set as the journal has it.
#[derive(Clone, Debug)]
pub struct JournalRecord {
    /// Its encoded bytes.
    pub body: Vec<u8>,
    /// The seal that stands with it.
    pub seal: Option<Seal>,
}

impl JournalReader {
    /// Reads the journal of `repo` in `storage`.
    pub fn new(repo: RepoId, storage: Arc<dyn Storage>) -> Self {
        Self { repo, storage }
    }

    /// Which repository's it is.
    pub(super) fn repo(&self) -> RepoId {
        self.repo
    }

    /// Where it is.
    pub(super) fn storage(&self) -> &dyn Storage {
        self.storage.as_ref()
    }

    /// The record of a change set, its checksum verified; nothing if there is none.
    ///
    /// # Errors
    /// If it can not be read or is damaged.
    pub fn record(
        &self,
        origin: OriginId,
        sequence: Sequence,
    ) -> Result<Option<JournalRecord>, StorageError> {
        let Some(bytes) = self
            .storage
            .get(&key::journal(self.repo, origin, sequence))?
        else {
            return Ok(None);
        };
        let record =
            decode_record(&bytes).map_err(|error| damaged(origin, sequence, error.to_string()))?;
        Ok(Some(JournalRecord {
            seal: record.seal,
            body: record.body.to_vec(),
        }))
    }

    /// A change set; nothing if there is none of that number.
    ///
    /// # Errors
    /// If it can not be read or is damaged.
    pub fn change_set(
        &self,
        origin: OriginId,
        sequence: Sequence,
    ) -> Result<Option<ChangeSet>, StorageError> {
        let Some(record) = self.record(origin, sequence)? else {
            return Ok(None);
        };
        change_set::decode(&record.body)
            .map(Some)
            .map_err(|error| damaged(origin, sequence, error.to_string()))
    }

    /// The origins that have records, in ascending order.
    ///
    /// # Errors
    /// If the store can not be read.
    pub fn origins(&self) -> Result<Vec<OriginId>, StorageError> {
        let (mut from, to) = key::journal_range(self.repo);
        let mut origins = Vec::new();
        while let Some((found, _)) = self.storage.scan(&from, &to, 1)?.pop() {
            let Some((origin, _)) = key::parse_journal(&found) else {
                return Err(StorageError::Damaged("a malformed journal key".into()));
            };
            origins.push(origin);
            from = key::journal_end(self.repo, origin);
        }
        Ok(origins)
    }

    /// The last number that an origin has a record of; 0 if it has none.
    pub(super) fn last(&self, origin: OriginId) -> Result<Sequence, StorageError> {
        let from = key::journal(self.repo, origin, Sequence(0));
        let to = key::journal_end(self.repo, origin);
        let last = self.storage.scan_back(&from, &to, 1)?;
        let last = last.first().and_then(|(key, _)| key::parse_journal(key));
        Ok(last.map_or(Sequence(0), |(_, sequence)| sequence))
    }

    /// The raw records after a number, in order, with their numbers: at most `limit`.
    pub(super) fn page(
        &self,
        origin: OriginId,
        after: Sequence,
        limit: usize,
    ) -> Result<Vec<(Sequence, Vec<u8>)>, StorageError> {
        if after == Sequence(u64::MAX) {
            return Ok(Vec::new());
        }
        let from = key::journal(self.repo, origin, after.next());
        let to = key::journal_end(self.repo, origin);
        let rows = self.storage.scan(&from, &to, limit)?;
        rows.into_iter()
            .map(|(found, bytes)| match key::parse_journal(&found) {
                Some((_, sequence)) => Ok((sequence, bytes)),
                None => Err(StorageError::Damaged("a malformed journal key".into())),
            })
            .collect()
    }

    /// How many records there are of an origin above a number, if they are sound, in their place, in a
    /// row, and none of them sealed: what a torn commit has left of a run. A run counts with its seal,
    /// and what was damaged, or is missing, is not sound and in a row. So they never counted, and what
    /// came later may be another history, which need not lead to them.
    ///
    /// # Errors
    /// If the store can not be read.
    pub(super) fn leftover(
        &self,
        origin: OriginId,
        after: Sequence,
    ) -> Result<Option<u64>, StorageError> {
        let mut at = after;
        loop {
            let page = self.page(origin, at, PAGE_RECORDS)?;
            if page.is_empty() {
                return Ok(Some(at.0 - after.0));
            }
            for (sequence, bytes) in page {
                if sequence != at.next() || !self.is_unsealed(origin, sequence, &bytes) {
                    return Ok(None);
                }
                at = sequence;
            }
        }
    }

    /// Whether a record is that of this number, and has no seal.
    fn is_unsealed(&self, origin: OriginId, sequence: Sequence, bytes: &[u8]) -> bool {
        let Ok(record) = decode_record(bytes) else {
            return false;
        };
        record.seal.is_none()
            && change_set::decode(record.body).is_ok_and(|set| {
                (set.repo, set.id.origin, set.sequence) == (self.repo, origin, sequence)
            })
    }

    /// Change sets after a number up to `last`, which is sealed: as many as fit one message, the
    /// last of them sealed. None if the first one can not be read.
    ///
    /// # Errors
    /// If the store can not be read.
    pub(super) fn range(
        &self,
        origin: OriginId,
        after: Sequence,
        last: Sequence,
    ) -> Result<Vec<SealedBytes>, StorageError> {
        let mut range: Vec<SealedBytes> = Vec::new();
        let (mut bytes, mut sealed, mut at) = (0, 0, after);
        'pages: while at < last {
            let page = self.page(origin, at, PAGE_RECORDS)?;
            if page.is_empty() {
                break;
            }
            for (sequence, raw) in page {
                if sequence != at.next() || sequence > last {
                    break 'pages;
                }
                let Ok(record) = decode_record(&raw) else {
                    break 'pages;
                };
                bytes += record.body.len() + RECORD_OVERHEAD_BYTES;
                let full = bytes > RANGE_BYTES_MAX || range.len() == RANGE_RECORDS_MAX;
                if full && sealed > 0 {
                    break 'pages;
                }
                range.push(SealedBytes {
                    body: record.body.into(),
                    seal: record.seal,
                });
                if record.seal.is_some() {
                    sealed = range.len();
                }
                at = sequence;
            }
        }
        range.truncate(sealed);
        Ok(range)
    }
}

fn damaged(origin: OriginId, sequence: Sequence, reason: String) -> StorageError {
    StorageError::Damaged(format!(
        "journal record {sequence} of origin {origin}: {reason}"
    ))
}

/// The journal of one repository with what is on its way to it.
pub(super) struct Journal {
    reader: JournalReader,
    /// Taken, and not yet on disk.
    pending: BTreeMap<Place, (Arc<ChangeSet>, usize)>,
    cache: RefCell<Cache>,
    /// Where origins end: what others depend on beyond counts as the end.
    ends: Ends,
}

impl Journal {
    pub(super) fn new(repo: RepoId, storage: Arc<dyn Storage>, ends: Ends) -> Self {
        Self {
            ends,
            reader: JournalReader::new(repo, storage),
            pending: BTreeMap::new(),
            cache: RefCell::default(),
        }
    }

    pub(super) fn reader(&self) -> &JournalReader {
        &self.reader
    }

    /// Takes note of where an origin ends.
    pub(super) fn end(&mut self, origin: OriginId, last: Sequence) {
        self.ends.insert(origin, last);
    }

    /// Takes note of a change set that goes into the next commit. `bytes` is its encoded length.
    pub(super) fn push(&mut self, change_set: Arc<ChangeSet>, bytes: usize) {
        let place = (change_set.id.origin, change_set.sequence);
        self.pending.insert(place, (change_set, bytes));
    }

    /// The commit with this change set is through.
    pub(super) fn committed(&mut self, origin: OriginId, sequence: Sequence) {
        if let Some((change_set, bytes)) = self.pending.remove(&(origin, sequence)) {
            self.cache.get_mut().insert(change_set, bytes);
        }
    }

    /// A change set that is on its way to the disk.
    pub(super) fn pending(&self, origin: OriginId, sequence: Sequence) -> Option<&ChangeSet> {
        let (change_set, _) = self.pending.get(&(origin, sequence))?;
        Some(change_set)
    }

    /// Keeps a change set that has just been read, for the next who asks.
    pub(super) fn keep(&mut self, change_set: Arc<ChangeSet>, bytes: usize) {
        self.cache.get_mut().insert(change_set, bytes);
    }

    /// A change set that has been taken, as it counts: see `ends`.
    pub(super) fn get(
        &self,
        origin: OriginId,
        sequence: Sequence,
    ) -> Result<Arc<ChangeSet>, StorageError> {
        let set = self.get_as_made(origin, sequence)?;
        Ok(within(&self.ends, set))
    }

    /// A change set that has been taken, as its author made it.
    pub(super) fn get_as_made(
        &self,
        origin: OriginId,
        sequence: Sequence,
    ) -> Result<Arc<ChangeSet>, StorageError> {
        let place = (origin, sequence);
        if let Some((change_set, _)) = self.pending.get(&place) {
            return Ok(change_set.clone());
        }
        if let Some(change_set) = self.cache.borrow_mut().get(place) {
            return Ok(change_set);
        }
        let Some(record) = self.reader.record(origin, sequence)? else {
            return Err(damaged(origin, sequence, "it is missing".into()));
        };
        let change_set = change_set::decode(&record.body)
            .map_err(|error| damaged(origin, sequence, error.to_string()))?;
        let change_set = Arc::new(change_set);
        self.cache
            .borrow_mut()
            .insert(change_set.clone(), record.body.len());
        Ok(change_set)
    }
}

impl History for Journal {
    fn change_set(
        &self,
        origin: OriginId,
        sequence: Sequence,
    ) -> Result<Arc<ChangeSet>, StorageError> {
        self.get(origin, sequence)
    }
}

/// The change sets read last.
#[derive(Default)]
struct Cache {
    /// Only looked things up in.
    entries: HashMap<Place, CacheEntry, RandomState>,
    /// The places of all entries; the hand of the clock algorithm is at the front.
    ring: VecDeque<Place>,
    bytes: usize,
}

struct CacheEntry {
    change_set: Arc<ChangeSet>,
    bytes: usize,
    used: bool,
}

impl Cache {
    fn get(&mut self, place: Place) -> Option<Arc<ChangeSet>> {
        let entry = self.entries.get_mut(&place)?;
        entry.used = true;
        Some(entry.change_set.clone())
    }

    fn insert(&mut self, change_set: Arc<ChangeSet>, bytes: usize) {
        let place = (change_set.id.origin, change_set.sequence);
        let entry = CacheEntry {
            change_set,
            bytes,
            used: false,
        };
        match self.entries.insert(place, entry) {
            Some(old) => self.bytes -= old.bytes,
            None => self.ring.push_back(place),
        }
        self.bytes += bytes;
        while self.entries.len() > CACHE_ENTRIES_MAX || self.bytes > CACHE_BYTES_MAX {
            let Some(place) = self.ring.pop_front() else {
                break;
            };
            match self.entries.get_mut(&place) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.ring.push_back(place);
                }
                _ => {
                    let old = self.entries.remove(&place);
                    self.bytes -= old.map_or(0, |entry| entry.bytes);
                }
            }
        }
    }
}
