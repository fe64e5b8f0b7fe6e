//! Closing statements: whose are believed, how many, and what they end.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::ahead::{int, repair, set_right};
use super::held::{BY_HAND, join_by_hand, speak};
use super::repair::ask;
use super::world::World;
use crate::codec::closing::{self, CLOSED_MAX, Closed, Closing};
use crate::codec::journal::Seal;
use crate::codec::key;
use crate::model::{Birth, Dependency, OriginId, RepoId, Sequence, Time};
use crate::replica::{Message, Output, RepairError, Replica};
use crate::storage::memory::MemoryStorage;
use crate::storage::{Change, Key, Storage, StorageError};

type Row = (Key, Vec<u8>);

fn statement(world: &World, i: usize, nonce: [u8; 16]) -> Closing {
    statement_after(world, i, nonce, Sequence(0))
}

/// A statement of machine `i` that ends an origin after this number.
pub(super) fn statement_after(world: &World, i: usize, nonce: [u8; 16], last: Sequence) -> Closing {
    statement_of(world, i, [nonce], last)
}

/// A statement of machine `i` that ends so many origins after this number.
fn statement_of(
    world: &World,
    i: usize,
    nonces: impl IntoIterator<Item = [u8; 16]>,
    last: Sequence,
) -> Closing {
    let identity = &world.machines[i].identity;
    let key = identity.public();
    let closed = nonces.into_iter().map(|nonce| Closed {
        nonce,
        last,
        tip: last.next(),
    });
    let mut closed: Vec<_> = closed.collect();
    let time = Time(world.time(i).0 + u64::from(closed[0].nonce[0]));
    closed.sort_by_key(|one| Birth::origin(&key, &one.nonce));
    let mut closing = Closing {
        repo: RepoId::MAIN,
        key,
        time,
        closed,
        seal: Seal([0; Seal::BYTES]),
    };
    let text = closing.text(world.machines[i].config.cluster);
    closing.seal = Seal(identity.sign(&text));
    closing
}

/// A statement of machine 1 that ends as many origins as one may.
fn full_statement(world: &World, n: u8) -> Closing {
    let nonces = (0..CLOSED_MAX as u16).map(|i| {
        let [high, low] = i.to_be_bytes();
        let mut nonce = [n; 16];
        (nonce[0], nonce[1]) = (high, low);
        nonce
    });
    statement_of(world, 1, nonces, Sequence(0))
}

pub(super) fn told(closing: &Closing) -> Message {
    Message::Closing {
        repo: RepoId::MAIN,
        statement: closing::encode(closing).into(),
    }
}

#[test]
fn one_author_can_not_use_up_the_room_for_the_statements_of_others() {
    let (mut world, _) = set_right(503);
    world.run(500);
    world.save_and_wait(1, "add /one");
    world.run(1_000);
    world.disconnect(0, 2);
    world.disconnect(1, 2);
    join_by_hand(&mut world, 0, 1);
    for n in 0..300_u16 {
        let [high, low] = n.to_be_bytes();
        let mut nonce = [7; 16];
        (nonce[0], nonce[1]) = (high, low);
        let closing = statement(&world, 1, nonce);
        speak(&mut world, 0, told(&closing));
    }
    let (from, to) = key::closings(RepoId::MAIN);
    world.run(1_000);
    let notes = world.machines[0].storage.scan(&from, &to, 1_000).unwrap();
    assert_eq!(notes.len(), 256);
    // What ends something that is here is taken all the same: it must not matter what came first.
    let nonce = world.replica(1).nonce;
    let closing = statement(&world, 1, nonce);
    speak(&mut world, 0, told(&closing));
    world.run(1_000);
    let notes = world.machines[0].storage.scan(&from, &to, 1_000).unwrap();
    assert_eq!(notes.len(), 257);
    // The state has been made again since: it went further.
    let (origin, _) = closing.origins().next().unwrap();
    let status = world.replica(0).repo_status(RepoId::MAIN);
    assert!(status.closed.contains(&origin));
    assert!(!status.applied.contains_key(&origin));
    let now = world.time(0);
    world.replica(0).disconnected(now, BY_HAND);
    world.connect(0, 2);
    repair(&mut world, 2);
    world.run(1_000);
    assert_eq!(world.held(0), 0);
    assert_eq!(world.get(0, "/ahead", "x"), int(1));
}

#[test]
fn a_replica_that_has_been_repaired_too_often_says_so() {
    let (mut world, _) = set_right(513);
    world.run(3_000);
    join_by_hand(&mut world, 2, 1);
    for n in 0..256_u16 {
        let [high, low] = n.to_be_bytes();
        let mut nonce = [7; 16];
        (nonce[0], nonce[1]) = (high, low);
        let closing = statement(&world, 2, nonce);
        speak(&mut world, 2, told(&closing));
    }
    let refused = ask(&mut world, 2, false);
    assert!(matches!(refused, Err(RepairError::TooOften)), "{refused:?}");
}

