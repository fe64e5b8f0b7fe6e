//! Packs: values that were appended in a row, in one of sled's entries.
//!
//! A page of sled's holds 16 entries, however short, and is written anew as a whole: 20 values of 150
//! bytes cost eight times as much by themselves as in one entry
//! (`docs/decisions/0014-the-journal-is-packed.md`). So values that come in one append, under keys of
//! [`COUNTED_TABLE`] whose numbers are in a row, stand together under the first one's key:
//!
//! ```text
//! 02 ‹length 2› ‹value› ‹length 2› ‹value› …
//! ```
//!
//! **A pack counts up to the next key** in the store: its values from there on are void. So a value in
//! the middle of one is replaced by writing first what comes after it, once more and under its own key,
//! and then the value; and it is removed by writing *nothing* (`03`) in its place. A crash between such
//! steps leaves what was there. A reader who has looked for the one before it was there, and for the other
//! after, would miss both; so writers count what they have parted, and readers read again if that has
//! changed meanwhile.

use super::engine::{Bytes, Engine};
use super::value::{self, CHUNK_BYTES, Stored};
use crate::storage::{COUNTED_KEY_BYTES, COUNTED_TABLE, Key, StorageError};

/// Longest pack, in bytes: as much as stands beside a key at all.
const PACK_BYTES: usize = CHUNK_BYTES;

/// Most values of a pack.
const VALUES_MAX: usize = 256;

const NUMBER_BYTES: usize = 8;
const PREFIX_BYTES: usize = COUNTED_KEY_BYTES - NUMBER_BYTES;
const LENGTH_BYTES: usize = 2;

/// The parts of a key that counts up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted<'a> {
    prefix: &'a [u8],
    number: u64,
}

impl<'a> Counted<'a> {
    fn parse(key: &'a [u8]) -> Option<Self> {
        let (prefix, number) = key.split_last_chunk::<NUMBER_BYTES>()?;
        let number = u64::from_be_bytes(*number);
        is_counted(key).then_some(Self { prefix, number })
    }

    /// So many keys further, if numbers go so far.
    fn plus(self, count: usize) -> Option<Self> {
        let number = self.number.checked_add(count as u64)?;
        Some(Self { number, ..self })
    }

    fn key(self) -> Key {
        [self.prefix, &self.number.to_be_bytes()].concat()
    }
}

/// Whether a key's value may be in a pack.
pub(super) fn is_counted(key: &[u8]) -> bool {
    key.len() == COUNTED_KEY_BYTES && key[0] == COUNTED_TABLE
}

/// Several values, and the key of the first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pack<'a> {
    first: Counted<'a>,
    values: Vec<&'a [u8]>,
}

impl<'a> Pack<'a> {
    /// What stands under a key, after the byte that says that it is a pack; nothing if it is none.
    pub(super) fn decode(key: &'a [u8], mut bytes: &'a [u8]) -> Option<Self> {
        let first = Counted::parse(key)?;
        let mut values = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
            let (value, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
            values.push(value);
            bytes = rest;
        }
        first.plus(values.len().checked_sub(1)?)?;
        (values.len() <= VALUES_MAX).then_some(Self { first, values })
    }

    /// The value of the key under which it stands.
    pub(super) fn first(&self) -> &'a [u8] {
        self.values[0]
    }

    /// The value of a key, if it is among them.
    pub(super) fn get(&self, key: &[u8]) -> Option<&'a [u8]> {
        let key = Counted::parse(key)?;
        if key.prefix != self.first.prefix {
            return None;
        }
        let index = key.number.checked_sub(self.first.number)?;
        self.values.get(usize::try_from(index).ok()?).copied()
    }

    /// Whether one of its keys is this one or above.
    pub(super) fn reaches(&self, key: &[u8]) -> bool {
        self.count_below(key) < self.values.len()
    }

    /// How many of its keys are below one.
    fn count_below(&self, key: &[u8]) -> usize {
        let prefix = self.first.prefix;
        let Some(rest) = key.strip_prefix(prefix) else {
            return if prefix < key { self.values.len() } else { 0 };
        };
        // A key that goes on after the number stands behind it.
        let end = u128::from(padded(rest)) + u128::from(rest.len() > NUMBER_BYTES);
        let count = end.saturating_sub(self.first.number.into());
        usize::try_from(count).map_or(self.values.len(), |count| count.min(self.values.len()))
    }

    fn nth(&self, index: usize) -> Counted<'a> {
        let nth = self.first.plus(index);
        nth.expect("decoding has looked whether numbers go so far")
    }

    /// The keys in `from..to`, ascending, with their values.
    pub(super) fn entries(
        &self,
        from: &[u8],
        to: &[u8],
    ) -> impl DoubleEndedIterator<Item = (Key, &'a [u8])> {
        let (from, to) = (self.count_below(from), self.count_below(to));
        (from..to.max(from)).map(|index| (self.nth(index).key(), self.values[index]))
    }
}

