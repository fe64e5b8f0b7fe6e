//! The tree as people see it: names, paths, order, values. Of a snapshot, or of a draft.

use super::explain::{self, Explanation, ItemHistory};
use super::fault::{Fault, on};
use super::register::{self, Place};
use super::settle::{self, Standing};
use super::structure::{End, way_up};
use super::trash::{self, TrashCursor, Trashed};
use super::view::{self, ReadError, View};
use crate::codec::record::{ChildEntry, Record};
use crate::codec::state_key::{self as key, Key};
use crate::model::order::effective_key;
use crate::model::{
    ChangeSetId, ConflictItem, NodeId, NodeName, NodePath, PathStep, PropertyName, Stamp, Value,
};

/// A visible node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeInfo {
    /// Its id.
    pub id: NodeId,
    /// Its parent; the root's is itself.
    pub parent: NodeId,
    /// Its name; nothing for the root.
    pub name: Option<NodeName>,
    /// What it is shown as: its name, with `~` and digits if another has the plain name (M10).
    pub shown: String,
}

/// A child in its parent's list.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// What it is shown as.
    pub shown: String,
    /// Its place in the list, to go on from.
    pub cursor: ChildCursor,
}

/// A place in a list of children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildCursor(Key);

/// A namesake: a child with a certain name.
pub(super) struct Namesake {
    pub(super) id: NodeId,
    placed: Stamp,
}

/// Reads of one state of a tree. Only what is visible is found, not the trash, but by the methods
/// that say so.
pub trait ReadTree {
    /// The records it reads.
    fn view(&self) -> &dyn View;

    /// The node at a path.
    ///
    /// # Errors
    /// If it can not be read.
    fn resolve(&self, path: &NodePath) -> Result<Option<NodeId>, ReadError> {
        let view = self.view();
        let known = view.known();
        if let Some(node) = known.and_then(|known| known.path(path)) {
            return Ok(Some(node));
        }
        let mut node = NodeId::ROOT;
        for step in path.steps() {
            match child_by_step(view, node, step)? {
                Some(child) => node = child,
                None => return Ok(None),
            }
        }
        if let Some(known) = known {
            known.keep_path(path, node);
        }
        Ok(Some(node))
    }

    /// The node at a path given as text, as far as that is known without looking: nothing does not
    /// say that there is none, nor that it is a path.
    fn recall(&self, path: &str) -> Option<NodeId> {
        self.view().known()?.text(path)
    }

    /// Whether a node is in the tree.
    ///
    /// # Errors
    /// If it can not be read.
    fn is_visible(&self, node: NodeId) -> Result<bool, ReadError> {
        settle::is_visible(self.view(), node)
    }

    /// A visible node.
    ///
    /// # Errors
    /// If it can not be read.
    fn node(&self, node: NodeId) -> Result<Option<NodeInfo>, ReadError> {
        if node == NodeId::ROOT {
            let (parent, shown) = (NodeId::ROOT, String::new());
            return Ok(Some(NodeInfo {
                id: node,
                parent,
                name: None,
                shown,
            }));
        }
        if !self.is_visible(node)? {
            return Ok(None);
        }
        let Some(standing) = standing(self.view(), node)? else {
            return Ok(None);
        };
        let shown = shown(self.view(), standing.parent, node, &standing.name)?;
        let Standing { parent, name, .. } = standing;
        Ok(Some(NodeInfo {
            id: node,
            parent,
            name: Some(name),
            shown,
        }))
    }

    /// Whether a visible node is `top` or below it.
    ///
    /// # Errors
    /// If it can not be read.
    fn lies_below(&self, node: NodeId, top: NodeId) -> Result<bool, ReadError> {
        let way = way_up(self.view(), node, Stamp::MAX)?;
        let passes = top == NodeId::ROOT || way.nodes.iter().any(|(above, _)| *above == top);
        Ok(passes && way.end == End::Root)
    }

    /// The path of a visible node: one that resolves to it.
    ///
    /// # Errors
    /// If it can not be read.
    fn path_of(&self, node: NodeId) -> Result<Option<NodePath>, ReadError> {
        let way = way_up(self.view(), node, Stamp::MAX)?;
        if way.end != End::Root {
            return Ok(None);
        }
        let mut steps = Vec::with_capacity(way.nodes.len());
        for (node, _) in way.nodes.iter().rev() {
            let Some(standing) = standing(self.view(), *node)? else {
                return Ok(None);
            };
            steps.push(step(self.view(), standing.parent, *node, standing.name)?);
        }
        Ok(Some(NodePath::from_steps(steps)))
    }

    /// A property of a node.
    ///
    /// # Errors
    /// If it can not be read.
    fn property(&self, node: NodeId, name: &PropertyName) -> Result<Option<Value>, ReadError> {
        let Some(record) = view::node(self.view(), node)? else {
            return Ok(None);
        };
        let effective = settle::property(self.view(), node, &record, name)?;
        Ok(effective.and_then(|effective| effective.value))
    }

