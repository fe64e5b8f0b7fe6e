//! When a change set that has been taken may be applied (M2, M16, M19).
//!
//! Everything taken and not applied yet waits in the journal; in memory there is only, for each
//! origin with such, what the first of them waits for. When that comes, as many as are ready are
//! merged together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::clock::Clock;
use super::fault::{self, Fault};
use super::members::timestamp;
use super::output::{Alarm, ChangeSetInfo, CommitEvent};
use super::stream::{Reached, Stream};
use super::{Replica, Repo};
use crate::model::change_set::RULES_VERSION;
use crate::model::{ChangeSet, Dependency, OriginId, RepoId, Sequence, Time};
use crate::storage::StorageError;

/// Most change sets merged in one pass.
pub(super) const MERGE_CHANGE_SETS_MAX: usize = 65_536;
/// Bytes of operations, roughly, after which a pass is ended.
const MERGE_BYTES_MAX: usize = 64 << 20;
/// What an operation takes in memory, roughly.
const OPERATION_BYTES: usize = 160;

/// What the first waiting change set of an origin waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// The clock: it is from the future until this time (M16).
    Future(Time),
    /// This change set, which is not applied yet (M2).
    Dependency(Dependency),
    /// A program that knows these rules (M19).
    Rules(u16),
    /// Nothing: its id is not above all that it has seen (M2). What it has seen may yet turn out to
    /// be beyond an end.
    Invalid,
    /// The statement of its author that ends another origin of its own: its id is not above what it
    /// names of that (`again`).
    Statement,
}

/// What waits in a repository.
#[derive(Default)]
pub(super) struct Holds {
    /// Origins that may have something ready.
    queue: BTreeSet<OriginId>,
    /// Origins whose first waiting change set can not be applied.
    pub(super) blocked: BTreeMap<OriginId, Hold>,
    /// Origins of which it has been told that they are ahead of the clock.
    told_future: BTreeSet<OriginId>,
    /// Origins of which it has been told that they can not be applied any further.
    told_invalid: BTreeSet<OriginId>,
    /// By origin: who waits for it to go on.
    waiting_for: BTreeMap<OriginId, BTreeSet<OriginId>>,
}

impl Holds {
    /// Something of this origin has been taken, or may have become ready.
    pub(super) fn look_at(&mut self, origin: OriginId) {
        self.unblock(origin);
        self.queue.insert(origin);
    }

    /// Whether nothing can have become ready.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// When the first of those from the future are so no more.
    pub(super) fn future_due(&self) -> Option<Time> {
        self.blocked
            .values()
            .filter_map(|hold| match hold {
                Hold::Future(until) => Some(*until),
                _ => None,
            })
            .min()
    }

    /// What is missing before others can be applied.
    pub(super) fn dependencies(&self) -> impl Iterator<Item = Dependency> {
        self.blocked.values().filter_map(|hold| match hold {
            Hold::Dependency(on) => Some(*on),
            _ => None,
        })
    }

    fn block(&mut self, origin: OriginId, hold: Hold) {
        if let Hold::Dependency(on) = hold {
            self.waiting_for
                .entry(on.origin)
                .or_default()
                .insert(origin);
        }
        self.blocked.insert(origin, hold);
    }

    fn unblock(&mut self, origin: OriginId) {
        if let Some(Hold::Dependency(on)) = self.blocked.remove(&origin)
            && let Some(waiting) = self.waiting_for.get_mut(&on.origin)
        {
            waiting.remove(&origin);
            if waiting.is_empty() {
                self.waiting_for.remove(&on.origin);
            }
        }
    }

    /// An origin has ended: whoever waited for it, or was found wrong by it, is looked at again.
    pub(super) fn ended(&mut self, origin: OriginId) {
        let mut again: BTreeSet<_> = self.waiting_for.get(&origin).cloned().unwrap_or_default();
        let invalid = |(_, hold): &(_, &Hold)| matches!(hold, Hold::Invalid | Hold::Statement);
        again.extend(
            self.blocked
                .iter()
                .filter(invalid)
                .map(|(waiter, _)| *waiter),
        );
        again.insert(origin);
        again.into_iter().for_each(|waiter| self.look_at(waiter));
    }

