//! A world of machines on virtual time: real replicas, pretended disks, clocks and network.
//!
//! Time moves only when nothing is left to do at the present instant, everything runs on one
//! thread, and everything random is drawn from streams of one seed, so that a run can be repeated
//! bit for bit. What runs inside is what leveret ships: `replica`, `merge`, `codec` and
//! `storage::memory`; what is pretended is what a driver does around it. Where the driver has a
//! policy (when a full disk is tried again, when a connection is not read any more) the world has
//! the same one.
//!
//! The world does what it is told, and judges nothing: faults come from `act`, checkers are
//! in `check`.

mod clock;
mod disk;
mod drive;
mod frames;
pub(crate) mod hostile;
mod links;
mod machine;
mod network;
mod pace;
mod process;
mod queue;
mod tally;
mod trace;
mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use leveret::model::{OriginId, PublicKey, RepoId, Sequence, Time};
use leveret::replica::identity::GoodSeals;
use leveret::replica::{
    Alarm, CommitEvent, Founder, Identity, Message, Receipt, Replica, ReplicaConfig,
};
use leveret::storage::{Key, Storage};

pub use clock::MachineClock;
pub use disk::{Disk, DiskKind};
pub use machine::{CrashAt, Down, Life, Machine, Role};
pub use network::{Geography, Network, Weather};
pub use queue::Micros;
pub use tally::Tally;
pub use trace::Trace;

use crate::chance::Chance;
use links::{Link, LinkId};
use network::CutSerial;
use pace::Pace;
use queue::Queue;

/// What is told to whoever watches.
pub enum Note<'a> {
    /// A replica was opened: nothing is told of what its state has already.
    Opened {
        /// Which machine.
        machine: usize,
        /// The replica.
        replica: &'a Replica,
    },
    /// A machine is about to go down, with a replica that still ran, and will find `left`.
    Down {
        /// Which machine.
        machine: usize,
        /// Why.
        how: Down,
        /// The replica as it was.
        replica: &'a Replica,
    },
    /// A save was answered, in whatever repository.
    Saved {
        /// Which machine.
        machine: usize,
        /// The answer.
        receipt: &'a Receipt,
        /// What is on the machine's disk, or was, as the disk says.
        disk: &'a dyn Storage,
        /// When it was asked for.
        asked: Micros,
        /// Now.
        now: Micros,
        /// What its author had seen; nothing if the replica made it by itself.
        seen: &'a [leveret::model::Dependency],
    },
    /// A message leaves a replica, for whatever connection.
    Sent {
        /// Which machine.
        machine: usize,
        /// The message.
        message: &'a Message,
        /// What is on the machine's disk, or was, as the disk says.
        disk: &'a dyn Storage,
    },
    /// A disk that does not lie has made records durable.
    Durable {
        /// Which machine.
        machine: usize,
        /// The records.
        records: &'a [(Key, Vec<u8>)],
    },
    /// A checkpoint is on a machine's disk.
    Checkpointed {
        /// Which machine.
        machine: usize,
        /// What is on the disk, as the disk says.
        disk: &'a Arc<dyn Storage>,
    },
    /// A state was published.
    Event {
        /// Which machine.
        machine: usize,
        /// What is told of it.
        event: &'a CommitEvent,
        /// What is on the machine's disk, or was, as the disk says.
        disk: &'a dyn Storage,
        /// Now.
        now: Micros,
        /// The greatest time that the machine's clock has shown.
        latest: Time,
        /// The replica.
        replica: &'a Replica,
        /// Origins that hostile members have written by hand.
        hostile: &'a BTreeSet<OriginId>,
    },
    /// Something that a person should know.
    Alarm {
        /// Which machine.
        machine: usize,
        /// What.
        alarm: &'a Alarm,
        /// Whether it is about what a hostile member has written.
        of_hostile: bool,
    },
}

