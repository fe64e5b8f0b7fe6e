//! The fold, fed with operations as they travel: what no case file can say, and what must hold of
//! any history.

use merge_spec::{
    ChangeSet, Fold, Item, Kind, NodeId, Operation, Origin, ParentCause, SetId, Stamp, Value, fold,
};

fn origin(word: &str) -> Origin {
    Origin::from_word(word).expect("a word")
}

fn id(word: &str, time: u64) -> SetId {
    SetId {
        time,
        origin: origin(word),
    }
}

/// The first change set of an author who had seen the first ones of some others.
fn set(word: &str, time: u64, saw: &[&str], operations: Vec<Operation>) -> ChangeSet {
    let dependencies = saw.iter().map(|other| (origin(other), 1)).collect();
    ChangeSet {
        id: id(word, time),
        sequence: 1,
        dependencies,
        all_or_nothing: false,
        operations,
    }
}

fn add(parent: NodeId, name: &str) -> Operation {
    Operation::Add {
        parent,
        name: name.to_owned(),
        k: 0,
    }
}

fn node(path: &str) -> NodeId {
    let names = path.split('/').filter(|name| !name.is_empty());
    names.fold(NodeId::ROOT, |parent, name| NodeId::of_add(parent, name, 0))
}

#[test]
fn node_ids_are_as_computed_elsewhere() {
    // M3. Worked out with another implementation of BLAKE3.
    assert_eq!(node("/a").to_hex(), "9b0c20468461a1a290218523a1ca9a01");
    assert_eq!(node("/q/x").to_hex(), "3e8bbf9114b9b231bd1d3d09b50e2197");
    assert_eq!(
        NodeId::of_add(node("/a"), "é", 1).to_hex(),
        "e632bc7d35df7a96ad32b55e2ced2ac7"
    );
    let stamp = Stamp {
        set: id("A", 3),
        index: 0,
    };
    assert_eq!(
        NodeId::of_add_unique(stamp).to_hex(),
        "e068fb90f65ecbcfdd5d8c734d6fd6dd"
    );
}

#[test]
fn ids_sort_by_time_then_by_origin() {
    // M1.
    assert!(id("B", 3) < id("A", 4));
    assert!(id("A", 3) < id("B", 3));
    assert!(id("A", 3) < id("AA", 3));
    assert!(id("base", 0) < id("A", 0));
    assert_eq!(id("base", 0).to_string(), "base@0");
    assert_eq!(id("AA", 3).to_string(), "AA@3");
}

