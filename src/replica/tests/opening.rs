use std::sync::Arc;

use super::world::World;
use crate::codec::change_set::{chain_hash, decode, encode};
use crate::codec::record::RECORD_VERSION;
use crate::codec::{journal, key, state_key};
use crate::model::change_set::ChainHash;
use crate::model::{RepoId, Sequence, Value};
use crate::replica::{Alarm, OpenError, Replica, verify};
use crate::storage::Storage;

#[test]
pub(super) fn a_life_goes_on_where_the_last_one_ended_under_a_fresh_origin() {
    let mut world = World::members(1, 120);
    world.save_and_wait(0, "add /a\nset /a x 1");
    let last = world.save_and_wait(0, "set /a x 2");
    let (heads, digests) = (world.applied(0, RepoId::MAIN), world.digests(RepoId::MAIN));
    world.crash(0);
    world.open(0);
    assert_eq!(world.applied(0, RepoId::MAIN), heads);
    assert_eq!(world.digests(RepoId::MAIN), digests);
    assert!(world.machines[0].alarms.is_empty());
    let next = world.save_and_wait(0, "set /a x 3");
    assert_ne!(next.id.origin, last.id.origin);
    assert_eq!(next.sequence, Sequence(1));
    assert!(next.id > last.id);
    // Its birth names the end of the life before.
    let reader = world.replica(0).journal(RepoId::MAIN);
    let first = reader
        .change_set(next.id.origin, Sequence(1))
        .unwrap()
        .unwrap();
    let before = reader
        .record(last.id.origin, last.sequence)
        .unwrap()
        .unwrap();
    let predecessor = first.birth.unwrap().predecessor.unwrap();
    assert_eq!(predecessor.origin, last.id.origin);
    assert_eq!(predecessor.sequence, last.sequence);
    assert_eq!(predecessor.hash, chain_hash(&before.body));
}

#[test]
fn an_origin_is_born_only_with_a_save() {
    let mut world = World::members(1, 121);
    world.save_and_wait(0, "add /a");
    world.run(6_000);
    for _ in 0..5 {
        world.crash(0);
        world.open(0);
        world.run(6_000);
    }
    assert_eq!(world.applied(0, RepoId::MAIN).len(), 1);
    assert_eq!(world.applied(0, RepoId::SYSTEM).len(), 1);
}

#[test]
fn checkpoints_bound_what_is_read_again() {
    let mut world = World::members(1, 122);
    for n in 0..50 {
        world.save(0, &format!("add /n{n}"));
    }
    world.run(7_000);
    assert!(world.replica(0).counters.checkpoints > 0);
    assert_eq!(world.replica(0).state(RepoId::MAIN).dirty_bytes(), 0);
    world.save_and_wait(0, "add /tail");
    let heads = world.applied(0, RepoId::MAIN);
    world.crash(0);
    world.open(0);
    assert_eq!(world.replica(0).counters.applied, 1, "the tail alone");
    assert_eq!(world.applied(0, RepoId::MAIN), heads);
}

#[test]
fn a_checkpoint_never_runs_ahead_of_the_journal() {
    for seed in 0..20 {
        let mut world = World::members(2, 200 + seed);
        for i in 0..2 {
            world.crash(i);
            world.machines[i].config.checkpoint_interval_ms = 5;
            world.open(i);
        }
        world.connect(0, 1);
        for n in 0..60 {
            let i = world.random(2);
            world.save(i, &format!("add_unique /n{n}"));
            let pause = world.random(6) as u64;
            world.run(pause);
        }
        let victim = world.random(2);
        // Opening checks that every applied head is in the journal.
        world.crash(victim);
        world.open(victim);
        assert!(world.machines[victim].alarms.is_empty());
        world.connect(0, 1);
        world.converge(10_000);
    }
}

