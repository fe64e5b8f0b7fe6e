//! What is remembered of paths: at every version, and in every draft, a path leads where looking
//! through the lists of children leads.

use std::sync::Arc;

use leveret::merge::{Draft, ReadTree, Snapshot, State};
use leveret::model::script::parse_line;
use leveret::model::{ChangeSet, NodeId, NodePath, OriginId, PathStep, RepoId};
use leveret::storage::Storage;
use leveret::storage::memory::MemoryStorage;
use leveret_sim::engine::{Engine, Log};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const AUTHOR: OriginId = OriginId([5; 16]);
/// Whose change sets come late.
const LATE: OriginId = OriginId([4; 16]);

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn random_path(rng: &mut ChaCha8Rng) -> String {
    let names = (0..rng.random_range(1..4)).map(|_| NAMES[rng.random_range(0..NAMES.len())]);
    names.map(|name| format!("/{name}")).collect()
}

fn line(rng: &mut ChaCha8Rng) -> String {
    let path = random_path(rng);
    match rng.random_range(0..9) {
        0..3 => format!("add {path}"),
        3 => format!("add_unique {path}"),
        4 => format!("remove {path}"),
        5 => format!("move {path} {}", random_path(rng)),
        6 => format!("order {path} first"),
        _ => format!("set {path} x {}", rng.random_range(0..100)),
    }
}

fn apply(draft: &mut Draft, rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(1..4) {
        let _refused_or_not = draft.apply(&parse_line(&line(rng)).unwrap());
    }
}

/// Where a path leads by what the children on its way are shown as. Nothing is remembered of that.
fn look(tree: &impl ReadTree, path: &NodePath) -> Option<NodeId> {
    path.steps().iter().try_fold(NodeId::ROOT, |node, step| {
        let children = tree.children(node, None, 100).unwrap();
        let mut found = children.iter().filter(|child| match step {
            PathStep::Plain(name) => child.shown == name.as_str(),
            PathStep::Exact(name, digits) => {
                child.name == *name && child.id.to_string().starts_with(digits)
            }
        });
        match (found.next(), found.next()) {
            (Some(child), None) => Some(child.id),
            _ => None,
        }
    })
}

/// Every path that is shown anywhere in a tree, and some that are not.
fn paths(tree: &impl ReadTree) -> Vec<NodePath> {
    let mut paths = vec![NodePath::root()];
    for name in NAMES {
        paths.extend(NAMES.map(|other| format!("/{name}/{other}").parse().unwrap()));
    }
    let mut open = vec![(NodeId::ROOT, String::new())];
    while let Some((node, path)) = open.pop() {
        for child in tree.children(node, None, 100).unwrap() {
            let path = format!("{path}/{}", child.shown);
            paths.push(path.parse().unwrap());
            open.push((child.id, path));
        }
    }
    paths
}

/// Asks twice for each path, since the first answer is what the second remembers.
fn check(tree: &impl ReadTree, others: &[NodePath], when: &str) {
    for path in paths(tree).iter().chain(others) {
        let expected = look(tree, path);
        let recalled = tree.recall(&path.to_string());
        assert!(recalled.is_none() || recalled == expected, "{path} {when}");
        for _ in 0..2 {
            assert_eq!(tree.resolve(path).unwrap(), expected, "{path} {when}");
        }
    }
}

#[test]
fn a_path_leads_where_looking_leads_in_every_version_and_draft() {
    for seed in 0..9 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // From hardly room for a path to room for all.
        let cache_bytes = [2_000, 20_000, 1 << 20][seed as usize % 3];
        let storage = Arc::new(MemoryStorage::new());
        let mut engine = Engine::on(storage.clone(), Log::default());
        engine.state = State::open(RepoId::MAIN, storage as Arc<dyn Storage>, cache_bytes).unwrap();
        let mut held: Vec<Snapshot> = Vec::new();
        let mut seen_late = (engine.state.latest(), 0);
        let mut drafts: Vec<Draft> = Vec::new();
        let mut waiting = Vec::new();
        for step in 1..90_u64 {
            let set: Arc<ChangeSet> = if rng.random_range(0..5) == 0 {
                let mut draft = Draft::new(seen_late.0.clone(), LATE);
                apply(&mut draft, &mut rng);
                engine.save(&draft, seen_late.1 * 10 + 5, LATE)
            } else {
                let mut draft = Draft::new(engine.state.latest(), AUTHOR);
                apply(&mut draft, &mut rng);
                engine.save(&draft, step * 10, AUTHOR)
            };
            if !set.operations.is_empty() {
                waiting.push(engine.merge_unpublished(std::slice::from_ref(&set)).version);
                if set.id.origin == LATE {
                    seen_late = (engine.state.latest(), step);
                }
            }
            match rng.random_range(0..6) {
                0 if !waiting.is_empty() => {
                    let upto = rng.random_range(0..waiting.len());
                    engine.state.publish(waiting[upto]);
                    waiting.drain(..=upto);
                }
                1 => held.push(engine.state.snapshot()),
                2 => held.push(engine.state.latest()),
                3 if held.len() > 3 => drop(held.swap_remove(rng.random_range(0..held.len()))),
                4 if let Some(checkpoint) = engine.state.take_checkpoint() => {
                    engine.write(checkpoint);
                }
                _ => {
                    drafts.truncate(2);
                    drafts.insert(0, Draft::new(engine.state.latest(), AUTHOR));
                }
            }
            for draft in &mut drafts {
                apply(draft, &mut rng);
            }
            let when = format!("at step {step} of seed {seed}");
            // In any order: what one version has found is there when another one asks.
            let newest = engine.state.latest();
            let mut asked: Vec<&Snapshot> = held.iter().chain([&newest]).collect();
            let turn = rng.random_range(0..asked.len());
            asked.rotate_left(turn);
            for (position, snapshot) in asked.iter().enumerate() {
                let other = asked[(position + 1) % asked.len()];
                check(*snapshot, &paths(other), &when);
            }
            for draft in &drafts {
                check(draft, &paths(&newest), &when);
            }
        }
    }
}
