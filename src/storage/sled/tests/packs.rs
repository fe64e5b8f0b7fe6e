//! Several values in one of sled's entries.

use super::*;

fn key_of(prefix: &[u8], number: u64) -> Key {
    let mut key = vec![b'J'];
    key.extend_from_slice(prefix);
    key.resize(18, 0);
    key.extend(number.to_be_bytes());
    key
}

fn key(number: u64) -> Key {
    key_of(&[1], number)
}

fn records(numbers: std::ops::RangeInclusive<u64>, seed: u8) -> Vec<(Key, Vec<u8>)> {
    numbers
        .map(|number| (key(number), vec![seed; 150]))
        .collect()
}

/// Entries of sled's own in the table.
fn entries(store: &SledStorage) -> usize {
    store.store.raw_range(b"J", b"K").len()
}

#[test]
fn what_is_appended_in_a_row_takes_few_entries() {
    let place = SledPlace::new();
    let store = place.open();
    store.append(&records(1..=100, 1)).unwrap();
    assert_eq!((count(&store), entries(&store)), (100, 4));
    store.append(&records(101..=101, 1)).unwrap();
    assert_eq!((count(&store), entries(&store)), (101, 5));
}

#[test]
fn a_crash_amid_putting_a_value_into_a_pack_leaves_what_was_there() {
    let place = SledPlace::new();
    let store = place.open();
    let before = records(1..=10, 1);
    store.append(&before).unwrap();
    // What comes after it is there twice; its new value is not there yet.
    store.store.part_only(&key(5)).unwrap();
    assert_eq!(entries(&store), 2);
    let crashed = place.crashed(&store);
    let next = crashed.open();
    assert_eq!(next.scan(b"J", b"K", 99).unwrap(), before);
    let mut reversed = before.clone();
    reversed.reverse();
    assert_eq!(next.scan_back(b"J", b"K", 99).unwrap(), reversed);

    next.append(&records(5..=5, 2)).unwrap();
    assert_eq!(entries(&next), 3);
    let mut expected = before;
    expected[4].1 = vec![2; 150];
    assert_eq!(next.scan(b"J", b"K", 99).unwrap(), expected);
    // It is gone for good, though the first entry still has the old one.
    next.checkpoint(&[(key(5), None)], &mut || Ok(())).unwrap();
    expected.remove(4);
    assert_eq!(next.get(&key(5)).unwrap(), None);
    assert_eq!(next.scan(b"J", b"K", 99).unwrap(), expected);
}

#[test]
fn a_pack_that_is_none_is_damage() {
    let place = SledPlace::new();
    let store = place.open();
    store.append(&records(1..=10, 1)).unwrap();
    store.append(&records(20..=29, 1)).unwrap();
    store.store.spoil_pack(&key(1));
    for number in [1, 2, 10] {
        assert!(matches!(
            store.get(&key(number)),
            Err(StorageError::Damaged(_))
        ));
    }
    assert!(store.scan(b"J", b"K", 99).is_err());
    assert_eq!(store.get(&key(21)).unwrap(), Some(vec![1; 150]));
    // What is lost can be written again.
    store.append(&records(1..=10, 3)).unwrap();
    assert_eq!(count(&store), 20);
    assert_eq!(store.get(&key(7)).unwrap(), Some(vec![3; 150]));
}

#[test]
fn a_store_from_before_packs_is_read_and_goes_on_with_them() {
    let place = SledPlace::new();
    let store = place.open();
    for number in 1..=20 {
        store.append(&records(number..=number, 1)).unwrap();
    }
    store.store.put_format_unpacked();
    place.close(store);
    let store = place.open();
    assert_eq!((count(&store), entries(&store)), (20, 20));
    store.append(&records(21..=40, 2)).unwrap();
    assert_eq!((count(&store), entries(&store)), (40, 21));
    let crashed = place.crashed(&store);
    assert!(!crashed.open().store.check_format().unwrap());
    assert_eq!(count(&crashed.open()), 40);
}

