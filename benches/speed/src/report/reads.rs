//! What reading a property by its path costs: how often the store is asked.

use std::sync::Arc;

use leveret::merge::{ReadTree, State};
use leveret::model::{NodePath, RepoId};
use leveret::storage::Storage;
use leveret_sim::report::chart::Unit;

use super::count::Counted;
use super::grove::{Grove, place, tree};
use super::{Claim, series};

/// Memory for clean records, in bytes.
const CACHE_BYTES: usize = 16 << 20;

pub(super) fn claims(sizes: &[usize]) -> Vec<Claim> {
    let kinds = ["first", "again"];
    let mut by_nodes = Vec::new();
    for &nodes in sizes {
        by_nodes.push((nodes, asked(tree(nodes), &place(nodes - 1))));
    }
    let mut by_depth = Vec::new();
    for depth in [1, 5, 16, 64, 256, 512] {
        let way = |depth: usize| "/n".repeat(depth);
        let adds = (1..=depth).map(|i| format!("add {}", way(i)));
        let set = format!("set {} x 1", way(depth));
        by_depth.push((depth, asked(adds.chain([set]), &way(depth))));
    }
    vec![
        Claim {
            name: "read-nodes",
            title: "Times that one read by path asks the store, by nodes in the tree",
            x: "nodes",
            y: "gets and scans",
            unit: Unit::Count,
            series: series(kinds, &by_nodes),
        },
        Claim {
            name: "read-depth",
            title: "Times that one read by path asks the store, by depth of the node",
            x: "depth",
            y: "gets and scans",
            unit: Unit::Count,
            series: series(kinds, &by_depth),
        },
    ]
}

/// How often the store is asked for a property of a node: the first time after opening, and after
/// that.
fn asked(lines: impl Iterator<Item = String>, path: &str) -> [f64; 2] {
    let store = Counted::new();
    Grove::on(store.clone()).plant(lines);
    let storage: Arc<dyn Storage> = store.clone();
    let state = State::open(RepoId::MAIN, storage, CACHE_BYTES).unwrap();
    let (path, name) = (path.parse::<NodePath>().unwrap(), "x".parse().unwrap());
    let snapshot = state.snapshot();
    [(); 2].map(|()| {
        let before = store.asked();
        let node = snapshot.resolve(&path).unwrap().unwrap();
        assert!(snapshot.property(node, &name).unwrap().is_some());
        (store.asked() - before) as f64
    })
}
