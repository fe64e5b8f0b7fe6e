use super::held::{Author, BY_HAND, join_by_hand, speak};
use super::world::{Weather, World};
use crate::codec::journal::Seal;
use crate::codec::message::SealedBytes;
use crate::model::{RepoId, Sequence, Value};
use crate::replica::{Alarm, Message, SaveError};
use crate::storage::memory::{Fault, MemoryStorage};
use crate::storage::{Storage, StorageError};
use std::sync::Arc;

#[test]
fn machines_that_crash_again_and_again_lose_nothing_that_was_acknowledged() {
    for seed in 0..5 {
        let mut world = World::members(3, 40 + seed);
        world.connect_all();
        world.converge(3_000);
        world.weather = Weather {
            lost: 30,
            doubled: 30,
            jitter_ms: 20,
        };
        let mut acknowledged = Vec::new();
        for n in 0..150 {
            let i = world.random(3);
            world.save(i, &format!("add_unique /n{n}"));
            let pause = world.random(12) as u64;
            world.run(pause);
            if n % 12 == 11 {
                let victim = world.random(3);
                acknowledged.extend(std::mem::take(&mut world.machines[victim].saved));
                world.crash(victim);
                world.open(victim);
                for other in 0..3 {
                    if other != victim {
                        world.connect(other, victim);
                    }
                }
            }
            if n % 40 == 20 {
                // Checkpoints come in between.
                world.run(6_000);
            }
        }
        world.converge(60_000);
        for i in 0..3 {
            acknowledged.extend(std::mem::take(&mut world.machines[i].saved));
        }
        let applied = RepoId::ALL.map(|repo| world.applied(0, repo));
        assert!(acknowledged.len() > 100);
        for (_, receipt) in acknowledged {
            // Among them are those of the machines' own records as members.
            let applied = &applied[usize::from(receipt.repo.0)];
            assert!(applied[&receipt.id.origin] >= receipt.sequence);
        }
        for machine in &world.machines {
            assert!(machine.alarms.is_empty(), "{:?}", machine.alarms);
        }
    }
}

#[test]
fn a_directory_copied_while_its_owner_runs_makes_no_fork_and_both_are_told() {
    let mut world = World::members(2, 60);
    world.connect(0, 1);
    world.converge(1_000);
    world.save_and_wait(1, "add /before");
    let copy = Arc::new(world.machines[1].storage.copy());
    let (config, identity) = (
        world.machines[1].config.clone(),
        world.machines[1].identity.clone(),
    );
    let twin = world.add_machine(config, identity, copy);
    world.connect(0, twin);
    for n in 0..10 {
        world.save(1, &format!("add /one{n}"));
        world.save(twin, &format!("add /two{n}"));
        world.run(7);
    }
    world.connect(1, twin);
    world.converge(5_000);
    assert!(world.machines[0].alarms.is_empty());
    // Each has heard of the other's origin, once.
    for (machine, other, new) in [(1, twin, 1), (twin, 1, 2)] {
        let written = world.replica(other).origin();
        let alarms = &world.machines[machine].alarms;
        assert!(
            matches!(
                alarms[..],
                [Alarm::CameBack { repo: RepoId::MAIN, origin, first: Sequence(first) }]
                    if (origin, first) == (written, new)
            ),
            "{alarms:?}"
        );
    }
    for i in 0..3 {
        assert!(world.get(i, "/one9", "x").is_none());
    }
    assert_eq!(world.applied(0, RepoId::MAIN).len(), 2 + 1 - 1);
}

// M17
#[test]
pub(super) fn a_fork_is_refused_and_everybody_told() {
    check_fork(1);
}

// M17
#[test]
fn a_fork_of_equal_length_is_found_by_its_digest() {
    check_fork(0);
}

