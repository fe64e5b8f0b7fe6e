//! The storage thread: makes commits durable, checkpoints in between, and opens the store anew
//! after it has failed.
//!
//! Commits go first: while a checkpoint runs, the commits that have come meanwhile are written
//! whenever the store calls back. What the replica wants next is computed elsewhere (`core`);
//! this thread only hands it the news, so that the disk is never idle behind a long merge.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::core::{Core, Input};
use super::directory::Directory;
use super::store::Store;
use crate::replica::{CheckpointToken, CommitToken};
use crate::storage::{Change, Key, Storage as _, StorageError};

/// First and longest pause between attempts to open a failed store.
const REOPEN_PAUSE_MIN: Duration = Duration::from_secs(1);
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Room that a full disk must have again before the store is opened anew, in bytes.
const ROOM_BYTES_MIN: u64 = 24 << 20;

/// Journal records of one commit.
type Records = Vec<(Key, Vec<u8>)>;

/// What the storage thread has to do.
#[derive(Default)]
struct Jobs {
    commits: VecDeque<(CommitToken, Records)>,
    checkpoints: VecDeque<(CheckpointToken, Vec<Change>)>,
    /// Only the newest counts.
    witness: Option<Vec<u8>>,
    stop: bool,
}

/// The way to the storage thread.
#[derive(Default)]
pub(super) struct Disk {
    jobs: Mutex<Jobs>,
    bell: Condvar,
}

enum Job {
    Commit(CommitToken, Records),
    Witness(Vec<u8>),
    Checkpoint(CheckpointToken, Vec<Change>),
    Stop,
}

impl Disk {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a commit. A replica has one out at a time, so the queue needs no bound.
    pub(super) fn commit(&self, token: CommitToken, records: Records) {
        self.jobs().commits.push_back((token, records));
        self.bell.notify_one();
    }

    /// Asks for a checkpoint; a repository has one out at a time.
    pub(super) fn checkpoint(&self, token: CheckpointToken, changes: Vec<Change>) {
        self.jobs().checkpoints.push_back((token, changes));
        self.bell.notify_one();
    }

    /// Asks to note a mark. One that is still waiting is replaced.
    pub(super) fn witness(&self, mark: Vec<u8>) {
        self.jobs().witness = Some(mark);
        self.bell.notify_one();
    }

    /// Ends the thread, after what it has been asked before.
    pub(super) fn stop(&self) {
        self.jobs().stop = true;
        self.bell.notify_one();
    }

    /// Drops what waits for a store that has failed.
    pub(super) fn clear(&self) {
        let mut jobs = self.jobs();
        jobs.commits.clear();
        jobs.checkpoints.clear();
        jobs.witness = None;
    }

    fn next(&self) -> Job {
        let mut jobs = self.jobs();
        loop {
            if let Some((token, records)) = jobs.commits.pop_front() {
                return Job::Commit(token, records);
            }
            if let Some(mark) = jobs.witness.take() {
                return Job::Witness(mark);
            }
            if let Some((token, changes)) = jobs.checkpoints.pop_front() {
                return Job::Checkpoint(token, changes);
            }
            if jobs.stop {
                return Job::Stop;
            }
            jobs = self.bell.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn next_commit(&self) -> Option<(CommitToken, Records)> {
        self.jobs().commits.pop_front()
    }

    /// Waits, at most so long; true if it is time to stop.
    fn pause(&self, time: Duration) -> bool {
        let jobs = self.jobs();
        if jobs.stop {
            return true;
        }
        self.bell
            .wait_timeout_while(jobs, time, |jobs| !jobs.stop)
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .stop
    }
}

/// The storage thread's own side.
pub(super) struct DiskThread {
    pub(super) core: Arc<Core>,
    pub(super) store: Arc<Store>,
    /// Held, and with it its lock, as long as the store is open.
    pub(super) directory: Directory,
}

impl DiskThread {
    /// Works until it is told to stop, and closes the store.
    pub(super) fn run(mut self) {
        loop {
            let outcome = match self.core.disk.next() {
                Job::Commit(token, records) => self.commit(token, &records),
                Job::Witness(mark) => {
                    // The witness only reports losses. Without it we go on, and say so.
                    if let Err(error) = self.store.witness(&mark) {
                        tracing::warn!(%error, "the witness file could not be written");
                    }
                    Ok(())
                }
                Job::Checkpoint(token, changes) => self.checkpoint(token, &changes),
                Job::Stop => break,
            };
            if let Err(error) = outcome
                && !self.recover(error)
            {
                break;
            }
        }
        self.store.close();
    }

    fn commit(&self, token: CommitToken, records: &[(Key, Vec<u8>)]) -> Result<(), StorageError> {
        self.store.append(records)?;
        self.core.news(Input::Committed(token));
        Ok(())
    }

    fn checkpoint(&self, token: CheckpointToken, changes: &[Change]) -> Result<(), StorageError> {
        self.store.checkpoint(changes, &mut || {
            while let Some((token, records)) = self.core.disk.next_commit() {
                self.commit(token, &records)?;
            }
            Ok(())
        })?;
        self.core.news(Input::Checkpointed(token));
        Ok(())
    }

    /// Tells the replica, and tries to open the store again until that works; false if it is told
    /// to stop meanwhile.
    fn recover(&mut self, error: StorageError) -> bool {
        tracing::warn!(%error, "the store failed; reads go on, saves are refused");
        let full = matches!(error, StorageError::Full(_));
        self.core.news(Input::StorageFailed(error));
        let mut pause = REOPEN_PAUSE_MIN;
        loop {
            if self.core.disk.pause(pause) {
                return false;
            }
            // What is open still answers reads: on a full disk it is kept until there is room.
            if full && !self.has_room() {
                continue;
            }
            self.store.close();
            match self.core.reopen() {
                Ok(store) => {
                    self.store = store;
                    tracing::info!("the store is open again; saves are taken");
                    return true;
                }
                Err(error) => {
                    pause = (pause * 2).min(REOPEN_PAUSE_MAX);
                    tracing::warn!(%error, "the store could not be opened again");
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        match rustix::fs::statvfs(self.directory.path()) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize) >= ROOM_BYTES_MIN,
            Err(_) => true,
        }
    }
}
