//! Carries out a plan: what strikes whom, and what is mended when.

mod clocks;
mod hostile;
mod load;
mod repairs;

use std::collections::{BTreeMap, BTreeSet};

use leveret::model::{OriginId, PublicKey, RepoId, Sequence};

use crate::chance::Chance;
use crate::plan::{Kind, Plan, Planned, Profile};
use crate::world::{CrashAt, Disk, Down, Happening, Micros, World};
use load::Load;

/// Longest lead of a clock that is wrong, in milliseconds, but for the one that is a year ahead.
pub(crate) const LEAD_MS_MAX: u64 = 600_000;

/// Something that ends.
enum Ending {
    Mend(Kind, Vec<(usize, usize)>),
    Room(usize),
    FastDisk(usize),
    /// A disk that lies goes down, with what it had not kept.
    Truth(usize),
    Thaw(usize),
    Return(usize),
}

enum Todo {
    Planned(Planned),
    End(Ending),
    /// A machine that was taken out writes something; the how many-th time.
    WriteOn(usize, usize),
    /// Somebody says that the clock of a machine is right; so many times more.
    Repair(usize, u32),
}

/// A copy of a directory.
struct Backup {
    machine: usize,
    disk: Disk,
    /// What it has of `main`.
    stored: BTreeMap<OriginId, Sequence>,
}

/// See the top of the file.
pub(crate) struct Director {
    seed: u64,
    load: Load,
    machines_max: usize,
    todo: Vec<Option<Todo>>,
    backups: Vec<Backup>,
    hostile: Option<usize>,
    /// Machines that live far in the future.
    pub(crate) ahead: BTreeSet<usize>,
    /// The keys of those that once did.
    pub(crate) odd: BTreeSet<PublicKey>,
    /// Repairs that are not done.
    repairing: usize,
    /// No fault strikes any more.
    healing: bool,
}

impl Director {
    /// Puts the machines of a plan into a world, and plans what happens.
    pub(crate) fn new(plan: &Plan, world: &mut World) -> Self {
        let mut director = Self {
            seed: plan.seed,
            load: Load::new(plan),
            machines_max: plan.machines_max,
            todo: Vec::new(),
            backups: Vec::new(),
            hostile: None,
            ahead: BTreeSet::new(),
            odd: BTreeSet::new(),
            repairing: 0,
            healing: false,
        };
        director.found(plan, world);
        for (at, planned) in &plan.schedule {
            let at = SETTLED.after(*at);
            director.later(world, at, Todo::Planned(*planned));
        }
        director
    }

    /// The machines there are at the beginning: all members, strangers to one another.
    fn found(&mut self, plan: &Plan, world: &mut World) {
        let mut chance = Chance::new(plan.seed, "machines");
        let hostile = plan.kinds.iter().any(|kind| kind.is_hostile());
        let count = plan.replicas + usize::from(hostile);
        for number in 0..count {
            let mut config = world.config();
            config.name = format!("m{number}");
            // Where things are measured, the settings are the usual ones.
            if plan.profile != Profile::Calm {
                let (least, most) = match plan.is_wide() {
                    // Small against the state, and not so small that nothing else happens.
                    true => (1 << 20, 32 << 20),
                    false => (16 << 10, 1 << 20),
                };
                config.cache_bytes = usize::try_from(chance.spread(least, most)).expect("small");
                config.checkpoint_interval_ms = chance.spread(500, 10_000);
            }
            if chance.permille(plan.relaxed_permille) {
                config.durability = leveret::replica::Durability::Relaxed;
            }
            world.add_machine(config);
        }
        if hostile {
            world.turn_hostile(plan.replicas);
            self.hostile = Some(plan.replicas);
        }
        world.start(0);
        for machine in 1..count {
            world.make_member(0, machine);
            world.start(machine);
        }
        for machine in 0..plan.replicas {
            for other in plan.neighbours(machine) {
                world.introduce(machine, other);
            }
            if let Some(hostile) = self.hostile
                && (machine < 2 || chance.permille(500))
            {
                world.introduce(machine, hostile);
            }
        }
    }

