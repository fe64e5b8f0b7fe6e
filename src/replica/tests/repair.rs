//! Repairs of a clock where something is missing, damaged or wrong.

use std::cell::Cell;
use std::sync::Arc;

use super::ahead::{YEAR_MS, check_stores, closing_notes, int, repair, set_right};
use super::held::{BY_HAND, join_by_hand, speak};
use super::world::World;
use crate::codec::key;
use crate::model::{OriginId, RepoId, Sequence, Time};
use crate::replica::{Alarm, Identity, Message, Repair, RepairAnyway, RepairError};
use crate::storage::memory::MemoryStorage;
use crate::storage::{Storage, StorageError};

/// Asks once for a repair.
pub(super) fn ask(world: &mut World, i: usize, alone: bool) -> Result<Repair, RepairError> {
    let now = world.time(i);
    let anyway = RepairAnyway {
        alone,
        ..RepairAnyway::default()
    };
    let step = world.replica(i).repair_clock(now, anyway);
    world.drain(i);
    step
}

/// The content is closed, the statement is durable, and nothing is saved again.
pub(super) fn close_alone(world: &mut World, i: usize) {
    let step = ask(world, i, true).unwrap();
    assert!(matches!(step, Repair::Working(_)), "{step:?}");
    world.run_until(20, |world| closing_notes(world, i) > 0);
}

pub(super) fn restore(world: &mut World, i: usize, copy: Arc<MemoryStorage>) {
    world.machines[i].storage = copy;
    world.machines[i].alarms.clear();
    world.open(i);
}

thread_local! {
    /// Of what machine 2 is not sent anything.
    pub(super) static HIDDEN: Cell<Option<OriginId>> = const { Cell::new(None) };
}

pub(super) fn hides(_: usize, to: usize, message: Message) -> Option<Message> {
    match message {
        Message::Range {
            repo: RepoId::MAIN,
            origin,
            ..
        } if to == 2 && HIDDEN.get() == Some(origin) => None,
        other => Some(other),
    }
}

/// Machine 2 has saved on what machine 0 has made, a year ahead. The directory is from before both.
pub(super) fn depends_on_others(seed: u64) -> (World, Arc<MemoryStorage>) {
    let mut world = World::members(3, seed);
    world.connect_all();
    world.converge(2_000);
    world.save_and_wait(2, "add /before");
    world.converge(2_000);
    let copy = Arc::new(world.machines[2].storage.copy());
    world.save_and_wait(0, "add /theirs");
    world.converge(2_000);
    HIDDEN.set(Some(world.replica(0).origin()));
    world.set_clock(2, YEAR_MS);
    world.save_and_wait(2, "set /theirs x 1\nset / n 1");
    world.run(500);
    world.set_clock(2, 0);
    world.run(500);
    (world, copy)
}

/// Machine 2 goes on from an older copy of its directory, and is not sent what is hidden.
pub(super) fn comes_back_without(world: &mut World, copy: Arc<MemoryStorage>) {
    world.crash(2);
    restore(world, 2, copy);
    world.tap = Some(hides);
    world.connect(2, 0);
    world.connect(2, 1);
    world.run(1_000);
}

#[test]
fn nothing_is_closed_before_all_that_it_depends_on_is_here() {
    let (mut world, copy) = depends_on_others(501);
    comes_back_without(&mut world, copy);
    assert_eq!(world.held(2), 1);
    let refused = ask(&mut world, 2, false);
    assert!(matches!(refused, Err(RepairError::Behind)), "{refused:?}");
    assert_eq!(closing_notes(&world, 2), 0);
    world.tap = None;
    world.run(10_000);
    repair(&mut world, 2);
    world.converge(5_000);
    assert_eq!(world.get(0, "/theirs", "x"), int(1));
    check_stores(&mut world);
}

