//! The versioned records of one repository: in memory while they change, over what is on disk.
//!
//! A key is looked up in a cache of newest records, then in three layers: what changed since the
//! last checkpoint began, what that checkpoint is writing, the store. Each merge makes a new *version*;
//! what a version replaced is kept as long as a snapshot, or the published version, may still need
//! it, and no longer than [`OLD_BYTES_MAX`] allows. Merging itself is [`super::pass`]'s work.

mod cache;
mod layers;
mod paths;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cache::Records;
use layers::Layers;
pub use paths::Known;
use paths::Paths;

use super::counters::MergeCounters;
use super::digest::StateDigest;
use super::fault::{Fault, on};
use super::pass::Pass;
use super::snapshot::Snapshot;
use super::view::{ReadError, View as _};
use super::{History, Merged};
use crate::codec::bytes::MalformedRecord;
use crate::codec::record::{Head, Meta, Record};
use crate::codec::state_key::{self as key, Key};
use crate::model::{ChangeSet, OriginId, RepoId};
use crate::storage::{self, Storage};

/// Most bytes of replaced records kept for snapshots. Past it the oldest snapshots expire.
pub const OLD_BYTES_MAX: usize = 64 << 20;

/// Counts merges, from 1 for what was there at opening. Not a number that replicas share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

/// The applied heads of a repository, by origin.
pub type Heads = BTreeMap<OriginId, Head>;

/// What a version is besides its records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) version: Version,
    /// The version that last changed what paths lead to.
    pub(crate) placement: Version,
    pub(crate) heads: Arc<Heads>,
    pub(crate) meta: Arc<Meta>,
    /// The digest, once somebody has asked for it.
    pub(crate) digest: OnceLock<StateDigest>,
}

/// The records of one repository. Any number of readers, one merge at a time.
pub struct State {
    repo: RepoId,
    storage: Arc<dyn Storage>,
    inner: RwLock<Inner>,
    cache: RwLock<Records>,
    paths: Paths,
    /// As in `inner`, to be looked at without its lock.
    expired_below: AtomicU64,
    merging: Mutex<()>,
}

struct Inner {
    layers: Layers,
    published: Arc<Summary>,
    /// Versions merged and not published, oldest first.
    waiting: VecDeque<Arc<Summary>>,
    /// Snapshots in use, by version.
    readers: BTreeMap<Version, usize>,
    /// Snapshots below this version have expired.
    expired_below: Version,
}

/// Changed records on their way to the store.
#[must_use = "a checkpoint that is not reported done blocks the next"]
pub struct Checkpoint {
    /// What to write, in order of keys.
    pub changes: Vec<storage::Change>,
    version: Version,
}

/// A part of a range of records.
pub(super) struct Page {
    pub(super) records: Vec<(Key, Record)>,
    /// Where the next one begins, if there is one.
    pub(super) next: Option<Key>,
}

impl State {
    /// Opens what the store holds of a repository; `cache_bytes` bounds the records kept for reading again, and
    /// what paths lead to, which is a quarter of it.
    ///
    /// # Errors
    /// If it can not be read.
    pub fn open(
        repo: RepoId,
        storage: Arc<dyn Storage>,
        cache_bytes: usize,
    ) -> Result<Arc<Self>, ReadError> {
        let decode = |key: &[u8], bytes: &[u8]| {
            Record::decode(bytes).map_err(|source| ReadError::malformed(key, source))
        };
        let meta_key = key::meta(repo);
        let meta = match storage.get(&meta_key)? {
            None => Arc::default(),
            Some(bytes) => match decode(&meta_key, &bytes)? {
                Record::Meta(meta) if on(Fault::RestartForgetsMeta) => Arc::new(Meta {
                    digest: meta.digest.clone(),
                    frontier: meta.frontier.clone(),
                    ..Meta::default()
                }),
                Record::Meta(meta) => meta,
                _ => return Err(wrong_kind(&meta_key)),
            },
        };
        let prefix = key::heads(repo);
        let mut heads = Heads::new();
        for (key, bytes) in storage.scan(&prefix, &key::after_prefix(&prefix), usize::MAX)? {
            match (key::head_of(&key), decode(&key, &bytes)?) {
                (Some(origin), Record::Head(head)) => {
                    heads.insert(origin, head);
                }
                _ => return Err(wrong_kind(&key)),
            }
        }
        let summary = Arc::new(Summary {
            version: Version(1),
            placement: Version(1),
            heads: Arc::new(heads),
            meta,
            digest: OnceLock::new(),
        });
        Ok(Arc::new(Self {
            repo,
            storage,
            inner: RwLock::new(Inner {
                layers: Layers::default(),
                published: summary,
                waiting: VecDeque::new(),
                readers: BTreeMap::new(),
                expired_below: Version(0),
            }),
            cache: RwLock::new(Records::new(cache_bytes / 4 * 3)),
            paths: Paths::new(cache_bytes / 4, Version(1)),
            expired_below: AtomicU64::new(0),
            merging: Mutex::new(()),
        }))
    }

