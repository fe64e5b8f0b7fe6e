//! The right to write to the store: what one step of a writer does, and what it keeps count of.
//!
//! sled gives freed segments of its log out again by what it has *written*, not by what has been
//! synced. So no more than a fraction of a segment may be written without a barrier, however much
//! there is to write ([`UNSYNCED_PART`]).

use std::slice;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, Ordering};

use super::SledOptions;
use super::cleaning::Cleaning;
use super::engine::{Bytes, Engine};
use super::pack;
use super::value::{self, CHUNK_BYTES, Head};
use crate::storage::{Key, StorageError, TABLE_END};

/// The part of a segment that bytes of keys and values, each entry counted with [`ENTRY_BYTES`] more,
/// may come to without a barrier: 512 KiB of 8 MiB. In sled's log they become up to ten times as many,
/// since it rewrites the pages around them.
const UNSYNCED_PART: usize = 16;
const ENTRY_BYTES: usize = 256;

/// What a page that is moved by cleaning counts among them. One of the state has 1 to 3 KiB mostly, one of
/// packs or chunks up to 64 KiB; as many as fit stay below a segment even if all are of the largest.
const CLEANED_PAGE_BYTES: usize = 4 << 10;

/// What a writer keeps count of.
#[derive(Debug)]
pub(super) struct Written {
    /// Bytes since the last barrier.
    pub(super) unsynced: usize,
    pub(super) unsynced_max: usize,
    pub(super) cleaning: Cleaning,
}

impl Written {
    /// For a store that sled has just opened. What sled has written on that counts as much as may be
    /// without a barrier, so that there is one before anything else is written.
    pub(super) fn new(options: &SledOptions) -> Self {
        let unsynced_max = options.segment_bytes / UNSYNCED_PART;
        Self {
            unsynced: unsynced_max,
            unsynced_max,
            cleaning: Cleaning::new(options.slack_bytes),
        }
    }
}

/// The right to write, for one step.
pub(super) struct Writer<'a> {
    pub(super) engine: &'a Engine,
    /// Counts what was written once more so that something before it can be replaced.
    pub(super) parted: &'a AtomicU64,
    pub(super) written: MutexGuard<'a, Written>,
}

fn is_large(value: &[u8]) -> bool {
    value.len() > CHUNK_BYTES
}

