//! The storage thread: makes commits durable, checkpoints in between, and opens the store anew
//! after it has failed.
//!
//! Commits go first: while a checkpoint runs, the commits that have come meanwhile are written
//! whenever the store calls back. What the replica wants next is computed elsewhere (`core`);
//! this thread only hands it the news, so that the disk is never idle behind a long merge.
//!
//! Whoever copies the state's records holds checkpoints back meanwhile ([`Disk::hold`]); commits go
//! on. Closing lets them through.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::clock;
use super::core::{Core, Input};
use super::directory::Directory;
use super::store::Store;
use crate::model::Time;
use crate::replica::{CheckpointToken, CommitToken};
use crate::storage::{Change, Key, Storage as _, StorageError};

/// First and longest pause between attempts to open a failed store.
const REOPEN_PAUSE_MIN: Duration = Duration::from_secs(1);
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Room that a full disk must have again before the store is opened anew, in bytes.
const ROOM_BYTES_MIN: u64 = 24 << 20;

/// Pause before a checkpoint for which there was no room is tried again.
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(2);

/// How long a checkpoint waits for a moment without commits. After that they are written amid it.
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(100);

/// Longest time for which a commit is held back that somebody waits for; half of what the last one took,
/// if that is less.
const GATHERING_MAX: Duration = Duration::from_millis(1);
/// How long one is held back that nobody waits for.
pub(super) const RELAXED_GATHERING: Duration = Duration::from_millis(3);

/// Journal records of one commit.
type Records = Vec<(Key, Vec<u8>)>;

/// What the storage thread has to do.
#[derive(Default)]
struct Jobs {
    commits: VecDeque<(CommitToken, Records)>,
    /// And since when it waits.
    checkpoints: VecDeque<(CheckpointToken, Vec<Change>, Instant)>,
    /// Only the newest counts.
    witness: Option<Vec<u8>>,
    /// The replica could not read: the store has to be opened anew.
    failed: Option<StorageError>,
    /// A commit is held back, and it is to be told when that has been long enough.
    gathering: Option<Instant>,
    /// How long one is that somebody waits for.
    gathering_time: Duration,
    /// A checkpoint is being written.
    checkpointing: bool,
    /// How many want none to be written.
    holds: usize,
    /// They are not asked any more.
    closing: bool,
    stop: bool,
}

impl Jobs {
    fn may_checkpoint(&self) -> bool {
        (self.holds == 0 || self.closing) && self.gathering.is_none()
    }

    /// The next checkpoint, if one may be written that has waited for so long.
    fn take_checkpoint(&mut self, patience: Duration) -> Option<Job> {
        let (.., since) = self.checkpoints.front()?;
        if !self.may_checkpoint() || since.elapsed() < patience {
            return None;
        }
        let (token, changes, _) = self.checkpoints.pop_front()?;
        self.checkpointing = true;
        Some(Job::Checkpoint(token, changes))
    }
}

/// The way to the storage thread.
#[derive(Default)]
pub(super) struct Disk {
    jobs: Mutex<Jobs>,
    bell: Condvar,
    /// Rung when a checkpoint is through.
    idle: Condvar,
}

enum Job {
    Commit(CommitToken, Records),
    Witness(Vec<u8>),
    Checkpoint(CheckpointToken, Vec<Change>),
    Recover(StorageError),
    /// The commit that was held back is not to wait any longer.
    Gathered,
    /// Nothing has come for as long as was said.
    Nothing,
    Stop,
}

impl Disk {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a commit. A replica has one out at a time, so the queue needs no bound.
    pub(super) fn commit(&self, token: CommitToken, records: Records) {
        let mut jobs = self.jobs();
        jobs.commits.push_back((token, records));
        jobs.gathering = None;
        drop(jobs);
        self.bell.notify_one();
    }

    /// Asks for [`Input::Gathered`] after some time, or else a part of the time that the last commit took,
    /// unless the next one comes before. False, and nothing comes, while the thread writes a checkpoint, or
    /// has one to write.
    pub(super) fn gather(&self, time: Option<Duration>) -> bool {
        let mut jobs = self.jobs();
        jobs.gathering = None;
        let checkpoints =
            jobs.checkpointing || (jobs.may_checkpoint() && !jobs.checkpoints.is_empty());
        if !checkpoints {
            jobs.gathering = Some(clock::instant() + time.unwrap_or(jobs.gathering_time));
            self.bell.notify_one();
        }
        !checkpoints
    }

    /// Asks for a checkpoint; a repository has one out at a time.
    pub(super) fn checkpoint(&self, token: CheckpointToken, changes: Vec<Change>) {
        let now = clock::instant();
        self.jobs().checkpoints.push_back((token, changes, now));
        self.bell.notify_one();
    }

