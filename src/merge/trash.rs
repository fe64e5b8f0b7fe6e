//! The trash, read: what is in it, where that was, and what a path led to before a removal (M7).
//!
//! Nothing is written here. Restoring is a move (M9), which [`super::Draft::restore`] makes.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::read::ReadTree;
use super::structure::{End, way_up};
use super::view::{self, ReadError, View};
use crate::codec::record::{How, NodeRecord, Record};
use crate::codec::state_key as key;
use crate::model::limits::PATH_DEPTH_MAX;
use crate::model::order::effective_key;
use crate::model::{ChangeSetId, NodeId, NodeName, NodePath, PathStep, Stamp};

/// Rows of the trash read at a time.
const PAGE: usize = 512;
/// Nodes that are followed at the same time when a path is looked up in the trash.
const CANDIDATES_MAX: usize = 1_024;
/// Longest way to the place that something had, in names.
const FORMER_DEPTH_MAX: usize = 4 * PATH_DEPTH_MAX;

/// A node that is in the trash, by itself or with one above it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trashed {
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Where it was: its newest parent that is not the trash.
    pub parent: NodeId,
    /// The path it had: the present path of where it was, and its name. Nothing if that can not be
    /// told.
    pub path: Option<NodePath>,
    /// The node that is in the trash by itself: this one, or the nearest above it.
    pub top: NodeId,
    /// The operation that put that one there.
    pub by: Stamp,
    /// Whether it was put there because an add brought its parent back empty (M6), and not by a
    /// removal.
    pub emptied: bool,
    /// When it came to where it is, the trash or its trashed parent, or got its name there.
    placed: Stamp,
}

impl Trashed {
    /// Its place in the list of the trash, to go on from.
    pub fn cursor(&self) -> TrashCursor {
        TrashCursor(self.placed, self.node)
    }
}

/// A place in the list of the trash. Its text form is `change set id.operation.node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrashCursor(Stamp, NodeId);

/// Why a text is no place in the list of the trash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no place in the list of the trash")]
pub struct TrashCursorError(String);

impl fmt::Display for TrashCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0.id, self.0.index, self.1)
    }
}

impl FromStr for TrashCursor {
    type Err = TrashCursorError;

    fn from_str(text: &str) -> Result<Self, TrashCursorError> {
        let parse = || {
            let mut parts = text.split('.');
            let id: ChangeSetId = parts.next()?.parse().ok()?;
            let index: u32 = parts.next()?.parse().ok()?;
            let node: NodeId = parts.next()?.parse().ok()?;
            parts
                .next()
                .is_none()
                .then_some(Self(Stamp { id, index }, node))
        };
        parse().ok_or_else(|| TrashCursorError(text.chars().take(120).collect()))
    }
}

/// At most `limit` of the nodes that are in the trash by themselves, the newest first.
pub(super) fn list(
    tree: &(impl ReadTree + ?Sized),
    after: Option<TrashCursor>,
    limit: usize,
) -> Result<Vec<Trashed>, ReadError> {
    let view = tree.view();
    let prefix = key::children(view.repo(), NodeId::TRASH);
    let end = key::after_prefix(&prefix);
    let mut from = prefix;
    // The trash is listed by name; the newest are picked from all of it.
    let mut newest = BTreeSet::new();
    loop {
        let rows = view.scan(&from, &end, PAGE)?;
        for (key, record) in &rows {
            let (Some((_, child)), Record::Child(entry)) = (key::child_of(key), record) else {
                continue;
            };
            let cursor = TrashCursor(entry.placed, child);
            if !entry.shadow && after.is_none_or(|after| cursor < after) {
                newest.insert(cursor);
            }
            if newest.len() > limit {
                newest.pop_first();
            }
        }
        match rows.last() {
            Some((key, _)) if rows.len() == PAGE => {
                from = key.clone();
                from.push(0);
            }
            _ => break,
        }
    }
    let mut list = Vec::with_capacity(newest.len());
    for TrashCursor(_, node) in newest.into_iter().rev() {
        list.extend(trashed(tree, node)?);
    }
    Ok(list)
}

