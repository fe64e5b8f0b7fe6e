//! Peers with something in them.

use std::path::Path;
use std::process::Command;

use leveret::model::NodeId;
use leveret::peer::{Durability, Peer, PeerOptions};
use tempfile::TempDir;

/// A runtime for what is asynchronous.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A peer on a fresh directory, with `nodes` nodes `/n/n0`, `/n/n1`, and so on.
pub(crate) async fn peer(
    directory: &Path,
    durability: Durability,
    nodes: usize,
) -> (Peer, Vec<NodeId>) {
    let options = PeerOptions::default().durability(durability);
    let peer = Peer::open(directory, options).await.unwrap();
    let mut session = peer.session();
    let parent = session.add("/n").unwrap();
    session.save().await.unwrap();
    let mut ids = Vec::with_capacity(nodes);
    while ids.len() < nodes {
        let mut session = peer.session();
        for i in ids.len()..nodes.min(ids.len() + 1_000) {
            ids.push(session.add_child(parent, &format!("n{i}")).unwrap());
        }
        session.save().await.unwrap();
    }
    (peer, ids)
}

/// A data directory of a closed peer with a tree of so many leaves, all five names deep, each with
/// an integer property `x`, its number.
pub(crate) struct Forest {
    pub(crate) directory: TempDir,
    leaves: usize,
}

impl Forest {
    /// Makes one.
    pub(crate) fn grow(leaves: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let forest = Self { directory, leaves };
        runtime().block_on(forest.plant());
        forest
    }

    async fn plant(&self) {
        let options = PeerOptions::default().durability(Durability::Relaxed);
        let peer = Peer::open(self.directory.path(), options).await.unwrap();
        // The way to the leaf before, and the nodes on it.
        let mut way: Vec<(usize, NodeId)> = Vec::new();
        let mut session = peer.session();
        for leaf in 0..self.leaves {
            let places = places(self.leaves, leaf);
            let same = way.iter().zip(places).take_while(|(a, b)| a.0 == *b);
            way.truncate(same.count());
            for place in &places[way.len()..] {
                let parent = way.last().map_or(NodeId::ROOT, |(_, node)| *node);
                let node = session.add_child(parent, &format!("n{place}")).unwrap();
                way.push((*place, node));
            }
            session.set(way[4].1, "x", leaf as i64).unwrap();
            if leaf % 500 == 499 && leaf + 1 < self.leaves {
                session.save().await.unwrap();
                session = peer.session();
            }
        }
        session.save().await.unwrap();
        peer.close().await.unwrap();
    }

    /// The path of a leaf.
    pub(crate) fn path(&self, leaf: usize) -> String {
        path(self.leaves, leaf)
    }

    /// A leaf, another one for each number, without an order that a cache could use.
    pub(crate) fn any(&self, number: usize) -> usize {
        number * 7_919 % self.leaves
    }

    /// How many leaves there are.
    pub(crate) fn leaves(&self) -> usize {
        self.leaves
    }
}

/// The path of one of so many leaves in a [`Forest`].
pub(crate) fn path(leaves: usize, leaf: usize) -> String {
    let places = places(leaves, leaf);
    places.iter().map(|place| format!("/n{place}")).collect()
}

fn places(leaves: usize, leaf: usize) -> [usize; 5] {
    let width = (1..).find(|width: &usize| width.pow(5) >= leaves).unwrap();
    let mut rest = leaf;
    let mut places = [0; 5];
    for place in places.iter_mut().rev() {
        *place = rest % width;
        rest /= width;
    }
    places
}

/// Where a data directory has sled's files.
pub(crate) fn sled_of(directory: &Path) -> std::path::PathBuf {
    directory.join("store").join("db")
}

/// This program again, to do a part of a measurement in a process of its own.
pub(crate) fn part(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(name);
    command
}
