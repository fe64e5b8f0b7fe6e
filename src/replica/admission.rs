//! Change sets of others: what is taken, what is dropped, what is refused, and whose fault it is.
//!
//! A range is looked at as a whole. Whoever sends one that does not hang together or whose seal is
//! wrong has not checked it, and is disconnected. What is well sealed but breaks the rules is its
//! author's doing, not the sender's: the origin ends before it (M17, `ends`). Everything else that
//! can not be taken now is dropped without blame, and comes back by comparing heads.

mod fork;

use std::sync::Arc;

use super::Replica;
use super::commit::{BATCH_BYTES_MAX, Entry};
use super::fault::{self, Fault};
use super::identity::{self, GoodSeals};
use super::output::{Alarm, ConnectionId, Output};
use super::stream::{SealPlace, Stream, Tip, seals_to_keep};
use crate::codec::DecodeError;
use crate::codec::change_set::{chain_hash, decode};
use crate::codec::message::SealedBytes;
use crate::model::change_set::ChainHash;
use crate::model::{ChangeSet, OriginId, PublicKey, RepoId, Sequence};

/// Most change sets from the future kept of one origin in one repository (M16).
pub(super) const FUTURE_CHANGE_SETS_MAX: usize = 1_024;
/// Most bytes of them.
pub(super) const FUTURE_BYTES_MAX: usize = 8 << 20;

/// A change set of a range, checked against the one before it.
struct Link {
    change_set: ChangeSet,
    hash: ChainHash,
    body: Arc<[u8]>,
    seal: Option<crate::codec::journal::Seal>,
}

/// Why a range is not taken, whoever is to blame.
enum Refusal {
    /// The sender's fault.
    Sender(String),
    /// This program seems to be too old for it.
    Format,
}

/// Decodes a piece of chain and checks that each continues the one before.
fn decode_chain(
    repo: RepoId,
    origin: OriginId,
    first: Sequence,
    records: &[SealedBytes],
) -> Result<Vec<Link>, Refusal> {
    let sender = |sequence: Sequence, reason: &dyn std::fmt::Display| {
        Refusal::Sender(format!(
            "change set {sequence} of origin {origin} in `{}`: {reason}",
            repo.name()
        ))
    };
    if first.0.checked_add(records.len() as u64).is_none() {
        return Err(sender(first, &"there is no such number"));
    }
    let mut links: Vec<Link> = Vec::with_capacity(records.len());
    let mut sequence = first;
    for record in records {
        let change_set = decode(&record.body).map_err(|error| match error {
            DecodeError::Version { .. } => Refusal::Format,
            other => sender(sequence, &other),
        })?;
        if change_set.repo != repo
            || change_set.id.origin != origin
            || change_set.sequence != sequence
        {
            return Err(sender(sequence, &"it belongs to another place"));
        }
        if links
            .last()
            .is_some_and(|before| before.hash != change_set.previous)
        {
            return Err(sender(sequence, &"it does not continue the one before it"));
        }
        links.push(Link {
            change_set,
            hash: chain_hash(&record.body),
            body: record.body.clone(),
            seal: record.seal,
        });
        sequence = sequence.next();
    }
    Ok(links)
}

/// Verifies as many seals as have to stay, and takes the others off.
fn verify_seals(
    known: Option<&GoodSeals>,
    place: SealPlace,
    author: &PublicKey,
    records: &[SealedBytes],
    links: &mut [Link],
) -> Result<(), Refusal> {
    let Some(keep) = seals_to_keep(records) else {
        return Err(Refusal::Sender(format!(
            "a range of origin {} does not end sealed, or has too long a run without a seal",
            place.origin
        )));
    };
    let mut keep = keep.into_iter().peekable();
    for (i, link) in links.iter_mut().enumerate() {
        if keep.next_if_eq(&i).is_none() {
            link.seal = None;
            continue;
        }
        let seal = link.seal.expect("only sealed ones are kept");
        let sequence = link.change_set.sequence;
        let text = place.text(sequence, link.hash);
        let good = match known {
            Some(known) => known.verify(author, &text, &seal.0),
            None => identity::verify(author, &text, &seal.0),
        };
        if !good && !fault::on(Fault::SealUnverified) {
            return Err(Refusal::Sender(format!(
                "the seal at {sequence} of origin {} is not its author's",
                place.origin
            )));
        }
    }
    Ok(())
}

