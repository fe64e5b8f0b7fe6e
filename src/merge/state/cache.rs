//! Clean records kept for reading again, within a bound; the CLOCK algorithm chooses what goes.

use std::collections::{HashMap, VecDeque};

use crate::codec::record::Record;
use crate::codec::state_key::Key;

pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
    /// The keys of all entries; the clock's hand is at the front.
    ring: VecDeque<Key>,
    bytes: usize,
    bytes_max: usize,
}

struct Entry {
    /// Nothing once it has changed: until the hand passes, only the key is left.
    record: Option<Option<Record>>,
    bytes: usize,
    used: bool,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            ring: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// The record of a key, absent ones included, if it is known.
    pub(super) fn get(&mut self, key: &[u8]) -> Option<Option<Record>> {
        let entry = self.entries.get_mut(key)?;
        let record = entry.record.as_ref()?;
        entry.used = true;
        Some(record.clone())
    }

    pub(super) fn insert(&mut self, key: &[u8], record: Option<Record>) {
        let bytes = key_bytes(key) + record.as_ref().map_or(0, Record::weight);
        let entry = Entry {
            record: Some(record),
            bytes,
            used: false,
        };
        self.bytes += bytes;
        match self.entries.get_mut(key) {
            Some(former) => {
                self.bytes -= former.bytes;
                *former = entry;
            }
            None => {
                self.entries.insert(key.to_vec(), entry);
                self.ring.push_back(key.to_vec());
            }
        }
        while self.bytes > self.bytes_max {
            let Some(key) = self.ring.pop_front() else {
                break;
            };
            match self.entries.get_mut(&key) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.ring.push_back(key);
                }
                _ => {
                    let gone = self.entries.remove(&key);
                    self.bytes -= gone.map_or(0, |entry| entry.bytes);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.get_mut(key) {
            let bytes = key_bytes(key);
            self.bytes -= entry.bytes - bytes;
            *entry = Entry {
                record: None,
                bytes,
                used: false,
            };
        }
    }
}

/// What an entry takes besides its record.
fn key_bytes(key: &[u8]) -> usize {
    2 * key.len() + 96
}
