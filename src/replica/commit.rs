//! The way to the disk: what is gathered for a commit, and what follows when it is through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::again::Again;
use super::fault::{self, Fault};
use super::gossip::OwnChains;
use super::output::{Alarm, CommitEvent, CommitToken, ConnectionId, Output, Receipt, Ticket};
use super::stream::{RUN_BYTES_MAX, RUN_CHANGE_SETS_MAX};
use super::{Durability, Remake, Replica};
use crate::codec::journal::{self, Seal};
use crate::codec::key;
use crate::codec::mark::{WITNESSED_MAX, Witness, encode_clock, encode_witness};
use crate::codec::message::SealedBytes;
use crate::merge::{Checkpoint, Version};
use crate::model::change_set::ChainHash;
use crate::model::{OriginId, RepoId, Sequence, Time};
use crate::storage::{Key, StorageError};

/// Bytes of change sets on their way to the disk, past which saves are refused and what comes from
/// others is dropped.
pub(super) const BATCH_BYTES_MAX: usize = 64 << 20;
/// Past this nothing is asked for, so that the bound above is for the unexpected.
pub(super) const BATCH_BYTES_ENOUGH: usize = 8 << 20;
/// Relaxed saves are answered at once only while fewer bytes than this are on their way.
const RELAXED_AHEAD_BYTES: usize = 4 << 20;
/// Least time between two witness marks, in milliseconds.
const WITNESS_INTERVAL_MS: u64 = 1_000;

/// A change set on its way to the journal.
pub(super) struct Entry {
    pub(super) repo: RepoId,
    pub(super) origin: OriginId,
    pub(super) sequence: Sequence,
    pub(super) hash: ChainHash,
    pub(super) body: Arc<[u8]>,
    pub(super) seal: Option<Seal>,
    /// Whether this replica seals it: made here, or the unsealed end of an earlier life.
    pub(super) own: bool,
}

/// What is gathered for a commit.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    /// Small notes of the replica's own.
    pub(super) notes: BTreeMap<Key, Vec<u8>>,
    /// Bytes of change sets in `entries`.
    pub(super) bytes: usize,
    /// What to publish, tell and answer afterwards, in the order in which it was merged.
    deliveries: Vec<Delivery>,
    /// Who sent what: they are told that it is here.
    pub(super) sources: BTreeMap<ConnectionId, BTreeSet<(RepoId, OriginId)>>,
    /// Where origins have been shown to end.
    pub(super) ended: BTreeMap<(RepoId, OriginId), Sequence>,
    /// What shows that a state has more than it may is in it: that is to be made again.
    pub(super) remake: Option<Remake>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.notes.is_empty()
            && self.deliveries.is_empty()
            && self.remake.is_none()
    }

    /// Leaves out what was to be told.
    pub(super) fn forget_deliveries(&mut self) {
        self.deliveries.clear();
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry.body.len();
        self.entries.push(entry);
    }
}

/// What follows a merge, once it may be known.
struct Delivery {
    version: Version,
    event: CommitEvent,
    saved: Option<(Ticket, Receipt)>,
}

/// A commit that is out.
pub(super) struct InFlight {
    token: CommitToken,
    batch: Batch,
    checkpoints: Vec<(RepoId, Checkpoint)>,
}

impl Replica {
    /// Adds a change set to the next commit. It has been checked, and continues its chain.
    pub(super) fn enqueue(&mut self, entry: Entry) {
        self.batch.push(entry);
    }

    /// Bytes of change sets that are on their way to the disk.
    pub(super) fn on_their_way(&self) -> usize {
        let out = self.in_flight.as_ref().map_or(0, |out| out.batch.bytes);
        self.batch.bytes + out
    }

    /// Publishes and tells what was merged: at once if durability is relaxed and nothing merged
    /// before is still untold, or else after the commit.
    pub(super) fn deliver(
        &mut self,
        version: Version,
        event: CommitEvent,
        mut saved: Option<(Ticket, Receipt)>,
    ) {
        if fault::on(Fault::AcknowledgedBeforeCommit)
            && let Some((ticket, receipt)) = saved.take()
        {
            self.put(Output::Saved { ticket, receipt });
        }
        let told = self.batch.deliveries.is_empty()
            && self
                .in_flight
                .as_ref()
                .is_none_or(|out| out.batch.deliveries.is_empty());
        let at_once = self.config.durability == Durability::Relaxed
            && told
            && self.on_their_way() < RELAXED_AHEAD_BYTES;
        let mut delivery = Delivery {
            version,
            event,
            saved,
        };
        if at_once {
            delivery.event.durable = false;
            self.repo(delivery.event.repo).state.publish(version);
            self.tell(delivery);
        } else {
            self.batch.deliveries.push(delivery);
        }
    }

