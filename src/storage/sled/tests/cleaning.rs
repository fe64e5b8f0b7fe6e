//! What keeps sled's log small: that it is cleaned, and the count of what lives. How small it is shows in
//! `benches/speed`, row `disk`.

use super::*;

/// What lives in a store, by looking at all of it.
fn counted(store: &SledStorage) -> u64 {
    let entries = store.store.raw_range(&[], &[0xff, 0xff]);
    let bytes = entries.iter().map(|(key, value)| key.len() + value.len());
    bytes.sum::<usize>() as u64
}

/// So many appends of a hundred records, and after every other a checkpoint that writes two hundred of
/// two thousand small entries anew, here and there.
fn work(store: &SledStorage, appends: usize) {
    for n in 0..appends {
        let records: Vec<_> = (0..100).map(|at| record(n * 100 + at)).collect();
        store.append(&records).unwrap();
        assert!(!store.store.is_cleaning_late());
        if n % 2 == 1 {
            let entry = |at: usize| {
                let key = format!("s{:08}", (n * 100 + at) * 7_919 % 2_003);
                (key.into_bytes(), Some(vec![n as u8; 20]))
            };
            let changes: Vec<_> = (0..200).map(entry).collect();
            store.checkpoint(&changes, &mut || Ok(())).unwrap();
        }
    }
}

#[test]
fn a_store_whose_segments_are_cleaned_all_the_time_keeps_everything() {
    let place = SledPlace::new();
    let mut options = options();
    // Small ones, so that many are cleaned and written again.
    options.segment_bytes = 256 << 10;
    let open = |place: &SledPlace| SledStorage::open(place.0.path(), &options).unwrap();
    let store = open(&place);
    work(&store, 60);
    while store.tidy().unwrap() {}
    let everything = store.scan(&[0], &[0xfe], usize::MAX).unwrap();
    assert!(everything.len() > 7_000);
    assert!(store.store.log_bytes() < 4 * counted(&store));
    let crashed = place.crashed(&store);
    let next = open(&crashed);
    assert!(next.scan(&[0], &[0xfe], usize::MAX).unwrap() == everything);
    place.close(store);
    let again = open(&place);
    assert!(again.scan(&[0], &[0xfe], usize::MAX).unwrap() == everything);
}

#[test]
fn what_lives_is_known_in_every_life() {
    let place = SledPlace::new();
    let store = place.open();
    let large = (b"s1".to_vec(), Some(vec![1; 50_000]));
    work(&store, 20);
    store.checkpoint(&[large], &mut || Ok(())).unwrap();
    let smaller = [(b"s1".to_vec(), Some(vec![1; 9_000])), (record(7).0, None)];
    store.checkpoint(&smaller, &mut || Ok(())).unwrap();
    assert_eq!(store.store.live_bytes(), counted(&store));
    let upkeep = store.upkeep().unwrap();
    assert_eq!(upkeep.live_bytes, counted(&store));
    place.close(store);
    let store = place.open();
    assert_eq!(store.store.live_bytes(), counted(&store));
    store.append(&[record(9_999)]).unwrap();

    // After a bad end it is known to within what is not noted each time.
    let crashed = place.crashed(&store);
    let next = crashed.open();
    let known = next.store.live_bytes();
    assert!(known.abs_diff(counted(&next)) < 64 << 10);
}

#[test]
fn a_store_without_fence_and_note_gets_them() {
    let place = filled(3_000);
    let store = place.open();
    store.append(&[(record(1).0, vec![1; 90_000])]).unwrap();
    for key in value::FENCE {
        store.store.spoil(&key, true);
    }
    store.store.forget_note();
    store.store.barrier().unwrap();
    let crashed = place.crashed(&store);
    let next = crashed.open();
    assert_eq!(next.store.live_bytes(), counted(&next));
    assert_eq!(chunks(&next), 23);
    let fence = next.store.raw_range(&value::FENCE[0], &[0xfe, 1]);
    assert_eq!(fence.len(), value::FENCE.len());
}

#[test]
fn nothing_is_cleaned_on_a_disk_without_room_or_after_a_failed_write() {
    let place = SledPlace::new();
    let store = place.open();
    work(&store, 10);
    store.room_min_bytes.store(u64::MAX, Ordering::Relaxed);
    assert!(!store.tidy().unwrap());
    store.room_min_bytes.store(0, Ordering::Relaxed);
    store.fail(StorageError::Io("no".to_owned()));
    assert!(matches!(store.tidy(), Err(StorageError::ReadOnly(_))));
}
