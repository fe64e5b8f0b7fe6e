//! What leveret is measured against: sled by itself, opened as leveret opens it.

use std::path::Path;
use std::time::Duration;

use crate::measure::{rate, rate_on_processor};

/// Sled with the settings that leveret gives it, and a cache of this size.
pub(crate) fn open(directory: &Path, cache_bytes: u64) -> sled::Db {
    sled::Config::new()
        .path(directory)
        .cache_capacity(cache_bytes)
        .segment_size(8 << 20)
        .flush_every_ms(None)
        .open()
        .unwrap()
}

/// A record with a key as the journal has them, and a value of this length.
pub(crate) fn record(bytes: usize, i: u64) -> (Vec<u8>, Vec<u8>) {
    let mut key = b"J\x01originoriginori".to_vec();
    key.extend_from_slice(&i.to_be_bytes());
    (key, vec![i as u8; bytes])
}

/// Single inserts a second of records of this length, as they come.
pub(crate) fn inserts(time: Duration, bytes: usize) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path(), 64 << 20);
    let mut i = 0_u64;
    rate(time, || {
        for _ in 0..256 {
            let (key, value) = record(bytes, i);
            db.insert(key, value).unwrap();
            i += 1;
        }
        256
    })
}

/// Inserts a second, with a barrier that makes them durable after each `batch` of them.
pub(crate) fn durable_inserts(time: Duration, bytes: usize, batch: usize) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path(), 64 << 20);
    let file = std::fs::File::open(directory.path().join("db")).unwrap();
    let mut i = 0_u64;
    rate(time, || {
        for _ in 0..batch {
            let (key, value) = record(bytes, i);
            db.insert(key, value).unwrap();
            i += 1;
        }
        db.flush().unwrap();
        file.sync_data().unwrap();
        batch
    })
}

/// Gets a second of records that sled has in its cache.
pub(crate) fn gets(time: Duration, records: u64) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path(), 64 << 20);
    for i in 0..records {
        let (key, value) = record(150, i);
        db.insert(key, value).unwrap();
    }
    let keys: Vec<_> = (0..records).map(|i| record(0, i).0).collect();
    rate_on_processor(time, || {
        for key in &keys {
            assert!(db.get(key).unwrap().is_some());
        }
        keys.len()
    })
}
