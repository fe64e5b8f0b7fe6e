//! Whether one author had seen what another wrote (M2), asked often in one pass.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::merge::fault::{Fault, on};
use crate::merge::seen::Knowledge;
use crate::merge::view::{ReadError, View};
use crate::model::{ChangeSetId, OriginId, Time};

pub(super) struct Unseen<'a> {
    /// The pass's own change sets.
    new: &'a BTreeSet<ChangeSetId>,
    /// What authors had seen, as far as it was asked for.
    asked: RefCell<BTreeMap<ChangeSetId, Knowledge>>,
}

impl<'a> Unseen<'a> {
    pub(super) fn new(new: &'a BTreeSet<ChangeSetId>) -> Self {
        Self {
            new,
            asked: RefCell::default(),
        }
    }

    /// Whether a change set is one of the pass's own: nothing is known of it from before.
    pub(super) fn is_new(&self, id: ChangeSetId) -> bool {
        self.new.contains(&id)
    }

    /// Whether the author of `by` had not seen `what`. One's own is never unseen.
    pub(super) fn is(
        &self,
        view: &dyn View,
        by: ChangeSetId,
        what: ChangeSetId,
    ) -> Result<bool, ReadError> {
        Ok(on(Fault::SeenReported) || what.time > self.seen_up_to(view, by, what.origin)?)
    }

    /// Up to what time the author of `by` had seen an origin.
    pub(super) fn seen_up_to(
        &self,
        view: &dyn View,
        by: ChangeSetId,
        origin: OriginId,
    ) -> Result<Time, ReadError> {
        if by.origin == origin {
            return Ok(by.time);
        }
        let mut asked = self.asked.borrow_mut();
        let known = asked.entry(by).or_insert_with(|| Knowledge::of(by));
        known.up_to(view, origin)
    }
}
