//! A merge engine on a memory store, fed with change sets, and read as the naive model is read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use leveret::merge::{
    Checkpoint, Draft, History, MergeCounters, ReadTree, Snapshot, State, Version,
};
use leveret::model::json::tree::TreeWriter;
use leveret::model::{
    ChangeSet, ChangeSetId, Dependency, NodeId, NodeName, Operation, OrderKey, OriginId,
    PropertyName, RepoId, Sequence, Time,
};
use leveret::storage::memory::MemoryStorage;
use leveret::storage::{Storage, StorageError};
use merge_spec as spec;

/// One replica's merge engine, without streams, signatures and network.
pub struct Engine {
    pub state: Arc<State>,
    storage: Arc<MemoryStorage>,
    history: Log,
}

/// Every change set that was ever made, shared by the engines of a test.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Sets>>);

type Sets = BTreeMap<(OriginId, Sequence), Arc<ChangeSet>>;

impl Log {
    pub fn add(&self, set: Arc<ChangeSet>) {
        self.0
            .lock()
            .unwrap()
            .insert((set.id.origin, set.sequence), set);
    }
}

impl History for Log {
    fn change_set(
        &self,
        origin: OriginId,
        sequence: Sequence,
    ) -> Result<Arc<ChangeSet>, StorageError> {
        let set = self.0.lock().unwrap().get(&(origin, sequence)).cloned();
        set.ok_or_else(|| StorageError::Damaged(format!("no change set {origin} {sequence}")))
    }
}

impl Engine {
    pub fn new(history: Log) -> Self {
        Self::on(Arc::new(MemoryStorage::new()), history)
    }

    pub fn on(storage: Arc<MemoryStorage>, history: Log) -> Self {
        let state = State::open(RepoId::MAIN, storage.clone(), 1 << 20).unwrap();
        Self {
            state,
            storage,
            history,
        }
    }

    /// Merges change sets that are ready, as one batch, and publishes the outcome.
    pub fn merge(&self, batch: &[Arc<ChangeSet>]) -> Snapshot {
        let merged = self.state.merge(batch, &self.history).unwrap();
        self.state.publish(merged.version);
        merged.snapshot
    }

    /// Merges change sets that are ready, and leaves it to the caller to publish.
    pub fn merge_unpublished(&self, batch: &[Arc<ChangeSet>]) -> Version {
        self.state.merge(batch, &self.history).unwrap().version
    }

    /// Writes a checkpoint to the store.
    pub fn write(&self, checkpoint: Checkpoint) {
        self.storage
            .checkpoint(&checkpoint.changes, &mut || Ok(()))
            .unwrap();
        self.state.checkpoint_done(checkpoint);
    }

    /// Whether everything that a change set depends on is applied.
    pub fn is_ready(&self, set: &ChangeSet) -> bool {
        let heads = self.state.heads();
        let applied = |origin| heads.get(&origin).map_or(Sequence(0), |head| head.sequence);
        applied(set.id.origin).next() == set.sequence
            && set
                .dependencies
                .iter()
                .all(|d| applied(d.origin) >= d.sequence)
    }

    /// Writes a checkpoint and opens the state again from the store.
    pub fn restart(&mut self) {
        if let Some(checkpoint) = self.state.take_checkpoint() {
            self.storage
                .checkpoint(&checkpoint.changes, &mut || Ok(()))
                .unwrap();
            self.state.checkpoint_done(checkpoint);
        }
        self.state = State::open(RepoId::MAIN, self.storage.clone(), 1 << 20).unwrap();
    }

    pub fn counters(&self) -> MergeCounters {
        self.state.counters()
    }

    /// Makes a change set of a draft, as a replica does.
    pub fn save(&self, draft: &Draft, time: u64, origin: OriginId) -> Arc<ChangeSet> {
        let id = ChangeSetId {
            time: Time(time),
            origin,
        };
        let (operations, _) = draft.finish(id);
        let heads = self.state.heads();
        let before = heads.get(&origin).map_or(Sequence(0), |head| head.sequence);
        let set = Arc::new(ChangeSet {
            repo: RepoId::MAIN,
            id,
            sequence: before.next(),
            previous: Default::default(),
            birth: None,
            dependencies: draft
                .snapshot()
                .frontier()
                .iter()
                .copied()
                .filter(|dependency| dependency.origin != origin)
                .collect(),
            rules: 1,
            all_or_nothing: false,
            message: None,
            operations,
        });
        self.history.add(set.clone());
        set
    }
}

