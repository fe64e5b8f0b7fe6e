//! The versioned records of one repository: in memory while they change, over what is on disk.
//!
//! A key is looked up in a cache of newest records, then in three layers: what changed since the
//! last checkpoint began, what that checkpoint is writing, the store. Each merge makes a new *version*;
//! what a version replaced is kept as long as a snapshot, or the published version, may still need
//! it, and no longer than [`OLD_BYTES_MAX`] allows. Merging itself is [`super::pass`]'s work.

mod cache;
mod kept;
mod layers;
mod newest;
mod paths;
mod summary;
mod versions;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cache::Records;
use layers::{Layers, Replaced, Rows};
use newest::Newest;
pub use paths::Known;
use paths::Paths;
pub use summary::Heads;
pub(crate) use summary::Summary;
use versions::Versions;

use super::counters::MergeCounters;
use super::fault::{Fault, on};
use super::pass::Pass;
use super::snapshot::Snapshot;
use super::view::{ReadError, View as _};
use super::{History, Merged};
use crate::codec::bytes::MalformedRecord;
use crate::codec::record::{Meta, Record};
use crate::codec::state_key::{self as key, Key};
use crate::model::{ChangeSet, RepoId};
use crate::storage::{self, Storage};

/// Most bytes of replaced records kept for snapshots. Past it the oldest snapshots expire.
pub const OLD_BYTES_MAX: usize = 64 << 20;
/// Most of them that are kept, when no snapshot needs them any more, until the next merge.
const OLD_BYTES_IDLE: usize = 1 << 20;
/// What a checkpoint writes of a summary, about.
const SUMMARY_BYTES: usize = 5_000;

/// Counts merges, from 1 for what was there at opening. Not a number that replicas share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

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
    /// What [`State::old_bytes`] came to last.
    old_bytes: AtomicUsize,
}

