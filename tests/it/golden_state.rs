//! State records have the bytes that `docs/reference/state.md` says, and read as they were written.

use std::collections::BTreeMap;
use std::sync::Arc;

use leveret::codec::record::{
    AddedAgain, ChildEntry, Head, How, Meta, NodeRecord, Older, ParentWrite, Record, Register,
    SeenRecord, SkippedMove, StructuralRecord, Under, Write, Written,
};
use leveret::model::{
    ChangeSetId, Dependency, NodeId, NodeName, OrderKey, OriginId, PropertyName, Sequence, Stamp,
    Time, Timestamp, Value,
};
use proptest::prelude::*;

fn stamp(time: u64, index: u32) -> Stamp {
    Stamp {
        id: ChangeSetId {
            time: Time(time),
            origin: OriginId([0xaa; 16]),
        },
        index,
    }
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

/// Hex digits, 32 zero bytes or more as their number.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for run in bytes.chunk_by(|a, b| a == b) {
        match run {
            [0, ..] if run.len() >= 32 => text += &format!("({} zeros)", run.len()),
            _ => run.iter().for_each(|byte| text += &format!("{byte:02x}")),
        }
    }
    text
}

fn samples() -> Vec<(&'static str, Record)> {
    let value = Value::list(vec![
        Value::Bool(true),
        Value::Int(-3),
        Value::float(1.5).unwrap(),
        Value::from("é"),
        Value::from(&b"\0\xff"[..]),
        Value::Time(Timestamp::new(-1, 5).unwrap()),
        Value::Ref(NodeId([7; 16])),
    ]);
    let set = Write {
        stamp: stamp(1, 0),
        what: Written::Set(value.unwrap()),
    };
    let register = Register {
        writes: vec![
            set.clone(),
            Write {
                stamp: stamp(2, 0),
                what: Written::Unset,
            },
            Write {
                stamp: stamp(3, 1),
                what: Written::Inc(200),
            },
        ],
        older: None,
    };
    let under = Under {
        floor: Stamp::MIN,
        oldest: stamp(1, 0),
        base: Some((stamp(1, 0), None)),
        incs: -1,
    };
    let counter = Register {
        writes: vec![],
        older: Some(Box::new(Older {
            newest: stamp(1, 2),
            under: Some(under),
        })),
    };
    let node = NodeRecord {
        parents: vec![
            ParentWrite {
                stamp: stamp(1, 0),
                parent: NodeId::ROOT,
                how: How::Add,
            },
            ParentWrite {
                stamp: stamp(9, 3),
                parent: NodeId([1; 16]),
                how: How::HandBack { cause: stamp(4, 0) },
            },
        ],
        skips: vec![SkippedMove {
            stamp: stamp(5, 0),
            parent: NodeId([2; 16]),
            reason: stamp(4, 0),
            cycle: true,
        }],
        again: vec![AddedAgain {
            stamp: stamp(6, 0),
            live: true,
        }],
        names: vec![(stamp(1, 0), name("a"))],
        orders: vec![(stamp(2, 0), OrderKey::from_bytes(b"\x80k"))],
        properties: BTreeMap::from([(PropertyName::new("x").unwrap(), register.clone())]),
        outside: 2,
    };
    let meta = Meta {
        frontier: vec![Dependency {
            origin: OriginId([0xaa; 16]),
            sequence: Sequence(300),
        }],
        removal: stamp(4, 0),
        atomic: stamp(6, 2),
        causes: BTreeMap::from([(OriginId([0xaa; 16]), Time(4))]),
        counters: vec![1, 300],
        ..Meta::default()
    };
    vec![
        ("node", Record::Node(Arc::new(node))),
        ("register", Record::Register(Arc::new(register))),
        ("counter", Record::Register(Arc::new(counter))),
        ("segment", Record::Segment(Arc::new(vec![set]))),
        (
            "child",
            Record::Child(Arc::new(ChildEntry {
                name: name("a"),
                placed: stamp(1, 0),
                shadow: true,
            })),
        ),
        ("mark", Record::Mark),
        ("touched", Record::Touched(stamp(1, 0))),
        (
            "structural",
            Record::Structural(Arc::new(StructuralRecord {
                sequence: Sequence(300),
                removes: true,
                voided: true,
                others: vec![(3, vec![NodeId([2; 16])])],
                unknown: vec![(4, NodeId([5; 16]))],
            })),
        ),
        ("conflict", Record::Conflict(Some(stamp(7, 0).id))),
        ("conflict without winner", Record::Conflict(None)),
        (
            "seen",
            Record::Seen(Arc::new(SeenRecord {
                depth: 2,
                base: Some(stamp(7, 0).id),
                news: vec![(OriginId([0xbb; 16]), Time(3))],
            })),
        ),
        ("seen told whole", Record::Seen(Arc::default())),
        (
            "head",
            Record::Head(Head {
                sequence: Sequence(2),
                time: Time(3),
            }),
        ),
        ("meta", Record::Meta(Arc::new(meta))),
    ]
}

#[test]
fn state_records_keep_their_bytes() {
    let golden = include_str!("golden_state.txt");
    let now: String = samples()
        .iter()
        .map(|(name, record)| format!("{name} {}\n", hex(&record.encode())))
        .collect();
    assert_eq!(now, golden, "a changed layout needs another RECORD_VERSION");
}

#[test]
fn state_records_read_as_they_were_written() {
    for (name, record) in samples() {
        assert_eq!(Record::decode(&record.encode()).unwrap(), record, "{name}");
    }
}

#[test]
fn cut_or_lengthened_records_are_refused() {
    for (name, record) in samples() {
        let mut bytes = record.encode();
        for len in 0..bytes.len() {
            assert!(
                Record::decode(&bytes[..len]).is_err(),
                "{name} cut to {len}"
            );
        }
        bytes.push(0);
        assert!(Record::decode(&bytes).is_err(), "{name} with a byte more");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_of_records_panic(
        which in 0_usize..11,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = samples()[which].1.encode();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _read_or_not = Record::decode(&bytes);
        let _read_or_not = Record::decode(&noise);
    }
}