    /// Which repository it is.
    pub fn repo(&self) -> RepoId {
        self.repo
    }

    /// Merges change sets into the state, in one pass, and makes a new version of it (M1).
    ///
    /// The batch may be in any order; everything that one of its members depends on must be
    /// applied or in the batch, and none of them applied before. The new version is not published.
    ///
    /// # Errors
    /// If a record or an earlier change set could not be read. Nothing has changed then.
    pub fn merge(
        self: &Arc<Self>,
        batch: &[Arc<ChangeSet>],
        history: &dyn History,
    ) -> Result<Merged, ReadError> {
        let _one_at_a_time = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let base = self.latest();
        let outcome = Pass::new(&base, base.summary(), history).run(batch)?;
        let version = Version(base.version().0 + 1);
        // What is replaced is read before the lock is taken: nobody else changes it.
        let mut replaced = Vec::with_capacity(outcome.changed.len());
        for (key, change) in outcome.changed {
            let before = match change.before {
                Some(before) => before,
                None => base.get(&key)?,
            };
            debug_assert!(
                base.get(&key)? == before,
                "a pass knows what it replaces: {key:02x?}"
            );
            if before != change.now {
                replaced.push((key, before, change.now));
            }
        }
        let placement = match self.paths.replace(version, &replaced) {
            true => version,
            false => base.summary().placement,
        };
        let summary = Arc::new(Summary {
            version,
            placement,
            heads: outcome.heads,
            meta: outcome.meta,
            digest: OnceLock::new(),
        });
        let mut inner = self.write();
        {
            let mut cache = self.cache();
            for (key, _, record) in replaced.iter().filter(|_| !on(Fault::CacheStale)) {
                cache.replace(key, record.as_ref(), version);
            }
        }
        inner.layers.replace(version, replaced);
        inner.waiting.push_back(summary);
        inner.expire();
        self.expired_below
            .store(inner.expired_below.0, Ordering::Relaxed);
        drop(inner);
        Ok(Merged {
            version,
            changes: outcome.changes,
            voided: outcome.voided,
            snapshot: self.latest(),
        })
    }

    /// Lets new snapshots be taken at `version`. One that is published already changes nothing.
    pub fn publish(&self, version: Version) {
        let mut inner = self.write();
        while inner
            .waiting
            .front()
            .is_some_and(|summary| summary.version <= version)
        {
            inner.published = inner.waiting.pop_front().expect("there is a front");
        }
        inner.prune();
    }

    /// The state as last published.
    pub fn snapshot(self: &Arc<Self>) -> Snapshot {
        let mut inner = self.write();
        let summary = inner.published.clone();
        *inner.readers.entry(summary.version).or_default() += 1;
        Snapshot::new(self.clone(), summary)
    }

    /// The state as last merged, whether published or not.
    pub fn latest(self: &Arc<Self>) -> Snapshot {
        let mut inner = self.write();
        let summary = inner.merged();
        *inner.readers.entry(summary.version).or_default() += 1;
        Snapshot::new(self.clone(), summary)
    }

    /// What changed since the last checkpoint; nothing if that is nothing, or one is under way.
    ///
    /// The store must get it only after the journal records of everything merged so far: a state
    /// on disk never runs ahead of the journal.
    pub fn take_checkpoint(&self) -> Option<Checkpoint> {
        let (dirty, version) = {
            let mut inner = self.write();
            let version = inner.merged().version;
            (inner.layers.begin_checkpoint()?, version)
        };
        let changes = dirty
            .iter()
            .filter(|(_, record)| record.is_some() || !on(Fault::CheckpointKeepsRemoved))
            .map(|(key, record)| (key.clone(), record.as_ref().map(Record::encode)))
            .collect();
        Some(Checkpoint { changes, version })
    }

    /// Says that a checkpoint is in the store.
    pub fn checkpoint_done(&self, checkpoint: Checkpoint) {
        let mut inner = self.write();
        let written = inner.layers.end_checkpoint();
        drop(inner);
        drop(written); // it may be large, and nobody has to wait for that
        tracing::debug!(
            repo = self.repo.name(),
            version = checkpoint.version.0,
            "checkpoint"
        );
    }

    /// Bytes of records that no checkpoint holds yet, about.
    pub fn dirty_bytes(&self) -> usize {
        self.read().layers.dirty_bytes()
    }

    /// Bytes of replaced records kept for snapshots, about.
    pub fn old_bytes(&self) -> usize {
        self.read().layers.old_bytes()
    }

    /// What merging has come to so far.
    pub fn counters(&self) -> MergeCounters {
        MergeCounters::from_stored(&self.read().merged().meta.counters)
    }

    /// The applied heads as last merged.
    pub fn heads(&self) -> Arc<Heads> {
        self.read().merged().heads.clone()
    }

    pub(super) fn release(&self, version: Version) {
        let mut inner = self.write();
        let count = inner
            .readers
            .get_mut(&version)
            .expect("a snapshot is registered");
        *count -= 1;
        if *count == 0 {
            inner.readers.remove(&version);
            inner.prune();
        }
    }

