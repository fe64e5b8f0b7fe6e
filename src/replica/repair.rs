//! What a person does after a clock was far ahead: says that it is right, and has what is held since
//! then closed (`closing`), and saved again as of now (`again`).
//!
//! What is closed stays closed, so it is refused as long as it can do harm. A clock that is *behind*
//! looks the same from inside: it is refused if anybody else has saved what is later by it, applied or
//! held, by more than clocks may differ. An older copy of a directory must not repair what has been
//! repaired: it is refused if nobody can say so. And what is closed is to be saved again whole: it is
//! refused while something of it, or of what it had seen, is not here.

use std::collections::BTreeMap;

use super::again::Again;
use super::ahead::bounds;
use super::gossip::Connection;
use super::ready::Hold;
use super::{Replica, again};
use crate::codec::closing::{CLOSED_MAX, Closed, Closing};
use crate::codec::journal::Seal;
use crate::codec::{key, mark};
use crate::model::{OriginId, RepoId, Sequence, Time};
use crate::storage::StorageError;

/// A clock that shows less, the beginning of 2020 in milliseconds, has not been set: a machine without a
/// battery begins in 1970.
const OLDEST_MS: u64 = 1_577_836_800_000;
/// What somebody claims to have, and nobody sends, is waited for so long, in milliseconds.
const CLAIM_MS: u64 = 30_000;
/// Change sets looked at in one go for what they had seen.
const LOOKED_AT_MAX: usize = 4_096;

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
    /// Origins are closed, and what they had is being saved again; or it is still being looked whether
    /// they may be. To be asked once more.
    Working(Vec<ClosedOrigin>),
    /// Nothing of this replica's own is held since it is from the future.
    Done,
}

/// What is done though it would be refused otherwise, since somebody says so who knows better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairAnyway {
    /// Though no other member is connected, and with what is here of what was seen.
    pub alone: bool,
    /// Though others have saved what is later than the clock says.
    pub clock_is_right: bool,
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
    /// Others have more of what is to be saved again, or of what that had seen.
    #[error(
        "others have more of this replica's own saves than it has itself, or of what those had seen; \
         try again in a moment"
    )]
    Behind,
    /// The clock seems to be behind, not to have been ahead: others have saved what is later, or there
    /// is nothing that is older.
    #[error(
        "this replica has what was saved up to {later_ms} ms later than the clock of this machine shows, \
         so that the clock seems to be behind; set it right, or if it is right, say so"
    )]
    ClockBehind {
        /// How much later, in milliseconds.
        later_ms: u64,
    },
    /// The clock shows a time before there was such a thing as a cluster.
    #[error("the clock of this machine has not been set: it shows a time before 2020")]
    Unset,
    /// No more closing statements of this replica are taken.
    #[error(
        "the clock of this replica has been repaired too often; what is held is applied when its time \
         comes"
    )]
    TooOften,
    /// The replica is being closed.
    #[error("the peer is closing")]
    Closing,
    /// The clock has come to the end of its range.
    #[error("the clock of this machine is at the end of time; set it right")]
    Clock,
    /// The store has failed, or could not be read.
    #[error("nothing can be saved again, since the store has failed or is damaged: {0}")]
    Storage(#[from] StorageError),
}

/// How far it has been looked whether a repair may begin.
#[derive(Default)]
pub(super) struct Repairing {
    /// Up to which numbers all is here that was seen.
    looked_at: BTreeMap<(RepoId, OriginId), Sequence>,
    /// What others claim to have more of: how much is here, and since when it is no more.
    claims: BTreeMap<(RepoId, OriginId), (Sequence, Time)>,
}

impl Repairing {
    /// Nothing is waited for longer than if it had begun now.
    pub(super) fn clock_set_back(&mut self, now: Time) {
        for (_, since) in self.claims.values_mut() {
            *since = now.min(*since);
        }
    }
}

impl Replica {
    /// Says that the wall clock is right. If this replica's own saves are held since they are from
    /// the future, closes their origins, and saves their content again as new. Asked again when the
    /// driver has done what is put out, it tells how far that is; what a crash interrupts is finished
    /// by the next life.
    ///
    /// # Errors
    /// Why not; nothing is closed then. That the clock is right, if it was said, has been taken.
    pub fn repair_clock(&mut self, now: Time, anyway: RepairAnyway) -> Result<Repair, RepairError> {
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
        if anyway.alone {
            self.wait_no_more();
        }
        if self.again.iter().any(Again::is_under_way) {
            return Ok(Repair::Working(self.closed_origins()));
        }
        let (_, late) = bounds(&self.config, now, true);
        let leads = self.clock.last() > late;
        let held: Vec<_> = RepoId::ALL
            .into_iter()
            .map(|repo| (repo, self.own_held(repo)))
            .filter(|(_, held)| !held.is_empty())
            .collect();
        if !leads && held.is_empty() {
            return self.check_again().map(|()| Repair::Done);
        }
        if !anyway.clock_is_right {
            self.check_clock(now)?;
        }
        // Unless it is said that the clock is right, what is here is not given up before it can be saved
        // again.
        if !(leads && anyway.clock_is_right) {
            self.check_connected(anyway.alone)?;
        }
        if leads {
            let word = mark::encode_clock(now);
            self.batch.notes.insert(key::clock_is_right(), word);
            self.stop_for_clock(now);
            return Ok(Repair::Reopening);
        }
        self.check_others(&held)?;
        if !anyway.alone && !self.look_at_seen(&held)? {
            return Ok(Repair::Working(Vec::new()));
        }
        let own = self.identity.public();
        let has_room = |(repo, held): &(RepoId, Vec<_>)| {
            let closings = &self.repo(*repo).closings;
            closings.has_room(&own, held.len())
        };
        if !held.iter().all(has_room) {
            return Err(RepairError::TooOften);
        }
        // Nothing is closed before all can be.
        let closings: Result<Vec<_>, _> = held
            .iter()
            .map(|(repo, held)| self.closing_of(*repo, held))
            .collect();
        for closing in closings? {
            let taken = self.close_origins(&closing);
            assert!(taken, "a statement of another time is another one");
        }
        if anyway.alone {
            self.wait_no_more();
        }
        Ok(Repair::Working(self.closed_origins()))
    }

