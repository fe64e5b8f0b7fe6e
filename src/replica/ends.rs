//! Where an origin ends that has broken the rules of its chain (M15, M17): before the first number
//! at which two sealed histories of it differ, or at which an id does not rise. Or where its author
//! has closed it (`closing`).
//!
//! Whatever order things come in, the lowest end that can be proven counts, and the proof goes to
//! everybody (`gossip/spread`). So all replicas come to apply the same part of such a chain. One
//! that has applied more by then makes its state again: nothing is undone in a running state, so
//! the end and its proof are committed, the replica asks to be opened again, and opening finds that
//! the state has more than it may and folds the journal without that. What stands in the journal
//! beyond an end stays there: it carries the seal that covers what comes before.
//!
//! A change set of somebody else that depends on what is beyond an end depends on the last number
//! before it instead: the same on every replica, once all know of the end.
//! How an end is shown and believed is in `admission/fork`. `docs/decisions/0007` says why.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::closing::Closings;
use super::fault::{self, Fault};
use super::journal::{JournalReader, RECORD_OVERHEAD_BYTES};
use super::output::Alarm;
use super::{Remake, Replica, verify};
use crate::codec::message::{Message, SealedBytes, decode, encode};
use crate::codec::{key, mark};
use crate::merge::{ReadError, State};
use crate::model::{ChangeSet, Dependency, OriginId, PublicKey, RepoId, Sequence};
use crate::storage::{Key, Storage, StorageError};

/// Most origins of a repository of which it is remembered where they end.
const ENDS_MAX: usize = 1 << 20;

/// The last numbers of origins that have ended.
pub(super) type Ends = BTreeMap<OriginId, Sequence>;

/// What shows that an origin has ended. Both pieces have been verified.
pub(super) struct Proof {
    /// The last number before the end.
    pub(super) last: Sequence,
    /// The first of the two pieces of chain.
    pub(super) one: Vec<SealedBytes>,
    /// The second.
    pub(super) other: Vec<SealedBytes>,
}

impl Proof {
    /// About how large it is in a message.
    pub(super) fn bytes(&self) -> usize {
        let records = self.one.iter().chain(&self.other);
        records
            .map(|record| record.body.len() + RECORD_OVERHEAD_BYTES)
            .sum()
    }

    /// The notes that keep it, and the end. Each piece fits a message, as the range did that brought
    /// it.
    fn notes(&self, repo: RepoId, origin: OriginId) -> [(Key, Vec<u8>); 3] {
        let [one, other] = self.halves(repo, origin);
        let place = key::quarantine(repo, origin);
        [one, other, (place, mark::encode_sequence(self.last))]
    }

    fn halves(&self, repo: RepoId, origin: OriginId) -> [(Key, Vec<u8>); 2] {
        [(0, &self.one), (1, &self.other)].map(|(half, records)| {
            let message = Message::Range {
                repo,
                origin,
                first: self.last,
                records: records.clone(),
                more: false,
            };
            (key::evidence(repo, origin, half), encode(&message))
        })
    }

    /// Reads it back; nothing if it is not there whole. A commit that was torn while a lower end took
    /// the place of another can have left a half of each.
    pub(super) fn read(
        storage: &dyn Storage,
        repo: RepoId,
        origin: OriginId,
    ) -> Result<Option<Self>, StorageError> {
        let half = |half| {
            let bytes = storage.get(&key::evidence(repo, origin, half))?;
            Ok::<_, StorageError>(match bytes.map(|bytes| decode(&bytes)) {
                Some(Ok(Message::Range { first, records, .. })) => Some((first, records)),
                _ => None,
            })
        };
        Ok(match (half(0)?, half(1)?) {
            (Some((last, one)), Some((same, other))) if last == same => {
                Some(Self { last, one, other })
            }
            _ => None,
        })
    }
}

/// Where origins end, from the notes.
pub(super) fn recall(storage: &dyn Storage, repo: RepoId) -> Result<Ends, StorageError> {
    recall_with(storage, repo, &Closings::recall(storage, repo)?)
}

/// The same, where the statements have been read. A note without its proof is passed over: what shows
/// it comes again, or never was.
pub(super) fn recall_with(
    storage: &dyn Storage,
    repo: RepoId,
    closings: &Closings,
) -> Result<Ends, StorageError> {
    let (from, to) = key::quarantines(repo);
    let mut ends = Ends::new();
    for (key, value) in storage.scan(&from, &to, ENDS_MAX)? {
        if let (Some(origin), Ok(last)) =
            (key::parse_quarantine(&key), mark::decode_sequence(&value))
            && storage.get(&key::evidence(repo, origin, 1))?.is_some()
            && !fault::on(Fault::EndsForgotten)
        {
            ends.insert(origin, last);
        }
    }
    for (origin, closed) in closings.ends() {
        let last = ends.entry(origin).or_insert(closed);
        *last = closed.min(*last);
    }
    Ok(ends)
}

