//! Change sets that no draft would make, as a hostile member may send them.

use std::sync::Arc;

use leveret::merge::StateDigest;
use leveret::model::{
    ChangeSet, ChangeSetId, NodeId, NodeName, Operation, OriginId, PropertyName, RepoId, Sequence,
    Time,
};
use leveret_sim::engine::{Engine, Log, to_spec};
use leveret_sim::observation::{Observation, nodes_of};

/// A change set whose operations no draft would make.
fn crafted(origin: u8, time: u64, operations: Vec<Operation>) -> Arc<ChangeSet> {
    Arc::new(ChangeSet {
        repo: RepoId::MAIN,
        id: ChangeSetId {
            time: Time(time),
            origin: OriginId([origin; 16]),
        },
        sequence: Sequence(1),
        previous: Default::default(),
        birth: None,
        dependencies: Vec::new(),
        rules: 1,
        all_or_nothing: false,
        message: None,
        operations,
    })
}

/// Merges one after the other, and checks against the naive model.
fn in_order(sets: &[Arc<ChangeSet>]) -> StateDigest {
    let engine = Engine::new(Log::default());
    for (i, set) in sets.iter().enumerate() {
        engine.merge(std::slice::from_ref(set));
        let merged: Vec<_> = sets[..=i].iter().map(|set| to_spec(set)).collect();
        let fold = merge_spec::fold(&merged);
        let found = Observation::of_engine(&engine.snapshot(), nodes_of(&fold));
        let difference = found.first_difference(&Observation::of_model(&fold));
        assert_eq!(difference, None, "{merged:#?}");
    }
    engine.snapshot().digest()
}

/// M12: what a hostile author does to a node before anybody has added it.
#[test]
fn operations_on_a_node_that_is_added_later_come_out_the_same_in_every_order() {
    let name = |text| NodeName::new(text).unwrap();
    let foo = NodeId::of_add(NodeId::ROOT, &name("foo"), None, 0);
    let add = |parent, text| Operation::Add {
        parent,
        name: name(text),
        truncated_at: None,
        generation: 0,
    };
    let early = [
        Operation::Move {
            node: foo,
            parent: NodeId::ROOT,
            name: Some(name("x")),
        },
        Operation::Remove { node: foo },
        add(foo, "below"),
        Operation::Rename {
            node: foo,
            name: name("y"),
        },
        Operation::Inc {
            node: foo,
            property: PropertyName::new("n").unwrap(),
            delta: 3,
        },
    ];
    for operation in early {
        let hostile = crafted(1, 10, vec![operation]);
        let honest = crafted(2, 5, vec![add(NodeId::ROOT, "foo")]);
        let there = in_order(&[hostile.clone(), honest.clone()]);
        assert_eq!(
            there,
            in_order(&[honest, hostile.clone()]),
            "{:?}",
            hostile.operations
        );
    }
}
