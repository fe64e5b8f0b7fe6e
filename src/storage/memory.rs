//! A store in memory, for the simulator and for tests.
//!
//! It has what a disk has and a map has not: the difference between *written* and *durable*. The
//! current copy is what reads see; beside it stands what the disk would have in its place for
//! every key whose last write no barrier has covered yet. [`MemoryStorage::crash`] gives the store
//! that the next life finds. On demand it runs full, fails a write half-way, or answers barriers
//! that it has not kept. Like the store on disk it makes a checkpoint durable as a whole before
//! the first change goes to its place.
//!
//! Pure: no clock, no randomness, no thread of its own. What happens is what was asked for.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Change, Key, Storage, StorageError, assert_entry};

/// Redo bytes between two calls of `between`.
const PIECE_BYTES: usize = 1 << 20;

/// Changes put in their places between two calls of `between`.
const PUT_KEYS: usize = 200;

/// What is to go wrong with a write.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Fault {
    /// The write is refused with this error: nothing of it is there, and the store goes on.
    Refuse(StorageError),
    /// The write fails half-way with this error, and the store takes no more writes. Reads see all
    /// of an append; a crash leaves its first `kept` records. Of a checkpoint half of the changes
    /// are seen and a crash leaves all, unless `kept` is 0: then none is seen or left.
    Fail {
        /// What the write returns.
        error: StorageError,
        /// How many records survive a crash.
        kept: usize,
    },
}

/// A [`Storage`] in memory that can lose what no barrier covered.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    current: BTreeMap<Key, Arc<[u8]>>,
    /// What is durable of the keys whose last write is not.
    durable: BTreeMap<Key, Option<Arc<[u8]>>>,
    /// A checkpoint that is durable as a whole while it is put in its place.
    redo: Vec<Change>,
    witness: Option<Vec<u8>>,
    durable_witness: Option<Vec<u8>>,
    faults: VecDeque<Fault>,
    full: bool,
    holding: bool,
    failed: Option<String>,
}

impl MemoryStorage {
    /// Makes an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends this life at once and returns the store that the next one finds: what a barrier
    /// covered, and nothing else. This one takes no more writes.
    #[must_use]
    pub fn crash(&self) -> Self {
        let survivor = self.copy();
        self.lock().failed = Some("the machine has crashed".to_owned());
        survivor
    }

    /// Copies what a crash now would leave, as if the directory were copied under a running
    /// replica. This one goes on.
    #[must_use]
    pub fn copy(&self) -> Self {
        let inner = self.lock();
        let mut current = inner.current.clone();
        for (key, value) in &inner.durable {
            match value {
                Some(value) => current.insert(key.clone(), Arc::clone(value)),
                None => current.remove(key),
            };
        }
        for (key, value) in &inner.redo {
            match value {
                Some(value) => current.insert(key.clone(), value.as_slice().into()),
                None => current.remove(key),
            };
        }
        Self {
            inner: Mutex::new(Inner {
                current,
                witness: inner.durable_witness.clone(),
                durable_witness: inner.durable_witness.clone(),
                ..Inner::default()
            }),
        }
    }

    /// Lets something go wrong with the next append or checkpoint that no earlier call has spoken
    /// for.
    pub fn fail_next(&self, fault: Fault) {
        self.lock().faults.push_back(fault);
    }

    /// Refuses every append and checkpoint with [`StorageError::Full`] for as long as it is set.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Answers barriers without keeping them, as a disk with a lying cache does, for as long as it
    /// is set. The first barrier after it covers what was held.
    pub fn set_holding(&self, holding: bool) {
        self.lock().holding = holding;
    }

    /// Keeps at once everything that was written so far, the witness too.
    pub fn sync(&self) {
        let mut inner = self.lock();
        let holding = std::mem::take(&mut inner.holding);
        inner.barrier();
        inner.holding = holding;
    }

    /// How many keys have a last write that a crash would take back.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.lock().durable.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    /// The entries of `from..to`, as the range gives them to `pick`.
    fn range<R: Default>(
        &self,
        from: &[u8],
        to: &[u8],
        pick: impl FnOnce(std::collections::btree_map::Range<'_, Key, Arc<[u8]>>) -> R,
    ) -> R {
        if from >= to {
            return R::default();
        }
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        pick(self.lock().current.range::<[u8], _>(bounds))
    }
}

impl Inner {
    /// Whether the next write may begin, and what is to go wrong with it.
    fn begin(&mut self) -> Result<Option<(StorageError, usize)>, StorageError> {
        self.writable()?;
        if self.full {
            return Err(StorageError::Full("no room is left".to_owned()));
        }
        match self.faults.pop_front() {
            None => Ok(None),
            Some(Fault::Refuse(error)) => Err(error),
            Some(Fault::Fail { error, kept }) => Ok(Some((error, kept))),
        }
    }