/// The visible tree in the JSON form of cases.
pub fn tree(view: &impl ReadTree) -> serde_json::Value {
    let mut writer = TreeWriter::new(false);
    write_properties(view, NodeId::ROOT, &mut writer);
    let mut open = vec![
        view.children(NodeId::ROOT, None, usize::MAX)
            .unwrap()
            .into_iter(),
    ];
    while let Some(children) = open.last_mut() {
        match children.next() {
            Some(child) => {
                writer.enter(&child.shown);
                write_properties(view, child.id, &mut writer);
                open.push(
                    view.children(child.id, None, usize::MAX)
                        .unwrap()
                        .into_iter(),
                );
            }
            None => {
                writer.leave();
                open.pop();
            }
        }
    }
    serde_json::from_str(&writer.drain()).unwrap()
}

fn write_properties(view: &impl ReadTree, node: NodeId, writer: &mut TreeWriter) {
    let children = view.children(node, None, usize::MAX).unwrap();
    for (name, value) in view.properties(node).unwrap() {
        let shared = children.iter().any(|child| child.shown == name.as_str());
        writer.property(&name, &value, shared);
    }
}

/// The names of every visible node's children, in order, by path as shown.
pub fn orders(view: &impl ReadTree) -> BTreeMap<String, Vec<String>> {
    let mut orders = BTreeMap::new();
    let mut waiting = vec![(String::new(), NodeId::ROOT)];
    while let Some((path, node)) = waiting.pop() {
        let children = view.children(node, None, usize::MAX).unwrap();
        // Pages must come to the same list.
        let mut paged: Vec<_> = view.children(node, None, 1).unwrap();
        while let Some(cursor) = paged.last().map(|child| child.cursor.clone()) {
            let next = view.children(node, Some(&cursor), 2).unwrap();
            if next.is_empty() {
                break;
            }
            paged.extend(next);
        }
        assert_eq!(paged, children, "children of {path:?} by pages");
        for child in &children {
            waiting.push((format!("{path}/{}", child.shown), child.id));
        }
        orders.insert(
            path,
            children.into_iter().map(|child| child.shown).collect(),
        );
    }
    orders
}

/// The same of the naive model.
pub fn spec_orders(fold: &spec::Fold) -> BTreeMap<String, Vec<String>> {
    let mut orders = BTreeMap::new();
    let mut waiting = vec![(String::new(), spec::NodeId::ROOT)];
    while let Some((path, node)) = waiting.pop() {
        let children = fold.children(node);
        for child in &children {
            waiting.push((format!("{path}/{}", child.shown), child.node));
        }
        orders.insert(
            path,
            children.into_iter().map(|child| child.shown).collect(),
        );
    }
    orders
}

/// A change set of the naive model in the engine's types.
pub fn from_spec(set: &spec::ChangeSet) -> Arc<ChangeSet> {
    let origin = |origin: spec::Origin| OriginId(origin.0);
    Arc::new(ChangeSet {
        repo: RepoId::MAIN,
        id: ChangeSetId {
            time: Time(set.id.time),
            origin: origin(set.id.origin),
        },
        sequence: Sequence(set.sequence),
        previous: Default::default(),
        birth: None,
        dependencies: set
            .dependencies
            .iter()
            .filter(|(other, _)| *other != set.id.origin)
            .map(|(other, sequence)| Dependency {
                origin: origin(*other),
                sequence: Sequence(*sequence),
            })
            .collect(),
        rules: 1,
        all_or_nothing: set.all_or_nothing,
        message: None,
        operations: set.operations.iter().map(operation_from_spec).collect(),
    })
}

