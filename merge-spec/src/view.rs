//! What is seen of a fold: names (M10), order (M11), and the visible tree as JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use crate::change::{NodeId, Stamp};
use crate::fold::Fold;

/// A visible child of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Child {
    /// What reaches it: its name or, for all but the first of that name, the name, `~`, and hex
    /// digits of its id.
    pub shown: String,
    /// Its name as written.
    pub name: String,
    /// The node.
    pub node: NodeId,
    /// What it sorts by (M11).
    pub effective_key: Vec<u8>,
}

/// Splits `name~8hex`, a name with at least 8 hex digits, in its two halves (M10).
pub(crate) fn split_clashing(shown: &str) -> Option<(&str, &str)> {
    let (name, digits) = shown.rsplit_once('~')?;
    let hex = digits.len() >= 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    hex.then_some((name, digits))
}

impl Fold {
    /// Who is first of those that share a name: the one that came to its place first; equal: the
    /// smaller id (M10).
    pub(crate) fn precedence(&self, id: NodeId) -> (Option<Stamp>, NodeId) {
        (self.tree.node(id).placed(), id)
    }

    /// The children of a node in their order (M11), by the names that reach them (M10).
    ///
    /// Empty for a node that is not known or is trashed.
    #[must_use]
    pub fn children(&self, of: NodeId) -> Vec<Child> {
        if !self.tree.contains(of) || self.tree.trashed(of) {
            return Vec::new();
        }
        let ids = self.tree.children(of);
        let mut children: Vec<Child> = ids
            .iter()
            .map(|id| {
                let name = self.tree.name(*id);
                let same: Vec<NodeId> = ids
                    .iter()
                    .copied()
                    .filter(|other| self.tree.name(*other) == name)
                    .collect();
                let first = same
                    .iter()
                    .all(|other| self.precedence(*id) <= self.precedence(*other));
                Child {
                    shown: if first {
                        name.to_owned()
                    } else {
                        clashing_name(name, *id, &same)
                    },
                    name: name.to_owned(),
                    node: *id,
                    effective_key: self.tree.node(*id).effective_key(),
                }
            })
            .collect();
        children.sort_by(|a, b| (&a.effective_key, a.node).cmp(&(&b.effective_key, b.node)));
        children
    }

    /// The visible node that a path leads to, each element a name as shown or, clash or not, in
    /// the form `name~8hex`; no elements lead to the root.
    #[must_use]
    pub fn find(&self, path: &[String]) -> Option<NodeId> {
        let mut at = NodeId::ROOT;
        for element in path {
            let children = self.children(at);
            let plain = children.iter().find(|child| child.shown == *element);
            let by_digits = || {
                let (name, digits) = split_clashing(element)?;
                let mut fitting = children
                    .iter()
                    .filter(|child| child.name == name && child.node.to_hex().starts_with(digits));
                fitting.next().filter(|_| fitting.next().is_none())
            };
            at = plain.or_else(by_digits)?.node;
        }
        Some(at)
    }

    /// The nodes that are trashed, by themselves or through an ancestor.
    #[must_use]
    pub fn trashed(&self) -> BTreeSet<NodeId> {
        self.nodes()
            .keys()
            .copied()
            .filter(|id| self.tree.trashed(*id))
            .collect()
    }

    /// The visible tree as cases write it: objects for nodes, their object members the children,
    /// their other members the properties.
    ///
    /// A property that shares its name with a child is written with `@` before it; so is, once
    /// more, any name that begins with `@`.
    #[must_use]
    pub fn tree(&self) -> Json {
        // Parents before children, so that from the end backwards all children come first.
        let mut order = vec![(NodeId::ROOT, NodeId::ROOT, String::new())];
        let mut next = 0;
        while let Some((id, ..)) = order.get(next) {
            let parent = *id;
            let children = self.children(parent);
            order.extend(
                children
                    .into_iter()
                    .map(|child| (child.node, parent, child.shown)),
            );
            next += 1;
        }
        let mut done: BTreeMap<NodeId, Map<String, Json>> = BTreeMap::new();
        while let Some((id, parent, shown)) = order.pop() {
            let mut object = done.remove(&id).unwrap_or_default();
            let node = self.tree.node(id);
            let names = self.children(id);
            for property in node.properties.keys() {
                if let Some((Some(value), _)) = node.property(property) {
                    let shared = names.iter().any(|child| child.shown == *property);
                    let at = if shared { "@" } else { "" };
                    object.insert(format!("{at}{}", escaped(property)), value.to_json());
                }
            }
            if id == NodeId::ROOT {
                return Json::Object(object);
            }
            done.entry(parent)
                .or_default()
                .insert(escaped(&shown), Json::Object(object));
        }
        unreachable!("the root is the last to be popped")
    }
}

fn escaped(name: &str) -> String {
    if name.starts_with('@') {
        format!("@{name}")
    } else {
        name.to_owned()
    }
}

/// The name, `~`, and the first 8 hex digits of the id; more where another of that name begins
/// with the same ones.
fn clashing_name(name: &str, id: NodeId, same: &[NodeId]) -> String {
    let hex = id.to_hex();
    let alone = |length: &usize| {
        same.iter()
            .all(|other| *other == id || !other.to_hex().starts_with(&hex[..*length]))
    };
    let length = (8..hex.len()).find(alone).unwrap_or(hex.len());
    format!("{name}~{}", &hex[..length])
}
