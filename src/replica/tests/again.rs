//! What is closed is saved again, whole and once, whatever was missing or went wrong on the way.

use super::ahead::{YEAR_MS, assert_repaired, check_stores, int, repair, set_right_and_copied};
use super::repair::{
    HIDDEN, ask, close_alone, comes_back_without, depends_on_others, hides, restore,
};
use super::world::World;
use crate::codec::{closing, journal, key};
use crate::model::limits::CHANGE_SET_BYTES_MAX;
use crate::model::{OriginId, RepoId, Sequence};
use crate::replica::{Alarm, Message, Repair, RepairError, SaveError, count_again};
use crate::storage::Storage;

/// Machine 2 has told the others of its statement, and is gone before it has told what it saves
/// again.
fn gone_amid_its_repair(world: &mut World) {
    world.tap = Some(|from, _, message| match message {
        Message::Range { .. } if from == 2 => None,
        other => Some(other),
    });
    ask(world, 2, true).unwrap();
    world.run_until(1_000, |world| (0..2).all(|i| world.held(i) == 0));
    world.crash(2);
    world.tap = None;
}

fn again(world: &mut World, i: usize) -> OriginId {
    let (from, to) = key::closings(RepoId::MAIN);
    let notes = world.machines[i].storage.scan(&from, &to, 1).unwrap();
    closing::decode(&notes[0].1).unwrap().again()
}

/// What the first one of an origin names.
fn journal_of(world: &mut World, origin: OriginId) -> Vec<OriginId> {
    let journal = world.replica(2).journal(RepoId::MAIN);
    let first = journal.change_set(origin, Sequence(1)).unwrap().unwrap();
    first.dependencies.iter().map(|on| on.origin).collect()
}

#[test]
fn a_closed_tail_that_is_not_here_is_asked_for_and_saved_again() {
    let (mut world, _, copy) = set_right_and_copied(500);
    world.run(500);
    gone_amid_its_repair(&mut world);
    restore(&mut world, 2, copy);
    world.connect(2, 0);
    world.connect(2, 1);
    world.run(5_000);
    world.converge(5_000);
    assert_repaired(&mut world);
    check_stores(&mut world);
}

#[test]
fn a_copy_waits_for_what_others_did_before_it_saves_again() {
    let (mut world, copy) = depends_on_others(502);
    gone_amid_its_repair(&mut world);
    restore(&mut world, 2, copy);
    world.tap = Some(hides);
    world.connect(2, 0);
    world.connect(2, 1);
    world.run(5_000);
    let again = again(&mut world, 2);
    let journal = world.replica(2).journal(RepoId::MAIN);
    assert!(journal.change_set(again, Sequence(1)).unwrap().is_none());
    world.tap = None;
    world.run(10_000);
    world.converge(5_000);
    let first = journal_of(&mut world, again);
    let theirs = HIDDEN.get().unwrap();
    assert!(first.contains(&theirs), "{first:?}");
    assert_eq!(world.get(0, "/theirs", "x"), int(1));
    check_stores(&mut world);
}

#[test]
fn what_is_not_here_is_told_as_long_as_it_is_not() {
    let (mut world, origin, copy) = set_right_and_copied(511);
    world.run(500);
    gone_amid_its_repair(&mut world);
    restore(&mut world, 2, copy);
    HIDDEN.set(Some(origin));
    world.tap = Some(hides);
    world.connect(2, 0);
    world.connect(2, 1);
    world.run(10_000);
    let again = again(&mut world, 2);
    let lacking = |world: &mut World| world.replica(2).repo_status(RepoId::MAIN).lacking;
    assert_eq!(lacking(&mut world), [again]);
    let told = |a: &&Alarm| matches!(a, Alarm::AgainLacking { .. });
    let alarms = &world.machines[2].alarms;
    assert_eq!(alarms.iter().filter(told).count(), 1, "{alarms:?}");
    let refused = ask(&mut world, 2, false);
    assert!(matches!(refused, Err(RepairError::Behind)), "{refused:?}");
    world.tap = None;
    world.run(10_000);
    assert_eq!(lacking(&mut world), []);
    world.converge(2_000);
    assert_repaired(&mut world);
}

