//! The way of a local save: from a draft to a change set in the next commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::commit::{BATCH_BYTES_MAX, Entry};
use super::fault::{self, Fault};
use super::gossip::OwnChains;
use super::output::{CommitEvent, Receipt, Ticket};
use super::stream::{Reached, Stream, Tip};
use super::{Alarm, Replica};
use crate::codec::change_set::{chain_hash, decode, encode};
use crate::codec::journal::Seal;
use crate::codec::message::SealedBytes;
use crate::merge::{ChangedItem, Draft, ReadError};
use crate::model::change_set::RULES_VERSION;
use crate::model::limits::{CHANGE_SET_BYTES_MAX, DEPENDENCIES_MAX, OPERATIONS_MAX};
use crate::model::{Birth, ChangeSet, ChangeSetId, Dependency, RepoId, Time};
use crate::storage::StorageError;

/// Why a draft was not saved. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// Somebody else changed what the draft writes, since the snapshot that it was made on.
    #[error(
        "{} changed since the session began: {}{}",
        if items.len() == 1 { "this was" } else { "these were" },
        items.iter().take(8).map(ToString::to_string).collect::<Vec<_>>().join(", "),
        if items.len() > 8 { ", and more" } else { "" }
    )]
    Changed {
        /// What was changed.
        items: Vec<ChangedItem>,
    },
    /// The draft has no operations.
    #[error("there is nothing to save")]
    Empty,
    /// The change set would be too large.
    #[error(
        "the save has {bytes} bytes; at most {CHANGE_SET_BYTES_MAX} are allowed: save in smaller \
         steps"
    )]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
    },
    /// The draft has too many operations.
    #[error(
        "the save has {operations} operations; at most {OPERATIONS_MAX} are allowed: save in \
         smaller steps"
    )]
    TooManyOperations {
        /// How many.
        operations: usize,
    },
    /// More origins than a change set can name have written without having seen each other.
    #[error(
        "the save would depend on {dependencies} others; at most {DEPENDENCIES_MAX} are allowed: \
         let the replicas synchronise first"
    )]
    TooManyDependencies {
        /// How many.
        dependencies: usize,
    },
    /// The draft was made on a state that was lost since, when the store failed and was opened
    /// again.
    #[error("what the session was begun on was lost when the store failed; begin a new one")]
    Stale,
    /// More waits to be written than there may. Trying again later helps.
    #[error("the disk does not keep up with what is to be saved; try again")]
    Busy,
    /// The store has failed before.
    #[error("nothing can be saved since the store failed: {0}")]
    ReadOnly(StorageError),
    /// The replica is being closed.
    #[error("the peer is closing")]
    Closing,
    /// The clock has come to the end of its range.
    #[error("the clock of this machine is at the end of time; set it right")]
    Clock,
    /// The state could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A failure of the store, whoever met it.
pub(super) fn as_storage(error: ReadError) -> StorageError {
    match error {
        ReadError::Storage(error) => error,
        other => StorageError::Damaged(other.to_string()),
    }
}

