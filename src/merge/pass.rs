//! One pass: everything that is ready goes into the state at once.
//!
//! First what each change set had seen is noted ([`seen`]), then the register writes go to their
//! places, then the structural operations are evaluated in order of their stamps. A new one that
//! changes where a node was at its stamp can change how newer ones come out: those that looked at
//! that node's place since (each node remembers the newest), and removals, which look at what lies
//! below. Only operations up to the newest such one are evaluated again, once each, in order. The
//! register writes of all-or-nothing change sets wait for that, since the set may be voided (M13).
//! In the end [`settle`] brings indexes and digest up to date and tells the net difference, and
//! [`conflict`] tells what was lost.

mod earlier;
mod follow;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use earlier::{Earlier, Reach};

use super::conflict;
use super::counters::MergeCounters;
use super::digest::{self, Term};
use super::fault::{Fault, on};
use super::overlay::{self, Overlay};
use super::seen::{self, Knowledge};
use super::settle::{self, Change};
use super::state::{Heads, Summary};
use super::structure::{Arrivals, Author, Effects, Evaluator, Seen};
use super::view::{self, ReadError, View};
use super::{History, write};
use crate::codec::record::{Meta, Record, StructuralRecord};
use crate::codec::state_key::{self as key, Key};
use crate::model::{
    ChangeSet, ChangeSetId, NodeId, Operation, OriginId, PropertyName, Sequence, Stamp,
};

/// What a pass came to.
pub(crate) struct Outcome {
    pub(crate) changed: BTreeMap<Key, overlay::Change>,
    pub(crate) heads: Arc<Heads>,
    pub(crate) meta: Arc<Meta>,
    pub(crate) changes: Vec<Change>,
    /// All-or-nothing change sets that are voided now and were not, or the contrary.
    pub(crate) voided: Vec<(ChangeSetId, bool)>,
}

/// A pass over the records of a state.
pub(crate) struct Pass<'a> {
    overlay: Overlay<'a>,
    history: &'a dyn History,
    heads: Heads,
    meta: Meta,
    counters: MergeCounters,
    /// Properties written, by node.
    written: Written,
    arrivals: Arrivals,
    reach: Reach,
    /// What evaluating came to, as far as it is new.
    evaluated: Vec<Evaluated>,
}

/// Properties written, by node, and the stamps of the writes.
pub(crate) type Written = BTreeMap<NodeId, BTreeMap<PropertyName, BTreeSet<Stamp>>>;

/// A change set whose operations came out differently from before.
pub(crate) struct Evaluated {
    pub(crate) set: Arc<ChangeSet>,
    /// Whether it was voided (M13); nothing if it has been evaluated for the first time.
    pub(crate) was_voided: Option<bool>,
    pub(crate) voided: bool,
    /// The effects of its operations, before and after; of those that changed.
    pub(crate) effects: Vec<(Stamp, Effects, Effects)>,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(base: &'a dyn View, summary: &Summary, history: &'a dyn History) -> Self {
        Self {
            overlay: Overlay::new(base),
            history,
            heads: summary.heads.as_ref().clone(),
            meta: summary.meta.as_ref().clone(),
            counters: MergeCounters::from_stored(&summary.meta.counters),
            written: BTreeMap::new(),
            arrivals: Arrivals::default(),
            reach: Reach {
                all: Stamp::MIN,
                removals: Stamp::MIN,
            },
            evaluated: Vec::new(),
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
        let ids: BTreeSet<ChangeSetId> = sets.iter().map(|set| set.id).collect();
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
            seen::note(
                &mut self.overlay,
                &mut self.heads,
                &mut self.meta.frontier,
                set,
                &by_sequence,
                self.history,
            )?;
            self.counters.late += u64::from(set.id.time < newest_before);
        }
        self.counters.merges += 1;
        self.counters.change_sets += sets.len() as u64;
        self.write_registers(&sets)?;
        self.evaluate_all(&sets)?;
        self.counters.records_read += self.overlay.reads();
        let nodes = self.overlay.written_nodes()?;
        let changes = settle::settle(
            &mut self.overlay,
            &nodes,
            Some(&mut self.meta.digest),
            &mut self.counters,
            &self.written,
        )?;
        let batch = conflict::Batch {
            sets: &sets,
            by_sequence: &by_sequence,
            ids: &ids,
            written: &self.written,
            evaluated: &self.evaluated,
            heads: &self.heads,
            removal: self.meta.removal,
        };
        conflict::derive(&mut self.overlay, &nodes, &batch, self.history)?;
        let voided = self.voided();
        self.meta.counters = self.counters.to_stored();
        let meta = Arc::new(self.meta);
        self.overlay
            .put(key::meta(self.overlay.repo()), Record::Meta(meta.clone()));
        Ok(Outcome {
            changed: self.overlay.into_changed(),
            heads: Arc::new(self.heads),
            meta,
            changes,
            voided,
        })
    }