#[test]
fn what_is_to_go_on_alone_does_so_after_a_restart() {
    // Said when it was closed, and when it was waiting already.
    for waiting in [false, true] {
        let (mut world, copy) = depends_on_others(516);
        if waiting {
            gone_amid_its_repair(&mut world);
            restore(&mut world, 2, copy);
            world.tap = Some(hides);
            world.connect(2, 0);
            world.connect(2, 1);
            world.run(5_000);
            ask(&mut world, 2, true).unwrap();
            world.run(3);
        } else {
            comes_back_without(&mut world, copy);
            close_alone(&mut world, 2);
        }
        let again = again(&mut world, 2);
        world.crash(2);
        world.machines[2].alarms.clear();
        world.open(2);
        world.connect(2, 0);
        world.connect(2, 1);
        world.run(1_000);
        let status = world.replica(2).repo_status(RepoId::MAIN);
        assert_eq!(status.lacking, []);
        let alarms = &world.machines[2].alarms;
        let told = |a: &Alarm| matches!(a, Alarm::AgainLacking { .. });
        assert!(!alarms.iter().any(told), "{alarms:?}");
        let names = journal_of(&mut world, again);
        assert!(!names.contains(&HIDDEN.get().unwrap()), "{names:?}");
        world.tap = None;
        world.run(10_000);
        world.converge(2_000);
        check_stores(&mut world);
    }
}

#[test]
fn a_chain_that_was_begun_is_gone_on_from_as_it_is() {
    let (mut world, copy) = depends_on_others(512);
    comes_back_without(&mut world, copy);
    // Whoever says so knows that nothing else comes. Then it does.
    assert!(ask(&mut world, 2, true).is_ok());
    world.run(1_000);
    world.tap = None;
    world.run(10_000);
    world.converge(2_000);
    let again = again(&mut world, 2);
    let names = journal_of(&mut world, again);
    assert!(!names.contains(&HIDDEN.get().unwrap()), "{names:?}");
    // A life that does not know that it is done would make it otherwise now.
    world.crash(2);
    let done = key::saved_again(RepoId::MAIN, again);
    let storage = world.machines[2].storage.clone();
    assert!(storage.get(&done).unwrap().is_some());
    storage
        .checkpoint(&[(done.clone(), None)], &mut || Ok(()))
        .unwrap();
    world.machines[2].alarms.clear();
    world.open(2);
    world.connect(2, 0);
    world.connect(2, 1);
    world.run(1_000);
    let alarms = &world.machines[2].alarms;
    let stopped = |a: &Alarm| matches!(a, Alarm::AgainStopped { .. });
    assert!(!alarms.iter().any(stopped), "{alarms:?}");
    assert!(world.machines[2].storage.get(&done).unwrap().is_some());
    world.converge(2_000);
    assert_eq!(world.get(0, "/theirs", "x"), int(1));
    check_stores(&mut world);
}