    /// An origin has gone on: whoever waited for that is looked at again.
    pub(super) fn wake(&mut self, origin: OriginId, applied: Sequence) {
        if fault::on(Fault::HeldNeverWoken) {
            return;
        }
        let Some(waiting) = self.waiting_for.get(&origin) else {
            return;
        };
        let woken: Vec<_> = waiting
            .iter()
            .copied()
            .filter(|waiter| {
                matches!(self.blocked.get(waiter),
                    Some(Hold::Dependency(on)) if on.sequence <= applied)
            })
            .collect();
        woken.into_iter().for_each(|waiter| self.look_at(waiter));
    }
}

/// What is to become of the first waiting change set of an origin.
enum Verdict {
    Ready,
    Held(Hold),
    Invalid(&'static str),
}

impl Repo {
    fn judge(
        &self,
        clock: &Clock,
        now: Time,
        change_set: &ChangeSet,
    ) -> Result<Verdict, StorageError> {
        if change_set.rules != RULES_VERSION {
            return Ok(Verdict::Held(Hold::Rules(change_set.rules)));
        }
        let time = change_set.id.time;
        if clock.is_future(now, time) {
            return Ok(Verdict::Held(Hold::Future(clock.acceptable_from(time))));
        }
        for on in &change_set.dependencies {
            if fault::on(Fault::DependenciesUnchecked) {
                break;
            }
            let Some(stream) = self
                .streams
                .get(&on.origin)
                .filter(|stream| stream.applied.sequence >= on.sequence)
            else {
                return Ok(Verdict::Held(Hold::Dependency(*on)));
            };
            // Times rise along a stream, so the newest one usually settles it.
            if stream.applied.time < time {
                continue;
            }
            let dependency = match stream.time_of(on.sequence) {
                Some(time) => time,
                None => self.journal.get(on.origin, on.sequence)?.id.time,
            };
            if (dependency, on.origin) >= (time, change_set.id.origin) {
                let author = self.streams.get(&change_set.id.origin).map(|own| own.key);
                if author == Some(stream.key) {
                    return Ok(Verdict::Held(Hold::Statement));
                }
                return Ok(Verdict::Invalid("its id is not above all that it has seen"));
            }
        }
        Ok(Verdict::Ready)
    }

    /// Takes what is ready, each after all that it depends on, and counts it as applied.
    fn take_ready(&mut self, clock: &Clock, now: Time) -> Result<Ready, StorageError> {
        let mut ready = Ready::default();
        let mut bytes = 0;
        while let Some(origin) = self.holds.queue.pop_first() {
            while let Some(stream) = self.streams.get(&origin).filter(|s| s.waiting() > 0) {
                if ready.change_sets.len() == MERGE_CHANGE_SETS_MAX || bytes > MERGE_BYTES_MAX {
                    self.holds.queue.insert(origin);
                    return Ok(ready);
                }
                let next = stream.applied.sequence.next();
                let change_set = self.journal.get(origin, next)?;
                match self.judge(clock, now, &change_set)? {
                    Verdict::Ready => {
                        bytes += change_set.operations.len() * OPERATION_BYTES;
                        let stream = self.streams.get_mut(&origin).expect("it was just there");
                        stream.applied = Reached {
                            sequence: next,
                            time: change_set.id.time,
                        };
                        if stream.waiting() == 0 {
                            stream.future = (0, 0);
                            stream.full = false;
                        }
                        ready.change_sets.push(change_set);
                        self.holds.wake(origin, next);
                    }
                    Verdict::Held(hold) => {
                        self.holds.block(origin, hold);
                        let stream = self.streams.get_mut(&origin).expect("it was just there");
                        ready.newly_held += stream.count_held();
                        match hold {
                            Hold::Future(_) => ready.future.push((origin, change_set.id.time)),
                            Hold::Dependency(on) => ready.lacking.push((origin, on)),
                            Hold::Rules(_) | Hold::Invalid | Hold::Statement => {}
                        }
                        break;
                    }
                    Verdict::Invalid(reason) => {
                        self.holds.block(origin, Hold::Invalid);
                        if self.holds.told_invalid.insert(origin) {
                            ready.invalid.push((origin, next, reason));
                        }
                        break;
                    }
                }
            }
        }
        Ok(ready)
    }
}

impl Stream {
    /// How many of those that wait have not been counted as held before.
    fn count_held(&mut self) -> u64 {
        let counted = self.counted_held.max(self.applied.sequence);
        self.counted_held = self.tip.sequence;
        self.tip.sequence.0.saturating_sub(counted.0)
    }
}

/// What [`Repo::take_ready`] found.
#[derive(Default)]
struct Ready {
    change_sets: Vec<Arc<ChangeSet>>,
    newly_held: u64,
    future: Vec<(OriginId, Time)>,
    /// Who waits, and for what has not even come.
    lacking: Vec<(OriginId, Dependency)>,
    invalid: Vec<(OriginId, Sequence, &'static str)>,
}

impl Replica {
    /// Merges everything that is ready, `system` first, in one pass for each repository unless
    /// the bounds of a pass make it more.
    pub(super) fn merge_ready(&mut self) {
        for id in RepoId::ALL {
            while self.failed.is_none() && !self.repo(id).holds.is_idle() {
                if let Err(error) = self.merge_pass(id) {
                    self.fail(error);
                }
            }
        }
    }

