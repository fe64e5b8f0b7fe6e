//! A repository at one version.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::conflict;
use super::digest::StateDigest;
use super::state::{Heads, Known, State, Summary, Version};
use super::view::{ReadError, View};
use crate::codec::record::Record;
use crate::codec::state_key::Key;
use crate::model::{Conflict, ConflictId, Dependency, RepoId};

/// One state of a repository: every read through it is of that state, whatever is merged meanwhile.
///
/// Cloning is cheap. Held for long while much is written, it may expire
/// ([`ReadError::Expired`]).
#[derive(Clone)]
pub struct Snapshot(Arc<Hold>);

struct Hold {
    state: Arc<State>,
    summary: Arc<Summary>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.state.release(self.summary.version);
    }
}

impl Snapshot {
    /// Takes over a registration of the summary's version among the state's readers.
    pub(super) fn new(state: Arc<State>, summary: Arc<Summary>) -> Self {
        Self(Arc::new(Hold { state, summary }))
    }

    /// Which repository.
    pub fn repo(&self) -> RepoId {
        self.0.state.repo()
    }

    /// Which version of it.
    pub fn version(&self) -> Version {
        self.0.summary.version
    }

    /// The newest applied change set of each origin.
    pub fn heads(&self) -> &Heads {
        &self.0.summary.heads
    }

    /// What a change set that has seen this state depends on: the heads that no other head has
    /// seen, in order of origins (M2).
    pub fn frontier(&self) -> &[Dependency] {
        &self.0.summary.meta.frontier
    }

    /// The digest of the state. Two replicas with equal heads have equal digests.
    pub fn digest(&self) -> StateDigest {
        let summary = &self.0.summary;
        *summary
            .digest
            .get_or_init(|| StateDigest::of(&summary.meta.digest))
    }

    /// The open conflicts: those that stand and that nobody has dismissed (M14), in order.
    ///
    /// Reads every one of them.
    ///
    /// # Errors
    /// If they can not be read.
    pub fn conflicts(&self) -> Result<BTreeSet<Conflict>, ReadError> {
        conflict::open(self)
    }

    /// Whether anybody has dismissed a conflict, be it one that stands or not.
    ///
    /// # Errors
    /// If it can not be read.
    pub fn is_dismissed(&self, conflict: ConflictId) -> Result<bool, ReadError> {
        conflict::is_dismissed(self, conflict)
    }

    /// Whether the other one is of the same version of the same state in memory.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.state, &other.0.state) && self.version() == other.version()
    }

    pub(super) fn summary(&self) -> &Summary {
        &self.0.summary
    }
}

impl View for Snapshot {
    fn repo(&self) -> RepoId {
        self.0.state.repo()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        self.0.state.get(key, self.version())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Record)>, ReadError> {
        let mut records = Vec::new();
        let mut from = from.to_vec();
        while records.len() < limit {
            let page = (limit - records.len()).min(512);
            let page = self.0.state.page(&from, to, page, self.version())?;
            records.extend(page.records);
            match page.next {
                Some(next) => from = next,
                None => break,
            }
        }
        records.truncate(limit);
        Ok(records)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<(Key, Record)>, ReadError> {
        self.0.state.last(from, to, self.version())
    }

    fn known(&self) -> Option<Known<'_>> {
        self.0.state.known(&self.0.summary)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({} {:?})", self.repo().name(), self.version())
    }
}
