//! Where origins end: told, asked for, shown. And the search for where two histories of one begin
//! to differ.
//!
//! When stored heads differ, both sides tell where origins end for them; who knows of an earlier
//! end than the other shows it. When the heads are the same numbers and yet not the same chains,
//! the ends of some chains are asked for, which brings the difference to light.

use std::collections::BTreeMap;

use rand::Rng;

use crate::codec::message::{HEADS_MAX, HeadList, SealedBytes};
use crate::model::{OriginId, RepoId, Sequence, Time};
use crate::replica::output::ConnectionId;
use crate::replica::stream::{ends, stored_heads};
use crate::replica::{Message, Replica};

/// Bytes of proofs after which no more are shown in answer to one message.
const SHOWN_BYTES_ENOUGH: usize = 1 << 20;
/// Most streams whose ends are compared at a time.
const ENDS_COMPARED_MAX: usize = 256;
/// A search that gets no answer in this time may be begun again, in milliseconds.
const SEARCH_TIMEOUT_MS: u64 = 5_000;

/// A search for the first difference between a chain here and one that a connection has.
pub(super) struct Search {
    place: (RepoId, OriginId),
    /// Up to here they are the same.
    same: Sequence,
    /// Here they are not.
    differs: Sequence,
    until: Time,
}

/// The first half of a proof that did not fit one message.
pub(super) type Half = ((RepoId, OriginId), Vec<SealedBytes>);

impl Replica {
    /// Tells where origins end, if any do: another part each time, if they are too many.
    pub(super) fn tell_ends(&mut self, to: ConnectionId, repo: RepoId) {
        let streams = &self.repos[&repo].streams;
        let rng = &mut self.rng;
        let ends = ends(streams, HEADS_MAX, |count| rng.random_range(0..count));
        if !ends.is_empty() {
            self.send(to, Message::Ends { repo, ends });
        }
    }

    /// Tells everybody where origins end since the last commit.
    pub(in crate::replica) fn announce_ends(&mut self, repo: RepoId, ends: &HeadList) {
        let all: Vec<_> = self.gossip.connections.keys().copied().collect();
        for to in all {
            for ends in ends.chunks(HEADS_MAX) {
                let ends = ends.to_vec();
                self.send(to, Message::Ends { repo, ends });
            }
        }
    }

    pub(super) fn receive_ends(&mut self, from: ConnectionId, repo: RepoId, theirs: &HeadList) {
        const NOWHERE: Sequence = Sequence(u64::MAX);
        let mut wanted = HeadList::new();
        let mut shown = 0;
        let mut told = BTreeMap::new();
        // Begins elsewhere each time: what the other one refuses is not to stand before all else.
        let start = match theirs.len() {
            0 => 0,
            count => self.rng.random_range(0..count),
        };
        let (before, after) = theirs.split_at(start);
        for (origin, last) in after.iter().chain(before) {
            let stream = self.repo(repo).streams.get(origin);
            let ours = stream.and_then(|stream| stream.ended).unwrap_or(NOWHERE);
            if ours < *last && shown < SHOWN_BYTES_ENOUGH {
                if let Some(again) = self.closed_by(repo, *origin, ours) {
                    // One statement can end many origins: it is read and told once.
                    let is_told = told.entry(again).or_insert_with(|| {
                        let bytes = self.tell_statement(from, repo, again);
                        shown += bytes.unwrap_or_default();
                        bytes.is_some()
                    });
                    if *is_told {
                        continue;
                    }
                }
                match Self::proof(self.repo(repo).journal.reader(), *origin) {
                    Ok(Some(proof)) => {
                        shown += proof.bytes();
                        self.show(from, repo, *origin, proof);
                    }
                    Ok(None) => {}
                    Err(error) => return self.fail(error),
                }
            } else if ours > *last && (stream.is_some() || *last == Sequence(0)) {
                // Without a stream it is not known whose it is, unless the proof says so.
                wanted.push((*origin, ours));
            }
        }
        if !wanted.is_empty() {
            wanted.sort_unstable();
            self.send(from, Message::Ends { repo, ends: wanted });
        }
    }

