//! What was changed since a draft's snapshot of what the draft writes.

use std::fmt;

use super::Draft;
use crate::merge::read::{ReadTree, child_by_name};
use crate::merge::settle;
use crate::merge::snapshot::Snapshot;
use crate::merge::view::{self, ReadError, View};
use crate::model::{NodeId, NodeName, NodePath, PropertyName, Stamp};

/// A part of a node that a save writes, or relies on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Item {
    /// That it is there.
    Node,
    /// That it is in the trash.
    Trashed,
    /// Its parent.
    Parent,
    /// Its name.
    Name,
    /// Its place among its siblings.
    Order,
    /// A property.
    Property(PropertyName),
    /// That it has no other child of this name.
    Child(NodeName),
}

/// Something that was changed since a save's snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedItem {
    /// The node.
    pub node: NodeId,
    /// Its path now; nothing if it is not in the tree any more.
    pub path: Option<NodePath>,
    /// What of it.
    pub item: Item,
}

impl fmt::Display for ChangedItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{path}: ")?,
            None => write!(f, "{}: ", self.node)?,
        }
        match &self.item {
            Item::Node => f.write_str("removed"),
            Item::Trashed => f.write_str("restored"),
            Item::Parent => f.write_str("moved"),
            Item::Name => f.write_str("renamed"),
            Item::Order => f.write_str("ordered"),
            Item::Property(name) => write!(f, "property `{name}` changed"),
            Item::Child(name) => write!(f, "another child `{name}`"),
        }
    }
}

impl Draft {
    /// What of the things that it writes differs between its snapshot and `latest`. Nothing if the
    /// draft is to overwrite.
    ///
    /// # Errors
    /// If they can not be read.
    pub fn changed_since(&self, latest: &Snapshot) -> Result<Vec<ChangedItem>, ReadError> {
        let mut changed = Vec::new();
        if self.overwrite || latest.is_same(&self.snapshot) {
            return Ok(changed);
        }
        for (node, item) in &self.touched {
            if *item == Item::Trashed {
                if latest.is_visible(*node)? {
                    changed.push(ChangedItem {
                        node: *node,
                        path: latest.path_of(*node)?,
                        item: Item::Trashed,
                    });
                }
                continue;
            }
            if !self.snapshot.is_visible(*node)? {
                continue; // made by the draft itself, or restored
            }
            let item = match item {
                _ if !latest.is_visible(*node)? => Item::Node,
                item if differs(&self.snapshot, latest, *node, item)? => item.clone(),
                _ => continue,
            };
            changed.push(ChangedItem {
                node: *node,
                path: latest.path_of(*node)?,
                item,
            });
        }
        changed.dedup();
        Ok(changed)
    }
}

fn differs(then: &Snapshot, now: &Snapshot, node: NodeId, item: &Item) -> Result<bool, ReadError> {
    Ok(match item {
        Item::Node | Item::Trashed => false,
        Item::Child(name) => {
            let found = child_by_name(now, node, name)?;
            found.is_some() && found != child_by_name(then, node, name)?
        }
        _ => stamp(then, node, item)? != stamp(now, node, item)?,
    })
}

/// The stamp of the write that counts.
fn stamp(view: &dyn View, node: NodeId, item: &Item) -> Result<Option<Stamp>, ReadError> {
    let Some(record) = view::node(view, node)? else {
        return Ok(None);
    };
    Ok(match item {
        Item::Parent => record.parents.last().map(|write| write.stamp),
        Item::Name => record.names.last().map(|(stamp, _)| *stamp),
        Item::Order => record.orders.last().map(|(stamp, _)| *stamp),
        Item::Property(name) => {
            settle::property(view, node, &record, name)?.map(|effective| effective.stamp)
        }
        Item::Node | Item::Trashed | Item::Child(_) => None,
    })
}
