//! The talk with other replicas: who has what, asking for it, offering it.
//!
//! New change sets of this replica's own are *pushed*. What came from others is *offered*, with a
//! [`Message::Have`], which tells those who sent it that it has arrived, too. What both have missed
//! is found by comparing *summaries*: on connecting, and with one random connection a tick. If they
//! differ, heads are exchanged, and exactly what is lacking is asked for. So every bound here may
//! drop something: comparing brings it back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::commit::BATCH_BYTES_ENOUGH;
use super::journal::{RANGE_BYTES_MAX, RECORD_OVERHEAD_BYTES};
use super::output::{Alarm, ConnectionId, Output};
use super::stream::{heads_hash, stored_heads};
use super::{Message, Replica};
use crate::codec::message::{HEADS_MAX, HeadList, SealedBytes};
use crate::model::{Dependency, OriginId, PublicKey, RepoId, Sequence, Time};

/// Most requests out at a time on one connection.
const WANTS_MAX: usize = 4;
/// A request that brings nothing in this time is made elsewhere, in milliseconds.
const WANT_TIMEOUT_MS: u64 = 5_000;
/// How long something offered is waited for before it is asked for, in milliseconds: it may be
/// on its way from its author.
const OFFER_DELAY_MS: u64 = 50;
/// After a request that did not help, the next one waits this long, in milliseconds.
const RETRY_MS: u64 = 500;
/// Most connections that own change sets are pushed to, and that others are offered to.
const FANOUT: usize = 8;
/// Most bytes pushed to a connection and not acknowledged by it. Past it, it is told what there is
/// and may ask.
const PUSH_WINDOW_BYTES: usize = 4 << 20;
/// Most pushed ranges not acknowledged by a connection.
const PUSH_WINDOW_RANGES: usize = 1_024;
/// Time between two comparisons while something is known to be missing, in milliseconds.
const TICK_BEHIND_MS: u64 = 100;

/// This replica's own new chains: the first number, and what follows from it.
pub(super) type OwnChains = BTreeMap<(RepoId, OriginId), (Sequence, Vec<SealedBytes>)>;

/// What is known of another replica's stored heads.
#[derive(Default)]
pub(super) struct Known {
    pub(super) heads: BTreeMap<OriginId, Sequence>,
    /// Whether all of its heads have been told, or only some.
    pub(super) complete: bool,
}

pub(super) struct Connection {
    pub(super) key: PublicKey,
    pub(super) known: BTreeMap<RepoId, Known>,
    /// Up to which numbers own chains have been pushed.
    pushed: BTreeMap<(RepoId, OriginId), Sequence>,
    /// Pushes that have not been acknowledged, with their ends and sizes.
    unacknowledged: VecDeque<(RepoId, OriginId, Sequence, usize)>,
    unacknowledged_bytes: usize,
    /// Requests that are out.
    wants: usize,
}

impl Connection {
    pub(super) fn knows(&self, repo: RepoId, origin: OriginId) -> Sequence {
        self.known
            .get(&repo)
            .and_then(|known| known.heads.get(&origin))
            .copied()
            .unwrap_or_default()
    }

    /// The other side has this durably.
    fn has(&mut self, repo: RepoId, origin: OriginId, sequence: Sequence) {
        let known = self.known.entry(repo).or_default();
        if known.heads.len() < HEADS_MAX || known.heads.contains_key(&origin) {
            let head = known.heads.entry(origin).or_default();
            *head = sequence.max(*head);
        }
        let bytes = &mut self.unacknowledged_bytes;
        self.unacknowledged.retain(|(r, o, s, size)| {
            let done = (*r, *o) == (repo, origin) && *s <= sequence;
            if done {
                *bytes -= size;
            }
            !done
        });
    }

    fn may_push(&self) -> bool {
        self.unacknowledged_bytes < PUSH_WINDOW_BYTES
            && self.unacknowledged.len() < PUSH_WINDOW_RANGES
    }
}

/// A stream of which somebody has more.
struct Missing {
    /// Not asked for before.
    due: Time,
    /// Whom it has been asked of, and until when that is waited for.
    asked: Option<(ConnectionId, Time)>,
    /// Who has let it time out last.
    avoid: Option<ConnectionId>,
}

