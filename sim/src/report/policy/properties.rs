//! Merge old changes: a store of properties, each with the newest write, and sums on top (M4, M5).
//!
//! Naive on purpose: no records, no history of a register, nothing of the engine.

use std::collections::BTreeMap;

use leveret::model::{NodeId, PropertyName};

use super::seen::{Seen, Timeline};
use super::write::{Cell, Outcome, Replaced, Write};

/// One property.
#[derive(Default)]
struct Property {
    /// The writes that replaced its value.
    bases: Timeline,
    /// The writes that added to it.
    sums: Timeline,
    /// What it consists of.
    cell: Cell,
}

/// What everybody's stores hold at the end.
#[derive(Default)]
pub(super) struct PropertyStore {
    properties: BTreeMap<(NodeId, PropertyName), Property>,
    replaced: Replaced,
}

impl PropertyStore {
    /// Takes in the writes of a change set from the number `first` on. Change sets come in order
    /// of their ids, so its writes are the newest.
    pub(super) fn save(&mut self, seen: &Seen, set: usize, writes: &[Write], first: usize) {
        for (number, write) in writes.iter().enumerate().skip(first) {
            let place = (write.node, write.property.clone());
            let property = self.properties.entry(place).or_default();
            // What the author saw there, and so replaces knowingly.
            let base = property.bases.newest_seen(seen, set);
            if write.wrote.base.is_some() {
                let sums = property.sums.seen_from(seen, set, base.unwrap_or(0));
                for sum in sums {
                    self.replaced.delta(sum);
                }
                if let Some(base) = base {
                    self.replaced.base(base);
                }
                property.bases.push(seen, set, number);
                property.cell = Cell {
                    base: Some(number),
                    sums: Vec::new(),
                };
            } else if let Some(base) = base
                && writes[base].wrote.is_set_to_no_integer()
            {
                self.replaced.base(base);
            }
            if write.wrote.delta.is_some() {
                if write.wrote.is_set_to_no_integer() {
                    self.replaced.base(number);
                }
                property.sums.push(seen, set, number);
                property.cell.sums.push(number);
            }
        }
    }

    /// The stores at the end.
    pub(super) fn finish(self) -> Outcome {
        let properties = self.properties.into_iter();
        Outcome {
            properties: properties
                .map(|(place, property)| (place, property.cell))
                .collect(),
            replaced: self.replaced,
        }
    }
}
