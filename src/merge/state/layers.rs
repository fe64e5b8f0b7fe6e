//! Changed records: those that no checkpoint has taken yet, those that one is writing, and what
//! they replaced for the sake of older versions.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque, btree_set};
use std::ops::Bound;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Version;
use super::kept::Kept;
use crate::codec::record::Record;
use crate::codec::state_key::Key;
use crate::merge::fault::{Fault, on};

/// What a range of records is put together from.
pub(super) type Rows = BTreeMap<Key, Option<Record>>;

/// Changed records: found by a hash of the key, gone through by its order.
#[derive(Default)]
pub(super) struct Changes {
    records: HashMap<Kept, Changed, RandomState>,
    keys: BTreeSet<Kept>,
}

/// A changed record.
pub(super) struct Changed {
    /// Nothing if it is gone.
    pub(super) record: Option<Record>,
    weight: usize,
}

impl Changed {
    fn new(key: &[u8], record: Option<Record>) -> Self {
        let weight = 64 + key.len() + record.as_ref().map_or(0, Record::weight);
        Self { record, weight }
    }
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn insert(&mut self, key: Kept, changed: Changed) {
        self.keys.insert(key.clone());
        self.records.insert(key, changed);
    }

    /// Adds keys, which are in order, of records that are there.
    fn note(&mut self, keys: Vec<Kept>) {
        if keys.len() > self.keys.len() / 4 {
            // One walk over both takes less than so many ways down.
            self.keys.append(&mut keys.into_iter().collect());
        } else {
            self.keys.extend(keys);
        }
    }

    /// The keys of a range, in order.
    fn keys(&self, from: &[u8], to: &[u8]) -> btree_set::Range<'_, Kept> {
        self.keys.range::<[u8], _>(bounds(from, to))
    }

    fn rows(&self, from: &[u8], to: &[u8]) -> impl Iterator<Item = (Key, Option<Record>)> {
        self.keys(from, to)
            .map(|key| (key.to_vec(), self.records[key].record.clone()))
    }

    /// All of them, in order of keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Kept, &Option<Record>)> {
        self.keys.iter().map(|key| (key, &self.records[key].record))
    }
}

fn bounds<'a>(from: &'a [u8], to: &'a [u8]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    // An empty range, not a panic, when the bounds are the wrong way round.
    (Bound::Included(from), Bound::Excluded(to.max(from)))
}

/// A key with its record before and after.
pub(super) struct Replaced {
    pub(super) key: Key,
    pub(super) before: Option<Record>,
    pub(super) after: Option<Record>,
}

#[derive(Default)]
pub(super) struct Layers {
    dirty: Changes,
    dirty_bytes: usize,
    writing: Option<Arc<Changes>>,
    writing_bytes: usize,
    /// For each key what it was before a version, in order of versions.
    old: BTreeMap<Kept, Vec<(Version, Changed)>>,
    /// The keys replaced by each version, oldest first.
    replaced: VecDeque<(Version, Vec<Kept>)>,
    old_bytes: usize,
}

impl Layers {
    /// The record of a key at a version, if a layer knows it.
    pub(super) fn get(&self, key: &[u8], at: Version) -> Option<Option<Record>> {
        let newest = self.replaced.back().is_none_or(|(newest, _)| *newest <= at);
        if !newest
            && let Some(versions) = self.old.get(key)
            && let Some((_, old)) = versions.iter().find(|(version, _)| *version > at)
            && !on(Fault::SnapshotMoves)
        {
            return Some(old.record.clone());
        }
        if on(Fault::CheckpointHidesNewer)
            && let Some(written) = self.writing.as_ref().and_then(|w| w.records.get(key))
        {
            return Some(written.record.clone());
        }
        if let Some(changed) = self.dirty.records.get(key) {
            return Some(changed.record.clone());
        }
        Some(self.writing.as_ref()?.records.get(key)?.record.clone())
    }

    /// Puts what the layers know of a range at a version over what the store has.
    pub(super) fn overlay(&self, from: &[u8], to: &[u8], at: Version, rows: &mut Rows) {
        if let Some(writing) = &self.writing {
            rows.extend(writing.rows(from, to));
        }
        rows.extend(self.dirty.rows(from, to));
        if let Some(writing) = self
            .writing
            .as_ref()
            .filter(|_| on(Fault::CheckpointHidesNewer))
        {
            rows.extend(writing.rows(from, to));
        }
        for (key, versions) in self.old.range::<[u8], _>(bounds(from, to)) {
            if let Some((_, old)) = versions.iter().find(|(version, _)| *version > at) {
                rows.insert(key.to_vec(), old.record.clone());
            }
        }
    }

    /// Whether any layer knows a key of a range.
    pub(super) fn know(&self, from: &[u8], to: &[u8]) -> bool {
        let writing = self.writing.as_ref();
        self.dirty.keys(from, to).next().is_some()
            || writing.is_some_and(|writing| writing.keys(from, to).next().is_some())
            || self.old.range::<[u8], _>(bounds(from, to)).next().is_some()
    }

