//! Random writes, and what is read of them in every way, against a map.
//!
//! Most keys are such as count up, since a store may keep those together; and some stand in their way.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Place, bytes, everything, no_pause};
use crate::storage::{COUNTED_TABLE, Key, Storage};

const CASES: u32 = 60;
/// How many numbers each prefix has. Those of the last one are the greatest there are.
const NUMBERS: u64 = 60;
const PREFIXES: [&[u8; 17]; 3] = [&[0; 17], &[1; 17], &[255; 17]];

#[derive(Debug, Clone)]
enum Step {
    /// Values of these lengths, under keys in a row.
    Append(usize, u64, Vec<usize>),
    /// Values, or nothing, as a checkpoint puts them.
    Put(BTreeMap<Key, Option<usize>>),
    Reopen,
}

fn key(prefix: usize, number: u64) -> Key {
    let base = if prefix == 2 {
        u64::MAX - NUMBERS + 1
    } else {
        250
    };
    [
        &[COUNTED_TABLE][..],
        PREFIXES[prefix],
        &(base + number).to_be_bytes(),
    ]
    .concat()
}

/// A key that counts up, or one of the tables before and behind.
fn any_key() -> impl Strategy<Value = Key> {
    let counted = (0..3_usize, 0..NUMBERS);
    (counted, 0..12_usize).prop_map(|((prefix, number), kind)| {
        let mut key = key(prefix, number);
        match kind {
            0 => key[0] = COUNTED_TABLE - 1,
            1 => key[0] = COUNTED_TABLE + 1,
            2 => key = vec![b's'],
            _ => {}
        }
        key
    })
}

/// Where a range begins or ends: a key, or something shorter or longer.
fn bound() -> impl Strategy<Value = Key> {
    (any_key(), 0..10_usize, 0..26_usize).prop_map(|(mut key, kind, length)| {
        match kind {
            0 => key.push(0),
            1 => key.extend([7, 9]),
            2 => key.truncate(length),
            3 => key.truncate(25),
            _ => {}
        }
        key
    })
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..300_usize, 1 => 1_000..4_010_usize, 1 => 3_990..9_000_usize]
}

fn step() -> impl Strategy<Value = Step> {
    let append =
        (0..3_usize, 0..NUMBERS, vec(length(), 1..40)).prop_map(|(prefix, from, lengths)| {
            let room = usize::try_from(NUMBERS - from).unwrap();
            Step::Append(prefix, from, lengths.into_iter().take(room).collect())
        });
    let put = proptest::collection::btree_map(any_key(), proptest::option::of(length()), 1..6);
    prop_oneof![6 => append, 6 => put.prop_map(Step::Put), 1 => Just(Step::Reopen)]
}

/// Two bounds and a limit.
fn range() -> impl Strategy<Value = (Key, Key, usize)> {
    (bound(), bound(), prop_oneof![1..4_usize, 1..100_usize])
}

struct Compared<P: Place> {
    place: P,
    store: Option<P::Store>,
    model: BTreeMap<Key, Vec<u8>>,
}

impl<P: Place> Compared<P> {
    fn store(&self) -> &P::Store {
        self.store.as_ref().unwrap()
    }

    fn take(&mut self, seed: usize, step: Step) {
        match step {
            Step::Append(prefix, from, lengths) => {
                let records: Vec<_> = (from..)
                    .zip(lengths)
                    .map(|(number, length)| (key(prefix, number), bytes(seed, length)))
                    .collect();
                self.store().append(&records).unwrap();
                self.model.extend(records);
            }
            Step::Put(puts) => {
                let value = |length: Option<usize>| length.map(|length| bytes(seed, length));
                let changes: Vec<_> = puts.into_iter().map(|(k, v)| (k, value(v))).collect();
                self.store().checkpoint(&changes, &mut no_pause).unwrap();
                for (key, value) in changes {
                    match value {
                        Some(value) => self.model.insert(key, value),
                        None => self.model.remove(&key),
                    };
                }
            }
            Step::Reopen => {
                self.place.close(self.store.take().unwrap());
                self.store = Some(self.place.open());
            }
        }
    }

    fn compare(&self, ranges: &[(Key, Key, usize)]) {
        let (store, model) = (self.store(), &self.model);
        let rows = |range: &mut dyn Iterator<Item = (&Key, &Vec<u8>)>, limit: usize| {
            let rows = range.take(limit).map(|(k, v)| (k.clone(), v.clone()));
            rows.collect::<Vec<_>>()
        };
        assert!(everything(store) == rows(&mut model.iter(), usize::MAX));
        for (a, b, limit) in ranges {
            let (from, to) = (a.min(b), a.max(b));
            let range = || model.range(from.clone()..to.clone());
            assert!(store.scan(from, to, *limit).unwrap() == rows(&mut range(), *limit));
            assert!(store.scan_back(from, to, *limit).unwrap() == rows(&mut range().rev(), *limit));
            for key in [from, to] {
                assert_eq!(store.get(key).unwrap().as_ref(), model.get(key));
            }
        }
        for number in 0..NUMBERS {
            for prefix in 0..PREFIXES.len() {
                let key = key(prefix, number);
                assert_eq!(store.get(&key).unwrap().as_ref(), model.get(&key));
            }
        }
    }
}

pub(super) fn random_writes_leave_what_a_map_has<P: Place>() {
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        ..Config::default()
    });
    let steps = vec((step(), vec(range(), 8)), 1..14);
    let outcome = runner.run(&steps, |steps| {
        let place = P::new();
        let mut compared = Compared {
            store: Some(place.open()),
            place,
            model: BTreeMap::new(),
        };
        for (seed, (step, ranges)) in steps.into_iter().enumerate() {
            compared.take(seed, step);
            compared.compare(&ranges);
        }
        let crashed = compared.place.crashed(compared.store());
        compared.store = Some(crashed.open());
        compared.compare(&[]);
        crashed.close(compared.store.take().unwrap());
        Ok(())
    });
    outcome.unwrap();
}
