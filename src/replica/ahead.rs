//! A clock that was far ahead and is right now.
//!
//! What a replica has made itself is never from the future to it, so that its ids rise though its
//! clock goes back a little. But after its clock was far ahead, all it would save for as long would
//! be held by the others (M16). So what is from the future now is held by itself too, its own and
//! whatever else it has applied: its state is made again from the journal without that, in a new
//! life, under a new origin, from the clock as it is. That is done when the replica is opened; one
//! that runs stops, and asks its driver to open it again, as for an end (`ends`).
//!
//! Or the clock was right, and is wrong now: then nothing of this must happen. Nobody can know. The
//! clock is believed if nothing that others have made is from the future by it, and something is
//! older; or if somebody says that it is right ([`Replica::repair_clock`]). If not, the replica goes
//! on above all that it has seen, and says so.
//!
//! What is held may be applied when its time comes; or a person has it saved again now (`repair`).
//! `docs/decisions/0010` says why.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::clock::Clock;
use super::ends::{self, Ends};
use super::fault::{self, Fault};
use super::journal::JournalReader;
use super::{Alarm, Remake, Replica, ReplicaConfig, STEP_BACK_MS, verify};
use crate::codec::{key, mark};
use crate::merge::{ReadError, State};
use crate::model::{OriginId, PublicKey, Sequence, Time};
use crate::storage::{Storage, StorageError};

/// A lead of so many milliseconds, and the allowed skew, is waited out: for that long the others
/// hold what is saved here.
const WAITED_OUT_MS: u64 = 60_000;
/// For how long the word counts that the clock is right, in milliseconds.
const WORD_MS: u64 = 3_600_000;

/// What the clock is worth with which a replica is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weighed {
    /// Nothing that was applied is far in the future by it. What is later than this is held.
    Usual(Time),
    /// It was far ahead, and is right: what is later than this is from the future.
    Right(Time),
    /// Something that was applied is far in the future by it, and it may be wrong. All that was applied
    /// is up to this.
    Doubtful(Time),
}

impl Weighed {
    /// What is later than this the replica has not reached in an earlier life.
    pub(super) fn reached(self) -> Time {
        match self {
            Self::Usual(time) | Self::Right(time) | Self::Doubtful(time) => time,
        }
    }
}

/// From when on a lead is not waited out, and that by which it is a lead.
pub(super) fn bounds(config: &ReplicaConfig, now: Time, word: bool) -> (Time, Time) {
    let limit = now.plus_millis(config.skew_max_ms);
    let patience = if word { STEP_BACK_MS } else { WAITED_OUT_MS };
    (limit, limit.plus_millis(patience))
}

/// The last number up to `most` whose time is below `time`; times rise.
pub(super) fn last_before(
    most: Sequence,
    time: Time,
    time_at: impl Fn(Sequence) -> Result<Time, StorageError>,
) -> Result<Sequence, StorageError> {
    if most == Sequence(0) || time_at(most)? < time {
        return Ok(most);
    }
    let (mut before, mut after) = (0, most.0);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        match time_at(Sequence(middle))? < time {
            true => before = middle,
            false => after = middle,
        }
    }
    Ok(Sequence(before))
}

/// Whether somebody said not long ago that the clock is right.
fn has_word(storage: &dyn Storage, now: Time) -> Result<bool, StorageError> {
    let bytes = storage.get(&key::clock_is_right())?;
    let Some(Ok(word)) = bytes.map(|bytes| mark::decode_clock(&bytes)) else {
        return Ok(false);
    };
    Ok(word < now.plus_millis(WORD_MS) && now < word.plus_millis(WORD_MS))
}

