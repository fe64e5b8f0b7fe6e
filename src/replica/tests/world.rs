//! A small world: machines with stores in memory, links between them, and a clock that only moves
//! when nothing is left to do. Everything that is drawn comes from one seed.

mod acts;

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::codec::message::{decode, encode};
use crate::model::{PublicKey, Time};
use crate::replica::{
    Alarm, CheckpointToken, CommitEvent, CommitToken, ConnectionId, Founder, Identity, Message,
    Output, Receipt, Replica, ReplicaConfig, Ticket,
};
use crate::storage::memory::MemoryStorage;
use crate::storage::{Change, Key, Storage, StorageError};

/// Where the virtual clock begins, in milliseconds after 1970.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// Sees a message from one machine to another, and gives back what is to go out.
type Tap = fn(usize, usize, Message) -> Option<Message>;

/// What happens to messages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    /// Of a thousand messages, so many are lost.
    pub(super) lost: u32,
    /// Of a thousand messages, so many come twice.
    pub(super) doubled: u32,
    /// Messages take 1 ms and up to so many more, so that they overtake one another.
    pub(super) jitter_ms: u64,
}

pub(super) struct Machine {
    pub(super) replica: Option<Replica>,
    pub(super) storage: Arc<MemoryStorage>,
    pub(super) config: ReplicaConfig,
    pub(super) identity: Identity,
    /// How far its clock is ahead, in milliseconds.
    pub(super) clock_ms: i64,
    /// Counts its lives: what was asked in an earlier one is not answered in the next.
    life: u64,
    pub(super) alarms: Vec<Alarm>,
    pub(super) events: Vec<CommitEvent>,
    pub(super) saved: BTreeMap<Ticket, Receipt>,
    pub(super) failed: Vec<Ticket>,
    pub(super) closed: Vec<String>,
    /// While set, commits wait.
    pub(super) frozen_disk: bool,
    waiting: Vec<Work>,
}

#[derive(Debug)]
enum Work {
    Deliver(ConnectionId, Box<Message>),
    Commit(u64, CommitToken, Vec<(Key, Vec<u8>)>),
    Checkpoint(u64, CheckpointToken, Vec<Change>),
    /// The replica has asked to be opened again.
    Reopen(u64),
}

pub(super) struct World {
    pub(super) now_ms: u64,
    pub(super) weather: Weather,
    pub(super) machines: Vec<Machine>,
    rng: ChaCha8Rng,
    queue: BTreeMap<(u64, u64), (usize, Work)>,
    serial: u64,
    /// The two ends of each connection.
    links: BTreeMap<(usize, ConnectionId), (usize, ConnectionId)>,
    /// Messages seen by a test before they go out: it may change or drop them.
    pub(super) tap: Option<Tap>,
}

fn identity(i: usize) -> Identity {
    Identity::from_seed(&[u8::try_from(i).unwrap() + 1; 32])
}

impl World {
    /// So many machines, of which the first founds the cluster. The others are no members yet.
    pub(super) fn strangers(count: usize, seed: u64) -> Self {
        let founder = Founder {
            key: identity(0).public(),
            nonce: [3; 16],
        };
        let mut world = Self {
            now_ms: EPOCH_MS,
            weather: Weather::default(),
            machines: Vec::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            queue: BTreeMap::new(),
            serial: 0,
            links: BTreeMap::new(),
            tap: None,
        };
        for i in 0..count {
            let mut config = ReplicaConfig::new(founder);
            config.name = format!("m{i}");
            config.addresses = vec![format!("10.0.0.{i}:7411")];
            world.add_machine(config, identity(i), Arc::new(MemoryStorage::new()));
        }
        world
    }

    /// So many machines, all of them members.
    pub(super) fn members(count: usize, seed: u64) -> Self {
        let mut world = Self::strangers(count, seed);
        for i in 1..count {
            world.admit(0, i);
        }
        world
    }

    pub(super) fn add_machine(
        &mut self,
        config: ReplicaConfig,
        identity: Identity,
        storage: Arc<MemoryStorage>,
    ) -> usize {
        self.machines.push(Machine {
            replica: None,
            storage,
            config,
            identity,
            clock_ms: 0,
            life: 0,
            alarms: Vec::new(),
            events: Vec::new(),
            saved: BTreeMap::new(),
            failed: Vec::new(),
            closed: Vec::new(),
            frozen_disk: false,
            waiting: Vec::new(),
        });
        let i = self.machines.len() - 1;
        self.open(i);
        i
    }

