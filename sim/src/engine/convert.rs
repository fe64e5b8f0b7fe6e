//! Change sets of the naive model in the engine's types, and back.

use std::sync::Arc;

use leveret::model::{
    ChangeSet, ChangeSetId, ConflictId, Dependency, NodeId, NodeName, Operation, OrderKey,
    OriginId, PropertyName, RepoId, Sequence, Time, Value, json,
};
use merge_spec as spec;

/// A change set of the naive model in the engine's types.
///
/// # Panics
/// If it has a name or a value that leveret would refuse its author.
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
    let name = |name: &String| NodeName::new(name).expect("a name of a case is one of leveret's");
    let property =
        |name: &String| PropertyName::new(name).expect("a name of a case is one of leveret's");
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
            value: value_from_spec(value),
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
        spec::Operation::Dismiss { conflict } => Operation::Dismiss {
            conflict: ConflictId(*conflict),
        },
        spec::Operation::Order { node: n, key } => Operation::Order {
            node: node(n),
            key: OrderKey::from_bytes(key),
        },
    }
}

fn value_from_spec(value: &spec::Value) -> Value {
    json::parse_value(&value.to_json().to_string()).expect("both write values as the same JSON")
}

/// A change set of the engine in the naive model's types.
///
/// # Panics
/// If it has an operation that the model does not know.
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
            value: value_to_spec(value),
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
        Operation::Dismiss { conflict } => spec::Operation::Dismiss {
            conflict: conflict.0,
        },
        Operation::Order { node: n, key } => spec::Operation::Order {
            node: node(n),
            key: key.as_bytes().to_vec(),
        },
        other => panic!("no such operation yet: {other:?}"),
    }
}

fn value_to_spec(value: &Value) -> spec::Value {
    spec::Value::parse(&json::value_text(value)).expect("both write values as the same JSON")
}
