//! Clocks that were far ahead, and are set right.

use std::sync::Arc;

use super::held::speak;
use super::held::{BY_HAND, join_by_hand};
use super::world::World;
use crate::codec::closing::{self, Closing};
use crate::codec::key;
use crate::model::{ConflictKind, OriginId, RepoId, Sequence, Value};
use crate::replica::{Alarm, HeldReason, Message, Repair, RepairAnyway, RepairError, verify};
use crate::storage::Storage;
use crate::storage::memory::MemoryStorage;

/// A year, in milliseconds.
pub(super) const YEAR_MS: i64 = 365 * 86_400_000;

/// A repair though nobody is connected.
pub(super) const ALONE: RepairAnyway = RepairAnyway {
    alone: true,
    clock_is_right: false,
};

/// A repair though others have saved what is later.
pub(super) const RIGHT: RepairAnyway = RepairAnyway {
    alone: false,
    clock_is_right: true,
};

pub(super) fn int(n: i64) -> Option<Value> {
    Some(Value::Int(n))
}

/// Machine 2 of three was a year ahead, saved some things, and its clock is right now.
pub(super) fn set_right(seed: u64) -> (World, OriginId) {
    let (world, origin, _) = set_right_and_copied(seed);
    (world, origin)
}

/// The same, with a copy of the directory from before it was ahead.
pub(super) fn set_right_and_copied(seed: u64) -> (World, OriginId, Arc<MemoryStorage>) {
    let mut world = World::members(3, seed);
    world.connect_all();
    world.converge(2_000);
    world.save_and_wait(2, "add /before\nset /before x 1\nset / n 1");
    world.converge(2_000);
    let copy = Arc::new(world.machines[2].storage.copy());
    world.set_clock(2, YEAR_MS);
    world.save_and_wait(2, "add /ahead\nset /ahead x 1");
    world.save_and_wait(2, "inc / n 5\nset /before x 2");
    world.save_and_wait(
        2,
        "add_unique /ahead/u\nset /ahead/u y 3\nmove /before /ahead/b",
    );
    world.save_and_wait(2, "set /ahead/u y 4");
    world.run(500);
    assert_eq!(world.get(0, "/ahead", "x"), None);
    let origin = world.replica(2).origin();
    world.set_clock(2, 0);
    (world, origin, copy)
}

pub(super) fn assert_repaired(world: &mut World) {
    for i in 0..world.machines.len() {
        assert_eq!(world.held(i), 0, "machine {i}");
        assert_eq!(world.get(i, "/ahead", "x"), int(1), "machine {i}");
        assert_eq!(world.get(i, "/ahead/b", "x"), int(2));
        assert_eq!(world.get(i, "/ahead/u", "y"), int(4));
        assert_eq!(world.get(i, "/", "n"), int(6), "once, not twice");
    }
}

/// Repairs, as the driver would, until nothing is left to do; what was closed.
pub(super) fn repair(world: &mut World, i: usize) -> Vec<OriginId> {
    repair_anyway(world, i, RepairAnyway::default())
}

/// Repairs, though something speaks against it.
pub(super) fn repair_anyway(world: &mut World, i: usize, anyway: RepairAnyway) -> Vec<OriginId> {
    let mut closed = Vec::new();
    for _ in 0..4_000 {
        let now = world.time(i);
        let step = world.replica(i).repair_clock(now, anyway);
        world.drain(i);
        match step {
            Ok(Repair::Done) => {
                closed.dedup();
                return closed;
            }
            Ok(Repair::Working(origins)) => closed.extend(origins.iter().map(|one| one.origin)),
            // It has just been opened, and others have not told what they have.
            Ok(Repair::Reopening) | Err(RepairError::Alone) => {}
            Err(error) => panic!("{error}"),
        }
        world.run(5);
    }
    panic!("it is not done");
}

