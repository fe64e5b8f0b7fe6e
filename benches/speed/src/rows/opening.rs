//! Opening a large store, after a good end and after a kill, against bare sled that opens the same
//! files.

use std::path::Path;
use std::time::{Duration, Instant};

use leveret::peer::{Durability, Peer, PeerOptions};

use crate::measure::{Aim, Row, Settings};
use crate::scene::{self, Forest};
use crate::{bare, measure};

/// How long a process saves before it is killed.
const LOAD: Duration = Duration::from_secs(6);

/// The usual share of sled in the cache of a peer.
const CACHE_BYTES: u64 = 32 << 20;

/// Prints both.
pub(crate) fn opening(settings: &Settings) {
    let forest = Forest::grow(settings.large);
    let directory = forest.directory.path();
    let row = Row {
        what: &format!("opening {} nodes after a good end", forest.leaves()),
        unit: "s",
        against: "sled, opening the same files",
        aim: Aim::AtMost(1.5),
    };
    row.measure(|| ours(directory), || theirs(&scene::sled_of(directory)));

    let mut pairs = Vec::new();
    for _ in 0..measure::ROUNDS {
        let mut process = scene::part("part-load")
            .arg(directory)
            .arg(forest.leaves().to_string())
            .spawn()
            .unwrap();
        std::thread::sleep(LOAD);
        process.kill().unwrap();
        process.wait().unwrap();
        // sled repairs what it opens, so each gets its own.
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(scene::sled_of(directory)).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_file() {
                std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
            }
        }
        pairs.push((ours(directory), theirs(copy.path())));
    }
    let more = measure::median(pairs.iter().map(|(ours, theirs)| ours - theirs));
    let ours = measure::median(pairs.iter().map(|pair| pair.0));
    let theirs = measure::median(pairs.iter().map(|pair| pair.1));
    println!(
        "| opening {} nodes after a kill under load | {ours:.2} s | sled, opening the same files: \
         {theirs:.2} s | {more:+.2} s | ≤ +10 s |",
        forest.leaves()
    );
}

/// Seconds.
fn ours(directory: &Path) -> f64 {
    scene::runtime().block_on(async {
        let start = Instant::now();
        let peer = Peer::open(directory, PeerOptions::default()).await.unwrap();
        let time = start.elapsed().as_secs_f64();
        peer.close().await.unwrap();
        time
    })
}

fn theirs(directory: &Path) -> f64 {
    let start = Instant::now();
    let db = bare::open(directory, CACHE_BYTES);
    let time = start.elapsed().as_secs_f64();
    drop(db);
    time
}

/// In a process of its own: saves until it is killed.
pub(crate) fn part(arguments: &[String]) {
    let [directory, leaves] = arguments else {
        panic!("the directory, the leaves");
    };
    let leaves: usize = leaves.parse().unwrap();
    let directory = Path::new(directory).to_owned();
    scene::runtime().block_on(async move {
        let options = PeerOptions::default().durability(Durability::Relaxed);
        let peer = Peer::open(directory, options).await.unwrap();
        for caller in 0..8 {
            let peer = peer.clone();
            tokio::spawn(async move {
                let mut i = caller * 37;
                loop {
                    i += 7_919;
                    let mut session = peer.session();
                    session.overwrite(true);
                    let path = scene::path(leaves, i % leaves);
                    session.set(path, "x", i as i64).unwrap();
                    session.save().await.unwrap();
                }
            });
        }
        std::future::pending::<()>().await;
    });
}
