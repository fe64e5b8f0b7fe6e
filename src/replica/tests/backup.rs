use std::sync::Arc;

use super::world::World;
use crate::codec::journal::{self, Seal};
use crate::codec::{key, state_key};
use crate::model::{RepoId, Sequence};
use crate::replica::{Copied, Copier, CopyError, verify};
use crate::storage::Storage;
use crate::storage::memory::MemoryStorage;

/// Copies a machine's store as it is at this moment.
fn copy(world: &mut World, machine: usize, to: &MemoryStorage) -> Result<Copied, CopyError> {
    let heads = world.replica(machine).journal_heads();
    let from = world.machines[machine].storage.clone();
    let go_on = || true;
    let mut copier = Copier::new(from.as_ref(), to, &go_on, Copied::default());
    copier.journal(&heads)?;
    copier.notes()?;
    copier.state()?;
    Ok(copier.copied())
}

fn assert_sound(world: &World, machine: usize, copy: &MemoryStorage) {
    let cluster = world.machines[machine].config.cluster;
    let storage: Arc<dyn Storage> = Arc::new(copy.copy());
    for repo in RepoId::ALL {
        let found = verify(cluster, repo, &storage, false).unwrap();
        assert_eq!(found.problem_count, 0, "{:?}", found.problems);
    }
}

/// A machine with a journal above its last checkpoint, and that of another in it.
fn busy(seed: u64) -> World {
    let mut world = World::members(2, seed);
    world.connect(0, 1);
    for n in 0..30 {
        world.save(n % 2, &format!("add /n{n}\nset /n{n} x {n}"));
    }
    world.converge(3_000);
    world.run(7_000);
    world.save_and_wait(0, "remove /n3\nset /n4 x 5");
    world.converge(3_000);
    world
}

#[test]
fn a_copy_goes_on_where_the_replica_was_and_another_one_costs_what_is_new() {
    let mut world = busy(300);
    let backup = MemoryStorage::new();
    let first = copy(&mut world, 0, &backup).unwrap();
    assert!(
        first.journal_records > 30 && first.state_records > 60,
        "{first:?}"
    );
    assert_sound(&world, 0, &backup);
    assert_eq!(
        copy(&mut world, 0, &backup).unwrap(),
        Copied::default(),
        "nothing is new"
    );
    let digest = world.digests(RepoId::MAIN)[0];
    let state = world.machines[0]
        .storage
        .scan(b"a", b"z", usize::MAX)
        .unwrap();
    assert_eq!(backup.scan(b"a", b"z", usize::MAX).unwrap(), state);

    for n in 0..5 {
        world.save_and_wait(0, &format!("set /n5 x {n}\nremove /n{}", 10 + n));
    }
    let tail = copy(&mut world, 0, &backup).unwrap();
    assert_eq!(tail.journal_records, 5);
    assert_sound(&world, 0, &backup);
    world.run(7_000);
    let second = copy(&mut world, 0, &backup).unwrap();
    assert_eq!(second.journal_records, 0);
    assert!((1..60).contains(&second.state_records), "{second:?}");
    assert_sound(&world, 0, &backup);
    let now = world.digests(RepoId::MAIN)[0];
    assert_ne!(now, digest);

    let (config, identity) = (
        world.machines[0].config.clone(),
        world.machines[0].identity.clone(),
    );
    world.crash(0);
    let restored = world.add_machine(config, identity, Arc::new(backup));
    assert_eq!(
        world
            .replica(restored)
            .state(RepoId::MAIN)
            .latest()
            .digest(),
        now
    );
    world.save_and_wait(restored, "add /on");
}