/// The pack that stands under a key, if it is one.
pub(super) fn read<'a>(key: &'a [u8], stored: &'a [u8]) -> Option<Pack<'a>> {
    match value::decode(key, stored)? {
        Stored::Pack(pack) => Some(pack),
        _ => None,
    }
}

/// The number in the first eight bytes, with zeros for those that are not there.
fn padded(bytes: &[u8]) -> u64 {
    let (mut number, shared) = ([0; NUMBER_BYTES], bytes.len().min(NUMBER_BYTES));
    number[..shared].copy_from_slice(&bytes[..shared]);
    u64::from_be_bytes(number)
}

/// The last entry below a bound that is near enough to have a value of a key from there on.
///
/// It is looked for no further than a pack reaches. Going back further would lead sled into the keys of
/// other prefixes, where 0.34.7 does not find its way back from some pages, and panics.
pub(super) fn before(
    engine: &Engine,
    bound: &[u8],
) -> Result<Option<(Bytes, Bytes)>, StorageError> {
    let Some((prefix, rest)) = bound.split_at_checked(PREFIX_BYTES) else {
        return Ok(None);
    };
    if prefix[0] != COUNTED_TABLE {
        return Ok(None);
    }
    let lowest = padded(rest).saturating_sub(VALUES_MAX as u64);
    let from = [prefix, &lowest.to_be_bytes()].concat();
    Ok(engine.range(&from, bound, 1, true)?.pop())
}

/// The entry that has the value of a key, if any has: its own, or else the last one below.
pub(super) fn holder(engine: &Engine, key: &[u8]) -> Result<Option<(Bytes, Bytes)>, StorageError> {
    before(engine, &[key, &[0]].concat())
}

/// Whether an entry is a pack that has a value of this key or of one above, or can not be read.
pub(super) fn may_reach(at: &[u8], stored: &[u8], key: &[u8]) -> bool {
    match value::decode(at, stored) {
        Some(Stored::Pack(pack)) => pack.reaches(key),
        Some(_) => false,
        None => stored.first() == Some(&value::PACK),
    }
}

/// How many of the first records make one entry: at least one.
pub(super) fn run(records: &[(Key, Vec<u8>)]) -> usize {
    let mut bytes = 1;
    let mut expected = records.first().and_then(|(key, _)| Counted::parse(key));
    let fitting = records.iter().take(VALUES_MAX).take_while(|(key, value)| {
        bytes += LENGTH_BYTES + value.len();
        let key = Counted::parse(key);
        let fits = key.is_some() && key == expected && bytes <= PACK_BYTES;
        expected = expected.and_then(|key| key.plus(1));
        fits
    });
    fitting.count().max(1)
}

