//! What is missing: noticed, asked for, waited for, answered.

use std::collections::BTreeSet;

use rand::seq::IndexedRandom;

use super::OFFER_DELAY_MS;
use crate::codec::message::HEADS_MAX;
use crate::model::{Dependency, OriginId, RepoId, Sequence, Time};
use crate::replica::commit::BATCH_BYTES_ENOUGH;
use crate::replica::fault::{self, Fault};
use crate::replica::output::{Alarm, ConnectionId};
use crate::replica::{Message, Replica};
use crate::storage::StorageError;

/// How long something that others depend on is waited for before it is asked for, in milliseconds.
const DEPENDENCY_DELAY_MS: u64 = 50;
/// Most requests out at a time on one connection.
const WANTS_MAX: usize = 4;
/// A request that brings nothing in this time is made elsewhere, in milliseconds.
const WANT_TIMEOUT_MS: u64 = 5_000;
/// After a request that did not help, the next one waits this long, in milliseconds.
const RETRY_MS: u64 = 500;

/// A stream of which something came in a format that is not known here is left alone for so long, in
/// milliseconds. It may have been the format's version alone that came wrong, before any seal could be
/// looked at.
const UNREAD_MS: u64 = 30_000;

/// A stream of which somebody has more.
pub(super) struct Missing {
    /// Not asked for before.
    pub(super) due: Time,
    /// Whether it is expected to come by itself, and so looked for later only.
    pub(super) expected: bool,
    /// The end of what was here when that was found.
    tip: Sequence,
    /// Whom it has been asked of, and until when that is waited for.
    pub(super) asked: Option<(ConnectionId, Time)>,
    /// Who has let it time out last.
    avoid: Option<ConnectionId>,
    /// Who has told of it since it has been missing. Others may have it, too.
    tellers: BTreeSet<ConnectionId>,
}

impl Missing {
    pub(super) fn clock_set_back(&mut self, now: Time) {
        self.due = self.due.min(now.plus_millis(RETRY_MS));
        if let Some((_, until)) = &mut self.asked {
            *until = now.plus_millis(WANT_TIMEOUT_MS).min(*until);
        }
    }
}

impl Replica {
    /// Somebody has this much of a stream.
    pub(super) fn offered(
        &mut self,
        from: ConnectionId,
        repo: RepoId,
        origin: OriginId,
        sequence: Sequence,
        due: Time,
    ) {
        self.told(repo, origin, sequence);
        if self.lacks(repo, origin, sequence) {
            self.look_for_at(repo, origin, due);
            if let Some(missing) = self.gossip.missing.get_mut(&(repo, origin)) {
                missing.tellers.insert(from);
            }
        }
    }

    /// Somebody says that it has this much of a stream.
    fn told(&mut self, repo: RepoId, origin: OriginId, sequence: Sequence) {
        if let Some(most) = self.gossip.most.get_mut(&(repo, origin)) {
            *most = sequence.max(*most);
        }
    }

    /// Whether there is more to be taken of a stream, up to a number.
    fn lacks(&self, repo: RepoId, origin: OriginId, sequence: Sequence) -> bool {
        let unread = self.gossip.unread.get(&(repo, origin));
        if self.membership.is_refused(repo, origin) || unread.is_some_and(|end| self.now < *end) {
            return false;
        }
        match self.repo(repo).streams.get(&origin) {
            Some(stream) => !stream.full && stream.tip.sequence < stream.within(sequence),
            None => sequence > Sequence(0),
        }
    }

    /// Asks for nothing more of a stream for a while.
    pub(in crate::replica) fn leave_unread(&mut self, repo: RepoId, origin: OriginId) {
        let end = self.now.plus_millis(UNREAD_MS);
        let unread = &mut self.gossip.unread;
        unread.retain(|_, end| self.now < *end);
        if unread.len() < HEADS_MAX {
            unread.insert((repo, origin), end);
        }
    }

    /// Asks for a stream as soon as may be, if anybody has more of it.
    pub(in crate::replica) fn look_for(&mut self, repo: RepoId, origin: OriginId) {
        self.look_for_at(repo, origin, self.now);
    }

    fn look_for_at(&mut self, repo: RepoId, origin: OriginId, due: Time) {
        let missing = &mut self.gossip.missing;
        if missing.len() >= HEADS_MAX && !missing.contains_key(&(repo, origin)) {
            return;
        }
        let stream = self.repos[&repo].streams.get(&origin);
        let expected = due > self.now;
        let fresh = Missing {
            due,
            expected,
            tip: stream.map_or(Sequence(0), |stream| stream.tip.sequence),
            asked: None,
            avoid: None,
            tellers: BTreeSet::new(),
        };
        let missing = missing.entry((repo, origin)).or_insert(fresh);
        missing.due = missing.due.min(due);
        missing.expected &= expected;
    }