    /// The properties of a node, by name.
    ///
    /// # Errors
    /// If they can not be read.
    fn properties(&self, node: NodeId) -> Result<Vec<(PropertyName, Value)>, ReadError> {
        let Some(record) = view::node(self.view(), node)? else {
            return Ok(Vec::new());
        };
        let Some(floor) = settle::floor(node, &record) else {
            return Ok(Vec::new());
        };
        let mut properties = Vec::new();
        for (name, register) in view::registers(self.view(), node, &record)? {
            let place = Place { node, name: &name };
            let effective = register::effective(self.view(), place, &register, floor)?;
            if let Some(value) = effective.and_then(|effective| effective.value) {
                properties.push((name, value));
            }
        }
        Ok(properties)
    }

    /// At most `limit` children of a node, in order (M11), after a place in the list.
    ///
    /// # Errors
    /// If they can not be read.
    fn children(
        &self,
        node: NodeId,
        after: Option<&ChildCursor>,
        limit: usize,
    ) -> Result<Vec<Child>, ReadError> {
        let view = self.view();
        let prefix = key::children(view.repo(), node);
        let end = key::after_prefix(&prefix);
        let mut from = match after {
            None => prefix,
            Some(ChildCursor(key)) => {
                let mut from = key.clone();
                from.push(0);
                from
            }
        };
        let mut children: Vec<Child> = Vec::new();
        let mut previous = after.and_then(|ChildCursor(key)| Some(key::child_of(key)?.0));
        while children.len() < limit {
            // One more than is wanted shows whether the last one has a namesake.
            let page = (limit - children.len()).saturating_add(1).min(512);
            let rows = view.scan(&from, &end, page)?;
            let complete = rows.len() < page;
            for (i, (key, record)) in rows.iter().enumerate() {
                let Some((entry, effective, id)) = child_row(key, record) else {
                    continue;
                };
                let next = rows
                    .get(i + 1)
                    .and_then(|(key, _)| Some(key::child_of(key)?.0));
                // Namesakes stand side by side, be it by their shadows.
                let alone = effective == effective_key(None, &entry.name)
                    && (next.is_some() || complete)
                    && previous.as_ref() != Some(&effective)
                    && next.as_ref() != Some(&effective);
                previous = Some(effective);
                if entry.shadow || children.len() == limit {
                    continue;
                }
                let shown = if alone {
                    entry.name.to_string()
                } else {
                    shown(view, node, id, &entry.name)?
                };
                let cursor = ChildCursor(key.clone());
                children.push(Child {
                    id,
                    name: entry.name.clone(),
                    shown,
                    cursor,
                });
            }
            match rows.last() {
                Some((key, _)) if !complete => {
                    from = key.clone();
                    from.push(0);
                }
                _ => break,
            }
        }
        Ok(children)
    }

    /// At most `limit` of the nodes that are in the trash, after a place in that list: the newest
    /// first. What is below them, and in the trash only along with them, is not listed. Reads all
    /// of the trash.
    ///
    /// # Errors
    /// If it can not be read.
    fn trash(&self, after: Option<TrashCursor>, limit: usize) -> Result<Vec<Trashed>, ReadError> {
        trash::list(self, after, limit)
    }

    /// What there is to say of a node in the trash, be it by itself or with one above it; nothing
    /// of one that is visible or not known.
    ///
    /// # Errors
    /// If it can not be read.
    fn trashed(&self, node: NodeId) -> Result<Option<Trashed>, ReadError> {
        trash::trashed(self, node)
    }

    /// The nodes in the trash, by themselves or with one above them, to which a path led before
    /// they went there: those that went last come first.
    ///
    /// # Errors
    /// If they can not be read.
    fn trashed_at(&self, path: &NodePath) -> Result<Vec<Trashed>, ReadError> {
        trash::at(self, path)
    }

    /// Why a node is as it is, be it visible or in the trash: of each of its items the value, and
    /// what became of the newest `limit` writes to it, at most
    /// [`WRITES_TOLD_MAX`](super::WRITES_TOLD_MAX); nothing if no such node is known.
    ///
    /// # Errors
    /// If it can not be read.
    fn explain(&self, node: NodeId, limit: usize) -> Result<Option<Explanation>, ReadError> {
        explain::explain(self, node, limit)
    }

    /// The items of a node that were ever written, in the order of [`Explanation::items`]; nothing
    /// if no such node is known.
    ///
    /// # Errors
    /// If they can not be read.
    fn items(&self, node: NodeId) -> Result<Option<Vec<ConflictItem>>, ReadError> {
        explain::items(self.view(), node)
    }

    /// As [`ReadTree::explain`], of one item.
    ///
    /// # Errors
    /// If it can not be read.
    fn explain_item(
        &self,
        node: NodeId,
        item: &ConflictItem,
        limit: usize,
    ) -> Result<ItemHistory, ReadError> {
        explain::item(self.view(), node, item, limit)
    }

