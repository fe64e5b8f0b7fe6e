//! Drafts: the operations of a save that is not made yet, checked and visible to its author.
//!
//! A draft applies each operation to a layer of its own over a snapshot, by the very code that
//! merges (so its author sees what the save will do if nothing comes between), and refuses what its
//! author's view does not allow (M3). Its operations carry a provisional id, above every other,
//! until [`Draft::finish`] puts the real one in. The newest ones are applied when somebody looks, be it
//! the check of the next: whoever saves a single one never does.

mod changed;
mod check;
mod dismiss;
mod error;
mod layer;
mod order;
mod restore;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

pub use changed::{ChangedItem, Item};
pub use error::DraftError;

use self::check::check_depth;
use self::layer::Layer;
use super::read::{ReadTree, child_by_name, standing};
use super::snapshot::Snapshot;
use super::structure::way_up;
use super::view::{self, View};
use crate::model::limits::{MESSAGE_BYTES_MAX, OPERATIONS_MAX};
use crate::model::script::{PathOperation, Place};
use crate::model::{
    ChangeSetId, ConflictId, NodeId, NodeName, Operation, OriginId, PathStep, PropertyName, Stamp,
    Time, Value,
};

/// Pending operations over a snapshot. Reads see them.
#[derive(Clone)]
pub struct Draft {
    snapshot: Snapshot,
    author: OriginId,
    operations: Vec<Operation>,
    /// How many of them `changed` has.
    applied: usize,
    changed: Layer,
    /// What the others change besides, once somebody has looked.
    newest: OnceLock<Layer>,
    bytes: usize,
    touched: BTreeSet<(NodeId, Item)>,
    message: Option<Arc<str>>,
    overwrite: bool,
    all_or_nothing: bool,
    /// The conflicts that can still be dismissed, once one is.
    open: Option<BTreeSet<ConflictId>>,
}

impl ReadTree for Draft {
    fn view(&self) -> &dyn View {
        self
    }
}

impl ReadTree for Snapshot {
    fn view(&self) -> &dyn View {
        self
    }
}

impl Draft {
    /// A draft without operations, by the author whose origin this is.
    pub fn new(snapshot: Snapshot, author: OriginId) -> Self {
        Self {
            snapshot,
            author,
            operations: Vec::new(),
            applied: 0,
            changed: Layer::new(),
            newest: OnceLock::new(),
            bytes: 0,
            touched: BTreeSet::new(),
            message: None,
            overwrite: false,
            all_or_nothing: false,
            open: None,
        }
    }

