//! Writes to properties, and what has become of each when a policy is through.

use std::collections::BTreeMap;

use leveret::model::{ChangeSet, NodeId, Operation, PropertyName, Value};

/// All that one change set did to one property.
pub(super) struct Write {
    /// The change set, by its number in the history.
    pub(super) set: usize,
    /// The node.
    pub(super) node: NodeId,
    /// The property.
    pub(super) property: PropertyName,
    /// What it did to it.
    pub(super) wrote: Wrote,
}

/// What a change set did to a property: it replaced the value, or added to it, or first the one
/// and then the other.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Wrote {
    /// What it set; nothing inside if it unset the property.
    pub(super) base: Option<Option<Value>>,
    /// What it added, to that or to what was there.
    pub(super) delta: Option<i128>,
}

impl Wrote {
    /// Whether it set a value to which nothing can be added: an inc takes its place (M5).
    pub(super) fn is_set_to_no_integer(&self) -> bool {
        matches!(&self.base, Some(Some(value)) if !matches!(value, Value::Int(_)))
    }
}

/// The nodes that a change set touched, and its writes to their properties. Removals do not touch:
/// what is removed is not compared.
pub(super) fn touched_by(set: &ChangeSet) -> BTreeMap<NodeId, BTreeMap<PropertyName, Wrote>> {
    let mut touched: BTreeMap<NodeId, BTreeMap<PropertyName, Wrote>> = BTreeMap::new();
    for (index, operation) in set.operations.iter().enumerate() {
        if matches!(
            operation,
            Operation::Remove { .. } | Operation::Dismiss { .. }
        ) {
            continue;
        }
        let properties = touched.entry(operation.node(set.stamp(index))).or_default();
        let (property, value) = match operation {
            Operation::Set {
                property, value, ..
            } => (property, Some(value.clone())),
            Operation::Unset { property, .. } => (property, None),
            Operation::Inc {
                property, delta, ..
            } => {
                let wrote = properties.entry(property.clone()).or_default();
                *wrote.delta.get_or_insert(0) += i128::from(*delta);
                continue;
            }
            _ => continue,
        };
        let wrote = Wrote {
            base: Some(value),
            delta: None,
        };
        properties.insert(property.clone(), wrote);
    }
    touched
}

/// The writes that a property consists of, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Cell {
    /// The one that last replaced the value.
    pub(super) base: Option<usize>,
    /// Those that added to it.
    pub(super) sums: Vec<usize>,
}

impl Cell {
    /// The value.
    pub(super) fn value(&self, writes: &[Write]) -> Option<Value> {
        let base = self
            .base
            .and_then(|base| writes[base].wrote.base.clone())
            .flatten();
        if self.sums.is_empty() {
            return base;
        }
        let from = match base {
            Some(Value::Int(from)) => i128::from(from),
            _ => 0,
        };
        let deltas = self.sums.iter().filter_map(|sum| writes[*sum].wrote.delta);
        let sum = deltas.fold(from, |sum, delta| sum + delta);
        let sum = sum.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        Some(Value::Int(
            i64::try_from(sum).expect("it was brought into the range"),
        ))
    }
}

/// Two facts about a write: one about what it set, one about what it added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Parts {
    pub(super) base: bool,
    pub(super) delta: bool,
}

/// Which writes were replaced by somebody who had them before their eyes.
#[derive(Default)]
pub(super) struct Replaced(Vec<Parts>);

impl Replaced {
    pub(super) fn base(&mut self, number: usize) {
        self.at(number).base = true;
    }

    /// Says whether it was marked already.
    pub(super) fn delta(&mut self, number: usize) -> bool {
        std::mem::replace(&mut self.at(number).delta, true)
    }

    fn at(&mut self, number: usize) -> &mut Parts {
        if self.0.len() <= number {
            self.0.resize(number + 1, Parts::default());
        }
        &mut self.0[number]
    }
}

/// What a policy comes to.
pub(super) struct Outcome {
    /// What every property consists of at the end.
    pub(super) properties: BTreeMap<(NodeId, PropertyName), Cell>,
    /// What was replaced on the way, knowingly.
    pub(super) replaced: Replaced,
}

impl Outcome {
    /// Of each write, which of its parts are not lost: they are there, or were replaced knowingly,
    /// or the value is there that it set.
    pub(super) fn kept_parts(&self, writes: &[Write]) -> Vec<Parts> {
        let mut parts = self.replaced.0.clone();
        parts.resize(writes.len(), Parts::default());
        let mut values = BTreeMap::new();
        for (place, cell) in &self.properties {
            for sum in &cell.sums {
                parts[*sum].delta = true;
            }
            let is_there =
                |base: &usize| cell.sums.is_empty() || !writes[*base].wrote.is_set_to_no_integer();
            if let Some(base) = cell.base.filter(is_there) {
                parts[base].base = true;
                values.insert(place.clone(), &writes[base].wrote.base);
            }
        }
        for (number, write) in writes.iter().enumerate() {
            let place = (write.node, write.property.clone());
            let there = values.get(&place);
            parts[number].base |= there.is_some_and(|there| **there == write.wrote.base);
        }
        parts
    }
}
