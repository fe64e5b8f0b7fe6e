//! The talk with other replicas: who has what, asking for it, offering it.
//!
//! New change sets of this replica's own are *pushed*, at once. What came from others is *offered*,
//! with a [`Message::Have`], which tells those who sent it that it has arrived, too; that is gathered
//! for a while (`owed`). What both have missed
//! is found by comparing *summaries*: on connecting, and with one random connection a tick. If they
//! differ, heads are exchanged, and exactly what is lacking is asked for. So every bound here may
//! drop something: comparing brings it back.

mod announce;
mod beyond;
mod missing;
mod owed;
mod spread;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::Rng;
use rand::seq::IndexedRandom;

use missing::Missing;
use spread::{Half, Search};

use super::fault::{self, Fault};
use super::output::{Alarm, ConnectionId, Output};
use super::stream::{heads_hash, stored_heads};
use super::{Message, Replica};
use crate::codec::message::{HEADS_MAX, HeadList, SealedBytes};
use crate::model::{OriginId, PublicKey, RepoId, Sequence, Time};

/// How long something that somebody else than its author offers is waited for before it is asked for,
/// in milliseconds: it may be on its way from the author. Those who offer have waited, too (`owed`).
const OFFER_DELAY_MS: u64 = 10;
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
    /// In order of origins.
    pub(super) heads: HeadList,
    /// Whether all of its heads have been told, or only some.
    pub(super) complete: bool,
}

impl Known {
    fn find(&self, origin: OriginId) -> Result<usize, usize> {
        self.heads.binary_search_by_key(&origin, |head| head.0)
    }

    /// Up to which number there is something of an origin.
    pub(super) fn head(&self, origin: OriginId) -> Option<Sequence> {
        let found = self.find(origin).ok()?;
        Some(self.heads[found].1)
    }

    fn put(&mut self, origin: OriginId, sequence: Sequence) {
        match self.find(origin) {
            Ok(found) => self.heads[found].1 = sequence,
            Err(at) => self.heads.insert(at, (origin, sequence)),
        }
    }
}

pub(super) struct Connection {
    pub(super) key: PublicKey,
    pub(super) known: BTreeMap<RepoId, Known>,
    /// Up to which numbers own chains have been sent, pushed or as answers. It may have dropped
    /// some of that; then it finds a gap in what comes next, or differs when compared, and asks.
    pushed: BTreeMap<(RepoId, OriginId), Sequence>,
    /// Pushes that have not been acknowledged, with their ends and sizes.
    unacknowledged: VecDeque<(RepoId, OriginId, Sequence, usize)>,
    unacknowledged_bytes: usize,
    /// Requests that are out.
    wants: usize,
    /// A search for where a chain begins to differ.
    search: Option<Search>,
    /// The first half of a proof, until the second one comes.
    half: Option<Half>,
    /// What it is to be told of, and whether it has sent that and waits for an answer.
    owed: BTreeMap<(RepoId, OriginId), bool>,
}

impl Connection {
    pub(super) fn knows(&self, repo: RepoId, origin: OriginId) -> Sequence {
        self.known
            .get(&repo)
            .and_then(|known| known.head(origin))
            .unwrap_or_default()
    }

    /// The other side has this durably.
    fn has(&mut self, repo: RepoId, origin: OriginId, sequence: Sequence) {
        let known = self.known.entry(repo).or_default();
        let head = known.head(origin);
        if head.is_some_and(|head| head < sequence)
            || head.is_none() && known.heads.len() < HEADS_MAX
        {
            known.put(origin, sequence);
        }
        self.got(repo, origin, sequence);
    }