    /// A key within a range before which each layer has at most `limit` of the range's keys; nothing
    /// if none has more in all of it.
    pub(super) fn bound(&self, from: &[u8], to: &[u8], limit: usize) -> Option<&[u8]> {
        let writing = self.writing.as_ref();
        let mut old = self.old.range::<[u8], _>(bounds(from, to));
        let bounds = [
            writing.and_then(|writing| writing.keys(from, to).nth(limit)),
            self.dirty.keys(from, to).nth(limit),
            old.nth(limit).map(|(key, _)| key),
        ];
        bounds.into_iter().flatten().min().map(|key| &**key)
    }

    /// The last key of a range that a layer knows at a version, and its record.
    pub(super) fn last(
        &self,
        from: &[u8],
        to: &[u8],
        at: Version,
    ) -> Option<(Key, Option<Record>)> {
        let mut to = to.to_vec();
        loop {
            let writing = self.writing.as_ref();
            let mut old = self.old.range::<[u8], _>(bounds(from, &to));
            let last = [
                writing.and_then(|writing| writing.keys(from, &to).next_back()),
                self.dirty.keys(from, &to).next_back(),
                old.next_back().map(|(key, _)| key),
            ];
            let key = last.into_iter().flatten().max()?.to_vec();
            match self.get(&key, at) {
                Some(record) => return Some((key, record)),
                // Replaced only for older versions than this: the store has it as it is now.
                None => to = key,
            }
        }
    }

    pub(super) fn dirty_bytes(&self) -> usize {
        self.dirty_bytes + self.writing_bytes
    }

    pub(super) fn old_bytes(&self) -> usize {
        self.old_bytes
    }

    /// Makes `version` of these changes, which are in order of keys.
    pub(super) fn replace(&mut self, version: Version, changes: Vec<Replaced>) {
        let mut keys = Vec::with_capacity(changes.len());
        let mut new = Vec::new();
        let mut old = Vec::with_capacity(changes.len());
        self.dirty.records.reserve(changes.len());
        for change in changes {
            let key = Kept::from(change.key.as_slice());
            let after = Changed::new(&key, change.after);
            self.dirty_bytes += after.weight;
            let before = match self.dirty.records.get_mut(&*key) {
                Some(dirty) => {
                    let before = std::mem::replace(dirty, after);
                    self.dirty_bytes -= before.weight;
                    before
                }
                None => {
                    self.dirty.records.insert(key.clone(), after);
                    new.push(key.clone());
                    Changed::new(&key, change.before)
                }
            };
            self.old_bytes += before.weight;
            old.push((key.clone(), (version, before)));
            keys.push(key);
        }
        self.dirty.note(new);
        self.keep(old);
        self.replaced.push_back((version, keys));
    }

    /// Keeps what was replaced, in order of keys.
    fn keep(&mut self, replaced: Vec<(Kept, (Version, Changed))>) {
        if self.old.is_empty() {
            // Mostly; then the map is built at once.
            let all = replaced.into_iter();
            self.old = all.map(|(key, old)| (key, vec![old])).collect();
            return;
        }
        for (key, old) in replaced {
            self.old.entry(key).or_default().push(old);
        }
    }

    /// Adds a record to those that the next checkpoint writes. Nobody reads it here.
    pub(super) fn put_unread(&mut self, key: &[u8], record: Record) {
        let key = Kept::from(key);
        let changed = Changed::new(&key, Some(record));
        self.dirty_bytes += changed.weight;
        if let Some(former) = self.dirty.records.get_mut(&*key) {
            self.dirty_bytes -= std::mem::replace(former, changed).weight;
        } else {
            self.dirty.insert(key, changed);
        }
    }

    /// Whether a checkpoint is being written.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// The oldest version of which replaced records are kept.
    pub(super) fn oldest(&self) -> Option<Version> {
        self.replaced.front().map(|(version, _)| *version)
    }

    /// Forgets what was replaced by versions up to this one.
    pub(super) fn prune(&mut self, up_to: Version) {
        if self
            .replaced
            .back()
            .is_some_and(|(newest, _)| *newest <= up_to)
        {
            self.old.clear();
            self.replaced.clear();
            self.old_bytes = 0;
            return;
        }
        while self
            .replaced
            .front()
            .is_some_and(|(version, _)| *version <= up_to)
        {
            let (version, keys) = self.replaced.pop_front().expect("there is a front");
            for key in keys {
                let versions = self
                    .old
                    .get_mut(&key)
                    .expect("a replaced key has old versions");
                let (of, old) = versions.remove(0);
                assert_eq!(of, version, "old versions are forgotten in order");
                if versions.is_empty() {
                    self.old.remove(&key);
                }
                self.old_bytes -= old.weight;
            }
        }
    }

    /// Takes the dirty records to write them; nothing if there are none or some are being written.
    pub(super) fn begin_checkpoint(&mut self) -> Option<Arc<Changes>> {
        if self.is_writing() || self.dirty.is_empty() {
            return None;
        }
        let writing = Arc::new(std::mem::take(&mut self.dirty));
        self.writing_bytes = std::mem::take(&mut self.dirty_bytes);
        self.writing = Some(writing.clone());
        Some(writing)
    }

    /// What was being written is in the store.
    pub(super) fn end_checkpoint(&mut self) -> Arc<Changes> {
        self.writing_bytes = 0;
        self.writing.take().expect("a checkpoint ends once")
    }
}
