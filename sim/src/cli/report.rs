//! `leveret-sim report`: experiments, and a page with plots of what they found.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::report::experiments::{Experiment, Terms, carry_out, page};

/// Carry out experiments, and write a page with plots of what they found
///
/// Clusters of several sizes are simulated, without faults but those that an experiment is about.
/// The page is one HTML file that needs no network to look at. The same options give the same page,
/// on any machine. The exit status is 0, or 11 if a cluster did not come to rest, or to one state.
#[derive(clap::Args)]
pub(crate) struct Report {
    /// Which: spread, traffic, late, policy, or all of them
    #[arg(long, value_name = "NAME", default_value = "all", value_parser = parse_experiments)]
    experiment: Chosen,
    /// Where to write the page
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// A folder into which each chart is written as a file of its own too
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
    /// Sizes of clusters, separated by commas
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "3,10,50,200",
        value_parser = clap::value_parser!(u16).range(2..=1000)
    )]
    replicas: Vec<u16>,
    /// How many saves are made in a minute, by all replicas together
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    saves: u64,
    /// From which everything random is drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print the figures as JSON, an object for each experiment and one for the files
    #[arg(long)]
    json: bool,
}

/// The experiments that a name stands for.
#[derive(Clone)]
struct Chosen(Vec<Experiment>);

fn parse_experiments(text: &str) -> Result<Chosen, String> {
    match text {
        "all" => Ok(Chosen(Experiment::ALL.to_vec())),
        name => match name.parse() {
            Ok(experiment) => Ok(Chosen(vec![experiment])),
            Err(error) => Err(format!("{error}, all")),
        },
    }
}

impl Report {
    pub(super) fn run(self, out: &mut dyn Write) -> io::Result<ExitCode> {
        let mut replicas: Vec<usize> = self.replicas.iter().copied().map(usize::from).collect();
        replicas.sort_unstable();
        replicas.dedup();
        let terms = Terms {
            seed: self.seed,
            replicas,
            saves: self.saves,
        };
        let mut tell = |line: &str| eprintln!("{line}");
        let found = match carry_out(&self.experiment.0, &terms, &mut tell) {
            Ok(found) => found,
            Err(error) => {
                eprintln!("leveret-sim: {error}");
                return Ok(ExitCode::from(11));
            }
        };
        fs::write(&self.out, page(&terms, &found).html())?;
        let mut charts = Vec::new();
        if let Some(folder) = &self.svg {
            fs::create_dir_all(folder)?;
            for (name, chart) in found.iter().flat_map(|found| found.charts()) {
                let file = folder.join(format!("{name}.svg"));
                fs::write(&file, chart.svg())?;
                charts.push(file);
            }
        }
        if self.json {
            for found in &found {
                let mut object = found.json();
                object["what"] = json!("experiment");
                writeln!(out, "{object}")?;
            }
            let files = json!({
                "what": "report",
                "seed": terms.seed,
                "page": self.out,
                "charts": charts,
            });
            writeln!(out, "{files}")?;
        } else {
            let file = json!(self.out);
            writeln!(out, "seed {}: {file} is written", terms.seed)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
