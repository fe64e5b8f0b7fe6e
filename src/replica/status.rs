//! What a replica can tell of itself: heads, digests, who lags, what waits and why.

use std::collections::BTreeMap;

use super::gossip::Known;
use super::output::ConnectionId;
use super::ready::Hold;
use super::stream::Streams;
use super::{Replica, Repo};
use crate::merge::{MergeCounters, StateDigest};
use crate::model::{OriginId, PublicKey, RepoId, Sequence, Time};

/// What has happened in this life, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Saves made here.
    pub saves: u64,
    /// Saves refused since something they write had changed.
    pub refused_changed: u64,
    /// Change sets of others merged into the state.
    pub applied: u64,
    /// Change sets of others taken.
    pub received: u64,
    /// Change sets received again (M17).
    pub duplicates: u64,
    /// Change sets that could not be taken when they came, and were dropped to come again.
    pub dropped: u64,
    /// Change sets that had to wait before they could be applied (M2, M16).
    pub held_ever: u64,
    /// Ranges that began after a gap.
    pub gaps: u64,
    /// Forks met (M17).
    pub forks: u64,
    /// Change sets that broke the rules.
    pub invalid: u64,
    /// Ranges of keys that were no member's (yet).
    pub not_members: u64,
    /// Connections closed since the other side broke the protocol.
    pub refused_connections: u64,
    /// Times that heads were equal and digests were not.
    pub digest_mismatches: u64,
    /// Alarms given.
    pub alarms: u64,
    /// Ranges pushed.
    pub pushes: u64,
    /// Ranges sent as answers.
    pub ranges_sent: u64,
    /// Ranges received, pushed or as answers.
    pub ranges_received: u64,
    /// Requests made.
    pub wants_sent: u64,
    /// Requests received.
    pub wants_received: u64,
    /// Requests that were not answered in time.
    pub timeouts: u64,
    /// Comparisons with a random other replica begun.
    pub ticks: u64,
    /// Messages sent.
    pub messages_sent: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Messages received of a kind or repository that is not known here.
    pub unknown_messages: u64,
    /// Commits begun.
    pub commits: u64,
    /// Bytes in them.
    pub committed_bytes: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
}

impl Counters {
    /// Names and values, for people and machines.
    pub fn entries(&self) -> [(&'static str, u64); 27] {
        [
            ("saves", self.saves),
            ("refused_changed", self.refused_changed),
            ("applied", self.applied),
            ("received", self.received),
            ("duplicates", self.duplicates),
            ("dropped", self.dropped),
            ("held_ever", self.held_ever),
            ("gaps", self.gaps),
            ("forks", self.forks),
            ("invalid", self.invalid),
            ("not_members", self.not_members),
            ("refused_connections", self.refused_connections),
            ("digest_mismatches", self.digest_mismatches),
            ("alarms", self.alarms),
            ("pushes", self.pushes),
            ("ranges_sent", self.ranges_sent),
            ("ranges_received", self.ranges_received),
            ("wants_sent", self.wants_sent),
            ("wants_received", self.wants_received),
            ("timeouts", self.timeouts),
            ("ticks", self.ticks),
            ("messages_sent", self.messages_sent),
            ("messages_received", self.messages_received),
            ("unknown_messages", self.unknown_messages),
            ("commits", self.commits),
            ("committed_bytes", self.committed_bytes),
            ("checkpoints", self.checkpoints),
        ]
    }
}

/// Why change sets wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeldReason {
    /// They are ahead of the clock here (M16).
    Future,
    /// Others that they depend on have not come (M2).
    Dependency,
    /// They were made under rules that this program does not know (M19).
    Rules,
}

/// One repository, as of the moment.
#[derive(Clone, Debug)]
pub struct RepoStatus {
    /// The repository.
    pub repo: RepoId,
    /// What is here durably, by origin.
    pub stored: BTreeMap<OriginId, Sequence>,
    /// What the published state contains, by origin.
    pub applied: BTreeMap<OriginId, Sequence>,
    /// The digest of the published state.
    pub digest: StateDigest,
    /// Change sets that wait to be applied, by origin: how many, and why the first of them does.
    pub held: BTreeMap<OriginId, (u64, HeldReason)>,
    /// When all that waits for the clock here will have been applied, by origin. This replica's own
    /// origins are there if its clock was far ahead.
    pub until: BTreeMap<OriginId, Time>,
    /// Origins of which nothing more is applied, since their author broke the rules.
    pub quarantined: Vec<OriginId>,
    /// Origins of which nothing more is applied, since their author has closed them.
    pub closed: Vec<OriginId>,
    /// Origins under which something of this replica's own would be saved again that is closed, and of
    /// which not all is here.
    pub lacking: Vec<OriginId>,
    /// The key that each origin belongs to.
    pub authors: BTreeMap<OriginId, PublicKey>,
    /// What merging has come to.
    pub merge: MergeCounters,
    /// Bytes of the state that no checkpoint holds yet.
    pub dirty_bytes: usize,
}

impl RepoStatus {
    /// Whether nothing more of an origin is applied, for whatever reason.
    pub fn has_ended(&self, origin: OriginId) -> bool {
        self.quarantined.contains(&origin) || self.closed.contains(&origin)
    }
}

/// One connection, as of the moment.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// The connection.
    pub connection: ConnectionId,
    /// Whose it is.
    pub key: PublicKey,
    /// The stored heads of the other side as last known; nothing for a repository of which it has
    /// not told them yet.
    pub heads: BTreeMap<RepoId, BTreeMap<OriginId, Sequence>>,
    /// How many change sets the other side lacks of those here; nothing while it is not known.
    pub lag: Option<u64>,
    /// How many change sets are lacking here of those known to be there.
    pub behind: u64,
}

