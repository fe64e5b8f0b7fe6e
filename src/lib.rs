//! leveret: a replicated store for trees of nodes with properties.
//!
//! Every machine runs a *peer* with a full copy on its own disk. Every peer takes writes at any
//! time, connected or not; each *save* is one *change set*, whole; peers pass change sets on to
//! one another, and one that arrives late is merged as if it had been applied in its place in
//! time. When the same change sets have been applied everywhere, every copy is the same, down to
//! the digest.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! use leveret::{Peer, PeerOptions};
//!
//! let peer = Peer::open(directory.path(), PeerOptions::default()).await?;
//! let mut session = peer.session();
//! session.add("/hares")?;
//! session.set("/hares", "count", 3)?;
//! let receipt = session.save().await?;
//! # assert_eq!(peer.session().get("/hares", "count")?, Some(leveret::Value::Int(3)));
//! # assert_eq!(receipt.sequence.0, 1);
//! # Ok(peer.close().await?)
//! # }
//! ```
//!
//! Where to look:
//!
//! - [`Peer`] opens a directory, and hands out the rest: a [`Session`] reads one state, gathers
//!   operations and saves them; a [`Snapshot`] only reads, through [`ReadTree`]; an [`Observer`]
//!   hears of commits; a [`Log`] walks back through history.
//! - Nothing is lost silently: [`Session::conflicts`] lists what was written and is not there,
//!   [`ReadTree::explain`] says why a node is as it is, [`Session::restore`] takes something out of
//!   the trash, which [`ReadTree::trash`] lists.
//! - [`PeerOptions`] says where to listen, whom to join, when a save is acknowledged.
//! - [`Value`], [`NodePath`], [`NodeId`], [`ChangeSetId`] and their like are in [`model`].
//! - `examples/embedded.rs` and `examples/two_peers.rs` show a peer at work, and two.
//!
//! The floors below the peer do no input or output of their own, and are public for tests,
//! simulators and tools: [`merge`], [`replica`], [`storage`], [`codec`]. Without the feature
//! `net` they are all there is.

#[cfg(feature = "daemon")]
pub mod api;
#[cfg(feature = "daemon")]
pub mod cli;
pub mod codec;
// Public for the faults of other crates.
#[doc(hidden)]
pub mod fault;
pub mod merge;
pub mod model;
#[cfg(feature = "net")]
pub mod net;
#[cfg(feature = "net")]
pub mod peer;
pub mod replica;
pub mod storage;

pub use merge::{
    Change, ChangedItem, Child, ChildCursor, Draft, DraftError, Explanation, Heads, Item,
    ItemHistory, ItemValue, NodeInfo, Outcome, ReadError, ReadTree, Snapshot, StateDigest,
    ToldWrite, TrashCursor, Trashed, Wrote,
};
pub use model::script::Place;
pub use model::{
    ChangeSetId, ClusterId, Conflict, ConflictId, ConflictItem, ConflictKind, NodeId, NodeName,
    NodePath, OriginId, PropertyName, PublicKey, RepoId, Sequence, Timestamp, Value,
};
#[cfg(feature = "net")]
pub use peer::{
    BackupError, BackupReport, ChangeSetInfo, ChangeSets, ClockRepair, ClockRepairError,
    CloseError, ClosedOrigin, CommitEvent, CreateTokenError, Durability, Event, ImportError,
    ImportFailure, ImportReport, JoinError, JoinToken, Log, LogEntry, LogError, Observer,
    OpenError, Peer, PeerInfo, PeerOptions, PeerStatus, Receipt, RepairAnyway, RepairError,
    RepairedOrigin, RepoStatus, SaveError, Session, SessionError, Target, TreeFormat, WaitError,
};