pub(super) fn check_stores(world: &mut World) {
    world.run(10_000);
    for machine in &world.machines {
        for repo in RepoId::ALL {
            let storage: Arc<dyn Storage> = machine.storage.clone();
            let found = verify(machine.config.cluster, repo, &storage, false).unwrap();
            assert_eq!(found.problems, Vec::<String>::new());
        }
        let defect = |alarm: &Alarm| {
            matches!(
                alarm,
                Alarm::Digest { .. } | Alarm::Storage(_) | Alarm::Invalid { .. }
            )
        };
        assert!(!machine.alarms.iter().any(defect), "{:?}", machine.alarms);
        assert!(machine.closed.is_empty(), "{:?}", machine.closed);
    }
}

// M16
#[test]
pub(super) fn what_was_saved_ahead_is_held_once_the_clock_is_right() {
    let (mut world, origin) = set_right(300);
    world.run(500);
    // Its state goes back, and it goes on under a new origin that others see at once.
    assert_eq!(world.get(2, "/ahead", "x"), None);
    assert_eq!(world.get(2, "/before", "x"), int(1));
    assert_ne!(world.replica(2).origin(), origin);
    for i in 0..3 {
        let now = world.time(i);
        let status = world.replica(i).status(now);
        assert_eq!(status.held, 4, "machine {i}");
        let main = &status.repos[1];
        assert_eq!(main.held[&origin], (4, HeldReason::Future));
        let ahead = main.until[&origin].unix_millis() - now.unix_millis();
        assert!(ahead.abs_diff(YEAR_MS as u64) < 10_000, "{ahead}");
    }
    let alarms = &world.machines[2].alarms;
    assert!(alarms.iter().any(|a| matches!(a, Alarm::Ahead { .. })));
    let held = |a: &Alarm| matches!(a, Alarm::OwnHeld { count: 4, .. });
    assert!(alarms.iter().any(held), "{alarms:?}");
    world.save_and_wait(2, "add /now\nset /now x 1");
    world.run(500);
    world.converge(1_000);
    assert_eq!(world.get(0, "/now", "x"), int(1));
    // So it stays after a restart, and as its time comes it is applied everywhere.
    world.crash(2);
    world.open(2);
    assert_eq!(world.held(2), 4);
    world.connect_all();
    world.now_ms += YEAR_MS as u64;
    world.run(2_000);
    world.converge(1_000);
    assert_repaired(&mut world);
    check_stores(&mut world);
}

// M16
#[test]
fn a_clock_that_was_set_right_while_the_replica_was_down_is_noticed_at_opening() {
    let mut world = World::members(1, 301);
    world.save_and_wait(0, "add /a\nset /a x 1");
    world.run(7_000);
    world.crash(0);
    world.machines[0].clock_ms = YEAR_MS;
    world.open(0);
    world.save_and_wait(0, "set /a x 2");
    // With a checkpoint that has it, and without.
    for pause in [7_000, 0] {
        world.run(pause);
        world.crash(0);
        world.machines[0].clock_ms = 0;
        world.open(0);
        assert_eq!(world.get(0, "/a", "x"), int(1));
        let now = world.time(0);
        assert!(world.replica(0).status(now).clock_ahead_ms < 1_000);
        world.crash(0);
        world.machines[0].clock_ms = YEAR_MS;
        world.open(0);
        world.run(1);
        world.save_and_wait(0, "set /a x 3");
    }
    check_stores(&mut world);
}

#[test]
fn what_is_a_little_ahead_is_waited_out() {
    let mut world = World::members(2, 302);
    world.connect(0, 1);
    world.converge(1_000);
    world.set_clock(1, 50_000);
    let ahead = world.save_and_wait(1, "add /a\nset /a x 1");
    world.set_clock(1, 0);
    world.run(1_000);
    assert_eq!(world.get(1, "/a", "x"), int(1));
    assert!(world.save_and_wait(1, "set /a x 2").id > ahead.id);
    world.run(50_000);
    world.converge(1_000);
    assert_eq!(world.get(0, "/a", "x"), int(2));
}