/// Whoever watches a world.
pub trait Watcher {
    /// Something has happened. An error ends the run.
    ///
    /// # Errors
    /// What is wrong with it.
    fn note(&mut self, note: &Note<'_>) -> Result<(), String>;
}

/// What is to happen.
pub(crate) enum Happening {
    /// A frame comes to one end of a connection.
    Arrive {
        link: LinkId,
        side: usize,
        number: u64,
    },
    /// An end of a connection that had stopped reading goes on.
    Read { link: LinkId, side: usize },
    /// A connection dies, with what is under way.
    Die { link: LinkId },
    /// The disk of a machine has done a job.
    Disk {
        machine: usize,
        life: Life,
        job: u64,
        /// Whether it took longer than on a good disk.
        slow: bool,
    },
    /// A replica wants to be woken.
    Wake { machine: usize, life: Life },
    /// Two machines try to connect.
    Dial { a: usize, b: usize, attempt: u32 },
    /// A handshake is through.
    Connect {
        a: usize,
        b: usize,
        lives: (Life, Life),
    },
    /// A cut connection is looked at.
    Idle {
        link: LinkId,
        from: usize,
        to: usize,
        cut: CutSerial,
    },
    /// A machine's store is opened again after it failed.
    Reopen { machine: usize, life: Life },
    /// A machine is started, unless it runs.
    Start { machine: usize },
    /// A session that was begun is saved.
    Finish {
        machine: usize,
        life: Life,
        draft: u64,
    },
    /// Something that was planned; its number in the plan.
    Planned(usize),
}

impl Happening {
    /// A word for it, and to which machine it happens.
    fn name(&self) -> (&'static str, Option<usize>) {
        match self {
            Self::Arrive { .. } => ("arrive", None),
            Self::Read { .. } => ("read", None),
            Self::Die { .. } => ("die", None),
            Self::Disk { machine, .. } => ("disk", Some(*machine)),
            Self::Wake { machine, .. } => ("wake", Some(*machine)),
            Self::Dial { a, .. } => ("dial", Some(*a)),
            Self::Connect { a, .. } => ("connect", Some(*a)),
            Self::Idle { from, .. } => ("idle", Some(*from)),
            Self::Reopen { machine, .. } => ("reopen", Some(*machine)),
            Self::Start { machine } => ("start", Some(*machine)),
            Self::Finish { machine, .. } => ("finish", Some(*machine)),
            Self::Planned(_) => ("plan", None),
        }
    }
}

/// See the top of the file.
pub struct World {
    /// The present.
    pub now: Micros,
    /// All machines there have been.
    pub machines: Vec<Machine>,
    /// What the disks are of the machines that are added.
    pub disks: DiskKind,
    /// What lies between them.
    pub network: Network,
    /// What has been met.
    pub tally: Tally,
    /// What has happened.
    pub trace: Trace,
    pub(crate) queue: Queue<Happening>,
    links: BTreeMap<LinkId, Link>,
    /// The connection between two machines, the smaller number first.
    between: BTreeMap<(usize, usize), LinkId>,
    /// Counts the ends of connections there have been.
    connections: u64,
    /// Counts jobs of disks, and drafts.
    serial: u64,
    chance: Chance,
    watchers: Vec<Box<dyn Watcher>>,
    founder: Founder,
    /// Origins that hostile members have written by hand.
    hostile_origins: BTreeSet<OriginId>,
    /// All replicas are in one process, which verifies each seal once.
    good_seals: Arc<GoodSeals>,
    /// What a watcher found wrong.
    wrong: Option<String>,
    /// Whether it gets on.
    pace: Pace,
    seed: u64,
}

impl World {
    /// A world without machines.
    pub fn new(seed: u64, geography: Geography, trace: Trace) -> Self {
        let founder = Founder {
            key: identity(seed, 0).public(),
            nonce: Chance::new(seed, "founder").bytes(),
        };
        Self {
            now: Micros(0),
            machines: Vec::new(),
            disks: DiskKind::default(),
            network: Network::new(geography, Chance::new(seed, "network")),
            tally: Tally::default(),
            trace,
            queue: Queue::new(),
            links: BTreeMap::new(),
            between: BTreeMap::new(),
            connections: 0,
            serial: 0,
            chance: Chance::new(seed, "world"),
            watchers: Vec::new(),
            founder,
            hostile_origins: BTreeSet::new(),
            good_seals: Arc::default(),
            wrong: None,
            pace: Pace::default(),
            seed,
        }
    }

    /// Has somebody watch from now on.
    pub fn watch(&mut self, watcher: Box<dyn Watcher>) {
        self.watchers.push(watcher);
    }

    /// The settings that a new machine starts from.
    pub fn config(&self) -> ReplicaConfig {
        ReplicaConfig {
            good_seals: Some(self.good_seals.clone()),
            ..ReplicaConfig::new(self.founder)
        }
    }

    /// Puts one more machine there, with a key of its own and an empty disk; it is not started.
    pub fn add_machine(&mut self, config: ReplicaConfig) -> usize {
        let index = self.machines.len();
        let identity = identity(self.seed, index);
        let disk = Disk::new(self.disks);
        self.machines.push(Machine::new(identity, config, disk));
        index
    }

    /// What machine `machine` takes for the time.
    pub fn clock(&self, machine: usize) -> Time {
        self.machines[machine].clock.read(self.now)
    }

