//! Speed as ratios: each figure beside what it is measured against, in the same run.
//!
//! `make bench` runs it. `LEVERET_BENCH_SECONDS` is how long each measurement lasts (default 3), in
//! three rounds that alternate between the two sides; the ratio is that of the medians.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a benchmark measures time, and fails loudly"
)]

mod daemons;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use leveret::merge::ReadTree;
use leveret::model::{NodeId, NodePath, PropertyName, Value};
use leveret::peer::{Durability, Peer, PeerOptions};

const ROUNDS: usize = 3;
const NODES: usize = 1_000;

fn seconds() -> f64 {
    std::env::var("LEVERET_BENCH_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3.0)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Prints a line of the table.
fn row(what: &str, ours: f64, unit: &str, against: &str, theirs: f64) {
    let ratio = ours / theirs;
    println!("| {what} | {ours:.0} {unit} | {against}: {theirs:.0} {unit} | {ratio:.2} |");
}

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    println!("| what | measured | against | ratio |\n| --- | --- | --- | --- |");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    for durability in [Durability::Relaxed, Durability::Sync] {
        for callers in [1, 8] {
            saves(&runtime, durability, callers);
        }
    }
    reads(&runtime);
    daemons::visibility(seconds());
}

/// A peer on a fresh directory with [`NODES`] nodes.
async fn peer(directory: &Path, durability: Durability) -> (Peer, Vec<NodeId>) {
    let options = PeerOptions::default().durability(durability);
    let peer = Peer::open(directory, options).await.unwrap();
    let mut session = peer.session();
    session.add("/n").unwrap();
    for i in 0..NODES {
        session.add(&format!("/n/n{i}")).unwrap();
    }
    session.save().await.unwrap();
    let snapshot = peer.snapshot();
    let node = |i: usize| {
        let path: NodePath = format!("/n/n{i}").parse().unwrap();
        snapshot.resolve(&path).unwrap().unwrap()
    };
    let nodes = (0..NODES).map(node).collect();
    (peer, nodes)
}

/// Saves a second of one property each, on hot nodes, against bare sled that writes journal records
/// of the same length.
fn saves(runtime: &tokio::runtime::Runtime, durability: Durability, callers: usize) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let directory = tempfile::tempdir().unwrap();
        let (rate, bytes) = runtime.block_on(save_rate(directory.path(), durability, callers));
        ours.push(rate);
        let directory = tempfile::tempdir().unwrap();
        theirs.push(match durability {
            Durability::Relaxed => sled_inserts(directory.path(), bytes),
            _ => sled_barriers(directory.path(), bytes, callers),
        });
    }
    let (name, against) = match durability {
        Durability::Relaxed => ("relaxed", "sled, single inserts".to_owned()),
        _ => ("sync", format!("sled, {callers} inserts and a barrier")),
    };
    let what = format!("saves, {name}, in process, {callers} callers");
    row(&what, median(ours), "/s", &against, median(theirs));
}

