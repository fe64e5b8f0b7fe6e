//! One pass: everything that is ready goes into the state at once.
//!
//! First what each change set had seen is noted ([`seen`]), then the register writes go to their
//! places, then the structural operations are evaluated in order of their stamps. A new one that
//! changes where a node was at its stamp can change how newer ones come out: those that looked at
//! that node's place since (each node remembers the newest), and removals, which look at what lies
//! below. Only operations up to the newest such one are evaluated again, once each, in order. In
//! the end [`settle`] brings indexes and digest up to date and tells the net difference.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::counters::MergeCounters;
use super::seen::{self, Knowledge};
use super::settle::{self, Change};
use super::state::{Heads, Summary};
use super::structure::{Author, Effects, Evaluator, Seen};
use super::view::{self, Overlay, ReadError, View};
use super::{History, write};
use crate::codec::record::{How, Meta, NodeRecord, Record, StructuralRecord};
use crate::codec::state_key::{self as key, Key};
use crate::model::{
    ChangeSet, ChangeSetId, NodeId, Operation, OriginId, PropertyName, Sequence, Stamp,
};

/// Structural records read at a time.
const PAGE: usize = 256;

/// What a pass came to.
pub(crate) struct Outcome {
    pub(crate) changed: BTreeMap<Key, Option<Record>>,
    /// Keys of records that can not have been there before.
    pub(crate) fresh: BTreeSet<Key>,
    pub(crate) heads: Arc<Heads>,
    pub(crate) meta: Arc<Meta>,
    pub(crate) changes: Vec<Change>,
}

/// A pass over the records of a state.
pub(crate) struct Pass<'a> {
    overlay: Overlay<'a>,
    history: &'a dyn History,
    heads: Heads,
    meta: Meta,
    counters: MergeCounters,
    fresh: BTreeSet<Key>,
    /// Properties written, by node.
    written: BTreeMap<NodeId, BTreeSet<PropertyName>>,
    arrivals: BTreeMap<NodeId, BTreeSet<NodeId>>,
    reach: Reach,
}

/// Up to where earlier operations have to be evaluated again.
#[derive(Clone, Copy)]
struct Reach {
    /// All of them.
    all: Stamp,
    /// Removals, and what else their change sets do.
    removals: Stamp,
}

impl Reach {
    fn end(&self) -> ChangeSetId {
        self.all.max(self.removals).id
    }

    fn covers(&self, id: ChangeSetId, removes: bool) -> bool {
        id <= self.all.id || (removes && id <= self.removals.id)
    }
}

impl<'a> Pass<'a> {
    pub(crate) fn new(base: &'a dyn View, summary: &Summary, history: &'a dyn History) -> Self {
        Self {
            overlay: Overlay::new(base),
            history,
            heads: summary.heads.as_ref().clone(),
            meta: summary.meta.as_ref().clone(),
            counters: MergeCounters::from_stored(&summary.meta.counters),
            fresh: BTreeSet::new(),
            written: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            reach: Reach {
                all: Stamp::MIN,
                removals: Stamp::MIN,
            },
        }
    }

    pub(crate) fn run(mut self, batch: &[Arc<ChangeSet>]) -> Result<Outcome, ReadError> {
        let mut sets: Vec<Arc<ChangeSet>> = batch.to_vec();
        sets.sort_by_key(|set| set.id);
        let newest_before = self
            .heads
            .values()
            .map(|head| head.time)
            .max()
            .unwrap_or_default();
        let by_sequence: BTreeMap<(OriginId, Sequence), Arc<ChangeSet>> = sets
            .iter()
            .map(|set| ((set.id.origin, set.sequence), set.clone()))
            .collect();
        let mut knowledge = BTreeMap::new();
        for set in &sets {
            let expected = self
                .heads
                .get(&set.id.origin)
                .map_or(Sequence(0), |h| h.sequence);
            assert_eq!(
                set.sequence,
                expected.next(),
                "an origin's change sets apply in order"
            );
            let seen = seen::note(
                &mut self.overlay,
                &mut self.heads,
                &mut self.meta.frontier,
                set,
                &by_sequence,
                self.history,
            )?;
            knowledge.insert(set.id, seen);
            self.counters.late += u64::from(set.id.time < newest_before);
        }
        self.counters.merges += 1;
        self.counters.change_sets += sets.len() as u64;
        for set in &sets {
            for (index, operation) in set.operations.iter().enumerate() {
                let stamp = set.stamp(index);
                if let Some((node, name)) = write::register(&mut self.overlay, operation, stamp)? {
                    self.written.entry(node).or_default().insert(name);
                }
            }
        }
        self.write_structure(&sets, &knowledge)?;
        self.counters.records_read += self.overlay.reads();
        let changes = settle::settle(
            &mut self.overlay,
            Some(&mut self.meta.digest),
            &mut self.counters,
            &self.written,
        )?;
        self.meta.counters = self.counters.to_stored();
        let meta = Arc::new(self.meta);
        self.overlay
            .put(key::meta(self.overlay.repo()), Record::Meta(meta.clone()));
        Ok(Outcome {
            changed: self.overlay.into_changed(),
            fresh: self.fresh,
            heads: Arc::new(self.heads),
            meta,
            changes,
        })
    }

