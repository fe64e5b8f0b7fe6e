use proptest::prelude::*;
use proptest::sample::SizeRange;

use super::*;
use crate::codec::testing::{hex, survives};
use crate::model::{ConflictId, NodeId, NodeName, OrderKey, PropertyName, Timestamp, Value};

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn property(text: &str) -> PropertyName {
    PropertyName::new(text).unwrap()
}

fn origin(key: u8) -> (PublicKey, OriginId) {
    let key = PublicKey([key; 32]);
    (key, Birth::origin(&key, &[5; 16]))
}

/// The first change set of an origin, with an operation of every kind and a value of every type.
fn first() -> ChangeSet {
    let (key, origin) = origin(1);
    let node = NodeId([3; 16]);
    let set = |name: &str, value| Operation::Set {
        node,
        property: property(name),
        value,
    };
    ChangeSet {
        repo: RepoId::MAIN,
        id: ChangeSetId {
            time: Time(0x6543_2100_0000_0010),
            origin,
        },
        sequence: Sequence(1),
        previous: ChainHash::default(),
        birth: Some(Birth {
            key,
            nonce: [5; 16],
            predecessor: Some(Predecessor {
                origin: OriginId([8; 16]),
                sequence: Sequence(12),
                hash: ChainHash([9; 32]),
            }),
        }),
        dependencies: vec![
            Dependency {
                origin: OriginId([0; 16]),
                sequence: Sequence(2),
            },
            Dependency {
                origin: OriginId([0xff; 16]),
                sequence: Sequence(70_000),
            },
        ],
        rules: 1,
        all_or_nothing: false,
        message: Some("hello".into()),
        operations: vec![
            Operation::Add {
                parent: NodeId::ROOT,
                name: name("a"),
                truncated_at: None,
                generation: 0,
            },
            Operation::AddUnique {
                parent: node,
                name: name("é"),
            },
            Operation::Remove { node },
            Operation::Move {
                node,
                parent: NodeId::ROOT,
                name: Some(name("b")),
            },
            Operation::Rename {
                node,
                name: name("c"),
            },
            set("bool", Value::Bool(true)),
            set("int", Value::Int(-129)),
            set("float", Value::float(1.5).unwrap()),
            set("text", Value::from("t")),
            set("bytes", Value::from([1u8, 2].as_slice())),
            set("time", Timestamp::new(-1, 5).unwrap().into()),
            set("ref", node.into()),
            set(
                "list",
                Value::list(vec![Value::Int(1), Value::from("x"), node.into()]).unwrap(),
            ),
            Operation::Unset {
                node,
                property: property("p"),
            },
            Operation::Inc {
                node,
                property: property("n"),
                delta: i64::MIN,
            },
            Operation::Order {
                node,
                key: OrderKey::from_bytes(&[0x80, 1]),
            },
        ],
    }
}

/// A small later one, as most are.
fn second() -> ChangeSet {
    let first = first();
    ChangeSet {
        sequence: Sequence(2),
        previous: chain_hash(&encode(&first)),
        birth: None,
        message: None,
        dependencies: Vec::new(),
        operations: vec![first.operations[6].clone()],
        ..first
    }
}