    fn later(&mut self, world: &mut World, at: Micros, todo: Todo) {
        let number = self.todo.len();
        self.todo.push(Some(todo));
        world.queue.push(at, Happening::Planned(number));
    }

    fn end_later(&mut self, world: &mut World, pause_us: u64, ending: Ending) {
        let at = world.now.plus(pause_us);
        self.later(world, at, Todo::End(ending));
    }

    /// Something that was planned is due.
    pub(crate) fn act(&mut self, world: &mut World, number: usize) {
        let Some(todo) = self.todo.get_mut(number).and_then(Option::take) else {
            return;
        };
        match todo {
            Todo::End(ending) => end(world, ending),
            Todo::Planned(_) | Todo::WriteOn(..) if self.healing => {}
            Todo::Repair(machine, looks) => {
                self.repairing -= 1;
                self.repair(world, machine, looks);
            }
            Todo::WriteOn(machine, number) => self.load.write_on(world, machine, number),
            Todo::Planned(Planned::Save(number)) => {
                // Copies of directories are taken while things happen.
                if number % 8 == 3 {
                    self.back_up(world, number);
                }
                self.load.save(world, number);
            }
            Todo::Planned(Planned::Act(kind, number)) => self.strike(world, kind, number),
        }
    }

    fn back_up(&mut self, world: &World, number: usize) {
        let mut chance = Chance::new(self.seed, &format!("backup {number}"));
        let running = world.running();
        if !running.is_empty() && self.backups.len() < BACKUPS_MAX {
            let machine = *chance.one_of(&running);
            self.backups.push(Backup {
                machine,
                disk: world.copy_disk(machine),
                stored: world.stored(machine, RepoId::MAIN),
            });
        }
    }

    fn strike(&mut self, world: &mut World, kind: Kind, number: usize) {
        let mut chance = Chance::new(self.seed, &format!("{kind} {number}"));
        let members = world.members();
        let running = world.running();
        if running.is_empty() {
            return;
        }
        let one = *chance.one_of(&running);
        world
            .trace
            .line(world.now, one, format_args!("{kind} number {number}"));
        match kind {
            Kind::Loss => world.network.weather.lost_permille = percent(&mut chance, 300),
            Kind::Vanish => world.network.weather.vanished_permille = percent(&mut chance, 100),
            Kind::Duplicate => world.network.weather.doubled_permille = percent(&mut chance, 200),
            Kind::Reorder => world.network.weather.overtaken_permille = percent(&mut chance, 300),
            Kind::Cut => {
                let other = *chance.one_of(&members);
                if one != other {
                    world.cut(one, other, kind);
                    let pause = chance.spread(100_000, 40_000_000);
                    self.end_later(world, pause, Ending::Mend(kind, vec![(one, other)]));
                }
            }
            Kind::Partition => self.partition(world, &members, &mut chance),
            Kind::SlowLink => {
                for other in members.iter().filter(|other| **other != one) {
                    if chance.permille(500) {
                        let speed = chance.spread(2_000, 500_000);
                        world.slow_down(one, *other, speed);
                    }
                }
            }
            Kind::DeadConnection => {
                let number = chance.index(1 << 16);
                world.doom_connection(number);
            }
            Kind::Skew | Kind::Drift => {
                for machine in members {
                    self.disturb_clock(world, kind, machine, &mut chance);
                }
            }
            Kind::JumpForward | Kind::JumpBack | Kind::Frozen | Kind::YearAhead => {
                self.disturb_clock(world, kind, one, &mut chance);
            }
            Kind::RepairClock => self.repair_one(world, &mut chance),
            Kind::Crash => {
                let at = match chance.below(3) {
                    0 => None,
                    1 => Some(CrashAt::Before),
                    _ => Some(CrashAt::After),
                };
                world.crash(one, at, &mut chance);
            }
            Kind::Torn => {
                let permille = u32::try_from(chance.below(1_001)).expect("small");
                let at = match chance.below(3) {
                    0 => CrashAt::Checkpoint {
                        kept: permille > 500,
                    },
                    _ => CrashAt::Amid(permille),
                };
                world.crash(one, Some(at), &mut chance);
            }
            Kind::Restart => {
                world.stop(one);
                world.tally.meet(kind);
                world.start_after(one, chance.spread(1_000, 10_000_000));
            }
            Kind::RestoredBackup => self.restore(world, &mut chance),
            Kind::Clone => {
                if members.len() < self.machines_max && !self.ahead.contains(&one) {
                    world.clone_machine(one);
                    world.tally.meet(kind);
                }
            }
            Kind::LostTail => {
                world.machines[one].disk.set_lying(true);
                self.end_later(world, chance.spread(50_000, 5_000_000), Ending::Truth(one));
            }
            Kind::DiskFull => {
                world.machines[one].disk.set_full(true);
                self.end_later(world, chance.spread(500_000, 20_000_000), Ending::Room(one));
            }
            Kind::SlowSync => {
                world.machines[one].disk.set_slow(chance.spread(10, 1_000));
                self.end_later(
                    world,
                    chance.spread(500_000, 20_000_000),
                    Ending::FastDisk(one),
                );
            }
            Kind::Join => self.join(world, one, &mut chance),
            Kind::Leave => {
                let other = *chance.one_of(&running);
                if running.len() > 2
                    && one != other
                    && other != 0
                    && world.remove_member(one, other)
                {
                    world.tally.meet(kind);
                }
            }
            Kind::Absence => {
                if running.len() > 1 {
                    world.stop(one);
                    world.keep_down(one, true);
                    world.tally.meet(kind);
                    self.end_later(
                        world,
                        chance.spread(10_000_000, 90_000_000),
                        Ending::Return(one),
                    );
                }
            }
            Kind::Outcast => self.cast_out(world, one, &running, &mut chance),
            // It is in when the saves are.
            Kind::Burst => {}
            Kind::HotProperty | Kind::HotParent | Kind::ContendedMoves => {
                self.load.rush(world, kind, &mut chance);
            }
            Kind::WideNode | Kind::DeepPath | Kind::LargeSet => {
                self.load.large(world, kind, number);
            }
            Kind::CutFrame
            | Kind::AlteredFrame
            | Kind::Gap
            | Kind::ForgedAuthor
            | Kind::Equivocation
            | Kind::Flood
            | Kind::FarAhead
            | Kind::FallingIds => {
                if let Some(hostile) = self.hostile {
                    hostile::strike(world, hostile, kind, &mut chance);
                }
            }
        }
    }

