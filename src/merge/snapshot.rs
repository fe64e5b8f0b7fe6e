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
pub struct Snapshot {
    /// Held, it keeps what the version needs. Let go before what follows.
    summary: Arc<Summary>,
    state: Reading,
}

/// A state that is read.
#[derive(Clone)]
struct Reading(Arc<State>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.released();
    }
}

impl Snapshot {
    pub(super) fn new(state: Arc<State>, summary: Arc<Summary>) -> Self {
        let state = Reading(state);
        Self { summary, state }
    }

    /// Which repository.
    pub fn repo(&self) -> RepoId {
        self.state().repo()
    }

    /// Which version of it.
    pub fn version(&self) -> Version {
        self.summary.version
    }

    /// The newest applied change set of each origin.
    pub fn heads(&self) -> &Heads {
        &self.summary.heads
    }

    /// What a change set that has seen this state depends on: the heads that no other head has
    /// seen, in order of origins (M2).
    pub fn frontier(&self) -> &[Dependency] {
        &self.summary.meta.frontier
    }

    /// The digest of the state. Two replicas with equal heads have equal digests.
    pub fn digest(&self) -> StateDigest {
        let summary = &self.summary;
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
        Arc::ptr_eq(self.state(), other.state()) && self.version() == other.version()
    }

    fn state(&self) -> &Arc<State> {
        &self.state.0
    }
}

impl View for Snapshot {
    fn repo(&self) -> RepoId {
        self.state().repo()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        self.state().get(key, &self.summary)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Record)>, ReadError> {
        self.state().scan(from, to, limit, &self.summary)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<(Key, Record)>, ReadError> {
        self.state().last(from, to, &self.summary)
    }

    fn known(&self) -> Option<Known<'_>> {
        self.state().known(&self.summary)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({} {:?})", self.repo().name(), self.version())
    }
}
