//! Saving again what does not count any more since its author has closed its origin (`closing`).
//!
//! It is saved under an origin of its own. Everything about that chain follows from the statement
//! and from the change sets that it ends: its origin, its ids, its operations. So a replica that goes
//! down halfway, or goes on from an older copy of its directory, makes the same change sets once
//! more, byte for byte, and nothing comes twice.
//!
//! A change set that is saved again names what its author had seen, so that the fold (M1) treats it
//! as the concurrent save that it is, and tells of what can not be done any more as conflicts (M14).
//! And it names the one that it stands for. That does not count: the dependency is one on the last
//! number before the end (`ends`). But whoever does not know of the end yet waits for it, so that
//! nobody ever applies both.
//!
//! What follows from what: a change set names of others what is not from the future, so all of that
//! has to be here, or a copy of the directory that has more would make another chain. If something is
//! not here it is waited for, and asked for where nobody offers it (`gossip/beyond`). What is in the
//! journal of the new chain already, from an earlier life or another copy, is gone on from as it is.

mod chain;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use chain::count_again;

pub(super) use chain::Again;

use super::commit::{BATCH_BYTES_ENOUGH, Entry};
use super::fault::{self, Fault};
use super::stream::Tip;
use super::{Alarm, Replica};
use crate::codec::change_set::encode;
use crate::codec::key;
use crate::model::limits::{CHANGE_SET_BYTES_MAX, DEPENDENCIES_MAX};
use crate::model::{ChangeSet, Dependency, OriginId, RepoId, Sequence, Time};
use crate::storage::{Key, Storage, StorageError};
use chain::{rest, tip_at};

/// What the author of a change set had seen of others that is not from the future.
pub(super) enum Seen {
    /// This.
    All(Vec<Dependency>),
    /// That can not be told without this.
    Lacks(Dependency),
}

impl Replica {
    /// Takes up what an earlier life has not finished.
    pub(super) fn resume_again(&mut self, storage: &dyn Storage) -> Result<(), StorageError> {
        let own_key = self.identity.public();
        for id in RepoId::ALL {
            let own: Vec<_> = self.repo(id).closings.of(own_key).cloned().collect();
            for closing in own {
                let done = key::saved_again(id, closing.again());
                if !fault::on(Fault::AgainForgotten) && storage.get(&done)?.is_none() {
                    let mut again = Again::new(closing);
                    again.durable = true;
                    let alone = key::goes_on_alone(id, again.origin);
                    again.alone = storage.get(&alone)?.is_some();
                    self.again.push(again);
                }
            }
        }
        Ok(())
    }

    /// These notes are durable: what is to be saved again by a statement among them may be.
    pub(super) fn begin_again(&mut self, notes: &BTreeMap<Key, Vec<u8>>) {
        for again in &mut self.again {
            let note = key::closing(again.closing.repo, again.origin);
            again.durable |= notes.contains_key(&note);
        }
    }

    /// Saves again what is to be, as much as fits a commit.
    pub(super) fn save_again(&mut self) {
        let mut all = std::mem::take(&mut self.again);
        for again in &mut all {
            if !again.durable || again.stopped.is_some() {
                continue;
            }
            match self.go_on_again(again) {
                Ok(()) => {}
                // What can not be read does not come to be readable by trying again.
                Err(StorageError::Damaged(reason)) => {
                    self.alarm(Alarm::AgainStopped {
                        repo: again.closing.repo,
                        origin: again.origin,
                        reason: reason.clone(),
                    });
                    again.stopped = Some(StorageError::Damaged(reason));
                }
                Err(error) => {
                    self.fail(error);
                    break;
                }
            }
        }
        all.retain(|again| !self.is_saved_again(again));
        self.again = all;
    }

