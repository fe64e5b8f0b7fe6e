//! Saves of one integer property each, in process, against bare sled that writes records as long
//! as the journal's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use leveret::peer::Durability;

use crate::measure::{Aim, Row, Settings};
use crate::{bare, scene};

/// Nodes that are saved again and again.
const HOT: usize = 1_000;

/// Acknowledged when merged.
pub(crate) fn relaxed(settings: &Settings) {
    for (callers, aim) in [(1, Aim::None), (8, Aim::AtLeast(0.5))] {
        let what = format!("saves, relaxed, {callers} callers, {HOT} hot nodes");
        measure(settings, &what, Durability::Relaxed, callers, HOT, aim);
    }
    let what = format!("saves, relaxed, 8 callers, {} nodes", settings.large);
    let aim = Aim::AtLeast(0.2);
    measure(settings, &what, Durability::Relaxed, 8, settings.large, aim);
}

/// Acknowledged when durable.
pub(crate) fn sync(settings: &Settings) {
    for (callers, aim) in [(1, 0.6), (8, 0.0), (64, 0.5)] {
        let aim = if aim == 0.0 {
            Aim::None
        } else {
            Aim::AtLeast(aim)
        };
        let what = format!("saves, sync, {callers} callers, {HOT} hot nodes");
        measure(settings, &what, Durability::Sync, callers, HOT, aim);
    }
}

/// Local saves a second, as the rows here measure them.
pub(super) fn local(
    settings: &Settings,
    durability: Durability,
    callers: usize,
    nodes: usize,
) -> f64 {
    let (rate, _) = scene::runtime().block_on(rate(settings, durability, callers, nodes));
    rate
}

fn measure(
    settings: &Settings,
    what: &str,
    durability: Durability,
    callers: usize,
    nodes: usize,
    aim: Aim,
) {
    let runtime = scene::runtime();
    let against = match durability {
        Durability::Relaxed => "sled, single inserts".to_owned(),
        _ => format!("sled, {callers} inserts and a barrier"),
    };
    let row = Row {
        what,
        unit: "/s",
        against: &against,
        aim,
    };
    let bytes = AtomicU64::new(0);
    row.measure(
        || {
            let (rate, length) = runtime.block_on(rate(settings, durability, callers, nodes));
            bytes.store(length, Ordering::Relaxed);
            rate
        },
        || {
            let bytes = bytes.load(Ordering::Relaxed) as usize;
            match durability {
                Durability::Relaxed => bare::inserts(settings.time(), bytes),
                _ => bare::durable_inserts(settings.time(), bytes, callers),
            }
        },
    );
}

/// Saves a second, and the bytes of a journal record.
async fn rate(
    settings: &Settings,
    durability: Durability,
    callers: usize,
    nodes: usize,
) -> (f64, u64) {
    let directory = tempfile::tempdir().unwrap();
    let (peer, nodes) = scene::peer(directory.path(), durability, nodes).await;
    let nodes = Arc::new(nodes);
    let before = peer.status().await.state.counters;
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let end = start + settings.time();
    let mut tasks = Vec::new();
    for caller in 0..callers {
        let (peer, nodes, done) = (peer.clone(), nodes.clone(), done.clone());
        tasks.push(tokio::spawn(async move {
            // Steps of a large prime visit all nodes, in no order that a cache could use.
            let mut i = caller * 37;
            while Instant::now() < end {
                i += 7_919;
                let mut session = peer.session();
                session.overwrite(true);
                session.set(nodes[i % nodes.len()], "x", i as i64).unwrap();
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
    (rate, bytes)
}