/// A replica, as of the moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// Who it is.
    pub replica: PublicKey,
    /// Its present origin.
    pub origin: OriginId,
    /// Every repository.
    pub repos: Vec<RepoStatus>,
    /// Every connection.
    pub peers: Vec<PeerStatus>,
    /// Change sets that wait to be applied, in all repositories.
    pub held: u64,
    /// What has happened in this life.
    pub counters: Counters,
    /// How the store failed, if it did: nothing is saved since.
    pub failed: Option<String>,
    /// The hybrid logical clock's lead over the physical one, in milliseconds.
    pub clock_ahead_ms: u64,
    /// Bytes of change sets on their way to the disk.
    pub on_their_way_bytes: usize,
}

fn lacking(known: &Known, than: &Streams) -> u64 {
    than.iter()
        .map(|(origin, stream)| {
            let has = known.head(*origin).unwrap_or_default();
            stream.head().0.saturating_sub(has.0)
        })
        .sum()
}

fn status_of(repo: &Repo) -> RepoStatus {
    let snapshot = repo.state.snapshot();
    let streams = &repo.streams;
    RepoStatus {
        repo: repo.id,
        stored: streams
            .iter()
            .map(|(origin, stream)| (*origin, stream.within(stream.stored)))
            .filter(|(_, stored)| *stored > Sequence(0))
            .collect(),
        applied: snapshot
            .heads()
            .iter()
            .map(|(origin, head)| (*origin, head.sequence))
            .collect(),
        digest: snapshot.digest(),
        held: repo
            .holds
            .blocked
            .iter()
            .filter_map(|(origin, hold)| {
                let reason = match hold {
                    Hold::Future(_) => HeldReason::Future,
                    Hold::Dependency(_) | Hold::Statement => HeldReason::Dependency,
                    Hold::Rules(_) => HeldReason::Rules,
                    Hold::Invalid => return None,
                };
                let waiting = streams.get(origin)?.waiting();
                (waiting > 0).then_some((*origin, (waiting, reason)))
            })
            .collect(),
        until: repo
            .holds
            .blocked
            .iter()
            .filter(|(_, hold)| matches!(hold, Hold::Future(_)))
            .filter_map(|(origin, _)| Some((*origin, streams.get(origin)?)))
            .filter(|(_, stream)| stream.waiting() > 0)
            .map(|(origin, stream)| (origin, stream.tip.time))
            .collect(),
        quarantined: streams
            .iter()
            .filter(|(origin, stream)| {
                let invalid = repo.holds.blocked.get(origin) == Some(&Hold::Invalid);
                (stream.ended.is_some() && !stream.closed) || invalid
            })
            .map(|(origin, _)| *origin)
            .collect(),
        closed: streams
            .iter()
            .filter(|(_, stream)| stream.closed)
            .map(|(origin, _)| *origin)
            .collect(),
        lacking: Vec::new(),
        authors: streams
            .iter()
            .map(|(origin, stream)| (*origin, stream.key))
            .collect(),
        merge: repo.state.counters(),
        dirty_bytes: repo.state.dirty_bytes(),
    }
}

impl Replica {
    /// How one repository stands.
    ///
    /// # Panics
    /// If it is none of [`RepoId::ALL`].
    pub fn repo_status(&self, repo: RepoId) -> RepoStatus {
        let missed = self.again.iter().filter(|again| self.is_missed(again));
        let here = missed.filter(|again| again.closing().repo == repo);
        let lacking = here.map(|again| again.closing().again()).collect();
        RepoStatus {
            lacking,
            ..status_of(self.repo(repo))
        }
    }

    /// What has happened in this life.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How it stands, at a physical time.
    pub fn status(&self, now: Time) -> Status {
        let repos = self.repos.keys().map(|repo| self.repo_status(*repo));
        let repos: Vec<_> = repos.collect();
        Status {
            replica: self.identity.public(),
            origin: self.origin,
            held: repos
                .iter()
                .flat_map(|repo| repo.held.values())
                .map(|(count, _)| count)
                .sum(),
            repos,
            peers: self.peers_status(),
            counters: self.counters,
            failed: self.failed.as_ref().map(ToString::to_string),
            clock_ahead_ms: self
                .clock
                .last()
                .unix_millis()
                .saturating_sub(now.unix_millis()),
            on_their_way_bytes: self.on_their_way(),
        }
    }

    fn peers_status(&self) -> Vec<PeerStatus> {
        self.gossip
            .connections
            .iter()
            .map(|(connection, peer)| {
                let mut lag = Some(0);
                let mut behind = 0;
                let mut heads = BTreeMap::new();
                for repo in self.repos.values() {
                    let known = peer.known.get(&repo.id);
                    for (origin, sequence) in known.iter().flat_map(|known| &known.heads) {
                        let stream = repo.streams.get(origin);
                        let most = stream.map_or(*sequence, |stream| stream.within(*sequence));
                        let stored = stream.map_or(0, |stream| stream.stored.0);
                        behind += most.0.saturating_sub(stored);
                    }
                    let Some(known) = known.filter(|known| known.complete) else {
                        lag = None;
                        continue;
                    };
                    lag = lag.map(|lag| lag + lacking(known, &repo.streams));
                    heads.insert(repo.id, known.heads.iter().copied().collect());
                }
                PeerStatus {
                    connection: *connection,
                    key: peer.key,
                    heads,
                    lag,
                    behind,
                }
            })
            .collect()
    }
}