/// What stands under the key of the first of several values in a row, or of one by itself.
pub(super) fn encode(values: &[&[u8]]) -> Vec<u8> {
    if let [value] = values {
        return value::encode_inline(value);
    }
    let bytes = values.iter().map(|value| LENGTH_BYTES + value.len());
    let mut pack = Vec::with_capacity(1 + bytes.sum::<usize>());
    pack.push(value::PACK);
    for value in values {
        let length = u16::try_from(value.len()).expect("a pack has at most 4,000 bytes");
        pack.extend(length.to_be_bytes());
        pack.extend_from_slice(value);
    }
    pack
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &[u8; 18] = b"J12345678901234567";

    fn key(number: u64) -> Key {
        [&PREFIX[..], &number.to_be_bytes()].concat()
    }

    fn records(numbers: &[u64], bytes: usize) -> Vec<(Key, Vec<u8>)> {
        let record = |number: &u64| (key(*number), vec![*number as u8; bytes]);
        numbers.iter().map(record).collect()
    }

    #[test]
    fn the_bytes_of_a_pack_are_these() {
        assert_eq!(encode(&[b"a", b"", b"bc"]), b"\x02\0\x01a\0\0\0\x02bc");
        assert_eq!(encode(&[b"a"]), b"\0a");
    }

    #[test]
    fn what_is_no_pack_is_not_taken_for_one() {
        let last = key(u64::MAX - 1);
        let pack = |key: &[u8], bytes: &[u8]| Pack::decode(key, bytes).is_some();
        assert!(pack(&last, b"\0\x01a\0\0"));
        // Numbers do not go so far, a length is cut off, a value is, there is none.
        assert!(!pack(&last, b"\0\x01a\0\0\0\0"));
        assert!(!pack(&last, b"\0\x01a\0"));
        assert!(!pack(&last, b"\0\x01a\0\x02b"));
        assert!(!pack(&last, b""));
        // The key does not count up.
        assert!(!pack(&last[1..], b"\0\x01a"));
        assert!(!pack(&[b"s", &last[1..]].concat(), b"\0\x01a"));
        // There are too many.
        let (first, most) = (key(0), vec![0; LENGTH_BYTES * VALUES_MAX]);
        assert!(pack(&first, &most));
        assert!(!pack(&first, &[&most[..], &[0, 0]].concat()));
    }

    #[test]
    fn a_run_ends_with_its_numbers_or_its_bytes() {
        assert_eq!(run(&records(&[5, 6, 7, 9], 10)), 3);
        assert_eq!(run(&records(&[5, 5, 6], 10)), 1);
        assert_eq!(run(&records(&[u64::MAX, 0], 10)), 1);
        assert_eq!(run(&records(&[1, 2, 3], 5_000)), 1);
        let many: Vec<u64> = (0..100).collect();
        let fitting = run(&records(&many, 150));
        assert_eq!(fitting, (PACK_BYTES - 1) / 152);
        let all = records(&many[..fitting], 150);
        let values: Vec<&[u8]> = all.iter().map(|(_, value)| &value[..]).collect();
        assert!(encode(&values).len() <= PACK_BYTES);
        assert_eq!(
            run(&records(&(0..1_000).collect::<Vec<_>>(), 0)),
            VALUES_MAX
        );
        let mut other = records(&[5, 6, 7], 10);
        other[1].0[1] = b'2';
        assert_eq!(run(&other), 1);
        other[0].0.truncate(4);
        assert_eq!(run(&other), 1);
    }

    #[test]
    fn keys_of_any_form_find_their_place() {
        let (first, bytes) = (key(256), encode(&[b"0", b"1", b"2"]));
        let pack = read(&first, &bytes).unwrap();
        let below = |key: &[u8]| pack.count_below(key);
        assert_eq!(
            [255, 256, 257, 258, 259].map(|n| below(&key(n))),
            [0, 0, 1, 2, 3]
        );
        // Longer than a key with its number, shorter, and of other prefixes.
        assert_eq!(below(&[&key(257)[..], &[0]].concat()), 2);
        assert_eq!(below(&[&key(u64::MAX)[..], &[0]].concat()), 3);
        assert_eq!(below(&key(257)[..25]), 0);
        assert_eq!(below(&key(0x0200)[..25]), 3);
        assert_eq!([&b"J"[..], b"J0z", b"J1", PREFIX].map(below), [0, 0, 0, 0]);
        assert_eq!([&b"J2"[..], b"K"].map(below), [3, 3]);
        assert_eq!([255, 256, 258, 259].map(|n| pack.get(&key(n))), {
            [None, Some(&b"0"[..]), Some(b"2"), None]
        });
        let numbers = |from: &[u8], to: &[u8]| -> Vec<u8> {
            let entries = pack.entries(from, to);
            entries.map(|(key, _)| key[25]).collect()
        };
        assert_eq!(numbers(b"J", b"K"), vec![0, 1, 2]);
        assert_eq!(numbers(&key(257), &key(258)), vec![1]);
        assert!(numbers(&key(258), &key(257)).is_empty());
    }
}
