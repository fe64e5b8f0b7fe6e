//! Reading entries in a row, those in packs one by one.

use super::engine::Bytes;
use super::pack::{self, Pack};
use super::store::Store;
use crate::storage::{COUNTED_TABLE, Key, StorageError, TABLE_END};

/// Entries that are read from sled at a time, at most.
const STEP_MAX: usize = 1024;
/// How many keys a pack is thought to have, where it matters how much is read in vain.
const PACKED: usize = 8;

/// What has been found of a range.
struct Found<'a> {
    from: &'a [u8],
    to: &'a [u8],
    limit: usize,
    entries: Vec<(Key, Vec<u8>)>,
    /// Whether there were packs in what was read last.
    packed: bool,
}

impl Found<'_> {
    fn room(&self) -> usize {
        self.limit - self.entries.len()
    }

    /// How many entries are to be read of sled next: two at least, so that a pack has a next one.
    fn step(&self) -> usize {
        let packed = if self.packed { PACKED } else { 1 };
        (self.room() / packed).clamp(2, STEP_MAX)
    }

    fn take(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        // What held a pack when it was looked for may hold something else by now.
        if let Some(value) = value
            && key >= self.from
        {
            self.entries.push((key.to_vec(), value));
        }
    }

    /// Takes what a pack has before `end`.
    fn take_pack(&mut self, pack: &Pack<'_>, end: &[u8], back: bool) {
        let entries = pack.entries(self.from, self.to.min(end));
        let entries = entries.map(|(key, value)| (key, value.to_vec()));
        let room = self.room();
        self.packed = true;
        if back {
            self.entries.extend(entries.rev().take(room));
        } else {
            self.entries.extend(entries.take(room));
        }
    }
}

impl Store {
    /// The first `limit` entries of `from..to`, or the last ones, last first.
    pub(super) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        back: bool,
    ) -> Result<Vec<(Key, Vec<u8>)>, StorageError> {
        let to = to.min(&[TABLE_END]);
        if from >= to {
            return Ok(Vec::new());
        }
        self.unparted(|| {
            loop {
                let start = self.start(from)?;
                let entries = self.scan_from(&start, from, to, limit, back)?;
                // What was appended meanwhile may begin before `from`, and go on behind what was read.
                if self.start(from)? == start {
                    return Ok(entries);
                }
            }
        })
    }

    fn scan_from(
        &self,
        start: &[u8],
        from: &[u8],
        to: &[u8],
        limit: usize,
        back: bool,
    ) -> Result<Vec<(Key, Vec<u8>)>, StorageError> {
        let mut found = Found {
            from,
            to,
            limit,
            entries: Vec::new(),
            packed: from.first() == Some(&COUNTED_TABLE),
        };
        let (mut low, mut high) = (start.to_vec(), to.to_vec());
        while found.room() > 0 {
            let step = found.step();
            let range = self.engine.range(&low, &high, step, back)?;
            let is_last = range.len() < step;
            found.packed = false;
            if back {
                self.take_back(&mut found, &range, &high)?;
            } else {
                self.take_forward(&mut found, &range, is_last)?;
            }
            let Some((last, stored)) = range.last().filter(|_| !is_last) else {
                break;
            };
            if back {
                high = last.to_vec();
            } else if pack::read(last, stored).is_some() {
                low = last.to_vec();
            } else {
                low = [last, &[0][..]].concat();
            }
        }
        Ok(found.entries)
    }

    /// Takes entries in ascending order, but for a pack at the end of which it is not known what comes
    /// next.
    fn take_forward(
        &self,
        found: &mut Found<'_>,
        range: &[(Bytes, Bytes)],
        is_last: bool,
    ) -> Result<(), StorageError> {
        for (index, (key, stored)) in range.iter().enumerate() {
            if found.room() == 0 {
                break;
            }
            let Some(pack) = pack::read(key, stored) else {
                // What was removed meanwhile is not counted.
                found.take(key, self.resolve(key, stored.clone())?);
                continue;
            };
            match range.get(index + 1) {
                Some((next, _)) => found.take_pack(&pack, next, false),
                None if is_last => found.take_pack(&pack, found.to, false),
                None => {}
            }
        }
        Ok(())
    }

    /// Takes entries in descending order; `end` is the key after the first of them.
    fn take_back<'a>(
        &self,
        found: &mut Found<'_>,
        range: &'a [(Bytes, Bytes)],
        mut end: &'a [u8],
    ) -> Result<(), StorageError> {
        for (key, stored) in range {
            if found.room() == 0 {
                break;
            }
            match pack::read(key, stored) {
                Some(pack) => found.take_pack(&pack, end, true),
                None => found.take(key, self.resolve(key, stored.clone())?),
            }
            end = key;
        }
        Ok(())
    }

    /// Where the entries begin that have to do with keys from `from` on.
    fn start(&self, from: &[u8]) -> Result<Key, StorageError> {
        let before = pack::before(&self.engine, from)?;
        let reaching = before.filter(|(at, stored)| pack::may_reach(at, stored, from));
        Ok(reaching.map_or_else(|| from.to_vec(), |(at, _)| at.to_vec()))
    }
}