/// A change set as it counts: what it depends on beyond an end is what there is before it.
pub(super) fn within(ends: &Ends, set: Arc<ChangeSet>) -> Arc<ChangeSet> {
    let is_lost = |on: &Dependency| ends.get(&on.origin).is_some_and(|last| on.sequence > *last);
    if ends.is_empty() || !set.dependencies.iter().any(is_lost) {
        return set;
    }
    let mut set = Arc::unwrap_or_clone(set);
    for on in &mut set.dependencies {
        if let Some(last) = ends.get(&on.origin) {
            on.sequence = on.sequence.min(*last);
        }
    }
    set.dependencies.retain(|on| on.sequence > Sequence(0));
    Arc::new(set)
}

/// Makes a stored state again that has applied more than it may. Whether it had; then `state` is not
/// what is stored any more.
pub(super) fn give_up_lost(
    storage: &Arc<dyn Storage>,
    state: &State,
    ends: &Ends,
) -> Result<bool, ReadError> {
    let heads = state.heads();
    let lost = |(origin, last): (&OriginId, &Sequence)| {
        heads.get(origin).is_some_and(|head| head.sequence > *last)
    };
    if !ends.iter().any(lost) {
        return Ok(false);
    }
    verify::make_again(state.repo(), storage, &heads, ends, &Ends::new())?;
    Ok(true)
}

impl Replica {
    /// An origin has been shown to end. Whether that is news.
    pub(super) fn end_origin(
        &mut self,
        repo_id: RepoId,
        origin: OriginId,
        author: PublicKey,
        last: Sequence,
        notes: impl IntoIterator<Item = (Key, Vec<u8>)>,
    ) -> bool {
        let known = self.repo(repo_id).streams.get(&origin);
        if known.is_some_and(|stream| stream.ended.is_some_and(|end| end <= last)) {
            return false;
        }
        if origin == self.origin {
            // Somebody else writes to it.
            self.renew_origin(&last.0.to_be_bytes());
        }
        let hash = self.hash_at(repo_id, origin, last);
        let stream = self.stream_entry(repo_id, origin, author);
        stream.ended = Some(last);
        stream.closed = false;
        stream.end_hash = hash.unwrap_or_default();
        if stream.waiting() == 0 {
            stream.future = (0, 0);
            stream.full = false;
        }
        let too_far = stream.applied.sequence > last;
        self.batch.notes.extend(notes);
        self.batch.ended.insert((repo_id, origin), last);
        let repo = self.repo_mut(repo_id);
        repo.journal.end(origin, last);
        repo.holds.ended(origin);
        if too_far {
            self.remaking = Some(Remake::Ended(repo_id));
            self.batch.remake = self.remaking;
        }
        true
    }

    /// Ends an origin that has broken the rules. Whether that is news.
    pub(super) fn end_by_proof(
        &mut self,
        repo: RepoId,
        origin: OriginId,
        author: PublicKey,
        proof: &Proof,
    ) -> bool {
        let notes = proof.notes(repo, origin);
        self.end_origin(repo, origin, author, proof.last, notes)
    }

    /// What shows that the state has more than it may is durable: the replica stops, to be opened
    /// again.
    pub(super) fn stop_to_remake(&mut self, why: Remake) {
        let reason = "its state is to be made again";
        if self.stop(&StorageError::ReadOnly(reason.into())) {
            self.alarm(match why {
                Remake::Ended(repo) => Alarm::Remake { repo },
                Remake::Ahead { ahead_ms } => Alarm::Ahead { ahead_ms },
            });
        }
    }

    /// The proof that an origin ends, if it is on disk.
    pub(super) fn proof(
        reader: &JournalReader,
        origin: OriginId,
    ) -> Result<Option<Proof>, StorageError> {
        Proof::read(reader.storage(), reader.repo(), origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryStorage;

    #[test]
    fn halves_of_two_proofs_are_none() {
        let (repo, origin) = (RepoId::MAIN, OriginId([7; 16]));
        let notes = |last| {
            let piece = |byte| {
                let body = vec![byte; 40].into();
                vec![SealedBytes { body, seal: None }]
            };
            let proof = Proof {
                last: Sequence(last),
                one: piece(1),
                other: piece(2),
            };
            proof.halves(repo, origin)
        };
        let storage = MemoryStorage::new();
        let last = || {
            let proof = Proof::read(&storage, repo, origin).unwrap();
            proof.map(|proof| proof.last)
        };
        storage.append(&notes(5)).unwrap();
        assert_eq!(last(), Some(Sequence(5)));
        // Torn: the second half of the newer proof is not there.
        storage.append(&notes(3)[..1]).unwrap();
        assert_eq!(last(), None);
        storage.append(&notes(3)[1..]).unwrap();
        assert_eq!(last(), Some(Sequence(3)));
    }
}