/// What there is to say of a node that is in the trash; nothing of any other.
pub(super) fn trashed(
    tree: &(impl ReadTree + ?Sized),
    node: NodeId,
) -> Result<Option<Trashed>, ReadError> {
    let view = tree.view();
    let way = way_up(view, node, Stamp::MAX)?;
    let (End::Trash, Some((top, by))) = (way.end, way.nodes.last()) else {
        return Ok(None);
    };
    let (Some(record), Some(top_record)) = (view::node(view, node)?, view::node(view, *top)?)
    else {
        return Ok(None);
    };
    let (Some((named, name)), Some(parent)) = (record.names.last(), former_parent(&record)) else {
        return Ok(None);
    };
    let arrived = record
        .parents
        .last()
        .map_or(Stamp::MIN, |write| write.stamp);
    let how = top_record.parents.last().map(|write| write.how);
    Ok(Some(Trashed {
        node,
        name: name.clone(),
        parent,
        path: former_path(tree, node)?,
        top: *top,
        by: *by,
        emptied: how == Some(How::Emptied),
        placed: arrived.max(*named),
    }))
}

/// Where a node was last outside the trash.
fn former_parent(record: &NodeRecord) -> Option<NodeId> {
    let mut places = record.parents.iter().rev().map(|write| write.parent);
    places.find(|parent| *parent != NodeId::TRASH)
}

/// The path that a node had: from the nearest visible node on the way that it came from.
fn former_path(
    tree: &(impl ReadTree + ?Sized),
    node: NodeId,
) -> Result<Option<NodePath>, ReadError> {
    let view = tree.view();
    let mut names = Vec::new();
    let mut next = node;
    loop {
        let way = way_up(view, next, Stamp::MAX)?;
        if way.end == End::Root {
            break;
        }
        for (node, _) in &way.nodes {
            let record = view::node(view, *node)?.unwrap_or_default();
            let place = record.names.last().zip(former_parent(&record));
            let Some(((_, name), parent)) = place else {
                return Ok(None);
            };
            names.push(name.clone());
            next = parent;
        }
        if names.len() > FORMER_DEPTH_MAX {
            return Ok(None);
        }
    }
    let Some(path) = tree.path_of(next)? else {
        return Ok(None);
    };
    let mut steps = path.steps().to_vec();
    steps.extend(names.into_iter().rev().map(PathStep::Plain));
    Ok(Some(NodePath::from_steps(steps)))
}

/// The nodes in the trash to which a path led before they went there, those that went last first.
pub(super) fn at(
    tree: &(impl ReadTree + ?Sized),
    path: &NodePath,
) -> Result<Vec<Trashed>, ReadError> {
    let view = tree.view();
    let mut found = BTreeSet::from([NodeId::ROOT]);
    for step in path.steps() {
        let (name, digits) = match step {
            PathStep::Plain(name) => (name, ""),
            PathStep::Exact(name, digits) => (name, digits.as_str()),
        };
        let mut next = BTreeSet::new();
        for child in named(view, NodeId::TRASH, name)? {
            let record = view::node(view, child)?;
            let place = record.as_deref().and_then(former_parent);
            if place.is_some_and(|place| found.contains(&place)) {
                next.insert(child);
            }
        }
        for parent in found {
            next.extend(named(view, parent, name)?);
        }
        next.retain(|node| node.to_string().starts_with(digits));
        while next.len() > CANDIDATES_MAX {
            next.pop_last();
        }
        found = next;
    }
    let mut list = Vec::new();
    for node in found {
        list.extend(trashed(tree, node)?);
    }
    list.sort_by_key(|trashed| std::cmp::Reverse((trashed.by, trashed.placed, trashed.node)));
    Ok(list)
}

/// The children of a node, or of the trash, that have a name.
fn named(view: &dyn View, parent: NodeId, name: &NodeName) -> Result<Vec<NodeId>, ReadError> {
    let prefix = key::children_at(view.repo(), parent, &effective_key(None, name));
    let rows = view.scan(&prefix, &key::after_prefix(&prefix), usize::MAX)?;
    let named = rows.iter().filter_map(|(key, record)| match record {
        Record::Child(entry) if entry.name == *name => Some(key::child_of(key)?.1),
        _ => None,
    });
    Ok(named.collect())
}