    pub(super) fn open(&mut self, i: usize) {
        let seed = self.rng.random();
        self.open_with(i, seed);
    }

    pub(super) fn open_with(&mut self, i: usize, seed: [u8; 32]) {
        let now = self.time(i);
        let machine = &mut self.machines[i];
        machine.life += 1;
        // Tickets are counted from the beginning again.
        machine.saved.clear();
        machine.replica = Some(
            Replica::open(
                machine.config.clone(),
                machine.identity.clone(),
                machine.storage.clone(),
                seed,
                now,
            )
            .unwrap(),
        );
        self.drain(i);
    }

    /// Opens a replica again under its connections, as the driver does.
    fn open_again(&mut self, i: usize) {
        self.machines[i].storage = Arc::new(self.machines[i].storage.crash());
        self.open(i);
        let ends: Vec<_> = self
            .links
            .iter()
            .filter(|((machine, _), _)| *machine == i)
            .map(|((_, connection), (peer, _))| (*connection, *peer))
            .collect();
        for (connection, peer) in ends {
            let (now, key) = (self.time(i), self.key(peer));
            self.replica(i).connected(now, connection, key);
            self.drain(i);
        }
    }

    /// Ends a machine's life at once; what no barrier covers is lost.
    pub(super) fn crash(&mut self, i: usize) {
        self.machines[i].replica = None;
        self.machines[i].waiting.clear();
        self.machines[i].storage = Arc::new(self.machines[i].storage.crash());
        let ends: Vec<_> = self
            .links
            .keys()
            .filter(|(m, _)| *m == i)
            .copied()
            .collect();
        for end in ends {
            self.cut(end);
        }
    }

    fn cut(&mut self, end: (usize, ConnectionId)) {
        let Some(other) = self.links.remove(&end) else {
            return;
        };
        self.links.remove(&other);
        for (i, connection) in [end, other] {
            let now = self.time(i);
            if let Some(replica) = &mut self.machines[i].replica {
                replica.disconnected(now, connection);
                self.drain(i);
            }
        }
    }

    pub(super) fn disconnect(&mut self, a: usize, b: usize) {
        let ends: Vec<_> = self
            .links
            .iter()
            .filter(|(from, to)| from.0 == a && to.0 == b)
            .map(|(from, _)| *from)
            .collect();
        ends.into_iter().for_each(|end| self.cut(end));
    }