    /// What came is not what comes next: what lies before it is missing.
    pub(in crate::replica) fn missing_now(
        &mut self,
        from: ConnectionId,
        repo: RepoId,
        origin: OriginId,
        last: Sequence,
    ) {
        self.told(repo, origin, last);
        if let Some(connection) = self.gossip.connections.get_mut(&from) {
            connection.has(repo, origin, last);
        }
        self.look_for(repo, origin);
    }

    /// A change set depends on one that has not come: whoever sent the one should have the other.
    pub(in crate::replica) fn lack_dependency(
        &mut self,
        repo: RepoId,
        waiting: OriginId,
        on: Dependency,
    ) {
        if !self.lacks(repo, on.origin, on.sequence) {
            return;
        }
        let place = (repo, waiting);
        self.told(repo, on.origin, on.sequence);
        for (source, sent) in &self.batch.sources {
            if let Some(connection) = self.gossip.connections.get_mut(source)
                && sent.contains(&place)
            {
                connection.has(repo, on.origin, on.sequence);
            }
        }
        let due = self.now.plus_millis(DEPENDENCY_DELAY_MS);
        self.look_for_at(repo, on.origin, due);
    }

    pub(super) fn answer_want(
        &mut self,
        to: ConnectionId,
        id: RepoId,
        origin: OriginId,
        after: Sequence,
    ) {
        self.counters.wants_received += 1;
        let repo = self.repo(id);
        let stream = repo.streams.get(&origin);
        let sealed = stream.map_or(Sequence(0), |stream| stream.sealed);
        let head = stream.map_or(Sequence(0), |stream| stream.head());
        // Who asks beyond an end wants what does not count any more: see `beyond`.
        let beyond = after >= head && stream.is_some_and(|stream| stream.closed);
        let most = if beyond { sealed } else { head };
        let mut records = if after < most {
            match repo.journal.reader().range(origin, after, sealed) {
                Ok(records) => records,
                // A part of the journal that can not be read is no reason to stop: it is told, and
                // others may have it.
                Err(StorageError::Damaged(reason)) => {
                    self.alarm(Alarm::Journal {
                        repo: id,
                        origin,
                        sequence: after.next(),
                        reason,
                    });
                    Vec::new()
                }
                Err(error) => return self.fail(error),
            }
        } else {
            Vec::new()
        };
        // Beyond the head there is only what carries the seal that covers it.
        let mut numbered = records.iter().zip(after.0.saturating_add(1)..);
        let carrier = numbered.position(|(record, at)| at >= most.0 && record.seal.is_some());
        records.truncate(carrier.map_or(records.len(), |at| at + 1));
        let end = after.0.saturating_add(records.len() as u64);
        self.counters.ranges_sent += 1;
        if origin == self.origin
            && !records.is_empty()
            && let Some(connection) = self.gossip.connections.get_mut(&to)
        {
            // What follows on that may be pushed again.
            connection.pushed.insert((id, origin), Sequence(end));
        }
        let message = Message::Range {
            repo: id,
            origin,
            first: Sequence(after.0.saturating_add(1)),
            more: !records.is_empty() && end < most.0,
            records,
        };
        self.send(to, message);
    }

    /// A range has been dealt with: it may have answered a request.
    pub(super) fn after_range(
        &mut self,
        from: ConnectionId,
        place: (RepoId, OriginId),
        first: Sequence,
        count: usize,
        more: bool,
        progress: bool,
    ) {
        let (repo, origin) = place;
        let after = first.0.saturating_add(count as u64 + u64::from(more));
        let end = Sequence(after.saturating_sub(1));
        if count > 0 {
            self.told(repo, origin, end);
        }
        let Some(connection) = self.gossip.connections.get_mut(&from) else {
            return;
        };
        let answered = self
            .gossip
            .missing
            .get_mut(&place)
            .filter(|missing| missing.asked.is_some_and(|(asked, _)| asked == from));
        if count > 0 {
            connection.has(repo, origin, end);
        } else if let Some(known) = connection.known.get_mut(&repo) {
            // It has not got what was thought.
            known.put(origin, Sequence(first.0.saturating_sub(1)));
        }
        if let Some(missing) = answered {
            connection.wants -= 1;
            missing.asked = None;
            missing.avoid = None;
            missing.expected = false;
            missing.due = match progress {
                true => self.now,
                false => self.now.plus_millis(RETRY_MS),
            };
        }
    }

