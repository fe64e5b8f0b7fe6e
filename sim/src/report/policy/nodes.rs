//! Node granularity, newest wins: a store of whole nodes.
//!
//! A change set carries each node that it touched, with all properties: as its author's store had
//! it, and then what the author wrote. Of a node, every store keeps what the newest change set
//! carried. So an author's store has what the newest carried of those that the author had seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use leveret::model::{NodeId, PropertyName};

use super::seen::{Seen, Timeline};
use super::write::{Cell, Outcome, Replaced, Write};

/// All the properties of a node, as a change set carries them.
type Properties = BTreeMap<PropertyName, Held>;

/// A property in a carried node.
#[derive(Clone, Copy, Default)]
struct Held {
    /// The write that last replaced the value.
    base: Option<usize>,
    /// The newest write that added to it.
    sums: Option<usize>,
}

/// A write that added to a property, and the one that it added to.
struct Sum {
    write: usize,
    below: Option<usize>,
}

/// What everybody's stores hold: at the end they hold the same.
#[derive(Default)]
pub(super) struct NodeStore {
    carried: Vec<Arc<Properties>>,
    by_node: BTreeMap<NodeId, Timeline>,
    /// Of each node the newest change set that carried it, and what that carried.
    newest: BTreeMap<NodeId, (usize, Arc<Properties>)>,
    sums: Vec<Sum>,
    replaced: Replaced,
}

impl NodeStore {
    /// Takes in a change set's version of a node it touched; its writes to the node are those from
    /// the number `first` on.
    pub(super) fn save(
        &mut self,
        seen: &Seen,
        set: usize,
        node: NodeId,
        writes: &[Write],
        first: usize,
    ) {
        let timeline = self.by_node.entry(node).or_default();
        let before = timeline.newest_seen(seen, set);
        timeline.push(seen, set, self.carried.len());
        let mut properties = before.map_or_else(Default::default, |at| self.carried[at].clone());
        for (number, write) in writes.iter().enumerate().skip(first) {
            let all = Arc::make_mut(&mut properties);
            let held = all.entry(write.property.clone()).or_default();
            if write.wrote.base.is_some() {
                // All that was there is replaced, by somebody who saw it.
                if let Some(base) = held.base {
                    self.replaced.base(base);
                }
                let mut at = held.sums;
                while let Some(sum) = at.map(|at| &self.sums[at]) {
                    // Who was there before to mark this one marked all that is below it.
                    at = if self.replaced.delta(sum.write) {
                        None
                    } else {
                        sum.below
                    };
                }
                *held = Held {
                    base: Some(number),
                    sums: None,
                };
            }
            if write.wrote.delta.is_some() {
                if let Some(base) = held.base
                    && writes[base].wrote.is_set_to_no_integer()
                {
                    self.replaced.base(base);
                }
                self.sums.push(Sum {
                    write: number,
                    below: held.sums,
                });
                held.sums = Some(self.sums.len() - 1);
            }
        }
        self.carried.push(properties.clone());
        let is_newest = |(newest, _): &(usize, _)| *newest < set;
        if self.newest.get(&node).is_none_or(is_newest) {
            self.newest.insert(node, (set, properties));
        }
    }

    /// The stores at the end.
    pub(super) fn finish(self) -> Outcome {
        let mut cells = BTreeMap::new();
        for (node, (_, properties)) in &self.newest {
            for (property, held) in properties.iter() {
                let mut cell = Cell {
                    base: held.base,
                    sums: Vec::new(),
                };
                let mut at = held.sums;
                while let Some(sum) = at.map(|at| &self.sums[at]) {
                    cell.sums.push(sum.write);
                    at = sum.below;
                }
                cells.insert((*node, property.clone()), cell);
            }
        }
        Outcome {
            properties: cells,
            replaced: self.replaced,
        }
    }
}