    /// All-or-nothing change sets that were voided, or are no more, and could be seen otherwise.
    fn voided(&self) -> Vec<(ChangeSetId, bool)> {
        let changed = self
            .evaluated
            .iter()
            .filter(|evaluated| evaluated.was_voided.unwrap_or(false) != evaluated.voided)
            .filter(|evaluated| evaluated.voided || !on(Fault::StandingUntold));
        changed
            .map(|evaluated| (evaluated.set.id, evaluated.voided))
            .collect()
    }

    /// Puts what writes to registers alone in its place. All-or-nothing sets have to be evaluated
    /// first (M13).
    fn write_registers(&mut self, sets: &[Arc<ChangeSet>]) -> Result<(), ReadError> {
        let newest_atomic = sets.iter().rev().find(|set| set.all_or_nothing);
        if let Some(set) = newest_atomic {
            self.meta.atomic = self.meta.atomic.max(set.last_stamp());
        }
        let oldest = sets.first().map_or(ChangeSetId::MAX, |set| set.id);
        self.arrivals = Arrivals::new(self.meta.atomic.id >= oldest);
        for set in sets.iter().filter(|set| !set.all_or_nothing) {
            for (index, operation) in set.operations.iter().enumerate() {
                let stamp = set.stamp(index);
                self.write_register(operation, stamp)?;
                if let Operation::Rename { node, name } = operation {
                    let record = view::node(&self.overlay, *node)?.unwrap_or_default();
                    self.arrivals.named(*node, &record);
                    self.follow_names(stamp, *node, &record, &[], [name])?;
                }
            }
        }
        Ok(())
    }

    fn write_register(&mut self, operation: &Operation, stamp: Stamp) -> Result<(), ReadError> {
        let property = write::register(&mut self.overlay, operation, stamp)?;
        self.note_written(property, stamp);
        if let Operation::Dismiss { conflict } = operation {
            let term = Term::Dismissed(stamp, *conflict);
            digest::add(&mut self.meta.digest, NodeId::ROOT, &term);
        }
        Ok(())
    }

    fn erase_register(&mut self, operation: &Operation, stamp: Stamp) -> Result<(), ReadError> {
        write::erase(&mut self.overlay, operation, stamp)?;
        if let Operation::Dismiss { conflict } = operation {
            let term = Term::Dismissed(stamp, *conflict);
            digest::subtract(&mut self.meta.digest, NodeId::ROOT, &term);
        }
        Ok(())
    }

    fn note_written(&mut self, property: Option<(NodeId, PropertyName)>, stamp: Stamp) {
        if let Some((node, name)) = property {
            let properties = self.written.entry(node).or_default();
            properties.entry(name).or_default().insert(stamp);
        }
    }

    /// Evaluates the structural operations of `sets`, and again those of earlier ones that they
    /// can affect, in order of stamps.
    fn evaluate_all(&mut self, sets: &[Arc<ChangeSet>]) -> Result<(), ReadError> {
        let mut new: VecDeque<&Arc<ChangeSet>> = sets
            .iter()
            .filter(|set| set.all_or_nothing || set.is_structural())
            .collect();
        let new_ids: BTreeSet<ChangeSetId> = new.iter().map(|set| set.id).collect();
        let Some(first) = sets.first() else {
            return Ok(());
        };
        let mut earlier = Earlier::after(first.id);
        let mut rewound = false;
        loop {
            let next_new = new.front().map(|set| set.id);
            let before = next_new.unwrap_or(ChangeSetId::MAX);
            if rewound && on(Fault::OnlyOneAgain) {
                self.reach = Reach {
                    all: Stamp::MIN,
                    removals: Stamp::MIN,
                };
            }
            if let Some((id, record)) = earlier.next(&self.overlay, self.reach, before, &new_ids)? {
                let set = self.history.change_set(id.origin, record.sequence)?;
                assert_eq!(
                    set.id, id,
                    "the structural log names the journal's change sets"
                );
                rewound = true;
                self.evaluate(&set, Some(record))?;
            } else if let Some(set) = new.pop_front() {
                earlier.passed(set.id);
                self.evaluate(set, None)?;
            } else {
                break;
            }
        }
        self.counters.rewinds += u64::from(rewound);
        Ok(())
    }