#[test]
pub(super) fn no_checkpoint_is_put_out_while_what_it_holds_is_on_its_way() {
    let mut world = World::members(1, 128);
    world.run(7_000);
    world.machines[0].frozen_disk = true;
    world.save(0, "add /a");
    world.run(7_000);
    assert!(world.replica(0).checkpoints.is_empty());
    let done = world.replica(0).counters.checkpoints;
    world.thaw(0);
    world.run(100);
    assert!(world.replica(0).counters.checkpoints > done);
}

#[test]
fn a_gap_or_damage_in_the_journal_ends_a_stream_and_others_fill_it() {
    for damaged in [false, true] {
        let mut world = World::members(2, 123);
        world.save_and_wait(0, "add /a");
        for n in 0..6 {
            world.save_and_wait(0, &format!("set /a x {n}"));
        }
        world.connect(0, 1);
        world.converge(3_000);
        let origin = world.replica(0).origin();
        let storage = world.machines[1].storage.clone();
        world.crash(1);
        let key = key::journal(RepoId::MAIN, origin, Sequence(4));
        let storage_after = &world.machines[1].storage;
        if damaged {
            let mut bytes = storage.get(&key).unwrap().unwrap();
            bytes[40] ^= 1;
            storage_after.append(&[(key, bytes)]).unwrap();
        } else {
            let remove = [(key, None)];
            storage_after.checkpoint(&remove, &mut || Ok(())).unwrap();
        }
        world.open(1);
        assert!(
            matches!(
                world.machines[1].alarms[..],
                [Alarm::Journal {
                    sequence: Sequence(4),
                    ..
                }]
            ),
            "{:?}",
            world.machines[1].alarms
        );
        assert_eq!(world.get(1, "/a", "x"), Some(Value::Int(1)));
        world.connect(0, 1);
        world.converge(3_000);
        assert_eq!(world.get(1, "/a", "x"), Some(Value::Int(5)));
        // Nothing is wrong any more.
        world.crash(1);
        world.machines[1].alarms.clear();
        world.open(1);
        assert!(world.machines[1].alarms.is_empty());
    }
}

#[test]
fn what_torn_commits_left_of_another_history_is_no_damage() {
    // Of somebody else's chain and of its own; with nothing of the one that counts above its last seal,
    // and with a part of a run that was torn as well.
    for (i, torn_run, sealed) in [
        (1, 0, false),
        (1, 0, true),
        (1, 2, false),
        (1, 2, true),
        (0, 0, false),
        (0, 2, false),
        (0, 2, true),
    ] {
        let mut world = World::members(2, 128);
        world.save_and_wait(0, "add /a");
        world.save_and_wait(0, "set /a x 1");
        world.connect(0, 1);
        world.converge(3_000);
        let origin = world.replica(0).origin();
        world.crash(i);
        // Of runs of an author with two histories, the other written before the one that counts.
        let storage = &world.machines[i].storage;
        let last = storage.get(&key::journal(RepoId::MAIN, origin, Sequence(2)));
        let last = last.unwrap().unwrap();
        let record = journal::decode(&last).unwrap();
        let mut set = decode(record.body).unwrap();
        let mut previous = chain_hash(record.body);
        let end = 2 + torn_run + 2;
        for number in 3..=end {
            if number > 2 + torn_run {
                previous = ChainHash([number as u8; 32]);
            }
            (set.sequence, set.previous) = (Sequence(number), previous);
            set.id.time = set.id.time.plus_millis(1);
            let body = encode(&set);
            previous = chain_hash(&body);
            let seal = record.seal.as_ref().filter(|_| sealed && number == end);
            let row = (
                key::journal(RepoId::MAIN, origin, set.sequence),
                journal::encode(seal, &body),
            );
            storage.append(&[row]).unwrap();
        }
        let case = format!("machine {i}, {torn_run}, {sealed}");
        let cluster = world.machines[i].config.cluster;
        let stored: Arc<dyn Storage> = world.machines[i].storage.clone();
        let verified = verify(cluster, RepoId::MAIN, &stored, false).unwrap();
        assert_eq!(
            verified.problems.is_empty(),
            !sealed,
            "{case}: {verified:?}"
        );
        if !sealed {
            assert_eq!(verified.unsealed, torn_run + 2, "{case}");
        }
        world.machines[i].alarms.clear();
        world.open(i);
        let alarms = &world.machines[i].alarms;
        assert_eq!(alarms.is_empty(), !sealed, "{case}: {alarms:?}");
        // Its own counts as far as it goes, somebody else's up to its last seal.
        let counts = if i == 0 || sealed { torn_run } else { 0 };
        assert_eq!(
            world.applied(i, RepoId::MAIN)[&origin],
            Sequence(2 + counts),
            "{case}"
        );
        if sealed && torn_run > 0 {
            continue; // what is here and has no seal is not what others have, and is no proof
        }
        world.connect(0, 1);
        world.save_and_wait(0, "set /a x 2");
        world.converge(3_000);
        assert_eq!(world.get(1, "/a", "x"), Some(Value::Int(2)));
    }
}

