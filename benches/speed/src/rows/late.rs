//! Change sets that come late, and removals: whether they cost what others cost.

use std::sync::Arc;
use std::time::Instant;

use leveret::model::{ChangeSet, Dependency, NodeId, Operation};

use crate::engine::Engine;
use crate::history::{self, Author, Numbers, Tree};
use crate::measure::{Aim, ROUNDS, Row, Settings, median};

/// Saves of each kind that are measured in a round.
const SAVES: usize = 200;
/// The time of the first of the newer ones.
const NEWER: u64 = 1 << 32;
/// Nodes of the tree that the newer ones work on.
const NODES: usize = 10_000;

/// Microseconds that merging one change set takes.
fn merge_one(engine: &Engine, author: &mut Author, time: u64, operation: Operation) -> f64 {
    merge(engine, &author.save(time, &[], vec![operation]))
}

fn merge(engine: &Engine, set: &Arc<ChangeSet>) -> f64 {
    let start = Instant::now();
    engine.merge(std::slice::from_ref(set));
    start.elapsed().as_secs_f64() * 1e6
}

/// A tree, nodes apart from it, and a state with both.
struct Scene {
    engine: Engine,
    author: Author,
    tree: Tree,
    apart: Vec<NodeId>,
    /// What was there before the newer ones.
    base: Dependency,
}

impl Scene {
    fn new(apart: usize) -> Self {
        let engine = Engine::in_memory();
        let mut author = Author::new(1);
        let (tree, sets) = Tree::new(&mut author, NODES);
        engine.merge(&sets);
        let adds = (0..apart).map(|i| history::add(NodeId::ROOT, NODES + i));
        let (apart, adds): (Vec<_>, Vec<_>) = adds.unzip();
        engine.merge(&[author.save(NEWER / 2, &[], adds)]);
        let base = author.newest();
        Self {
            base,
            engine,
            author,
            tree,
            apart,
        }
    }

    /// Somebody who has seen as much, and says so at that time.
    fn author(&self, number: u8, seen: Dependency, time: u64) -> Author {
        let mut author = Author::new(number);
        merge(&self.engine, &author.save(time, &[seen], Vec::new()));
        author
    }

    /// Merges change sets that have seen everything and leave alone what is apart: so many of a
    /// hundred are adds, moves and removals.
    fn go_on(&mut self, count: usize, [adds, moves, removals]: [usize; 3]) {
        let mut numbers = Numbers(1);
        let mut sets = Vec::new();
        for i in 0..count {
            let operation = match numbers.below(100) {
                x if x < adds => self.tree.add(&mut numbers, usize::MAX - i),
                x if x < adds + moves => {
                    let moved = self.tree.move_any(&mut numbers);
                    self.tree.moved(moved)
                }
                x if x < adds + moves + removals => self.tree.remove_any(&mut numbers),
                _ => {
                    let node = self.tree.any(&mut numbers);
                    history::set(self.tree.nodes[node], "x", i)
                }
            };
            let time = NEWER + i as u64;
            sets.push(self.author.save(time, &[], vec![operation]));
            if sets.len() == 10_000 || i + 1 == count {
                self.engine.merge(&std::mem::take(&mut sets));
            }
        }
    }
}

/// One late change set against one with the newest id.
pub(crate) fn set(settings: &Settings) {
    for newer in [settings.large / 100, settings.large * 10] {
        let mut scene = Scene::new(SAVES);
        scene.go_on(newer, [10, 1, 1]);
        let mut late = scene.author(2, scene.base, NEWER / 2);
        let mut newest = scene.author(3, scene.author.newest(), NEWER * 2);
        let (mut sets, mut adds) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let mut times: [[Vec<f64>; 2]; 2] = Default::default();
            for i in 0..SAVES {
                let number = (round * SAVES + i) * 2;
                let time = NEWER / 2 + 1 + number as u64;
                let node = scene.apart[i];
                for (kind, times) in times.iter_mut().enumerate() {
                    // Each is the first of the two as often as the other.
                    for side in [i % 2, 1 - i % 2] {
                        let operation = match kind {
                            0 => history::set(node, ["late", "newest"][side], number),
                            _ => history::add(node, number + side).1,
                        };
                        let (author, after) = match side {
                            0 => (&mut late, 0),
                            _ => (&mut newest, NEWER * 2),
                        };
                        let time = time + kind as u64 + after;
                        times[side].push(merge_one(&scene.engine, author, time, operation));
                    }
                }
            }
            let [set, add] = times.map(|times| {
                let [late, newest] = times.map(|times| median(times.into_iter()));
                (late, newest)
            });
            sets.push(set);
            adds.push(add);
        }
        for (kind, pairs) in [("property", sets), ("add", adds)] {
            let row = Row {
                what: &format!("one late change set ({kind}) under {newer} newer"),
                unit: "µs",
                against: "the same with the newest id",
                aim: Aim::AtMost(1.3),
            };
            row.print(&pairs);
        }
    }
}

