//! Clean records kept for reading again, within a bound; the CLOCK algorithm chooses what goes.

use std::collections::{HashMap, VecDeque};

use crate::codec::record::Record;
use crate::codec::state_key::Key;

pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
    /// The clock's hand is at the front. Holds keys that have been removed, too, until it passes.
    ring: VecDeque<Key>,
    bytes: usize,
    bytes_max: usize,
}

struct Entry {
    record: Option<Record>,
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
        entry.used = true;
        Some(entry.record.clone())
    }

    pub(super) fn insert(&mut self, key: &[u8], record: Option<Record>) {
        let bytes = 2 * key.len() + 96 + record.as_ref().map_or(0, Record::weight);
        let entry = Entry {
            record,
            bytes,
            used: false,
        };
        self.bytes += bytes;
        match self.entries.insert(key.to_vec(), entry) {
            Some(former) => self.bytes -= former.bytes,
            None => self.ring.push_back(key.to_vec()),
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
                Some(_) => self.remove(&key),
                None => {}
            }
        }
        // Keys removed and inserted again stand in the ring twice; keep that within bounds.
        if self.ring.len() > 2 * self.entries.len() + 64 {
            let mut seen = std::collections::HashSet::new();
            let entries = &self.entries;
            self.ring
                .retain(|key| entries.contains_key(key) && seen.insert(key.clone()));
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.bytes;
        }
    }
}