#[test]
fn what_is_too_large_by_a_byte_is_not_counted_as_saved_again() {
    let mut world = World::members(2, 515);
    world.connect(0, 1);
    world.converge(1_000);
    world.save_and_wait(0, "add /before");
    world.converge(1_000);
    world.set_clock(1, YEAR_MS);
    world.save_and_wait(1, "add /big");
    // What stands for number 127 is number 128, whose number is a byte longer.
    for _ in 2..127 {
        world.save(1, "inc / n 1");
    }
    world.run(100);
    let lines = |last: usize| {
        let lengths = [200_000, 200_000, 200_000, 200_000, last];
        let lines = lengths.iter().zip(["a", "b", "c", "d", "e"]);
        let lines: Vec<_> = lines
            .map(|(length, name)| format!("set /big {name} \"{}\"", "x".repeat(*length)))
            .collect();
        lines.join("\n")
    };
    let too_large = world.try_save(1, &lines(250_000));
    let Err(SaveError::TooLarge { bytes }) = too_large else {
        panic!("{too_large:?}");
    };
    let over = bytes - CHANGE_SET_BYTES_MAX;
    let large = world.save_and_wait(1, &lines(250_000 - over));
    assert_eq!(large.sequence, Sequence(127));
    world.save_and_wait(1, "inc / n 1");
    world.set_clock(1, 0);
    world.run(3_000);
    let closed = loop {
        match ask(&mut world, 1, false) {
            Ok(Repair::Working(closed)) => break closed,
            Ok(Repair::Reopening) | Err(RepairError::Alone) => world.run(100),
            other => panic!("{other:?}"),
        }
    };
    repair(&mut world, 1);
    world.run(1_000);
    world.converge(2_000);
    assert_eq!(closed[0].tip, Sequence(128));
    let journal = world.replica(1).journal(RepoId::MAIN);
    let counts = count_again(&journal, &closed).unwrap();
    assert_eq!(counts[&closed[0].origin], 127);
    assert_eq!(world.get(0, "/", "n"), int(126));
    assert_eq!(world.get(0, "/big", "a"), None);
    let alarms = &world.machines[1].alarms;
    let told = alarms
        .iter()
        .filter(|a| matches!(a, Alarm::NotAgain { .. }));
    assert_eq!(told.count(), 1, "{alarms:?}");
    check_stores(&mut world);
}

#[test]
fn what_is_resumed_when_the_clock_is_right_does_not_drag_it_along() {
    let mut world = World::members(2, 508);
    world.connect(0, 1);
    world.converge(1_000);
    world.save_and_wait(1, "add /before");
    world.converge(1_000);
    world.set_clock(1, 2 * YEAR_MS);
    world.save_and_wait(1, "inc / n 1");
    // Somebody took this for right.
    world.set_clock(1, YEAR_MS);
    world.run(1_000);
    close_alone(&mut world, 1);
    world.crash(1);
    world.machines[1].clock_ms = 0;
    world.machines[1].alarms.clear();
    world.open(1);
    world.connect(0, 1);
    world.run(3_000);
    let now = world.time(1);
    let status = world.replica(1).status(now);
    assert!(status.clock_ahead_ms < 1_000, "{}", status.clock_ahead_ms);
    let ahead = |a: &Alarm| matches!(a, Alarm::Ahead { .. });
    let alarms = &world.machines[1].alarms;
    assert!(!alarms.iter().any(ahead), "{alarms:?}");
    world.save_and_wait(1, "add /now\nset /now x 1");
    world.run(500);
    assert_eq!(world.get(0, "/now", "x"), int(1));
    repair(&mut world, 1);
    world.run(1_000);
    world.converge(2_000);
    assert_eq!(world.get(0, "/", "n"), int(1));
    assert_eq!(world.held(0), 0);
    check_stores(&mut world);
}

#[test]
fn what_was_not_sealed_is_sealed_though_its_origin_has_ended() {
    let mut world = World::members(2, 509);
    world.save_and_wait(1, "add /a\nset /a x 1");
    world.save_and_wait(1, "set /a x 2");
    world.set_clock(1, YEAR_MS);
    world.save_and_wait(1, "set /a y 3");
    let origin = world.replica(1).origin();
    world.set_clock(1, 0);
    world.run(1_000);
    close_alone(&mut world, 1);
    world.crash(1);
    // As a commit leaves it that was torn.
    for number in 1..=3 {
        let place = key::journal(RepoId::MAIN, origin, Sequence(number));
        let storage = &world.machines[1].storage;
        let bytes = storage.get(&place).unwrap().unwrap();
        let record = journal::decode(&bytes).unwrap();
        let unsealed = journal::encode(None, record.body);
        storage.append(&[(place, unsealed)]).unwrap();
    }
    world.open(1);
    world.connect(0, 1);
    world.run(2_000);
    world.converge(2_000);
    assert_eq!(world.get(0, "/a", "x"), int(2));
    assert_eq!(world.get(0, "/a", "y"), int(3));
    check_stores(&mut world);
}