#[test]
fn one_author_can_not_end_any_number_of_origins_that_nobody_has() {
    let mut world = World::members(2, 519);
    join_by_hand(&mut world, 0, 1);
    for n in 0..6 {
        let closing = full_statement(&world, n);
        speak(&mut world, 0, told(&closing));
    }
    let ended = |world: &mut World| world.replica(0).repo_status(RepoId::MAIN).closed.len();
    assert_eq!(ended(&mut world), 4 * CLOSED_MAX);
    world.run(500);
    world.crash(0);
    world.open(0);
    join_by_hand(&mut world, 0, 1);
    let (one, another) = (full_statement(&world, 7), statement(&world, 1, [7; 16]));
    for closing in [one, another] {
        speak(&mut world, 0, told(&closing));
        assert_eq!(ended(&mut world), 4 * CLOSED_MAX);
    }
    // Another author has room.
    let closing = statement(&world, 0, [7; 16]);
    speak(&mut world, 0, told(&closing));
    assert_eq!(ended(&mut world), 4 * CLOSED_MAX + 1);
    assert!(world.machines[0].closed.is_empty());
}

/// A store that counts what is asked of it.
#[derive(Debug)]
struct Counting {
    store: MemoryStorage,
    gets: AtomicUsize,
}

impl Storage for Counting {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.store.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], most: usize) -> Result<Vec<Row>, StorageError> {
        self.store.scan(from, to, most)
    }

    fn scan_back(&self, from: &[u8], to: &[u8], most: usize) -> Result<Vec<Row>, StorageError> {
        self.store.scan_back(from, to, most)
    }

    fn append(&self, records: &[Row]) -> Result<(), StorageError> {
        self.store.append(records)
    }

    fn checkpoint(
        &self,
        changes: &[Change],
        between: &mut dyn FnMut() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.store.checkpoint(changes, between)
    }

    fn witness(&self, mark: &[u8]) -> Result<(), StorageError> {
        self.store.witness(mark)
    }

    fn last_witness(&self) -> Result<Option<Vec<u8>>, StorageError> {
        self.store.last_witness()
    }

    fn size_on_disk(&self) -> u64 {
        self.store.size_on_disk()
    }
}

#[test]
fn a_statement_that_ends_many_origins_is_read_once_a_message() {
    let mut world = World::members(2, 520);
    join_by_hand(&mut world, 0, 1);
    let closing = full_statement(&world, 1);
    speak(&mut world, 0, told(&closing));
    world.run(500);
    world.crash(0);
    let storage = Arc::new(Counting {
        store: world.machines[0].storage.copy(),
        gets: AtomicUsize::new(0),
    });
    let (machine, now) = (&world.machines[0], world.time(0));
    let (config, identity) = (machine.config.clone(), machine.identity.clone());
    let mut replica = Replica::open(config, identity, storage.clone(), [1; 32], now).unwrap();
    replica.connected(now, BY_HAND, world.key(1));
    while replica.pending_output().is_some() {}
    let nowhere = |(origin, _)| (origin, Sequence(u64::MAX));
    let ends = Message::Ends {
        repo: RepoId::MAIN,
        ends: closing.origins().map(nowhere).collect(),
    };
    let before = storage.gets.load(Ordering::Relaxed);
    replica.receive(now, BY_HAND, ends);
    let gets = storage.gets.load(Ordering::Relaxed) - before;
    assert_eq!(gets, 1, "reads");
    let mut shown = 0;
    while let Some(output) = replica.pending_output() {
        if let Output::Send { message, .. } = output {
            assert_eq!(message, told(&closing));
            shown += 1;
        }
    }
    assert_eq!(shown, 1);
}

thread_local! {
    /// Of which origins something has been asked for.
    static ASKED: RefCell<BTreeSet<OriginId>> = const { RefCell::new(BTreeSet::new()) };
}

#[test]
fn of_many_origins_that_nobody_answers_for_each_is_asked_for() {
    let mut world = World::members(2, 521);
    join_by_hand(&mut world, 0, 1);
    let nonces = (0..40).map(|n| [n; 16]);
    let closing = statement_of(&world, 1, nonces, Sequence(0));
    speak(&mut world, 0, told(&closing));
    let now = world.time(0);
    world.replica(0).disconnected(now, BY_HAND);
    let origins: BTreeSet<_> = closing.origins().map(|(origin, _)| origin).collect();
    for origin in &origins {
        let on = Dependency {
            origin: *origin,
            sequence: Sequence(1),
        };
        world.replica(0).want_beyond(RepoId::MAIN, on);
    }
    world.tap = Some(|_, _, message| {
        if let Message::Want { origin, .. } = &message {
            ASKED.with_borrow_mut(|asked| asked.insert(*origin));
        }
        Some(message)
    });
    world.connect(0, 1);
    world.run(60_000);
    let asked = ASKED.take();
    assert!(asked.is_superset(&origins), "{} of 40", asked.len());
}
