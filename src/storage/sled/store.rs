//! Values of any length over sled, and the barriers between its writes.
//!
//! Writers take the lock for a step that leaves every key readable; readers take none. A reader
//! that meets a large value while it is replaced sees the head change and reads again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::SledOptions;
use super::cleaning::Told;
use super::engine::{Bytes, Engine};
use super::pack;
use super::value::{self, CHUNK_BYTES, Stored};
use super::writer::{Writer, Written};
use crate::storage::{Change, Key, StorageError, Upkeep};

/// What is wrong with an entry that is none.
const NO_VALUE: &str = "neither a value, nor several, nor the head of one";

/// An open store with one writer.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) engine: Engine,
    /// See [`Writer::parted`].
    parted: AtomicU64,
    /// What has been written, and the right to write.
    writer: Mutex<Written>,
    told: Arc<Told>,
}

/// What was found of a value.
enum Assembled {
    /// All of it, or that there is none.
    Whole(Option<Vec<u8>>),
    /// Not all of its chunks.
    Torn,
}

fn damaged(key: &[u8], what: &str) -> StorageError {
    let start: String = key.iter().take(40).map(|b| format!("{b:02x}")).collect();
    StorageError::Damaged(format!("the value of key {start}: {what}"))
}

impl Store {
    /// A store that sled has just opened.
    pub(super) fn new(engine: Engine, options: &SledOptions) -> Self {
        let written = Written::new(options);
        Self {
            engine,
            parted: AtomicU64::new(0),
            told: written.cleaning.told(),
            writer: Mutex::new(written),
        }
    }

    fn writer(&self) -> Writer<'_> {
        Writer {
            engine: &self.engine,
            parted: &self.parted,
            written: self
                .writer
                .lock()
                .expect("nothing panics while it holds the lock"),
        }
    }

    /// Makes everything durable that was written.
    pub(super) fn barrier(&self) -> Result<(), StorageError> {
        self.writer().barrier()
    }

    /// Makes sure that chunks do not share pages with the callers' keys: a page is rewritten as a
    /// whole, and beside the end of a journal that is all the time.
    pub(super) fn put_fence(&self) -> Result<(), StorageError> {
        let mut writer = self.writer();
        for key in value::FENCE {
            if self.engine.get(&key)?.is_none() {
                writer.insert(&key, Vec::new())?;
            }
        }
        Ok(())
    }

    /// Learns how many bytes live in the store. To be called before anything is written.
    pub(super) fn count(&self) -> Result<(), StorageError> {
        self.writer().written.cleaning.count(&self.engine)
    }

    /// Cleans as much of sled's log as is due by what was written, up to so many pages. True if
    /// there is more to clean.
    pub(super) fn clean(&self, pages_max: u32) -> Result<bool, StorageError> {
        let mut writer = self.writer();
        for _ in 0..pages_max {
            if !writer.written.cleaning.is_due() {
                return Ok(false);
            }
            writer.clean_page()?;
        }
        Ok(writer.written.cleaning.is_due())
    }

    /// Whether cleaning lags so far behind that whoever writes should do some of it.
    pub(super) fn is_cleaning_late(&self) -> bool {
        self.writer().written.cleaning.is_late()
    }

    /// What is counted of cleaning.
    pub(super) fn upkeep(&self) -> Upkeep {
        self.told.upkeep()
    }

    /// Makes everything durable, for the last time.
    pub(super) fn last_barrier(&self) -> Result<(), StorageError> {
        let mut writer = self.writer();
        let Written { cleaning, .. } = &mut *writer.written;
        cleaning.note_at_end(&self.engine)?;
        writer.barrier()
    }

    /// Lets go of sled.
    pub(super) fn close(&mut self) -> Result<(), StorageError> {
        self.engine.close()
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        if pack::is_counted(key) {
            return self.get_counted(key);
        }
        match self.engine.get(key)? {
            None => Ok(None),
            Some(stored) => self.resolve(key, stored),
        }
    }

    fn get_counted(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.unparted(|| {
            let Some((at, stored)) = pack::holder(&self.engine, key)? else {
                return Ok(None);
            };
            if *at == *key {
                return self.resolve(key, stored);
            }
            match pack::read(&at, &stored) {
                Some(pack) => Ok(pack.get(key).map(<[u8]>::to_vec)),
                None if pack::may_reach(&at, &stored, key) => Err(damaged(&at, NO_VALUE)),
                None => Ok(None),
            }
        })
    }

    /// Reads, once more if a pack was parted meanwhile.
    pub(super) fn unparted<T>(
        &self,
        mut read: impl FnMut() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        loop {
            let parted = self.parted.load(Ordering::SeqCst);
            let found = read()?;
            if self.parted.load(Ordering::SeqCst) == parted {
                return Ok(found);
            }
        }
    }

    /// The value of a key under which `stored` was found, or what has taken its place since.
    pub(super) fn resolve(
        &self,
        key: &[u8],
        mut stored: Bytes,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        loop {
            if let Assembled::Whole(value) = self.assemble(key, &stored)? {
                return Ok(value);
            }
            let again = match self.engine.get(key)? {
                None => return Ok(None),
                Some(again) => again,
            };
            if again == stored {
                break;
            }
            stored = again;
        }
        // The same head twice and no value to it: either it was replaced twice, or it is damaged.
        let _writer = self.writer();
        let Some(stored) = self.engine.get(key)? else {
            return Ok(None);
        };
        match self.assemble(key, &stored)? {
            Assembled::Whole(value) => Ok(value),
            Assembled::Torn => Err(damaged(key, "its chunks are not those that were written")),
        }
    }

    /// What `stored` stands for under a key.
    fn assemble(&self, key: &[u8], stored: &[u8]) -> Result<Assembled, StorageError> {
        let head = match value::decode(key, stored) {
            None => return Err(damaged(key, NO_VALUE)),
            Some(Stored::Nothing) => return Ok(Assembled::Whole(None)),
            Some(Stored::Inline(value)) => return Ok(Assembled::Whole(Some(value.to_vec()))),
            Some(Stored::Pack(pack)) => return Ok(Assembled::Whole(Some(pack.first().to_vec()))),
            Some(Stored::Large(head)) => head,
        };
        let mut bytes = Vec::with_capacity(usize::from(head.chunks) * CHUNK_BYTES);
        for index in 0..head.chunks {
            match self
                .engine
                .get(&value::chunk_key(key, head.generation, index))?
            {
                None => return Ok(Assembled::Torn),
                Some(chunk) => bytes.extend_from_slice(&chunk),
            }
        }
        if head.matches(&bytes) {
            Ok(Assembled::Whole(Some(bytes)))
        } else {
            Ok(Assembled::Torn)
        }
    }

    /// Writes journal records, durably.
    pub(super) fn append(&self, records: &[(Key, Vec<u8>)]) -> Result<(), StorageError> {
        self.writer().append(records)
    }

    /// Puts changes in their places. Not durable as a whole before a barrier, and large values are
    /// not safe before either: there has to be a redo file.
    pub(super) fn put(&self, changes: &[Change]) -> Result<(), StorageError> {
        let mut writer = self.writer();
        for (key, value) in changes {
            writer.put(key, value.as_deref())?;
        }
        Ok(())
    }

    /// Puts changes in their places that may have been put there half-way before.
    pub(super) fn put_again(&self, changes: &[Change]) -> Result<(), StorageError> {
        let mut writer = self.writer();
        for (key, value) in changes {
            writer.put(key, value.as_deref())?;
            writer.sweep(key)?;
        }
        writer.barrier()
    }

    /// Removes the chunks of appends that did not come to their heads.
    pub(super) fn sweep_under_way(&self) -> Result<(), StorageError> {
        let (from, to) = value::UNDER_WAY;
        let mut writer = self.writer();
        let notes = self.engine.range(from, to, usize::MAX, false)?;
        for (note, _) in &notes {
            writer.sweep(&note[from.len()..])?;
            writer.remove(note)?;
        }
        if notes.is_empty() {
            return Ok(());
        }
        writer.barrier()
    }

    /// Writes the record by which a store is known, durably.
    pub(super) fn put_format(&self) -> Result<(), StorageError> {
        let mut writer = self.writer();
        writer.insert(value::FORMAT_KEY, value::FORMAT.to_vec())?;
        writer.barrier()
    }

    /// Looks for the record by which a store is known. If it is not there, sled has opened what it
    /// could not read as an empty store. True if the store is of the format before this one: then
    /// [`Store::put_format`] makes it one of this.
    pub(super) fn check_format(&self) -> Result<bool, StorageError> {
        match self.engine.get(value::FORMAT_KEY)? {
            Some(format) if *format == *value::FORMAT => Ok(false),
            Some(format) if *format == *value::FORMAT_UNPACKED => Ok(true),
            Some(_) => Err(StorageError::Damaged(
                "it was written by another version of leveret: use that, or a newer one".to_owned(),
            )),
            None => Err(StorageError::Damaged(
                "sled found none of its records".to_owned(),
            )),
        }
    }
}

