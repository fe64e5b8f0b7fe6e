//! What is to be seen of a state: the visible tree, and the children of each node.

use std::collections::BTreeMap;

use leveret::merge::ReadTree;
use leveret::model::json::tree::TreeWriter;
use leveret::model::{NodeId, NodeName, PropertyName, Value};
use merge_spec as spec;

use crate::observation::Shown;

/// What a failing read would break.
const READABLE: &str = "the store of a test can be read";

/// All that is to be seen of a state, read once.
#[derive(Clone, Debug, PartialEq)]
pub struct Visible {
    /// The nodes, each before what is below it, siblings in their order.
    pub nodes: Vec<VisibleNode>,
}

/// A node that is to be seen.
#[derive(Clone, Debug, PartialEq)]
pub struct VisibleNode {
    /// Its path as shown; the root's is empty.
    pub path: String,
    /// How many names the path has.
    pub depth: usize,
    /// The node.
    pub id: NodeId,
    /// Its parent; the root's is itself.
    pub parent: NodeId,
    /// Its name; nothing for the root.
    pub name: Option<NodeName>,
    /// What it is shown as; empty for the root.
    pub shown: String,
    /// Its children, in order.
    pub children: Vec<Shown>,
    /// Its properties, by name.
    pub properties: Vec<(PropertyName, Value)>,
}

impl Visible {
    /// Reads everything.
    ///
    /// # Panics
    /// If it can not be read.
    pub fn of(view: &impl ReadTree) -> Self {
        let mut nodes = Vec::new();
        let mut waiting = vec![VisibleNode {
            path: String::new(),
            depth: 0,
            id: NodeId::ROOT,
            parent: NodeId::ROOT,
            name: None,
            shown: String::new(),
            children: Vec::new(),
            properties: Vec::new(),
        }];
        while let Some(mut node) = waiting.pop() {
            let children = view.children(node.id, None, usize::MAX).expect(READABLE);
            node.properties = view.properties(node.id).expect(READABLE);
            node.children = children
                .iter()
                .map(|child| Shown {
                    name: child.shown.clone(),
                    node: child.id,
                })
                .collect();
            // The first one is to be popped first.
            for child in children.into_iter().rev() {
                waiting.push(VisibleNode {
                    path: format!("{}/{}", node.path, child.shown),
                    depth: node.depth + 1,
                    id: child.id,
                    parent: node.id,
                    name: Some(child.name),
                    shown: child.shown,
                    children: Vec::new(),
                    properties: Vec::new(),
                });
            }
            nodes.push(node);
        }
        Self { nodes }
    }

    /// The tree in the JSON form of cases.
    ///
    /// # Panics
    /// Never: the writer writes JSON.
    pub fn tree(&self) -> serde_json::Value {
        let mut writer = TreeWriter::new(false);
        let mut depth = 0;
        for node in &self.nodes {
            if node.depth > 0 {
                for _ in node.depth..=depth {
                    writer.leave();
                }
                writer.enter(&node.shown);
            }
            depth = node.depth;
            for (name, value) in &node.properties {
                let mut children = node.children.iter();
                let shared = children.any(|child| child.name == name.as_str());
                writer.property(name, value, shared);
            }
        }
        for _ in 0..=depth {
            writer.leave();
        }
        serde_json::from_str(&writer.drain()).expect("the writer writes JSON")
    }

    /// Every node's children in order, by its path as shown; the root's is empty.
    pub fn children(&self) -> BTreeMap<String, Vec<Shown>> {
        let lists = self.nodes.iter();
        lists
            .map(|node| (node.path.clone(), node.children.clone()))
            .collect()
    }
}

/// The visible tree in the JSON form of cases.
///
/// # Panics
/// If it can not be read.
pub fn tree(view: &impl ReadTree) -> serde_json::Value {
    Visible::of(view).tree()
}

/// Reads the children of every visible node by pages, which must come to the same lists.
///
/// # Panics
/// If they can not be read, or do not.
pub fn check_pages(view: &impl ReadTree) {
    for node in Visible::of(view).nodes {
        let mut paged = view.children(node.id, None, 1).expect(READABLE);
        while let Some(cursor) = paged.last().map(|child| child.cursor.clone()) {
            let next = view.children(node.id, Some(&cursor), 2).expect(READABLE);
            if next.is_empty() {
                break;
            }
            paged.extend(next);
        }
        let paged = paged.into_iter().map(|child| Shown {
            name: child.shown,
            node: child.id,
        });
        let path = node.path;
        assert!(paged.eq(node.children), "children of {path:?} by pages");
    }
}

/// Every visible node's children in order, by its path as shown, of the naive model.
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
/// If they can not be read.
pub fn orders(view: &impl ReadTree) -> BTreeMap<String, Vec<String>> {
    names(Visible::of(view).children())
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