    fn writable(&self) -> Result<(), StorageError> {
        match &self.failed {
            Some(why) => Err(StorageError::ReadOnly(why.clone())),
            None => Ok(()),
        }
    }

    fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        let old = match value {
            Some(value) => self.current.insert(key.to_vec(), value.into()),
            None => self.current.remove(key),
        };
        self.durable.entry(key.to_vec()).or_insert(old);
    }

    /// A write that is durable at once, unless barriers are held.
    fn keep(&mut self, key: &[u8], value: Option<&[u8]>) {
        if self.holding || self.durable.contains_key(key) {
            return self.put(key, value);
        }
        match value {
            Some(value) => self.current.insert(key.to_vec(), value.into()),
            None => self.current.remove(key),
        };
    }

    fn barrier(&mut self) {
        if !self.holding {
            self.durable.clear();
            self.durable_witness.clone_from(&self.witness);
        }
    }

    /// Ends a write: well, or by the fault that was waiting for it.
    fn end(&mut self, fault: Option<(StorageError, usize)>) -> Result<(), StorageError> {
        match fault {
            None => Ok(()),
            Some((error, _)) => {
                self.failed = Some(error.to_string());
                Err(error)
            }
        }
    }
}

fn entry((key, value): (&Key, &Arc<[u8]>)) -> (Key, Vec<u8>) {
    (key.clone(), value.to_vec())
}

