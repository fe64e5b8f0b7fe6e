//! Removals: what goes, and what is handed back because its mover was unseen (M7, M8).

use std::collections::BTreeSet;

use super::{Author, Effects, End, Evaluator, placed_at, way_up};
use crate::codec::record::{How, NodeRecord, ParentWrite};
use crate::codec::state_key as key;
use crate::merge::fault::{Fault, on};
use crate::merge::view::{self, ReadError, View};
use crate::model::{ChangeSetId, NodeId, Stamp, Time};

/// From so many nodes on that unseen change sets moved, what is below the removed node is looked at
/// instead.
/// Both are small in test builds, so that small histories meet every way.
const MOVED_FEW: usize = if cfg!(feature = "faults") { 1 } else { 16 };
/// If that is at most so many nodes.
const BELOW_FEW: usize = if cfg!(feature = "faults") { 4 } else { 256 };
/// Rows of the index of causes read at a time.
const CAUSES_PAGE: usize = 512;

/// A node below the removed one that has to be handed back.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HandBack {
    /// Steps from it up to the removed node: the nearest goes first.
    distance: usize,
    /// The write, or skipped move, for which it goes back: breaks ties.
    because: Stamp,
    /// Breaks what ties are left: two that one removal handed back.
    node: NodeId,
    /// What the hand-back undoes, for later removals to ask about.
    cause: Stamp,
}

impl Evaluator<'_, '_> {
    /// M7 and M8.
    pub(super) fn remove(
        &mut self,
        node: NodeId,
        stamp: Stamp,
        author: &Author,
    ) -> Result<Effects, ReadError> {
        let mut effects = Effects::default();
        let way = self.look_up(node, stamp)?;
        if node == NodeId::ROOT || way.end == End::Unknown {
            return Ok(Effects::unknown(node)); // M12
        }
        let record = view::node(self.overlay, node)?.expect("a node on a way up has a record");
        let parent = placed_at(&record, stamp).expect("it is known").parent;
        if parent == NodeId::TRASH && !on(Fault::RemovedAgain) {
            return Ok(effects);
        }
        let trashed_above = way.end == End::Trash;
        if trashed_above && on(Fault::BuriedIgnored) {
            return Ok(effects);
        }
        for back in self.hand_backs(node, stamp, author)? {
            let way = self.look_up(back.node, stamp)?;
            if !way.passes(node) {
                continue; // one above it has been handed back meanwhile
            }
            let place = if trashed_above && !on(Fault::HandBackOutOfTrash) {
                parent
            } else {
                self.earlier_place(back.node, node, stamp, author)?
                    .unwrap_or(parent)
            };
            let how = How::HandBack { cause: back.cause };
            self.place(&mut effects, back.node, stamp, place, how)?;
            self.counters.handed_back += 1;
        }
        self.place(&mut effects, node, stamp, NodeId::TRASH, How::Remove)?;
        Ok(effects)
    }

    /// What lies below `node` at a stamp and was moved there unseen, or was believed elsewhere:
    /// nearest first. The ways up from these are remembered as looked at.
    pub(super) fn hand_backs(
        &mut self,
        node: NodeId,
        at: Stamp,
        author: &Author,
    ) -> Result<BTreeSet<HandBack>, ReadError> {
        let mut backs = BTreeSet::new();
        for candidate in self.moved_unseen(node, at, author)? {
            let Some(record) = view::node(self.overlay, candidate)? else {
                continue;
            };
            let Some((because, cause)) = self.reason(&record, at, author)? else {
                continue;
            };
            let way = way_up(self.overlay, candidate, at)?;
            match way.position(node) {
                None | Some(0) => {}
                Some(_) if on(Fault::HandBackForgotten) => {}
                Some(distance) => {
                    self.touch_way(&way, at)?;
                    let far = on(Fault::FarthestFirst);
                    backs.insert(HandBack {
                        distance: if far { usize::MAX - distance } else { distance },
                        because,
                        node: candidate,
                        cause,
                    });
                }
            }
        }
        Ok(backs)
    }

    /// Nodes below `node` at a stamp, and perhaps others, among which are all of those there of
    /// which an unseen change set wrote, or hindered, a parent.
    ///
    /// They are the nodes that unseen change sets moved, or those that are below: whichever are few.
    fn moved_unseen(
        &self,
        node: NodeId,
        at: Stamp,
        author: &Author,
    ) -> Result<BTreeSet<NodeId>, ReadError> {
        let moved = self.moved_by_unseen(author, MOVED_FEW)?;
        if moved.len() < MOVED_FEW {
            return Ok(moved);
        }
        match self.below(node, at, BELOW_FEW)? {
            Some(below) => Ok(below),
            None => self.moved_by_unseen(author, usize::MAX),
        }
    }

