//! One machine: a disk, a clock, a key, and a replica while one runs.

use std::collections::{BTreeMap, BTreeSet};

use leveret::merge::Draft;
use leveret::model::{Dependency, Time};
use leveret::replica::{
    CheckpointToken, CommitToken, ConnectionId, Identity, Replica, ReplicaConfig, Ticket,
};
use leveret::storage::{Change, Key};

use super::clock::MachineClock;
use super::disk::Disk;
use super::hostile::Hostile;
use super::links::LinkId;
use super::queue::Micros;

/// Which of its lives a machine is in: what was begun in one is not ended in another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life(pub u32);

/// What a machine is to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs leveret.
    Member,
    /// Has a member's key, and does as it likes.
    Hostile,
    /// Was taken out of the cluster, and goes on as if it had not been.
    Outcast,
    /// Was taken out of the cluster, and does not come back.
    Gone,
}

/// Why a machine is not running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// It crashed, and lost what no barrier covered.
    Crashed,
    /// It was stopped in good order.
    Stopped,
    /// It crashed, and an old copy of its directory was put in place.
    Restored,
    /// It crashed, and its disk had not kept what it said.
    TailLost,
}

/// What the disk is doing.
pub(super) enum Job {
    Commit(CommitToken, Vec<(Key, Vec<u8>)>),
    Checkpoint(CheckpointToken, Vec<Change>),
}

/// A save that has been taken and not been answered.
pub(super) struct Pending {
    /// When it was asked for.
    pub(super) asked: Micros,
    /// What its author had seen.
    pub(super) seen: Vec<Dependency>,
}

/// A machine.
pub struct Machine {
    /// What it is to the cluster.
    pub role: Role,
    /// Its key.
    pub identity: Identity,
    /// With what its replica is opened.
    pub config: ReplicaConfig,
    /// Its clock.
    pub clock: MachineClock,
    /// Its disk.
    pub disk: Disk,
    /// The replica, while it runs.
    pub replica: Option<Replica>,
    /// Set while it is down on purpose: nobody starts it before it is told to.
    pub(super) kept_down: bool,
    pub(super) life: Life,
    /// The greatest time that its clock has shown to leveret.
    pub(super) latest: Time,
    /// When it will be woken.
    pub(super) wakes: Option<Micros>,
    /// Its ends of connections.
    pub(super) links: BTreeMap<ConnectionId, LinkId>,
    /// The commit that the disk is at, if any: it can be torn.
    pub(super) jobs: BTreeMap<u64, Job>,
    pub(super) saves: BTreeMap<Ticket, Pending>,
    /// Whether the store under the replica has failed, and is going to be opened again.
    pub(super) reopening: bool,
    /// Where it is to crash next.
    pub(crate) crash_at: Option<CrashAt>,
    /// Sessions that were begun and not saved yet.
    pub(super) drafts: BTreeMap<u64, Draft>,
    /// Machines that it dials.
    pub(super) neighbours: BTreeSet<usize>,
    /// The secret of the join token that it was given, which it shows to those it dials.
    pub(super) token: Option<[u8; 16]>,
    /// Whether it was given one to join, and has not yet.
    pub(crate) is_joining: bool,
    /// What it does if it is hostile.
    pub(crate) hostile: Option<Box<Hostile>>,
}

/// Where a crash falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashAt {
    /// Before anything of a commit is written.
    Before,
    /// Amid a commit of more than one record: what is there is the first one and so many thousandths
    /// of the others, but for the last, rounded down. By the contract of the store each record is
    /// there whole or not at all, and those before it too.
    Amid(u32),
    /// After a commit is durable, and before anybody is told.
    After,
    /// Amid a checkpoint. By the contract of the store all of it is there, or nothing.
    Checkpoint {
        /// Which of the two.
        kept: bool,
    },
}

impl CrashAt {
    /// Whether it falls on a commit of these records, to a disk that keeps what it writes or not.
    pub(super) fn falls_on(self, records: &[(Key, Vec<u8>)], keeps: bool) -> bool {
        match self {
            Self::Before | Self::After => true,
            Self::Amid(_) => keeps && records.len() > 1,
            Self::Checkpoint { .. } => false,
        }
    }
}

impl Machine {
    pub(super) fn new(identity: Identity, config: ReplicaConfig, disk: Disk) -> Self {
        Self {
            role: Role::Member,
            identity,
            config,
            clock: MachineClock::default(),
            disk,
            replica: None,
            kept_down: false,
            life: Life(0),
            latest: Time(0),
            wakes: None,
            links: BTreeMap::new(),
            jobs: BTreeMap::new(),
            saves: BTreeMap::new(),
            reopening: false,
            crash_at: None,
            drafts: BTreeMap::new(),
            neighbours: BTreeSet::new(),
            token: None,
            is_joining: false,
            hostile: None,
        }
    }

    /// Whether it runs leveret, or will again.
    pub fn is_member(&self) -> bool {
        self.role == Role::Member
    }

    /// Whether it is to crash amid its next checkpoint, and that can be written.
    pub(super) fn crashes_at_checkpoint(&self) -> bool {
        let armed = matches!(self.crash_at, Some(CrashAt::Checkpoint { .. }));
        armed && !self.disk.is_full() && !self.disk.is_lying()
    }

    /// Whether its replica runs and takes saves.
    pub fn is_up(&self) -> bool {
        self.replica.is_some()
    }
}