    fn go_on_again(&mut self, again: &mut Again) -> Result<(), StorageError> {
        if let Some(on) = again.lacks
            && self.lacks_still(again, on)
        {
            self.want_beyond(again.closing.repo, on);
            return Ok(());
        }
        // Whose turn it is can be told only where all is here.
        let closed = again.closing.origins();
        let tips = closed.map(|(origin, closed)| Dependency {
            origin,
            sequence: closed.tip,
        });
        let lacking: Vec<_> = tips.filter(|on| self.lacks_still(again, *on)).collect();
        again.lacks = lacking.first().copied();
        if again.lacks.is_some() {
            for on in lacking {
                self.want_beyond(again.closing.repo, on);
            }
            self.tell_lacking(again);
            return Ok(());
        }
        while self.on_their_way() < BATCH_BYTES_ENOUGH {
            let is_there = self.go_over(again)?;
            if again.stopped.is_some() {
                return Ok(());
            }
            if is_there {
                continue;
            }
            if let Some(old) = again.halved.take() {
                self.push_rest(again, &old);
                continue;
            }
            let Some((i, old)) = self.next_again(again)? else {
                return Ok(());
            };
            let ends = |origin| again.closed_after(origin);
            let seen = self.seen_by(&old, again.closing.time, again.alone, ends)?;
            let mut dependencies = match seen {
                Seen::All(dependencies) => dependencies,
                Seen::Lacks(on) => {
                    again.lacks = Some(on);
                    self.want_beyond(again.closing.repo, on);
                    self.tell_lacking(again);
                    return Ok(());
                }
            };
            let is_after = |on: &&Dependency| on.origin < old.id.origin;
            let at = dependencies.iter().take_while(is_after).count();
            let stands_for = Dependency {
                origin: old.id.origin,
                sequence: old.sequence,
            };
            dependencies.insert(at, stands_for);
            again.next[i].1 = old.sequence.next();
            let set = again.renew(again.tip, &old, dependencies);
            let body = encode(&set);
            if body.len() <= CHANGE_SET_BYTES_MAX {
                self.push_again(again, &old, set, body);
                continue;
            }
            // Where it does not fit, what it depends on, and its birth, go before it.
            let half = ChangeSet {
                operations: Vec::new(),
                ..set
            };
            let body = encode(&half);
            if rest(again, tip_at(&half, &body), &old).is_none() {
                self.alarm(Alarm::NotAgain { id: old.id });
                continue;
            }
            self.push_again(again, &old, half, body);
        }
        Ok(())
    }

    /// Whether something that is waited for is not here.
    fn lacks_still(&self, again: &Again, on: Dependency) -> bool {
        let stream = self.repo(again.closing.repo).streams.get(&on.origin);
        let closed = again.next.binary_search_by_key(&on.origin, |next| next.0);
        stream.is_none_or(|stream| {
            // Of others only what is not from the future matters.
            let (most, enough) = match closed {
                Ok(_) => (on.sequence, false),
                Err(_) => (
                    stream.known_to(on.sequence),
                    stream.tip.time >= again.closing.time,
                ),
            };
            stream.tip.sequence < most && !enough
        })
    }

    fn tell_lacking(&mut self, again: &mut Again) {
        if !std::mem::replace(&mut again.told, true) && self.is_missed(again) {
            self.alarm(Alarm::AgainLacking {
                repo: again.closing.repo,
                origin: again.origin,
            });
        }
    }

    /// Whether what is to be saved again waits for something, and nobody else has saved it.
    pub(super) fn is_missed(&self, again: &Again) -> bool {
        let streams = &self.repo(again.closing.repo).streams;
        let begun = streams.get(&again.origin);
        // What the new chain has was gone over: where it ends, nobody has saved the rest.
        let at = again.tip.sequence;
        again.lacks.is_some() && begun.is_none_or(|chain| chain.tip.sequence == at)
    }

    /// Goes on without what was seen of others and is not here, in the next life, too.
    pub(super) fn wait_no_more(&mut self) {
        for again in &mut self.again {
            let streams = &self.repos[&again.closing.repo].streams;
            let mut closed = again.closing.origins();
            if !std::mem::replace(&mut again.alone, true) {
                let note = key::goes_on_alone(again.closing.repo, again.origin);
                self.batch.notes.insert(note, Vec::new());
            }
            if closed.all(|(origin, closed)| {
                let stream = streams.get(&origin);
                stream.is_some_and(|stream| stream.tip.sequence >= closed.tip)
            }) {
                again.lacks = None;
            }
        }
    }

    /// The one whose turn it is, and of which origin: of those that are next, the one with the least
    /// id.
    fn next_again(&self, again: &Again) -> Result<Option<(usize, Arc<ChangeSet>)>, StorageError> {
        let journal = &self.repo(again.closing.repo).journal;
        let mut first: Option<(usize, Arc<ChangeSet>)> = None;
        for (i, (origin, next)) in again.next.iter().enumerate() {
            if *next > again.closing.closed[i].tip {
                continue;
            }
            let set = journal.get_as_made(*origin, *next)?;
            if first.as_ref().is_none_or(|(_, least)| set.id < least.id) {
                first = Some((i, set));
            }
        }
        Ok(first)
    }