#[test]
fn a_clock_that_was_never_set_repairs_nothing() {
    let (mut world, origin) = set_right(310);
    world.run(500);
    let end_of_2019 = Time::from_unix_millis(1_577_836_799_999);
    let refused = world
        .replica(2)
        .repair_clock(end_of_2019, super::ahead::ALONE);
    assert!(matches!(refused, Err(RepairError::Unset)), "{refused:?}");
    let now = world.time(2);
    assert_eq!(world.replica(2).status(now).repos[1].held[&origin].0, 4);
    assert_eq!(repair(&mut world, 2), [origin]);
}

#[test]
fn a_clock_that_is_behind_others_repairs_nothing_unless_that_is_said() {
    let mut world = World::members(2, 504);
    world.connect(0, 1);
    world.converge(1_000);
    world.save_and_wait(1, "add /b\nset /b x 1");
    world.converge(1_000);
    world.now_ms += 7_200_000;
    world.save_and_wait(0, "set /b y 2");
    world.save_and_wait(1, "set /b x 2");
    world.converge(2_000);
    world.set_clock(1, -3_600_000);
    world.run(1_000);
    for alone in [false, true] {
        let refused = ask(&mut world, 1, alone);
        let behind = |error: &RepairError| {
            matches!(
                error,
                RepairError::ClockBehind {
                    later_ms: 3_590_000..3_610_000
                }
            )
        };
        assert!(refused.as_ref().is_err_and(behind), "{refused:?}");
        assert_eq!(world.get(1, "/b", "x"), int(2));
    }
}

#[test]
fn a_clock_that_is_behind_what_another_saves_repairs_nothing_unless_that_is_said() {
    // More than the minute that is waited out, and less.
    for (seed, behind_ms) in [(510, 3_600_000), (515, 30_000), (516, 3_000)] {
        let mut world = World::members(3, seed);
        world.connect_all();
        world.save_and_wait(0, "add /a");
        world.converge(2_000);
        world.now_ms += 7_200_000;
        world.save_and_wait(1, "add /b\nset /b x 1");
        world.converge(2_000);
        // Only this one has saved anything lately, so the clock that is behind now is believed.
        world.set_clock(1, -behind_ms);
        world.run(500);
        let waited_out = behind_ms < 60_000;
        assert_eq!(world.get(1, "/b", "x").is_some(), waited_out);
        world.save_and_wait(2, "add /c");
        world.run(500);
        let refused = ask(&mut world, 1, false);
        let behind = |error: &RepairError| matches!(error, RepairError::ClockBehind { .. });
        assert!(refused.as_ref().is_err_and(behind), "{refused:?}");
        assert_eq!(closing_notes(&world, 1), 0);
        // Who has nothing to repair is not asked about the clock.
        assert_eq!(ask(&mut world, 0, false).unwrap(), Repair::Done);
        // It is set right.
        world.set_clock(1, 0);
        world.run(2_000);
        assert_eq!(repair(&mut world, 1), []);
        world.converge(2_000);
        assert_eq!(world.get(1, "/b", "x"), int(1));
    }
}

#[test]
fn a_clock_that_is_a_little_behind_what_is_applied_repairs_nothing_unless_that_is_said() {
    let mut world = World::members(2, 517);
    world.connect(0, 1);
    world.save_and_wait(0, "add /a");
    world.converge(1_000);
    world.now_ms += 7_200_000;
    world.save_and_wait(1, "add /b");
    world.save_and_wait(0, "set /a x 1");
    world.converge(500);
    world.set_clock(1, -30_000);
    let refused = ask(&mut world, 1, false);
    let behind = |error: &RepairError| {
        matches!(
            error,
            RepairError::ClockBehind {
                later_ms: 29_000..30_500
            }
        )
    };
    assert!(refused.as_ref().is_err_and(behind), "{refused:?}");
    world.run(500);
    assert_eq!(world.get(1, "/a", "x"), int(1), "nothing was given up");
    // What is behind less than clocks may differ by tells nothing.
    world.set_clock(1, -1_000);
    assert_eq!(ask(&mut world, 1, false).unwrap(), Repair::Done);
    // Whoever knows better is believed.
    world.set_clock(1, -30_000);
    let (now, anyway) = (world.time(1), super::ahead::RIGHT);
    let step = world.replica(1).repair_clock(now, anyway).unwrap();
    assert_eq!(step, Repair::Reopening);
}