    /// Lets the machines fall into two or three groups that can not reach one another.
    fn partition(&mut self, world: &mut World, members: &[usize], chance: &mut Chance) {
        let groups = chance.within(2, 3);
        let group: Vec<u64> = members.iter().map(|_| chance.below(groups)).collect();
        let mut cuts = Vec::new();
        for (i, a) in members.iter().enumerate() {
            for (j, b) in members.iter().enumerate() {
                if group[i] != group[j] {
                    world.cut(*a, *b, Kind::Partition);
                    cuts.push((*a, *b));
                }
            }
        }
        let pause = chance.spread(500_000, 60_000_000);
        self.end_later(world, pause, Ending::Mend(Kind::Partition, cuts));
    }

    /// Has a machine crash, and go on from a copy of its directory that was taken earlier.
    fn restore(&mut self, world: &mut World, chance: &mut Chance) {
        let is_old = |backup: &Backup| {
            let running = world.running().contains(&backup.machine);
            running && world.stored(backup.machine, RepoId::MAIN) != backup.stored
        };
        let candidates: Vec<usize> = (0..self.backups.len())
            .filter(|i| is_old(&self.backups[*i]))
            .collect();
        if candidates.is_empty() {
            return;
        }
        let backup = &self.backups[*chance.one_of(&candidates)];
        let machine = backup.machine;
        world.go_down(machine, Down::Restored);
        world.machines[machine].disk.restore(&backup.disk);
        world.tally.meet(Kind::RestoredBackup);
        world.start_after(machine, chance.spread(1_000, 5_000_000));
    }

