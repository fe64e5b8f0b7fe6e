//! Whether one author had seen what another wrote (M2), asked often in one pass.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::merge::fault::{Fault, on};
use crate::merge::seen::{self, Knowledge};
use crate::merge::view::{ReadError, View};
use crate::model::{ChangeSetId, OriginId, Time};

pub(super) struct Unseen<'a> {
    /// What the authors of the pass's own change sets had seen.
    known: &'a BTreeMap<ChangeSetId, Arc<Knowledge>>,
    /// What was looked up of others.
    asked: RefCell<BTreeMap<(ChangeSetId, OriginId), Time>>,
}

impl<'a> Unseen<'a> {
    pub(super) fn new(known: &'a BTreeMap<ChangeSetId, Arc<Knowledge>>) -> Self {
        Self {
            known,
            asked: RefCell::default(),
        }
    }

    /// Whether a change set is one of the pass's own: nothing is known of it from before.
    pub(super) fn is_new(&self, id: ChangeSetId) -> bool {
        self.known.contains_key(&id)
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
        if let Some(known) = self.known.get(&by) {
            return Ok(known.get(&origin).copied().unwrap_or_default());
        }
        if let Some(time) = self.asked.borrow().get(&(by, origin)) {
            return Ok(*time);
        }
        let time = seen::seen_of(view, by, origin)?;
        self.asked.borrow_mut().insert((by, origin), time);
        Ok(time)
    }
}