#[derive(Default)]
pub(super) struct Gossip {
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    missing: BTreeMap<(RepoId, OriginId), Missing>,
    next_tick: Time,
    /// Applied heads for which a difference of digests has been told.
    alarmed: BTreeMap<RepoId, [u8; 16]>,
}

impl Replica {
    /// A connection to another replica has come to be. Its key is verified; it need not be a
    /// member's yet.
    pub fn connected(&mut self, now: Time, connection: ConnectionId, key: PublicKey) {
        self.advance_to(now);
        let fresh = Connection {
            key,
            known: BTreeMap::new(),
            pushed: BTreeMap::new(),
            unacknowledged: VecDeque::new(),
            unacknowledged_bytes: 0,
            wants: 0,
        };
        let before = self.gossip.connections.insert(connection, fresh);
        assert!(before.is_none(), "a connection's number is used once");
        if self.gossip.connections.len() == 1 {
            self.gossip.next_tick = self.after_tick();
        }
        self.summarise_to(connection);
    }

    /// A connection has ended.
    pub fn disconnected(&mut self, now: Time, connection: ConnectionId) {
        self.advance_to(now);
        self.forget_connection(connection);
        self.ask();
    }

    pub(super) fn forget_connection(&mut self, connection: ConnectionId) {
        self.gossip.connections.remove(&connection);
        for missing in self.gossip.missing.values_mut() {
            if missing.asked.is_some_and(|(asked, _)| asked == connection) {
                missing.asked = None;
            }
        }
    }

    /// A message has come. One from a connection that has ended, or about a repository that is
    /// not known here, is ignored.
    pub fn receive(&mut self, now: Time, from: ConnectionId, message: Message) {
        self.advance_to(now);
        self.counters.messages_received += 1;
        if !self.gossip.connections.contains_key(&from) || self.failed.is_some() {
            return;
        }
        let known = |repo: RepoId| RepoId::ALL.contains(&repo);
        match message {
            Message::Summary {
                repo,
                heads_hash,
                applied_hash,
                digest,
            } if known(repo) => {
                self.receive_summary(from, repo, heads_hash, applied_hash, digest);
            }
            Message::Heads { repo, heads, reply } if known(repo) => {
                self.receive_heads(from, repo, heads, reply);
            }
            Message::Have { repo, heads } if known(repo) => self.receive_have(from, repo, &heads),
            Message::Want {
                repo,
                origin,
                after,
            } if known(repo) => self.answer_want(from, repo, origin, after),
            Message::Range {
                repo,
                origin,
                first,
                records,
                more,
            } if known(repo) => {
                let progress = self.receive_range(from, repo, origin, first, &records);
                self.after_range(from, (repo, origin), first, records.len(), more, progress);
            }
            Message::Fork {
                repo,
                origin,
                held,
                refused,
            } if known(repo) => self.receive_fork(from, repo, origin, &held, &refused),
            _ => self.counters.unknown_messages += 1,
        }
        self.ask();
    }

    fn send(&mut self, to: ConnectionId, message: Message) {
        self.counters.messages_sent += 1;
        self.put(Output::Send { to, message });
    }

    fn summarise_to(&mut self, to: ConnectionId) {
        for repo in RepoId::ALL {
            let message = self.summary(repo);
            self.send(to, message);
        }
    }

    fn summary(&self, id: RepoId) -> Message {
        let repo = self.repo(id);
        let snapshot = repo.state.snapshot();
        let applied = snapshot.heads().iter();
        Message::Summary {
            repo: id,
            heads_hash: heads_hash(stored_heads(&repo.streams)),
            applied_hash: heads_hash(applied.map(|(origin, head)| (*origin, head.sequence))),
            digest: snapshot.digest().0,
        }
    }