/// What tests do to a store that nobody else may.
#[cfg(test)]
impl Store {
    /// What counts as written without a barrier, and how much of it may be.
    pub(super) fn unsynced(&self) -> (usize, usize) {
        let writer = self.writer();
        (writer.written.unsynced, writer.written.unsynced_max)
    }

    pub(super) fn raw_range(&self, from: &[u8], to: &[u8]) -> Vec<(Bytes, Bytes)> {
        self.engine.range(from, to, usize::MAX, false).unwrap()
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.writer().written.cleaning.live_bytes()
    }

    pub(super) fn log_bytes(&self) -> u64 {
        self.engine.log_bytes().unwrap()
    }

    pub(super) fn forget_note(&self) {
        self.engine.forget_note();
    }

    pub(super) fn append_chunks_only(
        &self,
        records: &[(Key, Vec<u8>)],
    ) -> Result<(), StorageError> {
        let mut writer = self.writer();
        writer.put_large(records)?;
        writer.barrier()
    }

    pub(super) fn part_only(&self, key: &[u8]) -> Result<(), StorageError> {
        let mut writer = self.writer();
        writer.part(key)?;
        writer.barrier()
    }

    pub(super) fn spoil_pack(&self, key: &[u8]) {
        self.engine.insert(key, vec![value::PACK, 0, 9]).unwrap();
    }

    pub(super) fn put_format_unpacked(&self) {
        let format = value::FORMAT_UNPACKED.to_vec();
        self.engine.insert(value::FORMAT_KEY, format).unwrap();
    }

    pub(super) fn put_other_format(&self) {
        let format = b"leveret store\x00\x09".to_vec();
        self.engine.insert(value::FORMAT_KEY, format).unwrap();
    }

    pub(super) fn spoil(&self, key: &[u8], remove: bool) {
        let value = self.engine.remove(key).unwrap().unwrap();
        if !remove {
            self.engine.insert(key, vec![0; value.len()]).unwrap();
        }
    }
}