#[test]
fn a_store_of_a_format_that_is_not_known_is_left_alone() {
    let place = filled(3);
    let store = place.open();
    store.store.put_other_format();
    place.close(store);
    let error = open(place.0.path()).unwrap_err();
    assert!(
        matches!(&error, StorageError::Damaged(why) if why.contains("version")),
        "{error}"
    );
}

#[test]
fn a_damaged_entry_behind_the_limit_hinders_nobody() {
    let place = SledPlace::new();
    let store = place.open();
    let record = |number: u64, bytes: usize| (key(number), vec![1; bytes]);
    store.append(&[record(1, 10), record(2, 9_000)]).unwrap();
    store.append(&[record(3, 10)]).unwrap();
    store.store.spoil(&value::chunk_key(&key(2), 0, 1), true);
    assert_eq!(store.scan(b"J", b"K", 1).unwrap(), [record(1, 10)]);
    assert_eq!(store.scan_back(b"J", b"K", 1).unwrap(), [record(3, 10)]);
    assert!(store.scan(b"J", b"K", 2).is_err());
}

#[test]
fn an_entry_that_is_none_says_nothing_of_keys_that_it_can_not_have() {
    let place = SledPlace::new();
    let store = place.open();
    let other = key_of(&[2], 1);
    store.append(&records(1..=10, 1)).unwrap();
    store.store.spoil_pack(&key(1));
    assert_eq!(store.get(&other).unwrap(), None);
    store.append(&[(other.clone(), vec![1])]).unwrap();
    assert_eq!(store.scan(&other, b"K", 9).unwrap().len(), 1);
    // From its middle on it may be what is looked for.
    assert!(store.scan(&key(5), b"K", 9).is_err());
}

/// sled seeks the page before one from a bound that it makes from the page's first key, and gives up,
/// by a panic, if a million of those are behind the page before.
#[test]
fn what_is_before_a_key_is_not_looked_for_among_other_prefixes() {
    let place = SledPlace::new();
    let store = place.open();
    let one = |prefix: &[u8], number: u64| (key_of(prefix, number), vec![1]);
    let append = |prefix: &[u8], numbers: std::ops::RangeInclusive<u64>| {
        for number in numbers {
            store.append(&[one(prefix, number)]).unwrap();
        }
    };
    let before = [1, 255, 255, 255, 255, 7];
    append(&before, 1..=9);
    append(&[2, 128], 1..=8);
    append(&before, 10..=60);
    let first = one(&[2, 1], 1);
    assert_eq!(store.get(&first.0).unwrap(), None);
    store.append(std::slice::from_ref(&first)).unwrap();
    assert_eq!(store.get(&first.0).unwrap(), Some(first.1));
    assert_eq!(count(&store), 69);
}

#[test]
fn what_is_written_over_packs_is_packed_again() {
    let place = SledPlace::new();
    let store = place.open();
    store.append(&records(1..=20, 1)).unwrap();
    store.append(&records(21..=40, 1)).unwrap();
    // In the middle of one, over its end, and the whole of one.
    store.append(&records(5..=10, 2)).unwrap();
    assert_eq!(entries(&store), 4);
    store.append(&records(35..=50, 3)).unwrap();
    assert_eq!(entries(&store), 5);
    store.append(&records(21..=34, 4)).unwrap();
    assert_eq!(entries(&store), 5);
    // Others stand among them: they are written one by one.
    store.append(&records(9..=22, 5)).unwrap();
    let seeds = [(1, 4, 1), (5, 8, 2), (9, 22, 5), (23, 34, 4), (35, 50, 3)];
    let expected = seeds
        .map(|(from, to, seed)| records(from..=to, seed))
        .concat();
    assert_eq!(store.scan(b"J", b"K", 99).unwrap(), expected);
}
