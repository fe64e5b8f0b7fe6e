//! Snapshots: every read is of one state, whatever is merged, checkpointed and published meanwhile.

use std::sync::Arc;

use leveret::merge::{Draft, OLD_BYTES_MAX, ReadError, ReadTree, Snapshot, State};
use leveret::model::script::parse_line;
use leveret::model::{ChangeSet, NodeId, OriginId, RepoId};
use leveret::storage::Storage;
use leveret::storage::memory::MemoryStorage;
use leveret::storage::sled::{SledOptions, SledStorage};
use leveret_sim::engine::{Engine, Log, orders, tree};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const AUTHOR: OriginId = OriginId([5; 16]);

fn save(engine: &Engine, time: u64, lines: &[String]) -> Arc<ChangeSet> {
    let mut draft = Draft::new(engine.state.latest(), AUTHOR);
    for line in lines {
        let _refused_or_not = draft.apply(&parse_line(line).unwrap());
    }
    engine.save(&draft, time, AUTHOR)
}

fn line(rng: &mut ChaCha8Rng) -> String {
    let mut path = String::new();
    for _ in 0..rng.random_range(1..4) {
        path += ["/a", "/b", "/c"][rng.random_range(0..3)];
    }
    match rng.random_range(0..8) {
        0..3 => format!("add {path}"),
        3 => format!("remove {path}"),
        4 => format!(
            "move {path} /{}",
            ["a", "b", "c", "d"][rng.random_range(0..4)]
        ),
        5 => format!("order {path} first"),
        6 => format!("inc {path} n {}", rng.random_range(-5..5)),
        _ => format!("set {path} x {}", rng.random_range(0..100)),
    }
}

#[test]
fn held_snapshots_read_what_they_read_at_first() {
    for seed in 0..20 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let engine = Engine::new(Log::default());
        let mut held: Vec<(Snapshot, serde_json::Value, _)> = Vec::new();
        let mut waiting = Vec::new();
        let mut checkpoint = None;
        for time in 1..120 {
            let lines: Vec<String> = (0..rng.random_range(1..4))
                .map(|_| line(&mut rng))
                .collect();
            let set = save(&engine, time, &lines);
            if !set.operations.is_empty() {
                waiting.push(engine.merge_unpublished(&[set]).version);
            }
            match rng.random_range(0..6) {
                0 if !waiting.is_empty() => {
                    let upto = rng.random_range(0..waiting.len());
                    engine.state.publish(waiting[upto]);
                    waiting.drain(..=upto);
                }
                1 => {
                    let snapshot = engine.state.snapshot();
                    held.push((snapshot.clone(), tree(&snapshot), orders(&snapshot)));
                }
                2 => {
                    let snapshot = engine.state.latest();
                    held.push((snapshot.clone(), tree(&snapshot), orders(&snapshot)));
                }
                3 if held.len() > 3 => drop(held.swap_remove(rng.random_range(0..held.len()))),
                4 => match checkpoint.take() {
                    None => checkpoint = engine.state.take_checkpoint(),
                    Some(done) => engine.write(done),
                },
                _ => {}
            }
            for (snapshot, tree_then, orders_then) in &held {
                assert_eq!(tree(snapshot), *tree_then, "seed {seed}, time {time}");
                assert_eq!(orders(snapshot), *orders_then, "seed {seed}, time {time}");
            }
        }
    }
}

#[test]
fn what_is_not_published_is_not_seen_by_new_snapshots() {
    let engine = Engine::new(Log::default());
    let first = save(&engine, 1, &["add /a".into()]);
    let version = engine.merge_unpublished(&[first]).version;
    let second = save(&engine, 2, &["add /b".into()]);
    let later = engine.merge_unpublished(&[second]).version;
    assert_eq!(tree(&engine.state.snapshot()), serde_json::json!({}));
    engine.state.publish(version);
    assert_eq!(tree(&engine.state.snapshot()), serde_json::json!({"a": {}}));
    assert_eq!(
        tree(&engine.state.latest()),
        serde_json::json!({"a": {}, "b": {}})
    );
    engine.state.publish(later);
    assert_eq!(
        tree(&engine.state.snapshot()),
        serde_json::json!({"a": {}, "b": {}})
    );
}

#[test]
fn a_snapshot_expires_when_too_much_is_written_under_it() {
    let engine = Engine::new(Log::default());
    engine.merge(&[save(&engine, 1, &["add /a".into()])]);
    let held = engine.state.snapshot();
    let text = "x".repeat(200_000);
    let mut time = 2;
    while engine.state.old_bytes() + 500_000 < OLD_BYTES_MAX {
        engine.merge(&[save(&engine, time, &[format!("set /a x \"{text}{time}\"")])]);
        time += 1;
        assert!(time < 2_000, "replaced records are counted");
    }
    assert!(held.resolve(&"/a".parse().unwrap()).is_ok());
    for _ in 0..4 {
        engine.merge(&[save(&engine, time, &[format!("set /a x \"{text}{time}\"")])]);
        time += 1;
    }
    let error = held.resolve(&"/a".parse().unwrap()).unwrap_err();
    assert!(matches!(error, ReadError::Expired), "{error}");
    assert!(engine.state.old_bytes() < OLD_BYTES_MAX);
    let now = engine.state.snapshot();
    assert!(now.resolve(&"/a".parse().unwrap()).unwrap().is_some());
}

#[test]
fn nothing_replaced_is_kept_when_nobody_needs_it() {
    let engine = Engine::new(Log::default());
    for time in 1..50 {
        engine.merge(&[save(&engine, time, &[format!("set / x {time}")])]);
    }
    assert_eq!(engine.state.old_bytes(), 0);
}

#[test]
fn a_state_opened_from_a_checkpoint_is_the_state_that_was_checkpointed() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let storage = Arc::new(MemoryStorage::new());
    let engine = Engine::on(storage.clone(), Log::default());
    for time in 1..200 {
        let set = save(&engine, time, &[line(&mut rng)]);
        if !set.operations.is_empty() {
            engine.merge(&[set]);
        }
    }
    let before = engine.state.snapshot();
    engine.write(engine.state.take_checkpoint().unwrap());
    assert!(engine.state.take_checkpoint().is_none(), "nothing is dirty");
    let opened = State::open(RepoId::MAIN, storage as Arc<dyn Storage>, 1 << 20).unwrap();
    let after = opened.snapshot();
    assert_eq!(tree(&after), tree(&before));
    assert_eq!(after.digest(), before.digest());
    assert_eq!(after.heads(), before.heads());
    assert_eq!(after.frontier(), before.frontier());
    assert_eq!(opened.counters(), engine.counters());
    assert!(after.is_visible(NodeId::ROOT).unwrap());
}

#[test]
fn a_state_on_disk_goes_on_where_its_checkpoint_ended() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let directory = tempfile::tempdir().unwrap();
    let (log, memory) = (Log::default(), Engine::new(Log::default()));
    let mut time = 0;
    for _life in 0..4 {
        let store = SledStorage::open(directory.path(), &SledOptions::default()).unwrap();
        let mut disk = Engine::on(Arc::new(store), log.clone());
        assert_eq!(disk.snapshot().digest(), memory.snapshot().digest());
        for _ in 0..30 {
            time += 1;
            let set = save(&disk, time, &[line(&mut rng)]);
            if !set.operations.is_empty() {
                disk.merge(std::slice::from_ref(&set));
                memory.merge(&[set]);
            }
        }
        disk.restart();
        assert_eq!(tree(&disk.snapshot()), tree(&memory.snapshot()));
    }
}
