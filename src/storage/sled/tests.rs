//! What the contract does not ask for: bad ends, damage, a full disk.

mod cleaning;
mod packs;

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::storage::contract::Place;

/// A directory of its own for each test.
pub(in crate::storage) struct SledPlace(TempDir);

fn options() -> SledOptions {
    SledOptions::default()
        .with_cache_bytes(4 << 20)
        .with_slack_bytes(0)
}

fn open(directory: &Path) -> Result<SledStorage, StorageError> {
    SledStorage::open(directory, &options())
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_directory(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl Place for SledPlace {
    type Store = SledStorage;

    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> SledStorage {
        open(self.0.path()).unwrap()
    }

    fn close(&self, store: SledStorage) {
        store.close().unwrap();
        assert!(!self.has("open"));
    }

    fn crashed(&self, _store: &SledStorage) -> Self {
        let place = Self::new();
        copy_directory(self.0.path(), place.0.path());
        place
    }
}

impl SledPlace {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Names in `db/` that begin with `snap.`
    fn snapshots(&self) -> Vec<String> {
        engine::snapshots(&self.path("db"), false).unwrap()
    }
}

fn record(n: usize) -> (Key, Vec<u8>) {
    (format!("J0{n:024}").into_bytes(), vec![n as u8; 150])
}

fn filled(records: usize) -> SledPlace {
    let place = SledPlace::new();
    let store = place.open();
    let records: Vec<_> = (0..records).map(record).collect();
    store.append(&records).unwrap();
    place.close(store);
    place
}

fn count(store: &SledStorage) -> usize {
    store.scan(b"J", b"K", usize::MAX).unwrap().len()
}

/// Chunks of large values.
fn chunks(store: &SledStorage) -> usize {
    let range = store.store.raw_range(&[0xfe, 1], &[0xff]);
    range.len()
}

#[test]
fn a_second_opening_is_refused_until_the_first_is_closed() {
    let place = filled(1);
    let store = place.open();
    assert!(matches!(open(place.0.path()), Err(StorageError::InUse(_))));
    assert_eq!(count(&store), 1);
    drop(store);
    assert_eq!(count(&place.open()), 1);
}

#[test]
fn a_good_end_leaves_no_traces_and_a_bad_one_a_copy() {
    let place = filled(3);
    assert!(!place.has("open") && !place.has("before-opening"));
    let store = place.open();
    let crashed = place.crashed(&store);
    assert!(crashed.has("open"));
    let next = crashed.open();
    assert_eq!(count(&next), 3);
    assert!(crashed.has("before-opening/db") && crashed.has("before-opening/conf"));
    crashed.close(next);
    assert!(!crashed.has("open") && !crashed.has("before-opening"));
}

#[test]
fn after_a_good_end_the_barrier_is_before_the_first_write_and_after_a_bad_one_before_all() {
    let place = filled(3);
    let store = place.open();
    let (unsynced, most) = store.store.unsynced();
    assert_eq!(unsynced, most, "whatever is written next waits for one");
    let crashed = place.crashed(&store);
    store.append(&[record(3)]).unwrap();
    assert_eq!(store.store.unsynced().0, 0);
    assert_eq!(crashed.open().store.unsynced().0, 0);
}

#[test]
fn a_store_too_large_to_copy_opens_without() {
    let place = filled(3);
    let crashed = place.crashed(&place.open());
    let options = options().with_copy_max_bytes(0);
    let store = SledStorage::open(crashed.0.path(), &options).unwrap();
    assert_eq!(count(&store), 3);
}

#[test]
fn an_unfinished_redo_file_is_forgotten() {
    let place = filled(3);
    fs::write(place.path("checkpoint.redo.new"), b"LVRTREDO").unwrap();
    let store = place.open();
    assert_eq!(count(&store), 3);
    assert!(!place.has("checkpoint.redo.new"));
}

#[test]
fn a_torn_redo_file_under_its_final_name_is_damage() {
    let place = filled(3);
    let changes = [(b"s".to_vec(), Some(vec![1; 300])), (record(0).0, None)];
    let directory = Directory::open(place.0.path()).unwrap();
    assert!(redo::write(&directory, &changes, &mut || Ok(())).is_ok());
    directory.finish(redo::NAME).unwrap();
    let whole = directory.read(redo::NAME).unwrap().unwrap();
    for length in [0, 1, 27, 28, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(place.path("checkpoint.redo"), &whole[..length]).unwrap();
        let error = open(place.0.path()).unwrap_err();
        assert!(matches!(&error, StorageError::Damaged(why) if why.contains("checkpoint.redo")));
    }
    // Nothing was lost by that: with the file as it was, all is well.
    fs::write(place.path("checkpoint.redo"), &whole).unwrap();
    let store = place.open();
    assert_eq!(count(&store), 2);
    assert_eq!(store.get(b"s").unwrap(), Some(vec![1; 300]));
    assert!(!place.has("checkpoint.redo"));
}

#[test]
fn a_redo_file_repeated_over_half_of_itself_leaves_no_chunks_behind() {
    let place = SledPlace::new();
    let store = place.open();
    let put = |n: u8, bytes: usize| (vec![b's', n], Some(vec![n; bytes]));
    let before = [put(0, 50_000), put(1, 9_000), put(2, 70_000), put(3, 10)];
    store.checkpoint(&before, &mut || Ok(())).unwrap();
    let after = [
        put(0, 10),
        (vec![b's', 1], None),
        put(2, 20_000),
        put(3, 30_000),
        put(4, 5_000),
    ];
    // Half-way in every way: chunks of both generations, heads of the one or of the other.
    redo::write(&store.directory, &after, &mut || Ok(())).unwrap();
    store.directory.finish(redo::NAME).unwrap();
    for sub in 0..after.len() {
        store.store.put(&after[..=sub]).unwrap();
        if sub == 1 {
            store.store.put(&before).unwrap();
        }
    }
    store.store.barrier().unwrap();
    let crashed = place.crashed(&store);
    let next = crashed.open();
    for (key, value) in &after {
        assert_eq!(next.get(key).unwrap(), *value);
    }
    assert_eq!(chunks(&next), 5 + 8 + 2);
}

#[test]
fn chunks_whose_head_never_came_are_swept_at_the_next_opening() {
    let place = SledPlace::new();
    let store = place.open();
    let old = (record(1).0, vec![1; 9_000]);
    store.append(std::slice::from_ref(&old)).unwrap();
    let new = [
        (record(1).0, vec![2; 50_000]),
        (record(2).0, vec![3; 6_000]),
    ];
    store.store.append_chunks_only(&new).unwrap();
    assert_eq!(chunks(&store), 3 + 13 + 2);
    assert_eq!(store.get(&record(1).0).unwrap().unwrap(), old.1);
    let crashed = place.crashed(&store);
    let next = crashed.open();
    assert_eq!(chunks(&next), 3);
    assert_eq!(next.scan(b"J", b"K", 9).unwrap(), [old]);
}

#[test]
fn a_chunk_that_is_missing_or_changed_is_damage() {
    for missing in [true, false] {
        let place = SledPlace::new();
        let store = place.open();
        store.append(&[(record(1).0, vec![1; 9_000])]).unwrap();
        store
            .store
            .spoil(&value::chunk_key(&record(1).0, 0, 1), missing);
        assert!(matches!(
            store.get(&record(1).0),
            Err(StorageError::Damaged(_))
        ));
        assert!(store.scan(b"J", b"K", 9).is_err());
        store.append(&[(record(2).0, vec![1])]).unwrap();
    }
}

#[test]
fn a_snapshot_that_was_not_finished_is_removed() {
    let place = filled(3);
    let store = place.open();
    let crashed = place.crashed(&store);
    fs::write(crashed.path("db/snap.FFFFFFFFFFFFFFF0.generating"), b"x").unwrap();
    let next = crashed.open();
    assert_eq!(count(&next), 3);
    assert!(!crashed.has("db/snap.FFFFFFFFFFFFFFF0.generating"));
}

#[test]
fn a_damaged_snapshot_is_done_without() {
    let place = filled(500);
    place.close(place.open());
    let snapshots = place.snapshots();
    assert!(!snapshots.is_empty());
    for name in &snapshots {
        let path = place.path("db").join(name);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs::write(path, bytes).unwrap();
    }
    let store = place.open();
    assert_eq!(count(&store), 500);
    assert!(!place.has("snapshots-aside"));
}

#[test]
fn a_store_that_sled_can_not_read_is_damage_and_not_an_empty_store() {
    // Its log is gone, with and without snapshots that speak of it.
    for with_snapshots in [true, false] {
        let place = filled(100);
        place.close(place.open());
        fs::write(place.path("db/db"), b"").unwrap();
        let snapshots = place.snapshots();
        if !with_snapshots {
            for name in &snapshots {
                fs::remove_file(place.path("db").join(name)).unwrap();
            }
        }
        for _ in 0..2 {
            assert!(matches!(
                open(place.0.path()),
                Err(StorageError::Damaged(_))
            ));
        }
    }
}

#[test]
fn what_was_there_before_a_failed_opening_is_kept() {
    let place = filled(100);
    let crashed = place.crashed(&place.open());
    fs::write(crashed.path("db/conf"), b"this is no configuration").unwrap();
    let log = fs::read(crashed.path("db/db")).unwrap();
    for _ in 0..2 {
        let error = open(crashed.0.path()).unwrap_err();
        assert!(
            matches!(&error, StorageError::Damaged(why) if why.contains("before-opening")),
            "{error}"
        );
        assert!(fs::read(crashed.path("before-opening/db")).unwrap() == log);
    }
}

#[test]
fn a_directory_without_its_store_is_damage() {
    let place = filled(1);
    let crashed = place.crashed(&place.open());
    fs::remove_dir_all(crashed.path("db")).unwrap();
    assert!(matches!(
        open(crashed.0.path()),
        Err(StorageError::Damaged(_))
    ));
}

#[test]
fn a_store_that_was_being_made_is_made_anew() {
    let place = SledPlace::new();
    fs::create_dir_all(place.path("db.new")).unwrap();
    fs::write(place.path("db.new/conf"), b"seg").unwrap();
    let store = place.open();
    store.append(&[record(1)]).unwrap();
    assert!(!place.has("db.new"));
}

#[test]
fn a_nearly_full_disk_refuses_writes_and_nothing_else() {
    let place = filled(3);
    let store = place.open();
    store.room_min_bytes.store(u64::MAX, Ordering::Relaxed);
    let change = [(b"s".to_vec(), Some(vec![1]))];
    for _ in 0..2 {
        assert!(matches!(
            store.append(&[record(4)]),
            Err(StorageError::Full(_))
        ));
        assert!(matches!(
            store.checkpoint(&change, &mut || Ok(())),
            Err(StorageError::Full(_))
        ));
    }
    assert_eq!(count(&store), 3);
    store.room_min_bytes.store(1 << 20, Ordering::Relaxed);
    store.append(&[record(4)]).unwrap();
    store.checkpoint(&change, &mut || Ok(())).unwrap();
    place.close(store);
    assert_eq!(count(&place.open()), 4);
}

#[test]
fn a_failed_write_is_the_last_one_of_its_life() {
    let place = filled(3);
    let store = place.open();
    // The redo file can not get its final name where a directory stands.
    fs::create_dir_all(place.path("checkpoint.redo/x")).unwrap();
    let change = [(b"s".to_vec(), Some(vec![1]))];
    assert!(matches!(
        store.checkpoint(&change, &mut || Ok(())),
        Err(StorageError::Io(_))
    ));
    assert!(matches!(
        store.append(&[record(4)]),
        Err(StorageError::ReadOnly(_))
    ));
    assert!(matches!(
        store.checkpoint(&change, &mut || Ok(())),
        Err(StorageError::ReadOnly(_))
    ));
    assert_eq!(count(&store), 3);
    assert!(matches!(store.close(), Err(StorageError::ReadOnly(_))));
    fs::remove_dir_all(place.path("checkpoint.redo")).unwrap();
    assert!(place.has("open"));
    let store = place.open();
    store.append(&[record(4)]).unwrap();
    assert_eq!(count(&store), 4);
}

#[test]
fn the_size_on_disk_is_that_of_the_files() {
    let place = filled(1000);
    let store = place.open();
    let size = store.size_on_disk();
    assert!((150_000..64 << 20).contains(&size), "{size}");
}