    /// Nodes of which an unseen change set wrote, or hindered, a parent; if there are `limit` or
    /// more, at least so many of them.
    fn moved_by_unseen(
        &self,
        author: &Author,
        limit: usize,
    ) -> Result<BTreeSet<NodeId>, ReadError> {
        let repo = self.overlay.repo();
        let mut nodes = BTreeSet::new();
        for (origin, newest) in self.causes {
            let seen = author.seen_up_to(self.overlay, *origin)?;
            if *newest <= seen {
                continue;
            }
            let mut from = key::causes_from(repo, *origin, Time(seen.0 + 1));
            let to = key::causes_from(repo, *origin, Time(author.id.time.0.saturating_add(1)));
            loop {
                let page = limit.min(CAUSES_PAGE);
                let rows = self.overlay.scan(&from, &to, page)?;
                nodes.extend(rows.iter().filter_map(|(key, _)| key::cause_of(key)));
                if nodes.len() >= limit {
                    return Ok(nodes);
                }
                match rows.last() {
                    Some((last, _)) if rows.len() == page => {
                        from.clone_from(last);
                        from.push(0);
                    }
                    _ => break,
                }
            }
        }
        Ok(nodes)
    }

    /// Everything below a node at a stamp; nothing if that takes looking at more than `limit` nodes
    /// that are there, or were once.
    fn below(
        &self,
        node: NodeId,
        at: Stamp,
        limit: usize,
    ) -> Result<Option<BTreeSet<NodeId>>, ReadError> {
        let mut below = BTreeSet::new();
        let mut open = vec![node];
        let mut looked_at = 0;
        while let Some(parent) = open.pop() {
            let Some(ever) = self.few_ever_below(parent, limit - looked_at)? else {
                return Ok(None);
            };
            looked_at += ever.len();
            for child in ever {
                let record = view::node(self.overlay, child)?;
                let place = record.as_deref().and_then(|record| placed_at(record, at));
                if place.is_some_and(|write| write.parent == parent) && below.insert(child) {
                    open.push(child);
                }
            }
        }
        Ok(Some(below))
    }

    /// Why a node below a removed one has to be handed back, if so: the write or skipped move that
    /// breaks ties, and the cause to remember.
    fn reason(
        &self,
        record: &NodeRecord,
        stamp: Stamp,
        author: &Author,
    ) -> Result<Option<(Stamp, Stamp)>, ReadError> {
        let Some(newest) = placed_at(record, stamp) else {
            return Ok(None);
        };
        // (a) the newest parent write is an unseen move, or a hand-back of one
        let cause = match newest.how {
            How::Move => Some(newest.stamp),
            How::HandBack { cause } if !on(Fault::HandBackOnlyOnce) => Some(cause),
            _ => None,
        };
        if let Some(cause) = cause
            && self.is_unseen(cause.id, author)?
        {
            return Ok(Some((newest.stamp, cause)));
        }
        // (b) the remover believed it elsewhere: a skipped move that it knew of
        let position = record.skips.partition_point(|skip| skip.stamp <= stamp);
        let Some(skip) = record.skips[..position].last() else {
            return Ok(None);
        };
        let holds = !on(Fault::VainMoveForgotten)
            && (skip.stamp > newest.stamp || on(Fault::VainMoveOutlives))
            && author.has_seen(self.overlay, skip.stamp.id)?
            && self.is_unseen(skip.reason.id, author)?;
        Ok(holds.then_some((skip.stamp, skip.reason)))
    }

    /// The first earlier place that a node can go back to.
    fn earlier_place(
        &mut self,
        node: NodeId,
        removed: NodeId,
        stamp: Stamp,
        author: &Author,
    ) -> Result<Option<NodeId>, ReadError> {
        let record = view::node(self.overlay, node)?.expect("a node on a way up has a record");
        let position = record.parents.partition_point(|write| write.stamp <= stamp);
        for write in record.parents[..position].iter().rev() {
            if write.parent != NodeId::TRASH {
                let way = self.look_up(write.parent, stamp)?;
                if way.end == End::Root && !way.passes(removed) && !way.passes(node) {
                    return Ok(Some(write.parent));
                }
            }
            if !self.is_unseen_write(write, author)? && !on(Fault::HandBackLooksOn) {
                break;
            }
        }
        Ok(None)
    }

    fn is_unseen_write(&self, write: &ParentWrite, author: &Author) -> Result<bool, ReadError> {
        let by = match write.how {
            How::Add | How::ComeBack | How::Emptied | How::Move => write.stamp,
            How::HandBack { cause } => cause,
            How::Remove => return Ok(false),
        };
        self.is_unseen(by.id, author)
    }

    fn is_unseen(&self, id: ChangeSetId, author: &Author) -> Result<bool, ReadError> {
        Ok(!author.has_seen(self.overlay, id)?)
    }
}
