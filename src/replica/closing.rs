//! Closing statements: an author ends origins of its own, since it wrote there while its clock was
//! far ahead (`ahead`).
//!
//! A statement is a proof that an origin ends, like two histories of one (`ends`): it is durable,
//! goes to everybody, and decides the same everywhere, whatever came first. It needs nothing else to
//! be believed, so a replica can take it that has nothing of the origin. What its author does next is
//! in `again`. `docs/decisions/0010` says why.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::identity;
use super::output::ConnectionId;
use super::stream::Stream;
use super::{Replica, again};
use crate::codec::DecodeError;
use crate::codec::closing::{Closing, decode, encode};
use crate::codec::key;
use crate::model::{OriginId, RepoId, Sequence};
use crate::storage::{Storage, StorageError};

/// Most statements of a repository that are remembered.
const CLOSINGS_MAX: usize = 65_536;

/// The statements that are known, by the origin under which content is saved again.
pub(super) type Closings = BTreeMap<OriginId, Closing>;

/// The statements in a store.
pub(super) fn recall(storage: &dyn Storage, repo: RepoId) -> Result<Closings, StorageError> {
    let (from, to) = key::closings(repo);
    let rows = storage.scan(&from, &to, CLOSINGS_MAX)?;
    let statements = rows.iter().filter_map(|(_, value)| decode(value).ok());
    Ok(statements
        .map(|closing| (closing.again(), closing))
        .collect())
}

impl Replica {
    /// A statement has come. It is believed if it is its author's.
    pub(super) fn receive_closing(&mut self, from: ConnectionId, repo: RepoId, statement: &[u8]) {
        let closing = match decode(statement) {
            Ok(closing) if closing.repo == repo => closing,
            // This program seems to be too old for it.
            Err(DecodeError::Version { .. }) => return,
            Ok(_) => return self.close_for(from, "a statement about another repository".into()),
            Err(error) => return self.close_for(from, error.to_string()),
        };
        let text = closing.text(self.config.cluster);
        if !identity::verify(&closing.key, &text, &closing.seal.0) {
            let reason = "a closing statement that is not its author's";
            return self.close_for(from, reason.into());
        }
        if !self.membership.is_known(&closing.key) {
            return;
        }
        self.close_origins(&closing);
    }

    /// Ends the origins of a statement that is its author's.
    pub(super) fn close_origins(&mut self, closing: &Closing) {
        let (repo, again) = (closing.repo, closing.again());
        let known = &self.repo(repo).closings;
        if known.contains_key(&again) || known.len() >= CLOSINGS_MAX {
            return;
        }
        let note = (key::closing(repo, again), encode(closing));
        self.batch.notes.extend([note]);
        self.repo_mut(repo).closings.insert(again, closing.clone());
        for (origin, closed) in closing.origins() {
            if self.end_origin(repo, origin, closing.key, closed.last, []) {
                let stream = self.stream_entry(repo, origin, closing.key);
                stream.closed = true;
            }
        }
        if closing.key == self.identity.public() {
            let again = again::Again::new(closing.clone());
            self.again.push(again);
        }
    }

    /// The statement by which an origin ends after this number, if there is one on disk.
    pub(super) fn statement(
        &self,
        repo: RepoId,
        origin: OriginId,
        last: Sequence,
    ) -> Option<Arc<[u8]>> {
        let known = self.repo(repo);
        let mut closings = known.closings.iter();
        let ends = |(_, closing): &(_, &Closing)| closing.last_of(origin) == Some(last);
        let (again, _) = closings.find(ends)?;
        let storage = known.journal.reader().storage();
        let statement = storage.get(&key::closing(repo, *again)).ok()??;
        Some(statement.into())
    }
}

impl Stream {
    /// Takes note of what statements say of it.
    pub(super) fn recall_closed(&mut self, closings: &Closings, origin: OriginId) {
        let mut closings = closings.values();
        self.closed =
            self.ended.is_some() && closings.any(|closing| closing.last_of(origin) == self.ended);
    }
}
