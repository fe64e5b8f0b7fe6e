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

use std::collections::BTreeMap;
use std::sync::Arc;

use super::commit::{BATCH_BYTES_ENOUGH, Entry};
use super::fault::{self, Fault};
use super::stream::Tip;
use super::{Alarm, Replica};
use crate::codec::change_set::{chain_hash, encode};
use crate::codec::closing::Closing;
use crate::codec::key;
use crate::model::limits::{CHANGE_SET_BYTES_MAX, DEPENDENCIES_MAX};
use crate::model::{
    Birth, ChangeSet, ChangeSetId, Dependency, NodeId, Operation, OriginId, RepoId, Sequence, Time,
    Value,
};
use crate::storage::{Key, Storage, StorageError};

/// What is left to be saved again of one statement.
pub(super) struct Again {
    closing: Closing,
    /// The origin of the new chain.
    origin: OriginId,
    /// What is next of each origin, in their order.
    next: Vec<(OriginId, Sequence)>,
    /// The end of the new chain.
    tip: Tip,
    /// The new ids of nodes whose id follows from when they were added.
    nodes: BTreeMap<NodeId, NodeId>,
    /// Whether the statement is durable. Nothing is saved before.
    durable: bool,
}

impl Again {
    pub(super) fn new(closing: Closing) -> Self {
        let next = closing
            .origins()
            .map(|(origin, closed)| (origin, closed.last.next()))
            .collect();
        Self {
            origin: closing.again(),
            next,
            tip: Tip::NONE,
            nodes: BTreeMap::new(),
            durable: false,
            closing,
        }
    }

    /// The statement.
    pub(super) fn closing(&self) -> &Closing {
        &self.closing
    }

    /// The next one of the new chain that stands for `old`.
    fn renew(&mut self, old: &ChangeSet, dependencies: Vec<Dependency>) -> ChangeSet {
        let sequence = self.tip.sequence.next();
        let id = ChangeSetId {
            time: Time(self.closing.time.0 + sequence.0),
            origin: self.origin,
        };
        let mut set = ChangeSet {
            repo: old.repo,
            id,
            sequence,
            previous: self.tip.hash,
            birth: (sequence == Sequence(1)).then(|| Birth {
                key: self.closing.key,
                nonce: self.closing.nonce(),
                predecessor: None,
            }),
            dependencies,
            rules: old.rules,
            all_or_nothing: old.all_or_nothing,
            message: old.message.clone(),
            operations: old.operations.clone(),
        };
        set.message
            .get_or_insert_with(|| format!("saved again: {}", old.id).into());
        let stamps = (0..old.operations.len()).map(|index| (old.stamp(index), set.stamp(index)));
        let stamps: Vec<_> = stamps.collect();
        for (operation, (old, new)) in set.operations.iter_mut().zip(stamps) {
            let before = operation.node(old);
            for node in operation.nodes_mut() {
                *node = self.node(*node);
            }
            if let Operation::Set { value, .. } = operation {
                *value = self.value(value);
            }
            let after = operation.node(new);
            if before != after {
                self.nodes.insert(before, after);
            }
        }
        set
    }

    fn node(&self, node: NodeId) -> NodeId {
        self.nodes.get(&node).copied().unwrap_or(node)
    }

    fn value(&self, value: &Value) -> Value {
        match value {
            Value::Ref(node) => Value::Ref(self.node(*node)),
            Value::List(list) => {
                let renewed = list.iter().map(|item| self.value(item)).collect();
                Value::list(renewed).expect("a list of as many that are no lists")
            }
            other => other.clone(),
        }
    }

    /// Where a change set of the new chain has its place.
    fn tip_at(set: &ChangeSet, body: &[u8]) -> Tip {
        Tip {
            sequence: set.sequence,
            hash: chain_hash(body),
            time: set.id.time,
        }
    }
}

