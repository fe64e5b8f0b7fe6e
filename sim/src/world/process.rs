//! The lives of a machine: it is started, goes down, comes back from a copy, joins, leaves.

use leveret::merge::Draft;
use leveret::model::script::parse_line;
use leveret::model::{PublicKey, RepoId};
use leveret::replica::{JoinCheck, OpenError, Repair, RepairAnyway, RepairError, Replica};

use super::disk::Disk;
use super::machine::{CrashAt, Down, Machine, Role};
use super::queue::Micros;
use super::{Happening, Note, World};
use crate::chance::Chance;
use crate::plan::Kind;

/// For how long a join token is good, in milliseconds.
const TOKEN_MS: u64 = 3_600_000;
/// How long after a failed opening the next one is tried.
const RETRY: Micros = Micros::from_seconds(1);

impl World {
    /// Starts a machine, unless it runs, is hostile, or is gone.
    ///
    /// # Panics
    /// If its directory can not be opened though nothing is wrong with its disk.
    pub fn start(&mut self, machine: usize) {
        let me = &self.machines[machine];
        if me.is_up() || !me.is_member() || me.kept_down {
            return;
        }
        match self.open(machine) {
            Ok(replica) => {
                self.trace.line(self.now, machine, format_args!("starts"));
                self.machines[machine].replica = Some(replica);
                self.opened(machine);
                self.dial_all(machine);
            }
            Err(error) => panic!("m{machine} can not be opened: {error}"),
        }
    }

    /// Starts a machine after so many microseconds.
    pub(crate) fn start_after(&mut self, machine: usize, pause_us: u64) {
        let at = self.now.plus(pause_us);
        self.queue.push(at, Happening::Start { machine });
    }

    fn open(&mut self, machine: usize) -> Result<Replica, OpenError> {
        let seed = self.chance.bytes();
        let now = self.clock(machine);
        let me = &mut self.machines[machine];
        me.life.0 += 1;
        me.wakes = None;
        me.reopening = false;
        me.jobs.clear();
        me.saves.clear();
        me.drafts.clear();
        let storage = me.disk.storage();
        Replica::open(me.config.clone(), me.identity.clone(), storage, seed, now)
    }

    /// A replica has just been opened.
    fn opened(&mut self, machine: usize) {
        self.trace.step(self.now, machine, "open", &[]);
        let Some(replica) = self.machines[machine].replica.take() else {
            return;
        };
        self.note(&Note::Opened {
            machine,
            replica: &replica,
        });
        self.machines[machine].replica = Some(replica);
        self.drain(machine);
    }

    /// A store that had failed is opened again, unless it is still full.
    pub(super) fn reopen(&mut self, machine: usize, life: super::Life) {
        let me = &mut self.machines[machine];
        if me.life != life || !me.is_up() {
            return;
        }
        if me.disk.is_full() {
            let at = self.now.after(RETRY);
            self.queue.push(at, Happening::Reopen { machine, life });
            return;
        }
        let lying = me.disk.is_lying();
        if me.disk.holds_back() {
            self.tally.meet(Kind::LostTail);
        }
        if let Some(replica) = me.replica.take() {
            self.note(&Note::Down {
                machine,
                how: if lying { Down::TailLost } else { Down::Crashed },
                replica: &replica,
            });
            self.count(&replica);
        }
        self.machines[machine].disk.crash();
        self.tally.mark("store opened again");
        match self.open(machine) {
            Ok(replica) => {
                self.machines[machine].replica = Some(replica);
                let now = self.clock(machine);
                let links: Vec<_> = self.machines[machine].links.keys().copied().collect();
                for (connection, key) in links.into_iter().zip(self.keys_of_others(machine)) {
                    if let Some(replica) = &mut self.machines[machine].replica {
                        replica.connected(now, connection, key);
                    }
                }
                self.opened(machine);
            }
            Err(error) => panic!("m{machine} can not be opened again: {error}"),
        }
    }

    /// The keys at the other ends of a machine's connections, in the order of its own numbers.
    fn keys_of_others(&self, machine: usize) -> Vec<PublicKey> {
        self.connections_of(machine)
            .into_iter()
            .map(|(_, _, other)| self.machines[other].identity.public())
            .collect()
    }

