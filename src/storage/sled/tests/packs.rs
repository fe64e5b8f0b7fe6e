//! Several values in one of sled's entries.

use super::*;

fn key(number: u64) -> Key {
    [&b"J0"[..], &number.to_be_bytes()].concat()
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
