//! What a run will be: drawn from its seed, and changed by its options.
//!
//! A plan says how many machines there are, where they stand, who knows whom, which kinds of
//! faults are on, and when what happens. *Who* it happens to is drawn when it happens, from what
//! is there then; so any part can be left out, and what is left still makes sense.

mod kind;
mod profile;

use std::collections::BTreeSet;

pub use kind::Kind;
pub use profile::Profile;

use crate::chance::Chance;
use crate::regions::Region;
use crate::world::{DiskKind, Geography, Micros};

/// Most machines of a drawn run.
const REPLICAS_MAX: u64 = 8;
/// Most saves of a drawn run.
const SAVES_MAX: u64 = 400;
/// Shortest and longest first act of a drawn run, in seconds.
const SAFETY_SECONDS: (u64, u64) = (20, 120);

/// Bursts of saves in a run that has them.
const BURSTS: u64 = 2;
/// How long a burst lasts, in microseconds.
pub(crate) const BURST_US: u64 = 200_000;
/// Most machines of a run into which some join.
const MACHINES_MAX: usize = 12;
/// Most machines, and saves, of a drawn run with a node of 100,000 children: each machine has them
/// all, and each look at the tree is a long one.
const WIDE_REPLICAS_MAX: usize = 2;
const WIDE_SAVES_MAX: usize = 60;

/// What is asked of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// From which everything is drawn.
    pub seed: u64,
    /// What kind of run.
    pub profile: Profile,
    /// How many machines; drawn if not given.
    pub replicas: Option<usize>,
    /// How many saves; drawn if not given.
    pub saves: Option<usize>,
    /// How long the first act takes, in seconds; drawn if not given.
    pub seconds: Option<u64>,
    /// Kinds of faults that are off, whatever is drawn.
    pub without: BTreeSet<Kind>,
    /// Kinds of faults that are on, whatever is drawn.
    pub with: BTreeSet<Kind>,
    /// What the disks are.
    pub disk: DiskKind,
    /// Whether the lines of the trace are printed.
    pub trace: bool,
}

impl Options {
    /// A run of this seed, in which everything is drawn.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            profile: Profile::default(),
            replicas: None,
            saves: None,
            seconds: None,
            without: BTreeSet::new(),
            with: BTreeSet::new(),
            disk: DiskKind::default(),
            trace: false,
        }
    }
}

/// Who knows whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Everybody everybody.
    Mesh,
    /// Each the next one, and the last one the first.
    Ring,
    /// Each the next one.
    Line,
    /// Everybody the first.
    Star,
    /// Each some others.
    Random,
}

/// Something that will happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    /// A save; its number.
    Save(usize),
    /// A fault, or a load, and which one of its kind.
    Act(Kind, usize),
}

/// See the top of the file.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// What kind of run.
    pub profile: Profile,
    /// Machines at the beginning.
    pub replicas: usize,
    /// Where they stand.
    pub geography: Geography,
    /// Who knows whom.
    pub topology: Topology,
    /// Kinds of faults and load that are on.
    pub kinds: BTreeSet<Kind>,
    /// How long the first act takes.
    pub safety: Micros,
    /// What the disks are.
    pub disk: DiskKind,
    /// What happens in it, by time.
    pub schedule: Vec<(Micros, Planned)>,
    /// How many names and properties the saves choose from.
    pub names: usize,
    /// Most machines, those that join and copies among them.
    pub machines_max: usize,
    /// Of a thousand machines, so many answer saves before they are durable.
    pub relaxed_permille: u32,
}