    pub(super) fn get(&self, key: &[u8], at: Version) -> Result<Option<Record>, ReadError> {
        // Most of what is read again is found here, and no merge is in the way.
        if !self.is_expired(at)
            && let Some(record) = self.cached().at(key, at)
        {
            return Ok(record.clone());
        }
        let inner = self.read();
        if at < inner.expired_below {
            return Err(ReadError::Expired);
        }
        // The read lock stays until what was found is kept, so no change can come in between.
        if let Some(record) = inner.layers.get(key, at) {
            if inner.merged_version() <= at {
                self.cache().keep(key, record.clone(), at);
            }
            return Ok(record);
        }
        // What no layer knows has not changed since: the newest record is that of this version too.
        if let Some(record) = self.cached().newest(key) {
            return Ok(record.clone());
        }
        let record = match self.storage.get(key)? {
            None => None,
            Some(bytes) => {
                Some(Record::decode(&bytes).map_err(|source| ReadError::malformed(key, source))?)
            }
        };
        self.cache().keep(key, record.clone(), at);
        Ok(record)
    }

    /// One page of records, of about `limit`.
    pub(super) fn page(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        at: Version,
    ) -> Result<Page, ReadError> {
        let inner = self.read();
        if at < inner.expired_below {
            return Err(ReadError::Expired);
        }
        let rows = self.storage.scan(from, to, limit)?;
        let mut next = (rows.len() == limit).then(|| {
            let mut next = rows[limit - 1].0.clone();
            next.push(0);
            next
        });
        // What is in memory may be much more than a page.
        let end = next.as_deref().unwrap_or(to);
        if let Some(bound) = inner.layers.bound(from, end, limit) {
            next = Some(bound.clone());
        }
        let end = next.as_deref().unwrap_or(to);
        let mut merged: BTreeMap<Key, Option<Record>> = BTreeMap::new();
        for (key, bytes) in rows.into_iter().filter(|(key, _)| key.as_slice() < end) {
            let record =
                Record::decode(&bytes).map_err(|source| ReadError::malformed(&key, source))?;
            merged.insert(key, Some(record));
        }
        inner.layers.overlay(from, end, at, &mut merged);
        let records = merged
            .into_iter()
            .filter_map(|(key, record)| Some((key, record?)))
            .collect();
        Ok(Page { records, next })
    }

    pub(super) fn last(
        &self,
        from: &[u8],
        to: &[u8],
        at: Version,
    ) -> Result<Option<(Key, Record)>, ReadError> {
        let inner = self.read();
        if at < inner.expired_below {
            return Err(ReadError::Expired);
        }
        let mut to = to.to_vec();
        loop {
            let below = self.storage.scan_back(from, &to, 1)?.pop();
            let above = inner.layers.last(from, &to, at);
            match (below, above) {
                (None, None) => return Ok(None),
                (Some((key, bytes)), above) if above.as_ref().is_none_or(|(a, _)| *a < key) => {
                    let record = Record::decode(&bytes)
                        .map_err(|source| ReadError::malformed(&key, source))?;
                    return Ok(Some((key, record)));
                }
                (_, Some((key, Some(record)))) => return Ok(Some((key, record))),
                (_, Some((key, None))) => to = key,
                (Some(_), None) => unreachable!("covered by the guard above"),
            }
        }
    }

    /// What is known of paths in a version; nothing if its snapshots have expired.
    pub(super) fn known(&self, summary: &Summary) -> Option<Known<'_>> {
        let live = !self.is_expired(summary.version);
        live.then(|| self.paths.at(summary.placement))
    }

    fn is_expired(&self, version: Version) -> bool {
        version.0 < self.expired_below.load(Ordering::Relaxed)
    }

    fn cached(&self) -> RwLockReadGuard<'_, Records> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> RwLockWriteGuard<'_, Records> {
        self.cache.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn merged(&self) -> Arc<Summary> {
        self.waiting.back().unwrap_or(&self.published).clone()
    }

    fn merged_version(&self) -> Version {
        self.waiting.back().unwrap_or(&self.published).version
    }

    /// Gives up replaced records that nobody needs any more.
    fn prune(&mut self) {
        let oldest = self
            .readers
            .keys()
            .next()
            .copied()
            .unwrap_or(self.published.version);
        self.layers.prune(oldest.min(self.published.version));
    }

    /// Gives up replaced records that only old snapshots need, if there are too many.
    fn expire(&mut self) {
        while self.layers.old_bytes() > OLD_BYTES_MAX {
            match self.layers.oldest() {
                Some(version) if version <= self.published.version => {
                    self.expired_below = self.expired_below.max(version);
                    self.layers.prune(version);
                }
                _ => break,
            }
        }
    }
}

fn wrong_kind(key: &[u8]) -> ReadError {
    ReadError::malformed(key, MalformedRecord("of another kind than its table's"))
}