impl Replica {
    /// A range has come. Returns whether it brought its stream forward.
    pub(super) fn receive_range(
        &mut self,
        from: ConnectionId,
        repo_id: RepoId,
        origin: OriginId,
        first: Sequence,
        records: &[SealedBytes],
    ) -> bool {
        self.counters.ranges_received += 1;
        let count = records.len() as u64;
        if first == Sequence(0) || first.0.checked_add(count).is_none() {
            self.close_for(from, "a range with impossible numbers".into());
            return false;
        }
        let stream = self.repo(repo_id).streams.get(&origin);
        let tip = stream.map_or(Tip::NONE, |stream| stream.tip);
        // Of an origin that has ended, nothing is lacking once its end is here.
        let enough = stream.and_then(Stream::enough);
        let whole = enough.is_some_and(|enough| enough <= tip.sequence);
        if first > tip.sequence.next() {
            if whole {
                self.counters.dropped += count;
                return false;
            }
            self.counters.gaps += 1;
            let last = Sequence(first.0 + count - 1);
            self.missing_now(from, repo_id, origin, last);
            return false;
        }
        let known = usize::try_from(tip.sequence.0 + 1 - first.0).unwrap_or(usize::MAX);
        if records.len() <= known || whole {
            self.receive_known(from, repo_id, origin, first, records);
            return false;
        }
        if known > 0 && chain_hash(&records[known - 1].body) != tip.hash {
            self.receive_other(from, repo_id, origin, first, records);
            return false;
        }
        self.counters.duplicates += known as u64;
        self.receive_new(from, repo_id, origin, tip, &records[known..])
    }

    /// A range of which everything should be here already (M17).
    fn receive_known(
        &mut self,
        from: ConnectionId,
        repo_id: RepoId,
        origin: OriginId,
        first: Sequence,
        records: &[SealedBytes],
    ) {
        if records.is_empty() {
            return;
        }
        let end = Sequence(first.0 + records.len() as u64 - 1);
        let end = end.min(self.repo(repo_id).streams[&origin].appliable());
        let index = end.0.checked_sub(first.0).map(usize::try_from);
        let Some(Ok(index)) = index else {
            self.counters.dropped += records.len() as u64;
            return;
        };
        let theirs = chain_hash(&records[index].body);
        match self.hash_at(repo_id, origin, end) {
            // The one at the end covers all before it.
            Some(ours) if ours == theirs => {
                self.counters.duplicates += records.len() as u64;
                self.acknowledge(from, repo_id, origin, end);
                self.search_above(from, (repo_id, origin), end);
            }
            Some(_) => self.receive_other(from, repo_id, origin, first, records),
            None => self.counters.dropped += records.len() as u64,
        }
    }

    /// The hash of what is here under a number.
    pub(super) fn hash_at(
        &self,
        repo_id: RepoId,
        origin: OriginId,
        sequence: Sequence,
    ) -> Option<ChainHash> {
        let repo = self.repo(repo_id);
        let tip = repo.streams.get(&origin)?.tip;
        if sequence == Sequence(0) || sequence > tip.sequence {
            return None;
        }
        if tip.sequence == sequence {
            return Some(tip.hash);
        }
        if let Some(next) = repo.journal.pending(origin, sequence.next()) {
            return Some(next.previous);
        }
        match repo.journal.reader().record(origin, sequence) {
            Ok(Some(record)) => Some(chain_hash(&record.body)),
            _ => repo
                .journal
                .get(origin, sequence.next())
                .ok()
                .map(|next| next.previous),
        }
    }

    /// New change sets that claim to continue a chain at its tip.
    fn receive_new(
        &mut self,
        from: ConnectionId,
        repo_id: RepoId,
        origin: OriginId,
        tip: Tip,
        records: &[SealedBytes],
    ) -> bool {
        let mut links = match decode_chain(repo_id, origin, tip.sequence.next(), records) {
            Ok(links) => links,
            Err(refusal) => {
                self.refuse(from, repo_id, origin, refusal);
                return false;
            }
        };
        let head = &links[0].change_set;
        if head.previous != tip.hash {
            self.receive_other(from, repo_id, origin, tip.sequence.next(), records);
            return false;
        }
        let author = match (&head.birth, self.repo(repo_id).streams.get(&origin)) {
            (Some(birth), _) => birth.key,
            (None, Some(stream)) => stream.key,
            (None, None) => unreachable!("the first of an origin has a birth"),
        };
        let place = self.seal_place(repo_id, origin);
        if let Err(refusal) = verify_seals(self.good_seals(), place, &author, records, &mut links) {
            self.refuse(from, repo_id, origin, refusal);
            return false;
        }
        if !self.membership.is_known(&author) {
            self.counters.dropped += links.len() as u64;
            self.refuse_for_now(repo_id, origin, author);
            return false;
        }
        if self.on_their_way() > BATCH_BYTES_MAX {
            self.counters.dropped += links.len() as u64;
            return false;
        }
        let is_current = origin == self.origin;
        if is_current {
            // Nobody but a copy of this replica can have sealed it.
            self.renew_origin(&links[0].hash.0);
        }
        if !self.check_rising(repo_id, origin, author, tip, &links) {
            self.counters.dropped += links.len() as u64;
            return false;
        }
        let stream = self.repo(repo_id).streams.get(&origin);
        if let Some(end) = stream.and_then(Stream::enough) {
            let carries = |link: &Link| link.change_set.sequence >= end && link.seal.is_some();
            let carrier = links.iter().position(carries);
            links.truncate(carrier.map_or(links.len(), |at| at + 1));
        }
        let made = links[0].change_set.id.time;
        let taken = self.take(from, repo_id, origin, author, links);
        let expected = self.began_empty.is_some_and(|opened| made <= opened);
        if taken && author == self.identity.public() && !expected {
            self.tell_own(repo_id, origin, tip.sequence.next(), is_current);
        }
        taken
    }