#[test]
fn the_bytes_of_a_change_set_stay_what_they_are() {
    let bytes = encode(&first());
    assert_eq!(
        hex(&bytes),
        "930101c502be9b01cf6543210000000010c4108722fec9a7e66f942bf2508b634ffca101c420000000000000\
         000000000000000000000000000000000000000000000000000093c420010101010101010101010101010101\
         0101010101010101010101010101010101c4100505050505050505050505050505050593c410080808080808\
         080808080808080808080cc42009090909090909090909090909090909090909090909090909090909090909\
         099292c410000000000000000000000000000000000292c410ffffffffffffffffffffffffffffffffce0001\
         117001c2a568656c6c6fdc00109501c41000000000000000000000000000000000a161c0009302c410030303\
         03030303030303030303030303a2c3a99203c410030303030303030303030303030303039404c41003030303\
         030303030303030303030303c41000000000000000000000000000000000a1629305c4100303030303030303\
         0303030303030303a1639406c41003030303030303030303030303030303a4626f6f6cc39406c41003030303\
         030303030303030303030303a3696e74d1ff7f9406c41003030303030303030303030303030303a5666c6f61\
         74cb3ff80000000000009406c41003030303030303030303030303030303a474657874a1749406c410030303\
         03030303030303030303030303a56279746573c40201029406c41003030303030303030303030303030303a4\
         74696d659301ff059406c41003030303030303030303030303030303a37265669202c4100303030303030303\
         03030303030303039406c41003030303030303030303030303030303a46c69737492039301a1789202c41003\
         0303030303030303030303030303039307c41003030303030303030303030303030303a1709408c410030303\
         03030303030303030303030303a16ed380000000000000009309c41003030303030303030303030303030303\
         c4028001"
    );
    assert_eq!(decode(&bytes), Ok(first()));
    let bytes = encode(&second());
    assert_eq!(
        hex(&bytes),
        "930101c4619b01cf6543210000000010c4108722fec9a7e66f942bf2508b634ffca102c420c4f2c720b1b3aa\
         05fe0ba2e848c82cf5307c11f138d6b9fca3e19a8cfc995bbfc09001c2c0919406c410030303030303030303\
         03030303030303a3696e74d1ff7f"
    );
    assert_eq!(decode(&bytes), Ok(second()));
}

#[test]
fn the_bytes_of_a_dismissal_stay_what_they_are() {
    let set = ChangeSet {
        all_or_nothing: true,
        operations: vec![Operation::Dismiss {
            conflict: ConflictId([0xcc; 16]),
        }],
        ..second()
    };
    let bytes = encode(&set);
    let text = hex(&bytes);
    let (_, end) = text.split_at(text.len() - 46);
    assert_eq!(end, "c3c091920ac410cccccccccccccccccccccccccccccccc");
    assert_eq!(decode(&bytes), Ok(set));
}