/// Whose an origin is and when it began, if the journal can tell.
fn beginning(
    reader: &JournalReader,
    origin: OriginId,
) -> Result<Option<(PublicKey, Time)>, StorageError> {
    match reader.change_set(origin, Sequence(1)) {
        Ok(Some(first)) => Ok(first.birth.map(|birth| (birth.key, first.id.time))),
        Ok(None) | Err(StorageError::Damaged(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is applied of each origin of a repository, and when it was made.
type Applied = BTreeMap<OriginId, Time>;

/// Whether the journal has something of an origin that is later than `late`, and not later than what
/// the clock had reached: so it was applied, or would have been.
fn was_reached(
    reader: &JournalReader,
    origin: OriginId,
    end: Option<Sequence>,
    (late, reached): (Time, Time),
) -> Result<bool, StorageError> {
    let time_at = |at| {
        let set = reader.change_set(origin, at)?;
        set.map(|set| set.id.time)
            .ok_or_else(|| lacking(origin, at))
    };
    let next = reader
        .last(origin)
        .map(|tip| end.map_or(tip, |end| end.min(tip)))
        .and_then(|tip| Ok((tip, last_before(tip, Time(late.0 + 1), time_at)?.next())));
    match next {
        Ok((tip, next)) if next > tip => Ok(false),
        Ok((_, next)) => Ok(time_at(next)? <= reached),
        // Nothing can be told by what can not be read.
        Err(StorageError::Damaged(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn lacking(origin: OriginId, at: Sequence) -> StorageError {
    StorageError::Damaged(format!("change set {at} of origin {origin} is missing"))
}

/// Whether the clock is believed, up to which an earlier one had reached a time. Of what others have
/// made only what was applied counts: the rest may be from somebody else's wrong clock.
fn is_believed(
    own: PublicKey,
    (limit, late): (Time, Time),
    reached: Time,
    repos: &[(JournalReader, Applied)],
) -> Result<bool, StorageError> {
    let mut has_older = false;
    for (reader, applied) in repos {
        for (origin, time) in applied {
            has_older |= *time <= limit;
            if *time > late
                && let Some((author, _)) = beginning(reader, *origin)?
                && author != own
            {
                return Ok(false);
            }
        }
    }
    for (reader, _) in repos {
        let ends = ends::recall(reader.storage(), reader.repo())?;
        for origin in reader.origins()? {
            let Some((author, began)) = beginning(reader, origin)? else {
                continue;
            };
            has_older |= began <= limit;
            let end = ends.get(&origin).copied();
            if author != own && was_reached(reader, origin, end, (late, reached))? {
                return Ok(false);
            }
        }
    }
    Ok(has_older)
}

/// Weighs the clock before a replica is opened on a store.
pub(super) fn weigh(
    config: &ReplicaConfig,
    own: PublicKey,
    storage: &Arc<dyn Storage>,
    states: &[Arc<State>],
    now: Time,
) -> Result<Weighed, ReadError> {
    let word = has_word(storage.as_ref(), now)?;
    let (limit, late) = bounds(config, now, word);
    let bytes = storage.get(&key::clock())?;
    let mut reached = bytes
        .and_then(|bytes| mark::decode_clock(&bytes).ok())
        .unwrap_or_default();
    let mut repos = Vec::new();
    for state in states {
        let heads = state.heads();
        let applied = heads.iter().map(|(origin, head)| (*origin, head.time));
        let applied: Applied = applied.collect();
        // What was held is applied without a commit of its own, so the bound on disk may be below it.
        reached = applied.values().copied().fold(reached, Time::max);
        repos.push((JournalReader::new(state.repo(), storage.clone()), applied));
    }
    if reached <= late {
        return Ok(Weighed::Usual(late));
    }
    if fault::on(Fault::FutureKept) {
        return Ok(Weighed::Doubtful(reached));
    }
    if word {
        return Ok(Weighed::Right(limit));
    }
    Ok(match is_believed(own, (limit, late), reached, &repos)? {
        true => Weighed::Right(limit),
        false => Weighed::Doubtful(reached),
    })
}

/// Makes a stored state again that has applied what is later than `limit`. Whether it had; then `state`
/// is not what is stored any more.
pub(super) fn give_up_future(
    storage: &Arc<dyn Storage>,
    state: &State,
    ends: &Ends,
    limit: Time,
) -> Result<bool, ReadError> {
    let (repo, heads) = (state.repo(), state.heads());
    if heads.values().all(|head| head.time <= limit) {
        return Ok(false);
    }
    let reader = JournalReader::new(repo, storage.clone());
    let mut cut = Ends::new();
    for (origin, head) in heads.iter().filter(|(_, head)| head.time > limit) {
        let last = last_before(head.sequence, Time(limit.0 + 1), |at| {
            let set = reader.change_set(*origin, at)?;
            set.map(|set| set.id.time)
                .ok_or_else(|| lacking(*origin, at))
        })?;
        cut.insert(*origin, last);
    }
    verify::make_again(repo, storage, &heads, ends, &cut)?;
    Ok(true)
}

impl Clock {
    /// As [`Clock::resume`], unless the replica has not reached that.
    pub(super) fn resume_reached(&mut self, time: Time, weighed: Weighed) {
        if time <= weighed.reached() {
            self.resume(time);
        }
    }
}

impl Replica {
    /// Looks whether the clock has turned out to have been far ahead.
    pub(super) fn check_lead(&mut self, now: Time) {
        let (limit, late) = bounds(&self.config, now, false);
        if self.clock.last() <= late || fault::on(Fault::FutureKept) {
            self.doubted = false;
            return;
        }
        if self.doubted || self.remaking.is_some() || self.failed.is_some() || self.closing {
            return;
        }
        match self.believes((limit, late)) {
            Ok(true) => self.stop_for_clock(now),
            Ok(false) => self.doubt(now),
            Err(error) => self.fail(error),
        }
    }

    /// Whether a clock with these [`bounds`] is believed.
    pub(super) fn believes(&self, bounds: (Time, Time)) -> Result<bool, StorageError> {
        let repos = self.repos.values().map(|repo| {
            let heads = repo.state.heads();
            let applied = heads.iter().map(|(origin, head)| (*origin, head.time));
            (repo.journal.reader().clone(), applied.collect())
        });
        let repos: Vec<_> = repos.collect();
        let own = self.identity.public();
        is_believed(own, bounds, self.clock.last(), &repos)
    }

    /// The clock is not believed.
    pub(super) fn doubt(&mut self, now: Time) {
        self.doubted = true;
        let behind_ms = self.lead_ms(now);
        self.alarm(Alarm::Behind { behind_ms });
    }

    /// How far the hybrid clock is above a wall clock, in milliseconds.
    pub(super) fn lead_ms(&self, now: Time) -> u64 {
        let last = self.clock.last().unix_millis();
        last.saturating_sub(now.unix_millis())
    }

    /// What has been taken so far is made durable, and then the replica stops to be opened again.
    pub(super) fn stop_for_clock(&mut self, now: Time) {
        let ahead_ms = self.lead_ms(now);
        self.remaking = Some(Remake::Ahead { ahead_ms });
        self.batch.remake = self.remaking;
    }
}