/// Saves a second, and the bytes of a journal record.
async fn save_rate(directory: &Path, durability: Durability, callers: usize) -> (f64, usize) {
    let (peer, nodes) = peer(directory, durability).await;
    let nodes = Arc::new(nodes);
    let before = peer.status().await.state.counters;
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(seconds());
    let mut tasks = Vec::new();
    for caller in 0..callers {
        let (peer, nodes, done) = (peer.clone(), nodes.clone(), done.clone());
        tasks.push(tokio::spawn(async move {
            let mut i = caller * 37;
            while Instant::now() < end {
                i += 1;
                let mut session = peer.session();
                session.overwrite(true);
                session.set(nodes[i % NODES], "x", i as i64).unwrap();
                session.save().await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let rate = done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    let after = peer.status().await.state.counters;
    peer.close().await.unwrap();
    let bytes = (after.committed_bytes - before.committed_bytes) / (after.saves - before.saves);
    (rate, bytes as usize)
}

fn open_sled(directory: &Path) -> sled::Db {
    sled::Config::new()
        .path(directory)
        .cache_capacity(64 << 20)
        .segment_size(8 << 20)
        .flush_every_ms(None)
        .open()
        .unwrap()
}

fn record(bytes: usize, i: u64) -> (Vec<u8>, Vec<u8>) {
    let mut key = b"J\x01originoriginori".to_vec();
    key.extend_from_slice(&i.to_be_bytes());
    (key, vec![i as u8; bytes])
}

/// Single inserts a second.
fn sled_inserts(directory: &Path, bytes: usize) -> f64 {
    let db = open_sled(directory);
    let start = Instant::now();
    let mut i = 0_u64;
    while start.elapsed().as_secs_f64() < seconds() {
        for _ in 0..256 {
            let (key, value) = record(bytes, i);
            db.insert(key, value).unwrap();
            i += 1;
        }
    }
    i as f64 / start.elapsed().as_secs_f64()
}

/// Inserts a second with a barrier after each `batch` of them.
fn sled_barriers(directory: &Path, bytes: usize, batch: usize) -> f64 {
    let db = open_sled(directory);
    let file = std::fs::File::open(directory.join("db")).unwrap();
    let start = Instant::now();
    let mut i = 0_u64;
    while start.elapsed().as_secs_f64() < seconds() {
        for _ in 0..batch {
            let (key, value) = record(bytes, i);
            db.insert(key, value).unwrap();
            i += 1;
        }
        db.flush().unwrap();
        file.sync_data().unwrap();
    }
    i as f64 / start.elapsed().as_secs_f64()
}

/// Reads a second of a property of a node found by its path, five names deep, against gets of sled.
fn reads(runtime: &tokio::runtime::Runtime) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let directory = tempfile::tempdir().unwrap();
        ours.push(runtime.block_on(read_rate(directory.path())));
        let directory = tempfile::tempdir().unwrap();
        theirs.push(get_rate(directory.path()));
    }
    row(
        "reads of a property by path, depth 5, cached",
        median(ours),
        "/s",
        "sled, one get",
        median(theirs),
    );
}

async fn read_rate(directory: &Path) -> f64 {
    let peer = Peer::open(directory, PeerOptions::default()).await.unwrap();
    let mut session = peer.session();
    for path in ["/a", "/a/b", "/a/b/c", "/a/b/c/d"] {
        session.add(path).unwrap();
    }
    for i in 0..NODES {
        session.add(&format!("/a/b/c/d/n{i}")).unwrap();
        session
            .set(format!("/a/b/c/d/n{i}"), "x", i as i64)
            .unwrap();
    }
    session.save().await.unwrap();
    let snapshot = peer.snapshot();
    let paths: Vec<NodePath> = (0..NODES)
        .map(|i| format!("/a/b/c/d/n{i}").parse().unwrap())
        .collect();
    let name: PropertyName = "x".parse().unwrap();
    let start = Instant::now();
    let mut count = 0_usize;
    while start.elapsed().as_secs_f64() < seconds() {
        for (i, path) in paths.iter().enumerate() {
            let node = snapshot.resolve(path).unwrap().unwrap();
            assert_eq!(
                snapshot.property(node, &name).unwrap(),
                Some(Value::Int(i as i64))
            );
            count += 1;
        }
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    drop(snapshot);
    peer.close().await.unwrap();
    rate
}

fn get_rate(directory: &Path) -> f64 {
    let db = open_sled(directory);
    for i in 0..NODES as u64 {
        let (key, value) = record(150, i);
        db.insert(key, value).unwrap();
    }
    let start = Instant::now();
    let mut count = 0_usize;
    while start.elapsed().as_secs_f64() < seconds() {
        for i in 0..NODES as u64 {
            assert!(db.get(record(0, i).0).unwrap().is_some());
            count += 1;
        }
    }
    count as f64 / start.elapsed().as_secs_f64()
}