#[test]
fn a_clock_by_which_others_are_ahead_too_is_not_believed() {
    let mut world = World::members(2, 303);
    world.connect(0, 1);
    world.converge(1_000);
    world.save_and_wait(0, "add /a\nset /a x 1");
    world.save_and_wait(1, "add /b\nset /b x 1");
    world.converge(1_000);
    // It is not that machine 1 was right now and ahead before: it is wrong now.
    world.now_ms += 7_200_000;
    world.save_and_wait(0, "set /a x 2");
    world.save_and_wait(1, "set /b x 2");
    world.converge(2_000);
    world.set_clock(1, -3_600_000);
    world.run(1_000);
    for _ in 0..2 {
        let alarms = &world.machines[1].alarms;
        assert!(
            matches!(alarms[..], [Alarm::Behind { .. }]),
            "told once: {alarms:?}"
        );
        assert_eq!(world.get(1, "/b", "x"), int(2));
        world.machines[1].alarms.clear();
        world.crash(1);
        world.open(1);
        world.connect(0, 1);
        world.run(1_000);
    }
    world.save_and_wait(1, "set /b x 3");
    world.converge(1_000);
    assert_eq!(world.get(0, "/b", "x"), int(3));
}

#[test]
fn a_clock_before_everything_there_is_is_not_believed() {
    let mut world = World::members(1, 304);
    world.save_and_wait(0, "add /a\nset /a x 1");
    world.set_clock(0, -10 * YEAR_MS);
    world.run(1_000);
    assert!(matches!(
        world.machines[0].alarms[..],
        [Alarm::Behind { .. }]
    ));
    world.save_and_wait(0, "set /a x 2");
    assert_eq!(world.get(0, "/a", "x"), int(2));
}

#[test]
fn whoever_says_that_the_clock_is_right_is_believed() {
    // Two were ahead, and knew of each other's saves.
    let mut world = World::members(3, 305);
    world.connect_all();
    world.converge(1_000);
    world.save_and_wait(1, "add /before");
    world.converge(1_000);
    for i in [1, 2] {
        world.set_clock(i, YEAR_MS);
        world.save_and_wait(i, &format!("inc / n 1\nadd /by{i}\nset /by{i} x 1"));
        world.run(100);
    }
    assert_eq!(world.get(1, "/by2", "x"), int(1));
    assert_eq!(world.get(0, "/by2", "x"), None);
    for i in [1, 2] {
        world.set_clock(i, 0);
        world.run(1_000);
        let alarms = &world.machines[i].alarms;
        let doubts = |a: &Alarm| matches!(a, Alarm::Behind { .. });
        assert!(alarms.iter().any(doubts), "machine {i}: {alarms:?}");
    }
    for i in [1, 2] {
        assert_eq!(repair_anyway(&mut world, i, RIGHT).len(), 1);
        world.run(1_000);
    }
    world.converge(3_000);
    for i in 0..3 {
        assert_eq!(world.get(i, "/", "n"), int(2));
        assert_eq!(world.get(i, "/by1", "x"), int(1));
        assert_eq!(world.get(i, "/by2", "x"), int(1));
        assert_eq!(world.held(i), 0);
    }
    let receipt = world.save_and_wait(1, "set /before x 1");
    let ahead = receipt.id.time.unix_millis().abs_diff(world.now_ms);
    assert!(ahead < 2_000, "{ahead}");
    check_stores(&mut world);
}