    /// Whether the clock is not behind what others have saved, by more than clocks may differ: here no
    /// lead is waited out. It may be those others that are wrong, also if it is one alone; but what is
    /// closed stays so, and whoever knows better can say so.
    fn check_clock(&self, now: Time) -> Result<(), RepairError> {
        let bounds = bounds(&self.config, now, true);
        let (_, late) = bounds;
        let reached = self.clock.last();
        if self.doubted || (reached > late && !self.believes(bounds)?) {
            let later_ms = self.lead_ms(now);
            return Err(RepairError::ClockBehind { later_ms });
        }
        let mut newest = late;
        // Whatever it waits for, it was saved.
        let streams = self.repos.values().flat_map(|repo| repo.streams.values());
        for stream in streams.filter(|stream| stream.key != self.identity.public()) {
            if stream.waiting() > 0 {
                let time = stream.time_of(stream.appliable());
                newest = newest.max(time.unwrap_or(stream.tip.time));
            }
        }
        if newest == late {
            return Ok(());
        }
        let later_ms = newest.unix_millis() - now.unix_millis();
        Err(RepairError::ClockBehind { later_ms })
    }

    /// Whether nothing that is to be saved again lacks something, or can not be.
    fn check_again(&self) -> Result<(), RepairError> {
        for again in &self.again {
            if let Some(error) = again.stopped() {
                return Err(error.clone().into());
            }
            if self.is_missed(again) {
                return Err(RepairError::Behind);
            }
        }
        Ok(())
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

    fn connected_members(&self) -> impl Iterator<Item = &Connection> {
        let all = self.gossip.connections.values();
        all.filter(|connection| self.membership.is_known(&connection.key))
    }

    /// Whether others can be asked.
    fn check_connected(&self, alone: bool) -> Result<(), RepairError> {
        let told = self.connected_members().any(|connection| {
            let mut repos = RepoId::ALL.iter();
            repos.all(|repo| connection.known.get(repo).is_some_and(|it| it.complete))
        });
        // Whoever was a member is remembered, also if the state does not tell it at present.
        match told || alone || !self.membership.has_others() {
            true => Ok(()),
            false => Err(RepairError::Alone),
        }
    }

    /// Whether others know of no more of these origins.
    fn check_others(&mut self, held: &[(RepoId, Vec<OriginId>)]) -> Result<(), RepairError> {
        let mut claims = BTreeMap::new();
        for (repo, origins) in held {
            for origin in origins {
                let stream = &self.repo(*repo).streams[origin];
                let tip = stream.tip.sequence;
                // What is not durable yet could be lost with what says that it is to be saved again.
                if stream.stored < tip {
                    return Err(RepairError::Behind);
                }
                let mut members = self.connected_members();
                if members.any(|it| it.knows(*repo, *origin) > tip) {
                    let place = (*repo, *origin);
                    let before = self.repairing.claims.get(&place);
                    let since = before.filter(|(at, _)| *at == tip).map(|(_, since)| *since);
                    claims.insert(place, (tip, since.unwrap_or(self.now)));
                }
            }
        }
        // Whoever has it sends it. Claimed is soon what is not there.
        let fresh = |(_, since): &(_, Time)| self.now < since.plus_millis(CLAIM_MS);
        let waits = claims.values().any(fresh);
        self.repairing.claims = claims;
        match waits {
            true => Err(RepairError::Behind),
            false => Ok(()),
        }
    }

    /// Whether all is here that these had seen, as far as it matters; false if that is to be asked
    /// again, since it takes long to look.
    fn look_at_seen(&mut self, held: &[(RepoId, Vec<OriginId>)]) -> Result<bool, RepairError> {
        let time = self.clock.last().max(self.now);
        let mut looked_at = 0;
        for (repo, origins) in held {
            for origin in origins {
                let place = (*repo, *origin);
                let stream = &self.repo(*repo).streams[origin];
                let tip = stream.tip.sequence;
                let before = self.repairing.looked_at.get(&place);
                let mut at = stream
                    .applied
                    .sequence
                    .max(before.copied().unwrap_or_default());
                while at < tip {
                    if looked_at == LOOKED_AT_MAX {
                        return Ok(false);
                    }
                    looked_at += 1;
                    let old = self.repo(*repo).journal.get_as_made(*origin, at.next())?;
                    if let again::Seen::Lacks(on) = self.seen_by(&old, time, false, |_| None)? {
                        self.want_beyond(*repo, on);
                        return Err(RepairError::Behind);
                    }
                    at = at.next();
                    self.repairing.looked_at.insert(place, at);
                }
            }
        }
        Ok(true)
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
        let under_way = self.again.iter().filter(|again| again.is_under_way());
        under_way
            .map(Again::closing)
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