fn operation_from_spec(operation: &spec::Operation) -> Operation {
    let node = |node: &spec::NodeId| NodeId(node.0);
    let name = |name: &String| NodeName::new(name).unwrap();
    let property = |name: &String| PropertyName::new(name).unwrap();
    match operation {
        spec::Operation::Add { parent, name: n, k } => Operation::Add {
            parent: node(parent),
            name: name(n),
            truncated_at: None,
            generation: *k,
        },
        spec::Operation::AddUnique { parent, name: n } => Operation::AddUnique {
            parent: node(parent),
            name: name(n),
        },
        spec::Operation::Remove { node: n } => Operation::Remove { node: node(n) },
        spec::Operation::Move {
            node: n,
            parent,
            name: to,
        } => Operation::Move {
            node: node(n),
            parent: node(parent),
            name: to.as_ref().map(name),
        },
        spec::Operation::Rename { node: n, name: to } => Operation::Rename {
            node: node(n),
            name: name(to),
        },
        spec::Operation::Set {
            node: n,
            property: p,
            value,
        } => Operation::Set {
            node: node(n),
            property: property(p),
            value: leveret::model::json::parse_value(&value.to_json().to_string()).unwrap(),
        },
        spec::Operation::Unset {
            node: n,
            property: p,
        } => Operation::Unset {
            node: node(n),
            property: property(p),
        },
        spec::Operation::Inc {
            node: n,
            property: p,
            delta,
        } => Operation::Inc {
            node: node(n),
            property: property(p),
            delta: *delta,
        },
        spec::Operation::Order { node: n, key } => Operation::Order {
            node: node(n),
            key: OrderKey::from_bytes(key),
        },
    }
}

/// A change set of the engine in the naive model's types.
pub fn to_spec(set: &ChangeSet) -> spec::ChangeSet {
    let origin = |origin: OriginId| spec::Origin(origin.0);
    let own = (set.sequence > Sequence(1)).then(|| (origin(set.id.origin), set.sequence.0 - 1));
    let others = set
        .dependencies
        .iter()
        .map(|d| (origin(d.origin), d.sequence.0));
    spec::ChangeSet {
        id: spec::SetId {
            time: set.id.time.0,
            origin: origin(set.id.origin),
        },
        sequence: set.sequence.0,
        dependencies: others.chain(own).collect(),
        all_or_nothing: set.all_or_nothing,
        operations: set.operations.iter().map(operation_to_spec).collect(),
    }
}

fn operation_to_spec(operation: &Operation) -> spec::Operation {
    let node = |node: &NodeId| spec::NodeId(node.0);
    match operation {
        Operation::Add {
            parent,
            name,
            generation,
            ..
        } => spec::Operation::Add {
            parent: node(parent),
            name: name.to_string(),
            k: *generation,
        },
        Operation::AddUnique { parent, name } => spec::Operation::AddUnique {
            parent: node(parent),
            name: name.to_string(),
        },
        Operation::Remove { node: n } => spec::Operation::Remove { node: node(n) },
        Operation::Move {
            node: n,
            parent,
            name,
        } => spec::Operation::Move {
            node: node(n),
            parent: node(parent),
            name: name.as_ref().map(ToString::to_string),
        },
        Operation::Rename { node: n, name } => spec::Operation::Rename {
            node: node(n),
            name: name.to_string(),
        },
        Operation::Set {
            node: n,
            property,
            value,
        } => spec::Operation::Set {
            node: node(n),
            property: property.to_string(),
            value: spec::Value::parse(&leveret::model::json::value_text(value)).unwrap(),
        },
        Operation::Unset { node: n, property } => spec::Operation::Unset {
            node: node(n),
            property: property.to_string(),
        },
        Operation::Inc {
            node: n,
            property,
            delta,
        } => spec::Operation::Inc {
            node: node(n),
            property: property.to_string(),
            delta: *delta,
        },
        Operation::Order { node: n, key } => spec::Operation::Order {
            node: node(n),
            key: key.as_bytes().to_vec(),
        },
        other => panic!("no such operation yet: {other:?}"),
    }
}
