//! What a conflict lost: the operations that said so, in the change set that lost (M14).

use super::change_set::{ChangeSet, Operation};
use super::conflict::{Conflict, ConflictItem, ConflictKind};
use super::id::NodeId;

impl Conflict {
    /// What `set`, the change set that lost, did to the node and item that it lost, in order. Of a
    /// voided one that is all it did, of an unknown node all that named it.
    pub fn lost_in<'a>(&'a self, set: &'a ChangeSet) -> impl Iterator<Item = &'a Operation> {
        let operations = set.operations.iter().enumerate();
        let lost = operations.filter(|(index, operation)| {
            let is_on_it = operation.node(set.stamp(*index)) == self.node;
            match self.kind {
                ConflictKind::Voided => true,
                ConflictKind::UnknownNode => is_on_it || parent(operation) == Some(self.node),
                _ => is_on_it && self.is_about(operation),
            }
        });
        lost.map(|(_, operation)| operation)
    }

    /// Whether an operation on the node wrote what this is about.
    fn is_about(&self, operation: &Operation) -> bool {
        let is_add = matches!(
            operation,
            Operation::Add { .. } | Operation::AddUnique { .. }
        );
        match (&self.item, operation) {
            (
                ConflictItem::Property(name),
                Operation::Set { property, .. }
                | Operation::Unset { property, .. }
                | Operation::Inc { property, .. },
            ) => property == name,
            (ConflictItem::Order, Operation::Order { .. })
            | (ConflictItem::Name, Operation::Rename { .. })
            | (ConflictItem::Parent, Operation::Move { .. } | Operation::Remove { .. }) => true,
            // A name clashes where its node is, so what moved that there lost it too.
            (ConflictItem::Name, Operation::Move { name, .. }) => {
                name.is_some() || self.kind == ConflictKind::NameClash
            }
            (ConflictItem::Node, Operation::Remove { .. }) => true,
            (ConflictItem::Node | ConflictItem::Name, _) => is_add,
            _ => false,
        }
    }
}

/// The parent that an operation names.
fn parent(operation: &Operation) -> Option<NodeId> {
    match operation {
        Operation::Add { parent, .. }
        | Operation::AddUnique { parent, .. }
        | Operation::Move { parent, .. } => Some(*parent),
        _ => None,
    }
}
