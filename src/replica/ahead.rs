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
//! What is held may be applied when its time comes; or `repair_clock` closes the origins (`closing`)
//! and saves it again now (`again`). `docs/decisions/0010` says why.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::clock::Clock;
use super::ends::{self, Ends};
use super::fault::{self, Fault};
use super::journal::JournalReader;
use super::ready::Hold;
use super::{Alarm, Remake, Replica, ReplicaConfig, STEP_BACK_MS, verify};
use crate::codec::closing::{CLOSED_MAX, Closed, Closing};
use crate::codec::journal::Seal;
use crate::codec::{key, mark};
use crate::merge::{ReadError, State};
use crate::model::{OriginId, PublicKey, RepoId, Sequence, Time};
use crate::storage::{Storage, StorageError};

/// A lead of so many milliseconds, and the allowed skew, is waited out: for that long the others
/// hold what is saved here.
const WAITED_OUT_MS: u64 = 60_000;
/// A clock that shows less, the beginning of 2020 in milliseconds, has not been set: a machine without a
/// battery begins in 1970.
const OLDEST_MS: u64 = 1_577_836_800_000;
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

/// An origin that was closed, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedOrigin {
    /// The repository.
    pub repo: RepoId,
    /// The origin.
    pub origin: OriginId,
    /// The last number that counts.
    pub last: Sequence,
    /// The last number there is. Those after `last` are saved again.
    pub tip: Sequence,
    /// Under which origin.
    pub again: OriginId,
}

/// How far a repair is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The replica is to be opened again first. To be asked once more after that.
    Reopening,
    /// Origins are closed, and what they had is being saved again. To be asked once more.
    Working(Vec<ClosedOrigin>),
    /// Nothing of this replica's own is held since it is from the future.
    Done,
}

/// Why a clock was not repaired. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// No other member could say whether this has been done before.
    #[error(
        "no other replica is connected: if this directory is an older copy, the saves may have been \
         repaired before, and would come twice; connect to one, or say that it is alone"
    )]
    Alone,
    /// Others have more of what is to be saved again.
    #[error(
        "others have more of this replica's own saves than it has itself; try again in a moment"
    )]
    Behind,
    /// The clock shows a time before there was such a thing as a cluster.
    #[error("the clock of this machine has not been set: it shows a time before 2020")]
    Unset,
    /// The replica is being closed.
    #[error("the peer is closing")]
    Closing,
    /// The clock has come to the end of its range.
    #[error("the clock of this machine is at the end of time; set it right")]
    Clock,
    /// The store has failed, or could not be read.
    #[error("nothing can be saved since the store failed: {0}")]
    Storage(#[from] StorageError),
}

