//! Copying a replica's store into another one, which then has all it needs to go on from there: the
//! records of the journal, the notes, the records of the state.
//!
//! What the other store has already is not written again, so that a second copy costs what is new.
//! It is read, though: the journal from each origin's last seal on, the state as a whole. Nothing of
//! a journal is ever taken out: what the other store has and this one lacks counts there as well.
//!
//! Whether what is copied belongs together is the caller's business: no checkpoint may be written
//! meanwhile, and the journal is to be copied up to numbers that were taken at one moment after the
//! last checkpoint ([`Replica::journal_heads`]). What comes to the journal later is not copied, and
//! may come while it is.

use super::Replica;
use super::rows::{Row, Rows};
use crate::codec::{journal, key, state_key};
use crate::model::{OriginId, RepoId, Sequence};
use crate::storage::{Change, Storage, StorageError};

/// Bytes of keys and values, and how many of them, that are written at a time.
const PIECE_BYTES: usize = 1 << 20;
const PIECE_RECORDS: usize = 4_096;
/// Rows looked at between two questions whether to go on.
const ROWS_BETWEEN: u32 = 256;

/// Why a store was not copied. The other one has some of it, and a repetition goes on there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The store could not be read.
    #[error("the replica's own store: {0}")]
    From(StorageError),
    /// The other store could not be read or written.
    #[error("the backup's store: {0}")]
    To(StorageError),
    /// The journal has a gap or a damaged record.
    #[error(
        "change set {sequence} of origin {origin} in `{}` can not be backed up ({reason}); stop the \
         daemon and run `leveret verify`",
        repo.name()
    )]
    Journal {
        /// The repository.
        repo: RepoId,
        /// The origin.
        origin: OriginId,
        /// Its number.
        sequence: Sequence,
        /// What is wrong.
        reason: String,
    },
    /// The other store has another change set under the same number.
    #[error(
        "the backup has another change set {sequence} of origin {origin} in `{}`; back up into a \
         new directory",
        repo.name()
    )]
    Other {
        /// The repository.
        repo: RepoId,
        /// The origin.
        origin: OriginId,
        /// Its number.
        sequence: Sequence,
    },
    /// Whoever asked for it has said that it is to stop.
    #[error("it was stopped")]
    Stopped,
}

/// What has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Records of the journal: change sets.
    pub journal_records: u64,
    /// Records of the state, and notes.
    pub state_records: u64,
    /// Records of the state that were there and are not any more.
    pub removed_records: u64,
    /// Keys and values of all these, in bytes.
    pub bytes: u64,
}

/// Copies one store into another.
pub struct Copier<'a> {
    from: &'a dyn Storage,
    to: &'a dyn Storage,
    /// Asked now and then.
    go_on: &'a dyn Fn() -> bool,
    rows: u32,
    piece: Vec<Change>,
    piece_bytes: usize,
    copied: Copied,
}

impl Replica {
    /// How far the journal is on disk, for each origin that it has.
    pub fn journal_heads(&self) -> Vec<(RepoId, OriginId, Sequence)> {
        let streams = self.repos.values().flat_map(|repo| {
            let streams = repo.streams.iter();
            streams.map(|(origin, stream)| (repo.id, *origin, stream.stored))
        });
        streams
            .filter(|(_, _, stored)| *stored > Sequence(0))
            .collect()
    }
}

impl<'a> Copier<'a> {
    /// Copies from one store to the other, for as long as `go_on` says so. `copied` is what has been
    /// before, to be counted on.
    pub fn new(
        from: &'a dyn Storage,
        to: &'a dyn Storage,
        go_on: &'a dyn Fn() -> bool,
        copied: Copied,
    ) -> Self {
        Self {
            from,
            to,
            go_on,
            rows: 0,
            piece: Vec::new(),
            piece_bytes: 0,
            copied,
        }
    }

    /// What has been written so far.
    pub fn copied(&self) -> Copied {
        self.copied
    }

    /// Copies the journal up to these numbers. Durable when it returns.
    ///
    /// # Errors
    /// If a store fails, or the journal does not have all that, or something else than the copy.
    pub fn journal(&mut self, heads: &[(RepoId, OriginId, Sequence)]) -> Result<(), CopyError> {
        for (repo, origin, head) in heads {
            self.chain(*repo, *origin, *head)?;
        }
        self.flush()
    }