    fn receive_summary(
        &mut self,
        from: ConnectionId,
        repo: RepoId,
        theirs: [u8; 16],
        applied: [u8; 16],
        digest: [u8; 16],
    ) {
        let Message::Summary {
            heads_hash: ours,
            applied_hash,
            digest: our_digest,
            ..
        } = self.summary(repo)
        else {
            unreachable!("a summary is a summary");
        };
        if applied_hash == applied && digest != our_digest {
            self.alarm_digest(from, repo, applied, our_digest, digest);
        }
        let heads = stored_heads(&self.repo(repo).streams);
        if ours == theirs {
            self.knows_all(from, repo, heads);
        } else {
            let reply = true;
            self.send(from, Message::Heads { repo, heads, reply });
        }
    }

    fn alarm_digest(
        &mut self,
        from: ConnectionId,
        repo: RepoId,
        applied: [u8; 16],
        ours: [u8; 16],
        theirs: [u8; 16],
    ) {
        self.counters.digest_mismatches += 1;
        if self.gossip.alarmed.insert(repo, applied) == Some(applied) {
            return;
        }
        let hex = |digest: [u8; 16]| format!("{:032x}", u128::from_be_bytes(digest));
        let peer = self.gossip.connections[&from].key;
        self.alarm(Alarm::Digest {
            repo,
            peer,
            ours: hex(ours),
            theirs: hex(theirs),
        });
    }

    /// All of another replica's stored heads.
    fn knows_all(&mut self, from: ConnectionId, repo: RepoId, heads: HeadList) {
        let Some(connection) = self.gossip.connections.get_mut(&from) else {
            return;
        };
        for (origin, sequence) in &heads {
            connection.has(repo, *origin, *sequence);
        }
        let heads: BTreeMap<_, _> = heads.into_iter().collect();
        connection.pushed.retain(|(pushed, origin), sequence| {
            // A push that it has not got by now may be lost.
            *pushed != repo || heads.get(origin).is_some_and(|has| has >= sequence)
        });
        let complete = true;
        connection.known.insert(repo, Known { heads, complete });
    }

    fn receive_heads(&mut self, from: ConnectionId, repo: RepoId, heads: HeadList, reply: bool) {
        for (origin, sequence) in &heads {
            self.offered(repo, *origin, *sequence, self.now);
        }
        let ours = stored_heads(&self.repo(repo).streams);
        let theirs: BTreeMap<_, _> = heads.iter().copied().collect();
        let lacks = ours
            .iter()
            .any(|(origin, sequence)| theirs.get(origin).is_none_or(|has| has < sequence));
        self.knows_all(from, repo, heads);
        if reply && lacks {
            let message = Message::Heads {
                repo,
                heads: ours,
                reply: false,
            };
            self.send(from, message);
        }
    }

    fn receive_have(&mut self, from: ConnectionId, repo: RepoId, heads: &HeadList) {
        let due = self.now.plus_millis(OFFER_DELAY_MS);
        let mut reopened = Vec::new();
        for (origin, sequence) in heads {
            self.offered(repo, *origin, *sequence, due);
            let stored = self.repo(repo).streams.get(origin).map(|s| s.sealed);
            let Some(connection) = self.gossip.connections.get_mut(&from) else {
                return;
            };
            let closed = !connection.may_push();
            connection.has(repo, *origin, *sequence);
            if closed && connection.may_push() {
                reopened.extend(stored.map(|stored| (*origin, stored)));
            }
        }
        if !reopened.is_empty() {
            let heads = reopened;
            self.send(from, Message::Have { repo, heads });
        }
    }

    /// Somebody has this much of a stream.
    fn offered(&mut self, repo: RepoId, origin: OriginId, sequence: Sequence, due: Time) {
        if self.lacks(repo, origin, sequence) {
            self.look_for_at(repo, origin, due);
        }
    }

    /// Whether there is more to be taken of a stream, up to a number.
    fn lacks(&self, repo: RepoId, origin: OriginId, sequence: Sequence) -> bool {
        if self.membership.is_refused(repo, origin) {
            return false;
        }
        match self.repo(repo).streams.get(&origin) {
            Some(stream) => stream.quarantined.is_none() && stream.tip.sequence < sequence,
            None => sequence > Sequence(0),
        }
    }

    /// Asks for a stream as soon as may be, if anybody has more of it.
    pub(super) fn look_for(&mut self, repo: RepoId, origin: OriginId) {
        self.look_for_at(repo, origin, self.now);
    }