#[test]
fn a_change_set_waits_for_what_it_depends_on() {
    // M2.
    let first = set("A", 1, &[], vec![add(NodeId::ROOT, "a")]);
    let second = set("B", 2, &["A"], vec![add(node("/a"), "b")]);
    let third = set("C", 3, &["B"], vec![add(node("/a/b"), "c")]);
    let partial = fold(&[third.clone(), first.clone()]);
    assert_eq!(partial.tree().to_string(), r#"{"a":{}}"#);
    assert_eq!(
        partial.held().iter().copied().collect::<Vec<_>>(),
        [id("C", 3)]
    );
    let whole = fold(&[third, second, first]);
    assert_eq!(whole.tree().to_string(), r#"{"a":{"b":{"c":{}}}}"#);
    assert!(whole.held().is_empty());
}

#[test]
fn what_was_seen_includes_all_that_those_had_seen() {
    // M2: C depends on B alone, which had seen A. So C's set overwrites nothing unseen.
    let write = |value| Operation::Set {
        node: NodeId::ROOT,
        property: "v".to_owned(),
        value: Value::Int(value),
    };
    let sets = [
        set("A", 1, &[], vec![write(1)]),
        set("B", 2, &["A"], vec![]),
        set("C", 3, &["B"], vec![write(3)]),
    ];
    assert!(fold(&sets).conflicts().is_empty());
}

#[test]
fn an_operation_on_nothing_is_skipped_and_the_rest_stands() {
    // M12.
    let nowhere = node("/nowhere");
    let operations = vec![
        add(nowhere, "n"),
        Operation::Remove { node: nowhere },
        Operation::Move {
            node: nowhere,
            parent: NodeId::ROOT,
            name: None,
        },
        Operation::Move {
            node: node("/a"),
            parent: NodeId::TRASH,
            name: None,
        },
        Operation::Rename {
            node: nowhere,
            name: "n".to_owned(),
        },
        Operation::Unset {
            node: nowhere,
            property: "v".to_owned(),
        },
        Operation::Order {
            node: nowhere,
            key: vec![1],
        },
        Operation::Remove { node: NodeId::ROOT },
        add(NodeId::ROOT, "a"),
    ];
    let folded = fold(&[set("A", 1, &[], operations)]);
    assert_eq!(folded.tree().to_string(), r#"{"a":{}}"#);
    assert_eq!(folded.conflict_pairs(), ["A@1 unknown-node"]);
}

/// The nodes of the `unknown-node` conflicts, after another author's `a` and `b`.
fn unknown_nodes(operation: Operation) -> Vec<NodeId> {
    let sets = [
        set(
            "A",
            1,
            &[],
            vec![add(NodeId::ROOT, "a"), add(node("/a"), "b")],
        ),
        set("B", 2, &["A"], vec![operation]),
    ];
    let (before, after) = (fold(&sets[..1]), fold(&sets));
    assert_eq!(after.nodes(), before.nodes(), "it is skipped");
    let conflicts = after.conflicts();
    assert!(
        conflicts
            .iter()
            .all(|conflict| conflict.kind == Kind::UnknownNode
                && conflict.loser == id("B", 2)
                && conflict.item == Item::Node
                && conflict.winner.is_none())
    );
    conflicts
        .into_iter()
        .map(|conflict| conflict.node)
        .collect()
}

#[test]
fn the_root_and_the_trash_are_unknown_as_targets() {
    // M12: as to every operation on the trash, and to those on the root that ask for a parent, a
    // name or siblings. No author writes such an operation; a hostile one may.
    let (root, trash, a) = (NodeId::ROOT, NodeId::TRASH, node("/a"));
    let name = "n".to_owned();
    let property = "v".to_owned();
    let moves = |node, parent| Operation::Move {
        node,
        parent,
        name: None,
    };
    for target in [root, trash] {
        let operations = [
            Operation::Remove { node: target },
            moves(target, a),
            moves(target, target),
            Operation::Rename {
                node: target,
                name: name.clone(),
            },
            Operation::Order {
                node: target,
                key: vec![1],
            },
        ];
        for operation in operations {
            assert_eq!(unknown_nodes(operation.clone()), [target], "{operation:?}");
        }
    }
    // Of a move, the node is looked at before the parent, and both before cycle and trash.
    let nowhere = node("/nowhere");
    assert_eq!(unknown_nodes(moves(root, nowhere)), [root]);
    assert_eq!(unknown_nodes(moves(trash, nowhere)), [trash]);
    assert_eq!(unknown_nodes(moves(nowhere, trash)), [nowhere]);
    assert_eq!(unknown_nodes(moves(a, trash)), [trash]);
    assert_eq!(unknown_nodes(moves(a, nowhere)), [nowhere]);
    assert_eq!(unknown_nodes(add(trash, "n")), [trash]);
    let unique = Operation::AddUnique {
        parent: trash,
        name: name.clone(),
    };
    assert_eq!(unknown_nodes(unique), [trash]);
    let edits = [
        Operation::Set {
            node: trash,
            property: property.clone(),
            value: Value::Int(1),
        },
        Operation::Unset {
            node: trash,
            property: property.clone(),
        },
        Operation::Inc {
            node: trash,
            property,
            delta: 1,
        },
    ];
    for edit in edits {
        assert_eq!(unknown_nodes(edit.clone()), [trash], "{edit:?}");
    }
}

#[test]
fn a_skipped_move_keeps_the_parent_it_wanted_and_a_come_back_is_no_first_add() {
    // M9 and M6.
    let (a, b) = (node("/a"), node("/a/b"));
    let under_b = Operation::Move {
        node: a,
        parent: b,
        name: None,
    };
    let sets = [
        set("A", 1, &[], vec![add(NodeId::ROOT, "a")]),
        set("B", 2, &["A"], vec![Operation::Remove { node: a }]),
        set(
            "C",
            3,
            &[],
            vec![add(NodeId::ROOT, "a"), add(a, "b"), under_b],
        ),
    ];
    let folded = fold(&sets);
    let causes: Vec<ParentCause> = folded.nodes()[&a].parents.iter().map(|w| w.cause).collect();
    let (add, back) = (ParentCause::Add, ParentCause::ComeBack);
    assert_eq!(causes, [add, ParentCause::Remove, back]);
    let skipped = &folded.nodes()[&a].skipped;
    assert_eq!(
        skipped.iter().map(|skip| skip.parent).collect::<Vec<_>>(),
        [b]
    );
}

#[test]
fn a_node_restored_from_the_trash_by_its_author_is_no_conflict() {
    // M7: restoring is a move by whoever restores; it had seen the removal.
    let sets = [
        set(
            "A",
            1,
            &[],
            vec![
                add(NodeId::ROOT, "a"),
                add(NodeId::ROOT, "b"),
                add(node("/a"), "x"),
            ],
        ),
        set(
            "B",
            2,
            &["A"],
            vec![Operation::Remove { node: node("/a/x") }],
        ),
        set(
            "C",
            3,
            &["B"],
            vec![Operation::Move {
                node: node("/a/x"),
                parent: node("/b"),
                name: None,
            }],
        ),
    ];
    let folded = fold(&sets);
    assert_eq!(folded.tree().to_string(), r#"{"a":{},"b":{"x":{}}}"#);
    assert!(folded.conflicts().is_empty());
}

#[test]
fn a_move_directly_below_itself_is_a_cycle_without_a_reason() {
    // M9: there is no node on the way, so nothing that (b) of M8 could look at.
    let below_itself = Operation::Move {
        node: node("/a"),
        parent: node("/a"),
        name: None,
    };
    let sets = [
        set(
            "A",
            1,
            &[],
            vec![add(NodeId::ROOT, "d"), add(NodeId::ROOT, "a"), below_itself],
        ),
        set("B", 2, &["A"], vec![Operation::Remove { node: node("/a") }]),
    ];
    let folded = fold(&sets);
    assert_eq!(folded.tree().to_string(), r#"{"d":{}}"#);
    assert_eq!(folded.conflict_pairs(), ["A@1 cycle"]);
}

#[test]
fn a_fold_can_be_compared_record_by_record() {
    let unset = Operation::Unset {
        node: node("/a"),
        property: "v".to_owned(),
    };
    let folded = fold(&[set("A", 1, &[], vec![add(NodeId::ROOT, "a"), unset])]);
    let a = &folded.nodes()[&node("/a")];
    let stamp = |index| Stamp {
        set: id("A", 1),
        index,
    };
    assert_eq!(
        a.parent().map(|write| (write.to, write.stamp)),
        Some((NodeId::ROOT, stamp(0)))
    );
    assert_eq!(
        a.name().map(|write| (write.name.as_str(), write.stamp)),
        Some(("a", stamp(0)))
    );
    assert_eq!(a.order_key(), None);
    assert_eq!(a.effective_key(), [0x80, b'a']);
    assert_eq!(a.property("v"), Some((None, stamp(1))));
    assert_eq!(a.property("w"), None);
}

/// A random number generator, good enough to make histories.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    fn node(&mut self) -> NodeId {
        node(
            [
                "/", "/a", "/b", "/c", "/a/a", "/a/b", "/b/a", "/b/b", "/c/a", "/a/b/a",
            ][self.below(10)],
        )
    }

    fn operation(&mut self) -> Operation {
        let (node, name) = (self.node(), ["a", "b", "c"][self.below(3)].to_owned());
        let property = "v".to_owned();
        match self.below(12) {
            0..3 => Operation::Add {
                parent: node,
                name,
                k: 0,
            },
            3 => Operation::AddUnique { parent: node, name },
            4..6 => Operation::Remove { node },
            6..8 => Operation::Move {
                node,
                parent: self.node(),
                name: None,
            },
            8 => Operation::Move {
                node,
                parent: self.node(),
                name: Some(name),
            },
            9 => Operation::Rename { node, name },
            10 => Operation::Set {
                node,
                property,
                value: Value::Int(self.below(3) as i64),
            },
            _ => Operation::Inc {
                node,
                property,
                delta: 1,
            },
        }
    }

    /// Three authors, each of whom sees some of what is there, never less than before.
    fn history(&mut self) -> Vec<ChangeSet> {
        let authors = ["A", "B", "C"];
        let mut sets: Vec<ChangeSet> = Vec::new();
        let mut written = [0; 3];
        for time in 1..12 {
            let author = self.below(3);
            let mut dependencies = Vec::new();
            for (other, word) in authors.iter().enumerate() {
                let newest = if other == author {
                    written[other]
                } else {
                    self.below(written[other] + 1)
                };
                if newest > 0 {
                    dependencies.push((origin(word), newest as u64));
                }
            }
            written[author] += 1;
            sets.push(ChangeSet {
                id: id(authors[author], time),
                sequence: written[author] as u64,
                dependencies,
                all_or_nothing: self.below(4) == 0,
                operations: (0..1 + self.below(5)).map(|_| self.operation()).collect(),
            });
        }
        sets
    }
}

/// Walks up from every node; a walk longer than there are nodes goes in a circle.
fn every_node_is_below_the_root_or_in_the_trash(folded: &Fold) -> bool {
    folded.nodes().keys().all(|start| {
        let up = |at: &NodeId| folded.nodes().get(at)?.parent().map(|write| write.to);
        let steps = std::iter::successors(Some(*start), up).take(folded.nodes().len() + 2);
        matches!(steps.last(), Some(NodeId::ROOT | NodeId::TRASH))
    })
}

#[test]
fn any_history_folds_to_a_tree_whatever_the_order() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let sets = dice.history();
        let folded = fold(&sets);
        assert!(
            every_node_is_below_the_root_or_in_the_trash(&folded),
            "seed {seed}"
        );
        assert!(folded.held().is_empty(), "seed {seed}");
        let mut mixed = sets.clone();
        for at in (1..mixed.len()).rev() {
            mixed.swap(at, dice.below(at + 1));
        }
        mixed.extend_from_slice(&sets[..3]);
        assert_eq!(fold(&mixed), folded, "seed {seed}");
    }
}

#[test]
fn a_voided_set_is_as_if_it_had_no_operations() {
    // M13.
    let mut voided = 0;
    for seed in 0..400 {
        let mut sets = Dice(seed).history();
        let folded = fold(&sets);
        for set in &mut sets {
            if folded.voided().contains(&set.id) {
                set.operations.clear();
                voided += 1;
            }
        }
        let emptied = fold(&sets);
        assert_eq!(emptied.nodes(), folded.nodes(), "seed {seed}");
        let others = |pair: &String| !pair.ends_with(" voided");
        let rest: Vec<String> = folded.conflict_pairs().into_iter().filter(others).collect();
        assert_eq!(emptied.conflict_pairs(), rest, "seed {seed}");
    }
    assert!(voided > 100, "only {voided} were voided");
}
