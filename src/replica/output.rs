//! What comes out of a replica: messages, writes, answers, events, alarms.

use std::collections::BTreeMap;

use crate::codec::message::Message;
use crate::merge::{Change, Snapshot};
use crate::model::{ChangeSetId, NodeId, OriginId, PublicKey, RepoId, Sequence, Timestamp};
use crate::storage::{self, Key, StorageError};
use std::sync::Arc;

/// A connection, as the driver counts them. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A save that has been taken and not been answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A commit that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitToken(pub u64);

/// A checkpoint that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointToken(pub u64);

/// What the driver is to do, in this order.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Send a message.
    Send {
        /// On this connection.
        to: ConnectionId,
        /// The message.
        message: Message,
    },
    /// Append records to the store and put a barrier behind them, then call
    /// [`super::Replica::committed`].
    Commit {
        /// To be handed back.
        token: CommitToken,
        /// What to append, in this order. No key comes twice.
        records: Vec<(Key, Vec<u8>)>,
    },
    /// Write a checkpoint to the store, then call [`super::Replica::checkpointed`].
    Checkpoint {
        /// To be handed back.
        token: CheckpointToken,
        /// What to write.
        changes: Vec<storage::Change>,
    },
    /// Answer a save: it is done.
    Saved {
        /// Which save.
        ticket: Ticket,
        /// What became of it.
        receipt: Receipt,
    },
    /// Answer a save: whether it is done is not known, since the store failed. Another look after
    /// opening it again will tell.
    SaveFailed {
        /// Which save.
        ticket: Ticket,
        /// How the store failed.
        error: StorageError,
    },
    /// Tell observers.
    Event(CommitEvent),
    /// Close a connection whose other side broke the protocol.
    Close {
        /// The connection.
        connection: ConnectionId,
        /// What it did.
        reason: String,
    },
    /// The list of members has changed, or their addresses: see [`super::Replica::members`].
    MembersChanged,
    /// Something that a person should know.
    Alarm(Alarm),
    /// Note this mark beside the store ([`crate::storage::Storage::witness`]).
    Witness(Vec<u8>),
}

/// What a finished save came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The repository.
    pub repo: RepoId,
    /// The id of the change set.
    pub id: ChangeSetId,
    /// Its number in this replica's stream.
    pub sequence: Sequence,
    /// The ids that unique nodes have got in place of their provisional ones.
    pub nodes: BTreeMap<NodeId, NodeId>,
    /// Whether it is all-or-nothing and was voided at once (M13): it is saved, and has no effect
    /// as long as what stands in its way does.
    pub voided: bool,
}

/// A step from one published state of a repository to the next.
#[derive(Clone, Debug)]
pub struct CommitEvent {
    /// The repository.
    pub repo: RepoId,
    /// What was merged in this step.
    pub change_sets: Vec<ChangeSetInfo>,
    /// The visible net difference.
    pub changes: Vec<Change>,
    /// All-or-nothing change sets, of this step or of earlier ones, that are voided now and were
    /// not, or the contrary (M13).
    pub voided: Vec<(ChangeSetId, bool)>,
    /// The state after it.
    pub snapshot: Snapshot,
    /// Whether a crash can not take it back any more.
    pub durable: bool,
}

/// What an event tells of a change set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSetInfo {
    /// Its id.
    pub id: ChangeSetId,
    /// Its number in its origin's stream.
    pub sequence: Sequence,
    /// The key of the replica that made it.
    pub author: PublicKey,
    /// What its author had to say about it.
    pub message: Option<Arc<str>>,
    /// Whether it was made here.
    pub local: bool,
}