    fn look_for_at(&mut self, repo: RepoId, origin: OriginId, due: Time) {
        let missing = &mut self.gossip.missing;
        if missing.len() >= HEADS_MAX && !missing.contains_key(&(repo, origin)) {
            return;
        }
        let fresh = Missing {
            due,
            asked: None,
            avoid: None,
        };
        let missing = missing.entry((repo, origin)).or_insert(fresh);
        missing.due = missing.due.min(due);
    }

    /// What came is not what comes next: what lies before it is missing.
    pub(super) fn missing_now(
        &mut self,
        from: ConnectionId,
        repo: RepoId,
        origin: OriginId,
        last: Sequence,
    ) {
        if let Some(connection) = self.gossip.connections.get_mut(&from) {
            connection.has(repo, origin, last);
        }
        self.look_for(repo, origin);
    }

    /// A change set depends on one that has not come: whoever sent the one should have the other.
    pub(super) fn lack_dependency(&mut self, repo: RepoId, waiting: OriginId, on: Dependency) {
        if !self.lacks(repo, on.origin, on.sequence) {
            return;
        }
        let place = (repo, waiting);
        for (source, sent) in &self.batch.sources {
            if let Some(connection) = self.gossip.connections.get_mut(source)
                && sent.contains(&place)
            {
                connection.has(repo, on.origin, on.sequence);
            }
        }
        let due = self.now.plus_millis(OFFER_DELAY_MS);
        self.look_for_at(repo, on.origin, due);
    }

    /// Tells somebody that what it sent is here already.
    pub(super) fn acknowledge(
        &mut self,
        to: ConnectionId,
        repo: RepoId,
        origin: OriginId,
        end: Sequence,
    ) {
        if let Some(connection) = self.gossip.connections.get_mut(&to) {
            connection.has(repo, origin, end);
        }
        let stream = &self.repo(repo).streams[&origin];
        if stream.stored < end {
            // On its way to the disk: they are told after that.
            let sources = self.batch.sources.entry(to).or_default();
            sources.insert((repo, origin));
        } else if stream.sealed >= end {
            let heads = vec![(origin, stream.sealed)];
            self.send(to, Message::Have { repo, heads });
        }
    }

    fn answer_want(&mut self, to: ConnectionId, id: RepoId, origin: OriginId, after: Sequence) {
        self.counters.wants_received += 1;
        let repo = self.repo(id);
        let sealed = repo
            .streams
            .get(&origin)
            .map_or(Sequence(0), |stream| stream.sealed);
        let records = if after < sealed {
            match repo.journal.reader().range(origin, after, sealed) {
                Ok(records) => records,
                Err(error) => return self.fail(error),
            }
        } else {
            Vec::new()
        };
        let end = after.0.saturating_add(records.len() as u64);
        self.counters.ranges_sent += 1;
        let message = Message::Range {
            repo: id,
            origin,
            first: Sequence(after.0.saturating_add(1)),
            more: !records.is_empty() && end < sealed.0,
            records,
        };
        self.send(to, message);
    }

    /// A range has been dealt with: it may have answered a request.
    fn after_range(
        &mut self,
        from: ConnectionId,
        place: (RepoId, OriginId),
        first: Sequence,
        count: usize,
        more: bool,
        progress: bool,
    ) {
        let (repo, origin) = place;
        let Some(connection) = self.gossip.connections.get_mut(&from) else {
            return;
        };
        let answered = self
            .gossip
            .missing
            .get_mut(&place)
            .filter(|missing| missing.asked.is_some_and(|(asked, _)| asked == from));
        if count > 0 {
            let end = Sequence(first.0 + count as u64 - 1 + u64::from(more));
            connection.has(repo, origin, end);
        } else if let Some(known) = connection.known.get_mut(&repo) {
            // It has not got what was thought.
            known
                .heads
                .insert(origin, Sequence(first.0.saturating_sub(1)));
        }
        if let Some(missing) = answered {
            connection.wants -= 1;
            missing.asked = None;
            missing.avoid = None;
            missing.due = match progress {
                true => self.now,
                false => self.now.plus_millis(RETRY_MS),
            };
        }
    }

