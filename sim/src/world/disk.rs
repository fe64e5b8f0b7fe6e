//! The disk of one machine: a store, how long its barriers take, and what is wrong with it.

mod memory;
#[cfg(feature = "sled")]
mod sled;

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use leveret::storage::{Change, Key, Storage, StorageError};

use crate::chance::Chance;

/// Longest time between two barriers on a good disk, in microseconds.
const BARRIER_US_MAX: u64 = 3_000;
/// Shortest.
const BARRIER_US_MIN: u64 = 100;
/// Longest time that a checkpoint takes until it is durable, in microseconds. A small one takes no
/// longer than a commit, and can overtake one.
const CHECKPOINT_US_MAX: u64 = 50_000;

/// What the disks of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DiskKind {
    /// Pretended, in memory.
    #[default]
    Memory,
    /// Directories for temporary files, with leveret's store on sled. Only with the feature `sled`.
    Sled,
}

impl DiskKind {
    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sled => "sled",
        }
    }
}

impl fmt::Display for DiskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DiskKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "memory" => Ok(Self::Memory),
            "sled" if cfg!(feature = "sled") => Ok(Self::Sled),
            "sled" => Err("this program was built without the feature sled".to_owned()),
            _ => Err(format!("no disk is called {text}; there are memory, sled")),
        }
    }
}

/// What a disk is made of.
trait Medium {
    /// The store on it, as a replica reads it.
    fn storage(&self) -> Arc<dyn Storage>;

    /// What a copy of the directory, taken now, would hold.
    fn copy(&self) -> Box<dyn Medium>;

    /// Writes the first `kept` of some records, before it is crashed.
    fn tear(&mut self, records: &[(Key, Vec<u8>)], kept: usize);

    /// Ends the life of whatever used it, without its knowing.
    fn crash(&mut self);

    /// Ends the life of whatever used it in good order.
    fn stop(&mut self);

    /// Keeps nothing that is written from now on, for as long as it is set.
    fn set_lying(&mut self, lying: bool);
}

/// A machine's disk.
pub struct Disk {
    medium: Box<dyn Medium>,
    /// How many times slower than usual its barriers are.
    slow: u64,
    full: bool,
    /// Whether it answers barriers that it does not keep.
    lying: bool,
    /// Whether anything was written since it began to lie.
    unkept: Cell<bool>,
}

impl Disk {
    /// An empty one.
    ///
    /// # Panics
    /// If it is to be on sled, and there is no room for temporary files, or no feature `sled`.
    pub fn new(kind: DiskKind) -> Self {
        Self::of(match kind {
            DiskKind::Memory => Box::<memory::MemoryDisk>::default(),
            #[cfg(feature = "sled")]
            DiskKind::Sled => Box::<sled::SledDisk>::default(),
            #[cfg(not(feature = "sled"))]
            DiskKind::Sled => panic!("this program was built without the feature sled"),
        })
    }

    fn of(medium: Box<dyn Medium>) -> Self {
        Self {
            medium,
            slow: 1,
            full: false,
            lying: false,
            unkept: Cell::new(false),
        }
    }

    /// The store, as a replica reads it.
    pub fn storage(&self) -> Arc<dyn Storage> {
        self.medium.storage()
    }

    /// What a copy of the directory, taken now, would hold.
    pub fn copy(&self) -> Self {
        Self::of(self.medium.copy())
    }

    /// How long the next commit takes, in microseconds.
    pub fn commit_us(&self, chance: &mut Chance) -> u64 {
        chance.within(BARRIER_US_MIN, BARRIER_US_MAX) * self.slow
    }

    /// How long the next checkpoint takes, in microseconds.
    pub fn checkpoint_us(&self, chance: &mut Chance) -> u64 {
        chance.spread(BARRIER_US_MIN, CHECKPOINT_US_MAX) * self.slow
    }

    /// Makes journal records durable.
    ///
    /// # Errors
    /// If it is full, or was crashed.
    pub fn append(&self, records: &[(Key, Vec<u8>)]) -> Result<(), StorageError> {
        self.has_room()?;
        self.unkept.set(true);
        self.medium.storage().append(records)
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// As [`Disk::append`].
    pub fn checkpoint(&self, changes: &[Change]) -> Result<(), StorageError> {
        self.has_room()?;
        self.unkept.set(true);
        self.medium.storage().checkpoint(changes, &mut || Ok(()))
    }

    /// Notes a witness mark.
    ///
    /// # Errors
    /// If it can not be written.
    pub fn witness(&self, mark: &[u8]) -> Result<(), StorageError> {
        self.medium.storage().witness(mark)
    }

    fn has_room(&self) -> Result<(), StorageError> {
        match self.full {
            true => Err(StorageError::Full("there is no room".to_owned())),
            false => Ok(()),
        }
    }

    /// Ends the life of whatever used it, amid writing these records: what of them is there
    /// afterwards is the first `kept`.
    pub fn tear(&mut self, records: &[(Key, Vec<u8>)], kept: usize) {
        if !self.full {
            self.medium.tear(records, kept);
        }
    }

    /// Ends the life of whatever used it, amid this checkpoint: by the contract of the store all of
    /// it is there afterwards, or nothing.
    pub fn tear_checkpoint(&mut self, changes: &[Change], kept: bool) {
        if kept {
            // What it answers nobody hears any more.
            let _ = self.checkpoint(changes);
        }
    }

    /// Whether a crash now would take back something that it said it had kept.
    pub fn holds_back(&self) -> bool {
        self.lying && self.unkept.get()
    }

    /// Ends the life of whatever used it: what the next one finds is what barriers covered.
    pub fn crash(&mut self) {
        self.medium.crash();
        self.lying = false;
    }

    /// Ends the life of whatever used it in good order: everything is there.
    pub fn stop(&mut self) {
        self.medium.stop();
    }

    /// Puts a copy that was taken earlier in its place.
    pub fn restore(&mut self, copy: &Self) {
        self.medium = copy.medium.copy();
        self.lying = false;
    }

    /// Makes it full, or gives it room again.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// Whether it is full.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Makes its barriers take so many times longer than usual.
    pub fn set_slow(&mut self, times: u64) {
        self.slow = times.max(1);
    }

    /// Whether its barriers take longer than usual.
    pub fn is_slow(&self) -> bool {
        self.slow > 1
    }

    /// Lets it answer barriers that it does not keep, until it is crashed or told otherwise.
    pub fn set_lying(&mut self, lying: bool) {
        if lying && !self.lying {
            self.unkept.set(false);
        }
        self.lying = lying;
        self.medium.set_lying(lying);
    }

    /// Whether it lies.
    pub fn is_lying(&self) -> bool {
        self.lying
    }
}