impl Replica {
    /// Takes up what an earlier life has not finished.
    pub(super) fn resume_again(&mut self, storage: &dyn Storage) -> Result<(), StorageError> {
        for id in RepoId::ALL {
            let own: Vec<_> = self.repo(id).closings.values().cloned().collect();
            for closing in own {
                let done = key::saved_again(id, closing.again());
                let mine = closing.key == self.identity.public();
                if mine && !fault::on(Fault::AgainForgotten) && storage.get(&done)?.is_none() {
                    let mut again = Again::new(closing);
                    again.durable = true;
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
        // A copy of the directory that has not all of it leaves that to the one that has.
        let (mut all, lacking): (Vec<_>, Vec<_>) = std::mem::take(&mut self.again)
            .into_iter()
            .partition(|again| self.has_all_of(again));
        for again in lacking {
            let streams = &self.repo(again.closing.repo).streams;
            if streams.contains_key(&again.origin) {
                continue; // somebody has it, and it comes from there
            }
            self.alarm(Alarm::AgainLacking {
                repo: again.closing.repo,
                origin: again.origin,
            });
        }
        for again in all.iter_mut().filter(|again| again.durable) {
            if let Err(error) = self.go_on_again(again) {
                self.fail(error);
                break;
            }
        }
        all.retain(|again| !self.is_saved_again(again));
        self.again = all;
    }

    /// Whether everything is here that a statement wants saved again.
    fn has_all_of(&self, again: &Again) -> bool {
        let streams = &self.repo(again.closing.repo).streams;
        let mut closed = again.closing.origins();
        closed.all(|(origin, closed)| {
            let stream = streams.get(&origin);
            stream.is_some_and(|stream| stream.tip.sequence >= closed.tip)
        })
    }

    fn go_on_again(&mut self, again: &mut Again) -> Result<(), StorageError> {
        while self.on_their_way() < BATCH_BYTES_ENOUGH {
            let Some(old) = self.next_again(again)? else {
                return Ok(());
            };
            let mut dependencies = self.seen_then(again, &old)?;
            let is_after = |on: &&Dependency| on.origin < old.id.origin;
            let at = dependencies.iter().take_while(is_after).count();
            let stands_for = Dependency {
                origin: old.id.origin,
                sequence: old.sequence,
            };
            dependencies.insert(at, stands_for);
            let mut set = again.renew(&old, dependencies);
            let mut body = encode(&set);
            if body.len() > CHANGE_SET_BYTES_MAX {
                // Where it does not fit, what it depends on, and its birth, go before it.
                set.operations = Vec::new();
                body = encode(&set);
                self.push_again(again, set, body);
                set = again.renew(&old, Vec::new());
                body = encode(&set);
            }
            if body.len() > CHANGE_SET_BYTES_MAX {
                set.message = None;
                body = encode(&set);
            }
            if body.len() > CHANGE_SET_BYTES_MAX {
                self.alarm(Alarm::NotAgain { id: old.id });
                continue;
            }
            self.push_again(again, set, body);
        }
        Ok(())
    }

    /// The one whose turn it is: of those that are next, the one with the least id.
    fn next_again(&self, again: &mut Again) -> Result<Option<Arc<ChangeSet>>, StorageError> {
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
        Ok(first.map(|(i, set)| {
            again.next[i].1 = set.sequence.next();
            set
        }))
    }

    /// What the author of a change set had seen of others that is not from the future.
    fn seen_then(&self, again: &Again, old: &ChangeSet) -> Result<Vec<Dependency>, StorageError> {
        let mut seen = Vec::new();
        for on in old.dependencies.iter().take(DEPENDENCIES_MAX - 1) {
            let last = self.last_before(again.closing.repo, *on, again.closing.time)?;
            if last > Sequence(0) {
                let origin = on.origin;
                seen.push(Dependency {
                    origin,
                    sequence: last,
                });
            }
        }
        Ok(seen)
    }

    /// The last number of an origin, up to that of `on`, whose time is below `time`.
    pub(super) fn last_before(
        &self,
        repo: RepoId,
        on: Dependency,
        time: Time,
    ) -> Result<Sequence, StorageError> {
        let repo = self.repo(repo);
        let tip = repo.streams.get(&on.origin).map(|stream| stream.tip);
        let most = on.sequence.min(tip.map_or(Sequence(0), |tip| tip.sequence));
        super::ahead::last_before(most, time, |at| {
            Ok(repo.journal.get_as_made(on.origin, at)?.id.time)
        })
    }

    /// The next one of the new chain: taken, unless it has been before.
    fn push_again(&mut self, again: &mut Again, set: ChangeSet, body: Vec<u8>) {
        let (repo, origin, key) = (set.repo, set.id.origin, again.closing.key);
        again.tip = Again::tip_at(&set, &body);
        let tip = again.tip;
        let stream = self.stream_entry(repo, origin, key);
        if tip.sequence <= stream.tip.sequence {
            return;
        }
        if set.previous != stream.tip.hash {
            return self.give_up_again(again);
        }
        stream.advance(tip);
        self.clock.resume(tip.time);
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

    /// The new chain was begun otherwise, by another program: it can not be gone on with.
    fn give_up_again(&mut self, again: &mut Again) {
        let (repo, origin) = (again.closing.repo, again.origin);
        let tip = self.repo(repo).streams[&origin].tip;
        for ((_, next), closed) in again.next.iter_mut().zip(&again.closing.closed) {
            *next = closed.tip.next();
        }
        again.tip = tip;
        self.alarm(Alarm::Journal {
            repo,
            origin,
            sequence: tip.sequence.next(),
            reason: "what is saved again was begun by another version".into(),
        });
    }

    /// Whether all of it is on disk; then that is noted.
    fn is_saved_again(&mut self, again: &Again) -> bool {
        let repo = again.closing.repo;
        let mut next = again.next.iter().zip(&again.closing.closed);
        if !again.durable || next.any(|((_, next), closed)| *next <= closed.tip) {
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
