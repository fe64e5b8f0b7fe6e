//! Opening: from what a life has left behind to a replica that goes on.
//!
//! A state that an older leveret has written is given up first (`upgrade`), one that has more of a
//! chain than counts is made again (`ends`). Then the state's last checkpoint says what has been
//! applied. What the journal has above that is read, verified and merged again, this replica's own
//! chains and those of others alike; what waited before waits again. At a gap or a damaged record a
//! stream ends: what follows is as if it had never come, and is fetched again.

mod chain;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;

use chain::{author_of, find_stream};

use super::ahead::{self, Weighed};
use super::clock::Clock;
use super::closing::Closings;
use super::commit::Batch;
use super::ends;
use super::fault::{self, Fault};
use super::gossip::Gossip;
use super::journal::Journal;
use super::members::Membership;
use super::output::Alarm;
use super::ready::Holds;
use super::repair::Repairing;
use super::status::Counters;
use super::stream::{Reached, Stream, Streams, Tip};
use super::{Identity, Replica, ReplicaConfig, Repo, upgrade};
use crate::codec::record::RECORD_VERSION;
use crate::codec::{key, mark};
use crate::merge::{ReadError, State};
use crate::model::{Birth, OriginId, Predecessor, RepoId, Sequence, Time};
use crate::storage::{Storage, StorageError};

/// Notes of members read at most.
const NOTES_MAX: usize = 1 << 20;

/// Why a replica could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The founder is not the one whose hash is the cluster's id.
    #[error("the founder does not belong to the cluster: the configuration is damaged")]
    Founder,
    /// The state could not be read.
    #[error(transparent)]
    State(#[from] ReadError),
    /// The journal could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state was written by a newer leveret.
    #[error(
        "the state of `{}` has the format {found}, and this program knows those up to \
         {RECORD_VERSION}; use a newer leveret",
        repo.name()
    )]
    Newer {
        /// The repository.
        repo: RepoId,
        /// The version of its records.
        found: u8,
    },
    /// The state has applied what the journal has not (any more).
    #[error(
        "the journal of `{}` lacks change set {sequence} of origin {origin}, which the state has \
         applied ({reason}); make the state again with `leveret verify --rebuild`",
        repo.name()
    )]
    Journal {
        /// The repository.
        repo: RepoId,
        /// The origin.
        origin: OriginId,
        /// Its number.
        sequence: Sequence,
        /// What is wrong.
        reason: String,
    },
}

impl Replica {
    /// Opens the replica whose state and journal are in `storage`. `seed` is 32 fresh random
    /// bytes: everything that is drawn in this life comes from it. `now` is the physical time.
    ///
    /// Writes to the store only if a state has more of an origin than has turned out to count, or to be
    /// of the present (`ahead`): it is then made again, in one checkpoint; or if it has an older
    /// format: it is then given up, and merged again from the journal in memory.
    ///
    /// # Errors
    /// If the store can not be read or, then, written, or is not that of this cluster, or of a newer
    /// program. Nothing has been written then, or whole checkpoints.
    pub fn open(
        config: ReplicaConfig,
        identity: Identity,
        storage: Arc<dyn Storage>,
        seed: [u8; 32],
        now: Time,
    ) -> Result<Self, OpenError> {
        if config.founder.cluster() != config.cluster {
            return Err(OpenError::Founder);
        }
        let mut replica = Self {
            clock: Clock::new(OriginId([1; 16]), config.skew_max_ms),
            config,
            identity,
            rng: ChaCha20Rng::from_seed(seed),
            now,
            origin: OriginId([0; 16]),
            nonce: [0; 16],
            repos: BTreeMap::new(),
            membership: Membership::default(),
            gossip: Gossip::default(),
            batch: Batch::default(),
            in_flight: None,
            checkpoints: BTreeMap::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            tickets: 0,
            tokens: 0,
            witnessed_at: Time(0),
            unwitnessed: false,
            failed: None,
            remaking: None,
            again: Vec::new(),
            repairing: Repairing::default(),
            doubted: false,
            began_empty: None,
            closing: false,
        };
        replica.draw_origin();
        replica.clock = Clock::new(replica.origin, replica.config.skew_max_ms);
        let own_key = replica.identity.public();
        for id in RepoId::ALL {
            upgrade::give_up_older(id, storage.as_ref())?;
        }
        let mut states = Vec::new();
        for id in RepoId::ALL {
            let cache_bytes = replica.config.cache_bytes_of(id);
            states.push(State::open(id, storage.clone(), cache_bytes)?);
        }
        let weighed = ahead::weigh(&replica.config, own_key, &storage, &states, now)?;
        replica.recall_notes(storage.as_ref(), weighed)?;
        for state in states {
            replica.open_repo(state, &storage, weighed)?;
        }
        match weighed {
            Weighed::Doubtful(_) => replica.doubt(now),
            Weighed::Right(limit) => {
                let bound = mark::encode_clock(limit);
                replica.batch.notes.insert(key::clock(), bound);
            }
            Weighed::Usual(_) => {}
        }
        replica.resume_again(storage.as_ref())?;
        if fault::on(Fault::SequenceReused) {
            replica.take_up_origin()?;
        }
        replica.check_witness(storage.as_ref())?;
        let mut streams = replica
            .repos
            .values()
            .flat_map(|repo| repo.streams.values());
        let had_own = streams.any(|stream| stream.key == own_key);
        replica.began_empty = (!had_own).then_some(now);
        replica.merge_ready();
        if let Some(error) = replica.failed.take() {
            return Err(error.into());
        }
        replica.settle();
        Ok(replica)
    }