#[test]
fn what_has_been_sealed_since_and_what_can_not_be_read_is_copied_again() {
    let mut world = busy(301);
    let backup = MemoryStorage::new();
    copy(&mut world, 0, &backup).unwrap();
    let (repo, origin, last) = world.replica(0).journal_heads().pop().unwrap();
    assert_eq!(repo, RepoId::MAIN);
    let place = key::journal(repo, origin, last);
    let whole = backup.get(&place).unwrap().unwrap();
    let unsealed = journal::encode(None, journal::decode(&whole).unwrap().body);
    for other in [unsealed, b"nonsense".to_vec()] {
        backup.append(&[(place.clone(), other)]).unwrap();
        assert_eq!(copy(&mut world, 0, &backup).unwrap().journal_records, 1);
        assert_eq!(backup.get(&place).unwrap().unwrap(), whole);
    }
}

#[test]
fn a_copy_that_has_more_keeps_it_and_one_that_has_something_else_is_refused() {
    let mut world = busy(302);
    let backup = MemoryStorage::new();
    world.save_and_wait(0, "set /n4 x 6");
    let old = world.machines[0].storage.copy();
    let known = world.replica(0).journal_heads();
    let receipt = world.save_and_wait(0, "set /n4 x 7");
    copy(&mut world, 0, &backup).unwrap();
    // An older store, into a copy that knows more.
    let go_on = || true;
    let mut copier = Copier::new(&old, &backup, &go_on, Copied::default());
    copier.journal(&known).unwrap();
    copier.notes().unwrap();
    copier.state().unwrap();
    let place = key::journal(RepoId::MAIN, receipt.id.origin, receipt.sequence);
    assert!(backup.get(&place).unwrap().is_some());
    assert_sound(&world, 0, &backup);

    let other = journal::encode(Some(&Seal([7; 64])), b"another history");
    backup.append(&[(place, other)]).unwrap();
    let refused = copy(&mut world, 0, &backup);
    assert!(
        matches!(refused, Err(CopyError::Other { sequence, .. }) if sequence == receipt.sequence),
        "{refused:?}"
    );
}

#[test]
fn a_damaged_journal_is_told_and_the_state_is_made_the_same_to_the_record() {
    let mut world = busy(303);
    let backup = MemoryStorage::new();
    copy(&mut world, 0, &backup).unwrap();
    let nodes = [b'n', RepoId::MAIN.0];
    let some = backup
        .scan(&nodes, &state_key::after_prefix(&nodes), 3)
        .unwrap();
    let wrong = [
        (some[0].0.clone(), None),
        (some[1].0.clone(), Some(b"changed".to_vec())),
        ([&nodes[..], &[0xff; 16]].concat(), Some(b"more".to_vec())),
    ];
    backup.checkpoint(&wrong, &mut || Ok(())).unwrap();
    let mended = copy(&mut world, 0, &backup).unwrap();
    assert_eq!((mended.state_records, mended.removed_records), (2, 1));
    assert_sound(&world, 0, &backup);

    let (repo, origin, _) = world.replica(0).journal_heads().pop().unwrap();
    let place = key::journal(repo, origin, Sequence(2));
    let storage = world.machines[0].storage.clone();
    for damage in [Some(b"nonsense".to_vec()), None] {
        storage
            .checkpoint(&[(place.clone(), damage)], &mut || Ok(()))
            .unwrap();
        let refused = copy(&mut world, 0, &MemoryStorage::new());
        assert!(
            matches!(
                refused,
                Err(CopyError::Journal {
                    sequence: Sequence(2),
                    ..
                })
            ),
            "{refused:?}"
        );
    }
}

#[test]
fn a_copy_stops_when_it_is_told_to() {
    let mut world = World::members(1, 304);
    for n in 0..400 {
        world.save(0, &format!("add /n{n}"));
    }
    world.run(7_000);
    let heads = world.replica(0).journal_heads();
    let (from, to) = (world.machines[0].storage.clone(), MemoryStorage::new());
    let stop = || false;
    let mut copier = Copier::new(from.as_ref(), &to, &stop, Copied::default());
    assert!(matches!(copier.journal(&heads), Err(CopyError::Stopped)));
    assert!(matches!(copier.state(), Err(CopyError::Stopped)));
}