    /// Ends the life of a machine, if it runs.
    pub fn go_down(&mut self, machine: usize, how: Down) {
        let lying = self.machines[machine].disk.is_lying();
        let how = match how {
            Down::Crashed if lying => Down::TailLost,
            how => how,
        };
        let Some(replica) = self.machines[machine].replica.take() else {
            return;
        };
        self.trace
            .line(self.now, machine, format_args!("goes down: {how:?}"));
        self.trace.step(self.now, machine, "down", &[how as u8]);
        self.note(&Note::Down {
            machine,
            how,
            replica: &replica,
        });
        self.count(&replica);
        drop(replica);
        let me = &mut self.machines[machine];
        me.jobs.clear();
        me.life.0 += 1;
        me.wakes = None;
        me.crash_at = None;
        match how {
            Down::Stopped => me.disk.stop(),
            _ => {
                if me.disk.holds_back() && how == Down::TailLost {
                    self.tally.meet(Kind::LostTail);
                }
                me.disk.crash();
            }
        }
        self.disconnect_all(machine);
    }

    /// Has a machine crash, at once or where it is told to, and start again after a while.
    pub(crate) fn crash(&mut self, machine: usize, at: Option<CrashAt>, chance: &mut Chance) {
        if at.is_some() {
            self.machines[machine].crash_at = at;
        } else if self.machines[machine].is_up() {
            self.tally.meet(Kind::Crash);
            self.go_down(machine, Down::Crashed);
            self.start_after(machine, chance.spread(1_000, 20_000_000));
        }
    }

    /// Stops a machine in good order: what it has is made durable first.
    pub fn stop(&mut self, machine: usize) {
        let now = self.clock(machine);
        let Some(replica) = &mut self.machines[machine].replica else {
            return;
        };
        replica.close(now);
        // Its disk does at once what is left to do; a good one, in no time.
        for _ in 0..CLOSING_JOBS_MAX {
            self.drain(machine);
            let me = &self.machines[machine];
            if me.replica.as_ref().is_none_or(Replica::is_closed) {
                break;
            }
            let Some(job) = me.jobs.keys().next().copied() else {
                break;
            };
            let life = me.life;
            self.disk_done(machine, life, job, false);
        }
        self.go_down(machine, Down::Stopped);
    }

    /// Keeps a machine down, or lets it come back.
    pub fn keep_down(&mut self, machine: usize, down: bool) {
        self.machines[machine].kept_down = down;
        if !down {
            self.start(machine);
            self.dial_all(machine);
        }
    }

    /// Adds what a replica has counted in its life to the marks.
    fn count(&mut self, replica: &Replica) {
        let counters = replica.counters();
        let merged = replica.state(RepoId::MAIN).counters();
        for (name, times) in counters.entries().into_iter().chain(merged.entries()) {
            self.tally.marks_add(name, times);
        }
    }

    /// Adds what the replicas that still run have counted.
    pub(crate) fn count_all(&mut self) {
        for machine in self.running() {
            if let Some(replica) = self.machines[machine].replica.take() {
                self.count(&replica);
                self.machines[machine].replica = Some(replica);
            }
        }
    }

    /// Puts a machine there with the directory and key of another, as if it had been copied while
    /// that one ran. It is started, and knows whom the other one knows.
    pub fn clone_machine(&mut self, of: usize) -> usize {
        let original = &self.machines[of];
        let mut copy = Machine::new(
            original.identity.clone(),
            original.config.clone(),
            original.disk.copy(),
        );
        copy.clock = original.clock;
        let neighbours = original.neighbours.clone();
        self.machines.push(copy);
        let index = self.machines.len() - 1;
        self.start(index);
        for other in neighbours {
            self.introduce(other, index);
        }
        self.introduce(of, index);
        index
    }

    /// A copy of a machine's directory.
    pub fn copy_disk(&self, machine: usize) -> Disk {
        self.machines[machine].disk.copy()
    }

    /// Has somebody say on a machine that its clock is right.
    ///
    /// # Errors
    /// What the replica says against it.
    ///
    /// # Panics
    /// If it is not running.
    pub(crate) fn repair_clock(&mut self, machine: usize) -> Result<Repair, RepairError> {
        let now = self.clock(machine);
        let replica = self.machines[machine].replica.as_mut();
        let replica = replica.expect("asked of machines that run");
        // Whoever does this has set the clock right just before.
        let anyway = RepairAnyway {
            alone: false,
            clock_is_right: true,
        };
        let step = replica.repair_clock(now, anyway);
        self.trace.step(self.now, machine, "repair", &[]);
        self.trace.line(
            self.now,
            machine,
            format_args!("repairs its clock: {step:?}"),
        );
        self.drain(machine);
        step
    }

    /// Makes a machine a member, by the word of another that runs. Whether that one could say so.
    pub fn make_member(&mut self, by: usize, whom: usize) -> bool {
        let key = self.machines[whom].identity.public();
        let name = format!("m{whom}");
        let now = self.clock(by);
        let Some(replica) = &mut self.machines[by].replica else {
            return false;
        };
        let said = replica.admit(now, key, &name, &[]).is_ok();
        self.drain(by);
        said
    }

