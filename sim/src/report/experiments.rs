//! Experiments: what a cluster does under stated terms, measured in the simulator, as sections of a
//! page and as figures for programs.
//!
//! Every number is counted in a run; nothing is taken from a clock on a wall. The same terms give
//! the same page. No faults are on but those that an experiment names, and the checkers do not
//! watch: that is what `run` and `sweep` are for. But each run ends only when all replicas show
//! everything and have one digest.
//!
//! - `spread.rs`: how long until half, nearly all and all replicas show a change set, and how often
//!   its bytes come to each;
//! - `traffic.rs`: bytes a second, idle and at load;
//! - `late.rs`: how late change sets come after the network was split, and what merging them costs;
//! - `policy.rs`: what is lost when nodes as a whole are compared, and what when old changes are
//!   merged.

mod cluster;
mod late;
mod policy;
mod sheet;
mod spread;
mod steady;
mod traffic;
mod witness;

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use super::chart::Chart;
use super::page::{Page, Section};
use crate::regions::Region;
use crate::world::{Geography, Micros};
use sheet::Sheet;
use steady::Steadies;

/// An experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Experiment {
    /// How change sets spread.
    Spread,
    /// What goes over the network.
    Traffic,
    /// How late change sets come, and what that costs.
    Late,
    /// What two ways to merge lose.
    Policy,
}

impl Experiment {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Spread, Self::Traffic, Self::Late, Self::Policy];

    /// What it is called on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Traffic => "traffic",
            Self::Late => "late",
            Self::Policy => "policy",
        }
    }
}

impl fmt::Display for Experiment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Experiment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|experiment| experiment.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no experiment is called {text}; there are {names}")
        })
    }
}

/// What an experiment is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// From which everything random is drawn.
    pub seed: u64,
    /// Sizes of clusters, at least one, each at least 2.
    pub replicas: Vec<usize>,
    /// Saves that are made in [`LOAD`], by all replicas together; at least 1. What takes longer or
    /// shorter goes at the same rate.
    pub saves: u64,
}

/// How long the load of the usual run goes on.
pub const LOAD: Micros = Micros::from_seconds(60);

/// Clusters of which only one size is looked at have at most so many replicas, if one is so small.
const MIDDLING: usize = 50;
/// The same, where each replica's merging is followed.
const FEW: usize = 10;

impl Terms {
    /// Time between two saves.
    fn gap(&self) -> Micros {
        Micros((LOAD.0 / self.saves.max(1)).max(1))
    }

    /// Saves a second.
    fn rate(&self) -> f64 {
        1e6 / self.gap().0 as f64
    }

    /// The largest of the sizes that is not above `most`; or else the smallest.
    fn size_to(&self, most: usize) -> usize {
        let sizes = self.replicas.iter().copied();
        let fitting = sizes.clone().filter(|size| *size <= most).max();
        fitting.or(sizes.min()).unwrap_or(2)
    }

    /// The command that makes the same figures.
    fn command(&self, experiment: &str) -> String {
        let sizes: Vec<_> = self.replicas.iter().map(ToString::to_string).collect();
        format!(
            "leveret-sim report --experiment {experiment} --replicas {} --saves {} --seed {}",
            sizes.join(","),
            self.saves,
            self.seed
        )
    }
}

/// Where the replicas stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Lan,
    World,
}

impl Place {
    const ALL: [Self; 2] = [Self::Lan, Self::World];
    /// How many regions the next replica is further: with 19 of them, all come before one comes
    /// again, and the first few are on different continents.
    const STRIDE: usize = 7;

    fn name(self) -> &'static str {
        match self {
            Self::Lan => "LAN",
            Self::World => "world",
        }
    }

    fn geography(self, replicas: usize) -> Geography {
        let regions = (0..replicas).map(|machine| Region::nth(machine * Self::STRIDE));
        match self {
            Self::Lan => Geography::Lan,
            Self::World => Geography::World(regions.collect()),
        }
    }
}

/// What an experiment found.
pub struct Findings {
    /// Which one.
    pub experiment: Experiment,
    /// For people.
    pub section: Section,
    sheets: Vec<(&'static str, Sheet)>,
}

impl Findings {
    fn new(experiment: Experiment, section: Section, sheets: Vec<(&'static str, Sheet)>) -> Self {
        Self {
            experiment,
            section,
            sheets,
        }
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let tables = self.sheets.iter();
        let tables: serde_json::Map<_, _> = tables
            .map(|(name, sheet)| ((*name).to_owned(), sheet.json()))
            .collect();
        json!({"experiment": self.experiment.name(), "figures": tables})
    }

    /// The charts, each with a name for its file.
    pub fn charts(&self) -> impl Iterator<Item = (String, &Chart)> {
        let name = self.experiment.name();
        let charts = self.section.charts.iter().enumerate();
        charts.map(move |(number, chart)| (format!("{name}-{}", number + 1), chart))
    }
}

/// Carries out experiments, and tells what it is about to do, line by line.
///
/// # Errors
/// If a cluster does not come to rest, or its replicas to one state.
pub fn carry_out(
    experiments: &[Experiment],
    terms: &Terms,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<Findings>, String> {
    // What several of them look at is run once.
    let mut steadies = Steadies::default();
    experiments
        .iter()
        .map(|experiment| match experiment {
            Experiment::Spread => spread::run(terms, &mut steadies, tell),
            Experiment::Traffic => traffic::run(terms, &mut steadies, tell),
            Experiment::Late => late::run(terms, tell),
            Experiment::Policy => policy::run(terms, tell),
        })
        .collect()
}

/// The page of what was found.
#[must_use]
pub fn page(terms: &Terms, findings: &[Findings]) -> Page {
    let sizes: Vec<_> = terms.replicas.iter().map(ToString::to_string).collect();
    Page {
        title: "leveret, simulated".to_owned(),
        paragraphs: vec![
            format!(
                "Whole replicas on virtual time, from seed {}: clusters of {} in which everybody is \
                 connected to everybody, and {} saves in {} s by all together ({:.4} a second), \
                 each of one operation by a replica drawn at random. The same command makes the \
                 same page.",
                terms.seed,
                sizes.join(", "),
                terms.saves,
                LOAD.0 / 1_000_000,
                terms.rate()
            ),
            "Disks take 0.1 to 3 ms for a barrier. The LAN takes 0.2 to 0.4 ms one way; in the \
             world the replicas are dealt out to 19 regions, whose distances are in \
             `sim/src/regions.rs`. A lost datagram is sent again after a round trip, and what was \
             sent later on the same connection waits for it, as in one QUIC stream. Bytes are \
             those of leveret's messages: handshakes, encryption and the headers of datagrams are \
             not in them."
                .to_owned(),
        ],
        sections: findings.iter().map(|found| found.section.clone()).collect(),
    }
}

#[cfg(test)]
mod tests;