    /// Puts out what follows of a merge whose version has been published.
    fn tell(&mut self, delivery: Delivery) {
        let repo = delivery.event.repo;
        if let Some((ticket, receipt)) = delivery.saved {
            self.put(Output::Saved { ticket, receipt });
        }
        if fault::on(Fault::EventTwice) {
            self.put(Output::Event(delivery.event.clone()));
        }
        let local = delivery.event.change_sets.iter().any(|set| set.local);
        if local || !fault::on(Fault::EventForgotten) {
            self.put(Output::Event(delivery.event));
        }
        if repo == RepoId::SYSTEM {
            self.membership.stale = true;
        }
    }

    /// Whether the next [`Replica::poll_output`] can take long: what has come from others is merged then,
    /// or something is saved again.
    pub fn has_long_work(&self) -> bool {
        let busy = self.in_flight.is_some() || self.failed.is_some() || self.remaking.is_some();
        let merges = self.repos.values().any(|repo| !repo.holds.is_idle());
        !busy && (merges || self.again.iter().any(Again::is_under_way))
    }

    /// How many change sets of this replica's own are in the commit that is out.
    pub fn own_committing(&self) -> usize {
        let entries = self.in_flight.iter().flat_map(|out| &out.batch.entries);
        entries.filter(|entry| entry.own).count()
    }

    /// How many change sets there are for the next commit.
    pub fn gathered(&self) -> usize {
        self.batch.entries.len()
    }

    /// Puts the next commit out, if there is something for it and none is out. Whether it has
    /// done anything.
    pub(super) fn begin_commit(&mut self) -> bool {
        if self.in_flight.is_some() || self.failed.is_some() {
            return false;
        }
        self.refresh_members();
        if self.remaking.is_none() {
            self.save_again();
            self.merge_ready();
        }
        if self.failed.is_some() {
            return true;
        }
        if self.batch.is_empty() {
            // What was durable before and has only now become ready is told at once if durability
            // is relaxed, and leaves nothing to write.
            return !self.outputs.is_empty();
        }
        let mut batch = std::mem::take(&mut self.batch);
        self.seal(&mut batch);
        if let Some(bound) = self.clock.next_bound() {
            batch.notes.insert(key::clock(), encode_clock(bound));
        }
        let entries = batch.entries.iter().map(|entry| {
            let key = key::journal(entry.repo, entry.origin, entry.sequence);
            (key, journal::encode(entry.seal.as_ref(), &entry.body))
        });
        // The notes go first: if the machine goes down amid the write, what comes after an origin's
        // end is not in the journal without its being known as that.
        let notes = batch.notes.iter().map(|(k, v)| (k.clone(), v.clone()));
        let records: Vec<_> = notes.chain(entries).collect();
        if records.is_empty() {
            self.finish(batch);
            return true;
        }
        let mut checkpoints = self
            .due_checkpoints()
            .into_iter()
            .filter_map(|id| Some((id, self.repo(id).state.take_checkpoint()?)))
            .collect::<Vec<_>>();
        for (id, _) in &checkpoints {
            self.repo_mut(*id).checkpointing = true;
        }
        if fault::on(Fault::CheckpointAheadOfJournal) {
            for (id, checkpoint) in checkpoints.drain(..) {
                self.put_checkpoint(id, checkpoint);
            }
        }
        self.tokens += 1;
        let token = CommitToken(self.tokens);
        self.counters.commits += 1;
        self.counters.committed_bytes += records
            .iter()
            .map(|(_, value)| value.len() as u64)
            .sum::<u64>();
        self.in_flight = Some(InFlight {
            token,
            batch,
            checkpoints,
        });
        self.put(Output::Commit { token, records });
        true
    }

    /// Seals this replica's own chains: the last of each, and more where a run would become longer
    /// than a run may be.
    fn seal(&self, batch: &mut Batch) {
        let mut chains: BTreeMap<(RepoId, OriginId), Vec<usize>> = BTreeMap::new();
        for (i, entry) in batch.entries.iter().enumerate() {
            if entry.own {
                let chain = chains.entry((entry.repo, entry.origin)).or_default();
                chain.push(i);
            }
        }
        for ((repo, origin), chain) in chains {
            let place = self.seal_place(repo, origin);
            let (mut count, mut bytes) = (0, 0);
            let end = match fault::on(Fault::EndUnsealed) {
                true => chain.first(),
                false => chain.last(),
            };
            for &i in &chain {
                let entry = &mut batch.entries[i];
                count += 1;
                bytes += entry.body.len();
                let full = count == RUN_CHANGE_SETS_MAX || bytes >= RUN_BYTES_MAX;
                if full || end == Some(&i) {
                    let text = place.text(entry.sequence, entry.hash);
                    entry.seal = Some(Seal(match &self.config.good_seals {
                        Some(good) => good.sign(&self.identity, &text),
                        None => self.identity.sign(&text),
                    }));
                    (count, bytes) = (0, 0);
                }
            }
        }
    }