#[test]
fn what_is_in_the_place_of_another_is_damage() {
    let mut world = World::members(2, 129);
    world.save_and_wait(0, "add /a");
    world.connect(0, 1);
    world.converge(3_000);
    let origin = world.replica(0).origin();
    world.crash(1);
    let storage = &world.machines[1].storage;
    let first = storage.get(&key::journal(RepoId::MAIN, origin, Sequence(1)));
    let first = first.unwrap().unwrap();
    let body = journal::decode(&first).unwrap().body;
    let place = key::journal(RepoId::MAIN, origin, Sequence(2));
    storage
        .append(&[(place, journal::encode(None, body))])
        .unwrap();
    world.open(1);
    let alarms = &world.machines[1].alarms;
    assert!(matches!(alarms[..], [Alarm::Journal { .. }]), "{alarms:?}");
}

#[test]
fn an_unsealed_end_of_an_earlier_life_is_sealed_and_goes_to_others() {
    let mut world = World::members(2, 124);
    world.save_and_wait(0, "add /a");
    let last = world.save_and_wait(0, "set /a x 1");
    // As if a crash had cut a commit after its first record.
    world.crash(0);
    let storage = &world.machines[0].storage;
    let key = key::journal(RepoId::MAIN, last.id.origin, last.sequence);
    let bytes = storage.get(&key).unwrap().unwrap();
    let record = journal::decode(&bytes).unwrap();
    assert!(record.seal.is_some());
    let unsealed = journal::encode(None, record.body);
    storage.append(&[(key, unsealed)]).unwrap();
    world.open(0);
    world.connect(0, 1);
    world.converge(3_000);
    assert_eq!(world.get(1, "/a", "x"), Some(Value::Int(1)));
}

#[test]
pub(super) fn a_clock_that_was_set_back_makes_ids_that_rise_all_the_same() {
    let mut world = World::members(1, 125);
    world.machines[0].clock_ms = 50_000;
    world.crash(0);
    world.open(0);
    let before = world.save_and_wait(0, "add /a\nset /a x 1");
    world.crash(0);
    world.machines[0].clock_ms = 0;
    world.open(0);
    assert_eq!(
        world.get(0, "/a", "x"),
        Some(Value::Int(1)),
        "it is its own"
    );
    let after = world.save_and_wait(0, "set /a x 2");
    assert!(after.id > before.id);
    assert_eq!(world.held(0), 0);
}

#[test]
fn a_journal_that_lacks_what_the_state_has_is_not_opened() {
    let mut world = World::members(1, 126);
    let receipt = world.save_and_wait(0, "add /a");
    world.run(7_000);
    world.crash(0);
    let storage = world.machines[0].storage.clone();
    let key = key::journal(RepoId::MAIN, receipt.id.origin, receipt.sequence);
    storage.checkpoint(&[(key, None)], &mut || Ok(())).unwrap();
    let error = opened_again(&world).err().unwrap();
    assert!(matches!(error, OpenError::Journal { .. }), "{error}");
    assert!(error.to_string().contains("verify --rebuild"), "{error}");
}

