//! Two replicas that were apart for long, and meet again.

use std::path::Path;
use std::sync::Arc;

use leveret::model::{ChangeSet, Dependency};

use crate::engine::Engine;
use crate::history::{self, Author, Numbers, Tree};
use crate::measure::{Aim, Row, Settings, running};

/// Merging what the other one saved meanwhile against taking the same, with nothing of one's own.
pub(crate) fn reunion(settings: &Settings) {
    let count = settings.large;
    let mut author = Author::new(1);
    let (tree, base) = Tree::new(&mut author, settings.large);
    let seen = author.newest();
    let ours = apart(tree.clone(), 2, seen, count);
    let theirs = apart(tree, 3, seen, count);
    for (what, on_sled) in [("in memory", false), ("on sled", true)] {
        let rate = |before: &[&[Arc<ChangeSet>]]| {
            let directory = tempfile::tempdir().unwrap();
            rate(on_sled.then_some(directory.path()), before, &theirs)
        };
        let row = Row {
            what: &format!("reunion after {count} saves each, {what}"),
            unit: "/s",
            against: "the same in order, nothing else",
            aim: Aim::AtLeast(0.7),
        };
        row.measure(|| rate(&[&base, &ours]), || rate(&[&base]));
    }
}

/// Change sets a second, and to the store at the end.
fn rate(directory: Option<&Path>, before: &[&[Arc<ChangeSet>]], sets: &[Arc<ChangeSet>]) -> f64 {
    let engine = match directory {
        Some(directory) => Engine::on_sled(directory),
        None => Engine::in_memory(),
    };
    before.iter().for_each(|sets| engine.merge(sets));
    if directory.is_some() {
        engine.checkpoint();
    }
    let start = running();
    engine.merge(sets);
    if directory.is_some() {
        engine.checkpoint();
    }
    sets.len() as f64 / (running() - start)
}

/// What somebody saves who hears of nobody: mostly properties, a tenth adds, 1 % moves, 1 %
/// removals.
fn apart(mut tree: Tree, number: u8, seen: Dependency, count: usize) -> Vec<Arc<ChangeSet>> {
    let mut author = Author::new(number);
    let mut numbers = Numbers(number.into());
    let mut save = |i: usize| {
        let operation = match numbers.below(100) {
            0 => {
                let moved = tree.move_any(&mut numbers);
                tree.moved(moved)
            }
            1 => tree.remove_any(&mut numbers),
            2..12 => tree.add(&mut numbers, (i + 1) << 8 | usize::from(number)),
            _ => {
                let node = tree.any(&mut numbers);
                history::set(tree.nodes[node], "x", i)
            }
        };
        let first = if i == 0 { vec![seen] } else { Vec::new() };
        author.save((1 << 32) + i as u64, &first, vec![operation])
    };
    (0..count).map(&mut save).collect()
}