    /// Does what is next until something planned is due; nothing if that is after `until`, if
    /// something went wrong, or if it goes on for ever.
    pub(crate) fn step(&mut self, until: Micros) -> Option<Planned> {
        while self.wrong.is_none() {
            let (at, happening) = self.queue.pop(until)?;
            assert!(at >= self.now, "time does not go back");
            self.now = at;
            let (what, whom) = happening.name();
            if !self.pace.beat(at, what, whom) {
                return None;
            }
            if let Happening::Planned(number) = happening {
                return Some(Planned(number));
            }
            self.happen(happening);
        }
        None
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive { link, side, number } => self.arrive(link, side, number),
            Happening::Read { link, side } => self.read(link, side),
            Happening::Die { link } => self.die(link),
            Happening::Disk {
                machine,
                life,
                job,
                slow,
            } => self.disk_done(machine, life, job, slow),
            Happening::Wake { machine, life } => self.wake(machine, life),
            Happening::Dial { a, b, attempt } => self.dial(a, b, attempt),
            Happening::Connect { a, b, lives } => self.connect(a, b, lives),
            Happening::Idle {
                link,
                from,
                to,
                cut,
            } => self.idle(link, from, to, cut),
            Happening::Reopen { machine, life } => self.reopen(machine, life),
            Happening::Start { machine } => self.start(machine),
            Happening::Finish {
                machine,
                life,
                draft,
            } => self.finish(machine, life, draft),
            Happening::Planned(_) => unreachable!("handed out by `step`"),
        }
    }

    /// Why it will never get on, if so much has happened in so little time that it will not.
    pub fn stuck(&self) -> Option<String> {
        self.pace.stuck()
    }

    /// What a watcher found wrong, if anything.
    pub fn wrong(&self) -> Option<&str> {
        self.wrong.as_deref()
    }

    pub(crate) fn note(&mut self, note: &Note<'_>) {
        for watcher in &mut self.watchers {
            if let Err(what) = watcher.note(note) {
                self.wrong.get_or_insert(what);
            }
        }
    }

    /// The machines that run leveret, or will again.
    pub fn members(&self) -> Vec<usize> {
        (0..self.machines.len())
            .filter(|i| self.machines[*i].is_member())
            .collect()
    }

    /// Those of them whose replica runs.
    pub fn running(&self) -> Vec<usize> {
        let mut members = self.members();
        members.retain(|i| self.machines[*i].is_up());
        members
    }

    /// Whether a machine's store has failed, or its state has more than it may, and it is going to be
    /// opened again.
    pub fn is_reopening(&self, machine: usize) -> bool {
        self.machines[machine].reopening
    }

    /// A machine's replica.
    ///
    /// # Panics
    /// If it is not running.
    pub fn replica(&self, machine: usize) -> &Replica {
        let replica = self.machines[machine].replica.as_ref();
        replica.expect("asked of machines that run")
    }

    /// What a machine has stored of each origin.
    ///
    /// # Panics
    /// If it is not running.
    pub fn stored(&self, machine: usize, repo: RepoId) -> BTreeMap<OriginId, Sequence> {
        self.replica(machine).repo_status(repo).stored
    }

    /// Whether an origin that a machine knows belongs to a hostile member.
    ///
    /// # Panics
    /// If the machine is not running.
    pub fn is_hostile_origin(&self, machine: usize, repo: RepoId, origin: OriginId) -> bool {
        let authors = self.replica(machine).repo_status(repo).authors;
        authors.get(&origin).is_some_and(|key| self.is_hostile(key))
    }

    /// Whether a key is a hostile member's.
    pub(crate) fn is_hostile(&self, key: &PublicKey) -> bool {
        let mut hostile = self.machines.iter().filter(|m| m.role == Role::Hostile);
        hostile.any(|machine| machine.identity.public() == *key)
    }

    /// Prints how every machine stands, if the trace is printed.
    pub(crate) fn describe(&self) {
        for machine in self.running() {
            let status = self.replica(machine).status(self.clock(machine));
            let line = |text: std::fmt::Arguments<'_>| self.trace.line(self.now, machine, text);
            line(format_args!(
                "is {}, at {:?}",
                status.replica,
                self.clock(machine)
            ));
            for (link, _, other) in self.connections_of(machine) {
                line(format_args!("is connected to m{other} by {link:?}"));
            }
            for repo in status.repos {
                let name = repo.repo.name();
                for (origin, stored) in &repo.stored {
                    let applied = repo.applied.get(origin);
                    let author = repo.authors.get(origin);
                    line(format_args!(
                        "`{name}` {origin}: stored {stored}, applied {applied:?}, of {author:?}"
                    ));
                }
                line(format_args!(
                    "`{name}` holds {:?}, quarantined {:?}",
                    repo.held, repo.quarantined
                ));
            }
        }
    }
}

/// Something that was planned is due; its number in the plan.
pub(crate) struct Planned(pub(crate) usize);

/// The key of a machine.
fn identity(seed: u64, machine: usize) -> Identity {
    Identity::from_seed(&Chance::new(seed, &format!("key {machine}")).bytes())
}
