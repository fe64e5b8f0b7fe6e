//! What is to be seen of a state: the visible tree, and the children of each node.

use std::collections::BTreeMap;

use leveret::merge::ReadTree;
use leveret::model::NodeId;
use leveret::model::json::tree::TreeWriter;
use merge_spec as spec;

use crate::observation::Shown;

/// What a failing read would break.
const READABLE: &str = "the store of a test can be read";

/// The visible tree in the JSON form of cases.
///
/// # Panics
/// If it can not be read.
pub fn tree(view: &impl ReadTree) -> serde_json::Value {
    let mut writer = TreeWriter::new(false);
    let mut open = vec![enter(view, NodeId::ROOT, &mut writer)];
    while let Some(children) = open.last_mut() {
        match children.next() {
            Some(child) => {
                writer.enter(&child.shown);
                open.push(enter(view, child.id, &mut writer));
            }
            None => {
                writer.leave();
                open.pop();
            }
        }
    }
    serde_json::from_str(&writer.drain()).expect("the writer writes JSON")
}

/// Writes the properties of a node whose children come next.
fn enter(
    view: &impl ReadTree,
    node: NodeId,
    writer: &mut TreeWriter,
) -> std::vec::IntoIter<leveret::merge::Child> {
    let children = all_children(view, node);
    for (name, value) in view.properties(node).expect(READABLE) {
        let shared = children.iter().any(|child| child.shown == name.as_str());
        writer.property(&name, &value, shared);
    }
    children.into_iter()
}

fn all_children(view: &impl ReadTree, node: NodeId) -> Vec<leveret::merge::Child> {
    view.children(node, None, usize::MAX).expect(READABLE)
}

/// Every visible node's children in order, by its path as shown; the root's is empty.
///
/// # Panics
/// If they can not be read, or come out otherwise when they are read by pages.
pub fn children(view: &impl ReadTree) -> BTreeMap<String, Vec<Shown>> {
    walk(NodeId::ROOT, |path, node| {
        let children = all_children(view, node);
        // Pages must come to the same list; with one child there is but one.
        if children.len() > 1 {
            let mut paged = view.children(node, None, 1).expect(READABLE);
            while let Some(cursor) = paged.last().map(|child| child.cursor.clone()) {
                let next = view.children(node, Some(&cursor), 2).expect(READABLE);
                if next.is_empty() {
                    break;
                }
                paged.extend(next);
            }
            assert_eq!(paged, children, "children of {path:?} by pages");
        }
        children
            .into_iter()
            .map(|child| Shown {
                name: child.shown,
                node: child.id,
            })
            .collect()
    })
}

/// The same of the naive model.
pub fn spec_children(fold: &spec::Fold) -> BTreeMap<String, Vec<Shown>> {
    walk(NodeId::ROOT, |_, node| {
        fold.children(spec::NodeId(node.0))
            .into_iter()
            .map(|child| Shown {
                name: child.shown,
                node: NodeId(child.node.0),
            })
            .collect()
    })
}

/// The names of every visible node's children, in order, by path as shown.
///
/// # Panics
/// As [`children`].
pub fn orders(view: &impl ReadTree) -> BTreeMap<String, Vec<String>> {
    names(children(view))
}

/// The same of the naive model.
pub fn spec_orders(fold: &spec::Fold) -> BTreeMap<String, Vec<String>> {
    names(spec_children(fold))
}

fn names(lists: BTreeMap<String, Vec<Shown>>) -> BTreeMap<String, Vec<String>> {
    lists
        .into_iter()
        .map(|(path, list)| (path, list.into_iter().map(|child| child.name).collect()))
        .collect()
}

/// Asks for the children of a node, of those, and so on, with the paths they are shown at.
fn walk(
    from: NodeId,
    mut children: impl FnMut(&str, NodeId) -> Vec<Shown>,
) -> BTreeMap<String, Vec<Shown>> {
    let mut lists = BTreeMap::new();
    let mut waiting = vec![(String::new(), from)];
    while let Some((path, node)) = waiting.pop() {
        let list = children(&path, node);
        for child in &list {
            waiting.push((format!("{path}/{}", child.name), child.node));
        }
        lists.insert(path, list);
    }
    lists
}
