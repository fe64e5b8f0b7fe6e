//! Leveret's merging beside what else merges trees, in the same run.
//!
//! A crate of its own outside the workspace, so that nobody else pays for its build.
//! `make bench-peers` runs it.
#![expect(clippy::unwrap_used, reason = "a benchmark fails loudly")]
#![expect(
    dead_code,
    reason = "some of what it shares with benches/speed is for others"
)]

#[path = "../../speed/src/engine.rs"]
mod engine;
#[path = "../../speed/src/history.rs"]
mod history;
#[path = "../../speed/src/measure.rs"]
mod measure;

use std::path::Path;
use std::sync::Arc;

use engine::Engine;
use history::{Author, Numbers, Tree};
use leveret::model::{ChangeSet, Dependency};
use loro::{ExportMode, LoroDoc, TreeID, TreeParentId};
use measure::{Aim, Row, running};

/// Nodes of the tree.
const NODES: usize = 100_000;
/// Moves on each side, each of some node to below some other.
const MOVES: usize = 20_000;

/// A move: of which node to below which other.
type Move = (usize, usize);

fn main() {
    let mut author = Author::new(1);
    let (tree, base) = Tree::new(&mut author, NODES);
    let [ours, theirs] = [2, 3].map(|side| moves(tree.clone(), side));
    let seen = author.newest();
    let sets = [(2, &ours), (3, &theirs)].map(|(number, moves)| save(&tree, number, seen, moves));
    let loro = Loro::new(&base_parents(), &ours, &theirs);
    println!("{}", measure::HEADING);
    for (what, on_sled, aim) in [("in memory", false, 5.0), ("on sled", true, 1.0)] {
        let row = Row {
            what: &format!("{MOVES} moves against {MOVES} on {NODES} nodes, {what}"),
            unit: "/s",
            against: "loro, in memory",
            aim: Aim::AtLeast(aim),
        };
        row.measure(
            || {
                let directory = tempfile::tempdir().unwrap();
                leveret(on_sled.then_some(directory.path()), &base, &sets)
            },
            || loro.merge(),
        );
    }
}

/// What somebody moves who hears of nobody.
fn moves(mut tree: Tree, side: u64) -> Vec<Move> {
    let mut numbers = Numbers(side);
    (0..MOVES).map(|_| tree.move_any(&mut numbers)).collect()
}

/// The same as change sets, a move each.
fn save(tree: &Tree, number: u8, seen: Dependency, moves: &[Move]) -> Vec<Arc<ChangeSet>> {
    let mut author = Author::new(number);
    let mut save = |(i, moved): (usize, &Move)| {
        let first = if i == 0 { vec![seen] } else { Vec::new() };
        author.save((1 << 32) + i as u64, &first, vec![tree.moved(*moved)])
    };
    moves.iter().enumerate().map(&mut save).collect()
}

/// The parent of each node of the tree.
fn base_parents() -> Vec<Option<usize>> {
    (0..NODES).map(|i: usize| (i / 10).checked_sub(1)).collect()
}

/// The other side's moves merged a second, and to the store at the end.
fn leveret(
    directory: Option<&Path>,
    base: &[Arc<ChangeSet>],
    [ours, theirs]: &[Vec<Arc<ChangeSet>>; 2],
) -> f64 {
    let engine = directory.map_or_else(Engine::in_memory, Engine::on_sled);
    engine.merge(base);
    engine.merge(ours);
    if directory.is_some() {
        engine.checkpoint();
    }
    let start = running();
    engine.merge(theirs);
    if directory.is_some() {
        engine.checkpoint();
    }
    MOVES as f64 / (running() - start)
}

/// Two of loro's documents, exported.
struct Loro {
    ours: Vec<u8>,
    theirs: Vec<u8>,
}

impl Loro {
    fn new(parents: &[Option<usize>], ours: &[Move], theirs: &[Move]) -> Self {
        let base = LoroDoc::new();
        base.set_peer_id(1).unwrap();
        let tree = base.get_tree("tree");
        tree.disable_fractional_index();
        let mut nodes: Vec<TreeID> = Vec::new();
        for parent in parents {
            let parent = parent.map_or(TreeParentId::Root, |p| TreeParentId::Node(nodes[p]));
            nodes.push(tree.create(parent).unwrap());
        }
        base.commit();
        let base = base.export(ExportMode::Snapshot).unwrap();
        let side = |peer: u64, moves: &[Move]| {
            let document = LoroDoc::new();
            document.set_peer_id(peer).unwrap();
            document.import(&base).unwrap();
            let tree = document.get_tree("tree");
            tree.disable_fractional_index();
            let before = document.oplog_vv();
            for (node, parent) in moves {
                tree.mov(nodes[*node], nodes[*parent]).unwrap();
                document.commit();
            }
            (document, before)
        };
        let (ours, _) = side(2, ours);
        let (theirs, before) = side(3, theirs);
        Self {
            ours: ours.export(ExportMode::Snapshot).unwrap(),
            theirs: theirs.export(ExportMode::updates(&before)).unwrap(),
        }
    }

    /// The other side's moves merged a second, decoding them included.
    fn merge(&self) -> f64 {
        let document = LoroDoc::new();
        document.import(&self.ours).unwrap();
        // Reading makes it load what it has.
        assert!(!document.get_tree("tree").nodes().is_empty());
        let start = running();
        document.import(&self.theirs).unwrap();
        MOVES as f64 / (running() - start)
    }
}