impl Storage for MemoryStorage {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.lock().current.get(key).map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Vec<u8>)>, StorageError> {
        Ok(self.range(from, to, |range| range.take(limit).map(entry).collect()))
    }

    fn scan_back(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Vec<u8>)>, StorageError> {
        Ok(self.range(from, to, |range| {
            range.rev().take(limit).map(entry).collect()
        }))
    }

    fn append(&self, records: &[(Key, Vec<u8>)]) -> Result<(), StorageError> {
        for (key, value) in records {
            assert_entry(key, value.len());
        }
        let mut inner = self.lock();
        let fault = inner.begin()?;
        let kept = fault.as_ref().map_or(records.len(), |(_, kept)| *kept);
        let (kept, lost) = records.split_at(kept.min(records.len()));
        for (key, value) in kept {
            inner.keep(key, Some(value));
        }
        inner.barrier();
        for (key, value) in lost {
            inner.put(key, Some(value));
        }
        inner.end(fault)
    }

    fn checkpoint(
        &self,
        changes: &[Change],
        between: &mut dyn FnMut() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        for (key, value) in changes {
            assert_entry(key, value.as_ref().map_or(0, Vec::len));
        }
        let fault = self.lock().begin()?;

        let bytes = |(key, value): &Change| key.len() + value.as_ref().map_or(0, Vec::len);
        let pieces = changes
            .iter()
            .map(bytes)
            .sum::<usize>()
            .div_ceil(PIECE_BYTES);
        for _ in 0..pieces {
            between()?;
        }
        {
            let mut inner = self.lock();
            inner.writable()?;
            if let Some((_, 0)) = fault {
                return inner.end(fault);
            }
            if !inner.holding {
                inner.barrier();
                inner.redo = changes.to_vec();
            }
        }

        let mut outcome = Ok(());
        let seen = if fault.is_some() {
            changes.len() / 2
        } else {
            changes.len()
        };
        for some in changes[..seen].chunks(PUT_KEYS) {
            {
                let mut inner = self.lock();
                for (key, value) in some {
                    // A crash finds it in the redo records.
                    inner.keep(key, value.as_deref());
                }
            }
            if outcome.is_ok() {
                outcome = between();
            }
            if let Err(error) = self.lock().writable() {
                // An append in between has failed; its own error says more.
                return outcome.and(Err(error));
            }
        }
        let mut inner = self.lock();
        inner.end(fault)?;
        inner.barrier();
        inner.redo.clear();
        outcome
    }

    fn witness(&self, mark: &[u8]) -> Result<(), StorageError> {
        let mut inner = self.lock();
        inner.writable()?;
        inner.witness = Some(mark.to_vec());
        Ok(())
    }

    fn last_witness(&self) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.lock().witness.clone())
    }

    fn size_on_disk(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u8) -> (Key, Vec<u8>) {
        (vec![b'r', n], vec![n])
    }

    fn keys(storage: &MemoryStorage) -> Vec<u8> {
        let all = storage.scan(&[0], &[0xff], 1000).unwrap();
        all.into_iter().map(|(key, _)| key[1]).collect()
    }

    fn broken() -> StorageError {
        StorageError::Io("broken".to_owned())
    }

    #[test]
    fn a_crash_takes_back_what_a_lying_disk_held() {
        let storage = MemoryStorage::new();
        storage.append(&[record(1)]).unwrap();
        storage.set_holding(true);
        storage.append(&[record(2)]).unwrap();
        storage
            .checkpoint(&[(vec![b'r', 1], None)], &mut || Ok(()))
            .unwrap();
        assert_eq!(keys(&storage), [2]);
        assert_eq!(storage.unsynced(), 2);
        assert_eq!(keys(&storage.copy()), [1]);
        storage.sync();
        assert_eq!(keys(&storage.copy()), [2]);
    }

    #[test]
    fn a_torn_append_leaves_its_first_records_and_a_store_that_takes_no_more() {
        for kept in 0..=3 {
            let storage = MemoryStorage::new();
            storage.fail_next(Fault::Fail {
                error: broken(),
                kept,
            });
            let records = [record(0), record(1), record(2)];
            assert!(matches!(storage.append(&records), Err(StorageError::Io(_))));
            assert_eq!(keys(&storage), [0, 1, 2]);
            assert!(matches!(
                storage.append(&[record(3)]),
                Err(StorageError::ReadOnly(_))
            ));
            let next = storage.crash();
            assert_eq!(keys(&next).len(), kept);
            next.append(&[record(3)]).unwrap();
        }
    }

    #[test]
    fn a_torn_checkpoint_survives_whole_or_not_at_all() {
        for kept in [0, 1] {
            let storage = MemoryStorage::new();
            storage.fail_next(Fault::Fail {
                error: broken(),
                kept,
            });
            let changes: Vec<Change> = (0..9).map(|n| (vec![b's', n], Some(vec![n]))).collect();
            assert!(storage.checkpoint(&changes, &mut || Ok(())).is_err());
            assert_eq!(keys(&storage).len(), kept * 4);
            assert_eq!(keys(&storage.crash()).len(), kept * 9);
        }
    }

    #[test]
    fn a_checkpoint_ends_with_the_error_of_the_append_that_failed_in_between() {
        for failing in [1, 2] {
            let storage = MemoryStorage::new();
            let mut calls = 0;
            let outcome = storage.checkpoint(&[(b"s".to_vec(), Some(vec![]))], &mut || {
                calls += 1;
                if calls == failing {
                    storage.fail_next(Fault::Fail {
                        error: broken(),
                        kept: 0,
                    });
                }
                storage.append(&[record(calls)])
            });
            assert!(matches!(outcome, Err(StorageError::Io(_))));
            // The last append is gone; the checkpoint is too, unless it had been written down.
            let next = storage.crash();
            assert_eq!(next.get(b"s").unwrap().is_some(), failing == 2);
            assert_eq!(
                next.scan(b"r", b"s", 9).unwrap().len(),
                usize::from(failing) - 1
            );
        }
    }

    #[test]
    fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
        let storage = MemoryStorage::new();
        storage.set_full(true);
        for _ in 0..2 {
            assert!(matches!(
                storage.append(&[record(1)]),
                Err(StorageError::Full(_))
            ));
        }
        storage.set_full(false);
        storage.fail_next(Fault::Refuse(broken()));
        assert!(storage.append(&[record(1)]).is_err());
        storage.append(&[record(1)]).unwrap();
        assert_eq!(keys(&storage.crash()), [1]);
    }

    #[test]
    fn a_witness_is_durable_with_the_next_barrier() {
        let storage = MemoryStorage::new();
        storage.witness(b"7").unwrap();
        assert_eq!(storage.copy().last_witness().unwrap(), None);
        storage.append(&[record(1)]).unwrap();
        assert_eq!(storage.crash().last_witness().unwrap(), Some(b"7".to_vec()));
    }
}