    /// Asks for what is missing, as far as the bounds allow.
    pub(super) fn ask(&mut self) {
        if self.failed.is_some() || self.gossip.missing.is_empty() {
            return;
        }
        let wanted: Vec<_> = self.gossip.missing.keys().copied().collect();
        // What `system` lacks comes first: it says whose chains may be taken.
        let mut system = false;
        for place in wanted {
            if place.0 != RepoId::SYSTEM && system {
                break;
            }
            let asked = self.ask_for(place);
            system |= asked && place.0 == RepoId::SYSTEM;
        }
    }

    /// Whether this stream is being asked for, or is about to be.
    fn ask_for(&mut self, place: (RepoId, OriginId)) -> bool {
        let (repo, origin) = place;
        let now = self.now;
        let holders: Vec<_> = self
            .gossip
            .connections
            .iter()
            .filter(|(_, connection)| self.lacks(repo, origin, connection.knows(repo, origin)))
            .map(|(id, connection)| (*id, connection.wants < WANTS_MAX))
            .collect();
        let gossip = &mut self.gossip;
        let Some(missing) = gossip.missing.get_mut(&place) else {
            return false;
        };
        if let Some((asked, until)) = missing.asked {
            if now < until {
                return true;
            }
            missing.asked = None;
            missing.avoid = Some(asked);
            self.counters.timeouts += 1;
            if let Some(connection) = gossip.connections.get_mut(&asked) {
                connection.wants -= 1;
            }
        }
        if holders.is_empty() {
            gossip.missing.remove(&place);
            return false;
        }
        if missing.due > now {
            return true;
        }
        let free: Vec<_> = holders
            .iter()
            .filter(|(_, free)| *free)
            .map(|(id, _)| *id)
            .collect();
        let others: Vec<_> = free
            .iter()
            .copied()
            .filter(|id| Some(*id) != missing.avoid)
            .collect();
        let choice = if others.is_empty() { free } else { others };
        let Some(to) = choice.choose(&mut self.rng).copied() else {
            return true;
        };
        if self.on_their_way() > BATCH_BYTES_ENOUGH {
            return true;
        }
        let until = now.plus_millis(WANT_TIMEOUT_MS);
        if let Some(missing) = self.gossip.missing.get_mut(&place) {
            missing.asked = Some((to, until));
        }
        if let Some(connection) = self.gossip.connections.get_mut(&to) {
            connection.wants += 1;
        }
        let after = self
            .repo(repo)
            .streams
            .get(&origin)
            .map_or(Sequence(0), |stream| stream.tip.sequence);
        self.counters.wants_sent += 1;
        let message = Message::Want {
            repo,
            origin,
            after,
        };
        self.send(to, message);
        true
    }

    /// After a commit: pushes own chains, tells those who sent something that it is here, and
    /// offers it to some others.
    pub(super) fn announce(
        &mut self,
        own: OwnChains,
        advanced: &BTreeMap<RepoId, BTreeMap<OriginId, Sequence>>,
        sources: &BTreeMap<ConnectionId, BTreeSet<(RepoId, OriginId)>>,
    ) {
        let mut order: Vec<_> = self.gossip.connections.keys().copied().collect();
        order.shuffle(&mut self.rng);
        let mut pushed = BTreeSet::new();
        for &to in order.iter().take(FANOUT) {
            for ((repo, origin), (first, records)) in &own {
                if self.push(to, *repo, *origin, *first, records) {
                    pushed.insert((to, *repo, *origin));
                }
            }
        }
        for (i, &to) in order.iter().enumerate() {
            let sent = sources.get(&to);
            for (repo, heads) in advanced {
                let news: HeadList = heads
                    .iter()
                    .filter(|(origin, sequence)| {
                        let place = (*repo, **origin);
                        let is_own = own.contains_key(&place);
                        if sent.is_some_and(|sent| sent.contains(&place)) {
                            return true;
                        }
                        // Own ones go to a second group, too: the first has been pushed them.
                        let offered = i < if is_own { 2 * FANOUT } else { FANOUT };
                        let has = self.gossip.connections[&to].knows(*repo, **origin);
                        offered && has < **sequence && !pushed.contains(&(to, *repo, **origin))
                    })
                    .map(|(origin, sequence)| (*origin, *sequence))
                    .collect();
                if !news.is_empty() {
                    let message = Message::Have {
                        repo: *repo,
                        heads: news,
                    };
                    self.send(to, message);
                }
            }
        }
    }