/// From when on a lead is not waited out, and that by which it is a lead.
fn bounds(config: &ReplicaConfig, now: Time, word: bool) -> (Time, Time) {
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
    now: Time,
) -> Result<Weighed, ReadError> {
    let word = has_word(storage.as_ref(), now)?;
    let (limit, late) = bounds(config, now, word);
    let bytes = storage.get(&key::clock())?;
    let mut reached = bytes
        .and_then(|bytes| mark::decode_clock(&bytes).ok())
        .unwrap_or_default();
    let mut repos = Vec::new();
    for id in RepoId::ALL {
        let heads = State::open(id, storage.clone(), config.cache_bytes)?.heads();
        let applied = heads.iter().map(|(origin, head)| (*origin, head.time));
        let applied: Applied = applied.collect();
        // What was held is applied without a commit of its own, so the bound on disk may be below it.
        reached = applied.values().copied().fold(reached, Time::max);
        repos.push((JournalReader::new(id, storage.clone()), applied));
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

/// Makes a stored state again that has applied what is later than `limit`.
pub(super) fn give_up_future(
    repo: RepoId,
    storage: &Arc<dyn Storage>,
    cache_bytes: usize,
    limit: Time,
) -> Result<(), ReadError> {
    let heads = State::open(repo, storage.clone(), cache_bytes)?.heads();
    if heads.values().all(|head| head.time <= limit) {
        return Ok(());
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
    let ends = ends::recall(storage.as_ref(), repo)?;
    verify::make_again(repo, storage, &heads, &ends, &cut)
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
        let repos = self.repos.values().map(|repo| {
            let heads = repo.state.heads();
            let applied = heads.iter().map(|(origin, head)| (*origin, head.time));
            (repo.journal.reader().clone(), applied.collect())
        });
        let repos: Vec<_> = repos.collect();
        let own = self.identity.public();
        match is_believed(own, (limit, late), self.clock.last(), &repos) {
            Ok(true) => self.stop_for_clock(now),
            Ok(false) => self.doubt(now),
            Err(error) => self.fail(error),
        }
    }

    /// The clock is not believed.
    pub(super) fn doubt(&mut self, now: Time) {
        self.doubted = true;
        let behind_ms = self.lead_ms(now);
        self.alarm(Alarm::Behind { behind_ms });
    }

    fn lead_ms(&self, now: Time) -> u64 {
        let last = self.clock.last().unix_millis();
        last.saturating_sub(now.unix_millis())
    }

    /// What has been taken so far is made durable, and then the replica stops to be opened again.
    fn stop_for_clock(&mut self, now: Time) {
        let ahead_ms = self.lead_ms(now);
        self.remaking = Some(Remake::Ahead { ahead_ms });
        self.batch.remake = self.remaking;
    }

    /// Says that the wall clock is right. If this replica's own saves are held since they are from
    /// the future, closes their origins, and saves their content again as new. Asked again when the
    /// driver has done what is put out, it tells how far that is; what a crash interrupts is finished
    /// by the next life. With `alone`, it is done though nobody else is connected.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub fn repair_clock(&mut self, now: Time, alone: bool) -> Result<Repair, RepairError> {
        if now.unix_millis() < OLDEST_MS {
            return Err(RepairError::Unset);
        }
        self.advance_to(now);
        if self.remaking.is_some() {
            return Ok(Repair::Reopening);
        }
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        if self.closing {
            return Err(RepairError::Closing);
        }
        if !self.again.is_empty() {
            return Ok(Repair::Working(self.closed_origins()));
        }
        let (_, late) = bounds(&self.config, now, true);
        if self.clock.last() > late {
            let word = mark::encode_clock(now);
            self.batch.notes.insert(key::clock_is_right(), word);
            self.stop_for_clock(now);
            return Ok(Repair::Reopening);
        }
        let held: Vec<_> = RepoId::ALL
            .into_iter()
            .map(|repo| (repo, self.own_held(repo)))
            .filter(|(_, held)| !held.is_empty())
            .collect();
        if held.is_empty() {
            return Ok(Repair::Done);
        }
        self.check_others(&held, alone)?;
        for (repo, held) in held {
            let closing = self.closing_of(repo, &held)?;
            self.close_origins(&closing);
        }
        Ok(Repair::Working(self.closed_origins()))
    }

    /// This replica's own origins of which something waits for the clock.
    fn own_held(&self, repo: RepoId) -> Vec<OriginId> {
        let repo = self.repo(repo);
        let waits = |(origin, hold): (&OriginId, &Hold)| {
            let stream = repo.streams.get(origin)?;
            let own = stream.key == self.identity.public() && stream.waiting() > 0;
            (own && matches!(hold, Hold::Future(_))).then_some(*origin)
        };
        let held = repo.holds.blocked.iter().filter_map(waits);
        held.take(CLOSED_MAX).collect()
    }

    /// Whether others can be asked what has become of these origins, and know of no more of them.
    fn check_others(
        &self,
        held: &[(RepoId, Vec<OriginId>)],
        alone: bool,
    ) -> Result<(), RepairError> {
        let connections = self.gossip.connections.values();
        let told = connections.clone().any(|connection| {
            let mut repos = RepoId::ALL.iter();
            repos.all(|repo| connection.known.get(repo).is_some_and(|it| it.complete))
        });
        if !told && !alone && self.members().len() > 1 {
            return Err(RepairError::Alone);
        }
        for (repo, origins) in held {
            for origin in origins {
                let stream = &self.repo(*repo).streams[origin];
                let tip = stream.tip.sequence;
                // What is not durable yet could be lost with what says that it is to be saved again.
                if stream.stored < tip {
                    return Err(RepairError::Behind);
                }
                if connections.clone().any(|it| it.knows(*repo, *origin) > tip) {
                    return Err(RepairError::Behind);
                }
            }
        }
        Ok(())
    }

    /// A statement that closes these origins after what is applied of them.
    fn closing_of(&mut self, repo: RepoId, held: &[OriginId]) -> Result<Closing, RepairError> {
        let mut closed = Vec::new();
        for origin in held {
            let first = self.repo(repo).journal.get_as_made(*origin, Sequence(1))?;
            let birth = first.birth.as_ref().expect("the first has a birth");
            let stream = &self.repo(repo).streams[origin];
            closed.push(Closed {
                nonce: birth.nonce,
                last: stream.applied.sequence,
                tip: stream.appliable(),
            });
        }
        let mut closing = Closing {
            repo,
            key: self.identity.public(),
            time: self.clock.stamp(self.now).ok_or(RepairError::Clock)?,
            closed,
            seal: Seal([0; Seal::BYTES]),
        };
        let text = closing.text(self.config.cluster);
        closing.seal = Seal(self.identity.sign(&text));
        Ok(closing)
    }

    /// What is being saved again.
    fn closed_origins(&self) -> Vec<ClosedOrigin> {
        let statements = self.again.iter().map(|again| again.closing());
        statements
            .flat_map(|closing| {
                closing.origins().map(|(origin, closed)| ClosedOrigin {
                    repo: closing.repo,
                    origin,
                    last: closed.last,
                    tip: closed.tip,
                    again: closing.again(),
                })
            })
            .collect()
    }
}
