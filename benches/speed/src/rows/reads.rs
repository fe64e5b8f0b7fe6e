//! Reads of a property of a node by its path, against gets of sled; and beside saves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use leveret::merge::ReadTree;
use leveret::model::{NodePath, PropertyName, Value};
use leveret::peer::{Durability, Peer, PeerOptions};

use crate::bare;
use crate::measure::{self, Aim, Row, Settings, percentile};
use crate::scene::{self, Forest};

/// Nodes that are read in turn.
const NODES: usize = 1_000;

/// Saves a second beside the reads.
const SAVES_PER_SECOND: u32 = 10_000;

/// How often somebody wants to read beside them, in microseconds.
const READ_EVERY_MICROS: f64 = 100.0;

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

async fn plant(peer: &Peer) {
    let mut session = peer.session();
    for path in ["/a", "/a/b", "/a/b/c", "/a/b/c/d"] {
        session.add(path).unwrap();
    }
    for i in 0..NODES {
        session.add(&path(i)).unwrap();
        session.set(path(i), "x", i as i64).unwrap();
    }
    session.save().await.unwrap();
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

/// How long a read takes, each of the newest state, while others save: of the nodes that are saved
/// to again and again, and of all of a large tree, most of which is not in memory.
pub(crate) fn beside_saves(settings: &Settings) {
    let forest = Forest::grow(settings.large);
    let runtime = scene::runtime();
    for leaves in [NODES, forest.leaves()] {
        for (durability, callers) in [(Durability::Relaxed, 4), (Durability::Sync, 64)] {
            let run = |callers| {
                let beside = Beside {
                    time: settings.time(),
                    durability,
                    callers,
                    leaves,
                };
                runtime.block_on(beside.latency(&forest))
            };
            let mut rates = Vec::new();
            let mut pairs = Vec::new();
            for _ in 0..measure::ROUNDS {
                let (latency, rate) = run(callers);
                pairs.push((latency, run(0).0));
                rates.push(rate);
            }
            let rate = measure::median(rates.into_iter());
            let kind = match durability {
                Durability::Relaxed => "relaxed",
                _ => "sync",
            };
            let row = Row {
                what: &format!(
                    "reads by path of {leaves} nodes, p99 beside {rate:.0} saves/s, {kind}"
                ),
                unit: "µs",
                against: "without saves",
                aim: Aim::AtMost(3.0),
            };
            row.print(&pairs);
        }
    }
}

/// One reader, and so many savers.
struct Beside {
    time: Duration,
    durability: Durability,
    callers: u32,
    leaves: usize,
}

impl Beside {
    /// The 99th percentile of what a read takes, in microseconds, and how many saves there were a
    /// second.
    async fn latency(&self, forest: &Forest) -> (f64, f64) {
        let options = PeerOptions::default().durability(self.durability);
        let peer = Peer::open(forest.directory.path(), options).await.unwrap();
        let paths: Vec<String> = (0..self.leaves).map(|leaf| forest.path(leaf)).collect();
        let paths = Arc::new(paths);
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let start = Instant::now();
        let savers: Vec<_> = (0..self.callers)
            .map(|caller| {
                let (peer, paths) = (peer.clone(), paths.clone());
                let (stop, done) = (stop.clone(), done.clone());
                tokio::spawn(async move {
                    let mut i = caller as usize * 37;
                    while !stop.load(Ordering::Relaxed) {
                        // All of them together keep to the pace; who is late does not wait.
                        let due = done.fetch_add(1, Ordering::Relaxed) as f64;
                        let due = Duration::from_secs_f64(due / f64::from(SAVES_PER_SECOND));
                        tokio::time::sleep_until((start + due).into()).await;
                        i += 7_919;
                        let mut session = peer.session();
                        session.overwrite(true);
                        let path = paths[i % paths.len()].as_str();
                        session.set(path, "x", i as i64).unwrap();
                        session.save().await.unwrap();
                    }
                })
            })
            .collect();
        let reader = {
            let (peer, paths, time) = (peer.clone(), paths.clone(), self.time);
            tokio::task::spawn_blocking(move || read_for(&peer, &paths, time))
        };
        let mut times = reader.await.unwrap();
        let rate = done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        for saver in savers {
            saver.await.unwrap();
        }
        peer.close().await.unwrap();
        times.sort_by(f64::total_cmp);
        (percentile(&times, 0.99), rate)
    }
}

/// What reads take that come one each [`READ_EVERY_MICROS`], in microseconds: of those that would have come
/// while one took long, each waits for its end.
fn read_for(peer: &Peer, paths: &[String], time: Duration) -> Vec<f64> {
    let name: PropertyName = "x".parse().unwrap();
    let mut times = Vec::new();
    let start = Instant::now();
    let mut i = 0;
    while start.elapsed() < time {
        i += 104_729;
        let path: NodePath = paths[i % paths.len()].parse().unwrap();
        let before = Instant::now();
        let snapshot = peer.snapshot();
        let node = snapshot.resolve(&path).unwrap().unwrap();
        assert!(snapshot.property(node, &name).unwrap().is_some());
        drop(snapshot);
        let mut took = before.elapsed().as_secs_f64() * 1e6;
        times.push(took);
        while took > READ_EVERY_MICROS {
            took -= READ_EVERY_MICROS;
            times.push(took);
        }
    }
    times
}