    /// Evaluates the structural operations of `sets`, and again those of earlier ones that they
    /// can affect, in order of stamps.
    fn write_structure(
        &mut self,
        sets: &[Arc<ChangeSet>],
        knowledge: &BTreeMap<ChangeSetId, Arc<Knowledge>>,
    ) -> Result<(), ReadError> {
        let mut new: VecDeque<&Arc<ChangeSet>> =
            sets.iter().filter(|set| set.is_structural()).collect();
        let new_ids: BTreeSet<ChangeSetId> = new.iter().map(|set| set.id).collect();
        let Some(first) = new.front() else {
            return Ok(());
        };
        let mut earlier = Earlier::after(first.id);
        let mut rewound = false;
        loop {
            let next_new = new.front().map(|set| set.id);
            let before = next_new.unwrap_or(ChangeSetId::MAX);
            if let Some((id, record)) = earlier.next(&self.overlay, self.reach, before, &new_ids)? {
                let set = self.history.change_set(id.origin, record.sequence)?;
                assert_eq!(
                    set.id, id,
                    "the structural log names the journal's change sets"
                );
                rewound = true;
                self.evaluate(&set, Seen::Timelines, Some(record))?;
            } else if let Some(set) = new.pop_front() {
                earlier.passed(set.id);
                let seen = Seen::Known(knowledge[&set.id].clone());
                self.evaluate(set, seen, None)?;
            } else {
                break;
            }
        }
        self.counters.rewinds += u64::from(rewound);
        Ok(())
    }

    /// Evaluates a change set's structural operations, for the first time or again.
    fn evaluate(
        &mut self,
        set: &ChangeSet,
        seen: Seen,
        former: Option<Arc<StructuralRecord>>,
    ) -> Result<(), ReadError> {
        let author = Author { id: set.id, seen };
        let mut record = StructuralRecord {
            sequence: set.sequence,
            ..Default::default()
        };
        for (index, operation) in set.operations.iter().enumerate() {
            if !operation.is_structural() {
                continue;
            }
            let stamp = set.stamp(index);
            let own = operation.node(stamp);
            let before = match &former {
                None => Effects::default(),
                Some(former) => {
                    self.counters.reevaluated += 1;
                    let others = former
                        .others
                        .iter()
                        .find(|(other, _)| *other == stamp.index);
                    let others = others.map_or(&[][..], |(_, nodes)| nodes);
                    self.evaluator().take_effects(operation, stamp, others)?
                }
            };
            let after = self.evaluator().evaluate(operation, stamp, &author)?;
            if matches!(operation, Operation::Remove { .. }) {
                record.removes = true;
                self.meta.removal = self.meta.removal.max(stamp);
            }
            let others: Vec<NodeId> = after
                .parents
                .iter()
                .map(|(node, _)| *node)
                .filter(|node| *node != own)
                .collect();
            if !others.is_empty() {
                record.others.push((stamp.index, others));
            }
            if before != after {
                self.counters.revised += u64::from(former.is_some());
                self.follow(stamp, &before, &after)?;
            }
        }
        if former.as_deref() != Some(&record) {
            let key = key::structural(self.overlay.repo(), set.id);
            if former.is_none() {
                self.fresh.insert(key.clone());
            }
            self.overlay.put(key, Record::Structural(Arc::new(record)));
        }
        Ok(())
    }

    fn evaluator(&mut self) -> Evaluator<'_, 'a> {
        Evaluator {
            overlay: &mut self.overlay,
            arrivals: &mut self.arrivals,
            causes: &self.meta.causes,
            counters: &mut self.counters,
        }
    }