    /// Asks to note a mark. One that is still waiting is replaced.
    pub(super) fn witness(&self, mark: Vec<u8>) {
        self.jobs().witness = Some(mark);
        self.bell.notify_one();
    }

    /// Tells that the store has failed when the replica read it.
    pub(super) fn fail(&self, error: StorageError) {
        self.jobs().failed.get_or_insert(error);
        self.bell.notify_one();
    }

    /// Ends the thread, after what it has been asked before.
    pub(super) fn stop(&self) {
        let mut jobs = self.jobs();
        jobs.stop = true;
        jobs.closing = true;
        drop(jobs);
        self.bell.notify_one();
        self.idle.notify_all();
    }

    /// From now on nobody holds checkpoints back.
    pub(super) fn set_closing(&self) {
        self.jobs().closing = true;
        self.bell.notify_one();
        self.idle.notify_all();
    }

    /// Whether [`Disk::set_closing`] was called, or the thread is told to stop.
    pub(super) fn is_closing(&self) -> bool {
        self.jobs().closing
    }

    /// Waits until no checkpoint is being written, and holds back those that come until
    /// [`Disk::release`]. False, and nothing is held, if the peer is closing.
    pub(super) fn hold(&self) -> bool {
        let mut jobs = self.jobs();
        jobs.holds += 1;
        while jobs.checkpointing && !jobs.closing {
            jobs = self.idle.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
        if jobs.closing {
            jobs.holds -= 1;
            return false;
        }
        true
    }

    /// Lets checkpoints be written again, unless somebody else holds them back.
    pub(super) fn release(&self) {
        self.jobs().holds -= 1;
        self.bell.notify_one();
    }

    /// Whether a checkpoint may be written now; then it is taken for begun.
    pub(super) fn begin_checkpoint(&self) -> bool {
        let mut jobs = self.jobs();
        jobs.checkpointing = jobs.may_checkpoint();
        jobs.checkpointing
    }

    fn end_checkpoint(&self) {
        self.jobs().checkpointing = false;
        self.idle.notify_all();
    }

    /// Drops what waits for a store that has failed.
    pub(super) fn clear(&self) {
        let mut jobs = self.jobs();
        jobs.commits.clear();
        jobs.gathering = None;
        jobs.checkpoints.clear();
        jobs.witness = None;
        jobs.failed = None;
    }

    /// The next job; [`Job::Nothing`] if none comes within `patience`.
    fn next(&self, patience: Option<Duration>) -> Job {
        let mut jobs = self.jobs();
        loop {
            if let Some(error) = jobs.failed.take() {
                return Job::Recover(error);
            }
            if let Some(job) = jobs.take_checkpoint(CHECKPOINT_PATIENCE) {
                return job;
            }
            if let Some((token, records)) = jobs.commits.pop_front() {
                return Job::Commit(token, records);
            }
            if let Some(mark) = jobs.witness.take() {
                return Job::Witness(mark);
            }
            if let Some(end) = jobs.gathering {
                let left = end.saturating_duration_since(clock::instant());
                if left.is_zero() {
                    jobs.gathering = None;
                    return Job::Gathered;
                }
                // What else there is to do can be done meanwhile.
                if patience == Some(Duration::ZERO) {
                    return Job::Nothing;
                }
                let wait = self.bell.wait_timeout(jobs, left);
                (jobs, _) = wait.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            if let Some(job) = jobs.take_checkpoint(Duration::ZERO) {
                return job;
            }
            if jobs.stop {
                return Job::Stop;
            }
            let Some(patience) = patience else {
                jobs = self.bell.wait(jobs).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (woken, timeout) = self
                .bell
                .wait_timeout(jobs, patience)
                .unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                return Job::Nothing;
            }
            jobs = woken;
        }
    }

    pub(super) fn next_commit(&self) -> Option<(CommitToken, Records)> {
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
    /// Works until it is told to stop, and closes the store. A panic on the way ends the peer.
    pub(super) fn run(mut self) {
        let core = self.core.clone();
        let work = AssertUnwindSafe(|| self.work());
        if std::panic::catch_unwind(work).is_err() {
            core.give_up();
        }
    }

    fn work(&mut self) {
        // A checkpoint for which there was no room, and when to try it again.
        let mut refused: Option<(CheckpointToken, Vec<Change>, Time)> = None;
        // The store has put off work that can be done while nothing else is to do.
        let mut untidy = false;
        loop {
            let again = |(_, _, due): &mut (_, _, Time)| {
                *due <= clock::now() && self.core.disk.begin_checkpoint()
            };
            let job = match refused.take_if(again) {
                Some((token, changes, _)) => Job::Checkpoint(token, changes),
                None => {
                    let patience = match untidy {
                        true => Some(Duration::ZERO),
                        false => refused.as_ref().map(|_| CHECKPOINT_PAUSE),
                    };
                    self.core.disk.next(patience)
                }
            };
            let tidies = matches!(job, Job::Nothing);
            let outcome = match job {
                Job::Commit(token, records) => {
                    let begun = clock::instant();
                    let outcome = self.commit(token, &records);
                    let half = begun.elapsed() / 2;
                    self.core.disk.jobs().gathering_time = half.min(GATHERING_MAX);
                    outcome
                }
                Job::Gathered => {
                    self.core.news(Input::Gathered);
                    Ok(())
                }
                Job::Witness(mark) => {
                    // The witness only reports losses. Without it we go on, and say so.
                    if let Err(error) = self.store.witness(&mark) {
                        tracing::warn!(%error, "the witness file could not be written");
                    }
                    Ok(())
                }
                Job::Checkpoint(token, changes) => {
                    let outcome = self.checkpoint(token, &changes);
                    // One that failed may be there by half, until the store is opened again.
                    if outcome.is_ok() {
                        self.core.disk.end_checkpoint();
                    }
                    outcome.map(|written| {
                        if !written {
                            tracing::warn!("no room for a checkpoint; it is tried again");
                            let pause = u64::try_from(CHECKPOINT_PAUSE.as_millis());
                            let due = clock::now().plus_millis(pause.unwrap_or(1_000));
                            refused = Some((token, changes, due));
                        }
                    })
                }
                Job::Recover(error) => Err(error),
                Job::Nothing => self.store.tidy().map(|more| untidy = more),
                Job::Stop => break,
            };
            untidy |= !tidies;
            if let Err(error) = outcome {
                refused = None;
                if !self.recover(error) {
                    break;
                }
            }
        }
        self.store.close();
    }

    fn commit(&self, token: CommitToken, records: &[(Key, Vec<u8>)]) -> Result<(), StorageError> {
        self.store.append(records)?;
        self.core.news(Input::Committed(token));
        Ok(())
    }

    /// Writes a checkpoint; false if the store refused it for lack of room, and goes on.
    fn checkpoint(&self, token: CheckpointToken, changes: &[Change]) -> Result<bool, StorageError> {
        let mut commits_failed = false;
        let outcome = self.store.checkpoint(changes, &mut || {
            while let Some((token, records)) = self.core.disk.next_commit() {
                self.commit(token, &records)
                    .inspect_err(|_| commits_failed = true)?;
            }
            Ok(())
        });
        match outcome {
            Ok(()) => {
                self.core.news(Input::Checkpointed(token));
                Ok(true)
            }
            Err(StorageError::Full(_)) if !commits_failed => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Tells the replica, and tries to open the store again until that works; false if it is told
    /// to stop meanwhile.
    fn recover(&mut self, error: StorageError) -> bool {
        tracing::warn!(%error, "the store failed; reads go on, saves are refused");
        let full = matches!(error, StorageError::Full(_)) || !self.has_room();
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
                    self.core.disk.end_checkpoint();
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

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENT: Option<Duration> = Some(Duration::ZERO);

    #[test]
    fn commits_go_before_a_checkpoint_until_it_has_waited_long_enough() {
        let disk = Disk::default();
        let commit = |number| disk.commit(CommitToken(number), Vec::new());
        disk.checkpoint(CheckpointToken(1), Vec::new());
        commit(1);
        assert!(matches!(disk.next(PATIENT), Job::Commit(CommitToken(1), _)));
        commit(2);
        disk.jobs().checkpoints[0].2 -= CHECKPOINT_PATIENCE;
        assert!(matches!(disk.next(PATIENT), Job::Checkpoint(..)));
        assert!(matches!(disk.next(PATIENT), Job::Commit(CommitToken(2), _)));
    }

    #[test]
    fn what_else_there_is_to_do_is_done_while_a_commit_gathers() {
        let disk = Disk::default();
        assert!(disk.gather(Some(Duration::from_secs(600))));
        assert!(matches!(disk.next(PATIENT), Job::Nothing));
        // Asked again it is another commit that gathers, and for this one that is long enough.
        assert!(disk.gather(Some(Duration::ZERO)));
        assert!(matches!(disk.next(PATIENT), Job::Gathered));
        assert!(matches!(disk.next(PATIENT), Job::Nothing));
    }
}
