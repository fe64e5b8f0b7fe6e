//! What a draft refuses: looked at in its author's own view (M3).

use super::{Draft, DraftError, Item};
use crate::merge::read::{ReadTree, child_by_name, child_by_step};
use crate::merge::structure::{End, way_up};
use crate::merge::view;
use crate::model::limits::{PATH_DEPTH_MAX, PROPERTIES_MAX};
use crate::model::{NodeId, NodeName, NodePath, PathStep, PropertyName, Stamp};

impl Draft {
    pub(super) fn at(&self, path: &NodePath) -> Result<NodeId, DraftError> {
        self.resolve(path)?
            .ok_or_else(|| DraftError::NoSuchPath(path.clone()))
    }

    pub(super) fn path(&self, node: NodeId) -> Result<NodePath, DraftError> {
        self.path_of(node)?.ok_or(DraftError::NoSuchNode(node))
    }

    /// The parent and name that the path of a new node says.
    pub(super) fn new_place(
        &self,
        path: &NodePath,
        what: &'static str,
    ) -> Result<(NodeId, NodeName), DraftError> {
        let Some((parent, last)) = path.split_last() else {
            return Err(DraftError::Root(what));
        };
        match last {
            PathStep::Plain(name) => Ok((self.at(&parent)?, name.clone())),
            PathStep::Exact(..) => Err(DraftError::ReservedName(last.to_string())),
        }
    }

    pub(super) fn check_visible(&self, node: NodeId) -> Result<(), DraftError> {
        if self.is_visible(node)? {
            Ok(())
        } else {
            Err(DraftError::NoSuchNode(node))
        }
    }

    pub(super) fn check_node(&self, node: NodeId, what: &'static str) -> Result<(), DraftError> {
        if node == NodeId::ROOT {
            return Err(DraftError::Root(what));
        }
        self.check_visible(node)
    }

    pub(super) fn check_new(&mut self, parent: NodeId, name: &NodeName) -> Result<(), DraftError> {
        let way = way_up(self, parent, Stamp::MAX)?;
        if way.end != End::Root {
            return Err(DraftError::NoSuchNode(parent));
        }
        check_depth(way.nodes.len() + 1)?;
        if child_by_name(self, parent, name)?.is_some() {
            return Err(DraftError::NameTaken {
                parent: self.path(parent)?,
                name: name.clone(),
            });
        }
        self.touched.insert((parent, Item::Child(name.clone())));
        Ok(())
    }

    /// Whether a visible node may have this property.
    pub(super) fn check_property(
        &self,
        node: NodeId,
        property: &PropertyName,
    ) -> Result<(), DraftError> {
        let Some(record) = view::node(self, node)? else {
            return Ok(());
        };
        if record.properties.len() + record.outside as usize >= PROPERTIES_MAX
            && self.property(node, property)?.is_none()
            && self.properties(node)?.len() >= PROPERTIES_MAX
        {
            return Err(DraftError::TooManyProperties(self.path(node)?));
        }
        Ok(())
    }

    pub(super) fn sibling(&self, parent: NodeId, step: &PathStep) -> Result<NodeId, DraftError> {
        child_by_step(self, parent, step)?
            .ok_or_else(|| DraftError::NoSuchSibling(step.to_string()))
    }
}

pub(super) fn check_depth(depth: usize) -> Result<(), DraftError> {
    if depth > PATH_DEPTH_MAX {
        Err(DraftError::TooDeep { depth })
    } else {
        Ok(())
    }
}