    /// Evaluates a change set's structural operations, for the first time or again; all operations
    /// of an all-or-nothing one.
    fn evaluate(
        &mut self,
        set: &Arc<ChangeSet>,
        former: Option<Arc<StructuralRecord>>,
    ) -> Result<(), ReadError> {
        let author = Author {
            id: set.id,
            seen: Seen::Noted(Knowledge::of(set.id)),
        };
        let mut whole = true;
        let mut effects: Vec<(Stamp, Effects, Effects)> = Vec::new();
        for (index, operation) in set.operations.iter().enumerate() {
            let stamp = set.stamp(index);
            let needs_its_place = operation.is_structural()
                || (set.all_or_nothing && matches!(operation, Operation::Rename { .. }));
            let mut after = Effects::default();
            if on(Fault::SkippedForGood) && self.was_skipped(operation, stamp)? {
                continue;
            }
            let alone = former.as_ref().is_some_and(|former| {
                of_operation(&former.others, stamp).is_none()
                    && of_operation(&former.unknown, stamp).is_none()
            });
            if alone
                && !set.all_or_nothing
                && needs_its_place
                && self.evaluator().stays(operation, stamp, &author)?
            {
                self.counters.reevaluated += 1;
                continue;
            }
            if needs_its_place {
                let before = self.take_effects(operation, stamp, former.as_deref())?;
                after = self.evaluator().evaluate(operation, stamp, &author)?;
                if matches!(operation, Operation::Remove { .. }) {
                    self.meta.removal = self.meta.removal.max(stamp);
                }
                if before != after {
                    self.follow(stamp, &before, &after)?;
                }
                effects.push((stamp, before, after.clone()));
            }
            if set.all_or_nothing && whole {
                whole = self.evaluator().fits(operation, stamp, &after)?
                    || on(Fault::OnlyFailingDropped);
                let was_voided = former.as_ref().is_some_and(|former| former.voided);
                whole &= !(was_voided && on(Fault::VoidedForGood));
            }
        }
        if !whole && !on(Fault::StructureStays) {
            for (stamp, _, after) in &mut effects {
                let operation = &set.operations[stamp.index as usize];
                let others = others(operation, *stamp, after);
                self.evaluator().take_effects(operation, *stamp, &others)?;
                let taken = std::mem::take(after);
                if taken != *after {
                    self.follow(*stamp, &taken, after)?;
                }
            }
        }
        if former.is_some() && !set.all_or_nothing && effects.is_empty() {
            return Ok(());
        }
        let was_voided = former.as_ref().map(|former| former.voided);
        self.write_whole(set, was_voided, !whole)?;

        let mut record = StructuralRecord {
            sequence: set.sequence,
            removes: set
                .operations
                .iter()
                .any(|operation| matches!(operation, Operation::Remove { .. })),
            voided: !whole,
            others: former.iter().flat_map(|f| f.others.clone()).collect(),
            unknown: former.iter().flat_map(|f| f.unknown.clone()).collect(),
        };
        effects.retain(|(_, before, after)| former.is_none() || before != after);
        let revised: BTreeSet<u32> = effects.iter().map(|(stamp, ..)| stamp.index).collect();
        record.others.retain(|(index, _)| !revised.contains(index));
        record.unknown.retain(|(index, _)| !revised.contains(index));
        for (stamp, _, after) in &effects {
            let operation = &set.operations[stamp.index as usize];
            let others = others(operation, *stamp, after);
            if !others.is_empty() {
                record.others.push((stamp.index, others));
            }
            if let Some(node) = after.unknown {
                record.unknown.push((stamp.index, node));
            }
            self.counters.revised += u64::from(former.is_some());
        }
        record.others.sort();
        record.unknown.sort();
        if former.as_deref() != Some(&record)
            && (former.is_none() || !on(Fault::RevisionUnrecorded))
        {
            let key = key::structural(self.overlay.repo(), set.id);
            let before = former.map(Record::Structural);
            let record = Record::Structural(Arc::new(record));
            self.overlay.put_over(key, before, record);
        }
        if !effects.is_empty() || was_voided != Some(!whole) {
            self.evaluated.push(Evaluated {
                set: set.clone(),
                was_voided,
                voided: !whole,
                effects,
            });
        }
        Ok(())
    }