    /// The records of a commit are durable.
    ///
    /// # Panics
    /// If no commit with this token is out.
    pub fn committed(&mut self, now: Time, token: CommitToken) {
        self.advance_to(now);
        if self.failed.is_some() {
            return;
        }
        let out = self.in_flight.take().expect("a commit is out");
        assert_eq!(out.token, token, "one commit is out at a time");
        for (id, checkpoint) in out.checkpoints {
            self.put_checkpoint(id, checkpoint);
        }
        self.finish(out.batch);
        self.ask();
        self.checkpoint_if_idle();
    }

    /// Everything in a batch is durable: tells everybody.
    fn finish(&mut self, batch: Batch) {
        let mut advanced: BTreeMap<RepoId, BTreeMap<OriginId, Sequence>> = BTreeMap::new();
        let mut own = OwnChains::new();
        for entry in batch.entries {
            let repo = self.repo_mut(entry.repo);
            repo.journal.committed(entry.origin, entry.sequence);
            let stream = repo
                .streams
                .get_mut(&entry.origin)
                .expect("what was committed has a stream");
            // A record may be written again, to seal the end of an earlier life.
            stream.stored = stream.stored.max(entry.sequence);
            if entry.seal.is_some() && entry.sequence >= stream.sealed {
                stream.sealed = entry.sequence;
                stream.sealed_hash = entry.hash;
            }
            if entry.seal.is_some() && stream.head() > Sequence(0) {
                advanced
                    .entry(entry.repo)
                    .or_default()
                    .insert(entry.origin, stream.head());
            }
            if entry.own {
                let chain = own
                    .entry((entry.repo, entry.origin))
                    .or_insert((entry.sequence, Vec::new()));
                chain.1.push(SealedBytes {
                    body: entry.body,
                    seal: entry.seal,
                });
            }
        }
        let merged = batch.deliveries.iter().map(|d| (d.event.repo, d.version));
        for (repo, version) in merged.collect::<BTreeMap<_, _>>() {
            self.repo(repo).state.publish(version);
        }
        for delivery in batch.deliveries {
            self.tell(delivery);
        }
        self.begin_again(&batch.notes);
        self.unwitnessed |= !own.is_empty();
        self.witness();
        self.announce(own, &advanced, &batch.sources);
        let mut ended: BTreeMap<RepoId, Vec<_>> = BTreeMap::new();
        for ((repo, origin), last) in batch.ended {
            ended.entry(repo).or_default().push((origin, last));
        }
        for (repo, ends) in &ended {
            self.announce_ends(*repo, ends);
        }
        if let Some(why) = batch.remake {
            self.stop_to_remake(why);
        }
    }

    /// Puts out a witness mark, if it is time for one.
    pub(super) fn witness(&mut self) {
        let due = self.now >= self.witnessed_at.plus_millis(WITNESS_INTERVAL_MS);
        if !(self.unwitnessed && (due || self.closing)) {
            return;
        }
        self.unwitnessed = false;
        self.witnessed_at = self.now;
        let mark = encode_witness(&Witness {
            acknowledged: self.newest_own(),
        });
        self.put(Output::Witness(mark));
    }

    /// What is stored of this replica's newest lives, the newest first. Several, since what a disk
    /// loses need not end where the last life began.
    fn newest_own(&self) -> Vec<(RepoId, OriginId, Sequence)> {
        let key = self.identity.public();
        let mut own: Vec<_> = self
            .repos
            .values()
            .flat_map(|repo| {
                repo.streams
                    .iter()
                    .map(|(origin, stream)| (repo.id, origin, stream))
            })
            .filter(|(_, _, stream)| stream.key == key && stream.stored > Sequence(0))
            .map(|(repo, origin, stream)| (stream.tip.time, repo, *origin, stream.stored))
            .collect();
        own.sort_unstable_by(|a, b| b.cmp(a));
        own.truncate(WITNESSED_MAX);
        own.into_iter()
            .map(|(_, repo, origin, stored)| (repo, origin, stored))
            .collect()
    }

    /// The store has failed. From now on nothing is written: saves are refused, reads go on. The
    /// driver is to open the store again, and a replica on it.
    pub fn storage_failed(&mut self, now: Time, error: StorageError) {
        self.advance_to(now);
        self.fail(error);
    }

    pub(super) fn fail(&mut self, error: StorageError) {
        if self.stop(&error) {
            self.alarm(Alarm::Storage(error));
        }
    }

    /// Writes nothing from now on. False if that is so already.
    pub(super) fn stop(&mut self, error: &StorageError) -> bool {
        if self.failed.is_some() {
            return false;
        }
        self.failed = Some(error.clone());
        let out = self.in_flight.take().map(|out| out.batch);
        let gathered = std::mem::take(&mut self.batch);
        for delivery in out
            .into_iter()
            .chain([gathered])
            .flat_map(|batch| batch.deliveries)
        {
            if let Some((ticket, _)) = delivery.saved {
                self.put(Output::SaveFailed {
                    ticket,
                    error: error.clone(),
                });
            }
        }
        true
    }
}
