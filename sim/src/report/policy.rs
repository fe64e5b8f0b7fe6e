//! Two ways to merge one history, and what each of them loses.
//!
//! *Node granularity, newest wins* (`nodes.rs`) is the simple way: a change set carries every node
//! that it touched whole, as its author saw it; of two that touched one node the newer wins, and
//! with it all that its author did not see is gone, without a word. *Merge old changes*
//! (`properties.rs`) is what leveret does: every write is merged in its place in time, property by
//! property, and what is lost nevertheless is told as a conflict. Both are proposals of one
//! mailing-list thread, of which leveret took the second (Thomas Mueller's *Clustering for
//! Jackrabbit 3*).
//!
//! Both are carried out here, as naive stores, and then every write is looked for. What is counted
//! is a *write*: all that one change set did to one property of one node. It is *lost* if it is not
//! in the final state and nobody ever replaced it who had it before their eyes. A value that is
//! there, though somebody else wrote the same, is not lost; nor is a value that somebody unaware
//! wrote once more, unless that is lost.
//!
//! leveret's engine merges the same history. Its conflicts are those that count as told, and it has
//! to come to the same values as the naive store does.
//!
//! Left out, since there is nothing in them to compare: writes to nodes that are in the trash at
//! the end or came back from it empty (M6), nodes that were moved hundreds of times, and change sets
//! that are voided (M13). To the benefit of the simple way, an add or a removal of a child does not
//! touch its parent, though there a node has a list of its children.

mod engine;
mod nodes;
mod properties;
mod seen;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::sync::Arc;

use leveret::model::{
    ChangeSet, ChangeSetId, Conflict, ConflictId, ConflictItem, ConflictKind, NodeId, Operation,
    PropertyName,
};

use engine::Judge;
use nodes::NodeStore;
use properties::PropertyStore;
use seen::{Seen, Timeline};
use write::{Outcome, Write, touched_by};

/// What two policies made of the same history, in writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Comparison {
    /// Writes that were compared.
    pub writes: u64,
    /// Writes that were not, see the module.
    pub left_out: u64,
    /// Of those compared, the ones whose node another change set touched concurrently: neither
    /// author had seen the other. Only these can be lost.
    pub concurrent: u64,
    /// Lost under node granularity, newest wins. Nobody is told.
    pub lost_by_node: u64,
    /// Lost when old changes are merged, property by property.
    pub lost_by_property: u64,
    /// Of those, the ones that leveret tells as a conflict, be it dismissed or not.
    pub told_by_property: u64,
}

impl AddAssign for Comparison {
    fn add_assign(&mut self, other: Self) {
        self.writes += other.writes;
        self.left_out += other.left_out;
        self.concurrent += other.concurrent;
        self.lost_by_node += other.lost_by_node;
        self.lost_by_property += other.lost_by_property;
        self.told_by_property += other.told_by_property;
    }
}

/// Merges a history in both ways and counts what each of them loses.
///
/// `sets` are the change sets of the repository [`RepoId::MAIN`](leveret::model::RepoId::MAIN) in
/// order of their ids, each with all it depends on before it: everything that a run made.
///
/// # Panics
/// If they are not, and if the engine does not come to the values that M4 and M5 ask for.
#[must_use]
pub fn compare(sets: &[Arc<ChangeSet>]) -> Comparison {
    let seen = Seen::of(sets);
    let judge = Judge::of(sets);
    let mut touched: BTreeMap<NodeId, Timeline> = BTreeMap::new();
    let (mut by_node, mut by_property) = (NodeStore::default(), PropertyStore::default());
    let mut writes: Vec<Write> = Vec::new();
    let mut comparison = Comparison::default();
    for (number, set) in sets.iter().enumerate() {
        if judge.is_voided(set) {
            let properties = touched_by(set).into_values();
            let count: usize = properties.map(|properties| properties.len()).sum();
            comparison.left_out += count as u64;
            continue;
        }
        for (node, properties) in touched_by(set) {
            touched.entry(node).or_default().push(&seen, number, number);
            let first = writes.len();
            writes.extend(properties.into_iter().map(|(property, wrote)| Write {
                set: number,
                node,
                property,
                wrote,
            }));
            by_node.save(&seen, number, node, &writes, first);
            by_property.save(&seen, number, &writes, first);
        }
    }
    let by_node = by_node.finish();
    let by_property = by_property.finish();
    let compared = judge.compared(sets, &writes);
    judge.check_values(&writes, &compared, &by_property);

    let conflicts = Conflicts::of(sets, &seen, &judge, &writes);
    let kept_by_node = kept(&by_node, &writes, &conflicts);
    let kept_by_property = kept(&by_property, &writes, &conflicts);
    for (number, write) in writes.iter().enumerate() {
        if !compared.contains(&write.node) {
            comparison.left_out += 1;
            continue;
        }
        let is_lost = !kept_by_property[number];
        comparison.writes += 1;
        comparison.concurrent += u64::from(touched[&write.node].has_concurrent(&seen, write.set));
        comparison.lost_by_node += u64::from(!kept_by_node[number]);
        comparison.lost_by_property += u64::from(is_lost);
        comparison.told_by_property += u64::from(is_lost && conflicts.is_told(number));
    }
    comparison
}