    /// Asks for what is missing, as far as the bounds allow.
    pub(in crate::replica) fn ask(&mut self) {
        if self.failed.is_some() || self.gossip.missing.is_empty() {
            return;
        }
        self.give_up_waiting();
        let wanted: Vec<_> = self.gossip.missing.keys().copied().collect();
        // What `system` lacks comes first: it says whose chains may be taken.
        let mut system = false;
        for place in wanted {
            if place.0 != RepoId::SYSTEM && system {
                break;
            }
            self.ask_for(place);
            let asked = self.gossip.missing.get(&place).is_some_and(|missing| {
                // One who keeps us waiting for it does not keep us from the rest.
                missing.asked.is_some() && missing.avoid.is_none()
            });
            system |= asked && place.0 == RepoId::SYSTEM;
        }
    }

    /// Counts requests that were not answered in time as not made.
    fn give_up_waiting(&mut self) {
        if fault::on(Fault::RequestForgotten) {
            return;
        }
        let gossip = &mut self.gossip;
        for missing in gossip.missing.values_mut() {
            let Some((asked, _)) = missing.asked.filter(|(_, until)| *until <= self.now) else {
                continue;
            };
            missing.asked = None;
            missing.avoid = Some(asked);
            self.counters.timeouts += 1;
            if let Some(connection) = gossip.connections.get_mut(&asked) {
                connection.wants -= 1;
            }
        }
    }

    /// Asks somebody for a stream, unless it has been asked for or its time has not come.
    fn ask_for(&mut self, place: (RepoId, OriginId)) {
        let (repo, origin) = place;
        let missing = &self.gossip.missing[&place];
        if missing.asked.is_some() {
            return;
        }
        let (due, avoid) = (missing.due, missing.avoid);
        // Every message leads here, and looking through all connections is dear where there are
        // hundreds. What has come meanwhile by another way is forgotten when its time has come.
        if due > self.now || self.on_their_way() > BATCH_BYTES_ENOUGH {
            return;
        }
        let most = self.gossip.most.get(&place);
        if most.is_some_and(|most| !self.lacks(repo, origin, *most)) {
            self.gossip.missing.remove(&place);
            return;
        }
        // Those who told of it come first; all the others have to be looked through.
        let mut choice = self.tellers(place);
        if choice.is_empty() {
            let Some(free) = self.holders(place) else {
                self.gossip.missing.remove(&place);
                return;
            };
            let others = free.iter().copied().filter(|id| Some(*id) != avoid);
            choice = others.collect();
            if choice.is_empty() {
                choice = free;
            }
        }
        let tip = self.repo(repo).streams.get(&origin);
        let tip = tip.map_or(Sequence(0), |stream| stream.tip.sequence);
        if let Some(missing) = self.gossip.missing.get_mut(&place)
            && missing.expected
            && missing.tip < tip
        {
            // It does come by itself; what still lacks has been told of since.
            missing.tip = tip;
            missing.due = self.now.plus_millis(OFFER_DELAY_MS);
            return;
        }
        let Some(to) = choice.choose(&mut self.rng).copied() else {
            return;
        };
        let until = self.now.plus_millis(WANT_TIMEOUT_MS);
        if let Some(missing) = self.gossip.missing.get_mut(&place) {
            missing.asked = Some((to, until));
        }
        if let Some(connection) = self.gossip.connections.get_mut(&to) {
            connection.wants += 1;
        }
        self.counters.wants_sent += 1;
        let message = Message::Want {
            repo,
            origin,
            after: tip,
        };
        self.send(to, message);
    }

    /// Those who told of a stream, have more of it, and can be asked, but for whom to avoid.
    fn tellers(&self, place: (RepoId, OriginId)) -> Vec<ConnectionId> {
        let (repo, origin) = place;
        let missing = &self.gossip.missing[&place];
        let tellers = missing
            .tellers
            .iter()
            .filter(|id| Some(**id) != missing.avoid);
        let connected = tellers.filter_map(|id| Some((id, self.gossip.connections.get(id)?)));
        connected
            .filter(|(_, connection)| connection.wants < WANTS_MAX)
            .filter(|(_, connection)| self.lacks(repo, origin, connection.knows(repo, origin)))
            .map(|(id, _)| *id)
            .collect()
    }

    /// All who have more of a stream and can be asked; nothing if nobody has more.
    fn holders(&mut self, place: (RepoId, OriginId)) -> Option<Vec<ConnectionId>> {
        let (repo, origin) = place;
        let (mut any, mut free) = (false, Vec::new());
        let mut most = Sequence(0);
        for (id, connection) in &self.gossip.connections {
            let head = connection.knows(repo, origin);
            most = most.max(head);
            if self.lacks(repo, origin, head) {
                any = true;
                if connection.wants < WANTS_MAX {
                    free.push(*id);
                }
            }
        }
        if self.repo(repo).streams.contains_key(&origin) {
            self.gossip.most.insert(place, most);
        }
        any.then_some(free)
    }
}
