//! What a store takes on disk after many saves, against what lives in it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use leveret::peer::Durability;

use crate::measure::{Aim, Row, Settings};
use crate::{bare, scene};

/// Saves for each node.
const SAVES: usize = 10;

/// Ten times as many saves as there are nodes, one property each. Made once: it takes its time.
pub(crate) fn disk(settings: &Settings) {
    let nodes = settings.large;
    let saves = SAVES * nodes;
    let directory = tempfile::tempdir().unwrap();
    let running = scene::runtime().block_on(async {
        let (peer, nodes) = scene::peer(directory.path(), Durability::Relaxed, nodes).await;
        let nodes = Arc::new(nodes);
        let callers = 8;
        let tasks: Vec<_> = (0..callers)
            .map(|caller| {
                let (peer, nodes) = (peer.clone(), nodes.clone());
                tokio::spawn(async move {
                    for i in (caller..saves).step_by(callers) {
                        let mut session = peer.session();
                        session.overwrite(true);
                        let node = nodes[i * 7_919 % nodes.len()];
                        session.set(node, "x", i as i64).unwrap();
                        session.save().await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let running = taken(&directory.path().join("store"));
        peer.close().await.unwrap();
        running
    });
    let closed = taken(&directory.path().join("store"));
    let db = bare::open(&scene::sled_of(directory.path()), 32 << 20);
    let entries = db.iter().map(Result::unwrap);
    let live: usize = entries.map(|(key, value)| key.len() + value.len()).sum();
    drop(db);
    let live = live as f64 / f64::from(1 << 20);
    for (when, bytes) in [("", running), (", closed", closed)] {
        let row = Row {
            what: &format!("bytes on disk after {saves} saves over {nodes} nodes{when}"),
            unit: "MiB",
            against: "keys and values of records and journal",
            aim: Aim::AtMost(3.0),
        };
        row.print(&[(bytes, live)]);
    }
}

/// What the files below a directory take, in MiB.
fn taken(directory: &Path) -> f64 {
    let mut bytes = 0.0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let about = entry.metadata().unwrap();
        bytes += match about.is_dir() {
            true => taken(&entry.path()),
            false => (about.blocks() * 512) as f64 / f64::from(1 << 20),
        };
    }
    bytes
}
