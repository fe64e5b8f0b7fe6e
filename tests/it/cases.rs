//! Every worked case, through the engine, in every delivery order.

use std::path::Path;
use std::sync::Arc;

use leveret::model::ChangeSet;
use merge_spec::Case;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::engine::{Engine, Log, from_spec, orders, spec_orders, tree};

/// Saves up to which every order is tried; beyond, so many random ones.
const EXHAUSTIVE_MAX: usize = 6;
const RANDOM_ORDERS: usize = 200;

#[test]
fn every_worked_case_gives_its_tree_in_every_delivery_order() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("merge-spec/cases");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    paths.sort();
    assert!(paths.len() >= 15, "the worked cases are there");
    let (mut cases, mut deliveries) = (0, 0);
    for path in paths {
        let case = Case::read(&path).unwrap();
        if case.needs_all_or_nothing() {
            continue;
        }
        cases += 1;
        deliveries += run(&case);
    }
    println!("{cases} cases, {deliveries} deliveries");
}

fn run(case: &Case) -> usize {
    let sets: Vec<Arc<ChangeSet>> = case.change_sets.iter().map(from_spec).collect();
    let (base, saves) = sets.split_first().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(case.title.len() as u64);
    let mut orders: Vec<Vec<usize>> = Vec::new();
    if saves.len() <= EXHAUSTIVE_MAX {
        permutations(&mut (0..saves.len()).collect(), 0, &mut orders);
    } else {
        for _ in 0..RANDOM_ORDERS {
            let mut order: Vec<usize> = (0..saves.len()).collect();
            order.shuffle(&mut rng);
            orders.push(order);
        }
    }
    let mut digest = None;
    for order in &orders {
        for batch_max in [1, 1 + rng.random_range(0..saves.len().max(1))] {
            let found = deliver(case, base, saves, order, batch_max);
            let expected = *digest.get_or_insert(found);
            assert_eq!(found, expected, "{}: digest in order {order:?}", case.file);
        }
    }
    2 * orders.len()
}

/// Delivers the saves in an order, what is ready in batches of at most `batch_max`, and checks the
/// engine against the naive model after every merge and against the case at the end.
fn deliver(
    case: &Case,
    base: &Arc<ChangeSet>,
    saves: &[Arc<ChangeSet>],
    order: &[usize],
    batch_max: usize,
) -> leveret::merge::StateDigest {
    let log = Log::default();
    let mut engine = Engine::new(log.clone());
    log.add(base.clone());
    saves.iter().for_each(|set| log.add(set.clone()));
    engine.merge(std::slice::from_ref(base));
    let mut applied = vec![case.change_sets[0].clone()];
    let mut held: Vec<usize> = Vec::new();
    for (i, arrived) in order.chunks(batch_max).enumerate() {
        held.extend(arrived);
        loop {
            let (ready, rest): (Vec<usize>, Vec<usize>) = held
                .iter()
                .copied()
                .partition(|i| engine.is_ready(&saves[*i]));
            if ready.is_empty() {
                break;
            }
            held = rest;
            let batch: Vec<_> = ready.iter().map(|i| saves[*i].clone()).collect();
            let snapshot = engine.merge(&batch);
            applied.extend(ready.iter().map(|i| case.change_sets[i + 1].clone()));
            let fold = merge_spec::fold(&applied);
            assert_eq!(
                tree(&snapshot),
                fold.tree(),
                "{}: order {order:?}",
                case.file
            );
            assert_eq!(
                orders(&snapshot),
                spec_orders(&fold),
                "{}: {order:?}",
                case.file
            );
        }
        if i % 2 == 1 {
            engine.restart();
        }
    }
    assert!(held.is_empty(), "{}: everything becomes ready", case.file);
    let snapshot = engine.state.snapshot();
    if let Err(mismatch) = case.check_tree(&tree(&snapshot)) {
        panic!("{}: order {order:?}: {mismatch}", case.file);
    }
    snapshot.digest()
}

fn permutations(items: &mut Vec<usize>, from: usize, all: &mut Vec<Vec<usize>>) {
    if from == items.len() {
        all.push(items.clone());
        return;
    }
    for i in from..items.len() {
        items.swap(from, i);
        permutations(items, from + 1, all);
        items.swap(from, i);
    }
}