    /// Draws a fresh origin.
    pub(super) fn draw_origin(&mut self) {
        loop {
            self.rng.fill_bytes(&mut self.nonce);
            self.origin = Birth::origin(&self.identity.public(), &self.nonce);
            let unused = |repo: &Repo| !repo.streams.contains_key(&self.origin);
            if self.origin != OriginId([0; 16]) && self.repos.values().all(unused) {
                return;
            }
        }
    }

    /// Goes on under the newest origin of its own that has been found.
    fn take_up_origin(&mut self) -> Result<(), StorageError> {
        let own_key = self.identity.public();
        let found = self.repos.values().flat_map(|repo| {
            let streams = repo.streams.iter();
            streams.map(move |(origin, stream)| (stream.tip.time, *origin, stream, repo))
        });
        let newest = found
            .filter(|(_, _, stream, _)| stream.key == own_key)
            .max_by_key(|(time, ..)| *time);
        if let Some((_, origin, _, repo)) = newest
            && let Some(birth) = &repo.journal.get(origin, Sequence(1))?.birth
        {
            (self.origin, self.nonce) = (origin, birth.nonce);
        }
        Ok(())
    }

    /// Draws from another seed from here on.
    pub(super) fn reseed(&mut self, seed: [u8; 32]) {
        self.rng = ChaCha20Rng::from_seed(seed);
    }

    /// Reads the bound of the clock and the keys of members.
    fn recall_notes(&mut self, storage: &dyn Storage, weighed: Weighed) -> Result<(), OpenError> {
        if let Some(bytes) = storage.get(&key::clock())?
            && let Ok(bound) = mark::decode_clock(&bytes)
        {
            self.clock.resume_reached(bound, weighed);
        }
        self.membership.learn(self.config.founder.key);
        let (from, to) = key::members();
        for (key, _) in storage.scan(&from, &to, NOTES_MAX)? {
            if let Some(member) = key::parse_member(&key) {
                self.membership.learn(member);
            }
        }
        Ok(())
    }

