//! What things cost, counted, and how that grows: a table and a picture for each claim of
//! `docs/explanation/cost.md`.
//!
//! Counted are records, bytes, messages and barriers, not seconds: the same on every machine, but for
//! what is said between peers, which depends a little on who is quicker.

mod apart;
mod count;
mod grove;
mod late;
mod reads;
mod saves;

use std::path::Path;

use leveret_sim::report::chart::{Axis, Chart, LineChart, Series, Table, Unit};

/// What one picture shows.
pub(crate) struct Claim {
    /// The name of its file, without the ending.
    name: &'static str,
    title: &'static str,
    /// What grows.
    x: &'static str,
    /// What is counted.
    y: &'static str,
    unit: Unit,
    series: Vec<Series>,
}

/// Counts something for each size of what grows.
type Counting = fn(&[usize]) -> Vec<Claim>;

/// Counts everything, up to this size of what grows; writes a picture for each claim into a
/// directory, and prints the numbers.
pub(crate) fn write(directory: &Path, largest: usize) {
    std::fs::create_dir_all(directory).unwrap();
    let sizes: Vec<usize> = [1_000, 10_000, 100_000, 1_000_000]
        .into_iter()
        .filter(|size| *size <= largest)
        .collect();
    let all: [Counting; 5] = [
        saves::claims,
        late::claims,
        reads::claims,
        apart::barriers,
        apart::reunion,
    ];
    for claims in all {
        for claim in claims(&sizes) {
            let chart = claim.chart();
            println!("### {}\n\n{}", claim.title, markdown(&chart.table()));
            let path = directory.join(format!("{}.svg", claim.name));
            std::fs::write(path, chart.svg()).unwrap();
        }
    }
}

impl Claim {
    fn chart(&self) -> Chart {
        Chart::Lines(LineChart {
            title: self.title.to_owned(),
            x: Axis::new(self.x, Unit::Count).logarithmic(),
            y: Axis::new(self.y, self.unit),
            series: self.series.clone(),
        })
    }
}

fn markdown(table: &Table) -> String {
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule: Vec<String> = table.columns.iter().map(|_| "---:".to_owned()).collect();
    let rows = table.rows.iter().map(|cells| row(cells));
    row(&table.columns) + &row(&rule) + &rows.collect::<String>()
}

/// Series from rows of numbers: what grew, and a number for each name.
fn series<const N: usize>(names: [&str; N], rows: &[(usize, [f64; N])]) -> Vec<Series> {
    let points = |at: usize| rows.iter().map(move |(x, row)| (*x as f64, row[at]));
    let one = |(at, name): (usize, &str)| Series {
        name: name.to_owned(),
        points: points(at).collect(),
    };
    names.into_iter().enumerate().map(one).collect()
}