/// Something that a person should know.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Alarm {
    /// Equal applied heads, unequal state: a defect of the program or of the store.
    #[error(
        "the state of `{}` differs from that of replica {peer} though both have applied the same: \
         {ours} here, {theirs} there; run `leveret verify` on both",
        repo.name()
    )]
    Digest {
        /// The repository.
        repo: RepoId,
        /// The other replica.
        peer: PublicKey,
        /// The digest here, in hex.
        ours: String,
        /// The digest there, in hex.
        theirs: String,
    },
    /// One author has signed two histories under one origin (M17).
    #[error(
        "origin {origin} of replica {author} has two histories in `{}` from number {sequence} on; \
         nothing of it counts from there",
        repo.name()
    )]
    Fork {
        /// The repository.
        repo: RepoId,
        /// The origin.
        origin: OriginId,
        /// The author's key.
        author: PublicKey,
        /// A number at which they differ; it may turn out that they did before.
        sequence: Sequence,
    },
    /// A member's change set breaks the rules (M2, M15).
    #[error(
        "change set {sequence} of origin {origin} of replica {author} in `{}` breaks the rules: \
         {reason}; nothing of it counts from there",
        repo.name()
    )]
    Invalid {
        /// The repository.
        repo: RepoId,
        /// The origin.
        origin: OriginId,
        /// The author's key.
        author: PublicKey,
        /// Its number.
        sequence: Sequence,
        /// What is wrong.
        reason: String,
    },
    /// A member's change set is from the future and waits (M16).
    #[error(
        "a change set of origin {origin} of replica {author} in `{}` is {ahead_ms} ms ahead of \
         the clock here and waits; one of the two clocks is wrong",
        repo.name()
    )]
    Future {
        /// The repository.
        repo: RepoId,
        /// The origin.
        origin: OriginId,
        /// The author's key.
        author: PublicKey,
        /// How far ahead it is, in milliseconds.
        ahead_ms: u64,
    },
    /// The journal has a gap or a damaged record; what follows it is fetched from others.
    #[error(
        "the journal of `{}` is damaged at number {sequence} of origin {origin} ({reason}); what \
         follows is fetched from others",
        repo.name()
    )]
    Journal {
        /// The repository.
        repo: RepoId,
        /// The origin.
        origin: OriginId,
        /// The first number that is not there.
        sequence: Sequence,
        /// What is wrong.
        reason: String,
    },
    /// The witness mark knows of acknowledged saves that the journal has not.
    #[error(
        "saves after number {found} up to {acknowledged} of origin {origin} in `{}` had been \
         acknowledged and are not in the journal; if another replica has them they will come back",
        repo.name()
    )]
    TailLost {
        /// The repository.
        repo: RepoId,
        /// The origin.
        origin: OriginId,
        /// The last number that is there.
        found: Sequence,
        /// The last number that was acknowledged.
        acknowledged: Sequence,
    },
    /// This replica's own origin is being written by somebody else, or has been taken back in
    /// time. It goes on under a fresh one.
    #[error(
        "another copy of this replica has written to its origin {origin}; it goes on as {fresh}"
    )]
    Cloned {
        /// The origin that it had.
        origin: OriginId,
        /// The origin that it has now.
        fresh: OriginId,
    },
    /// Others have sent what this replica has signed itself in another life, and its directory had
    /// not. Told once for each origin.
    #[error(
        "change sets of this replica's own origin {origin} in `{}`, from number {first} on, were not \
         in its directory and have come from others: the directory is an older copy, its disk has \
         lost them, or another copy of this replica is running",
        repo.name()
    )]
    CameBack {
        /// The repository.
        repo: RepoId,
        /// The origin.
        origin: OriginId,
        /// The first number that was not there.
        first: Sequence,
    },
    /// The state has something of an origin that does not count any more, since its author broke the
    /// rules. Nothing is written until the replica is opened again, as after a failure of the
    /// store: opening makes the state again without it.
    #[error(
        "the state of `{}` is made again without what its author has broken the rules with",
        repo.name()
    )]
    Remake {
        /// The repository.
        repo: RepoId,
    },
    /// This machine's clock was far ahead, and is right now. Nothing is written until the replica is
    /// opened again, as after a failure of the store: opening makes the state again without what is
    /// from the future.
    #[error(
        "the clock of this machine was {ahead_ms} ms ahead of what it shows now: what was saved then \
         is held until its time comes, and the state is made again without it"
    )]
    Ahead {
        /// How far ahead it was, in milliseconds.
        ahead_ms: u64,
    },
    /// Saves of this replica's own are from the future, and are held as those of others would be.
    #[error(
        "{count} saves of this replica's own origin {origin} in `{}` were made while its clock was \
         ahead, and are held until {until}; `leveret repair-clock` saves them again as of now",
        repo.name()
    )]
    OwnHeld {
        /// The repository.
        repo: RepoId,
        /// The origin.
        origin: OriginId,
        /// How many.
        count: u64,
        /// When the last of them is applied.
        until: Timestamp,
    },
    /// This machine's clock is far behind what the replica has seen, and probably wrong: it goes on
    /// above that.
    #[error(
        "the clock of this machine is {behind_ms} ms behind the newest that this replica has applied, \
         and is not believed; set it right, or if it is right now, run `leveret repair-clock \
         --clock-is-right`"
    )]
    Behind {
        /// How far behind it is, in milliseconds.
        behind_ms: u64,
    },
    /// A save was to be saved again, and is too large for that by some bytes.
    #[error("the save {id} is too large to be saved again, and does not count any more")]
    NotAgain {
        /// Its id.
        id: ChangeSetId,
    },
    /// An origin of this replica's own was closed, and not all is here that is to be saved again, or
    /// that this had seen.
    #[error(
        "what this replica saved in `{}` while its clock was ahead is closed, and not all of it, or of \
         what it had seen, is here: others are asked for that; until it has come, or another copy of \
         the directory has saved it again as {origin}, it does not count",
        repo.name()
    )]
    AgainLacking {
        /// The repository.
        repo: RepoId,
        /// Under which origin it would be saved again.
        origin: OriginId,
    },
    /// What was closed can not be saved again (to the end) in this life.
    #[error(
        "what this replica saved in `{}` while its clock was ahead is closed, and can not be saved \
         again as {origin} ({reason}); `leveret verify` may tell more",
        repo.name()
    )]
    AgainStopped {
        /// The repository.
        repo: RepoId,
        /// Under which origin it would be saved again.
        origin: OriginId,
        /// What is wrong.
        reason: String,
    },
    /// The store failed: nothing is written any more until it is opened again.
    #[error("the store failed, and nothing is saved any more: {0}")]
    Storage(StorageError),
}