    /// Applies an operation as people write it; its paths are resolved in the draft's own view.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn apply(&mut self, operation: &PathOperation) -> Result<(), DraftError> {
        match operation {
            PathOperation::Add(path) => {
                let (parent, name) = self.new_place(path, "added")?;
                self.add(parent, &name).map(drop)
            }
            PathOperation::AddUnique(path) => {
                let (parent, name) = self.new_place(path, "added")?;
                self.add_unique(parent, &name).map(drop)
            }
            PathOperation::Remove(path) => self.remove(self.at(path)?),
            PathOperation::Move(path, to) => {
                let node = self.at(path)?;
                let Some((parent_path, last)) = to.split_last() else {
                    return Err(DraftError::Root("replaced"));
                };
                let parent = self.at(&parent_path)?;
                match last {
                    PathStep::Plain(name) => self.move_to(node, parent, Some(name)),
                    // The form that reaches a clashing node: its name stays.
                    PathStep::Exact(name, digits)
                        if node.to_string().starts_with(digits)
                            && standing(self, node)?.is_some_and(|s| s.name == *name) =>
                    {
                        self.move_to(node, parent, None)
                    }
                    PathStep::Exact(..) => Err(DraftError::ReservedName(last.to_string())),
                }
            }
            PathOperation::Set(path, name, value) => {
                self.set_found(self.at(path)?, name, value.clone())
            }
            PathOperation::Unset(path, name) => self.unset(self.at(path)?, name),
            PathOperation::Inc(path, name, delta) => self.inc(self.at(path)?, name, *delta),
            PathOperation::Order(path, place) => self.order(self.at(path)?, place),
        }
    }

    /// Adds a node, or is the same node that others add there without knowing of it (M3).
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn add(&mut self, parent: NodeId, name: &NodeName) -> Result<NodeId, DraftError> {
        self.check_new(parent, name)?;
        let mut generation = 0;
        let node = loop {
            let node = NodeId::of_add(parent, name, None, generation);
            let known = view::node(self, node)?.is_some_and(|node| !node.parents.is_empty());
            if !known {
                break node;
            }
            generation += 1;
        };
        let name = name.clone();
        self.push(Operation::Add {
            parent,
            name,
            truncated_at: None,
            generation,
        })?;
        Ok(node)
    }

    /// Adds a node below one that this draft has added, where nothing has this name: that is left to
    /// whoever calls, and not looked at. `depth` is that of the new node.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    #[cfg(feature = "net")] // for imports
    pub(crate) fn add_in_new(
        &mut self,
        parent: NodeId,
        name: &NodeName,
        depth: usize,
    ) -> Result<NodeId, DraftError> {
        check_depth(depth)?;
        let node = NodeId::of_add(parent, name, None, 0);
        if view::node(&self.snapshot, node)?.is_some() {
            return self.add(parent, name);
        }
        let place = (parent, Item::Child(name.clone()));
        self.push(Operation::Add {
            parent,
            name: name.clone(),
            truncated_at: None,
            generation: 0,
        })?;
        self.touched.insert(place);
        Ok(node)
    }

    /// Sets a property of a node that this draft has added and that has few yet. The node is not
    /// looked at.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    #[cfg(feature = "net")] // for imports
    pub(crate) fn set_in_new(
        &mut self,
        node: NodeId,
        property: &PropertyName,
        value: Value,
    ) -> Result<(), DraftError> {
        value.check()?;
        self.push_set(node, property, value)
    }

    /// Adds a node that is never the same as another. Its id is provisional until it is saved.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn add_unique(&mut self, parent: NodeId, name: &NodeName) -> Result<NodeId, DraftError> {
        self.check_new(parent, name)?;
        let stamp = self.next_stamp();
        self.push(Operation::AddUnique {
            parent,
            name: name.clone(),
        })?;
        Ok(NodeId::of_add_unique(stamp))
    }

    /// Removes a node and what is below it.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn remove(&mut self, node: NodeId) -> Result<(), DraftError> {
        self.check_node(node, "removed")?;
        self.push(Operation::Remove { node })?;
        self.touched.insert((node, Item::Parent));
        Ok(())
    }

    /// Moves a node, and renames it if a name is given. What changes nothing makes no operation.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn move_to(
        &mut self,
        node: NodeId,
        parent: NodeId,
        name: Option<&NodeName>,
    ) -> Result<(), DraftError> {
        self.check_node(node, "moved")?;
        self.check_visible(parent)?;
        let now = standing(self, node)?.ok_or(DraftError::NoSuchNode(node))?;
        let new_name = name.filter(|name| **name != now.name).cloned();
        if now.parent == parent && new_name.is_none() {
            return Ok(());
        }
        let way = way_up(self, parent, Stamp::MAX)?;
        if way.nodes.iter().any(|(above, _)| *above == node) {
            let (node, target) = (self.path(node)?, self.path(parent)?);
            return Err(DraftError::BelowItself { node, target });
        }
        let name = name.unwrap_or(&now.name);
        if child_by_name(self, parent, name)?.is_some_and(|other| other != node) {
            return Err(DraftError::NameTaken {
                parent: self.path(parent)?,
                name: name.clone(),
            });
        }
        check_depth(way.nodes.len() + 1)?;
        self.touched.insert((parent, Item::Child(name.clone())));
        if new_name.is_some() {
            self.touched.insert((node, Item::Name));
        }
        if now.parent == parent {
            let name = new_name.expect("a rename gives another name");
            return self.push(Operation::Rename { node, name });
        }
        self.touched.insert((node, Item::Parent));
        self.push(Operation::Move {
            node,
            parent,
            name: new_name,
        })
    }

    /// Sets a property.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn set(
        &mut self,
        node: NodeId,
        property: &PropertyName,
        value: Value,
    ) -> Result<(), DraftError> {
        value.check()?;
        self.check_visible(node)?;
        self.write(node, property, value)
    }

    /// Sets a property of a node that has just been found in the draft's view.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub(crate) fn set_found(
        &mut self,
        node: NodeId,
        property: &PropertyName,
        value: Value,
    ) -> Result<(), DraftError> {
        value.check()?;
        self.write(node, property, value)
    }

    fn write(
        &mut self,
        node: NodeId,
        property: &PropertyName,
        value: Value,
    ) -> Result<(), DraftError> {
        self.check_property(node, property)?;
        self.push_set(node, property, value)
    }

    fn push_set(
        &mut self,
        node: NodeId,
        property: &PropertyName,
        value: Value,
    ) -> Result<(), DraftError> {
        self.touched
            .insert((node, Item::Property(property.clone())));
        self.push(Operation::Set {
            node,
            property: property.clone(),
            value,
        })
    }

    /// Takes a property away. It need not be there.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn unset(&mut self, node: NodeId, property: &PropertyName) -> Result<(), DraftError> {
        self.check_visible(node)?;
        self.touched
            .insert((node, Item::Property(property.clone())));
        self.push(Operation::Unset {
            node,
            property: property.clone(),
        })
    }

    /// Adds to a property; what others add at the same time adds up (M5).
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn inc(
        &mut self,
        node: NodeId,
        property: &PropertyName,
        delta: i64,
    ) -> Result<(), DraftError> {
        self.check_visible(node)?;
        self.check_property(node, property)?;
        self.touched.insert((node, Item::Node));
        self.push(Operation::Inc {
            node,
            property: property.clone(),
            delta,
        })
    }

    /// Gives a node another place among its siblings.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn order(&mut self, node: NodeId, place: &Place) -> Result<(), DraftError> {
        self.check_node(node, "ordered")?;
        let key = order::key_for(self, self.author, node, place)?;
        self.touched.insert((node, Item::Order));
        self.push(Operation::Order { node, key })
    }

    /// Gives the save a message that travels with it.
    ///
    /// # Errors
    /// If it is too long; the draft keeps the one it had.
    pub fn set_message(&mut self, message: &str) -> Result<(), DraftError> {
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(DraftError::MessageTooLong(message.len()));
        }
        self.message = Some(message.into());
        Ok(())
    }

    /// Whether the save is made even if something it writes was changed since the snapshot.
    pub fn overwrite(&mut self, yes: bool) {
        self.overwrite = yes;
    }

    /// Whether the save has no effect at all where any of its operations would have none, or would
    /// make a name clash (M13). That can come about later, and be taken back, as others' saves
    /// arrive that are older.
    pub fn all_or_nothing(&mut self, yes: bool) {
        self.all_or_nothing = yes;
    }

    /// Whether it is all or nothing.
    pub fn is_all_or_nothing(&self) -> bool {
        self.all_or_nothing
    }

    /// The message, if there is one.
    pub fn message(&self) -> Option<Arc<str>> {
        self.message.clone()
    }

    /// How many operations it has.
    pub fn operations(&self) -> usize {
        self.operations.len()
    }

    /// An upper bound of the encoded size of the save, in bytes.
    pub fn encoded_estimate(&self) -> usize {
        512 + self.message.as_ref().map_or(0, |message| message.len())
            + self.snapshot.frontier().len() * 32
            + self.bytes
    }

    /// The snapshot below it.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The operations under their real change set id, and what became of provisional node ids.
    pub fn finish(&self, id: ChangeSetId) -> (Vec<Operation>, BTreeMap<NodeId, NodeId>) {
        let mut real: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        let mut operations = Vec::with_capacity(self.operations.len());
        for (index, operation) in self.operations.iter().enumerate() {
            let index = u32::try_from(index).expect("operations are bounded");
            let (provisional, stamp) = (self.provisional(index), Stamp { id, index });
            let mut operation = operation.clone();
            let before = operation.node(provisional);
            for node in operation.nodes_mut() {
                *node = real.get(node).copied().unwrap_or(*node);
            }
            let after = operation.node(stamp);
            if before != after {
                real.insert(before, after);
            }
            operations.push(operation);
        }
        (operations, real)
    }

    fn provisional(&self, index: u32) -> Stamp {
        Stamp {
            id: ChangeSetId {
                time: Time(u64::MAX),
                origin: self.author,
            },
            index,
        }
    }

    fn next_stamp(&self) -> Stamp {
        self.provisional(u32::try_from(self.operations.len()).expect("operations are bounded"))
    }

    /// Adds a checked operation.
    fn push(&mut self, operation: Operation) -> Result<(), DraftError> {
        if self.operations.len() >= OPERATIONS_MAX {
            return Err(DraftError::TooManyOperations);
        }
        self.absorb_newest();
        self.bytes += operation.weight();
        self.operations.push(operation);
        Ok(())
    }
}
