//! What several callers and several peers cost: barriers, messages, bytes.

use std::path::Path;
use std::time::Duration;

use leveret::peer::{Durability, Peer, PeerOptions};
use leveret_sim::report::chart::Unit;

use super::{Claim, series};
use crate::scene;

/// Saves that are made together, at most.
const SAVES: usize = 20_000;
/// How long a token is good, and how long two peers may take to come to the same.
const PATIENCE: Duration = Duration::from_secs(600);

/// Barriers for each save, by callers that save at the same time.
pub(super) fn barriers(_: &[usize]) -> Vec<Claim> {
    let runtime = scene::runtime();
    let mut rows = Vec::new();
    for callers in [1, 2, 4, 8, 16, 32, 64] {
        let directory = tempfile::tempdir().unwrap();
        let each = (SAVES / 10 / callers).max(20);
        rows.push((
            callers,
            [runtime.block_on(barriers_of(directory.path(), callers, each))],
        ));
    }
    vec![Claim {
        name: "barriers",
        title: "Barriers for each save in sync, by callers that save at the same time",
        x: "callers",
        y: "barriers",
        unit: Unit::Count,
        series: series(["barriers a save"], &rows),
    }]
}

async fn barriers_of(directory: &Path, callers: usize, each: usize) -> f64 {
    let (peer, nodes) = scene::peer(directory, Durability::Sync, callers).await;
    let before = peer.status().await.state.counters;
    let mut tasks = Vec::new();
    for node in nodes {
        let peer = peer.clone();
        tasks.push(tokio::spawn(async move {
            for i in 0..each {
                let mut session = peer.session();
                session.set(node, "x", i as i64).unwrap();
                session.save().await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let after = peer.status().await.state.counters;
    peer.close().await.unwrap();
    (after.commits - before.commits) as f64 / (after.saves - before.saves) as f64
}

/// Two peers that saved apart and meet again.
pub(super) fn reunion(sizes: &[usize]) -> Vec<Claim> {
    let runtime = scene::runtime();
    let (mut messages, mut commits) = (Vec::new(), Vec::new());
    for &saves in sizes.iter().filter(|saves| **saves <= 100_000) {
        let [sent, barriers] = runtime.block_on(meet(saves));
        messages.push((saves, [sent]));
        commits.push((saves, [barriers]));
    }
    let claim = |name, title, y, series| Claim {
        name,
        title,
        x: "saves of each",
        y,
        unit: Unit::Count,
        series,
    };
    vec![
        claim(
            "reunion-messages",
            "Messages of both for each change set of a reunion, by saves apart",
            "messages for each change set",
            series(["messages"], &messages),
        ),
        claim(
            "reunion-barriers",
            "Barriers of both for each change set of a reunion, by saves apart",
            "barriers for each change set",
            series(["barriers"], &commits),
        ),
    ]
}

/// Messages and barriers of both, for each change set that one of them lacked.
async fn meet(saves: usize) -> [f64; 2] {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = || {
        PeerOptions::default()
            .durability(Durability::Relaxed)
            .listen("127.0.0.1:0".parse().unwrap())
    };
    let first = Peer::open(one.path(), options()).await.unwrap();
    let token = first.create_token(PATIENCE).await.unwrap();
    let second = Peer::open(two.path(), options().join(token)).await.unwrap();
    let mut session = first.session();
    session.add("/n").unwrap();
    session.save().await.unwrap();
    same(&first, &second).await;
    for peer in [&first, &second] {
        peer.set_isolated(true);
    }
    for (peer, name) in [(&first, "one"), (&second, "two")] {
        for i in 0..saves {
            let mut session = peer.session();
            session.set("/n", name, i as i64).unwrap();
            session.save().await.unwrap();
        }
    }
    let before = [first.status().await, second.status().await].map(|status| status.state.counters);
    for peer in [&first, &second] {
        peer.set_isolated(false);
    }
    same(&first, &second).await;
    let after = [first.status().await, second.status().await].map(|status| status.state.counters);
    let sum = |of: fn(&leveret::replica::Counters) -> u64| {
        let [a, b] = [0, 1].map(|i| of(&after[i]) - of(&before[i]));
        (a + b) as f64 / (2 * saves) as f64
    };
    let counts = [
        sum(|counters| counters.messages_sent),
        sum(|counters| counters.commits),
    ];
    first.close().await.unwrap();
    second.close().await.unwrap();
    counts
}

/// Waits until both have applied the same.
async fn same(one: &Peer, other: &Peer) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let heads = [one, other].map(|peer| peer.snapshot().heads().clone());
        if heads[0] == heads[1] {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "they do not come to the same"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
