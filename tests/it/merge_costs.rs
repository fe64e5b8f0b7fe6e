//! What merging costs, counted instead of timed.

use std::sync::Arc;

use leveret::merge::{Draft, MergeCounters};
use leveret::model::script::parse_line;
use leveret::model::{ChangeSet, OriginId};
use leveret_sim::engine::{Engine, Log};

const EARLY: OriginId = OriginId([1; 16]);
const LATE: OriginId = OriginId([2; 16]);

/// Saves these lines on an engine, as one save.
fn save(engine: &Engine, time: u64, origin: OriginId, lines: &[String]) -> Arc<ChangeSet> {
    let mut draft = Draft::new(engine.state.snapshot(), origin);
    for line in lines {
        draft.apply(&parse_line(line).unwrap()).unwrap();
    }
    let set = engine.save(&draft, time, origin);
    engine.merge(std::slice::from_ref(&set));
    set
}

fn difference(after: MergeCounters, before: MergeCounters) -> (u64, u64) {
    (
        after.reevaluated - before.reevaluated,
        after.records_read - before.records_read,
    )
}

/// What a property write costs that arrives under `newer` change sets.
fn late_property_write(newer: u64) -> (u64, u64) {
    let log = Log::default();
    let (here, there) = (Engine::new(log.clone()), Engine::new(log));
    let lines = ["add /a".into(), "add /a/b".into(), "add /c".into()];
    let base = save(&here, 1, EARLY, &lines);
    there.merge(&[base]);
    let late = save(&there, 2, LATE, &["set /a/b x 1".into()]);
    for i in 0..newer {
        // One in a hundred adds a node; the others write another property.
        let line = match i % 100 {
            0 => format!("add /c/n{i}"),
            _ => format!("set /a/b y {i}"),
        };
        save(&here, 10 + i, EARLY, &[line]);
    }
    let before = here.counters();
    here.merge(&[late]);
    difference(here.counters(), before)
}

#[test]
fn a_late_property_write_undoes_nothing_and_reads_the_same_under_10_and_100_000_newer() {
    let few = late_property_write(10);
    let many = late_property_write(100_000);
    assert_eq!(few.0, 0, "structural operations evaluated again");
    assert_eq!(few, many);
}

/// What removing a node costs that has `descendants`.
fn removal(descendants: usize) -> (u64, u64) {
    let engine = Engine::new(Log::default());
    let mut time = 1;
    save(
        &engine,
        time,
        EARLY,
        &["add /top".into(), "add /top/a".into()],
    );
    for chunk in (0..descendants - 1).collect::<Vec<_>>().chunks(1_000) {
        time += 1;
        let lines: Vec<String> = chunk.iter().map(|i| format!("add /top/a/n{i}")).collect();
        save(&engine, time, EARLY, &lines);
    }
    let draft = {
        let mut draft = Draft::new(engine.state.snapshot(), EARLY);
        draft.apply(&parse_line("remove /top").unwrap()).unwrap();
        draft
    };
    let set = engine.save(&draft, time + 1, EARLY);
    let before = engine.counters();
    engine.merge(&[set]);
    difference(engine.counters(), before)
}

#[test]
fn removing_a_node_reads_the_same_with_10_and_with_100_000_descendants() {
    assert_eq!(removal(10), removal(100_000));
}

/// Counts of a late move under `newer` moves elsewhere, and of one that they looked at.
fn late_move(newer: u64, line: &str) -> u64 {
    let log = Log::default();
    let (here, there) = (Engine::new(log.clone()), Engine::new(log));
    let lines: Vec<String> = ["/a", "/a/x", "/b", "/c", "/d", "/d/n"]
        .iter()
        .map(|path| format!("add {path}"))
        .collect();
    let base = save(&here, 1, EARLY, &lines);
    there.merge(&[base]);
    let late = save(&there, 2, LATE, &[line.to_owned()]);
    for i in 0..newer {
        let line = if i % 2 == 0 {
            "move /d/n /c/n"
        } else {
            "move /c/n /d/n"
        };
        save(&here, 10 + i, EARLY, &[line.to_owned()]);
    }
    let before = here.counters();
    here.merge(&[late]);
    difference(here.counters(), before).0
}