    /// Brings the index of causes up to date with changed effects, and finds how far newer
    /// operations can be affected.
    fn follow(&mut self, stamp: Stamp, before: &Effects, after: &Effects) -> Result<(), ReadError> {
        let repo = self.overlay.repo();
        let (old, new) = (causes(before), causes(after));
        for (cause, node) in old.difference(&new) {
            self.overlay.remove(key::cause(repo, *cause, *node, stamp));
        }
        for (cause, node) in new.difference(&old) {
            let newest = self.meta.causes.entry(cause.origin).or_default();
            *newest = (*newest).max(cause.time);
            self.overlay
                .put(key::cause(repo, *cause, *node, stamp), Record::Mark);
        }
        if before.skip != after.skip {
            self.reach.removals = self.reach.removals.max(self.meta.removal);
        }
        let moved = before
            .parents
            .iter()
            .filter(|write| !after.parents.contains(write));
        let moved = moved.chain(after.parents.iter().filter(|w| !before.parents.contains(w)));
        for (node, write) in moved {
            let record = view::node(&self.overlay, *node)?.unwrap_or_default();
            self.follow_emptied(stamp, write.parent, &record)?;
            let alone = record.parents.iter().all(|other| other.stamp == stamp);
            if alone && write.how == How::Add && view::node(self.overlay.base(), *node)?.is_none() {
                continue; // a new node: nobody can have looked at it
            }
            self.affect(*node, stamp, &record)?;
        }
        Ok(())
    }

    /// An add that brings a node back empties it of its children (M6): those of a parent that this
    /// node has come to, or gone from, as of `stamp`, until its next parent write.
    fn follow_emptied(
        &mut self,
        stamp: Stamp,
        written: NodeId,
        record: &NodeRecord,
    ) -> Result<(), ReadError> {
        let next = record.parents.partition_point(|other| other.stamp <= stamp);
        let until = record
            .parents
            .get(next)
            .map_or(Stamp::MAX, |write| write.stamp);
        let before = record.parents[..next]
            .iter()
            .rev()
            .find(|write| write.stamp < stamp);
        for parent in [Some(written), before.map(|write| write.parent)]
            .into_iter()
            .flatten()
        {
            let Some(parent) = view::node(&self.overlay, parent)? else {
                continue;
            };
            let emptied = parent.parents.iter().rev().find(|write| {
                write.how == How::ComeBack && write.stamp > stamp && write.stamp <= until
            });
            if let Some(emptied) = emptied {
                self.reach.all = self.reach.all.max(emptied.stamp);
            }
        }
        Ok(())
    }

    /// Newer operations may have looked at this node's place, which has changed as of `stamp`.
    fn affect(&mut self, node: NodeId, stamp: Stamp, record: &NodeRecord) -> Result<(), ReadError> {
        self.reach.removals = self.reach.removals.max(self.meta.removal);
        let next = record.parents.iter().find(|write| write.stamp > stamp);
        let touched = match self.overlay.get(&key::touched(self.overlay.repo(), node))? {
            Some(Record::Touched(touched)) => touched,
            _ => Stamp::MIN,
        };
        // From the node's next parent write on its place is what it was.
        let until = next.map_or(touched, |next| touched.min(next.stamp));
        if until > stamp {
            self.reach.all = self.reach.all.max(until);
        }
        if let Some(next) = next
            && matches!(next.how, How::Add | How::ComeBack | How::Emptied)
        {
            self.reach.all = self.reach.all.max(next.stamp);
        }
        Ok(())
    }
}

/// What the index of causes has to know of effects: unseen by a removal, they matter to it (M8).
fn causes(effects: &Effects) -> BTreeSet<(ChangeSetId, NodeId)> {
    let writes = effects
        .parents
        .iter()
        .filter_map(|(node, write)| match write.how {
            How::Move => Some((write.stamp.id, *node)),
            How::HandBack { cause } => Some((cause.id, *node)),
            _ => None,
        });
    writes
        .chain(
            effects
                .skip
                .iter()
                .map(|(node, skip)| (skip.reason.id, *node)),
        )
        .collect()
}

/// Change sets of earlier passes, in order of ids, as far as they have to be looked at again.
struct Earlier {
    page: VecDeque<(ChangeSetId, Arc<StructuralRecord>)>,
    /// Up to where the structural log has been read, or need not be.
    read_up_to: ChangeSetId,
}

impl Earlier {
    fn after(id: ChangeSetId) -> Self {
        Self {
            page: VecDeque::new(),
            read_up_to: id,
        }
    }

    /// Everything up to `id` is behind.
    fn passed(&mut self, id: ChangeSetId) {
        if self.page.is_empty() {
            self.read_up_to = self.read_up_to.max(id);
        }
    }

    /// The next one within reach and before `before`. What lies beyond that is not decided yet:
    /// the reach can still grow.
    fn next(
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
