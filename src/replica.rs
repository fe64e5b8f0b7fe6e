//! One replica: the sans-IO state machine between the network, the store and the callers.
//!
//! Messages, saves, finished writes and the time go in; [`Output`]s come out of
//! [`Replica::poll_output`]. It reads the store, and writes only while it is opened, if a state has
//! to be made again (`ends`). Else it puts out a [`Output::Commit`], the driver makes that durable
//! and says so with [`Replica::committed`]. One commit is out at a time. What is saved and received
//! meanwhile goes into the next one, and everything received that is ready is merged in one pass
//! when it begins. Messages about a change set leave only after its commit; so do answers and
//! events, unless durability is relaxed.
//!
//! The parts: `clock` stamps; `stream` is the chain of one origin, and `ends` says where one ends
//! that breaks the rules, or that its author has closed (`closing`), since its clock was far ahead
//! (`ahead`, `repair`, `again`); `journal` finds change sets; `recovery` opens; `save` takes local ones, `admission` those
//! of others, `ready` decides when they may be applied (M2, M16); `commit` is the way to the disk,
//! `checkpoint` that of the state behind it; `gossip` is the talk with others, `members` who belongs.
//! What merging means is left to `merge`; sockets, threads and timers to the driver.

mod admission;
mod again;
mod ahead;
mod backup;
mod checkpoint;
mod clock;
mod closing;
mod commit;
mod config;
mod ends;
mod fault;
mod gossip;
pub mod identity;
pub mod journal;
mod members;
mod output;
mod ready;
mod recovery;
mod repair;
mod rows;
mod save;
mod status;
mod stream;
mod upgrade;
mod verify;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;

use crate::merge::{State, Version};
use crate::model::{OriginId, Predecessor, RepoId, Time};
use crate::storage::StorageError;

pub use crate::codec::message::Message;
pub use again::count_again;
pub use backup::{Copied, Copier, CopyError};
pub use config::{Durability, Founder, ReplicaConfig};
#[cfg(feature = "faults")]
pub use fault::Fault;
pub use identity::Identity;
pub use members::{JoinCheck, Member};
pub use output::{
    Alarm, ChangeSetInfo, CheckpointToken, CommitEvent, CommitToken, ConnectionId, Output, Receipt,
    Ticket,
};
pub use recovery::OpenError;
pub use repair::{ClosedOrigin, Repair, RepairAnyway, RepairError};
pub use save::SaveError;
pub use status::{Counters, HeldReason, PeerStatus, RepoStatus, Status};
pub use verify::{PROBLEMS_MAX, Verified, verify};

use again::Again;
use checkpoint::CheckpointOut;
use clock::Clock;
use closing::Closings;
use commit::{Batch, InFlight};
use gossip::Gossip;
use journal::Journal;
use members::Membership;
use ready::Holds;
use repair::Repairing;
use stream::Streams;

/// A step back of the clock is taken for one from so many milliseconds on.
pub(crate) const STEP_BACK_MS: u64 = 1_000;

/// One replica of all repositories of a cluster.
pub struct Replica {
    config: ReplicaConfig,
    identity: Identity,
    rng: ChaCha20Rng,
    clock: Clock,
    /// The time of the last input.
    now: Time,
    /// The writing life: drawn at opening, born in a repository with the first save there.
    origin: OriginId,
    /// From which, with the key, the origin is made.
    nonce: [u8; 16],
    repos: BTreeMap<RepoId, Repo>,
    membership: Membership,
    gossip: Gossip,
    /// What the next commit takes.
    batch: Batch,
    in_flight: Option<InFlight>,
    checkpoints: BTreeMap<CheckpointToken, CheckpointOut>,
    outputs: VecDeque<Output>,
    counters: Counters,
    tickets: u64,
    tokens: u64,
    /// When the witness mark was put out last.
    witnessed_at: Time,
    /// Whether anything has been acknowledged since.
    unwitnessed: bool,
    /// Set once the store has failed. From then on nothing is written.
    failed: Option<StorageError>,
    /// The state has more than it may: as soon as what shows that is durable, the replica stops.
    remaking: Option<Remake>,
    /// What is being saved again, since its author has closed the origin.
    again: Vec<Again>,
    /// How far it has been looked whether a repair may begin.
    repairing: Repairing,
    /// The clock is far behind what this replica has seen, and is not believed.
    doubted: bool,
    /// When it was opened, if nothing was found then that this replica had made: all of that is
    /// expected to come from others.
    began_empty: Option<Time>,
    closing: bool,
}

/// Why a state is to be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remake {
    /// That of this repository has gone beyond an end.
    Ended(RepoId),
    /// The clock was so many milliseconds ahead, and is right now.
    Ahead { ahead_ms: u64 },
}