    /// A machine is taken out, and goes on as if it had not been.
    fn cast_out(&mut self, world: &mut World, by: usize, from: &[usize], chance: &mut Chance) {
        let whom = *chance.one_of(from);
        if from.len() < 3 || whom == by || whom == 0 || !world.cast_out(by, whom) {
            return;
        }
        for number in 0..OUTCAST_SAVES {
            let at = world.now.plus(chance.spread(1_000, 20_000_000));
            self.later(world, at, Todo::WriteOn(whom, number));
        }
    }

    /// A machine joins with a token that another one made.
    fn join(&mut self, world: &mut World, by: usize, chance: &mut Chance) {
        if world.members().len() >= self.machines_max || self.ahead.contains(&by) {
            return;
        }
        let mut config = world.config();
        config.cache_bytes = 64 << 10;
        let machine = world.add_machine(config);
        config_name(world, machine);
        if !world.give_token(by, machine) {
            world.machines[machine].role = crate::world::Role::Gone;
            return;
        }
        world.machines[machine].is_joining = true;
        world.start(machine);
        world.introduce(machine, by);
        let running = world.running();
        let other = *chance.one_of(&running);
        world.introduce(machine, other);
    }

    /// The faults stop: what is down comes back, clocks are set right, the network is well.
    pub(crate) fn heal(&mut self, world: &mut World) {
        self.healing = true;
        for todo in &mut self.todo {
            if let Some(Todo::End(ending)) = todo.take_if(|todo| !matches!(todo, Todo::Repair(..)))
            {
                end(world, ending);
            }
        }
        world.send_outcasts_away();
        world.calm_network();
        for machine in 0..world.machines.len() {
            world.machines[machine].clock.repair();
            world.machines[machine].crash_at = None;
            let disk = &mut world.machines[machine].disk;
            disk.set_slow(1);
            disk.set_full(false);
            if disk.is_lying() {
                disk.set_lying(false);
            }
            if world.machines[machine].is_member() {
                world.keep_down(machine, false);
            }
        }
        self.backups.clear();
        self.connect_the_rest(world);
        self.repair_some(world);
    }

    /// Where machines that are gone were all that lay between two others, these get to know each
    /// other. Nobody else does: whoever was connected by a relay has to be content with it.
    fn connect_the_rest(&self, world: &mut World) {
        let members = world.members();
        let Some(first) = members.first().copied() else {
            return;
        };
        for other in members {
            if !world.is_linked(first, other) {
                world.introduce(first, other);
            }
        }
    }

    /// A token may have been lost with the one that made it, and so may the word of one that had let
    /// somebody in, or it did not count any more: another token is asked for.
    pub(crate) fn help_strangers(&self, world: &mut World) {
        self.connect_the_rest(world);
        let members = world.members();
        for machine in members.iter().copied().filter(|machine| *machine != 0) {
            let outside = world.is_stranger(machine) || !world.is_linked(0, machine);
            if outside && world.give_token(0, machine) {
                world.introduce(0, machine);
            }
        }
    }
}

/// When the first act begins: by then the machines know one another.
pub(crate) const SETTLED: Micros = Micros::from_seconds(5);
/// Saves of a machine that was taken out.
const OUTCAST_SAVES: usize = 8;
/// Most copies of directories that are kept.
const BACKUPS_MAX: usize = 12;

fn config_name(world: &mut World, machine: usize) {
    world.machines[machine].config.name = format!("m{machine}");
}

fn percent(chance: &mut Chance, permille_max: u64) -> u32 {
    u32::try_from(chance.within(1, permille_max)).expect("small")
}

fn end(world: &mut World, ending: Ending) {
    match ending {
        Ending::Mend(kind, cuts) => {
            cuts.into_iter()
                .for_each(|(from, to)| world.mend(from, to, kind));
        }
        Ending::Room(machine) => world.machines[machine].disk.set_full(false),
        Ending::FastDisk(machine) => world.machines[machine].disk.set_slow(1),
        Ending::Truth(machine) => {
            if world.machines[machine].disk.is_lying() && world.machines[machine].is_up() {
                world.go_down(machine, Down::TailLost);
                world.start_after(machine, 100_000);
            }
        }
        Ending::Thaw(machine) => world.machines[machine].clock.thaw(),
        Ending::Return(machine) => world.keep_down(machine, false),
    }
}
