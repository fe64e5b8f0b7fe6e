//! Conflicts, beyond what the state says of them: how many are open, and what was lost.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::change_sets::ChangeSets;
use super::error::LogError;
use crate::merge::{ReadError, Snapshot};
use crate::model::{Conflict, Dependency, Operation, RepoId};

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
    /// What the losing change set of a conflict did to the node and item that it lost, as
    /// [`Conflict::lost_in`] tells; nothing if it is not in the journal yet.
    ///
    /// # Errors
    /// If the journal can not be read.
    pub fn lost(&mut self, conflict: &Conflict) -> Result<Vec<Operation>, LogError> {
        let set = self.get(conflict.loser)?;
        let lost = set.as_deref().map(|set| conflict.lost_in(set).cloned());
        Ok(lost.into_iter().flatten().collect())
    }
}
