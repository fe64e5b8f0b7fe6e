//! Reading history: the change sets of a repository, newest first.
//!
//! Each origin's part of the journal is in the order of its numbers and so of its ids (M15); this
//! merges them from their ends. What is stored and not applied (held, or waiting for others) is
//! not listed.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use super::change_sets::ChangeSets;
use super::error::LogError;
use crate::merge::{Heads, ReadTree, Snapshot};
use crate::model::{ChangeSet, ChangeSetId, NodeId, Operation, OriginId, PublicKey, Sequence};
use crate::storage::Storage;

/// Journal records that are read at a time of one origin.
const PAGE: u64 = 32;

/// How often, and how long each time, is waited for what is about to be written to the journal.
const WAITS_MAX: usize = 1_000;
const WAIT: Duration = Duration::from_millis(1);

/// One change set, as history tells it.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// Its id.
    pub id: ChangeSetId,
    /// Its number in its origin's stream.
    pub sequence: Sequence,
    /// The key of the replica that made it, if its origin's first change set is there.
    pub author: Option<PublicKey>,
    /// What its author had to say about it.
    pub message: Option<Arc<str>>,
    /// How many operations it has.
    pub operations: usize,
    /// Whether they have effect together or not at all (M13).
    pub all_or_nothing: bool,
    /// Whether they have none, in the state that the walk began with.
    pub voided: bool,
}

/// Walks through a repository's history, from a point back to its beginning.
pub struct Log {
    snapshot: Snapshot,
    sets: ChangeSets,
    heap: BinaryHeap<Newest>,
    /// What was read of each origin and not used yet, the newest at the end.
    pages: BTreeMap<OriginId, Vec<Arc<ChangeSet>>>,
    /// Only what touches this node or one below it.
    below: Option<NodeId>,
}

struct Newest(Arc<ChangeSet>);

impl PartialEq for Newest {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Newest {}

impl PartialOrd for Newest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Newest {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

impl Log {
    /// History as a snapshot has it, of the ids below `before`, of what touches `below`.
    ///
    /// # Errors
    /// If the journal can not be read.
    pub(super) fn new(
        snapshot: Snapshot,
        store: Arc<dyn Storage>,
        before: Option<ChangeSetId>,
        below: Option<NodeId>,
    ) -> Result<Self, LogError> {
        let heads: Heads = snapshot.heads().clone();
        let mut log = Self {
            sets: ChangeSets::new(snapshot.repo(), store),
            snapshot,
            heap: BinaryHeap::new(),
            pages: BTreeMap::new(),
            below: below.filter(|node| *node != NodeId::ROOT),
        };
        for (origin, head) in heads {
            let stored = log.wait_for(origin, head.sequence)?;
            let last = match before {
                Some(before) => log.sets.last_below(origin, stored, before)?,
                None => stored,
            };
            log.refill(origin, last)?;
        }
        Ok(log)
    }

    /// The next older change set, told in short; nothing after the oldest.
    ///
    /// # Errors
    /// If the journal can not be read.
    pub fn next_entry(&mut self) -> Result<Option<LogEntry>, LogError> {
        let Some(set) = self.next_change_set()? else {
            return Ok(None);
        };
        Ok(Some(LogEntry {
            id: set.id,
            sequence: set.sequence,
            author: self.sets.author(set.id.origin)?,
            message: set.message.clone(),
            operations: set.operations.len(),
            all_or_nothing: set.all_or_nothing,
            voided: set.all_or_nothing && self.snapshot.is_voided(set.id)?,
        }))
    }

    /// The next older change set; nothing after the oldest.
    ///
    /// # Errors
    /// If the journal can not be read.
    pub fn next_change_set(&mut self) -> Result<Option<Arc<ChangeSet>>, LogError> {
        while let Some(Newest(set)) = self.heap.pop() {
            let origin = set.id.origin;
            match self.pages.get_mut(&origin).and_then(Vec::pop) {
                Some(older) => self.heap.push(Newest(older)),
                None => self.refill(origin, Sequence(set.sequence.0 - 1))?,
            }
            if self.is_wanted(&set)? {
                return Ok(Some(set));
            }
        }
        Ok(None)
    }

    /// Reads the page of an origin that ends with `last`, and puts its newest on the heap.
    fn refill(&mut self, origin: OriginId, last: Sequence) -> Result<(), LogError> {
        if last.0 == 0 {
            return Ok(());
        }
        let first = Sequence(last.0.saturating_sub(PAGE - 1).max(1));
        let mut page = Vec::new();
        for sequence in first.0..=last.0 {
            page.push(self.sets.read(origin, Sequence(sequence))?);
        }
        let newest = page.pop().expect("a page has at least one change set");
        self.heap.push(Newest(newest));
        self.pages.insert(origin, page);
        Ok(())
    }

    /// The last number that is in the journal, up to `head`. In relaxed durability the state is
    /// ahead of the journal for the time of a commit: that is waited for. What a failed store
    /// keeps from ever coming is not listed.
    fn wait_for(&self, origin: OriginId, head: Sequence) -> Result<Sequence, LogError> {
        for _ in 0..WAITS_MAX {
            let stored = self.sets.last_stored(origin)?;
            if stored >= head {
                return Ok(head);
            }
            std::thread::sleep(WAIT);
        }
        Ok(self.sets.last_stored(origin)?.min(head))
    }

    fn is_wanted(&self, set: &ChangeSet) -> Result<bool, LogError> {
        let Some(below) = self.below else {
            return Ok(true);
        };
        for (index, operation) in set.operations.iter().enumerate() {
            let node = operation.node(set.stamp(index));
            let parent = match operation {
                Operation::Add { parent, .. }
                | Operation::AddUnique { parent, .. }
                | Operation::Move { parent, .. } => Some(*parent),
                _ => None,
            };
            for node in [Some(node), parent].into_iter().flatten() {
                if self.snapshot.lies_below(node, below)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
