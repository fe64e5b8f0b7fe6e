//! Importing a tree, against bare sled that writes a node record and a journal record for each node.

use std::fs;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use leveret::peer::{Durability, Peer, PeerOptions};

use crate::measure::{Aim, Row, Settings};
use crate::{bare, scene};

/// Children of each node under the top.
const CHILDREN: usize = 100;
/// Nodes of a batch of sled's.
const BATCH: usize = 200;
/// Bytes of a node's record with three short properties.
const NODE_BYTES: usize = 280;

/// Three properties each; and how much more memory ten times as many take.
pub(crate) fn import(settings: &Settings) {
    let nodes = settings.large;
    let what = format!("importing {nodes} nodes with 3 properties");
    let row = Row {
        what: &what,
        unit: "nodes/s",
        against: "sled, a node and a journal record each, sorted, by 200",
        aim: Aim::AtLeast(0.3),
    };
    let runtime = scene::runtime();
    let bytes = AtomicU64::new(0);
    row.measure(
        || {
            let (rate, journal) = runtime.block_on(run(nodes));
            bytes.store(journal, Ordering::Relaxed);
            rate
        },
        || bare_rate(nodes, bytes.load(Ordering::Relaxed) as usize),
    );
    let [small, large] = [nodes / 10, nodes].map(greatest_of);
    println!(
        "| greatest resident memory while importing {nodes} nodes | {large} MiB | importing a tenth: \
         {small} MiB | {:.2} | |",
        large as f64 / small as f64,
    );
}

/// The greatest resident memory of a process that imports so many nodes and does nothing else, in MiB.
fn greatest_of(nodes: usize) -> u64 {
    let output = scene::part("part-import").arg(nodes.to_string()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().parse().unwrap()
}

/// In a process of its own: imports, and prints the greatest resident memory in MiB.
pub(crate) fn part(arguments: &[String]) {
    let [nodes] = arguments else {
        panic!("how many nodes");
    };
    scene::runtime().block_on(run(nodes.parse().unwrap()));
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    println!("{}", kib.parse::<u64>().unwrap() >> 10);
}

/// Nodes a second, and journal bytes for each.
async fn run(nodes: usize) -> (f64, u64) {
    let directory = tempfile::tempdir().unwrap();
    let options = PeerOptions::default().durability(Durability::Sync);
    let peer = Peer::open(directory.path(), options).await.unwrap();
    let start = Instant::now();
    let told = &mut |_: &_| {};
    let report = peer
        .import("/", Tree::new(nodes), None, told)
        .await
        .unwrap();
    let elapsed = start.elapsed().as_secs_f64();
    assert_eq!(report.nodes_added as usize, nodes);
    let journal = peer.status().await.state.counters.committed_bytes;
    peer.close().await.unwrap();
    (nodes as f64 / elapsed, journal / nodes as u64)
}

fn bare_rate(nodes: usize, journal_bytes: usize) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let db = bare::open(directory.path(), 64 << 20);
    let start = Instant::now();
    let mut i = 0_u64;
    while i < nodes as u64 {
        let mut batch = sled::Batch::default();
        let mut ids: Vec<u64> = (0..BATCH as u64).map(|k| i + k).collect();
        // Ids of nodes are hashes.
        ids.sort_by_key(|id| id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for id in &ids {
            let mut key = b"n\x01".to_vec();
            key.extend(id.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            key.extend([7; 8]);
            batch.insert(key, vec![*id as u8; NODE_BYTES]);
        }
        for id in i..i + BATCH as u64 {
            let (key, value) = bare::record(journal_bytes, id);
            batch.insert(key, value);
        }
        db.apply_batch(batch).unwrap();
        i += BATCH as u64;
    }
    db.flush().unwrap();
    nodes as f64 / start.elapsed().as_secs_f64()
}

/// A file of so many nodes, made as it is read.
struct Tree {
    nodes: usize,
    next: usize,
    piece: Vec<u8>,
    read: usize,
}

impl Tree {
    fn new(nodes: usize) -> Self {
        Self {
            nodes,
            next: 0,
            piece: Vec::new(),
            read: 0,
        }
    }

    /// The next nodes: one under the top with its children.
    fn fill(&mut self) {
        self.piece.clear();
        self.read = 0;
        if self.next > self.nodes {
            return;
        }
        if self.next == 0 {
            self.piece.push(b'{');
        }
        if self.next == self.nodes {
            self.piece.extend(b"}\n");
            self.next += 1;
            return;
        }
        if self.next > 0 {
            self.piece.push(b',');
        }
        let end = self.nodes.min(self.next + CHILDREN + 1);
        let top = self.next;
        let properties =
            |i: usize| format!("\"size\":{i},\"title\":\"node number {i}\",\"open\":true");
        let mut text = format!("\"b{top}\":{{{}", properties(top));
        for i in top + 1..end {
            text += &format!(",\"n{i}\":{{{}}}", properties(i));
        }
        text.push('}');
        self.piece.extend(text.as_bytes());
        self.next = end;
    }
}

impl Read for Tree {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.read == self.piece.len() {
            self.fill();
        }
        let left = &self.piece[self.read..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.read += count;
        Ok(count)
    }
}