struct Inner {
    layers: Layers,
    versions: Versions,
    /// What the last checkpoint was taken of. A copy: the summary itself tells who reads.
    checkpointed: Summary,
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
    /// Opens what the store holds of a repository; `cache_bytes` bounds the records kept for reading
    /// again, and what paths lead to, which is a quarter of it.
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
        let summary = Summary {
            version: Version(1),
            placement: Version(1),
            heads: Arc::new(heads),
            meta,
            digest: OnceLock::new(),
        };
        Ok(Arc::new(Self {
            repo,
            storage,
            inner: RwLock::new(Inner {
                layers: Layers::default(),
                checkpointed: summary.clone(),
                versions: Versions::new(Arc::new(summary)),
                expired_below: Version(0),
            }),
            cache: RwLock::new(Records::new(cache_bytes / 4 * 3)),
            paths: Paths::new(cache_bytes / 4, Version(1)),
            expired_below: AtomicU64::new(0),
            merging: Mutex::new(()),
            old_bytes: AtomicUsize::new(0),
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
        let merged = self.read().versions.merged();
        let base = Newest::new(self, &merged);
        let outcome = Pass::new(&base, &merged, history).run(batch)?;
        let version = Version(merged.version.0 + 1);
        // What is replaced is read before the lock is taken: nobody else changes it.
        let mut replaced = Vec::with_capacity(outcome.changed.len());
        for (key, change) in outcome.changed {
            if Summary::tells(&key) {
                continue;
            }
            let before = match change.before {
                Some(before) => before,
                None => base.get(&key)?,
            };
            debug_assert!(
                base.get(&key)? == before,
                "a pass knows what it replaces: {key:02x?}"
            );
            let after = change.now;
            if before != after {
                replaced.push(Replaced { key, before, after });
            }
        }
        let placement = match self.paths.replace(version, &replaced) {
            true => version,
            false => merged.placement,
        };
        let summary = Arc::new(Summary {
            version,
            placement,
            heads: outcome.heads,
            meta: outcome.meta,
            digest: OnceLock::new(),
        });
        let snapshot = Snapshot::new(self.clone(), summary.clone());
        let mut inner = self.write();
        if !on(Fault::CacheStale) {
            let mut cache = self.cache();
            for Replaced { key, after, .. } in &replaced {
                cache.update(key, after.as_ref(), version);
            }
        }
        inner.layers.replace(version, replaced);
        inner.versions.push(summary);
        inner.expire();
        self.expired_below
            .store(inner.expired_below.0, Ordering::Relaxed);
        drop(inner);
        Ok(Merged {
            version,
            changes: outcome.changes,
            voided: outcome.voided,
            snapshot,
        })
    }

    /// Lets new snapshots be taken at `version`. One that is published already changes nothing.
    pub fn publish(&self, version: Version) {
        let mut inner = self.write();
        inner.versions.publish(version);
        self.prune(&mut inner);
    }

    /// The state as last published.
    pub fn snapshot(self: &Arc<Self>) -> Snapshot {
        let summary = self.read().versions.published();
        Snapshot::new(self.clone(), summary)
    }

    /// The state as last merged, whether published or not.
    pub fn latest(self: &Arc<Self>) -> Snapshot {
        let summary = self.read().versions.merged();
        Snapshot::new(self.clone(), summary)
    }

    /// What changed since the last checkpoint; nothing if that is nothing, or one is under way.
    ///
    /// The store must get it only after the journal records of everything merged so far: a state
    /// on disk never runs ahead of the journal.
    pub fn take_checkpoint(&self) -> Option<Checkpoint> {
        let (dirty, version) = {
            let mut inner = self.write();
            if inner.layers.is_writing() {
                return None;
            }
            let merged = inner.versions.merged();
            for (key, record) in merged.news(self.repo, &inner.checkpointed) {
                inner.layers.put_unread(&key, record);
            }
            inner.checkpointed = Summary::clone(&merged);
            (inner.layers.begin_checkpoint()?, merged.version)
        };
        let changes = dirty
            .iter()
            .filter(|(_, record)| record.is_some() || !on(Fault::CheckpointKeepsRemoved))
            .map(|(key, record)| (key.to_vec(), record.as_ref().map(Record::encode)))
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
        let inner = self.read();
        let summary = match inner.versions.merged().version == inner.checkpointed.version {
            true => 0,
            false => SUMMARY_BYTES,
        };
        inner.layers.dirty_bytes() + summary
    }

    /// Bytes of replaced records kept for snapshots, about.
    pub fn old_bytes(&self) -> usize {
        let mut inner = self.write();
        self.prune(&mut inner);
        inner.layers.old_bytes()
    }

    /// What merging has come to so far.
    pub fn counters(&self) -> MergeCounters {
        MergeCounters::from_stored(&self.read().versions.merged().meta.counters)
    }

    /// The applied heads as last merged.
    pub fn heads(&self) -> Arc<Heads> {
        self.read().versions.merged().heads.clone()
    }

    /// Says that a snapshot was let go. What was kept for it goes now if it is much, or else with
    /// the next merge.
    pub(super) fn released(&self) {
        if self.old_bytes.load(Ordering::Relaxed) > OLD_BYTES_IDLE {
            self.prune(&mut self.write());
        }
    }

    /// Gives up replaced records that nobody needs any more.
    fn prune(&self, inner: &mut Inner) {
        let oldest = inner.versions.oldest();
        inner.layers.prune(oldest);
        let old_bytes = inner.layers.old_bytes();
        self.old_bytes.store(old_bytes, Ordering::Relaxed);
    }

    pub(super) fn get(&self, key: &[u8], at: &Summary) -> Result<Option<Record>, ReadError> {
        // Most of what is read again is found here, and no merge is in the way.
        if !self.is_expired(at.version)
            && let Some(record) = self.cached().at(key, at.version)
        {
            return Ok(record.clone());
        }
        let inner = self.read();
        if at.version < inner.expired_below {
            return Err(ReadError::Expired);
        }
        if Summary::tells(key) {
            return Ok(at.record(self.repo, key));
        }
        // The read lock stays until what was found is kept, so no change can come in between. Of what
        // has changed lately only that is kept which people read; the rest is for merging.
        if let Some(record) = inner.layers.get(key, at.version) {
            if key::is_of_node(key) && inner.versions.newest() <= at.version {
                self.cache().keep(key, record.clone(), at.version);
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
        self.cache().keep(key, record.clone(), at.version);
        Ok(record)
    }

    /// The first `limit` records of a range, page by page.
    pub(super) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        at: &Summary,
    ) -> Result<Vec<(Key, Record)>, ReadError> {
        let mut records = Vec::new();
        let mut from = from.to_vec();
        while records.len() < limit {
            let page = (limit - records.len()).min(512);
            let page = self.page(&from, to, page, at)?;
            records.extend(page.records);
            match page.next {
                Some(next) => from = next,
                None => break,
            }
        }
        records.truncate(limit);
        Ok(records)
    }

    /// One page of records, of about `limit`.
    fn page(&self, from: &[u8], to: &[u8], limit: usize, at: &Summary) -> Result<Page, ReadError> {
        let inner = self.read();
        if at.version < inner.expired_below {
            return Err(ReadError::Expired);
        }
        let rows = self.storage.scan(from, to, limit)?;
        let mut next = (rows.len() == limit).then(|| [&rows[limit - 1].0[..], &[0]].concat());
        // What is in memory may be much more than a page.
        let end = next.as_deref().unwrap_or(to);
        let changed = inner.layers.know(from, end);
        if changed && let Some(bound) = inner.layers.bound(from, end, limit) {
            next = Some(bound.to_vec());
        }
        let end = next.as_deref().unwrap_or(to);
        let mut merged = Rows::new();
        for (key, bytes) in rows.into_iter().filter(|(key, _)| key.as_slice() < end) {
            let record =
                Record::decode(&bytes).map_err(|source| ReadError::malformed(&key, source))?;
            merged.insert(key, Some(record));
        }
        if changed {
            inner.layers.overlay(from, end, at.version, &mut merged);
        }
        at.overlay(self.repo, from, end, &mut merged);
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
        at: &Summary,
    ) -> Result<Option<(Key, Record)>, ReadError> {
        let inner = self.read();
        if at.version < inner.expired_below {
            return Err(ReadError::Expired);
        }
        let told = at.last(self.repo, from, to);
        let mut to = to.to_vec();
        let found = loop {
            let below = self.storage.scan_back(from, &to, 1)?.pop();
            let above = inner.layers.last(from, &to, at.version);
            let (key, record) = match (below, above) {
                (None, None) => break None,
                (Some((key, bytes)), above) if above.as_ref().is_none_or(|(a, _)| *a < key) => {
                    let record = Record::decode(&bytes)
                        .map_err(|source| ReadError::malformed(&key, source))?;
                    (key, Some(record))
                }
                (_, Some(above)) => above,
                (Some(_), None) => unreachable!("covered by the guard above"),
            };
            match record {
                Some(record) if !Summary::tells(&key) => break Some((key, record)),
                _ => to = key,
            }
        };
        Ok(match (found, told) {
            (Some(found), Some(told)) if told.0 > found.0 => Some(told),
            (found, told) => found.or(told),
        })
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
    /// Gives up replaced records that only old snapshots need, if there are too many.
    fn expire(&mut self) {
        while self.layers.old_bytes() > OLD_BYTES_MAX {
            match self.layers.oldest() {
                Some(version) if version <= self.versions.published().version => {
                    self.expired_below = self.expired_below.max(version);
                    self.versions.expire(version);
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