#[test]
fn a_repair_closes_what_is_held_and_saves_it_again_now() {
    let (mut world, origin) = set_right(306);
    world.run(500);
    world.save_and_wait(2, "set / m 1");
    assert_eq!(repair(&mut world, 2), [origin]);
    world.run(1_000);
    world.converge(1_000);
    assert_repaired(&mut world);
    for i in 0..3 {
        let now = world.time(i);
        let status = world.replica(i).status(now);
        assert_eq!(status.repos[1].closed, [origin]);
        assert!(status.repos[1].quarantined.is_empty());
        assert_eq!(status.repos[1].applied[&origin], Sequence(1));
    }
    // There is nothing to repair any more, and nothing comes when the year is over.
    assert_eq!(repair(&mut world, 2), []);
    world.now_ms += YEAR_MS as u64;
    world.run(3_000);
    world.converge(1_000);
    assert_repaired(&mut world);
    // A newcomer that has never seen any of it comes to the same.
    let new = world.strangers_like(0);
    world.admit(0, new);
    world.connect_all();
    world.converge(5_000);
    assert_repaired(&mut world);
    check_stores(&mut world);
}

#[test]
pub(super) fn a_repair_that_is_interrupted_anywhere_is_finished_once() {
    for pause in 0..30 {
        let (mut world, origin) = set_right(400 + pause);
        world.run(500);
        let now = world.time(2);
        let step = world.replica(2).repair_clock(now, ALONE).unwrap();
        assert!(matches!(step, Repair::Working(_)));
        world.drain(2);
        world.run(pause);
        // What it was about to push is lost with it.
        world.crash(2);
        world.open(2);
        world.run(50);
        // Unless not even the statement was durable, it is finished without being asked.
        let statements = closing_notes(&world, 2);
        assert!(statements > 0 || pause < 4, "{pause}");
        if statements > 0 {
            assert_eq!(world.get(2, "/", "n"), int(6), "pause {pause}");
        }
        world.connect(0, 2);
        world.connect(1, 2);
        world.run(1_000);
        let again = repair(&mut world, 2);
        assert_eq!(again, if statements > 0 { vec![] } else { vec![origin] });
        world.run(1_000);
        world.converge(2_000);
        assert_repaired(&mut world);
    }
}

pub(super) fn closing_notes(world: &World, i: usize) -> usize {
    let (from, to) = key::closings(RepoId::MAIN);
    let notes = world.machines[i].storage.scan(&from, &to, 10).unwrap();
    notes.len()
}

#[test]
fn two_copies_of_a_directory_save_the_same_again() {
    let (mut world, _) = set_right(307);
    world.run(500);
    // A copy from before the repair, which goes on beside the original.
    let copy = Arc::new(world.machines[2].storage.copy());
    repair(&mut world, 2);
    world.run(1_000);
    let machine = &world.machines[2];
    let (config, identity) = (machine.config.clone(), machine.identity.clone());
    let twin = world.add_machine(config, identity, copy);
    assert_eq!(world.held(twin), 4);
    world.connect(twin, 0);
    world.run(3_000);
    assert_eq!(repair(&mut world, twin), []);
    world.converge(3_000);
    assert_repaired(&mut world);
    check_stores(&mut world);
}

#[test]
fn what_others_did_meanwhile_is_weighed_as_for_any_concurrent_save() {
    let (mut world, _) = set_right(308);
    world.run(500);
    world.save_and_wait(0, "set /before x 7\nadd /ahead\nset /ahead z 1");
    world.converge(1_000);
    repair(&mut world, 2);
    world.run(1_000);
    world.converge(1_000);
    for i in 0..3 {
        assert_eq!(world.get(i, "/ahead", "z"), int(1), "the same node");
        assert_eq!(world.get(i, "/ahead/b", "x"), int(2), "the newer one");
    }
    // And it is told.
    let snapshot = world.replica(0).state(RepoId::MAIN).snapshot();
    let conflicts = snapshot.conflicts().unwrap();
    let overwritten = |kind: ConflictKind| kind == ConflictKind::Overwritten;
    assert!(
        conflicts.iter().any(|one| overwritten(one.kind)),
        "{conflicts:?}"
    );
    drop(snapshot);
    check_stores(&mut world);
}

