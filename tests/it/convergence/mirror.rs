//! A mirror of the visible tree that is told nothing but the events.

use std::collections::BTreeMap;

use leveret::merge::{Change, ReadTree, Snapshot};
use leveret::model::{NodeId, NodeName, PropertyName, Value};
use leveret_sim::engine::Visible;

/// A node as the mirror has it.
#[derive(Clone, Debug, PartialEq)]
struct Reflection {
    parent: NodeId,
    /// Nothing for the root.
    name: Option<NodeName>,
    properties: BTreeMap<PropertyName, Value>,
}

/// The visible nodes, by what was told of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mirror(BTreeMap<NodeId, Reflection>);

impl Mirror {
    /// Of an empty repository.
    pub(super) fn new() -> Self {
        let root = Reflection {
            parent: NodeId::ROOT,
            name: None,
            properties: BTreeMap::new(),
        };
        Self(BTreeMap::from([(NodeId::ROOT, root)]))
    }

    /// Applies the events of a merge, which led to this state, in their order. Nothing is read of
    /// the state but what an event announces.
    pub(super) fn apply(&mut self, changes: &[Change], after: &Snapshot) -> Result<(), String> {
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
                self.known(*node)?;
                let mut gone = vec![*node];
                while let Some(node) = gone.pop() {
                    self.0.remove(&node);
                    let below = self.0.iter().filter(|(_, other)| other.parent == node);
                    gone.extend(below.map(|(id, _)| *id));
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
            self.0.insert(id, reflect(id, state)?);
            let children = state.children(id, None, usize::MAX).unwrap();
            waiting.extend(children.iter().map(|child| child.id));
        }
        Ok(())
    }

    /// Compares with all that is to be seen.
    pub(super) fn check(&self, visible: &Visible) -> Result<(), String> {
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
    let info = state.node(node).unwrap();
    let info = info.ok_or("a listed child is not visible")?;
    Ok(Reflection {
        parent: info.parent,
        name: info.name,
        properties: state.properties(node).unwrap().into_iter().collect(),
    })
}
