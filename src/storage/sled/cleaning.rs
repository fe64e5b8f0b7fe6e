//! How sled's log is kept small: what is due of its cleaning, and how that is done.
//!
//! sled writes into segments. What it writes anew is dead where it stood before; a segment in which
//! half is dead is put on a list, to be *cleaned*: its pages are moved, and it is free to be written
//! again. But 0.34.7 moves a page only when it *replaces* one, which is when one has been written to
//! ten times. A load of small writes puts pages on that list far faster, so the log grows to many
//! times what lives in it, nearly all of it waiting to be cleaned.
//!
//! So there is a note beside the entries, on a page of its own. To write it ten times costs little, and
//! has sled move one page. How often that is done follows from the size of the log against the bytes
//! that live in it: not at all up to [`GOAL`] times of them and some slack, and as often as needed
//! above. If the log does not grow although it is larger, there is room in it, and nothing is done
//! either: that would be for nothing.
//!
//! The bytes that live are counted as they are written, and the note says how many there are, to within
//! [`COUNT_BYTES`]; it is part of the log, and so as old as the rest after a crash. A store without it
//! is counted when it is opened. It decides how much is cleaned, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::engine::{Engine, NOTES_A_PAGE};
use crate::storage::{StorageError, Upkeep};

/// How large the log may be against what lives in it, in quarters. With all cleaned sled comes to 2.2
/// to 2.5, since it leaves alone a segment in which more than half lives.
const GOAL: u64 = 9;

/// From the goal to so much of it more, an eighth, cleaning becomes as much as it can be.
const RISE: u64 = 8;

/// Bytes written, entries counted as the barriers count them, for each page that is then cleaned.
const BYTES_A_PAGE: u64 = 1_536;

/// Bytes written, counted like that, between two looks at the log's length.
const LOOK_BYTES: u64 = 32 << 10;

/// Bytes written since the log grew last after which it has room.
const ROOMY_BYTES: u64 = 6 << 20;

/// Bytes written that may wait to be answered by cleaning until those who append have to do it.
const LATE_BYTES: u64 = 512 << 10;

/// Most bytes that wait to be answered: one large value asks for no more than some milliseconds.
const DUE_BYTES_MAX: u64 = 4 * LATE_BYTES;

/// By how much the count of what lives may change before it is noted.
const COUNT_BYTES: u64 = 64 << 10;

/// Entries that are counted at a time.
const COUNT_STEP: usize = 1024;

/// As much as can be is cleaned: of what is written, in thousandths.
const SHARE_MAX: u64 = 1_000;

/// How it stands, to be read while somebody writes.
#[derive(Debug, Default)]
pub(super) struct Told {
    live_bytes: AtomicU64,
    behind: AtomicBool,
}

impl Told {
    pub(super) fn upkeep(&self) -> Upkeep {
        Upkeep {
            live_bytes: self.live_bytes.load(Ordering::Relaxed),
            behind: self.behind.load(Ordering::Relaxed),
        }
    }
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Cleaning {
    slack_bytes: u64,
    /// Bytes of keys and values that live in the store.
    live_bytes: u64,
    /// What the store says of that, once it does.
    noted_bytes: Option<u64>,
    /// Tells each write to our page from the one before.
    turn: u8,
    /// How long the log was.
    log_bytes: u64,
    /// Written since it grew.
    since_growth_bytes: u64,
    /// Written since it was looked at.
    since_look_bytes: u64,
    /// How much of what is written is to be answered by cleaning, in thousandths.
    share: u64,
    /// What is to be answered.
    due_bytes: u64,
    told: Arc<Told>,
}

impl Cleaning {
    pub(super) fn new(slack_bytes: u64) -> Self {
        Self {
            slack_bytes,
            live_bytes: 0,
            noted_bytes: None,
            turn: 0,
            log_bytes: 0,
            since_growth_bytes: 0,
            since_look_bytes: 0,
            share: 0,
            due_bytes: 0,
            told: Arc::default(),
        }
    }

    /// Where it is told how it stands.
    pub(super) fn told(&self) -> Arc<Told> {
        self.told.clone()
    }

    fn tell(&self) {
        self.told
            .live_bytes
            .store(self.live_bytes, Ordering::Relaxed);
        self.told.behind.store(self.is_late(), Ordering::Relaxed);
    }

    /// Learns how many bytes live in a store: as it says, or by reading it.
    pub(super) fn count(&mut self, engine: &Engine) -> Result<(), StorageError> {
        self.count_all(engine)?;
        self.tell();
        Ok(())
    }

    fn count_all(&mut self, engine: &Engine) -> Result<(), StorageError> {
        self.log_bytes = engine.log_bytes()?;
        if let Some(note) = engine.note()?
            && let Some((turn, bytes)) = decode(&note)
        {
            self.turn = turn;
            self.live_bytes = bytes;
            self.noted_bytes = Some(bytes);
            return Ok(());
        }
        let mut from = Vec::new();
        loop {
            let entries = engine.range(&from, &[0xff; 2], COUNT_STEP, false)?;
            for (key, value) in &entries {
                self.replaced(key.len(), None, Some(value.len()));
            }
            match entries.last() {
                Some((last, _)) if entries.len() == COUNT_STEP => from = [last, &[0][..]].concat(),
                _ => return Ok(()),
            }
        }
    }

