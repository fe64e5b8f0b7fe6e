//! The options that say what a run is, as `run` and `sweep` take them, and as seed lines write them.

use std::collections::BTreeSet;

use crate::plan::{Kind, Options, Profile};
use crate::world::DiskKind;

/// What is fixed of a run instead of drawn from its seed.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Choices {
    /// How many machines [default: drawn, 2 to 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    replicas: Option<u16>,
    /// How many saves [default: drawn, 10 to 400]
    #[arg(long, value_name = "N")]
    saves: Option<usize>,
    /// How long the faults go on, in seconds of virtual time [default: drawn, 20 to 120]
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// What kind of runs: default (each has some of the faults), calm (none), storm (all)
    #[arg(long, value_name = "NAME", default_value_t)]
    profile: Profile,
    /// What the disks are: memory (pretended), or sled (leveret's store, in temporary directories)
    #[arg(long, value_name = "KIND", default_value_t)]
    disk: DiskKind,
    /// Kinds of faults that are off, whatever is drawn; separated by commas
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    without: Vec<Kind>,
    /// Kinds of faults that are on, whatever is drawn; separated by commas
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    with: Vec<Kind>,
}

impl Choices {
    /// The run of a seed.
    pub(super) fn options(&self, seed: u64) -> Options {
        Options {
            seed,
            profile: self.profile,
            replicas: self.replicas.map(usize::from),
            saves: self.saves,
            seconds: self.seconds,
            without: self.without.iter().copied().collect::<BTreeSet<_>>(),
            with: self.with.iter().copied().collect::<BTreeSet<_>>(),
            disk: self.disk,
            trace: false,
        }
    }
}
