//! What is kept for reading again, within a bound; the CLOCK algorithm chooses what goes.
//!
//! Reading needs no exclusive access: that something was used is noted on the side.

use std::borrow::Borrow;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::fast::RandomState;

use super::Version;
use super::kept::Kept;
use crate::codec::record::Record;

/// Records by their keys, as last merged.
pub(super) type Records = Cache<Kept, Newest>;

/// A record as last merged; nothing if there is none under its key.
pub(super) struct Newest {
    record: Option<Record>,
    /// It has been so from this version on, or longer.
    since: Version,
}

/// See the top of the file.
pub(super) struct Cache<K, V, S = RandomState> {
    entries: HashMap<K, Entry<V>, S>,
    /// The keys of all entries; the clock's hand is at the front.
    ring: VecDeque<K>,
    bytes: usize,
    bytes_max: usize,
}

struct Entry<V> {
    /// Nothing once it has changed: until the hand passes, only the key is left.
    value: Option<V>,
    bytes: usize,
    used: AtomicBool,
}

impl<K: Clone + Eq + Hash, V, S: BuildHasher + Default> Cache<K, V, S> {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            entries: HashMap::default(),
            ring: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// What is kept under a key.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let entry = self.entries.get(key)?;
        let value = entry.value.as_ref()?;
        // Looked at first: most are marked already, and a mark written again is a cache line taken
        // from other readers.
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(value)
    }

    /// Keeps a value of so many bytes, its key and `ENTRY_BYTES` included.
    pub(super) fn insert(&mut self, key: K, value: V, bytes: usize) {
        let entry = Entry {
            value: Some(value),
            bytes,
            used: AtomicBool::new(false),
        };
        self.bytes += bytes;
        match self.entries.entry(key) {
            Occupied(mut former) => self.bytes -= former.insert(entry).bytes,
            Vacant(place) => {
                self.ring.push_back(place.key().clone());
                place.insert(entry);
            }
        }
        self.evict();
    }

    /// Puts a value in the place of one that is kept; nothing is kept otherwise. The value comes with
    /// its bytes, as in [`Cache::insert`].
    fn replace<Q: Eq + Hash + ?Sized>(&mut self, key: &Q, value: impl FnOnce() -> (V, usize))
    where
        K: Borrow<Q>,
    {
        if let Some(entry) = self.entries.get_mut(key)
            && entry.value.is_some()
        {
            let (value, bytes) = value();
            self.bytes = self.bytes + bytes - entry.bytes;
            entry.value = Some(value);
            entry.bytes = bytes;
            self.evict();
        }
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max {
            let Some(key) = self.ring.pop_front() else {
                break;
            };
            match self.entries.get(&key) {
                Some(entry) if entry.used.load(Ordering::Relaxed) => {
                    entry.used.store(false, Ordering::Relaxed);
                    self.ring.push_back(key);
                }
                _ => {
                    let gone = self.entries.remove(&key);
                    self.bytes -= gone.map_or(0, |entry| entry.bytes);
                }
            }
        }
    }

    /// Forgets a value.
    pub(super) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some(entry) = self.entries.get_mut(key) {
            let bytes = entry.bytes.min(ENTRY_BYTES);
            self.bytes -= entry.bytes - bytes;
            *entry = Entry {
                value: None,
                bytes,
                used: AtomicBool::new(false),
            };
        }
    }
}

impl Records {
    /// The record of a key at a version, if that is known to be the newest one.
    pub(super) fn at(&self, key: &[u8], version: Version) -> Option<&Option<Record>> {
        let known = self.get(key)?;
        (known.since <= version).then_some(&known.record)
    }

    /// The newest record of a key.
    pub(super) fn newest(&self, key: &[u8]) -> Option<&Option<Record>> {
        Some(&self.get(key)?.record)
    }

    /// Keeps the newest record of a key, as it has been since a version.
    pub(super) fn keep(&mut self, key: &[u8], record: Option<Record>, since: Version) {
        let bytes = weight(key, record.as_ref());
        self.insert(Kept::from(key), Newest { record, since }, bytes);
    }

    /// Puts a record in the place of an older one that is kept; nothing is kept otherwise.
    pub(super) fn update(&mut self, key: &[u8], record: Option<&Record>, since: Version) {
        self.replace(key, || {
            let record = record.cloned();
            let bytes = weight(key, record.as_ref());
            (Newest { record, since }, bytes)
        });
    }
}

fn weight(key: &[u8], record: Option<&Record>) -> usize {
    ENTRY_BYTES + 2 * key.len() + record.map_or(0, Record::weight)
}

/// What an entry takes besides the bytes of its key and its value.
pub(super) const ENTRY_BYTES: usize = 96;
