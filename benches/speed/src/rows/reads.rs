//! Reads of a property of a node by its path, against gets of sled.

use leveret::merge::ReadTree;
use leveret::model::{NodePath, PropertyName, Value};
use leveret::peer::{Peer, PeerOptions};

use crate::measure::{self, Aim, Row, Settings};
use crate::{bare, scene};

/// Nodes that are read in turn.
const NODES: usize = 1_000;

/// Five names deep, of what was read before.
pub(crate) fn cached(settings: &Settings) {
    let runtime = scene::runtime();
    let row = Row {
        what: "reads of a property by path, depth 5, cached",
        unit: "/s",
        against: "sled, one get",
        aim: Aim::AtLeast(0.5),
    };
    row.measure(
        || runtime.block_on(rate(settings)),
        || bare::gets(settings.time(), NODES as u64),
    );
}

async fn rate(settings: &Settings) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let options = PeerOptions::default();
    let peer = Peer::open(directory.path(), options).await.unwrap();
    let mut session = peer.session();
    for path in ["/a", "/a/b", "/a/b/c", "/a/b/c/d"] {
        session.add(path).unwrap();
    }
    let path = |i: usize| format!("/a/b/c/d/n{i}");
    for i in 0..NODES {
        session.add(&path(i)).unwrap();
        session.set(path(i), "x", i as i64).unwrap();
    }
    session.save().await.unwrap();
    let snapshot = peer.snapshot();
    let paths: Vec<NodePath> = (0..NODES).map(|i| path(i).parse().unwrap()).collect();
    let name: PropertyName = "x".parse().unwrap();
    let rate = measure::rate(settings.time(), || {
        for (i, path) in paths.iter().enumerate() {
            let node = snapshot.resolve(path).unwrap().unwrap();
            let value = snapshot.property(node, &name).unwrap();
            assert_eq!(value, Some(Value::Int(i as i64)));
        }
        paths.len()
    });
    drop(snapshot);
    peer.close().await.unwrap();
    rate
}
