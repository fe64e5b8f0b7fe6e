//! Change sets in; changed records and the net difference out.
//!
//! The state of a repository is a function of the set of change sets applied: take them in order of
//! their ids, and within each its operations in order, and apply one after the other to the empty
//! tree (M1). Nothing here ever does that. Every write is kept under its stamp, so
//!
//! - a late write to a *register* goes to its place among the others (`register`), and
//! - a late *structural* operation is evaluated against the tree *as it was at its stamp*, which
//!   the parent writes of the nodes still tell (`structure`); then only those newer operations
//!   are evaluated again that can come out differently, in order (`pass`).
//!
//! Merging computes and never commits: [`State`] keeps the outcome in memory as a new version, and
//! whoever owns it makes journal and checkpoints durable.
//!
//! Sources: Mueller, *Clustering for Jackrabbit 3*, solution B; Kleppmann et al., *A highly-available
//! move operation for replicated trees*; Bayou. The rules are those of `merge-spec/README.md`.

mod conflict;
mod counters;
mod digest;
mod draft;
mod explain;
mod fault;
mod overlay;
mod pass;
mod read;
mod register;
mod seen;
mod settle;
mod snapshot;
mod state;
mod structure;
mod trash;
mod view;
mod write;

use std::sync::Arc;

pub use counters::MergeCounters;
pub use digest::StateDigest;
pub use draft::{ChangedItem, Draft, DraftError, Item};
pub use explain::{
    Explanation, ItemHistory, ItemValue, Outcome, ToldWrite, WRITES_TOLD_MAX, Wrote,
};
#[cfg(feature = "faults")]
pub use fault::Fault;
pub use read::{Child, ChildCursor, NodeInfo, ReadTree};
pub(crate) use register::remembers;
pub use settle::Change;
pub use snapshot::Snapshot;
pub use state::{Checkpoint, Heads, Known, OLD_BYTES_MAX, State, Version};
pub use trash::{TrashCursor, TrashCursorError, Trashed};
pub use view::{ReadError, View};

use crate::model::{ChangeSet, ChangeSetId, OriginId, Sequence};
use crate::storage::StorageError;

/// Change sets that were merged before, for those that have to be evaluated again.
pub trait History {
    /// Any applied change set of the repository, whether it is durable yet or not.
    ///
    /// # Errors
    /// If it can not be read.
    fn change_set(
        &self,
        origin: OriginId,
        sequence: Sequence,
    ) -> Result<Arc<ChangeSet>, StorageError>;
}

/// What one pass came to.
#[derive(Debug)]
pub struct Merged {
    /// The version that it made.
    pub version: Version,
    /// The visible difference from the version before, net.
    pub changes: Vec<Change>,
    /// All-or-nothing change sets that are voided now and were not, or the contrary, in the order
    /// in which they were looked at (M13).
    pub voided: Vec<(ChangeSetId, bool)>,
    /// The state after it.
    pub snapshot: Snapshot,
}
