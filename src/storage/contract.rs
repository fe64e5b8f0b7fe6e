//! What every store has to do, run against each of them.

mod random;

use std::sync::atomic::{AtomicBool, Ordering};

use self::random::random_writes_leave_what_a_map_has;

use super::memory::MemoryStorage;
use super::{COUNTED_KEY_BYTES, COUNTED_TABLE, Change, KEY_MAX_BYTES, Key, Storage, StorageError};

/// Where a store lies while it is not open.
pub(super) trait Place: Sized {
    type Store: Storage;
    fn new() -> Self;
    fn open(&self) -> Self::Store;
    fn close(&self, store: Self::Store);
    /// What a crash at this moment would leave.
    fn crashed(&self, store: &Self::Store) -> Self;
}

struct MemoryPlace(std::sync::Mutex<MemoryStorage>);

impl Place for MemoryPlace {
    type Store = MemoryStorage;

    fn new() -> Self {
        Self(MemoryStorage::new().into())
    }

    fn open(&self) -> MemoryStorage {
        self.0.lock().unwrap().copy()
    }

    fn close(&self, store: MemoryStorage) {
        store.sync();
        *self.0.lock().unwrap() = store;
    }

    fn crashed(&self, store: &MemoryStorage) -> Self {
        Self(store.copy().into())
    }
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $name() { super::$name::<super::MemoryPlace>(); })*
        }
        #[cfg(feature = "sled")]
        mod sled {
            $(#[test] fn $name() { super::$name::<crate::storage::sled::tests::SledPlace>(); })*
        }
    };
}

contract!(
    what_was_written_is_read_also_after_reopening,
    scans_go_both_ways_within_their_bounds,
    large_values_are_whole_in_every_way_of_reading,
    a_value_may_change_its_size_and_go,
    a_crash_leaves_every_append_that_returned,
    a_checkpoint_is_there_whole_or_not_at_all_after_a_crash_anywhere,
    a_checkpoint_whose_caller_fails_is_there_whole_or_not_at_all,
    readers_see_whole_values_while_they_are_replaced,
    the_witness_is_the_last_one_noted,
    an_empty_write_is_no_write,
    a_key_that_no_caller_may_have_is_a_defect,
    random_writes_leave_what_a_map_has,
);

fn journal(n: usize) -> Key {
    format!("J0{n:024}").into_bytes()
}

fn no_pause() -> Result<(), StorageError> {
    Ok(())
}

/// Bytes that differ from place to place and from seed to seed.
fn bytes(seed: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| ((i * 31 + i / 4000 + seed * 7) % 251) as u8)
        .collect()
}

fn everything(store: &impl Storage) -> Vec<(Key, Vec<u8>)> {
    store.scan(&[0], &[0xff; 8], usize::MAX).unwrap()
}

fn what_was_written_is_read_also_after_reopening<P: Place>() {
    let place = P::new();
    let store = place.open();
    let long_key = vec![b'k'; KEY_MAX_BYTES];
    let records = vec![
        (journal(1), b"one".to_vec()),
        (journal(2), Vec::new()),
        (long_key.clone(), b"long".to_vec()),
    ];
    store.append(&records).unwrap();
    let changes = [
        (b"s1".to_vec(), Some(b"state".to_vec())),
        (journal(1), None),
    ];
    store.checkpoint(&changes, &mut no_pause).unwrap();
    store.append(&[(journal(3), b"three".to_vec())]).unwrap();
    let expected = vec![
        (journal(2), Vec::new()),
        (journal(3), b"three".to_vec()),
        (long_key, b"long".to_vec()),
        (b"s1".to_vec(), b"state".to_vec()),
    ];
    assert_eq!(everything(&store), expected);
    place.close(store);
    for _ in 0..2 {
        let store = place.open();
        assert_eq!(everything(&store), expected);
        assert_eq!(store.get(&journal(2)).unwrap(), Some(Vec::new()));
        assert_eq!(store.get(&journal(1)).unwrap(), None);
        place.close(store);
    }
}

fn scans_go_both_ways_within_their_bounds<P: Place>() {
    let place = P::new();
    let store = place.open();
    let key = |n: usize| format!("s{n:04}").into_bytes();
    let records: Vec<_> = (0..1500).map(|n| (key(n), bytes(n, n % 50))).collect();
    store.append(&records).unwrap();
    store.append(&[(b"t".to_vec(), b"after".to_vec())]).unwrap();

    let forward = |from: &[u8], to: &[u8], limit| store.scan(from, to, limit).unwrap();
    let back = |from: &[u8], to: &[u8], limit| store.scan_back(from, to, limit).unwrap();
    let reversed: Vec<_> = records.iter().rev().cloned().collect();

    assert_eq!(forward(b"s", b"t", usize::MAX), records);
    assert_eq!(back(b"s", b"t", usize::MAX), reversed);
    assert_eq!(forward(b"s", b"t", 1200), records[..1200]);
    assert_eq!(back(b"s", b"t", 1200), reversed[..1200]);
    // The lower bound belongs to the range, the upper one does not.
    assert_eq!(forward(&key(5), &key(8), 9), records[5..8]);
    assert_eq!(back(&key(5), &key(8), 9), reversed[1492..1495]);
    assert_eq!(back(&key(5), &key(8), 1), records[7..8]);
    // Bounds that are no keys, that are equal, that are the wrong way round.
    assert_eq!(forward(b"s0005x", b"s0007x", 9), records[6..8]);
    assert_eq!(forward(&key(5), &key(8), 0), []);
    assert_eq!(forward(&key(5), &key(5), 9), []);
    assert_eq!(back(&key(8), &key(5), 9), []);
    assert_eq!(forward(b"s", b"", 9), []);
    assert_eq!(back(b"", b"s", 9), []);
}