/// Two lives under one origin, of which the second writes so many change sets more.
fn check_fork(more: usize) {
    let mut world = World::members(4, 61);
    // Without a change to its own member record, it writes nowhere but in `main`.
    world.machines[3].config.addresses.clear();
    // The same seed twice: two lives under one origin.
    let copy = Arc::new(world.machines[3].storage.copy());
    let (config, identity) = (
        world.machines[3].config.clone(),
        world.machines[3].identity.clone(),
    );
    let twin = world.add_machine(config, identity, copy);
    world.crash(3);
    world.open_with(3, [7; 32]);
    world.open_with(twin, [7; 32]);
    assert_eq!(world.replica(3).origin(), world.replica(twin).origin());
    let origin = world.replica(3).origin();
    world.connect(0, 1);
    world.connect(0, 2);
    world.connect(0, 3);
    world.connect(1, twin);
    world.run(3_000);
    world.disconnect(0, 1);
    for n in 0..3 {
        world.save(3, &format!("add /one{n}"));
        world.save(twin, &format!("add /two{n}"));
        world.run(20);
    }
    for n in 0..more {
        world.save(twin, &format!("add /more{n}"));
    }
    world.run(500);
    assert!(world.applied(0, RepoId::MAIN).contains_key(&origin));
    world.connect(0, 1);
    world.run(3_000);
    for i in [0, 1] {
        let forks = world.machines[i]
            .alarms
            .iter()
            .filter(|alarm| matches!(alarm, Alarm::Fork { origin: o, .. } if *o == origin))
            .count();
        assert_eq!(forks, 1, "machine {i}: {:?}", world.machines[i].alarms);
        let now = world.time(i);
        let status = world.replica(i).status(now);
        assert_eq!(status.repos[1].quarantined, [origin]);
    }
    assert!(
        world
            .machines
            .iter()
            .all(|machine| machine.closed.is_empty())
    );
    // Everybody else goes on.
    world.save_and_wait(2, "add /after\nset /after x 1");
    world.run(3_000);
    assert_eq!(world.get(1, "/after", "x"), Some(Value::Int(1)));
    // Those who wrote it find out, and go on under fresh origins.
    world.connect(3, twin);
    world.run(3_000);
    for i in [3, twin] {
        assert_ne!(world.replica(i).origin(), origin, "machine {i}");
        world.save_and_wait(i, &format!("add /again{i}\nset /again{i} x 1"));
    }
    assert_ne!(world.replica(3).origin(), world.replica(twin).origin());
}

#[test]
pub(super) fn a_relay_can_neither_change_nor_cut_nor_append() {
    let mut world = World::members(2, 62);
    join_by_hand(&mut world, 0, 1);
    let mut author = Author::of(&world, 1, 1);
    let now = world.time(0);
    let first = author.write(now, "first", Vec::new());
    let second = author.write(now.plus_millis(1), "second", Vec::new());
    let stranger = Author::of(&world, 0, 1);
    let (origin, repo) = (author.origin, RepoId::MAIN);
    let good = author.record(&world, &first, true);
    let sealed_by = |author: &Author, set| author.record(&world, set, true);
    let mut changed = first.clone();
    changed.message = Some("forged".into());
    let mut other_chain = second.clone();
    other_chain.previous.0[0] ^= 1;
    let range = |first: u64, records: Vec<SealedBytes>| Message::Range {
        repo,
        origin,
        first: Sequence(first),
        records,
        more: false,
    };
    let unsealed = |set| author.record(&world, set, false);
    let cases = [
        (
            "another text under the seal",
            range(
                1,
                vec![SealedBytes {
                    body: sealed_by(&author, &changed).body,
                    seal: good.seal,
                }],
            ),
        ),
        (
            "no seal at the end",
            range(1, vec![good.clone(), unsealed(&second)]),
        ),
        (
            "a seal of somebody else",
            range(
                1,
                vec![SealedBytes {
                    body: good.body.clone(),
                    seal: sealed_by(&stranger, &first).seal,
                }],
            ),
        ),
        (
            "a chain that does not hold",
            range(1, vec![unsealed(&first), sealed_by(&author, &other_chain)]),
        ),
        ("another number", range(2, vec![good.clone()])),
        (
            "garbage",
            range(
                1,
                vec![SealedBytes {
                    body: vec![1, 2, 3].into(),
                    seal: Some(Seal([0; 64])),
                }],
            ),
        ),
        ("number zero", range(0, vec![good.clone()])),
    ];
    let messages: Vec<_> = cases.into_iter().collect();
    for (n, (what, message)) in messages.into_iter().enumerate() {
        if what == "another number" {
            // It looks like a gap, which is nobody's fault.
            speak(&mut world, 0, message);
            continue;
        }
        let closed = world.machines[0].closed.len();
        speak(&mut world, 0, message);
        assert_eq!(world.machines[0].closed.len(), closed + 1, "{n}: {what}");
        join_by_hand(&mut world, 0, 1);
    }
    assert_eq!(world.applied(0, RepoId::MAIN).len(), 0);
    // The real one is still taken.
    let now = world.time(0);
    world.replica(0).disconnected(now, BY_HAND);
    join_by_hand(&mut world, 0, 1);
    speak(&mut world, 0, range(1, vec![good]));
    assert_eq!(world.applied(0, RepoId::MAIN)[&origin], Sequence(1));
}