    /// Takes what an operation came to before out of the records.
    fn take_effects(
        &mut self,
        operation: &Operation,
        stamp: Stamp,
        former: Option<&StructuralRecord>,
    ) -> Result<Effects, ReadError> {
        let Some(former) = former else {
            return Ok(Effects::default());
        };
        self.counters.reevaluated += 1;
        let others = of_operation(&former.others, stamp).map_or(&[][..], Vec::as_slice);
        let mut effects = self.evaluator().take_effects(operation, stamp, others)?;
        effects.unknown = of_operation(&former.unknown, stamp).copied();
        Ok(effects)
    }

    /// Writes the registers of an all-or-nothing change set that is whole now and was not, and
    /// takes them out of one of which the contrary holds.
    fn write_whole(
        &mut self,
        set: &ChangeSet,
        was_voided: Option<bool>,
        voided: bool,
    ) -> Result<(), ReadError> {
        if !set.all_or_nothing {
            return Ok(());
        }
        let term = Term::Voided(set.stamp(0));
        match (was_voided.unwrap_or(false), voided) {
            (false, true) => digest::add(&mut self.meta.digest, NodeId::ROOT, &term),
            (true, false) => digest::subtract(&mut self.meta.digest, NodeId::ROOT, &term),
            _ => {}
        }
        self.counters.voided += u64::from(voided && was_voided != Some(true));
        let (stood, stands) = (was_voided == Some(false), !voided);
        let mut erased: BTreeMap<(NodeId, &PropertyName), BTreeSet<Stamp>> = BTreeMap::new();
        for (index, operation) in set.operations.iter().enumerate() {
            let stamp = set.stamp(index);
            match operation {
                Operation::Rename { .. } => {} // among the effects
                _ if was_voided == Some(true) && on(Fault::ValuesNotGivenBack) => {}
                _ if stands && !stood => self.write_register(operation, stamp)?,
                _ if on(Fault::ValuesStay) => {}
                Operation::Dismiss { .. } if on(Fault::DismissalStays) => {}
                Operation::Set { node, property, .. }
                | Operation::Unset { node, property }
                | Operation::Inc { node, property, .. }
                    if stood && !stands =>
                {
                    erased.entry((*node, property)).or_default().insert(stamp);
                }
                _ if stood && !stands => self.erase_register(operation, stamp)?,
                _ => {}
            }
        }
        for ((node, property), stamps) in erased {
            write::erase_property(&mut self.overlay, node, property, &stamps)?;
            for stamp in stamps {
                self.note_written(Some((node, property.clone())), stamp);
            }
        }
        Ok(())
    }

    /// Whether an operation is a skipped move.
    fn was_skipped(&self, operation: &Operation, stamp: Stamp) -> Result<bool, ReadError> {
        let record = view::node(&self.overlay, operation.node(stamp))?.unwrap_or_default();
        Ok(record.skips.iter().any(|skip| skip.stamp == stamp))
    }

    fn evaluator(&mut self) -> Evaluator<'_, 'a> {
        Evaluator {
            overlay: &mut self.overlay,
            arrivals: &mut self.arrivals,
            causes: &self.meta.causes,
            counters: &mut self.counters,
        }
    }
}

/// The nodes besides its own whose parents an operation wrote.
fn others(operation: &Operation, stamp: Stamp, effects: &Effects) -> Vec<NodeId> {
    let own = operation.node(stamp);
    let nodes = effects.parents.iter().map(|(node, _)| *node);
    nodes.filter(|node| *node != own).collect()
}

/// What a record says of one operation.
fn of_operation<T>(entries: &[(u32, T)], stamp: Stamp) -> Option<&T> {
    let found = entries.binary_search_by_key(&stamp.index, |(index, _)| *index);
    found.ok().map(|position| &entries[position].1)
}
