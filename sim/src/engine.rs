//! A merge engine without a replica around it: change sets go in, and what it says is read.
//!
//! What is driven here is leveret's own [`State`], over any store; streams, signatures, clocks and
//! network are left out, so that a test decides what arrives when. [`Receiver`] adds the one thing
//! of a replica that merging cannot do without: what is not ready waits (M2), and what came before
//! is not taken again (M17).

mod convert;
mod fault;
mod log;
mod read;
mod receiver;

use std::sync::Arc;

use leveret::merge::{Checkpoint, Draft, Heads, MergeCounters, Merged, Snapshot, State};
use leveret::model::{ChangeSet, ChangeSetId, OriginId, RepoId, Sequence, Time};
use leveret::storage::Storage;
use leveret::storage::memory::MemoryStorage;

pub use convert::{from_spec, to_spec};
#[cfg(feature = "faults")]
pub use fault::ReceiverFault;
pub use log::Log;
pub use read::{Visible, VisibleNode, check_pages, orders, spec_children, spec_orders, tree};
pub use receiver::Receiver;

/// Bytes of clean records that an engine keeps in memory: few, so that the store is asked too.
const CACHE_BYTES: usize = 1 << 20;

/// One replica's merge engine.
///
/// A failing store is a broken test here, not an outcome: whatever reads or writes panics then.
pub struct Engine {
    /// The state that merging changes; published versions are what [`Engine::snapshot`] reads.
    pub state: Arc<State>,
    storage: Arc<dyn Storage>,
    history: Log,
}

impl Engine {
    /// An empty engine over a store in memory. Engines that exchange change sets share a history.
    pub fn new(history: Log) -> Self {
        Self::on(Arc::new(MemoryStorage::new()), history)
    }

    /// An engine over a store, with the state that the store's last checkpoint holds.
    ///
    /// # Panics
    /// If the store can not be read.
    pub fn on(storage: Arc<dyn Storage>, history: Log) -> Self {
        Self {
            state: open(&storage),
            storage,
            history,
        }
    }

    /// Merges change sets that are ready, as one batch in any order, and publishes the outcome.
    ///
    /// # Panics
    /// If the store can not be read, and where the engine finds one of its invariants broken.
    pub fn merge(&self, batch: &[Arc<ChangeSet>]) -> Merged {
        let merged = self.merge_unpublished(batch);
        self.state.publish(merged.version);
        merged
    }

    /// Merges change sets that are ready, and leaves it to the caller to publish.
    ///
    /// # Panics
    /// As [`Engine::merge`].
    pub fn merge_unpublished(&self, batch: &[Arc<ChangeSet>]) -> Merged {
        batch.iter().for_each(|set| self.history.add(set.clone()));
        self.state
            .merge(batch, &self.history)
            .expect("the store of a test can be read")
    }

    /// The state as last published.
    pub fn snapshot(&self) -> Snapshot {
        self.state.snapshot()
    }

    /// Whether everything that a change set depends on is applied, and it is not (M2, M17).
    pub fn is_ready(&self, set: &ChangeSet) -> bool {
        fits(set, |origin| applied(&self.state.heads(), origin))
    }

    /// What a change set is, of which this engine's author has written `draft`: the next one of
    /// `origin`, with what the draft's snapshot had seen. It is not merged.
    pub fn save(&self, draft: &Draft, time: u64, origin: OriginId) -> Arc<ChangeSet> {
        let id = ChangeSetId {
            time: Time(time),
            origin,
        };
        let (operations, _) = draft.finish(id);
        Arc::new(ChangeSet {
            repo: RepoId::MAIN,
            id,
            sequence: applied(&self.state.heads(), origin).next(),
            previous: Default::default(),
            birth: None,
            dependencies: draft
                .snapshot()
                .frontier()
                .iter()
                .copied()
                .filter(|dependency| dependency.origin != origin)
                .collect(),
            rules: 1,
            all_or_nothing: false,
            message: None,
            operations,
        })
    }

    /// Writes a checkpoint, if there is anything to write, and opens the state again from the
    /// store. Snapshots taken before go on reading the old one.
    ///
    /// # Panics
    /// If the store can not be read or written.
    pub fn restart(&mut self) {
        if let Some(checkpoint) = self.state.take_checkpoint() {
            self.write(checkpoint);
        }
        self.state = open(&self.storage);
    }

    /// Writes a checkpoint to the store.
    ///
    /// # Panics
    /// If it can not be written.
    pub fn write(&self, checkpoint: Checkpoint) {
        self.storage
            .checkpoint(&checkpoint.changes, &mut || Ok(()))
            .expect("the store of a test can be written");
        self.state.checkpoint_done(checkpoint);
    }

    /// What merging has come to so far.
    pub fn counters(&self) -> MergeCounters {
        self.state.counters()
    }
}

fn open(storage: &Arc<dyn Storage>) -> Arc<State> {
    State::open(RepoId::MAIN, storage.clone(), CACHE_BYTES)
        .expect("the store of a test can be read")
}

/// The sequence number of an origin's newest applied change set; 0 if there is none.
fn applied(heads: &Heads, origin: OriginId) -> Sequence {
    heads.get(&origin).map_or(Sequence(0), |head| head.sequence)
}

/// Whether a change set is the next one of its origin and all it depends on is applied.
fn fits(set: &ChangeSet, applied: impl Fn(OriginId) -> Sequence) -> bool {
    applied(set.id.origin).next() == set.sequence
        && set
            .dependencies
            .iter()
            .filter(|_| !fault::on(fault::ReceiverFault::BeforeDependencies))
            .all(|dependency| applied(dependency.origin) >= dependency.sequence)
}
