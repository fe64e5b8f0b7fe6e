//! Restoring from the trash: a move by whoever restores (M7, M9).

use super::{Draft, DraftError, Item, check_depth};
use crate::merge::read::{ReadTree, child_by_name};
use crate::merge::structure::way_up;
use crate::merge::trash;
use crate::model::{NodeId, NodeName, Operation, Stamp};

impl Draft {
    /// Takes a node out of the trash, with everything below it: to where it was last, or below
    /// another parent, under the name it has, or another.
    ///
    /// What is in the trash only along with a node above it can be taken out too, to another
    /// parent.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn restore(
        &mut self,
        node: NodeId,
        parent: Option<NodeId>,
        name: Option<&NodeName>,
    ) -> Result<(), DraftError> {
        if let Some(path) = self.path_of(node)? {
            return Err(DraftError::NotTrashed(path));
        }
        let trashed = trash::trashed(self, node)?.ok_or(DraftError::NoSuchNode(node))?;
        let target = parent.unwrap_or(trashed.parent);
        if !self.is_visible(target)? {
            return Err(match parent {
                Some(parent) => DraftError::NoSuchNode(parent),
                None => DraftError::PlaceGone {
                    node,
                    place: target,
                    path: trash::trashed(self, target)?.and_then(|place| place.path),
                },
            });
        }
        let new_name = name.filter(|name| **name != trashed.name).cloned();
        let name = name.unwrap_or(&trashed.name);
        if child_by_name(self, target, name)?.is_some() {
            return Err(DraftError::NameTaken {
                parent: self.path(target)?,
                name: name.clone(),
            });
        }
        check_depth(way_up(self, target, Stamp::MAX)?.nodes.len() + 1)?;
        self.push(Operation::Move {
            node,
            parent: target,
            name: new_name,
        })?;
        self.touched.insert((target, Item::Child(name.clone())));
        self.touched.insert((node, Item::Trashed));
        Ok(())
    }
}