/// Late moves of a round: of what nobody looked at, and of anything.
const KINDS: [usize; 2] = [SAVES, SAVES / 10];

/// One late move under more and more newer ones, 1 % of them moves.
pub(crate) fn moves(settings: &Settings) {
    let mut against: Option<Vec<[(f64, f64); 2]>> = None;
    for newer in [1, 10, 100, 1_000].map(|times| settings.large / 100 * times) {
        let mut scene = Scene::new(2 * SAVES);
        scene.go_on(newer, [0, 1, 0]);
        let mut late = scene.author(2, scene.base, NEWER / 2);
        let mut numbers = Numbers(2);
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            // Of what nobody looked at, and of what newer moves looked at.
            let mut times: [Vec<f64>; 2] = Default::default();
            let mut again = [0.0; 2];
            for (kind, saves) in KINDS.into_iter().enumerate() {
                for i in 0..saves {
                    let step = (round * 2 + kind) * SAVES + i;
                    let (node, parent) = match kind {
                        0 => {
                            let parent = scene.apart[SAVES + (i + round) % SAVES];
                            (scene.apart[i], parent)
                        }
                        _ => (scene.tree.nodes[numbers.below(NODES)], NodeId::ROOT),
                    };
                    let name = None;
                    let operation = Operation::Move { node, parent, name };
                    let before = scene.engine.state.counters().reevaluated;
                    let time = NEWER / 2 + 1 + step as u64;
                    times[kind].push(merge_one(&scene.engine, &mut late, time, operation));
                    let after = scene.engine.state.counters().reevaluated;
                    again[kind] += (after - before) as f64 / saves as f64;
                }
            }
            let [apart, anywhere] = times;
            // What one of these has to look at differs much: their mean is what goes with its mean.
            let anywhere = anywhere.iter().sum::<f64>() / KINDS[1] as f64;
            let apart = median(apart.into_iter());
            rounds.push([(apart, again[0]), (anywhere, again[1])]);
        }
        let first = against.get_or_insert_with(|| rounds.clone());
        let again = |rounds: &[[(f64, f64); 2]], i: usize| rounds[0][i].1;
        for (i, what) in ["of a node apart", "anywhere"].into_iter().enumerate() {
            let row = Row {
                what: &format!(
                    "one late move {what} under {newer} newer, 1 % moves: {:.0} evaluated again",
                    again(&rounds, i)
                ),
                unit: "µs",
                against: &format!(
                    "under {}: {:.0} evaluated again",
                    settings.large / 100,
                    again(first, i)
                ),
                aim: if i == 0 { Aim::AtMost(1.3) } else { Aim::None },
            };
            let pairs = rounds.iter().zip(&*first);
            let pairs: Vec<_> = pairs
                .map(|(ours, theirs)| (ours[i].0, theirs[i].0))
                .collect();
            row.print(&pairs);
        }
    }
}

/// Removing a node with much below it against one with little.
pub(crate) fn removal(settings: &Settings) {
    let engine = Engine::in_memory();
    let mut author = Author::new(1);
    let mut time = 0;
    let mut tops = Vec::new();
    for (number, below) in [(0, settings.large), (1, 10)] {
        let (top, operation) = history::add(NodeId::ROOT, number);
        let mut operations = vec![operation];
        let mut nodes = vec![top];
        for i in 0..below {
            let (node, operation) = history::add(nodes[i / 10], i);
            nodes.push(node);
            operations.push(operation);
        }
        time += 1;
        engine.merge(&[author.save(time, &[], operations)]);
        tops.push(top);
    }
    let mut pairs = Vec::new();
    for _ in 0..ROUNDS {
        let mut times: [Vec<f64>; 2] = Default::default();
        for _ in 0..SAVES {
            for (times, node) in times.iter_mut().zip(&tops) {
                let node = *node;
                time += 2;
                let remove = Operation::Remove { node };
                times.push(merge_one(&engine, &mut author, time, remove));
                let back = Operation::Move {
                    node,
                    parent: NodeId::ROOT,
                    name: None,
                };
                merge_one(&engine, &mut author, time + 1, back);
            }
        }
        let [much, little] = times.map(|times| median(times.into_iter()));
        pairs.push((much, little));
    }
    let row = Row {
        what: &format!("removing a node over {} descendants", settings.large),
        unit: "µs",
        against: "over 10",
        aim: Aim::AtMost(2.0),
    };
    row.print(&pairs);
}