impl Plan {
    /// Draws a plan.
    pub fn new(options: &Options) -> Self {
        let seed = options.seed;
        let kinds = draw_kinds(options);
        let mut shape = Chance::new(seed, "shape");
        let drawn_replicas = usize::try_from(shape.within(2, REPLICAS_MAX)).expect("few");
        let drawn_saves = usize::try_from(shape.spread(10, SAVES_MAX)).expect("few");
        let is_wide = kinds.contains(&Kind::WideNode);
        let (drawn_replicas, drawn_saves) = match is_wide {
            true => (
                drawn_replicas.min(WIDE_REPLICAS_MAX),
                drawn_saves.min(WIDE_SAVES_MAX),
            ),
            false => (drawn_replicas, drawn_saves),
        };
        let drawn_seconds = shape.within(SAFETY_SECONDS.0, SAFETY_SECONDS.1);
        let replicas = options.replicas.unwrap_or(drawn_replicas).max(1);
        let saves = options.saves.unwrap_or(drawn_saves);
        let safety = Micros::from_seconds(options.seconds.unwrap_or(drawn_seconds).max(1));
        let calm = options.profile == Profile::Calm;
        let geography = draw_geography(seed, replicas, calm);
        let topologies = [
            Topology::Mesh,
            Topology::Mesh,
            Topology::Ring,
            Topology::Line,
            Topology::Star,
            Topology::Random,
        ];
        let drawn_topology = *shape.one_of(&topologies);
        let names = usize::try_from(shape.within(2, 12)).expect("few");
        let relaxed = *shape.one_of(&[0, 0, 300, 1_000]);
        let mut schedule = schedule_saves(seed, saves, safety, &kinds, calm);
        for kind in &kinds {
            schedule_kind(&mut schedule, seed, *kind, safety);
        }
        schedule.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            profile: options.profile,
            replicas,
            geography,
            topology: if calm { Topology::Mesh } else { drawn_topology },
            kinds,
            safety,
            disk: options.disk,
            schedule,
            names: if calm { 40 } else { names },
            machines_max: match is_wide {
                true => WIDE_REPLICAS_MAX + 1,
                false => MACHINES_MAX,
            },
            relaxed_permille: if calm { 0 } else { relaxed },
        }
    }

    /// Whether somebody makes a node with very many children.
    pub fn is_wide(&self) -> bool {
        self.kinds.contains(&Kind::WideNode)
    }

    /// How many saves are planned.
    pub fn saves(&self) -> usize {
        let is_save = |planned: &&(Micros, Planned)| matches!(planned.1, Planned::Save(_));
        self.schedule.iter().filter(is_save).count()
    }

    /// The others that a machine is introduced to at the beginning.
    pub fn neighbours(&self, machine: usize) -> Vec<usize> {
        let count = self.replicas;
        let next = (machine + 1) % count;
        match self.topology {
            Topology::Mesh => (machine + 1..count).collect(),
            Topology::Ring => vec![next],
            Topology::Line if next == 0 => Vec::new(),
            Topology::Line => vec![next],
            Topology::Star if machine == 0 => Vec::new(),
            Topology::Star => vec![0],
            Topology::Random => {
                // A ring, so that all hang together, and some more.
                let mut chance = Chance::new(self.seed, &format!("neighbours {machine}"));
                vec![next, chance.index(count)]
            }
        }
    }
}

/// Swarm testing (Groce and others, 2012): each run leaves many kinds of faults out, so that they
/// do not hide one another.
fn draw_kinds(options: &Options) -> BTreeSet<Kind> {
    let drawn = |kind: Kind| match options.profile {
        Profile::Calm => false,
        Profile::Storm => true,
        Profile::Default => {
            Chance::new(options.seed, &format!("switch {kind}")).permille(kind.usual_permille())
        }
    };
    let all = Kind::ALL.iter().copied();
    all.filter(|kind| drawn(*kind) || options.with.contains(kind))
        .filter(|kind| !options.without.contains(kind))
        .collect()
}

fn draw_geography(seed: u64, replicas: usize, calm: bool) -> Geography {
    let mut chance = Chance::new(seed, "geography");
    let drawn = chance.below(3);
    if calm || drawn == 0 {
        return Geography::Lan;
    }
    if drawn == 1 {
        return Geography::Loopback;
    }
    let regions = (0..replicas).map(|_| Region::nth(chance.index(Region::COUNT)));
    Geography::World(regions.collect())
}

/// Spreads the saves over the first act; in bursts, if those are on.
fn schedule_saves(
    seed: u64,
    saves: usize,
    safety: Micros,
    kinds: &BTreeSet<Kind>,
    calm: bool,
) -> Vec<(Micros, Planned)> {
    let bursts: Vec<u64> = {
        let mut chance = Chance::new(seed, "bursts");
        (0..BURSTS).map(|_| chance.below(safety.0)).collect()
    };
    (0..saves)
        .map(|number| {
            if calm {
                let at = safety.0 / saves.max(1) as u64 * number as u64;
                return (Micros(at), Planned::Save(number));
            }
            let mut chance = Chance::new(seed, &format!("save at {number}"));
            let at = match kinds.contains(&Kind::Burst) && chance.permille(600) {
                true => chance.one_of(&bursts) + chance.below(BURST_US),
                false => chance.below(safety.0),
            };
            (Micros(at), Planned::Save(number))
        })
        .collect()
}

/// Plans when a kind of fault strikes.
fn schedule_kind(schedule: &mut Vec<(Micros, Planned)>, seed: u64, kind: Kind, safety: Micros) {
    let mut chance = Chance::new(seed, &format!("times of {kind}"));
    let times = match kind {
        // One is enough, and set at the beginning, or early.
        Kind::Loss | Kind::Vanish | Kind::Duplicate | Kind::Reorder | Kind::Skew | Kind::Drift => 0,
        Kind::HotProperty | Kind::HotParent | Kind::ContendedMoves => chance.within(2, 6),
        // What is spread over the saves.
        Kind::Burst => return,
        Kind::YearAhead | Kind::WideNode | Kind::DeepPath | Kind::Leave | Kind::Absence => 1,
        Kind::Outcast => 1,
        Kind::Clone | Kind::RestoredBackup | Kind::LargeSet | Kind::Flood => chance.within(1, 2),
        _ => chance.within(1, 6),
    };
    // What shapes the whole run begins with it.
    if times == 0 {
        schedule.push((Micros(0), Planned::Act(kind, 0)));
    }
    for number in 0..times {
        let latest = match kind {
            Kind::WideNode | Kind::DeepPath | Kind::YearAhead | Kind::Absence => safety.0 / 3,
            _ => safety.0,
        };
        let number = usize::try_from(number).expect("few");
        schedule.push((Micros(chance.below(latest)), Planned::Act(kind, number)));
    }
}