    /// Copies one origin's part of a repository's journal, from the copy's last seal on: what stands
    /// above that may have been sealed since, or have come anew.
    fn chain(&mut self, repo: RepoId, origin: OriginId, head: Sequence) -> Result<(), CopyError> {
        let lacking = |sequence: Sequence, reason: String| CopyError::Journal {
            repo,
            origin,
            sequence,
            reason,
        };
        let (first, last) = self.known(repo, origin)?;
        let mut at = Sequence(first.0 - 1);
        let from = key::journal(repo, origin, first);
        let mut rows = Rows::between(self.from, from, key::journal_end(repo, origin));
        while at < head {
            self.breathe()?;
            let next = at.next();
            let key = key::journal(repo, origin, next);
            rows.peek().map_err(CopyError::From)?;
            let Some(value) = rows.take(&key) else {
                return Err(lacking(next, "it is missing".into()));
            };
            let record =
                journal::decode(&value).map_err(|error| lacking(next, error.to_string()))?;
            at = next;
            if at <= last {
                let there = self.to.get(&key).map_err(CopyError::To)?;
                let there = there.unwrap_or_default();
                if there == value {
                    continue;
                }
                // What can not be read is written again.
                if journal::decode(&there).is_ok_and(|there| there.body != record.body) {
                    return Err(CopyError::Other {
                        repo,
                        origin,
                        sequence: at,
                    });
                }
            }
            self.copied.journal_records += 1;
            self.push((key, Some(value)))?;
        }
        Ok(())
    }

    /// What the copy has of an origin: where to go on, and the last number.
    fn known(&self, repo: RepoId, origin: OriginId) -> Result<(Sequence, Sequence), CopyError> {
        let from = key::journal(repo, origin, Sequence(0));
        let mut to = key::journal_end(repo, origin);
        let mut last = Sequence(0);
        loop {
            let row = self.to.scan_back(&from, &to, 1).map_err(CopyError::To)?;
            let Some((key, value)) = row.into_iter().next() else {
                return Ok((Sequence(1), last));
            };
            let Some((_, sequence)) = key::parse_journal(&key) else {
                let error = StorageError::Damaged("a malformed journal key".into());
                return Err(CopyError::To(error));
            };
            last = last.max(sequence);
            if journal::decode(&value).is_ok_and(|record| record.seal.is_some()) {
                return Ok((sequence, last));
            }
            to = key;
        }
    }

    /// Copies the notes: who is a member, how far the clock may go, where origins end. The copy
    /// keeps what it knows beyond. Durable when it returns.
    ///
    /// # Errors
    /// If a store fails.
    pub fn notes(&mut self) -> Result<(), CopyError> {
        let (from, to) = key::notes();
        let ours = Rows::between(self.from, from.clone(), to.clone());
        self.merge(ours, Rows::between(self.to, from, to), false)?;
        self.flush()
    }

    /// Makes the copy's state records those of the last checkpoint. Durable when it returns.
    ///
    /// # Errors
    /// If a store fails.
    pub fn state(&mut self) -> Result<(), CopyError> {
        for repo in RepoId::ALL {
            for table in state_key::TABLES {
                let ours = Rows::new(self.from, *table, repo);
                self.merge(ours, Rows::new(self.to, *table, repo), true)?;
            }
        }
        self.flush()
    }

    /// Makes rows of the copy what they are here; those that only the copy has go if `removes`.
    fn merge(
        &mut self,
        mut ours: Rows<'_>,
        mut theirs: Rows<'_>,
        removes: bool,
    ) -> Result<(), CopyError> {
        loop {
            self.breathe()?;
            let our = ours.peek().map_err(CopyError::From)?;
            let their = theirs.peek().map_err(CopyError::To)?;
            if our.is_some() && our == their {
                ours.next();
                theirs.next();
                continue;
            }
            let keys = [our, their].map(|row| row.map(|(key, _)| key));
            let Some(key) = keys.into_iter().flatten().min().cloned() else {
                return Ok(());
            };
            theirs.take(&key);
            match ours.take(&key) {
                Some(value) => {
                    self.copied.state_records += 1;
                    self.push((key, Some(value)))?;
                }
                None if removes => {
                    self.copied.removed_records += 1;
                    self.push((key, None))?;
                }
                None => {}
            }
        }
    }

    /// Now and then, looks whether to go on.
    fn breathe(&mut self) -> Result<(), CopyError> {
        self.rows += 1;
        if self.rows < ROWS_BETWEEN {
            return Ok(());
        }
        self.rows = 0;
        if (self.go_on)() {
            Ok(())
        } else {
            Err(CopyError::Stopped)
        }
    }

    fn push(&mut self, change: Change) -> Result<(), CopyError> {
        self.piece_bytes += change.0.len() + change.1.as_ref().map_or(0, Vec::len);
        self.piece.push(change);
        if self.piece_bytes >= PIECE_BYTES || self.piece.len() >= PIECE_RECORDS {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what has been gathered. A copy that is not finished is not read, so that it need not
    /// come to it whole; an append is the cheaper way.
    fn flush(&mut self) -> Result<(), CopyError> {
        let piece = std::mem::take(&mut self.piece);
        let mut puts: Vec<Row> = Vec::with_capacity(piece.len());
        let mut removals: Vec<Change> = Vec::new();
        for (key, value) in piece {
            match value {
                Some(value) => puts.push((key, value)),
                None => removals.push((key, None)),
            }
        }
        self.to.append(&puts).map_err(CopyError::To)?;
        let removed = self.to.checkpoint(&removals, &mut || Ok(()));
        removed.map_err(CopyError::To)?;
        self.copied.bytes += std::mem::take(&mut self.piece_bytes) as u64;
        Ok(())
    }
}