/// Gives the first byte of every state record of a closed machine another value.
fn set_state_format(world: &World, format: u8) -> usize {
    let storage = &world.machines[0].storage;
    let mut changes = Vec::new();
    for (table, repo) in state_key::TABLES
        .iter()
        .flat_map(|table| RepoId::ALL.map(|repo| (*table, repo)))
    {
        let from = vec![table, repo.0];
        let to = state_key::after_prefix(&from);
        for (key, mut value) in storage.scan(&from, &to, usize::MAX).unwrap() {
            value[0] = format;
            changes.push((key, Some(value)));
        }
    }
    storage.checkpoint(&changes, &mut || Ok(())).unwrap();
    changes.len()
}

fn opened_again(world: &World) -> Result<Replica, OpenError> {
    let machine = &world.machines[0];
    Replica::open(
        machine.config.clone(),
        machine.identity.clone(),
        machine.storage.clone(),
        [1; 32],
        world.time(0),
    )
}

#[test]
fn a_state_of_an_older_format_is_made_again_from_the_journal() {
    let mut world = World::members(1, 130);
    for n in 0..30 {
        world.save_and_wait(0, &format!("add /n{n}\nset /n{n} x {n}"));
    }
    world.run(7_000);
    let (heads, digests) = (world.applied(0, RepoId::MAIN), world.digests(RepoId::MAIN));
    world.crash(0);
    assert!(set_state_format(&world, RECORD_VERSION - 1) > 60);
    world.open(0);
    assert_eq!(world.applied(0, RepoId::MAIN), heads);
    assert_eq!(world.digests(RepoId::MAIN), digests);
    assert!(world.replica(0).counters.applied > 30, "all of the journal");
    // Its checkpoint is of the present format.
    world.run(7_000);
    world.crash(0);
    world.open(0);
    assert_eq!(world.replica(0).counters.applied, 0);
    assert_eq!(world.digests(RepoId::MAIN), digests);
}

#[test]
fn a_state_that_was_half_given_up_when_the_power_went_is_made_again() {
    let mut world = World::members(1, 131);
    world.save_and_wait(0, "add /a\nset /a x 1");
    world.run(7_000);
    let digests = world.digests(RepoId::MAIN);
    world.crash(0);
    set_state_format(&world, RECORD_VERSION - 1);
    let storage = world.machines[0].storage.clone();
    let from = vec![b'n', RepoId::MAIN.0];
    let nodes = storage.scan(&from, &state_key::after_prefix(&from), usize::MAX);
    let gone: Vec<_> = nodes
        .unwrap()
        .into_iter()
        .map(|(key, _)| (key, None))
        .collect();
    storage.checkpoint(&gone, &mut || Ok(())).unwrap();
    world.open(0);
    assert_eq!(world.digests(RepoId::MAIN), digests);
}

#[test]
fn a_state_of_a_newer_format_is_refused_and_left_alone() {
    let mut world = World::members(1, 132);
    world.save_and_wait(0, "add /a");
    world.run(7_000);
    world.crash(0);
    set_state_format(&world, RECORD_VERSION + 1);
    let error = opened_again(&world).err().unwrap();
    assert!(matches!(error, OpenError::Newer { .. }), "{error}");
    let meta = world.machines[0]
        .storage
        .get(&state_key::meta(RepoId::MAIN));
    assert_eq!(meta.unwrap().unwrap()[0], RECORD_VERSION + 1);
}

#[test]
fn a_founder_of_another_cluster_is_refused() {
    let world = World::strangers(1, 127);
    let mut config = world.machines[0].config.clone();
    config.founder.nonce[0] ^= 1;
    let machine = &world.machines[0];
    let opened = Replica::open(
        config,
        machine.identity.clone(),
        machine.storage.clone(),
        [1; 32],
        world.time(0),
    );
    assert!(matches!(opened.err(), Some(OpenError::Founder)));
}