/// Of each write, whether it is not lost.
fn kept(outcome: &Outcome, writes: &[Write], conflicts: &Conflicts<'_>) -> Vec<bool> {
    let mut parts = outcome.kept_parts(writes);
    let mut kept = vec![false; writes.len()];
    // What stands for a write is newer.
    for number in (0..writes.len()).rev() {
        if let Some(again) = conflicts.again[number] {
            parts[number].base |= parts[again].base;
        }
        let (wrote, part) = (&writes[number].wrote, parts[number]);
        kept[number] = (wrote.base.is_none() || part.base) && (wrote.delta.is_none() || part.delta);
    }
    kept
}

/// Which writes leveret says were overwritten.
struct Conflicts<'a> {
    sets: &'a [Arc<ChangeSet>],
    seen: &'a Seen,
    writes: &'a [Write],
    open: BTreeSet<(ChangeSetId, NodeId, PropertyName)>,
    dismissed: BTreeSet<ConflictId>,
    /// Of each write, the next that replaced the value of its property, if that one is concurrent
    /// and left the same: then nothing is told of the first, but of the second if that is lost.
    again: Vec<Option<usize>>,
    /// The writes to each property.
    of_property: BTreeMap<(NodeId, &'a PropertyName), Vec<usize>>,
}

impl<'a> Conflicts<'a> {
    fn of(sets: &'a [Arc<ChangeSet>], seen: &'a Seen, judge: &Judge, writes: &'a [Write]) -> Self {
        let overwritten = judge.conflicts();
        let open = overwritten
            .into_iter()
            .filter_map(|conflict| match conflict.item {
                ConflictItem::Property(name) if conflict.kind == ConflictKind::Overwritten => {
                    Some((conflict.loser, conflict.node, name))
                }
                _ => None,
            });
        let operations = sets.iter().flat_map(|set| &set.operations);
        let dismissed = operations.filter_map(|operation| match operation {
            Operation::Dismiss { conflict } => Some(*conflict),
            _ => None,
        });
        let mut of_property: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (number, write) in writes.iter().enumerate() {
            let numbers = of_property
                .entry((write.node, &write.property))
                .or_default();
            numbers.push(number);
        }
        let mut again = vec![None; writes.len()];
        for numbers in of_property.values() {
            let is_base = |number: &usize| writes[*number].wrote.base.is_some();
            let bases: Vec<usize> = numbers.iter().copied().filter(is_base).collect();
            for pair in bases.windows(2) {
                let (a, b) = (&writes[pair[0]], &writes[pair[1]]);
                if a.wrote.base == b.wrote.base && seen.are_concurrent(a.set, b.set) {
                    again[pair[0]] = Some(pair[1]);
                }
            }
        }
        Self {
            sets,
            seen,
            writes,
            open: open.collect(),
            dismissed: dismissed.collect(),
            again,
            of_property,
        }
    }

    /// Whether leveret tells that a write was overwritten, or that one was that wrote the same
    /// once more.
    fn is_told(&self, mut number: usize) -> bool {
        loop {
            let write = &self.writes[number];
            let loser = self.sets[write.set].id;
            let item = (loser, write.node, write.property.clone());
            if self.open.contains(&item) || self.is_dismissed(write) {
                return true;
            }
            match self.again[number] {
                Some(next) => number = next,
                None => return false,
            }
        }
    }

    fn is_dismissed(&self, write: &Write) -> bool {
        if self.dismissed.is_empty() {
            return false;
        }
        let others = self.of_property[&(write.node, &write.property)].iter();
        let mut winners = others.map(|other| self.writes[*other].set);
        winners.any(|winner| {
            let conflict = Conflict {
                loser: self.sets[write.set].id,
                kind: ConflictKind::Overwritten,
                node: write.node,
                item: ConflictItem::Property(write.property.clone()),
                winner: Some(self.sets[winner].id),
            };
            self.seen.are_concurrent(winner, write.set) && self.dismissed.contains(&conflict.id())
        })
    }
}

#[cfg(test)]
mod tests;