    #[cfg(test)]
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Counts a value that was written in the place of another one, or nothing in either place.
    pub(super) fn replaced(&mut self, key_bytes: usize, old: Option<usize>, new: Option<usize>) {
        let bytes = |value: Option<usize>| value.map_or(0, |value| (key_bytes + value) as u64);
        self.live_bytes = (self.live_bytes + bytes(new)).saturating_sub(bytes(old));
    }

    /// Takes in that so many bytes were written.
    pub(super) fn wrote(&mut self, engine: &Engine, bytes: usize) -> Result<(), StorageError> {
        let bytes = bytes as u64;
        self.since_look_bytes += bytes;
        self.since_growth_bytes = self.since_growth_bytes.saturating_add(bytes);
        let due = self.due_bytes + bytes * self.share / SHARE_MAX;
        self.due_bytes = due.min(DUE_BYTES_MAX);
        if self.since_look_bytes >= LOOK_BYTES {
            self.look(engine.log_bytes()?);
        }
        self.tell();
        let noted = self.noted_bytes.unwrap_or(0);
        if self.live_bytes.abs_diff(noted) >= COUNT_BYTES {
            self.put_note(engine)?;
        }
        Ok(())
    }

    fn look(&mut self, log_bytes: u64) {
        self.since_look_bytes = 0;
        if log_bytes > self.log_bytes {
            self.since_growth_bytes = 0;
        }
        self.log_bytes = log_bytes;
        let goal = self.live_bytes * GOAL / 4 + self.slack_bytes;
        let roomy = self.since_growth_bytes >= ROOMY_BYTES;
        if log_bytes <= goal || roomy {
            self.share = 0;
            self.due_bytes = 0;
        } else {
            let share = (log_bytes - goal) * SHARE_MAX * RISE / goal.max(1);
            self.share = share.min(SHARE_MAX);
        }
    }

    /// Whether a page is to be cleaned.
    pub(super) fn is_due(&self) -> bool {
        self.due_bytes >= BYTES_A_PAGE
    }

    /// Whether so much is due that it can not wait.
    pub(super) fn is_late(&self) -> bool {
        self.due_bytes >= LATE_BYTES
    }

    /// Has sled move a page of a segment that is to be cleaned, if there is one.
    pub(super) fn clean_page(&mut self, engine: &Engine) -> Result<(), StorageError> {
        self.due_bytes = self.due_bytes.saturating_sub(BYTES_A_PAGE);
        for _ in 0..NOTES_A_PAGE {
            self.put_note(engine)?;
        }
        self.tell();
        Ok(())
    }

    /// Notes the count as it is, if it was ever noted or is worth it.
    pub(super) fn note_at_end(&mut self, engine: &Engine) -> Result<(), StorageError> {
        match self.noted_bytes {
            Some(noted) if noted != self.live_bytes => self.put_note(engine),
            _ => Ok(()),
        }
    }

    fn put_note(&mut self, engine: &Engine) -> Result<(), StorageError> {
        self.turn = self.turn.wrapping_add(1);
        engine.put_note(encode(self.turn, self.live_bytes))?;
        self.noted_bytes = Some(self.live_bytes);
        Ok(())
    }
}

/// The note: a number that no two notes in a row have in common, since sled does not write what is
/// there already, and the bytes that live.
fn encode(turn: u8, live_bytes: u64) -> Vec<u8> {
    let mut note = vec![turn];
    note.extend(live_bytes.to_be_bytes());
    note
}

fn decode(note: &[u8]) -> Option<(u8, u64)> {
    let (turn, bytes) = note.split_first()?;
    Some((*turn, u64::from_be_bytes(bytes.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// One with a hundred MiB that live and one of slack, after a look at a log of so many MiB.
    fn after(log: u64) -> Cleaning {
        let mut cleaning = Cleaning::new(MIB);
        cleaning.live_bytes = 100 * MIB;
        cleaning.look(log * MIB);
        cleaning
    }

    #[test]
    fn the_larger_the_log_above_its_goal_the_more_is_cleaned() {
        let logs = [0, 225, 226, 227, 240, 255, 1_000].map(after);
        let shares = logs.map(|log| log.share);
        assert_eq!(shares[..3], [0, 0, 0]);
        assert!(shares.is_sorted() && shares[3] > 0);
        assert_eq!(shares[5..], [1_000, 1_000]);
    }

    #[test]
    fn a_log_that_does_not_grow_is_left_alone_until_it_does() {
        let mut cleaning = after(300);
        cleaning.due_bytes = 10 * BYTES_A_PAGE;
        assert!(cleaning.is_due());
        cleaning.since_growth_bytes = ROOMY_BYTES;
        cleaning.look(300 * MIB);
        assert!(!cleaning.is_due());
        assert_eq!(cleaning.share, 0);
        cleaning.look(308 * MIB);
        assert_eq!(cleaning.share, 1_000);
    }

    #[test]
    fn cleaning_is_behind_as_long_as_much_of_it_waits() {
        let mut cleaning = after(1_000);
        for (due_bytes, behind) in [(LATE_BYTES - 1, false), (LATE_BYTES, true), (0, false)] {
            cleaning.due_bytes = due_bytes;
            cleaning.tell();
            assert_eq!(cleaning.told.upkeep().behind, behind);
        }
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        assert_eq!(encode(7, 258), [7, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(decode(&encode(7, 258)), Some((7, 258)));
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[7, 1]), None);
    }
}
