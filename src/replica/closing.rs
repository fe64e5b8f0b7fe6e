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
use crate::codec::closing::{CLOSED_MAX, Closing, decode, encode};
use crate::codec::key;
use crate::model::{OriginId, PublicKey, RepoId, Sequence};
use crate::storage::{Storage, StorageError};

/// Most statements of one author in a repository that are remembered. A repair makes one.
const CLOSINGS_MAX: usize = 256;
/// Most origins that they end, of one author: what is known of each takes some hundred bytes, also
/// where there is nothing of it.
const CLOSED_BY_AUTHOR_MAX: usize = 4 * CLOSED_MAX;
/// Statements read from the store at a time.
const PAGE_STATEMENTS: usize = 64;

/// The statements that are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Closings {
    /// By the origin under which content is saved again.
    all: BTreeMap<OriginId, Closing>,
    /// By origin that is closed: the lowest last number, and in which statement that stands.
    ends: BTreeMap<OriginId, (Sequence, OriginId)>,
    /// How many there are of each author, and how many origins they end.
    counts: BTreeMap<PublicKey, (usize, usize)>,
}

impl Closings {
    /// The statements in a store.
    pub(super) fn recall(storage: &dyn Storage, repo: RepoId) -> Result<Self, StorageError> {
        let (mut from, to) = key::closings(repo);
        let mut closings = Self::default();
        loop {
            let rows = storage.scan(&from, &to, PAGE_STATEMENTS)?;
            let Some((last, _)) = rows.last() else {
                return Ok(closings);
            };
            from = [last, [0].as_slice()].concat();
            for closing in rows.iter().filter_map(|(_, value)| decode(value).ok()) {
                closings.add(closing);
            }
        }
    }

    fn add(&mut self, closing: Closing) {
        let again = closing.again();
        for (origin, closed) in closing.origins() {
            let end = self.ends.entry(origin).or_insert((closed.last, again));
            *end = (closed.last, again).min(*end);
        }
        let (statements, origins) = self.counts.entry(closing.key).or_default();
        *statements += 1;
        *origins += closing.closed.len();
        self.all.insert(again, closing);
    }

    /// Whether one more of an author is taken, which ends so many origins.
    pub(super) fn has_room(&self, author: &PublicKey, closed: usize) -> bool {
        let counts = self.counts.get(author).copied();
        let (statements, origins) = counts.unwrap_or_default();
        statements < CLOSINGS_MAX && origins + closed <= CLOSED_BY_AUTHOR_MAX
    }

    /// Those of one author.
    pub(super) fn of(&self, author: PublicKey) -> impl Iterator<Item = &Closing> {
        let all = self.all.values();
        all.filter(move |closing| closing.key == author)
    }

    /// Where origins are closed: the lowest last numbers.
    pub(super) fn ends(&self) -> impl Iterator<Item = (OriginId, Sequence)> {
        let ends = self.ends.iter();
        ends.map(|(origin, (last, _))| (*origin, *last))
    }

    /// Whose a closed origin is.
    pub(super) fn author_of(&self, origin: OriginId) -> Option<PublicKey> {
        let (_, again) = self.ends.get(&origin)?;
        Some(self.all[again].key)
    }

    /// Whether an origin that ends after this number does so since it is closed.
    fn is_closed(&self, origin: OriginId, last: Sequence) -> bool {
        self.ends.get(&origin).is_some_and(|end| end.0 == last)
    }
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

    /// Ends the origins of a statement that is its author's. False if it is known, or there is no
    /// room for it.
    pub(super) fn close_origins(&mut self, closing: &Closing) -> bool {
        let (repo, again) = (closing.repo, closing.again());
        let known = &self.repo(repo).closings;
        if known.all.contains_key(&again) {
            return false;
        }
        let streams = &self.repo(repo).streams;
        // Bounded is what ends nothing that is here: otherwise it would matter what came first.
        let mut ends = closing.origins();
        let ends_some = ends.any(|(origin, closed)| {
            streams.get(&origin).is_some_and(|stream| {
                stream.head() > closed.last && stream.ended.is_none_or(|last| last > closed.last)
            })
        });
        if !ends_some && !known.has_room(&closing.key, closing.closed.len()) {
            return false;
        }
        let note = (key::closing(repo, again), encode(closing));
        self.batch.notes.extend([note]);
        self.repo_mut(repo).closings.add(closing.clone());
        for (origin, closed) in closing.origins() {
            self.end_origin(repo, origin, closing.key, closed.last, []);
            // Also if it has been shown to end there already: it must not matter what came first.
            let known = self.repo_mut(repo);
            if let Some(stream) = known.streams.get_mut(&origin) {
                stream.recall_closed(&known.closings, origin);
            }
        }
        if closing.key == self.identity.public() {
            self.again.push(again::Again::new(closing.clone()));
        }
        true
    }

    /// By which statement an origin ends after this number, if it is by one: the origin under which
    /// content is saved again.
    pub(super) fn closed_by(
        &self,
        repo: RepoId,
        origin: OriginId,
        last: Sequence,
    ) -> Option<OriginId> {
        let end = self.repo(repo).closings.ends.get(&origin);
        let (_, again) = end.filter(|end| end.0 == last)?;
        Some(*again)
    }

    /// A statement, if it is on disk.
    pub(super) fn statement(&self, repo: RepoId, again: OriginId) -> Option<Arc<[u8]>> {
        let storage = self.repo(repo).journal.reader().storage();
        let statement = storage.get(&key::closing(repo, again)).ok()??;
        Some(statement.into())
    }
}

impl Stream {
    /// Takes note of what statements say of it.
    pub(super) fn recall_closed(&mut self, closings: &Closings, origin: OriginId) {
        self.closed = self
            .ended
            .is_some_and(|last| closings.is_closed(origin, last));
    }
}