    pub(super) fn connect(&mut self, a: usize, b: usize) {
        self.serial += 2;
        let ends = [
            (a, ConnectionId(self.serial)),
            (b, ConnectionId(self.serial + 1)),
        ];
        self.links.insert(ends[0], ends[1]);
        self.links.insert(ends[1], ends[0]);
        for ((i, connection), (peer, _)) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let (now, key) = (self.time(i), self.key(peer));
            self.replica(i).connected(now, connection, key);
            self.drain(i);
        }
    }

    pub(super) fn connect_all(&mut self) {
        let count = self.machines.len();
        for a in 0..count {
            for b in a + 1..count {
                self.connect(a, b);
            }
        }
    }

    pub(super) fn key(&self, i: usize) -> PublicKey {
        self.machines[i].identity.public()
    }

    pub(super) fn replica(&mut self, i: usize) -> &mut Replica {
        self.machines[i].replica.as_mut().unwrap()
    }

    /// What machine `i` takes for the time.
    pub(super) fn time(&self, i: usize) -> Time {
        let ahead = self.machines[i].clock_ms;
        Time::from_unix_millis(self.now_ms.checked_add_signed(ahead).unwrap())
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, millis: u64) {
        let end = self.now_ms + millis;
        while self.step(end) {}
        self.now_ms = end;
    }

    pub(super) fn run_until(&mut self, within_ms: u64, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now_ms + within_ms;
        while !done(self) {
            assert!(self.step(end), "not within {within_ms} ms");
        }
    }

    /// Does what is next; nothing if that is after `end`.
    fn step(&mut self, end: u64) -> bool {
        let work = self.queue.first_key_value().map(|((at, _), _)| *at);
        let timer = (0..self.machines.len())
            .filter_map(|i| {
                let due = self.machines[i].replica.as_ref()?.next_timeout();
                // Rounded up, and from its clock to that of the world.
                let due = due.unix_millis().saturating_add(1);
                let ahead = self.machines[i].clock_ms;
                Some((due.checked_add_signed(-ahead)?.max(self.now_ms), i))
            })
            .min();
        let (at, who) = match (work, timer) {
            (None, None) => return false,
            (Some(at), None) => (at, None),
            (Some(at), Some((due, _))) if at <= due => (at, None),
            (_, Some((due, i))) => (due, Some(i)),
        };
        if at > end {
            return false;
        }
        self.now_ms = self.now_ms.max(at);
        match who {
            Some(i) => {
                let now = self.time(i);
                self.replica(i).handle_timeout(now);
                self.drain(i);
            }
            None => {
                let (_, (i, work)) = self.queue.pop_first().unwrap();
                self.perform(i, work);
            }
        }
        true
    }

    fn perform(&mut self, i: usize, work: Work) {
        let now = self.time(i);
        let machine = &mut self.machines[i];
        let Some(replica) = &mut machine.replica else {
            return;
        };
        if machine.frozen_disk && !matches!(work, Work::Deliver(..)) {
            machine.waiting.push(work);
            return;
        }
        match work {
            Work::Reopen(life) => {
                if life == machine.life {
                    self.open_again(i);
                }
                return;
            }
            Work::Deliver(connection, message) => {
                if self.links.contains_key(&(i, connection)) {
                    replica.receive(now, connection, *message);
                }
            }
            Work::Commit(life, ..) | Work::Checkpoint(life, ..) if life != machine.life => {}
            Work::Commit(_, token, records) => match machine.storage.append(&records) {
                Ok(()) => replica.committed(now, token),
                Err(error) => replica.storage_failed(now, error),
            },
            Work::Checkpoint(_, token, changes) => {
                let mut between = || Ok::<(), StorageError>(());
                match machine.storage.checkpoint(&changes, &mut between) {
                    Ok(()) => replica.checkpointed(now, token),
                    Err(error) => replica.storage_failed(now, error),
                }
            }
        }
        self.drain(i);
    }

    pub(super) fn thaw(&mut self, i: usize) {
        self.machines[i].frozen_disk = false;
        for work in std::mem::take(&mut self.machines[i].waiting) {
            self.perform(i, work);
        }
    }

    /// Carries out what a replica puts out.
    pub(super) fn drain(&mut self, i: usize) {
        while let Some(output) = self.replica(i).poll_output() {
            let life = self.machines[i].life;
            let machine = &mut self.machines[i];
            match output {
                Output::Send { to, message } => self.transmit(i, to, message),
                Output::Commit { token, records } => {
                    let millis = self.rng.random_range(1..=3);
                    self.later(millis, i, Work::Commit(life, token, records));
                }
                Output::Checkpoint { token, changes } => {
                    let millis = self.rng.random_range(1..=20);
                    self.later(millis, i, Work::Checkpoint(life, token, changes));
                }
                Output::Saved { ticket, receipt } => {
                    assert!(machine.saved.insert(ticket, receipt).is_none());
                }
                Output::SaveFailed { ticket, .. } => machine.failed.push(ticket),
                Output::Event(event) => machine.events.push(event),
                Output::Close { connection, reason } => {
                    machine.closed.push(reason);
                    self.cut((i, connection));
                }
                Output::Alarm(alarm) => {
                    let remake = matches!(alarm, Alarm::Remake { .. } | Alarm::Ahead { .. });
                    machine.alarms.push(alarm);
                    if remake {
                        self.later(50, i, Work::Reopen(life));
                    }
                }
                Output::Witness(mark) => machine.storage.witness(&mark).unwrap(),
                Output::MembersChanged => {}
            }
        }
    }

    fn later(&mut self, millis: u64, i: usize, work: Work) {
        self.serial += 1;
        self.queue
            .insert((self.now_ms + millis, self.serial), (i, work));
    }

    fn transmit(&mut self, from: usize, connection: ConnectionId, message: Message) {
        let Some(&(to, other)) = self.links.get(&(from, connection)) else {
            return;
        };
        let bytes = encode(&message);
        let message = decode(&bytes).unwrap();
        let message = match self.tap {
            Some(tap) => tap(from, to, message),
            None => Some(message),
        };
        let Some(message) = message else {
            return;
        };
        let weather = self.weather;
        if self.rng.random_range(0..1_000) < weather.lost {
            return;
        }
        let copies = 1 + usize::from(self.rng.random_range(0..1_000) < weather.doubled);
        for _ in 0..copies {
            let millis = 1 + self.rng.random_range(0..=weather.jitter_ms);
            let work = Work::Deliver(other, Box::new(message.clone()));
            self.later(millis, to, work);
        }
    }

    pub(super) fn random(&mut self, below: usize) -> usize {
        self.rng.random_range(0..below)
    }
}