    /// Something that this replica has signed itself was not here from a number on. If it is of the
    /// origin that was its `current` one, that has been told already.
    fn tell_own(&mut self, repo: RepoId, origin: OriginId, first: Sequence, current: bool) {
        let stream = self.repo_mut(repo).streams.get_mut(&origin);
        let stream = stream.expect("what was taken has a stream");
        let told = std::mem::replace(&mut stream.came_back, true);
        if !told && !current {
            self.alarm(Alarm::CameBack {
                repo,
                origin,
                first,
            });
        }
    }

    /// Takes what has been checked, as far as there is room for what is from the future.
    fn take(
        &mut self,
        from: ConnectionId,
        repo_id: RepoId,
        origin: OriginId,
        author: PublicKey,
        links: Vec<Link>,
    ) -> bool {
        let total = links.len();
        let mut room = total;
        // What this replica has made itself is not from others, however much it is.
        let own = author == self.identity.public();
        let stream = self.stream_entry(repo_id, origin, author);
        let wanted = stream.wanted;
        let (mut count, mut bytes) = stream.future;
        // Ids rise, so what is from the future is at the end. It is taken in whole runs.
        for (i, link) in links.iter().enumerate() {
            if self.clock.is_future(self.now, link.change_set.id.time)
                && link.change_set.sequence > wanted
            {
                count += 1;
                bytes += link.body.len();
            }
            if !own && (count > FUTURE_CHANGE_SETS_MAX || bytes > FUTURE_BYTES_MAX) {
                room = (0..i)
                    .rev()
                    .find(|&j| links[j].seal.is_some())
                    .map_or(0, |j| j + 1);
                break;
            }
        }
        self.stream_entry(repo_id, origin, author).full |= room < total;
        let mut taken = 0;
        for link in links.into_iter().take(room) {
            let future = self.clock.is_future(self.now, link.change_set.id.time)
                && link.change_set.sequence > wanted;
            let change_set = Arc::new(link.change_set);
            let tip = Tip {
                sequence: change_set.sequence,
                hash: link.hash,
                time: change_set.id.time,
            };
            if future && fault::on(Fault::FutureMovesClock) {
                self.clock.resume(tip.time);
            }
            let stream = self.stream_entry(repo_id, origin, author);
            if future {
                stream.future.0 += 1;
                stream.future.1 += link.body.len();
            }
            stream.advance(tip);
            if fault::on(Fault::MarkedBeforeCommit) {
                (stream.stored, stream.sealed) = (tip.sequence, tip.sequence);
            }
            self.repo_mut(repo_id)
                .journal
                .push(change_set, link.body.len());
            self.enqueue(Entry {
                repo: repo_id,
                origin,
                sequence: tip.sequence,
                hash: tip.hash,
                body: link.body,
                seal: link.seal,
                own: false,
            });
            taken += 1;
        }
        self.counters.received += taken;
        self.counters.dropped += total as u64 - taken;
        if taken == 0 {
            return false;
        }
        if fault::on(Fault::MarkedBeforeCommit) {
            let end = self.repo(repo_id).streams[&origin].sealed;
            self.acknowledge(from, repo_id, origin, end);
        }
        self.repo_mut(repo_id).holds.look_at(origin);
        self.batch
            .sources
            .entry(from)
            .or_default()
            .insert((repo_id, origin));
        true
    }

    fn refuse(&mut self, from: ConnectionId, repo: RepoId, origin: OriginId, refusal: Refusal) {
        match refusal {
            Refusal::Sender(reason) => self.close_for(from, reason),
            Refusal::Format => self.leave_unread(repo, origin),
        }
    }

    /// Ends a connection whose other side broke the protocol.
    pub(super) fn close_for(&mut self, connection: ConnectionId, reason: String) {
        self.counters.refused_connections += 1;
        self.forget_connection(connection);
        self.put(Output::Close { connection, reason });
    }

    pub(super) fn seal_place(&self, repo: RepoId, origin: OriginId) -> SealPlace {
        SealPlace {
            cluster: self.config.cluster,
            repo,
            origin,
        }
    }

    fn good_seals(&self) -> Option<&GoodSeals> {
        self.config.good_seals.as_deref()
    }

    pub(super) fn stream_entry(
        &mut self,
        repo: RepoId,
        origin: OriginId,
        author: PublicKey,
    ) -> &mut Stream {
        self.repo_mut(repo)
            .streams
            .entry(origin)
            .or_insert_with(|| Stream::new(author))
    }
}
