//! Speed as ratios: each figure beside what it is measured against, in the same run.
//!
//! `make bench` runs it. A measurement is made in [`measure::ROUNDS`] rounds that take the two
//! sides in turn, since machines are shared and noisy; the ratio is the median of the rounds'.
//! Neither criterion nor divan does that: they time one thing after another.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a benchmark measures time, and fails loudly"
)]

mod bare;
mod engine;
mod history;
mod measure;
mod report;
mod rows;
mod scene;

use std::path::PathBuf;

use clap::Parser;
use measure::Settings;
use tikv_jemallocator::Jemalloc;

/// The program's allocator, for both sides.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Prints a table of ratios.
#[derive(Parser)]
#[command(name = "leveret-speed")]
struct Arguments {
    /// Which measurements to make, by the beginnings of their names; all if none is given.
    names: Vec<String>,
    /// How long each side of a round lasts where that can be chosen, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The size of what is large: nodes, saves, descendants.
    #[arg(long, default_value_t = 100_000)]
    large: usize,
    /// Instead, counts what things cost, and writes a picture of each into this directory.
    #[arg(long, value_name = "DIRECTORY")]
    report: Option<PathBuf>,
    /// Lists the measurements.
    #[arg(long)]
    list: bool,
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let part = |name: &String| rows::PARTS.iter().find(|(part, _)| part == name);
    if let Some((_, part)) = given.first().and_then(part) {
        return part(&given[1..]);
    }
    let arguments = Arguments::parse();
    let settings = Settings {
        seconds: arguments.seconds,
        large: arguments.large,
    };
    if arguments.list {
        for (name, _) in rows::ALL {
            println!("{name}");
        }
        return;
    }
    if let Some(directory) = &arguments.report {
        report::write(directory, arguments.large);
        return;
    }
    println!("{}", measure::HEADING);
    let wanted = |name: &str| {
        arguments.names.is_empty() || arguments.names.iter().any(|n| name.starts_with(n.as_str()))
    };
    for (_, measure) in rows::ALL.iter().filter(|(name, _)| wanted(name)) {
        measure(&settings);
    }
}