#[test]
fn where_nobody_can_be_asked_the_word_that_a_clock_is_right_is_not_taken_either() {
    let mut world = World::members(2, 522);
    world.connect(0, 1);
    world.save_and_wait(0, "add /a");
    world.converge(1_000);
    world.disconnect(0, 1);
    world.now_ms += 7_200_000;
    world.set_clock(0, 30_000);
    world.save_and_wait(0, "add /b\nset /b x 1");
    world.set_clock(0, 0);
    let refused = ask(&mut world, 0, false);
    assert!(matches!(refused, Err(RepairError::Alone)), "{refused:?}");
    world.run(500);
    assert_eq!(world.get(0, "/b", "x"), int(1), "nothing was given up");
    world.connect(0, 1);
    world.run(100);
    assert_eq!(repair(&mut world, 0).len(), 1);
    assert_eq!(world.get(0, "/b", "x"), int(1));
}

#[test]
fn a_stranger_that_is_connected_says_nothing_of_the_past() {
    let (mut world, _) = set_right(505);
    world.run(500);
    world.disconnect(2, 0);
    world.disconnect(2, 1);
    let stranger = Identity::from_seed(&[99; 32]).public();
    let now = world.time(2);
    world.replica(2).connected(now, BY_HAND, stranger);
    world.drain(2);
    for repo in RepoId::ALL {
        let heads = Message::Heads {
            repo,
            heads: Vec::new(),
            reply: false,
            hash: [0; 16],
        };
        speak(&mut world, 2, heads);
    }
    let refused = ask(&mut world, 2, false);
    assert!(matches!(refused, Err(RepairError::Alone)), "{refused:?}");
}

#[test]
fn what_is_claimed_and_never_shown_does_not_keep_a_repair_for_ever() {
    let (mut world, origin) = set_right(506);
    world.run(3_000);
    join_by_hand(&mut world, 2, 1);
    let claim = || Message::Have {
        repo: RepoId::MAIN,
        heads: vec![(origin, Sequence(1_000))],
    };
    speak(&mut world, 2, claim());
    let refused = ask(&mut world, 2, false);
    assert!(matches!(refused, Err(RepairError::Behind)), "{refused:?}");
    for _ in 0..60 {
        world.run(1_000);
        speak(&mut world, 2, claim());
        if ask(&mut world, 2, false).is_ok() {
            repair(&mut world, 2);
            assert_eq!(world.get(2, "/", "n"), int(6));
            return;
        }
    }
    panic!("it is refused for ever");
}

#[test]
fn a_record_that_can_not_be_read_is_told_and_fails_nothing() {
    for before in [true, false] {
        let mut world = World::members(2, 507);
        world.connect(0, 1);
        world.converge(1_000);
        world.save_and_wait(1, "add /a");
        world.converge(1_000);
        // Not the first or the last one, which are read at opening.
        let place = key::journal(RepoId::MAIN, world.replica(0).origin(), Sequence(2));
        world.save_and_wait(0, "add /b");
        world.save_and_wait(0, "add /theirs");
        world.converge(1_000);
        world.set_clock(1, YEAR_MS);
        world.save_and_wait(1, "set /theirs x 1\nset / n 1");
        world.set_clock(1, 0);
        world.run(1_000);
        world.save_and_wait(0, "set /theirs y 1");
        world.run(20_000);
        if !before {
            close_alone(&mut world, 1);
        }
        world.crash(1);
        let storage = world.machines[1].storage.clone();
        let whole = storage.get(&place).unwrap().unwrap();
        let mut bytes = whole.clone();
        *bytes.last_mut().unwrap() ^= 1;
        storage.append(&[(place.clone(), bytes)]).unwrap();
        world.machines[1].alarms.clear();
        world.open(1);
        world.connect(0, 1);
        world.run(1_000);
        for _ in 0..3 {
            let refused = ask(&mut world, 1, false);
            let damaged = |error: &RepairError| {
                matches!(error, RepairError::Storage(StorageError::Damaged(_)))
            };
            assert!(refused.as_ref().is_err_and(damaged), "{refused:?}");
            world.run(1_000);
        }
        let alarms = &world.machines[1].alarms;
        let failed = |a: &Alarm| matches!(a, Alarm::Storage(_));
        assert!(!alarms.iter().any(failed), "{alarms:?}");
        let stopped = |a: &&Alarm| matches!(a, Alarm::AgainStopped { .. });
        let told = alarms.iter().filter(stopped);
        assert_eq!(told.count(), usize::from(!before), "{alarms:?}");
        assert_eq!(closing_notes(&world, 1), usize::from(!before));
        world.save_and_wait(1, "set /a x 1");
        // Once it can be read again, all is well.
        world.crash(1);
        world.machines[1]
            .storage
            .append(&[(place.clone(), whole)])
            .unwrap();
        world.open(1);
        world.connect(0, 1);
        repair(&mut world, 1);
        world.run(1_000);
        world.converge(1_000);
        assert_eq!(world.get(0, "/theirs", "x"), int(1));
        world.machines[1].alarms.clear();
        check_stores(&mut world);
    }
}