    /// Tells a statement that is on disk: its bytes.
    fn tell_statement(&mut self, to: ConnectionId, repo: RepoId, again: OriginId) -> Option<usize> {
        let statement = self.statement(repo, again)?;
        let bytes = statement.len();
        self.send(to, Message::Closing { repo, statement });
        Some(bytes)
    }

    /// Puts the two halves of a proof together, or keeps the first one.
    pub(in crate::replica) fn both_halves(
        &mut self,
        from: ConnectionId,
        place: (RepoId, OriginId),
        one: Vec<SealedBytes>,
        other: Vec<SealedBytes>,
    ) -> Option<(Vec<SealedBytes>, Vec<SealedBytes>)> {
        let connection = self.gossip.connections.get_mut(&from)?;
        match (one.is_empty(), other.is_empty()) {
            (false, false) => Some((one, other)),
            (false, true) => {
                connection.half = Some((place, one));
                None
            }
            _ => {
                let (whose, one) = connection.half.take()?;
                (whose == place).then_some((one, other))
            }
        }
    }

    /// Another replica's heads are the numbers that are here, and something is different.
    pub(super) fn compare_chains(&mut self, to: ConnectionId, repo: RepoId) {
        let heads = stored_heads(&self.repo(repo).streams);
        if heads.is_empty() {
            return;
        }
        // Another part each time, if they are too many.
        let start = match heads.len() > ENDS_COMPARED_MAX {
            true => self.rng.random_range(0..heads.len()),
            false => 0,
        };
        let part = heads.iter().cycle().skip(start);
        for (origin, head) in part.take(heads.len().min(ENDS_COMPARED_MAX)) {
            let message = Message::Want {
                repo,
                origin: *origin,
                after: Sequence(head.0 - 1),
            };
            self.send(to, message);
        }
    }

    /// At this number a connection's chain is another one than here.
    pub(in crate::replica) fn search_below(
        &mut self,
        from: ConnectionId,
        repo: RepoId,
        origin: OriginId,
        differs: Sequence,
    ) {
        let (place, now) = ((repo, origin), self.now);
        let Some(connection) = self.gossip.connections.get_mut(&from) else {
            return;
        };
        let same = match &connection.search {
            Some(search) if search.place == place && search.differs > differs => search.same,
            // One at a time; it is met again.
            Some(search) if search.until > now => return,
            _ => Sequence(0),
        };
        if same >= differs {
            connection.search = None;
            return;
        }
        connection.search = Some(Search {
            place,
            same,
            differs,
            until: now.plus_millis(SEARCH_TIMEOUT_MS),
        });
        self.search_on(from);
    }

    /// Up to this number a connection's chain is the one that is here.
    pub(in crate::replica) fn search_above(
        &mut self,
        from: ConnectionId,
        place: (RepoId, OriginId),
        same: Sequence,
    ) {
        let Some(connection) = self.gossip.connections.get_mut(&from) else {
            return;
        };
        let Some(search) = connection.search.as_mut().filter(|s| s.place == place) else {
            return;
        };
        if same <= search.same {
            return;
        }
        if same >= search.differs {
            connection.search = None;
            return;
        }
        search.same = same;
        self.search_on(from);
    }

    /// What was searched for, or something else that differs, has been found.
    pub(in crate::replica) fn search_done(&mut self, from: ConnectionId) {
        if let Some(connection) = self.gossip.connections.get_mut(&from) {
            connection.search = None;
        }
    }

    fn search_on(&mut self, to: ConnectionId) {
        let search = self.gossip.connections.get(&to);
        let Some(search) = search.and_then(|connection| connection.search.as_ref()) else {
            return;
        };
        let (repo, origin) = search.place;
        // Asked is for the one in the middle; what comes with it is looked at, too.
        let after = Sequence(search.same.0 + (search.differs.0 - search.same.0 - 1) / 2);
        let message = Message::Want {
            repo,
            origin,
            after,
        };
        self.send(to, message);
    }
}