fn large_values_are_whole_in_every_way_of_reading<P: Place>() {
    let place = P::new();
    let store = place.open();
    let lengths = [3999, 4000, 4001, 8000, 300 << 10, 1_258_291];
    let records: Vec<_> = (0..lengths.len())
        .map(|n| (journal(n), bytes(n, lengths[n])))
        .collect();
    let changes: Vec<Change> = records
        .iter()
        .map(|(key, value)| ([b"s", &key[..]].concat(), Some(value.clone())))
        .collect();
    store.append(&records).unwrap();
    store.checkpoint(&changes, &mut no_pause).unwrap();
    let mut expected = records;
    expected.extend(
        changes
            .into_iter()
            .map(|(key, value)| (key, value.unwrap())),
    );

    let check = |store: &P::Store| {
        assert!(everything(store) == expected);
        for (key, value) in &expected {
            assert!(store.get(key).unwrap().as_ref() == Some(value));
        }
        let back = store.scan_back(b"J", b"K", 2).unwrap();
        assert!(back[0] == expected[5] && back[1] == expected[4] && back.len() == 2);
    };
    check(&store);
    place.close(store);
    let store = place.open();
    check(&store);
    place.close(store);
}

fn a_value_may_change_its_size_and_go<P: Place>() {
    let place = P::new();
    let mut store = place.open();
    let lengths = [10_000, 10, 9_000, 30_000, 5_000, 4_000, 0, 70_000];
    for (n, &length) in lengths.iter().enumerate() {
        // A key that begins like another one, with large values under both.
        let keys = [b"sa".to_vec(), b"sa\0\0\0".to_vec()];
        let value = bytes(n, length);
        if n % 2 == 0 {
            let changes = keys.clone().map(|key| (key, Some(value.clone())));
            store.checkpoint(&changes, &mut no_pause).unwrap();
        } else {
            let records = keys.clone().map(|key| (key, value.clone()));
            store.append(&records).unwrap();
        }
        let expected: Vec<_> = keys
            .iter()
            .map(|key| (key.clone(), value.clone()))
            .collect();
        assert!(everything(&store) == expected);
        if n % 3 == 2 {
            place.close(store);
            store = place.open();
            assert!(everything(&store) == expected);
        }
        if n % 3 == 1 {
            let gone = [(keys[0].clone(), None)];
            store.checkpoint(&gone, &mut no_pause).unwrap();
            assert!(everything(&store) == expected[1..]);
        }
    }
    place.close(store);
}

fn a_crash_leaves_every_append_that_returned<P: Place>() {
    let place = P::new();
    let store = place.open();
    let mut expected = Vec::new();
    for n in 0..6 {
        let length = if n % 2 == 0 { 150 } else { 20_000 };
        let records = [
            (journal(2 * n), bytes(n, length)),
            (journal(2 * n + 1), bytes(n, 1)),
        ];
        store.append(&records).unwrap();
        expected.extend(records);
        let crashed = place.crashed(&store);
        let next = crashed.open();
        assert!(everything(&next) == expected);
        // The next life goes on where it is.
        next.append(&[(journal(99), b"next".to_vec())]).unwrap();
        crashed.close(next);
        assert_eq!(everything(&crashed.open()).len(), expected.len() + 1);
    }
    place.close(store);
}

/// A state of several kinds of values, and changes that alter every kind in every way.
fn before_and_after() -> (Vec<Change>, Vec<Change>) {
    let lengths = [0, 150, 9_000, 2_000];
    let key = |n: usize| format!("s{n:04}").into_bytes();
    let before = (0..300)
        .map(|n| (key(n), Some(bytes(n, lengths[n % 3]))))
        .collect();
    let after = (0..500)
        .map(|n| {
            (
                key(n),
                (n % 7 > 0).then(|| bytes(n + 1, lengths[n / 3 % 4])),
            )
        })
        .collect();
    (before, after)
}

fn entries(changes: &[Change]) -> Vec<(Key, Vec<u8>)> {
    let kept = |(key, value): &Change| Some((key.clone(), value.clone()?));
    changes.iter().filter_map(kept).collect()
}