impl Writer<'_> {
    pub(super) fn barrier(&mut self) -> Result<(), StorageError> {
        self.engine.barrier()?;
        self.written.unsynced = 0;
        Ok(())
    }

    /// Makes room for a write among those that no barrier has covered yet.
    fn charge(&mut self, bytes: usize) -> Result<(), StorageError> {
        if self.written.unsynced + bytes > self.written.unsynced_max {
            self.barrier()?;
        }
        self.written.unsynced += bytes + ENTRY_BYTES;
        Ok(())
    }

    pub(super) fn insert(
        &mut self,
        key: &[u8],
        stored: Vec<u8>,
    ) -> Result<Option<Bytes>, StorageError> {
        let bytes = stored.len();
        self.charge(key.len() + bytes)?;
        let old = self.engine.insert(key, stored)?;
        self.wrote(key, Some(bytes), old.as_deref())?;
        Ok(old)
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.charge(key.len())?;
        let old = self.engine.remove(key)?;
        self.wrote(key, None, old.as_deref())?;
        Ok(old)
    }

    /// Keeps count of a value that has taken the place of another one.
    fn wrote(
        &mut self,
        key: &[u8],
        bytes: Option<usize>,
        old: Option<&[u8]>,
    ) -> Result<(), StorageError> {
        let cleaning = &mut self.written.cleaning;
        cleaning.replaced(key.len(), old.map(<[u8]>::len), bytes);
        cleaning.wrote(self.engine, key.len() + bytes.unwrap_or(0) + ENTRY_BYTES)
    }

    pub(super) fn clean_page(&mut self) -> Result<(), StorageError> {
        self.charge(CLEANED_PAGE_BYTES)?;
        self.written.cleaning.clean_page(self.engine)
    }

    /// Writes journal records, durably: the chunks of large ones first, and after a barrier what
    /// makes them visible. Chunks under way are noted, so that the next opening can tidy up.
    pub(super) fn append(&mut self, records: &[(Key, Vec<u8>)]) -> Result<(), StorageError> {
        let heads = self.put_large(records)?;
        if !heads.is_empty() {
            self.barrier()?;
        }
        let mut heads = heads.iter();
        let mut rest = records;
        while !rest.is_empty() {
            let (run, later) = rest.split_at(pack::run(rest));
            self.put_run(run, &mut heads)?;
            rest = later;
        }
        self.barrier()?;
        for (key, _) in records.iter().filter(|(_, value)| is_large(value)) {
            self.remove(&value::under_way_key(key))?;
        }
        Ok(())
    }

    /// Writes records that make one entry, unless others stand among them.
    fn put_run(
        &mut self,
        run: &[(Key, Vec<u8>)],
        heads: &mut slice::Iter<'_, Head>,
    ) -> Result<(), StorageError> {
        if let [(first, _), .., (last, _)] = run {
            let found = pack::holder(self.engine, last)?;
            if found.as_ref().is_none_or(|(at, _)| **at <= **first) {
                let values: Vec<&[u8]> = run.iter().map(|(_, value)| &value[..]).collect();
                self.part_at(found, last)?;
                let old = self.insert(first, pack::encode(&values))?;
                return self.remove_chunks(first, old);
            }
        }
        for (key, value) in run {
            let stored = if is_large(value) {
                heads.next().expect("every large one has its head").encode()
            } else {
                value::encode_inline(value)
            };
            self.replace(key, stored)?;
        }
        Ok(())
    }

    pub(super) fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StorageError> {
        match value {
            None => self.take_out(key),
            Some(value) if is_large(value) => {
                let head = self.put_chunks(key, value)?;
                self.replace(key, head.encode())
            }
            Some(value) => self.replace(key, value::encode_inline(value)),
        }
    }

    /// Puts something in the place of a key's value, wherever that was.
    fn replace(&mut self, key: &[u8], stored: Vec<u8>) -> Result<(), StorageError> {
        self.part(key)?;
        let old = self.insert(key, stored)?;
        self.remove_chunks(key, old)
    }

    /// Removes a key's value, wherever that is.
    fn take_out(&mut self, key: &[u8]) -> Result<(), StorageError> {
        self.part(key)?;
        let old = if self.is_in_reach(key)? {
            self.insert(key, value::encode_nothing())?
        } else {
            self.remove(key)?
        };
        self.remove_chunks(key, old)
    }

    /// Makes an entry of what a pack has after a key, so that what is written under the key may end
    /// the pack.
    pub(super) fn part(&mut self, key: &[u8]) -> Result<(), StorageError> {
        if !pack::is_counted(key) {
            return Ok(());
        }
        let found = pack::holder(self.engine, key)?;
        self.part_at(found, key)
    }

    /// The same, where the entry is known that has the key's value.
    fn part_at(&mut self, found: Option<(Bytes, Bytes)>, key: &[u8]) -> Result<(), StorageError> {
        let after = [key, &[0]].concat();
        if let Some((at, stored)) = found
            && let Some(pack) = pack::read(&at, &stored)
            && pack.reaches(&after)
        {
            let next = self.engine.range(&after, &[TABLE_END], 1, false)?.pop();
            let next = next.as_ref().map_or(&[TABLE_END][..], |(next, _)| next);
            let (keys, values): (Vec<Key>, Vec<&[u8]>) = pack.entries(&after, next).unzip();
            if let Some(first) = keys.first() {
                self.insert(first, pack::encode(&values))?;
                self.parted.fetch_add(1, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    /// Whether a pack before a key would have a value of it, if nothing stood there.
    fn is_in_reach(&self, key: &[u8]) -> Result<bool, StorageError> {
        if !pack::is_counted(key) {
            return Ok(false);
        }
        let before = pack::before(self.engine, key)?;
        Ok(before.is_some_and(|(at, stored)| pack::may_reach(&at, &stored, key)))
    }

    /// Writes the chunks of the large ones among journal records, with a note that they are under
    /// way, and gives their heads.
    pub(super) fn put_large(
        &mut self,
        records: &[(Key, Vec<u8>)],
    ) -> Result<Vec<Head>, StorageError> {
        let mut heads = Vec::new();
        for (key, value) in records.iter().filter(|(_, value)| is_large(value)) {
            self.insert(&value::under_way_key(key), Vec::new())?;
            heads.push(self.put_chunks(key, value)?);
        }
        Ok(heads)
    }

    /// Writes the chunks of a value and gives the head that is still to be written.
    fn put_chunks(&mut self, key: &[u8], value: &[u8]) -> Result<Head, StorageError> {
        let old = self.engine.get(key)?;
        let old = value::head_in(old.as_deref());
        let head = Head::new(value, old.map_or(0, |old| old.next_generation()));
        for (index, chunk) in (0..head.chunks).zip(value.chunks(CHUNK_BYTES)) {
            let chunk_key = value::chunk_key(key, head.generation, index);
            self.insert(&chunk_key, chunk.to_vec())?;
        }
        Ok(head)
    }

    /// Removes the chunks of what stood under a key before.
    fn remove_chunks(&mut self, key: &[u8], old: Option<Bytes>) -> Result<(), StorageError> {
        let Some(old) = value::head_in(old.as_deref()) else {
            return Ok(());
        };
        for index in 0..old.chunks {
            self.remove(&value::chunk_key(key, old.generation, index))?;
        }
        Ok(())
    }

    /// Removes the chunks under a key that are not those of its head.
    pub(super) fn sweep(&mut self, key: &[u8]) -> Result<(), StorageError> {
        let stored = self.engine.get(key)?;
        let head = value::head_in(stored.as_deref());
        for generation in [0, 1] {
            let known = head.filter(|head| head.generation == generation);
            let chunks = known.map_or(0, |head| head.chunks);
            let (from, to) = value::chunk_range(key, generation);
            for (chunk_key, _) in self.engine.range(&from, &to, usize::MAX, false)? {
                if value::chunk_index(&chunk_key, key).is_some_and(|index| index >= chunks) {
                    self.remove(&chunk_key)?;
                }
            }
        }
        Ok(())
    }
}
