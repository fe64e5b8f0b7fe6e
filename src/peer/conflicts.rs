//! Conflicts, beyond what the state says of them: how many are open, and what was lost.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::change_sets::ChangeSets;
use super::error::LogError;
use crate::merge::{ReadError, Snapshot};
use crate::model::{Conflict, ConflictItem, ConflictKind, Dependency, Operation, RepoId};

/// How many conflicts are open, counted once for each state.
#[derive(Debug, Default)]
pub(super) struct OpenConflicts {
    /// The frontier tells what was applied; equal digests do not, of what lies under a newer write.
    counted: Mutex<BTreeMap<RepoId, (Vec<Dependency>, u64)>>,
}

impl OpenConflicts {
    /// How many a state has.
    ///
    /// # Errors
    /// If they can not be read.
    pub(super) fn count(&self, state: &Snapshot) -> Result<u64, ReadError> {
        let (repo, applied) = (state.repo(), state.frontier());
        let counted = || self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, count)) = counted().get(&repo)
            && of == applied
        {
            return Ok(*count);
        }
        let count = state.conflicts()?.len() as u64;
        counted().insert(repo, (applied.to_vec(), count));
        Ok(count)
    }
}

impl ChangeSets {
    /// What the losing change set of a conflict did to the node and item that it lost: its
    /// operations, as they were saved. Of a voided one that is all of them.
    ///
    /// # Errors
    /// If the journal can not be read.
    pub fn lost(&mut self, conflict: &Conflict) -> Result<Vec<Operation>, LogError> {
        let Some(set) = self.get(conflict.loser)? else {
            return Ok(Vec::new());
        };
        let operations = set.operations.iter().enumerate();
        Ok(operations
            .filter(|(index, operation)| {
                conflict.kind == ConflictKind::Voided
                    || (operation.node(set.stamp(*index)) == conflict.node
                        && wrote(operation, conflict))
            })
            .map(|(_, operation)| operation.clone())
            .collect())
    }
}

/// Whether an operation on the node wrote what a conflict is about.
fn wrote(operation: &Operation, conflict: &Conflict) -> bool {
    match &conflict.item {
        ConflictItem::Property(name) => match operation {
            Operation::Set { property, .. }
            | Operation::Unset { property, .. }
            | Operation::Inc { property, .. } => property == name,
            _ => false,
        },
        ConflictItem::Order => matches!(operation, Operation::Order { .. }),
        // A name clashes where its node is, so what moved that there lost it too.
        ConflictItem::Name => {
            matches!(operation, Operation::Rename { .. })
                || matches!(operation, Operation::Move { name, .. }
                    if name.is_some() || conflict.kind == ConflictKind::NameClash)
                || is_add(operation)
        }
        ConflictItem::Parent => {
            matches!(operation, Operation::Move { .. } | Operation::Remove { .. })
        }
        _ => is_add(operation) || matches!(operation, Operation::Remove { .. }),
    }
}

fn is_add(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Add { .. } | Operation::AddUnique { .. }
    )
}