#[test]
fn nothing_is_repaired_alone_or_behind_others_unless_it_is_meant() {
    let (mut world, _) = set_right(309);
    world.run(500);
    world.disconnect(2, 0);
    world.disconnect(2, 1);
    let now = world.time(2);
    let refused = world.replica(2).repair_clock(now, RepairAnyway::default());
    assert!(matches!(refused, Err(RepairError::Alone)));
    assert_eq!(world.held(2), 4);
    let step = world.replica(2).repair_clock(now, ALONE).unwrap();
    assert!(matches!(step, Repair::Working(_)));
    world.drain(2);
    world.run(100);
    assert_eq!(world.get(2, "/", "n"), int(6));
    world.connect_all();
    world.converge(3_000);
    assert_repaired(&mut world);
}

#[test]
fn one_that_is_ahead_itself_waits_for_the_statement() {
    // Machine 1 lives in the same future, and has applied what machine 2 saves again.
    let mut world = World::members(3, 310);
    world.connect_all();
    world.converge(1_000);
    for i in [1, 2] {
        world.set_clock(i, YEAR_MS);
    }
    world.save_and_wait(2, "inc / n 1");
    world.save_and_wait(2, "inc / n 1");
    world.run(100);
    assert_eq!(world.get(1, "/", "n"), int(2));
    // It does not hear of the statement at first.
    world.tap = Some(|_, to, message| match message {
        Message::Ends { .. } | Message::Closing { .. } if to == 1 => None,
        other => Some(other),
    });
    world.set_clock(2, 0);
    repair_anyway(&mut world, 2, RIGHT);
    world.run(1_000);
    assert_eq!(world.get(0, "/", "n"), int(2));
    assert_eq!(world.get(1, "/", "n"), int(2), "not both");
    let alarms = &world.machines[1].alarms;
    let invalid = |a: &Alarm| matches!(a, Alarm::Invalid { .. });
    assert!(!alarms.iter().any(invalid), "{alarms:?}");
    world.tap = None;
    world.set_clock(1, 0);
    world.run(3_000);
    repair_anyway(&mut world, 1, RIGHT);
    world.converge(3_000);
    assert_eq!(world.get(1, "/", "n"), int(2));
    check_stores(&mut world);
}

#[test]
fn a_statement_that_is_not_its_authors_ends_nothing() {
    let (mut world, origin) = set_right(311);
    world.run(500);
    world.disconnect(2, 0);
    world.disconnect(2, 1);
    let now = world.time(2);
    world.replica(2).repair_clock(now, ALONE).unwrap();
    world.drain(2);
    world.run(100);
    let key = world.key(2);
    let closings = &world.replica(2).repo(RepoId::MAIN).closings;
    let closing = closings.of(key).next().unwrap().clone();
    let told = |closing: &Closing| Message::Closing {
        repo: RepoId::MAIN,
        statement: closing::encode(closing).into(),
    };
    let mut forged = closing.clone();
    forged.closed[0].last = Sequence(0);
    let mut elsewhere = closing.clone();
    elsewhere.repo = RepoId::SYSTEM;
    for (n, bad) in [forged, elsewhere].iter().enumerate() {
        join_by_hand(&mut world, 0, 1);
        speak(&mut world, 0, told(bad));
        assert_eq!(world.machines[0].closed.len(), n + 1);
        assert_eq!(world.held(0), 4);
    }
    join_by_hand(&mut world, 0, 1);
    for _ in 0..2 {
        speak(&mut world, 0, told(&closing));
    }
    assert_eq!(world.held(0), 0);
    let now = world.time(0);
    world.replica(0).disconnected(now, BY_HAND);
    let status = world.replica(0).status(now);
    assert_eq!(status.repos[1].closed, [origin]);
    world.machines[0].closed.clear();
    world.connect_all();
    world.converge(3_000);
    assert_repaired(&mut world);
}