#[test]
fn what_can_not_be_is_refused_and_says_why() {
    let node = NodeId([3; 16]);
    type Break = fn(&mut ChangeSet);
    let cases: [(&str, Break); 8] = [
        ("begin at 1", |set| set.sequence = Sequence(0)),
        ("only the first", |set| set.previous = ChainHash([1; 32])),
        ("birth", |set| set.birth = None),
        ("belong to its key", |set| {
            set.id.origin = OriginId([4; 16]);
        }),
        ("sorted by origin", |set| set.dependencies.reverse()),
        ("own origin", |set| {
            set.dependencies = vec![Dependency {
                origin: set.id.origin,
                sequence: Sequence(1),
            }];
        }),
        ("message is too long", |set| {
            set.message = Some("m".repeat(MESSAGE_BYTES_MAX + 1).into());
        }),
        ("order key", |set| {
            set.operations = vec![Operation::Order {
                node: NodeId([3; 16]),
                key: OrderKey::from_bytes(&[]),
            }];
        }),
    ];
    for (part, break_it) in cases {
        let mut set = first();
        break_it(&mut set);
        let error = decode(&encode(&set)).unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
    for operation in [
        Operation::Remove { node: NodeId::ROOT },
        Operation::Remove {
            node: NodeId::TRASH,
        },
        Operation::Move {
            node,
            parent: NodeId::TRASH,
            name: None,
        },
        Operation::Set {
            node,
            property: property("nan"),
            value: Value::Float(f64::NAN),
        },
        Operation::Set {
            node,
            property: property("minus zero"),
            value: Value::Float(-0.0),
        },
        Operation::Set {
            node,
            property: property("large"),
            value: "x".repeat(300 << 10).into(),
        },
        Operation::Set {
            node,
            property: property("nested"),
            value: Value::List([Value::List([].into())].into()),
        },
    ] {
        let mut set = second();
        set.operations = vec![operation.clone()];
        assert!(decode(&encode(&set)).is_err(), "{operation:?}");
    }
}

#[test]
fn names_pass_through_the_models_constructors() {
    let bytes = encode(&first());
    let at = bytes
        .windows(2)
        .position(|pair| pair == [0xa1, b'c'])
        .unwrap();
    let mut bad = bytes.clone();
    bad[at + 1] = b'/';
    let error = decode(&bad).unwrap_err().to_string();
    assert!(error.contains("contains a `/`"), "{error}");
}

#[test]
fn other_versions_and_sizes_are_refused() {
    let mut later = encode(&second());
    later[1] = 2;
    assert!(matches!(
        decode(&later),
        Err(DecodeError::Version { found: 2, .. })
    ));
    let large = vec![0; CHANGE_SET_BYTES_MAX + 1];
    assert!(matches!(decode(&large), Err(DecodeError::TooLarge { .. })));
    let mut trailing = encode(&second());
    trailing.push(0xc0);
    assert!(decode(&trailing).is_err());
}

#[test]
fn random_and_mutated_change_sets_never_panic() {
    survives(&[encode(&first()), encode(&second())], |bytes| {
        drop(decode(bytes));
    });
}

fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_filter_map("finite", |number| Value::float(number).ok()),
        ".{0,40}".prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|b| Value::from(b.as_slice())),
        (-1_000_000i64..1_000_000, 0u32..1_000_000_000)
            .prop_map(|(s, n)| Timestamp::new(s, n).unwrap().into()),
        any::<[u8; 16]>().prop_map(|id| NodeId(id).into()),
    ];
    prop_oneof![
        4 => scalar.clone(),
        1 => proptest::collection::vec(scalar, SizeRange::from(0..6))
            .prop_map(|values| Value::list(values).unwrap()),
    ]
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let node = (1u8..255, any::<[u8; 15]>()).prop_map(|(first, rest)| {
        let mut id = [first; 16];
        id[1..].copy_from_slice(&rest);
        NodeId(id)
    });
    let text = "[a-z]{1,20}";
    prop_oneof![
        (node.clone(), text, any::<Option<[u8; 24]>>(), any::<u32>()).prop_map(
            |(parent, n, at, generation)| Operation::Add {
                parent,
                name: name(&n),
                truncated_at: at.map(ChangeSetId::from_bytes),
                generation,
            }
        ),
        (node.clone(), node.clone(), proptest::option::of(text)).prop_map(|(node, parent, n)| {
            Operation::Move {
                node,
                parent,
                name: n.map(|n| name(&n)),
            }
        }),
        (node.clone(), text, any_value()).prop_map(|(node, p, value)| Operation::Set {
            node,
            property: property(&p),
            value,
        }),
        (node.clone(), text, any::<i64>()).prop_map(|(node, p, delta)| Operation::Inc {
            node,
            property: property(&p),
            delta,
        }),
        any::<[u8; 16]>().prop_map(|id| Operation::Dismiss {
            conflict: ConflictId(id),
        }),
        (node, proptest::collection::vec(any::<u8>(), 1..30)).prop_map(|(node, key)| {
            Operation::Order {
                node,
                key: OrderKey::from_bytes(&key),
            }
        }),
    ]
}

proptest! {
    #[test]
    fn change_sets_come_back_as_they_were(
        time in any::<u64>(),
        sequence in 2..u64::MAX,
        previous in proptest::array::uniform32(1u8..),
        all_or_nothing in any::<bool>(),
        message in proptest::option::of(".{0,60}"),
        dependencies in proptest::collection::btree_map(any::<[u8; 16]>(), 1..u64::MAX, 0..5),
        operations in proptest::collection::vec(any_operation(), 0..10),
    ) {
        let set = ChangeSet {
            repo: RepoId::SYSTEM,
            id: ChangeSetId { time: Time(time), origin: origin(3).1 },
            sequence: Sequence(sequence),
            previous: ChainHash(previous),
            birth: None,
            dependencies: dependencies
                .into_iter()
                .map(|(origin, sequence)| Dependency {
                    origin: OriginId(origin),
                    sequence: Sequence(sequence),
                })
                .collect(),
            rules: 1,
            all_or_nothing,
            message: message.map(Into::into),
            operations,
        };
        prop_assert_eq!(decode(&encode(&set)), Ok(set));
    }
}
