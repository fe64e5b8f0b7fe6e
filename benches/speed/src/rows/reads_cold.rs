//! The first read after opening, against sled's first get after opening the same files.

use std::time::Instant;

use leveret::merge::ReadTree;
use leveret::model::{NodePath, PropertyName, Value};
use leveret::peer::{Peer, PeerOptions};

use crate::measure::{Aim, Row, Settings, median};
use crate::scene::{self, Forest};
use crate::{bare, measure};

/// Openings of a round, each with one read.
const OPENINGS: usize = 7;

/// Each opens the store anew and reads another leaf, five names deep, of a large tree.
pub(crate) fn first(settings: &Settings) {
    let forest = Forest::grow(settings.large);
    let runtime = scene::runtime();
    let name: PropertyName = "x".parse().unwrap();
    let mut number = 0;
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    let mut pairs = Vec::new();
    for _ in 0..measure::ROUNDS {
        for _ in 0..OPENINGS {
            number += 1;
            let leaf = forest.any(number);
            let path: NodePath = forest.path(leaf).parse().unwrap();
            let key = runtime.block_on(async {
                let peer = Peer::open(forest.directory.path(), PeerOptions::default());
                let peer = peer.await.unwrap();
                let start = Instant::now();
                let snapshot = peer.snapshot();
                let node = snapshot.resolve(&path).unwrap().unwrap();
                let value = snapshot.property(node, &name).unwrap();
                ours.push(start.elapsed().as_secs_f64() * 1e6);
                assert_eq!(value, Some(Value::Int(leaf as i64)));
                drop(snapshot);
                peer.close().await.unwrap();
                [&b"n\x01"[..], &node.0].concat()
            });
            let db = bare::open(&scene::sled_of(forest.directory.path()), 32 << 20);
            let start = Instant::now();
            let value = db.get(&key).unwrap();
            theirs.push(start.elapsed().as_secs_f64() * 1e6);
            assert!(value.is_some());
        }
        pairs.push((median(ours.drain(..)), median(theirs.drain(..))));
    }
    let row = Row {
        what: &format!(
            "the first read of a property by path, depth 5, after opening {} nodes",
            forest.leaves()
        ),
        unit: "µs",
        against: "sled, the first get",
        aim: Aim::AtMost(6.0),
    };
    row.print(&pairs);
}