    fn merge_pass(&mut self, id: RepoId) -> Result<(), StorageError> {
        let (clock, now) = (&self.clock, self.now);
        let repo = self
            .repos
            .get_mut(&id)
            .expect("a replica has every repository there is");
        let ready = repo.take_ready(clock, now)?;
        self.counters.held_ever += ready.newly_held;
        for (origin, sequence, reason) in ready.invalid {
            self.tell_invalid(id, origin, sequence, reason);
        }
        for (waiting, on) in ready.lacking {
            self.lack_dependency(id, waiting, on);
        }
        for (origin, time) in ready.future {
            self.tell_future(id, origin, time);
        }
        if ready.change_sets.is_empty() {
            return Ok(());
        }
        let repo = self.repo(id);
        let merged = repo
            .state
            .merge(&ready.change_sets, &repo.journal)
            .map_err(super::save::as_storage)?;
        self.counters.applied += ready.change_sets.len() as u64;
        let newest = ready.change_sets.iter().map(|set| set.id.time).max();
        if let Some(time) = newest {
            self.clock.observe(self.now, time);
        }
        let change_sets = ready
            .change_sets
            .iter()
            .map(|change_set| self.describe(change_set))
            .collect();
        if id == RepoId::SYSTEM {
            self.learn_members(&ready.change_sets);
        }
        let event = CommitEvent {
            repo: id,
            change_sets,
            changes: merged.changes,
            voided: merged.voided,
            snapshot: merged.snapshot,
            durable: true,
        };
        self.deliver(merged.version, event, None);
        Ok(())
    }

    /// What an event tells of a change set that has been taken.
    pub(super) fn describe(&self, change_set: &ChangeSet) -> ChangeSetInfo {
        let stream = &self.repo(change_set.repo).streams[&change_set.id.origin];
        ChangeSetInfo {
            id: change_set.id,
            sequence: change_set.sequence,
            author: stream.key,
            message: change_set.message.clone(),
            local: change_set.id.origin == self.origin,
        }
    }

    fn tell_future(&mut self, repo: RepoId, origin: OriginId, time: Time) {
        let author = self.repo(repo).streams[&origin].key;
        if !self.repo_mut(repo).holds.told_future.insert(origin) {
            return;
        }
        if author == self.identity.public() {
            let stream = &self.repo(repo).streams[&origin];
            let (count, until) = (stream.waiting(), timestamp(stream.tip.time));
            return self.alarm(Alarm::OwnHeld {
                repo,
                origin,
                count,
                until,
            });
        }
        let ahead_ms = time.unix_millis().saturating_sub(self.now.unix_millis());
        self.alarm(Alarm::Future {
            repo,
            origin,
            author,
            ahead_ms,
        });
    }

    /// Looks again at what waited for the clock.
    pub(super) fn wake_future(&mut self) {
        let now = self.now;
        for repo in self.repos.values_mut() {
            let due: Vec<_> = repo
                .holds
                .blocked
                .iter()
                .filter(|(_, hold)| matches!(hold, Hold::Future(until) if *until <= now))
                .map(|(origin, _)| *origin)
                .collect();
            due.into_iter()
                .for_each(|origin| repo.holds.look_at(origin));
        }
    }

    /// When [`Replica::wake_future`] has something to do.
    pub(super) fn future_due(&self) -> Time {
        self.repos
            .values()
            .filter_map(|repo| repo.holds.future_due())
            .min()
            .unwrap_or(Time(u64::MAX))
    }
}