#[test]
fn where_one_repository_can_not_be_closed_none_is() {
    let mut world = World::members(3, 518);
    world.connect_all();
    world.converge(1_000);
    world.save_and_wait(2, "add /before");
    world.converge(1_000);
    let new = world.strangers_like(0);
    let origin = world.replica(2).origin();
    world.set_clock(2, YEAR_MS);
    world.admit(2, new);
    world.save_and_wait(2, "add /ahead\nset /ahead x 1");
    world.set_clock(2, 0);
    world.run(3_000);
    let held = |world: &mut World| {
        let held = RepoId::ALL.map(|repo| world.replica(2).repo_status(repo).held.len());
        held.to_vec()
    };
    assert_eq!(held(&mut world), [1, 1]);
    // The first of the origin can not be read, which tells of what it was made.
    let place = key::journal(RepoId::MAIN, origin, Sequence(1));
    let storage = world.machines[2].storage.clone();
    let whole = storage.get(&place).unwrap().unwrap();
    let mut bytes = whole.clone();
    *bytes.last_mut().unwrap() ^= 1;
    storage.append(&[(place.clone(), bytes)]).unwrap();
    let refused = ask(&mut world, 2, false);
    let damaged = |error: &RepairError| matches!(error, RepairError::Storage(_));
    assert!(refused.as_ref().is_err_and(damaged), "{refused:?}");
    world.run(1_000);
    assert_eq!(held(&mut world), [1, 1]);
    let statements = RepoId::ALL.map(|repo| {
        let (from, to) = key::closings(repo);
        storage.scan(&from, &to, 10).unwrap().len()
    });
    assert_eq!(statements, [0, 0]);
    storage.append(&[(place, whole)]).unwrap();
    assert_eq!(repair(&mut world, 2), [origin]);
    world.connect(0, new);
    world.converge(5_000);
    assert_eq!(world.get(0, "/ahead", "x"), int(1));
    check_stores(&mut world);
}

#[test]
fn members_that_are_from_the_future_themselves_are_members() {
    let mut world = World::strangers(2, 514);
    world.save_and_wait(0, "add /before");
    for i in [0, 1] {
        world.set_clock(i, YEAR_MS);
    }
    world.admit(0, 1);
    world.connect(0, 1);
    world.converge(2_000);
    world.save_and_wait(0, "add /ahead");
    world.converge(2_000);
    world.disconnect(0, 1);
    world.set_clock(0, 0);
    world.run(1_000);
    let anyway = RepairAnyway {
        alone: false,
        clock_is_right: true,
    };
    for _ in 0..10 {
        let now = world.time(0);
        let refused = world.replica(0).repair_clock(now, anyway);
        world.drain(0);
        world.run(500);
        if !matches!(refused, Ok(Repair::Reopening)) {
            assert!(matches!(refused, Err(RepairError::Alone)), "{refused:?}");
            let own = world.key(0);
            let members = world.replica(0).members();
            assert!(members.iter().all(|member| member.key == own));
            return;
        }
    }
    panic!("it is opened for ever");
}
