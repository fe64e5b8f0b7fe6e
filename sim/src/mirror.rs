//! A mirror of the visible tree that is told nothing but the events.

use std::collections::{BTreeMap, BTreeSet};

use leveret::merge::{Change, ReadTree, Snapshot};
use leveret::model::{NodeId, NodeName, PropertyName, Value};

use crate::engine::Visible;

/// What a failing read would break.
const READABLE: &str = "the store of a test can be read";

/// A node as the mirror has it.
#[derive(Clone, Debug, PartialEq)]
struct Reflection {
    parent: NodeId,
    /// Nothing for the root.
    name: Option<NodeName>,
    properties: BTreeMap<PropertyName, Value>,
    children: BTreeSet<NodeId>,
}

/// The visible nodes, by what was told of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror(BTreeMap<NodeId, Reflection>);

impl Default for Mirror {
    /// Of an empty repository.
    fn default() -> Self {
        let root = Reflection {
            parent: NodeId::ROOT,
            name: None,
            properties: BTreeMap::new(),
            children: BTreeSet::new(),
        };
        Self(BTreeMap::from([(NodeId::ROOT, root)]))
    }
}

impl Mirror {
    /// Of a state, all of which is read.
    ///
    /// # Panics
    /// If it can not be read.
    pub fn of(state: &Snapshot) -> Self {
        let mut mirror = Self::default();
        let root = mirror.0.get_mut(&NodeId::ROOT).expect("it has a root");
        root.properties = state
            .properties(NodeId::ROOT)
            .expect(READABLE)
            .into_iter()
            .collect();
        let children = state
            .children(NodeId::ROOT, None, usize::MAX)
            .expect(READABLE);
        for child in children {
            mirror
                .read(child.id, state)
                .expect("a listed child is visible");
        }
        mirror
    }

    /// How many nodes it has, the root included.
    pub fn nodes(&self) -> usize {
        self.0.len()
    }

    /// Applies the events of a merge, which led to this state, in their order. Nothing is read of
    /// the state but what an event announces.
    ///
    /// # Errors
    /// Which event does not fit what was told before.
    pub fn apply(&mut self, changes: &[Change], after: &Snapshot) -> Result<(), String> {
        for change in changes {
            self.one(change, after)
                .map_err(|what| format!("events: {change:?}: {what}"))?;
        }
        Ok(())
    }

    fn one(&mut self, change: &Change, after: &Snapshot) -> Result<(), String> {
        match change {
            Change::Appeared { node, parent, .. } => {
                if self.0.contains_key(node) {
                    return Err("it was there".into());
                }
                if !self.0.contains_key(parent) {
                    return Err("its parent is not there".into());
                }
                self.read(*node, after)
            }
            Change::Moved { node, from, to } => {
                let known = self.known(*node)?;
                if (known.parent, known.name.as_ref()) != (from.0, Some(&from.1)) {
                    return Err(format!("it was {known:?}"));
                }
                known.parent = to.0;
                known.name = Some(to.1.clone());
                self.known(from.0)?.children.remove(node);
                self.known(to.0)?.children.insert(*node);
                Ok(())
            }
            Change::Ordered { node } => self.known(*node).map(drop),
            Change::Property {
                node,
                name,
                before,
                after,
            } => {
                let properties = &mut self.known(*node)?.properties;
                if properties.get(name) != before.as_ref() {
                    return Err(format!("it was {:?}", properties.get(name)));
                }
                match after {
                    Some(value) => properties.insert(name.clone(), value.clone()),
                    None => properties.remove(name),
                };
                Ok(())
            }
            Change::Vanished { node, .. } => {
                let parent = self.known(*node)?.parent;
                if let Some(parent) = self.0.get_mut(&parent) {
                    parent.children.remove(node);
                }
                let mut gone = vec![*node];
                while let Some(node) = gone.pop() {
                    if let Some(known) = self.0.remove(&node) {
                        gone.extend(known.children);
                    }
                }
                Ok(())
            }
            _ => Err("no such event is known".into()),
        }
    }

    fn known(&mut self, node: NodeId) -> Result<&mut Reflection, String> {
        self.0
            .get_mut(&node)
            .ok_or_else(|| "it is not there".into())
    }

    /// Reads a node that appeared, and what is below it but for what was there before.
    fn read(&mut self, node: NodeId, state: &Snapshot) -> Result<(), String> {
        let mut waiting = vec![node];
        while let Some(id) = waiting.pop() {
            if self.0.contains_key(&id) {
                continue;
            }
            let reflection = reflect(id, state)?;
            if let Some(parent) = self.0.get_mut(&reflection.parent) {
                parent.children.insert(id);
            }
            self.0.insert(id, reflection);
            let children = state.children(id, None, usize::MAX).expect(READABLE);
            waiting.extend(children.iter().map(|child| child.id));
        }
        Ok(())
    }

    /// Compares with all that is to be seen.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self, visible: &Visible) -> Result<(), String> {
        for node in &visible.nodes {
            let mirrored = self.0.get(&node.id);
            let same = mirrored.is_some_and(|mirrored| {
                mirrored.parent == node.parent
                    && mirrored.name == node.name
                    && mirrored
                        .properties
                        .iter()
                        .eq(node.properties.iter().map(|(n, v)| (n, v)))
            });
            if !same {
                return Err(format!("events: {node:?} is by the events {mirrored:?}"));
            }
        }
        if self.0.len() > visible.nodes.len() {
            return Err("events: there are nodes in the mirror that have vanished".into());
        }
        Ok(())
    }
}

fn reflect(node: NodeId, state: &Snapshot) -> Result<Reflection, String> {
    let info = state.node(node).expect(READABLE);
    let info = info.ok_or("a listed child is not visible")?;
    let properties = state.properties(node).expect(READABLE);
    Ok(Reflection {
        parent: info.parent,
        name: info.name,
        properties: properties.into_iter().collect(),
        children: BTreeSet::new(),
    })
}