    /// Whether an all-or-nothing change set is voided: it counts as if it had no operations (M13).
    ///
    /// # Errors
    /// If it can not be read.
    fn is_voided(&self, id: ChangeSetId) -> Result<bool, ReadError> {
        let record = self.view().get(&key::structural(self.view().repo(), id))?;
        Ok(matches!(record, Some(Record::Structural(set)) if set.voided))
    }

    /// The visible nodes that refer to a node, and by which property. The node may be gone.
    ///
    /// # Errors
    /// If they can not be read.
    fn referrers(&self, node: NodeId) -> Result<Vec<(NodeId, PropertyName)>, ReadError> {
        let view = self.view();
        let prefix = key::referrers(view.repo(), node);
        let mut referrers = Vec::new();
        for (key, _) in view.scan(&prefix, &key::after_prefix(&prefix), usize::MAX)? {
            if let Some((from, name)) = key::referrer_of(&key)
                && self.is_visible(from)?
            {
                referrers.push((from, name));
            }
        }
        Ok(referrers)
    }
}

fn child_row<'a>(key: &[u8], record: &'a Record) -> Option<(&'a ChildEntry, Vec<u8>, NodeId)> {
    let (effective, id) = key::child_of(key)?;
    match record {
        Record::Child(entry) => Some((entry, effective, id)),
        _ => None,
    }
}

/// Where a node is; nothing if it is not known.
pub(super) fn standing(view: &dyn View, node: NodeId) -> Result<Option<Standing>, ReadError> {
    Ok(view::node(view, node)?.as_deref().and_then(Standing::of))
}

/// The children of a node that have a name, in the order in which they came to their places: the
/// first is reached by the plain name (M10).
pub(super) fn namesakes(
    view: &dyn View,
    parent: NodeId,
    name: &NodeName,
) -> Result<Vec<Namesake>, ReadError> {
    let prefix = key::children_at(view.repo(), parent, &effective_key(None, name));
    let rows = view.scan(&prefix, &key::after_prefix(&prefix), usize::MAX)?;
    let mut namesakes: Vec<Namesake> = rows
        .iter()
        .filter_map(|(key, record)| child_row(key, record))
        .filter(|(entry, _, _)| entry.name == *name)
        .map(|(entry, _, id)| Namesake {
            id,
            placed: entry.placed,
        })
        .collect();
    namesakes.sort_by_key(|namesake| (namesake.placed, namesake.id));
    if on(Fault::ClashWonById) {
        namesakes.sort_by_key(|namesake| namesake.id);
    }
    Ok(namesakes)
}

/// The child that the plain name reaches.
pub(super) fn child_by_name(
    view: &dyn View,
    parent: NodeId,
    name: &NodeName,
) -> Result<Option<NodeId>, ReadError> {
    let known = view.known_below(parent);
    if let Some(child) = known.and_then(|known| known.child(parent, name)) {
        return Ok(Some(child));
    }
    let first = namesakes(view, parent, name)?.first().map(|first| first.id);
    if let (Some(known), Some(child)) = (known, first) {
        known.keep_child(parent, name, child);
    }
    Ok(first)
}

/// The child that a path element reaches.
pub(super) fn child_by_step(
    view: &dyn View,
    parent: NodeId,
    step: &PathStep,
) -> Result<Option<NodeId>, ReadError> {
    match step {
        PathStep::Plain(name) => child_by_name(view, parent, name),
        PathStep::Exact(name, digits) => {
            let matching = |namesake: &Namesake| namesake.id.to_string().starts_with(digits);
            let all = namesakes(view, parent, name)?;
            let mut found = all.into_iter().filter(matching);
            Ok(match (found.next(), found.next()) {
                (Some(only), None) => Some(only.id),
                _ => None,
            })
        }
    }
}

/// The path element that reaches a child.
fn step(
    view: &dyn View,
    parent: NodeId,
    child: NodeId,
    name: NodeName,
) -> Result<PathStep, ReadError> {
    let namesakes = namesakes(view, parent, &name)?;
    if namesakes.first().is_none_or(|first| first.id == child) {
        return Ok(PathStep::Plain(name));
    }
    let id = child.to_string();
    let others: Vec<String> = namesakes
        .iter()
        .filter(|namesake| namesake.id != child)
        .map(|namesake| namesake.id.to_string())
        .collect();
    let enough = (8..id.len())
        .find(|len| others.iter().all(|other| other[..*len] != id[..*len]))
        .unwrap_or(id.len());
    Ok(PathStep::Exact(name, id[..enough].to_owned()))
}

/// What a child is shown as.
fn shown(
    view: &dyn View,
    parent: NodeId,
    child: NodeId,
    name: &NodeName,
) -> Result<String, ReadError> {
    Ok(step(view, parent, child, name.clone())?.to_string())
}
