//! Changed records: those that no checkpoint has taken yet, those that one is writing, and what
//! they replaced for the sake of older versions.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::Version;
use crate::codec::record::Record;
use crate::codec::state_key::Key;
use crate::merge::fault::{Fault, on};

pub(super) type Changes = BTreeMap<Key, Option<Record>>;

#[derive(Default)]
pub(super) struct Layers {
    dirty: Changes,
    dirty_bytes: usize,
    writing: Option<Arc<Changes>>,
    writing_bytes: usize,
    /// For each key what it was before a version, in order of versions.
    old: BTreeMap<Key, Vec<(Version, Option<Record>)>>,
    /// The keys replaced by each version, oldest first.
    replaced: VecDeque<(Version, Vec<Key>)>,
    old_bytes: usize,
}

fn weight(key: &Key, record: Option<&Record>) -> usize {
    64 + key.len() + record.map_or(0, Record::weight)
}

fn range<'a, T>(
    map: &'a BTreeMap<Key, T>,
    from: &[u8],
    to: &[u8],
) -> std::collections::btree_map::Range<'a, Key, T> {
    // An empty range, not a panic, when the bounds are the wrong way round.
    let to = if from > to { from } else { to };
    map.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
}

impl Layers {
    /// The record of a key at a version, if a layer knows it.
    pub(super) fn get(&self, key: &[u8], at: Version) -> Option<Option<Record>> {
        let newest = self.replaced.back().is_none_or(|(newest, _)| *newest <= at);
        if !newest
            && let Some(versions) = self.old.get(key)
            && let Some((_, record)) = versions.iter().find(|(version, _)| *version > at)
            && !on(Fault::SnapshotMoves)
        {
            return Some(record.clone());
        }
        if on(Fault::CheckpointHidesNewer)
            && let Some(record) = self.writing.as_ref().and_then(|w| w.get(key))
        {
            return Some(record.clone());
        }
        if let Some(record) = self.dirty.get(key) {
            return Some(record.clone());
        }
        self.writing.as_ref()?.get(key).cloned()
    }

    /// Puts what the layers know of a range at a version over what the store has.
    pub(super) fn overlay(&self, from: &[u8], to: &[u8], at: Version, rows: &mut Changes) {
        if let Some(writing) = &self.writing {
            rows.extend(range(writing, from, to).map(|(key, r)| (key.clone(), r.clone())));
        }
        rows.extend(range(&self.dirty, from, to).map(|(key, r)| (key.clone(), r.clone())));
        if let Some(writing) = self
            .writing
            .as_ref()
            .filter(|_| on(Fault::CheckpointHidesNewer))
        {
            rows.extend(range(writing, from, to).map(|(key, r)| (key.clone(), r.clone())));
        }
        for (key, versions) in range(&self.old, from, to) {
            if let Some((_, record)) = versions.iter().find(|(version, _)| *version > at) {
                rows.insert(key.clone(), record.clone());
            }
        }
    }

    /// A key within a range before which each layer has at most `limit` of the range's keys; nothing
    /// if none has more in all of it.
    pub(super) fn bound(&self, from: &[u8], to: &[u8], limit: usize) -> Option<&Key> {
        let writing = self.writing.as_ref();
        let bounds = [
            writing.and_then(|writing| range(writing, from, to).nth(limit).map(|(key, _)| key)),
            range(&self.dirty, from, to).nth(limit).map(|(key, _)| key),
            range(&self.old, from, to).nth(limit).map(|(key, _)| key),
        ];
        bounds.into_iter().flatten().min()
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
            let writing = self
                .writing
                .as_ref()
                .and_then(|w| range(w, from, &to).next_back());
            let dirty = range(&self.dirty, from, &to).next_back();
            let old = range(&self.old, from, &to).next_back().map(|(key, _)| key);
            let key = writing
                .map(|(k, _)| k)
                .max(dirty.map(|(k, _)| k))
                .max(old)?
                .clone();
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

    /// Makes `version` of these changes: key, what was there, what is there now.
    pub(super) fn replace(
        &mut self,
        version: Version,
        changes: Vec<(Key, Option<Record>, Option<Record>)>,
    ) {
        let mut keys = Vec::with_capacity(changes.len());
        for (key, before, record) in changes {
            self.old_bytes += weight(&key, before.as_ref());
            self.old
                .entry(key.clone())
                .or_default()
                .push((version, before));
            self.dirty_bytes += weight(&key, record.as_ref());
            if let Some(former) = self.dirty.insert(key.clone(), record) {
                self.dirty_bytes -= weight(&key, former.as_ref());
            }
            keys.push(key);
        }
        self.replaced.push_back((version, keys));
    }

    /// The oldest version of which replaced records are kept.
    pub(super) fn oldest(&self) -> Option<Version> {
        self.replaced.front().map(|(version, _)| *version)
    }

    /// Forgets what was replaced by versions up to this one.
    pub(super) fn prune(&mut self, up_to: Version) {
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
                let (of, record) = versions.remove(0);
                assert_eq!(of, version, "old versions are forgotten in order");
                if versions.is_empty() {
                    self.old.remove(&key);
                }
                self.old_bytes -= weight(&key, record.as_ref());
            }
        }
    }

    /// Takes the dirty records to write them; nothing if there are none or some are being written.
    pub(super) fn begin_checkpoint(&mut self) -> Option<Arc<Changes>> {
        if self.writing.is_some() || self.dirty.is_empty() {
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
