//! Checkpoints: the state's changed records on their way to the store, behind the saves' backs.
//!
//! A checkpoint is taken when a commit begins, or while none is out and none is needed, and is put out
//! only when all that is merged in it is in the journal: the state on disk never runs ahead of that.

use super::output::{CheckpointToken, Output};
use super::{Replica, Repo};
use crate::merge::Checkpoint;
use crate::model::{RepoId, Time};

/// A checkpoint that is out.
pub(super) struct CheckpointOut {
    repo: RepoId,
    checkpoint: Checkpoint,
}

impl Replica {
    /// A checkpoint is in the store.
    ///
    /// # Panics
    /// If no checkpoint with this token is out.
    pub fn checkpointed(&mut self, now: Time, token: CheckpointToken) {
        self.advance_to(now);
        let out = self
            .checkpoints
            .remove(&token)
            .expect("a checkpoint with this token is out");
        let repo = self.repo_mut(out.repo);
        repo.state.checkpoint_done(out.checkpoint);
        repo.checkpointing = false;
        self.counters.checkpoints += 1;
        self.checkpoint_if_idle();
    }

    /// Takes the checkpoints that are due if nothing merged is missing in the journal.
    pub(super) fn checkpoint_if_idle(&mut self) {
        let idle = self.in_flight.is_none()
            && self.batch.is_empty()
            && self.failed.is_none()
            && self.repos.values().all(|repo| repo.holds.is_idle());
        if !idle {
            return;
        }
        for id in self.due_checkpoints() {
            if let Some(checkpoint) = self.repo(id).state.take_checkpoint() {
                self.put_checkpoint(id, checkpoint);
            }
        }
    }

    pub(super) fn put_checkpoint(&mut self, id: RepoId, mut checkpoint: Checkpoint) {
        let now = self.now;
        let repo = self.repo_mut(id);
        repo.checkpointing = true;
        repo.checkpointed_at = now;
        self.tokens += 1;
        let token = CheckpointToken(self.tokens);
        let changes = std::mem::take(&mut checkpoint.changes);
        let out = CheckpointOut {
            repo: id,
            checkpoint,
        };
        self.checkpoints.insert(token, out);
        self.put(Output::Checkpoint { token, changes });
    }

    pub(super) fn due_checkpoints(&self) -> Vec<RepoId> {
        self.repos
            .values()
            .filter(|repo| {
                self.checkpoint_due_of(repo)
                    .is_some_and(|at| at <= self.now)
            })
            .map(|repo| repo.id)
            .collect()
    }

    fn checkpoint_due_of(&self, repo: &Repo) -> Option<Time> {
        let dirty = repo.state.dirty_bytes();
        if repo.checkpointing || dirty == 0 || self.failed.is_some() {
            return None;
        }
        if self.closing || dirty > self.config.checkpoint_dirty_bytes {
            return Some(self.now);
        }
        Some(
            repo.checkpointed_at
                .plus_millis(self.config.checkpoint_interval_ms),
        )
    }

    /// When [`Replica::checkpoint_if_idle`] has something to do. While a commit is out it is
    /// called when that is through.
    pub(super) fn checkpoint_due(&self) -> Time {
        if self.in_flight.is_some() {
            return Time(u64::MAX);
        }
        self.repos
            .values()
            .filter_map(|repo| self.checkpoint_due_of(repo))
            .min()
            .unwrap_or(Time(u64::MAX))
    }
}
