//! Reads of a property of a node by its path, against gets of sled; and beside saves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use leveret::merge::ReadTree;
use leveret::model::{NodeId, NodePath, PropertyName, Value};
use leveret::peer::{Durability, Peer, PeerOptions};

use crate::measure::{self, Aim, Row, Settings, percentile};
use crate::{bare, scene};

/// Nodes that are read in turn.
const NODES: usize = 1_000;

/// Saves a second beside the reads.
const SAVES_PER_SECOND: u32 = 10_000;

/// Five names deep, of what was read before.
pub(crate) fn cached(settings: &Settings) {
    let runtime = scene::runtime();
    let mut row = Row {
        what: "reads of a property by path, depth 5, cached",
        unit: "/s",
        against: "sled, one get",
        aim: Aim::AtLeast(0.5),
    };
    row.measure(
        || runtime.block_on(rate(settings, by_path)),
        || bare::gets(settings.time(), NODES as u64),
    );
    row.what = "the same, paths as text, in a session";
    row.aim = Aim::None;
    row.measure(
        || runtime.block_on(rate(settings, by_text)),
        || bare::gets(settings.time(), NODES as u64),
    );
}

async fn rate(settings: &Settings, read: fn(&Peer, Duration) -> f64) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let peer = Peer::open(directory.path(), PeerOptions::default());
    let peer = peer.await.unwrap();
    plant(&peer).await;
    let rate = read(&peer, settings.time());
    peer.close().await.unwrap();
    rate
}

fn path(i: usize) -> String {
    format!("/a/b/c/d/n{i}")
}

async fn plant(peer: &Peer) -> Vec<NodeId> {
    let mut session = peer.session();
    for path in ["/a", "/a/b", "/a/b/c", "/a/b/c/d"] {
        session.add(path).unwrap();
    }
    let mut nodes = Vec::with_capacity(NODES);
    for i in 0..NODES {
        nodes.push(session.add(&path(i)).unwrap());
        session.set(path(i), "x", i as i64).unwrap();
    }
    session.save().await.unwrap();
    nodes
}

fn by_path(peer: &Peer, time: Duration) -> f64 {
    let snapshot = peer.snapshot();
    let paths: Vec<NodePath> = (0..NODES).map(|i| path(i).parse().unwrap()).collect();
    let name: PropertyName = "x".parse().unwrap();
    measure::rate_on_processor(time, || {
        for (i, path) in paths.iter().enumerate() {
            let node = snapshot.resolve(path).unwrap().unwrap();
            let value = snapshot.property(node, &name).unwrap();
            assert_eq!(value, Some(Value::Int(i as i64)));
        }
        paths.len()
    })
}

fn by_text(peer: &Peer, time: Duration) -> f64 {
    let session = peer.session();
    let paths: Vec<String> = (0..NODES).map(path).collect();
    measure::rate_on_processor(time, || {
        for (i, path) in paths.iter().enumerate() {
            let value = session.get(path.as_str(), "x").unwrap();
            assert_eq!(value, Some(Value::Int(i as i64)));
        }
        paths.len()
    })
}

/// How long a read takes, each of the newest state, while others save to the nodes that are read.
pub(crate) fn beside_saves(settings: &Settings) {
    let runtime = scene::runtime();
    for (durability, callers) in [(Durability::Relaxed, 4), (Durability::Sync, 64)] {
        let saves = AtomicU64::new(0);
        let beside = || {
            let (latency, rate) = runtime.block_on(latency(settings, durability, callers));
            saves.store(rate, Ordering::Relaxed);
            latency
        };
        let alone = || runtime.block_on(latency(settings, durability, 0)).0;
        let pairs: Vec<_> = (0..measure::ROUNDS).map(|_| (beside(), alone())).collect();
        let saves = saves.load(Ordering::Relaxed);
        let kind = match durability {
            Durability::Relaxed => "relaxed",
            _ => "sync",
        };
        let row = Row {
            what: &format!("reads by path, p99 beside {saves} saves/s, {kind}"),
            unit: "µs",
            against: "without saves",
            aim: Aim::AtMost(3.0),
        };
        row.print(&pairs);
    }
}

/// The 99th percentile of what a read takes, in microseconds, and how many saves there were a
/// second.
async fn latency(settings: &Settings, durability: Durability, callers: u32) -> (f64, u64) {
    let directory = tempfile::tempdir().unwrap();
    let options = PeerOptions::default().durability(durability);
    let peer = Peer::open(directory.path(), options).await.unwrap();
    let nodes = Arc::new(plant(&peer).await);
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let start = Instant::now();
    let savers: Vec<_> = (0..callers)
        .map(|caller| {
            let (peer, nodes) = (peer.clone(), nodes.clone());
            let (stop, done) = (stop.clone(), done.clone());
            tokio::spawn(async move {
                let mut i = caller as usize;
                while !stop.load(Ordering::Relaxed) {
                    // All of them together keep to the pace; who is late does not wait.
                    let due = done.fetch_add(1, Ordering::Relaxed) as f64;
                    let due = start + Duration::from_secs_f64(due / f64::from(SAVES_PER_SECOND));
                    tokio::time::sleep_until(due.into()).await;
                    i += 7_919;
                    let mut session = peer.session();
                    session.overwrite(true);
                    session.set(nodes[i % nodes.len()], "x", i as i64).unwrap();
                    session.save().await.unwrap();
                }
            })
        })
        .collect();
    let reader = {
        let (peer, time) = (peer.clone(), settings.time());
        tokio::task::spawn_blocking(move || read_for(&peer, time))
    };
    let mut times = reader.await.unwrap();
    let rate = done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for saver in savers {
        saver.await.unwrap();
    }
    peer.close().await.unwrap();
    times.sort_by(f64::total_cmp);
    (percentile(&times, 0.99), rate as u64)
}

fn read_for(peer: &Peer, time: Duration) -> Vec<f64> {
    let paths: Vec<NodePath> = (0..NODES).map(|i| path(i).parse().unwrap()).collect();
    let name: PropertyName = "x".parse().unwrap();
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time {
        for path in &paths {
            let before = Instant::now();
            let snapshot = peer.snapshot();
            let node = snapshot.resolve(path).unwrap().unwrap();
            assert!(snapshot.property(node, &name).unwrap().is_some());
            drop(snapshot);
            times.push(before.elapsed().as_secs_f64() * 1e6);
        }
    }
    times
}
