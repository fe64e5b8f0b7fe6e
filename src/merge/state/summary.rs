//! What a version is besides its records, and the records that only say the same again.
//!
//! Every merge changes its origins' heads and the rest of the state (tables `a` and `m`). Both stand
//! in the summary of each version; so they need no place in the layers, and become records when a
//! checkpoint is taken.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::Version;
use super::layers::Rows;
use crate::codec::record::{Head, Meta, Record};
use crate::codec::state_key::{self as key, Key};
use crate::merge::digest::StateDigest;
use crate::model::{OriginId, RepoId};

/// The applied heads of a repository, by origin.
pub type Heads = BTreeMap<OriginId, Head>;

/// See the top of the file.
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

impl Summary {
    /// Whether summaries say what stands under a key.
    pub(super) fn tells(key: &[u8]) -> bool {
        matches!(key.first(), Some(b'a' | b'm'))
    }

    /// The record under a key that summaries tell of.
    pub(super) fn record(&self, repo: RepoId, key: &[u8]) -> Option<Record> {
        if key == key::meta(repo) {
            return self.rest();
        }
        let origin = key::head_of(key).filter(|_| key.starts_with(&key::heads(repo)))?;
        self.heads.get(&origin).copied().map(Record::Head)
    }

    /// The record of the rest: there is none before anything was merged.
    fn rest(&self) -> Option<Record> {
        (!self.heads.is_empty()).then(|| Record::Meta(self.meta.clone()))
    }

    /// All records that it tells of, in order of keys.
    fn all(&self, repo: RepoId) -> impl DoubleEndedIterator<Item = (Key, Record)> {
        let heads = self.heads.iter();
        let heads =
            heads.map(move |(origin, head)| (key::head(repo, *origin), Record::Head(*head)));
        heads.chain(self.rest().map(|rest| (key::meta(repo), rest)))
    }

    /// Puts what it tells of in a range in the place of what others say.
    pub(super) fn overlay(&self, repo: RepoId, from: &[u8], to: &[u8], rows: &mut Rows) {
        if from >= b"n".as_slice() || to <= b"a".as_slice() {
            return;
        }
        rows.retain(|key, _| !Self::tells(key));
        let within = |key: &Key| key.as_slice() >= from && key.as_slice() < to;
        let told = self.all(repo).filter(|(key, _)| within(key));
        rows.extend(told.map(|(key, record)| (key, Some(record))));
    }

    /// The last record of a range that it tells of.
    pub(super) fn last(&self, repo: RepoId, from: &[u8], to: &[u8]) -> Option<(Key, Record)> {
        if from >= b"n".as_slice() || to <= b"a".as_slice() {
            return None;
        }
        let within = |key: &Key| key.as_slice() >= from && key.as_slice() < to;
        self.all(repo).rev().find(|(key, _)| within(key))
    }

    /// The records that are other ones than an older summary tells.
    pub(super) fn news(&self, repo: RepoId, older: &Self) -> Vec<(Key, Record)> {
        if self.version == older.version {
            return Vec::new();
        }
        let known = |key: &[u8]| match older.record(repo, key) {
            Some(Record::Head(head)) => Some(head),
            _ => None,
        };
        self.all(repo)
            .filter(|(key, record)| match record {
                Record::Head(head) => known(key) != Some(*head),
                _ => true,
            })
            .collect()
    }
}
