//! What leveret's engine makes of the history: which conflicts there are, what can be compared,
//! and the values that the naive store has to come to as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use leveret::merge::{ReadTree, Snapshot, WRITES_TOLD_MAX, Wrote};
use leveret::model::{ChangeSet, ChangeSetId, Conflict, ConflictItem, NodeId};

use super::write::{Outcome, Write};
use crate::engine::{Engine, Log};

/// Change sets that are merged at a time.
const BATCH: usize = 256;

/// What a failing read would break.
const READABLE: &str = "a store in memory can be read";

/// The engine with everything merged.
pub(super) struct Judge(Snapshot);

impl Judge {
    /// Merges a history.
    pub(super) fn of(sets: &[Arc<ChangeSet>]) -> Self {
        let engine = Engine::new(Log::default());
        for batch in sets.chunks(BATCH) {
            engine.merge(batch);
        }
        Self(engine.snapshot())
    }

    /// Whether a change set counts as if it had no operations (M13).
    pub(super) fn is_voided(&self, set: &ChangeSet) -> bool {
        set.all_or_nothing && self.0.is_voided(set.id).expect(READABLE)
    }

    /// The open conflicts.
    pub(super) fn conflicts(&self) -> BTreeSet<Conflict> {
        self.0.conflicts().expect(READABLE)
    }

    /// The nodes that were written to and can be compared.
    pub(super) fn compared(&self, sets: &[Arc<ChangeSet>], writes: &[Write]) -> BTreeSet<NodeId> {
        let mut first_written: BTreeMap<NodeId, ChangeSetId> = BTreeMap::new();
        for write in writes {
            first_written
                .entry(write.node)
                .or_insert(sets[write.set].id);
        }
        let nodes = first_written.into_iter();
        let compared = nodes.filter(|(node, written)| self.is_compared(*node, *written));
        compared.map(|(node, _)| node).collect()
    }

    /// Whether a node is in the tree, was there before anybody wrote to it, and never lost its
    /// properties by coming back from the trash.
    fn is_compared(&self, node: NodeId, written: ChangeSetId) -> bool {
        if node == NodeId::ROOT {
            return true;
        }
        if !self.0.is_visible(node).expect(READABLE) {
            return false;
        }
        let places = self
            .0
            .explain_item(node, &ConflictItem::Parent, WRITES_TOLD_MAX);
        let places = places.expect(READABLE);
        if places.left_out > 0 || places.uncounted {
            return false;
        }
        let is_emptied = |wrote: &Wrote| matches!(wrote, Wrote::CameBack(_) | Wrote::Emptied);
        let added = places
            .writes
            .iter()
            .filter(|write| matches!(write.wrote, Wrote::Added(_)));
        let was_there = added.map(|write| write.stamp.id).min();
        !places.writes.iter().any(|write| is_emptied(&write.wrote))
            && was_there.is_some_and(|added| added <= written)
    }

    /// Checks that the engine comes to the same values as a naive store.
    ///
    /// # Panics
    /// If it does not.
    pub(super) fn check_values(
        &self,
        writes: &[Write],
        compared: &BTreeSet<NodeId>,
        outcome: &Outcome,
    ) {
        for ((node, name), cell) in &outcome.properties {
            if compared.contains(node) {
                let value = self.0.property(*node, name).expect(READABLE);
                assert_eq!(
                    value,
                    cell.value(writes),
                    "M4, M5: {name} of the node {node}"
                );
            }
        }
    }
}