    /// Pushes up to here have arrived.
    fn got(&mut self, repo: RepoId, origin: OriginId, sequence: Sequence) {
        if !self.pushed.contains_key(&(repo, origin)) {
            return;
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
        let ranges = match fault::on(Fault::DroppedOnFullQueue) {
            true => 2,
            false => PUSH_WINDOW_RANGES,
        };
        self.unacknowledged_bytes < PUSH_WINDOW_BYTES && self.unacknowledged.len() < ranges
    }
}

#[derive(Default)]
pub(super) struct Gossip {
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    missing: BTreeMap<(RepoId, OriginId), Missing>,
    /// Of streams that have been looked for: a number that nobody has told to have more than.
    most: BTreeMap<(RepoId, OriginId), Sequence>,
    /// Streams of which something came in a format that is not known here, and until when they are
    /// left alone.
    unread: BTreeMap<(RepoId, OriginId), Time>,
    /// Streams of which more is wanted than others offer, since they have ended before it.
    beyond: BTreeSet<(RepoId, OriginId)>,
    next_tick: Time,
    /// When those who are owed something are told of it.
    tell_at: Option<Time>,
    /// Applied heads for which a difference of digests has been told.
    alarmed: BTreeMap<RepoId, [u8; 16]>,
}

impl Gossip {
    /// Nothing waits longer than it would if it had begun now.
    pub(super) fn clock_set_back(&mut self, now: Time) {
        self.next_tick = now;
        self.tell_at = self.tell_at.map(|at| at.min(now));
        for missing in self.missing.values_mut() {
            missing.clock_set_back(now);
        }
        self.unread.clear();
    }
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
            search: None,
            half: None,
            owed: BTreeMap::new(),
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
            Message::Heads {
                repo,
                heads,
                reply,
                hash,
            } if known(repo) => self.receive_heads(from, repo, heads, reply, hash),
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
                if progress {
                    self.ask_on_beyond(from, (repo, origin));
                }
            }
            Message::Fork {
                repo,
                origin,
                held,
                refused,
            } if known(repo) => self.receive_fork(from, repo, origin, held, refused),
            Message::Ends { repo, ends } if known(repo) => self.receive_ends(from, repo, &ends),
            Message::Closing { repo, statement } if known(repo) => {
                self.receive_closing(from, repo, &statement)
            }
            _ => self.counters.unknown_messages += 1,
        }
        self.ask();
    }

    pub(super) fn send(&mut self, to: ConnectionId, message: Message) {
        self.counters.messages_sent += 1;
        self.put(Output::Send { to, message });
    }

    fn summarise_to(&mut self, to: ConnectionId) {
        for repo in RepoId::ALL {
            let message = self.summary(repo);
            self.send(to, message);
        }
    }

    fn summary(&mut self, id: RepoId) -> Message {
        let repo = self.repo_mut(id);
        let snapshot = repo.state.snapshot();
        let version = snapshot.version();
        let applied_hash = match repo.applied_hash {
            Some((of, hash)) if of == version => hash,
            _ => {
                let applied = snapshot.heads().iter();
                heads_hash(applied.map(|(origin, head)| (*origin, head.sequence)))
            }
        };
        repo.applied_hash = Some((version, applied_hash));
        Message::Summary {
            repo: id,
            heads_hash: repo.streams.hash(),
            applied_hash,
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
            if ours == theirs {
                self.alarm_digest(from, repo, applied, our_digest, digest);
            } else {
                // Where chains differ, so may what is made of them: that is no defect.
                self.compare_chains(from, repo);
            }
        }
        if ours == theirs {
            let heads = stored_heads(&self.repo(repo).streams);
            self.knows_all(from, repo, heads);
        } else {
            self.tell_heads(from, repo, true);
            self.tell_ends(from, repo);
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

    /// Sends all stored heads.
    fn tell_heads(&mut self, to: ConnectionId, repo: RepoId, reply: bool) {
        let message = Message::Heads {
            repo,
            heads: self.heads_for(to, repo),
            reply,
            hash: self.repo(repo).streams.hash(),
        };
        self.send(to, message);
    }

    /// The stored heads as they are told somebody.
    fn heads_for(&self, to: ConnectionId, repo: RepoId) -> HeadList {
        let mut heads = stored_heads(&self.repo(repo).streams);
        if fault::on(Fault::DroppedOnFullQueue) {
            let pushed = &self.gossip.connections[&to].pushed;
            let sent = |origin: &OriginId| pushed.get(&(repo, *origin)).copied();
            heads.retain(|(origin, head)| sent(origin).unwrap_or_default() < *head);
        }
        heads
    }

    /// All of another replica's stored heads.
    fn knows_all(&mut self, from: ConnectionId, repo: RepoId, heads: HeadList) {
        let Some(connection) = self.gossip.connections.get_mut(&from) else {
            return;
        };
        let known = Known {
            heads,
            complete: true,
        };
        let pushed: Vec<_> = connection.pushed.keys().copied().collect();
        for (_, origin) in pushed.into_iter().filter(|place| place.0 == repo) {
            if let Some(has) = known.head(origin) {
                connection.got(repo, origin, has);
            }
        }
        connection.known.insert(repo, known);
    }

    fn receive_heads(
        &mut self,
        from: ConnectionId,
        repo: RepoId,
        heads: HeadList,
        reply: bool,
        hash: [u8; 16],
    ) {
        for (origin, sequence) in &heads {
            self.offered(from, repo, *origin, *sequence, self.now);
        }
        let ours = self.heads_for(from, repo);
        let same_numbers = ours == heads;
        self.knows_all(from, repo, heads);
        let theirs = self.gossip.connections.get(&from);
        let lacks = ours
            .iter()
            .any(|(origin, sequence)| theirs.is_none_or(|it| it.knows(repo, *origin) < *sequence));
        if reply {
            self.tell_ends(from, repo);
        }
        if same_numbers && hash != self.repo(repo).streams.hash() {
            self.compare_chains(from, repo);
        }
        if reply && lacks {
            self.tell_heads(from, repo, false);
        }
    }

    fn receive_have(&mut self, from: ConnectionId, repo: RepoId, heads: &HeadList) {
        let mut reopened = Vec::new();
        for (origin, sequence) in heads {
            let stream = self.repo(repo).streams.get(origin);
            let stored = stream.map(|stream| stream.head());
            let teller = self.gossip.connections.get(&from);
            // An author who offers has not pushed it, and is not going to.
            let is_author = stream.is_some_and(|s| teller.is_some_and(|it| it.key == s.key));
            let delay = if is_author { 0 } else { OFFER_DELAY_MS };
            let due = self.now.plus_millis(delay);
            self.offered(from, repo, *origin, *sequence, due);
            let Some(connection) = self.gossip.connections.get_mut(&from) else {
                return;
            };
            let closed = !connection.may_push();
            connection.has(repo, *origin, *sequence);
            if closed && connection.may_push() && !fault::on(Fault::DroppedOnFullQueue) {
                reopened.extend(stored.map(|stored| (*origin, stored)));
            }
        }
        if !reopened.is_empty() {
            let heads = reopened;
            self.send(from, Message::Have { repo, heads });
        }
    }

    /// Compares with somebody at random, and asks again for what has timed out.
    pub(super) fn gossip_timeout(&mut self) {
        if self.now >= self.gossip.next_tick {
            let ids: Vec<_> = self.gossip.connections.keys().copied().collect();
            if let Some(to) = ids.choose(&mut self.rng).copied()
                && !fault::on(Fault::NeverComparedAgain)
            {
                self.counters.ticks += 1;
                self.summarise_to(to);
                self.ask_beyond(to);
            }
            self.gossip.next_tick = self.after_tick();
        }
        self.tell_owed();
        self.ask();
    }

    fn after_tick(&mut self) -> Time {
        let behind = self.gossip.missing.values().any(|m| !m.expected)
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
        let due = gossip.tell_at.unwrap_or(gossip.next_tick);
        missing
            .unwrap_or(Time(u64::MAX))
            .min(gossip.next_tick)
            .min(due)
    }
}