#[test]
fn after_a_failed_write_saves_are_refused_reads_go_on_and_opening_again_helps() {
    let mut world = World::members(2, 63);
    world.connect(0, 1);
    world.save_and_wait(0, "add /a\nset /a x 1");
    world.converge(1_000);
    world.machines[0].storage.fail_next(Fault::Fail {
        error: StorageError::Io("broken".into()),
        kept: 0,
    });
    let ticket = world.save(0, "set /a x 2");
    world.run(10);
    assert_eq!(world.machines[0].failed, [ticket]);
    assert!(matches!(
        world.machines[0].alarms[..],
        [Alarm::Storage(StorageError::Io(_))]
    ));
    let refused = world.try_save(0, "set /a x 3");
    assert!(matches!(refused, Err(SaveError::ReadOnly(_))));
    assert_eq!(world.get(0, "/a", "x"), Some(Value::Int(1)));
    world.run(3_000);
    world.crash(0);
    world.open(0);
    world.connect(0, 1);
    world.save_and_wait(0, "set /a x 4");
    world.converge(3_000);
    assert_eq!(world.get(1, "/a", "x"), Some(Value::Int(4)));
}

#[test]
fn a_disk_that_lies_loses_a_tail_which_is_reported_and_comes_back_from_others() {
    let mut world = World::members(2, 64);
    world.connect(0, 1);
    world.converge(1_000);
    world.save_and_wait(0, "add /a");
    world.run(1_500);
    world.machines[0].storage.set_holding(true);
    let lost = world.save_and_wait(0, "set /a x 1");
    world.run(1_500);
    world.save_and_wait(0, "set /a x 2");
    world.converge(1_000);
    // The witness is in a place of its own: it is not lost with the store.
    let mark = world.machines[0].storage.last_witness().unwrap().unwrap();
    world.crash(0);
    let storage = world.machines[0].storage.clone();
    storage.witness(&mark).unwrap();
    storage.sync();
    world.open(0);
    assert!(
        matches!(
            world.machines[0].alarms[..],
            [Alarm::TailLost { origin, .. }] if origin == lost.id.origin
        ),
        "{:?}",
        world.machines[0].alarms
    );
    assert_eq!(world.get(0, "/a", "x"), None);
    world.machines[0].alarms.clear();
    world.connect(0, 1);
    world.converge(3_000);
    assert_eq!(world.get(0, "/a", "x"), Some(Value::Int(2)));
    assert!(
        matches!(
            world.machines[0].alarms[..],
            [Alarm::CameBack { origin, first, .. }]
                if origin == lost.id.origin && first == lost.sequence
        ),
        "{:?}",
        world.machines[0].alarms
    );
    world.save_and_wait(0, "set /a x 3");
    world.converge(3_000);
}

#[test]
fn an_older_copy_of_a_directory_is_told_what_it_lacked_and_once_for_each_life() {
    let mut world = World::members(2, 66);
    world.connect(0, 1);
    world.converge(1_000);
    let known = world.save_and_wait(1, "add /a");
    let copy = Arc::new(world.machines[1].storage.copy());
    world.save_and_wait(1, "set /a x 1");
    world.crash(1);
    world.open(1);
    world.connect(0, 1);
    let second = world.save_and_wait(1, "set /a x 2");
    for n in 3..40 {
        world.save(1, &format!("set /a x {n}"));
        world.run(3);
    }
    world.converge(3_000);
    assert!(world.machines[1].alarms.is_empty());
    world.crash(1);
    world.machines[1].storage = copy;
    world.open(1);
    assert!(world.machines[1].alarms.is_empty());
    world.connect(0, 1);
    world.converge(3_000);
    let told: Vec<_> = world.machines[1]
        .alarms
        .iter()
        .map(|alarm| match alarm {
            Alarm::CameBack { origin, first, .. } => (*origin, *first),
            other => panic!("{other}"),
        })
        .collect();
    let mut expected = [
        (known.id.origin, known.sequence.next()),
        (second.id.origin, Sequence(1)),
    ];
    expected.sort_unstable();
    let mut sorted = told;
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert!(world.machines[0].alarms.is_empty());
    // What it had is no news in the next life.
    world.machines[1].alarms.clear();
    world.crash(1);
    world.open(1);
    world.connect(0, 1);
    world.save_and_wait(1, "set /a x 50");
    world.converge(3_000);
    assert!(world.machines[1].alarms.is_empty());
}

#[test]
fn a_store_that_begins_empty_expects_its_own_from_others() {
    let mut world = World::members(2, 67);
    world.connect(0, 1);
    world.save_and_wait(1, "add /a");
    world.converge(3_000);
    world.crash(1);
    world.machines[1].storage = Arc::new(MemoryStorage::new());
    world.open(1);
    world.connect(0, 1);
    world.converge(3_000);
    assert_eq!(world.digests(RepoId::MAIN).len(), 2);
    assert!(world.machines[1].alarms.is_empty());
}
