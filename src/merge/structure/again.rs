//! Whether an operation that has been evaluated before comes out as it did.
//!
//! Most that are evaluated again do. That can be told with what they came to still in the records,
//! which saves taking it out and putting it back, and everything that would have to be compared
//! afterwards. Whatever is not simple is left to be evaluated.

use super::{Author, End, Evaluator, placed_at, way_up};
use crate::codec::record::{How, NodeRecord};
use crate::merge::fault::{Fault, on};
use crate::merge::view::{self, ReadError};
use crate::model::{ChangeSetId, NodeId, Operation, OriginId, Stamp, Time};

impl Evaluator<'_, '_> {
    /// Whether an operation that wrote no parent but its own node's would come to just that again.
    /// If so, everything that it looks at is remembered, as evaluating does. False means that nobody
    /// knows yet.
    pub(crate) fn stays(
        &mut self,
        operation: &Operation,
        stamp: Stamp,
        author: &Author,
    ) -> Result<bool, ReadError> {
        let node = operation.node(stamp);
        let Some(record) = view::node(self.overlay, node)? else {
            return Ok(false);
        };
        match operation {
            Operation::Add { parent, .. } | Operation::AddUnique { parent, .. } => {
                // Without this write it would be unknown, and so it is made again.
                let first = record.parents.first();
                let made = first.is_some_and(|first| (first.stamp, first.how) == (stamp, How::Add));
                Ok(made && self.is_known(*parent, stamp)?)
            }
            Operation::Move { parent, .. } => self.move_stays(node, &record, *parent, stamp),
            Operation::Remove { .. } => self.removal_stays(node, &record, stamp, author),
            _ => Ok(false),
        }
    }

    fn move_stays(
        &mut self,
        node: NodeId,
        record: &NodeRecord,
        parent: NodeId,
        stamp: Stamp,
    ) -> Result<bool, ReadError> {
        let moved = own_write(record, stamp).is_some_and(|how| how == How::Move);
        let known = record
            .parents
            .first()
            .is_some_and(|first| first.stamp < stamp);
        if !moved || !known {
            return Ok(false);
        }
        // It stays moved if its parent is live and not below it.
        let mut at = parent;
        while at != NodeId::ROOT {
            if at == NodeId::TRASH || at == node {
                return Ok(false);
            }
            self.touch(at, stamp)?;
            let above = view::node(self.overlay, at)?;
            match above.as_deref().and_then(|above| placed_at(above, stamp)) {
                Some(write) => at = write.parent,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn removal_stays(
        &mut self,
        node: NodeId,
        record: &NodeRecord,
        stamp: Stamp,
        author: &Author,
    ) -> Result<bool, ReadError> {
        if own_write(record, stamp) != Some(How::Remove) || on(Fault::RemovedAgain) {
            return Ok(false);
        }
        // The tree without this removal is that just before it.
        let before = just_before(stamp);
        let way = way_up(self.overlay, node, before)?;
        if way.end == End::Unknown {
            return Ok(false);
        }
        let is_trashed =
            placed_at(record, before).is_none_or(|write| write.parent == NodeId::TRASH);
        if is_trashed || !self.hand_backs(node, before, author)?.is_empty() {
            return Ok(false);
        }
        for (node, _) in &way.nodes {
            self.touch(*node, stamp)?;
        }
        Ok(true)
    }
}

/// How a node's own record says that its parent was written at a stamp.
fn own_write(record: &NodeRecord, stamp: Stamp) -> Option<How> {
    let found = record
        .parents
        .binary_search_by(|write| write.stamp.cmp(&stamp));
    found.ok().map(|position| record.parents[position].how)
}

/// The greatest stamp that is smaller.
fn just_before(stamp: Stamp) -> Stamp {
    if let Some(index) = stamp.index.checked_sub(1) {
        return Stamp { index, ..stamp };
    }
    let (time, origin) = (stamp.id.time, u128::from_be_bytes(stamp.id.origin.0));
    let (time, origin) = match origin.checked_sub(1) {
        Some(origin) => (time, origin),
        None => (Time(time.0.saturating_sub(1)), u128::MAX),
    };
    let origin = OriginId(origin.to_be_bytes());
    Stamp {
        id: ChangeSetId { time, origin },
        index: u32::MAX,
    }
}