    /// Takes note of the next one of the new chain, if it is here. Whether it is.
    fn go_over(&mut self, again: &mut Again) -> Result<bool, StorageError> {
        let repo = self.repo(again.closing.repo);
        let Some(chain) = repo.streams.get(&again.origin) else {
            return Ok(false);
        };
        let (tip, at) = (chain.tip, again.tip.sequence.next());
        if at > tip.sequence {
            let ended = chain.ended.is_some_and(|last| last < at);
            if ended && self.next_again(again)?.is_some() {
                self.give_up_again(again, "somebody has ended it");
            }
            return Ok(false);
        }
        let set = repo.journal.get_as_made(again.origin, at)?;
        let old = match again.stands_for(&set) {
            // Those before it were too large.
            Some(on) => loop {
                match self.next_again(again)? {
                    Some((i, old)) => {
                        again.next[i].1 = old.sequence.next();
                        if (old.id.origin, old.sequence) == (on.origin, on.sequence) {
                            break Some(old);
                        }
                    }
                    None => break None,
                }
            },
            None => again.halved.take(),
        };
        match old {
            Some(old) => again.made(&old, &set, &encode(&set)),
            None => self.give_up_again(again, "it was begun by another version"),
        }
        Ok(true)
    }

    /// What the author of a change set had seen before a time. Where it does not matter any more, or if
    /// `alone`, what is here will do. Of the origins that the same statement closes, which `ends` tells,
    /// only what counts is named: for the rest stands what comes before in the new chain.
    pub(super) fn seen_by(
        &self,
        old: &ChangeSet,
        time: Time,
        alone: bool,
        ends: impl Fn(OriginId) -> Option<Sequence>,
    ) -> Result<Seen, StorageError> {
        let repo = self.repo(old.repo);
        let mut seen = Vec::new();
        for on in old.dependencies.iter().take(DEPENDENCIES_MAX - 1) {
            let stream = repo.streams.get(&on.origin);
            let most = stream.map_or(on.sequence, |stream| stream.known_to(on.sequence));
            let most = ends(on.origin).map_or(most, |last| last.min(most));
            let tip = stream.map_or(Tip::NONE, |stream| stream.tip);
            if tip.sequence < most && tip.time < time && !alone {
                return Ok(Seen::Lacks(*on));
            }
            let last = super::ahead::last_before(most.min(tip.sequence), time, |at| {
                Ok(repo.journal.get_as_made(on.origin, at)?.id.time)
            })?;
            if last > Sequence(0) {
                let origin = on.origin;
                seen.push(Dependency {
                    origin,
                    sequence: last,
                });
            }
        }
        Ok(Seen::All(seen))
    }

    /// The operations of one whose dependencies are saved again.
    fn push_rest(&mut self, again: &mut Again, old: &Arc<ChangeSet>) {
        match rest(again, again.tip, old) {
            Some((set, body)) => self.push_again(again, old, set, body),
            None => self.alarm(Alarm::NotAgain { id: old.id }),
        }
    }

    /// The next one of the new chain.
    fn push_again(
        &mut self,
        again: &mut Again,
        old: &Arc<ChangeSet>,
        set: ChangeSet,
        body: Vec<u8>,
    ) {
        let (repo, origin, key) = (set.repo, set.id.origin, again.closing.key);
        again.made(old, &set, &body);
        let tip = again.tip;
        self.stream_entry(repo, origin, key).advance(tip);
        // If the clock was set back since the statement, this is from the future as well.
        if !self.clock.is_future(self.now, tip.time) {
            self.clock.resume(tip.time);
        }
        let repo_ = self.repo_mut(repo);
        repo_.journal.push(Arc::new(set), body.len());
        repo_.holds.look_at(origin);
        self.enqueue(Entry {
            repo,
            origin,
            sequence: tip.sequence,
            hash: tip.hash,
            body: body.into(),
            seal: None,
            own: true,
        });
    }

    /// The new chain is not what it would be, or has ended: it can not be gone on with.
    fn give_up_again(&mut self, again: &mut Again, reason: &str) {
        let (repo, origin) = (again.closing.repo, again.origin);
        again.stopped = Some(StorageError::Damaged(reason.to_owned()));
        self.alarm(Alarm::AgainStopped {
            repo,
            origin,
            reason: reason.into(),
        });
    }

    /// Whether all of it is on disk; then that is noted.
    fn is_saved_again(&mut self, again: &Again) -> bool {
        let repo = again.closing.repo;
        let mut next = again.next.iter().zip(&again.closing.closed);
        let left = again.halved.is_some() || next.any(|((_, next), closed)| *next <= closed.tip);
        if !again.durable || left {
            return false;
        }
        let stored = self.repo(repo).streams.get(&again.origin);
        let stored = stored.map_or(Sequence(0), |stream| stream.stored);
        if stored < again.tip.sequence {
            return false;
        }
        let done = key::saved_again(repo, again.origin);
        self.batch.notes.insert(done, Vec::new());
        true
    }
}