    /// Sends own change sets to somebody who has all before them. Whether it did.
    fn push(
        &mut self,
        to: ConnectionId,
        repo: RepoId,
        origin: OriginId,
        first: Sequence,
        records: &[SealedBytes],
    ) -> bool {
        let Some(connection) = self.gossip.connections.get_mut(&to) else {
            return false;
        };
        let complete = connection.known.get(&repo).is_some_and(|k| k.complete);
        let place = (repo, origin);
        let sent = connection.pushed.get(&place).copied().unwrap_or_default();
        let has = connection.knows(repo, origin).max(sent);
        if !complete || has.next() < first || !connection.may_push() {
            return false;
        }
        let mut at = first;
        for piece in pieces(records) {
            let end = Sequence(at.0 + piece.len() as u64 - 1);
            let bytes = piece.iter().map(|record| record.body.len()).sum();
            let Some(connection) = self.gossip.connections.get_mut(&to) else {
                return false;
            };
            connection.pushed.insert(place, end);
            connection
                .unacknowledged
                .push_back((repo, origin, end, bytes));
            connection.unacknowledged_bytes += bytes;
            self.counters.pushes += 1;
            let message = Message::Range {
                repo,
                origin,
                first: at,
                records: piece.to_vec(),
                more: false,
            };
            self.send(to, message);
            at = end.next();
        }
        true
    }

    /// Compares with somebody at random, and asks again for what has timed out.
    pub(super) fn gossip_timeout(&mut self) {
        if self.now >= self.gossip.next_tick {
            let ids: Vec<_> = self.gossip.connections.keys().copied().collect();
            if let Some(to) = ids.choose(&mut self.rng).copied() {
                self.counters.ticks += 1;
                self.summarise_to(to);
            }
            self.gossip.next_tick = self.after_tick();
        }
        self.ask();
    }

    fn after_tick(&mut self) -> Time {
        let behind = !self.gossip.missing.is_empty()
            || self
                .repos
                .values()
                .any(|repo| repo.holds.dependencies().next().is_some());
        let usual = self.config.tick_ms.max(5);
        let base = if behind {
            TICK_BEHIND_MS.min(usual)
        } else {
            usual
        };
        let jitter = base / 5;
        let millis = self.rng.random_range(base - jitter..=base + jitter);
        self.now.plus_millis(millis)
    }

    /// When [`Replica::gossip_timeout`] has something to do.
    pub(super) fn gossip_due(&self) -> Time {
        let gossip = &self.gossip;
        if gossip.connections.is_empty() || self.failed.is_some() {
            return Time(u64::MAX);
        }
        let missing = gossip
            .missing
            .values()
            .map(|missing| missing.asked.map_or(missing.due, |(_, until)| until))
            // What is due and could not be asked for waits for an answer, or for a commit.
            .filter(|due| *due > self.now)
            .min();
        missing.unwrap_or(Time(u64::MAX)).min(gossip.next_tick)
    }
}

/// Cuts own change sets into ranges that fit a message and end sealed.
fn pieces(records: &[SealedBytes]) -> Vec<&[SealedBytes]> {
    let mut pieces = Vec::new();
    let (mut start, mut sealed, mut bytes) = (0, 0, 0);
    let mut i = 0;
    while i < records.len() {
        bytes += records[i].body.len() + RECORD_OVERHEAD_BYTES;
        if bytes > RANGE_BYTES_MAX && sealed > start {
            pieces.push(&records[start..sealed]);
            start = sealed;
            (i, bytes) = (start, 0);
            continue;
        }
        if records[i].seal.is_some() {
            sealed = i + 1;
        }
        i += 1;
    }
    if sealed > start {
        pieces.push(&records[start..sealed]);
    }
    pieces
}
