//! Change sets of earlier passes, as far as a pass has to look at them again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::codec::record::{Record, StructuralRecord};
use crate::codec::state_key as key;
use crate::merge::fault::{Fault, on};
use crate::merge::view::{ReadError, View};
use crate::model::{ChangeSetId, Stamp};

/// Structural records read at a time.
const PAGE: usize = 256;

/// Up to where earlier operations have to be evaluated again.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    /// All of them.
    pub(super) all: Stamp,
    /// Removals, and what else their change sets do.
    pub(super) removals: Stamp,
}

impl Reach {
    fn end(&self) -> ChangeSetId {
        self.all.max(self.removals).id
    }

    fn covers(&self, id: ChangeSetId, removes: bool) -> bool {
        id <= self.all.id || (removes && id <= self.removals.id && !on(Fault::RemovalsOnce))
    }
}

/// Change sets of earlier passes, in order of ids, as far as they have to be looked at again.
pub(super) struct Earlier {
    page: VecDeque<(ChangeSetId, Arc<StructuralRecord>)>,
    /// Up to where the structural log has been read, or need not be.
    read_up_to: ChangeSetId,
}

impl Earlier {
    pub(super) fn after(id: ChangeSetId) -> Self {
        Self {
            page: VecDeque::new(),
            read_up_to: id,
        }
    }

    /// Everything up to `id` is behind.
    pub(super) fn passed(&mut self, id: ChangeSetId) {
        if self.page.is_empty() {
            self.read_up_to = self.read_up_to.max(id);
        }
    }

    /// The next one within reach and before `before`. What lies beyond that is not decided yet:
    /// the reach can still grow.
    pub(super) fn next(
        &mut self,
        view: &dyn View,
        reach: Reach,
        before: ChangeSetId,
        new: &BTreeSet<ChangeSetId>,
    ) -> Result<Option<(ChangeSetId, Arc<StructuralRecord>)>, ReadError> {
        loop {
            while let Some((id, _)) = self.page.front() {
                if *id > reach.end() || *id > before {
                    return Ok(None);
                }
                let (id, record) = self.page.pop_front().expect("there is a front");
                if reach.covers(id, record.removes) {
                    return Ok(Some((id, record)));
                }
            }
            if reach.end() <= self.read_up_to || before <= self.read_up_to {
                return Ok(None);
            }
            let mut from = key::structural(view.repo(), self.read_up_to);
            from.push(0);
            let mut to = key::structural(view.repo(), reach.end());
            to.push(0);
            let rows = view.scan(&from, &to, PAGE)?;
            self.read_up_to = match rows.last() {
                Some((key, _)) if rows.len() == PAGE => {
                    key::structural_of(key).expect("a structural key holds an id")
                }
                _ => reach.end(),
            };
            for (key, record) in rows {
                let id = key::structural_of(&key).expect("a structural key holds an id");
                if let Record::Structural(record) = record
                    && !new.contains(&id)
                {
                    self.page.push_back((id, record));
                }
            }
        }
    }
}