/// What a replica has of one repository.
struct Repo {
    id: RepoId,
    state: Arc<State>,
    streams: Streams,
    /// Hash of the applied heads of a version, kept for the next summary.
    applied_hash: Option<(Version, [u8; 16])>,
    holds: Holds,
    journal: Journal,
    /// By which authors have ended origins of their own.
    closings: Closings,
    /// The end of this replica's stream before the present origin.
    predecessor: Option<Predecessor>,
    checkpointed_at: Time,
    checkpointing: bool,
}

impl Replica {
    /// The state of a repository, to read and to draft from.
    ///
    /// # Panics
    /// If it is none of [`RepoId::ALL`].
    pub fn state(&self, repo: RepoId) -> &Arc<State> {
        &self.repo(repo).state
    }

    /// A reader of a repository's journal, for any thread.
    ///
    /// # Panics
    /// If it is none of [`RepoId::ALL`].
    pub fn journal(&self, repo: RepoId) -> journal::JournalReader {
        self.repo(repo).journal.reader().clone()
    }

    /// The present origin: what [`crate::merge::Draft::new`] asks for.
    pub fn origin(&self) -> OriginId {
        self.origin
    }

    /// Who this replica is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What it was opened with.
    pub fn config(&self) -> &ReplicaConfig {
        &self.config
    }

    /// Takes out what is to be done next; nothing until the next input. To be called until it
    /// gives nothing after every input, or every few inputs: what they bring is then committed
    /// together.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.pending_output() {
                return Some(output);
            }
            if !self.begin_commit() {
                return None;
            }
        }
    }

    /// As [`Replica::poll_output`], but begins no commit: what waits for one goes on gathering.
    pub fn pending_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether [`Replica::handle_timeout`] is to be called now: it is time, or the clock has been set
    /// back since the last input, so that what was to happen later would wait for too long.
    pub fn is_due(&self, now: Time) -> bool {
        self.next_timeout() <= now || now.plus_millis(STEP_BACK_MS) < self.now
    }

    /// Lets time pass. To be called at [`Replica::next_timeout`] or later, and when the clock has been
    /// set back ([`Replica::is_due`]).
    pub fn handle_timeout(&mut self, now: Time) {
        self.advance_to(now);
        self.wake_future();
        self.gossip_timeout();
        self.checkpoint_if_idle();
        self.witness();
    }

    /// When [`Replica::handle_timeout`] has something to do, if no input comes before.
    pub fn next_timeout(&self) -> Time {
        self.gossip_due()
            .min(self.future_due())
            .min(self.checkpoint_due())
    }

    /// Refuses further saves, and puts out the last commit and checkpoint. The driver goes on as
    /// before until [`Replica::is_closed`].
    pub fn close(&mut self, now: Time) {
        self.advance_to(now);
        self.closing = true;
        self.checkpoint_if_idle();
        self.witness();
    }

    /// Whether, after [`Replica::close`], nothing is left to be written, or the store has failed.
    pub fn is_closed(&self) -> bool {
        self.closing
            && (self.failed.is_some()
                || (self.in_flight.is_none()
                    && self.batch.is_empty()
                    && self.checkpoints.is_empty()
                    && self.outputs.is_empty()
                    && self
                        .repos
                        .values()
                        .all(|repo| repo.state.dirty_bytes() == 0)))
    }

    /// Takes note of the time. A small step back is ignored; when the clock has been set back,
    /// what was to happen later must not wait until it is there again.
    fn advance_to(&mut self, now: Time) {
        use fault::Fault::SetBackUnnoticed;
        self.check_lead(now);
        if now.plus_millis(STEP_BACK_MS) >= self.now || fault::on(SetBackUnnoticed) {
            self.now = self.now.max(now);
            return;
        }
        self.now = now;
        self.gossip.clock_set_back(now);
        self.witnessed_at = self.witnessed_at.min(now);
        self.repairing.clock_set_back(now);
        for repo in self.repos.values_mut() {
            repo.checkpointed_at = repo.checkpointed_at.min(now);
        }
    }

    fn repo(&self, repo: RepoId) -> &Repo {
        self.repos
            .get(&repo)
            .expect("a replica has every repository there is")
    }

    fn repo_mut(&mut self, repo: RepoId) -> &mut Repo {
        self.repos
            .get_mut(&repo)
            .expect("a replica has every repository there is")
    }

    fn put(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn alarm(&mut self, alarm: Alarm) {
        self.counters.alarms += 1;
        self.put(Output::Alarm(alarm));
    }
}

#[cfg(test)]
mod tests;