impl Replica {
    /// Saves a draft: stamps it, merges it, and puts it into the next commit. The answer is an
    /// [`super::Output::Saved`] with this ticket.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub fn save(&mut self, now: Time, draft: &Draft) -> Result<Ticket, SaveError> {
        self.advance_to(now);
        if let Some(error) = &self.failed {
            return Err(SaveError::ReadOnly(error.clone()));
        }
        if self.remaking.is_some() {
            return Err(SaveError::Busy);
        }
        if self.closing {
            return Err(SaveError::Closing);
        }
        if draft.operations() == 0 {
            return Err(SaveError::Empty);
        }
        if draft.operations() > OPERATIONS_MAX {
            let operations = draft.operations();
            return Err(SaveError::TooManyOperations { operations });
        }
        if self.on_their_way() > BATCH_BYTES_MAX {
            return Err(SaveError::Busy);
        }
        let id = draft.snapshot().repo();
        let streams = &self.repo(id).streams;
        let is_lost = |on: &Dependency| {
            let stream = streams.get(&on.origin);
            stream.is_none_or(|stream| stream.applied.sequence < on.sequence)
        };
        if draft.snapshot().frontier().iter().any(is_lost) {
            return Err(SaveError::Stale);
        }
        let items = draft.changed_since(&self.repo(id).state.latest())?;
        if !items.is_empty() {
            self.counters.refused_changed += 1;
            return Err(SaveError::Changed { items });
        }
        self.write(draft)
    }

    fn write(&mut self, draft: &Draft) -> Result<Ticket, SaveError> {
        let repo_id = draft.snapshot().repo();
        let time = self.clock.stamp(self.now).ok_or(SaveError::Clock)?;
        let id = ChangeSetId {
            time,
            origin: self.origin,
        };
        let key = self.identity.public();
        let repo = self.repo(repo_id);
        let own = repo.streams.get(&self.origin);
        let tip = own.map_or(Tip::NONE, |stream| stream.tip);
        assert!(time > tip.time, "ids of an origin rise");
        let (operations, nodes) = draft.finish(id);
        let change_set = ChangeSet {
            repo: repo_id,
            id,
            sequence: tip.sequence.next(),
            previous: tip.hash,
            birth: (tip == Tip::NONE).then(|| Birth {
                key,
                nonce: self.nonce,
                predecessor: repo.predecessor.clone(),
            }),
            dependencies: draft
                .snapshot()
                .frontier()
                .iter()
                .filter(|on| on.origin != self.origin && !fault::on(Fault::SeenUnnamed))
                .copied()
                .collect(),
            rules: RULES_VERSION,
            all_or_nothing: draft.is_all_or_nothing(),
            message: draft.message(),
            operations,
        };
        let dependencies = change_set.dependencies.len();
        if dependencies > DEPENDENCIES_MAX {
            return Err(SaveError::TooManyDependencies { dependencies });
        }
        let body = encode(&change_set);
        debug_assert!(body.len() > CHANGE_SET_BYTES_MAX || decode(&body).is_ok());
        if body.len() > CHANGE_SET_BYTES_MAX {
            return Err(SaveError::TooLarge { bytes: body.len() });
        }
        let change_set = Arc::new(change_set);
        let merged = repo
            .state
            .merge(std::slice::from_ref(&change_set), &repo.journal);
        let merged = match merged {
            Ok(merged) => merged,
            Err(error) => {
                // It may be the disk; what could not be merged has left no trace.
                tracing::debug!(%error, "a save could not be merged");
                return Err(SaveError::Read(error));
            }
        };
        let tip = Tip {
            sequence: change_set.sequence,
            hash: chain_hash(&body),
            time,
        };
        let (origin, bytes) = (self.origin, body.len());
        let repo = self.repo_mut(repo_id);
        repo.journal.push(change_set.clone(), bytes);
        let stream = repo
            .streams
            .entry(origin)
            .or_insert_with(|| Stream::new(key));
        stream.advance(tip);
        stream.applied = Reached {
            sequence: tip.sequence,
            time,
        };
        repo.holds.wake(origin, tip.sequence);
        self.enqueue(Entry {
            repo: repo_id,
            origin,
            sequence: tip.sequence,
            hash: tip.hash,
            body: body.into(),
            seal: None,
            own: true,
        });
        if fault::on(Fault::PushedBeforeCommit) {
            let text = self
                .seal_place(repo_id, origin)
                .text(tip.sequence, tip.hash);
            let seal = Some(Seal(self.identity.sign(&text)));
            let entry = self.batch.entries.last().expect("it was just put there");
            let body = entry.body.clone();
            let chain = (tip.sequence, vec![SealedBytes { body, seal }]);
            let own = OwnChains::from([((repo_id, origin), chain)]);
            self.announce(own, &BTreeMap::new(), &BTreeMap::new());
        }
        self.counters.saves += 1;
        if repo_id == RepoId::SYSTEM {
            self.learn_members(std::slice::from_ref(&change_set));
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let receipt = Receipt {
            repo: repo_id,
            id,
            sequence: tip.sequence,
            nodes,
            voided: merged.voided.contains(&(id, true)),
        };
        let event = CommitEvent {
            repo: repo_id,
            change_sets: vec![self.describe(&change_set)],
            changes: merged.changes,
            voided: merged.voided,
            snapshot: merged.snapshot,
            durable: true,
        };
        self.deliver(merged.version, event, Some((ticket, receipt)));
        Ok(ticket)
    }

    /// Goes on under a fresh origin: somebody else writes to the present one.
    pub(super) fn renew_origin(&mut self, seen: &[u8]) {
        let before = self.origin;
        // A copy of this replica's memory would draw the same numbers: what it has not seen goes
        // into the next ones.
        let mut hash = blake3::Hasher::new();
        hash.update(b"leveret renew 1\0")
            .update(&self.nonce)
            .update(&self.now.0.to_be_bytes())
            .update(seen);
        self.reseed(*hash.finalize().as_bytes());
        self.draw_origin();
        for repo in self.repos.values_mut() {
            repo.remember_predecessor(before);
        }
        self.alarm(Alarm::Cloned {
            origin: before,
            fresh: self.origin,
        });
    }
}
