//! Dismissing conflicts (M14).

use std::collections::BTreeSet;

use super::{Draft, DraftError};
use crate::model::{Conflict, ConflictId, Operation};

impl Draft {
    /// Takes a conflict off the list of open ones, on every replica. Changes nothing else.
    ///
    /// # Errors
    /// If the author's view has no such open conflict; nothing has changed then.
    pub fn dismiss(&mut self, conflict: ConflictId) -> Result<(), DraftError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let all = self.snapshot.conflicts()?;
                BTreeSet::from_iter(all.iter().map(Conflict::id))
            }
        };
        let known = open.remove(&conflict);
        self.open = Some(open);
        if !known {
            return Err(DraftError::NoSuchConflict(conflict));
        }
        let dismissed = self.push(Operation::Dismiss { conflict });
        if dismissed.is_err() {
            self.open = None;
        }
        dismissed
    }
}