    fn open_repo(
        &mut self,
        mut state: Arc<State>,
        storage: &Arc<dyn Storage>,
        weighed: Weighed,
    ) -> Result<(), OpenError> {
        let id = state.repo();
        let cache_bytes = self.config.cache_bytes_of(id);
        let closings = Closings::recall(storage.as_ref(), id)?;
        let ends = ends::recall_with(storage.as_ref(), id, &closings)?;
        if ends::give_up_lost(storage, &state, &ends)? {
            state = State::open(id, storage.clone(), cache_bytes)?;
        }
        if let Weighed::Right(limit) = weighed
            && ahead::give_up_future(storage, &state, &ends, limit)?
        {
            state = State::open(id, storage.clone(), cache_bytes)?;
        }
        let mut repo = Repo {
            id,
            journal: Journal::new(id, storage.clone(), ends.clone()),
            streams: Streams::default(),
            applied_hash: None,
            holds: Holds::default(),
            closings,
            predecessor: None,
            checkpointed_at: self.now,
            checkpointing: false,
            state,
        };
        let heads = repo.state.latest().heads().clone();
        let mut origins = repo.journal.reader().origins()?;
        origins.extend(heads.keys());
        origins.sort();
        origins.dedup();
        let own_key = self.identity.public();
        let mut newest_own = Time(0);
        for origin in origins {
            let applied = heads
                .get(&origin)
                .map_or(Reached::default(), |head| Reached {
                    sequence: head.sequence,
                    time: head.time,
                });
            self.clock.resume_reached(applied.time, weighed);
            let end = ends.get(&origin).copied();
            let Some(found) = find_stream(&mut repo, origin, applied, end, own_key)? else {
                let reason = "its first record is missing or damaged".to_owned();
                self.alarm(Alarm::Journal {
                    repo: id,
                    origin,
                    sequence: Sequence(1),
                    reason,
                });
                continue;
            };
            if let Some((sequence, reason)) = found.damage {
                self.alarm(Alarm::Journal {
                    repo: id,
                    origin,
                    sequence,
                    reason,
                });
            }
            if found.stream.key == own_key {
                // What this replica has made is not from the future to it, unless its clock was wrong.
                self.clock.resume_reached(found.newest, weighed);
                if found.stream.tip.time > newest_own {
                    newest_own = found.stream.tip.time;
                    repo.predecessor = Some(predecessor(origin, found.stream.tip));
                }
            }
            if let Some(entry) = found.unsealed {
                self.enqueue(entry);
            }
            repo.streams.insert(origin, found.stream);
            repo.holds.look_at(origin);
        }
        for (origin, last) in ends {
            // Its end alone is known, or the journal has lost it.
            if repo.streams.contains_key(&origin) {
                continue;
            }
            let author = match repo.closings.author_of(origin) {
                Some(author) => Some(author),
                None => author_of(storage.as_ref(), id, origin)?,
            };
            if let Some(key) = author {
                let mut stream = Stream::new(key);
                stream.ended = Some(last);
                stream.recall_closed(&repo.closings, origin);
                repo.streams.insert(origin, stream);
            }
        }
        self.repos.insert(id, repo);
        Ok(())
    }

    /// Reports what had been acknowledged and is not in the journal.
    fn check_witness(&mut self, storage: &dyn Storage) -> Result<(), OpenError> {
        let Ok(Some(bytes)) = storage.last_witness() else {
            return Ok(());
        };
        let Ok(witness) = mark::decode_witness(&bytes) else {
            return Ok(());
        };
        for (repo, origin, acknowledged) in witness.acknowledged {
            let stream = self
                .repos
                .get(&repo)
                .and_then(|repo| repo.streams.get(&origin));
            let found = stream.map_or(Sequence(0), |stream| stream.stored);
            // One that has ended may have had more, which does not count any more (M17).
            let ended = stream.is_some_and(|stream| stream.ended.is_some());
            if found < acknowledged && !ended {
                self.alarm(Alarm::TailLost {
                    repo,
                    origin,
                    found,
                    acknowledged,
                });
            }
        }
        Ok(())
    }

    /// What was merged while opening is durable and nobody has watched: publishes it untold.
    fn settle(&mut self) {
        self.batch.forget_deliveries();
        for repo in self.repos.values() {
            repo.state.publish(repo.state.latest().version());
        }
        self.membership.stale = true;
        self.refresh_members();
        // What is published by now, be it by a relaxed save of the own record, whoever opens reads.
        self.outputs
            .retain(|output| !matches!(output, super::Output::Event(_)));
    }
}

impl Repo {
    /// This replica goes on under a fresh origin.
    pub(super) fn remember_predecessor(&mut self, before: OriginId) {
        if let Some(stream) = self.streams.get(&before)
            && stream.tip != Tip::NONE
        {
            self.predecessor = Some(predecessor(before, stream.tip));
        }
    }
}

fn predecessor(origin: OriginId, tip: Tip) -> Predecessor {
    Predecessor {
        origin,
        sequence: tip.sequence,
        hash: tip.hash,
    }
}