#[test]
fn a_late_move_evaluates_again_only_what_looked_at_its_node() {
    assert_eq!(late_move(1_000, "move /a/x /b/x"), 0);
    // The newest of them goes to /d and did not look at /c.
    assert_eq!(late_move(1_000, "move /c /b/c"), 999);
}

/// What the last of so many incs of one property reads.
fn inc_after(count: u64) -> (u64, u64) {
    let engine = Engine::new(Log::default());
    save(&engine, 1, EARLY, &["add /a".into()]);
    for i in 0..count {
        save(&engine, 2 + i, EARLY, &["inc /a n 1".into()]);
    }
    let before = engine.counters();
    save(&engine, 2 + count, EARLY, &["inc /a n 1".into()]);
    difference(engine.counters(), before)
}

#[test]
fn adding_to_a_counter_reads_the_same_after_100_and_after_10_000_times() {
    assert_eq!(inc_after(100), inc_after(10_000));
}

#[test]
fn order_keys_grow_until_they_are_refused_and_never_past_what_a_store_takes() {
    let engine = Engine::new(Log::default());
    save(&engine, 1, EARLY, &["add /a".into(), "add /b".into()]);
    let (mut time, mut refused) = (2, false);
    while !refused {
        let mut draft = Draft::new(engine.state.snapshot(), EARLY);
        for i in 0..200 {
            let line = if i % 2 == 0 {
                "order /a first"
            } else {
                "order /b first"
            };
            refused |= draft.apply(&parse_line(line).unwrap()).is_err();
        }
        let set = engine.save(&draft, time, EARLY);
        engine.merge(&[set]);
        time += 1;
        assert!(time < 200, "an order key has a limit");
    }
    engine.write(engine.state.take_checkpoint().unwrap());
}

/// What a removal costs whose author had not seen so many moves elsewhere.
fn removal_unseen(moves: u64) -> (u64, u64) {
    let log = Log::default();
    let (here, there) = (Engine::new(log.clone()), Engine::new(log));
    let lines: Vec<String> = ["/top", "/top/a", "/top/b", "/c", "/d"]
        .iter()
        .map(|path| format!("add {path}"))
        .collect();
    let nodes: Vec<String> = (0..moves).map(|i| format!("add /c/n{i}")).collect();
    let base = [save(&here, 1, EARLY, &lines), save(&here, 2, EARLY, &nodes)];
    there.merge(&base);
    for i in 0..moves {
        save(&here, 10 + i, EARLY, &[format!("move /c/n{i} /d/n{i}")]);
    }
    let removal = save(&there, 10 + moves, LATE, &["remove /top".into()]);
    let before = here.counters();
    here.merge(&[removal]);
    difference(here.counters(), before)
}

#[test]
fn a_removal_reads_the_same_whether_100_or_5_000_moves_elsewhere_were_unseen() {
    assert_eq!(removal_unseen(100), removal_unseen(5_000));
}

/// Records read when an all-or-nothing change set that added to one property so many times is
/// voided by a removal that comes late.
fn voiding(incs: usize) -> u64 {
    let log = Log::default();
    let (here, there) = (Engine::new(log.clone()), Engine::new(log));
    let base = save(&here, 1, EARLY, &["add /a".into()]);
    there.merge(&[base]);
    let removal = save(&there, 2, LATE, &["remove /a".into()]);
    let mut draft = Draft::new(here.state.snapshot(), EARLY);
    for _ in 0..incs {
        draft.apply(&parse_line("inc /a n 1").unwrap()).unwrap();
    }
    let mut set = ChangeSet::clone(&here.save(&draft, 3, EARLY));
    set.all_or_nothing = true;
    here.merge(&[Arc::new(set)]);
    let before = here.counters();
    here.merge(&[removal]);
    assert_eq!(here.counters().voided, before.voided + 1);
    difference(here.counters(), before).1
}

#[test]
fn taking_a_voided_set_out_of_a_property_reads_its_history_a_few_times_at_most() {
    let (few, many) = (voiding(200), voiding(2_000));
    assert!(many <= 12 * few, "{few} records read, and {many}");
}