fn a_checkpoint_is_there_whole_or_not_at_all_after_a_crash_anywhere<P: Place>() {
    let place = P::new();
    let store = place.open();
    let (before, after) = before_and_after();
    store.checkpoint(&before, &mut no_pause).unwrap();

    let (mut pauses, mut without, mut with) = (0, 0, 0);
    let mut between = || {
        store.append(&[(journal(pauses), bytes(pauses, 150))])?;
        pauses += 1;
        // Not every step: a crash costs a copy.
        if pauses > 3 && pauses % 4 > 0 {
            return Ok(());
        }
        let crashed = place.crashed(&store);
        let next = crashed.open();
        let state = next.scan(b"s", b"t", usize::MAX).unwrap();
        if state == entries(&before) {
            without += 1;
        } else {
            assert!(state == entries(&after), "a part of a checkpoint");
            with += 1;
        }
        for n in 0..pauses {
            assert_eq!(next.get(&journal(n)).unwrap(), Some(bytes(n, 150)));
        }
        crashed.close(next);
        assert!(crashed.open().scan(b"s", b"t", usize::MAX).unwrap() == state);
        Ok(())
    };
    store.checkpoint(&after, &mut between).unwrap();
    assert!(without > 0 && with > 0, "{without} without, {with} with");
    assert!(store.scan(b"s", b"t", usize::MAX).unwrap() == entries(&after));

    let crashed = place.crashed(&store);
    assert!(crashed.open().scan(b"s", b"t", usize::MAX).unwrap() == entries(&after));
    place.close(store);
}

fn a_checkpoint_whose_caller_fails_is_there_whole_or_not_at_all<P: Place>() {
    let (before, after) = before_and_after();
    for failing in [0, 3] {
        let place = P::new();
        let store = place.open();
        store.checkpoint(&before, &mut no_pause).unwrap();
        let mut pauses = 0;
        let outcome = store.checkpoint(&after, &mut || {
            pauses += 1;
            if pauses > failing {
                return Err(StorageError::Io("the caller's own".to_owned()));
            }
            Ok(())
        });
        assert!(matches!(outcome, Err(StorageError::Io(why)) if why == "the caller's own"));
        assert_eq!(pauses, failing + 1);
        let state = store.scan(b"s", b"t", usize::MAX).unwrap();
        let expected = if failing == 0 { &before } else { &after };
        assert!(state == entries(expected));
        store.checkpoint(&after, &mut no_pause).unwrap();
        assert!(store.scan(b"s", b"t", usize::MAX).unwrap() == entries(&after));
        place.close(store);
    }
}

fn readers_see_whole_values_while_they_are_replaced<P: Place>() {
    let place = P::new();
    let store = place.open();
    let values: Vec<_> = [20_000, 100, 33_000, 20_000]
        .iter()
        .enumerate()
        .map(|(n, &length)| bytes(n, length))
        .collect();
    let put = |n: usize| (b"s".to_vec(), Some(values[n % 4].clone()));
    store.checkpoint(&[put(0)], &mut no_pause).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (store, values, done) = (&store, &values, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let value = if reader == 0 {
                        store.scan(b"s", b"t", 9).unwrap().remove(0).1
                    } else {
                        store.get(b"s").unwrap().unwrap()
                    };
                    assert!(values.contains(&value));
                }
            });
        }
        let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for n in 0..40 {
                store.checkpoint(&[put(n)], &mut no_pause).unwrap();
                store.append(&[(journal(n), bytes(n, 10))]).unwrap();
            }
        }));
        done.store(true, Ordering::Relaxed);
        written.unwrap();
    });
    place.close(store);
}

fn the_witness_is_the_last_one_noted<P: Place>() {
    let place = P::new();
    let store = place.open();
    assert_eq!(store.last_witness().unwrap(), None);
    store.witness(b"1").unwrap();
    store.witness(&[9; 1000]).unwrap();
    assert_eq!(store.last_witness().unwrap(), Some(vec![9; 1000]));
    place.close(store);
    let store = place.open();
    assert_eq!(store.last_witness().unwrap(), Some(vec![9; 1000]));
    store.witness(b"").unwrap();
    assert_eq!(store.last_witness().unwrap(), Some(Vec::new()));
    place.close(store);
}

fn an_empty_write_is_no_write<P: Place>() {
    let place = P::new();
    let store = place.open();
    store.append(&[]).unwrap();
    store.checkpoint(&[], &mut no_pause).unwrap();
    assert_eq!(everything(&store), []);
    place.close(store);
}

fn a_key_that_no_caller_may_have_is_a_defect<P: Place>() {
    let place = P::new();
    let store = place.open();
    for key in [
        vec![],
        vec![0xfe, 1],
        vec![0xff],
        vec![1; KEY_MAX_BYTES + 1],
        vec![COUNTED_TABLE; COUNTED_KEY_BYTES - 1],
        vec![COUNTED_TABLE; COUNTED_KEY_BYTES + 1],
    ] {
        let refused = |work: &dyn Fn() -> Result<(), StorageError>| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err()
        };
        assert!(refused(&|| store.append(&[(key.clone(), vec![])])));
        assert!(refused(
            &|| store.checkpoint(&[(key.clone(), None)], &mut no_pause)
        ));
    }
    store.append(&[(vec![0xfd], vec![])]).unwrap();
    assert_eq!(everything(&store).len(), 1);
    place.close(store);
}