    /// Whether two machines may connect. Each dials the other, so it is enough that one of them
    /// lets the other in, which is a member to it, or shows it a good token.
    pub(super) fn admit(&mut self, a: usize, b: usize) -> bool {
        let mut reach = |dialler, answerer| {
            self.dials(dialler, answerer)
                && (self.lets_in(dialler, answerer) || self.vouched(dialler, answerer))
        };
        reach(a, b) || reach(b, a)
    }

    /// Whether a machine dials another: it is a member to it, or the dialler is about to join.
    fn dials(&self, dialler: usize, answerer: usize) -> bool {
        let key = |machine: usize| self.machines[machine].identity.public();
        let replica = self.machines[dialler].replica.as_ref();
        replica.is_none_or(|replica| {
            replica.is_member(&key(answerer)) || !replica.is_member(&key(dialler))
        })
    }

    /// Whether a machine that is dialled takes the dialler for a member.
    fn lets_in(&self, dialler: usize, answerer: usize) -> bool {
        let key = self.machines[dialler].identity.public();
        let replica = self.machines[answerer].replica.as_ref();
        // One that is hostile lets anybody in.
        replica.is_none_or(|replica| replica.is_member(&key))
    }

    /// A newcomer that was given a token shows it: if it is good, the one it dials saves that it
    /// is a member.
    fn vouched(&mut self, newcomer: usize, by: usize) -> bool {
        let now = self.clock(by);
        let (Some(secret), Some(replica)) =
            (self.machines[newcomer].token, &self.machines[by].replica)
        else {
            return false;
        };
        let check = replica.check_join(now, &secret);
        let joins = matches!(check, Ok(JoinCheck::Ok)) && self.make_member(by, newcomer);
        if joins && std::mem::take(&mut self.machines[newcomer].is_joining) {
            self.tally.meet(Kind::Join);
        }
        joins
    }

    /// Whether a machine runs and is no member in its own eyes.
    pub(crate) fn is_stranger(&self, machine: usize) -> bool {
        let me = &self.machines[machine];
        let replica = me.replica.as_ref();
        replica.is_some_and(|replica| !replica.is_member(&me.identity.public()))
    }

    /// Gives a machine a join token, made by another that runs. Whether that one could.
    pub fn give_token(&mut self, by: usize, whom: usize) -> bool {
        let now = self.clock(by);
        let until = now.plus_millis(TOKEN_MS);
        let Some(replica) = &mut self.machines[by].replica else {
            return false;
        };
        let issued = replica.issue_token(now, until);
        self.drain(by);
        let Ok((secret, _)) = issued else {
            return false;
        };
        self.machines[whom].token = Some(secret);
        true
    }

    /// Takes a machine out of the cluster for good; another one that runs says so.
    pub fn remove_member(&mut self, by: usize, whom: usize) -> bool {
        let removed = self.cast_out(by, whom);
        if removed {
            let key = self.machines[whom].identity.public();
            self.send_away(|machine| machine.identity.public() == key);
        }
        removed
    }

    /// The same, but the one that is taken out goes on: those it is connected to still take what it
    /// sends, as the driver ends no connection for that.
    pub(crate) fn cast_out(&mut self, by: usize, whom: usize) -> bool {
        let key = self.machines[whom].identity.public();
        let founder = self.machines[0].identity.public();
        let author = self.machines[by].identity.public();
        if key == founder || key == author || !self.say_removed(by, whom) {
            return false;
        }
        // Copies of its directory go with it.
        for machine in &mut self.machines {
            if machine.is_member() && machine.identity.public() == key {
                machine.role = Role::Outcast;
            }
        }
        true
    }

    /// Those that were taken out and went on stop.
    pub(crate) fn send_outcasts_away(&mut self) {
        self.send_away(|_| true);
    }

    fn send_away(&mut self, whom: impl Fn(&Machine) -> bool) {
        for index in 0..self.machines.len() {
            let machine = &self.machines[index];
            if machine.role == Role::Outcast && whom(machine) {
                self.go_down(index, Down::Stopped);
                self.machines[index].role = Role::Gone;
            }
        }
    }

    /// Saves that a machine is no member any more.
    fn say_removed(&mut self, by: usize, whom: usize) -> bool {
        let key = self.machines[whom].identity.public();
        let Some(replica) = &self.machines[by].replica else {
            return false;
        };
        let mut draft = Draft::new(replica.state(RepoId::SYSTEM).latest(), replica.origin());
        let line = format!("remove /members/{key}");
        let operation = parse_line(&line).expect("a well-formed line");
        if draft.apply(&operation).is_err() {
            return false;
        }
        draft.overwrite(true);
        self.save(by, &draft)
    }
}

/// Most writes that closing takes.
const CLOSING_JOBS_MAX: usize = 64;
