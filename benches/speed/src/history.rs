//! Histories of change sets, made without a replica; the same each time.
//!
//! `benches/peers` uses this file too.

use std::sync::Arc;

use leveret::model::{
    ChangeSet, ChangeSetId, Dependency, NodeId, Operation, OriginId, RepoId, Sequence, Time,
};

/// Numbers that look random, always the same ones (splitmix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// The next one below a bound.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// Somebody who saves.
pub(crate) struct Author {
    origin: OriginId,
    sequence: Sequence,
}

impl Author {
    /// One of a number.
    pub(crate) fn new(number: u8) -> Self {
        Self {
            origin: OriginId([number; 16]),
            sequence: Sequence(0),
        }
    }

    /// The newest change set, to depend on.
    pub(crate) fn newest(&self) -> Dependency {
        Dependency {
            origin: self.origin,
            sequence: self.sequence,
        }
    }

    /// The next change set: at this time, having seen that, and doing this.
    pub(crate) fn save(
        &mut self,
        time: u64,
        seen: &[Dependency],
        operations: Vec<Operation>,
    ) -> Arc<ChangeSet> {
        self.sequence = self.sequence.next();
        Arc::new(ChangeSet {
            repo: RepoId::MAIN,
            id: ChangeSetId {
                time: Time(time),
                origin: self.origin,
            },
            sequence: self.sequence,
            previous: Default::default(),
            birth: None,
            dependencies: seen.to_vec(),
            rules: 1,
            all_or_nothing: false,
            message: None,
            operations,
        })
    }
}

/// Adds the node of a number under a parent, and says which it is.
pub(crate) fn add(parent: NodeId, number: usize) -> (NodeId, Operation) {
    let name = format!("n{number}").parse().unwrap();
    let node = NodeId::of_add(parent, &name, None, 0);
    let add = Operation::Add {
        parent,
        name,
        truncated_at: None,
        generation: 0,
    };
    (node, add)
}

/// Sets a property to a number.
pub(crate) fn set(node: NodeId, property: &str, number: usize) -> Operation {
    Operation::Set {
        node,
        property: property.parse().unwrap(),
        value: (number as i64).into(),
    }
}

/// A tree as its author sees it, so that what he does makes sense.
#[derive(Clone)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<NodeId>,
    /// The parent of each, by place in `nodes`; nothing is below the root.
    parents: Vec<Option<usize>>,
    /// Whether it was removed itself.
    removed: Vec<bool>,
}

impl Tree {
    /// So many nodes with ten children each, as far as they go; and the saves that made them.
    pub(crate) fn new(author: &mut Author, nodes: usize) -> (Self, Vec<Arc<ChangeSet>>) {
        let mut tree = Self {
            nodes: Vec::with_capacity(nodes),
            parents: Vec::with_capacity(nodes),
            removed: Vec::new(),
        };
        let mut sets = Vec::new();
        let mut operations = Vec::new();
        for i in 0..nodes {
            let parent = (i / 10).checked_sub(1);
            let (node, add) = add(parent.map_or(NodeId::ROOT, |p| tree.nodes[p]), i);
            tree.insert(node, parent);
            operations.push(add);
            if operations.len() == 1_000 || i + 1 == nodes {
                let operations = std::mem::take(&mut operations);
                sets.push(author.save(1 + sets.len() as u64, &[], operations));
            }
        }
        (tree, sets)
    }

    fn insert(&mut self, node: NodeId, parent: Option<usize>) {
        self.nodes.push(node);
        self.parents.push(parent);
        self.removed.push(false);
    }

    /// Whether a node is `above`, or below it; and whether it is there at all.
    fn way(&self, mut node: usize, above: usize) -> (bool, bool) {
        let (mut passes, mut live) = (false, true);
        loop {
            passes |= node == above;
            live &= !self.removed[node];
            match self.parents[node] {
                Some(parent) => node = parent,
                None => return (passes, live),
            }
        }
    }

    /// Some node that is there.
    pub(crate) fn any(&self, numbers: &mut Numbers) -> usize {
        loop {
            let node = numbers.below(self.nodes.len());
            if self.way(node, node).1 {
                return node;
            }
        }
    }

    /// Adds a node of a number somewhere.
    pub(crate) fn add(&mut self, numbers: &mut Numbers, number: usize) -> Operation {
        let parent = self.any(numbers);
        let (node, add) = add(self.nodes[parent], number);
        self.insert(node, Some(parent));
        add
    }

    /// Moves some node to some other that is not below it; their places in `nodes`.
    pub(crate) fn move_any(&mut self, numbers: &mut Numbers) -> (usize, usize) {
        loop {
            let (node, parent) = (self.any(numbers), self.any(numbers));
            if !self.way(parent, node).0 {
                self.parents[node] = Some(parent);
                return (node, parent);
            }
        }
    }

    /// The operation of a move.
    pub(crate) fn moved(&self, (node, parent): (usize, usize)) -> Operation {
        Operation::Move {
            node: self.nodes[node],
            parent: self.nodes[parent],
            name: None,
        }
    }

    /// Removes some node.
    pub(crate) fn remove_any(&mut self, numbers: &mut Numbers) -> Operation {
        let node = self.any(numbers);
        self.removed[node] = true;
        Operation::Remove {
            node: self.nodes[node],
        }
    }
}
