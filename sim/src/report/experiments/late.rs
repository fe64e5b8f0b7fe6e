//! How late change sets come after the network was split in two, and what merging them costs.

use super::cluster::Cluster;
use super::sheet::{Column, Sheet};
use super::{Experiment, FEW, Findings, Place, Terms};
use crate::chance::Chance;
use crate::report::chart::{Axis, Chart, LineChart, Unit};
use crate::report::page::Section;
use crate::world::Micros;

/// How long the network is split, in seconds; 0 is not at all.
const SPLITS: [u64; 6] = [0, 1, 3, 10, 30, 100];
/// How long the load goes on before and after the network is split.
const AROUND: Micros = Micros::from_seconds(10);
/// Folders, which hold nodes and now and then one another.
const FOLDERS: u64 = 12;
/// Nodes that are in some folder.
const NODES: u64 = 150;

const COLUMNS: &[Column] = &[
    ("split", "split for", Unit::Seconds),
    ("change_sets", "change sets", Unit::Count),
    ("arrived", "arrivals", Unit::Count),
    ("late", "late", Unit::Percent),
    ("newer", "newer before it, median", Unit::Count),
    ("newer_99", "99 of 100", Unit::Count),
    ("newer_max", "most", Unit::Count),
    ("older", "older by, median", Unit::Seconds),
    ("older_max", "most", Unit::Seconds),
];

const COST_COLUMNS: &[Column] = &[
    ("split", "split for", Unit::Seconds),
    ("late", "late merges", Unit::Count),
    ("rewinds", "passes that went back", Unit::Count),
    (
        "reevaluated",
        "operations evaluated again, a late set",
        Unit::Count,
    ),
    (
        "revised",
        "that came out differently, a late set",
        Unit::Count,
    ),
    ("records_read", "records read, a set merged", Unit::Count),
];

/// Carries it out.
pub(super) fn run(terms: &Terms, tell: &mut dyn FnMut(&str)) -> Result<Findings, String> {
    let size = terms.size_to(FEW);
    let (mut lateness, mut cost) = (Sheet::new(COLUMNS), Sheet::new(COST_COLUMNS));
    for split in SPLITS {
        tell(&format!("{size} replicas, split for {split} s"));
        measure(terms, size, split, &mut lateness, &mut cost)?;
    }
    let length = || {
        let shown = SPLITS.map(|split| split as f64);
        Axis::new("time for which the network was split", Unit::Seconds)
            .logarithmic()
            .with_ticks(&shown[1..])
    };
    let chart = |title: &str, label: &str, unit, series| {
        Chart::Lines(LineChart {
            title: title.to_owned(),
            x: length(),
            y: Axis::new(label, unit).logarithmic(),
            series,
        })
    };
    let late = |name, column| lateness.line(name, "split", column, &[]);
    let costs = |name, column| cost.line(name, "split", column, &[]);
    let charts = vec![
        chart(
            "How many newer change sets were there before a late one",
            "newer change sets merged before",
            Unit::Count,
            vec![
                late("median of the late ones", "newer"),
                late("most", "newer_max"),
            ],
        ),
        chart(
            "By how much a late one is older than the newest there",
            "difference of their times",
            Unit::Seconds,
            vec![
                late("median of the late ones", "older"),
                late("most", "older_max"),
            ],
        ),
        chart(
            "What merging costs",
            "how many",
            Unit::Count,
            vec![
                costs("records read, a change set merged", "records_read"),
                costs("operations evaluated again, a late one", "reevaluated"),
                costs("that came out differently, a late one", "revised"),
            ],
        ),
    ];
    let section = Section {
        heading: "How late change sets come, and what it costs".to_owned(),
        paragraphs: vec![
            format!(
                "{size} replicas in the LAN fall into two halves that can not reach each other, and \
                 find together again; {:.4} saves a second go on all the time, and for {} s before \
                 and after. Half of the operations set properties, a fifth adds nodes, a fifth \
                 moves them between {FOLDERS} folders or the folders into one another, a tenth \
                 removes them: {NODES} nodes, so they often meet. *Late* is what is merged after \
                 something newer was, at one replica; what comes with it in one pass does not \
                 count.",
                terms.rate(),
                AROUND.0 / 1_000_000
            ),
            "*Evaluated again* are structural operations of earlier passes: an add, a remove or a \
             move, whose outcome a late one may change. Registers are never evaluated again. \
             `records read` are those read from below a pass, whether from memory or from the \
             store."
                .to_owned(),
        ],
        charts,
        tables: vec![lateness.table(), cost.table()],
        command: Some(terms.command("late")),
    };
    let sheets = vec![("lateness", lateness), ("cost", cost)];
    Ok(Findings::new(Experiment::Late, section, sheets))
}

fn measure(
    terms: &Terms,
    size: usize,
    split: u64,
    lateness: &mut Sheet,
    cost: &mut Sheet,
) -> Result<(), String> {
    let mut cluster = Cluster::new(terms, size, Place::Lan)?;
    let folders = (0..FOLDERS).map(|folder| format!("add /f{folder}"));
    let nodes = (0..NODES).map(|node| format!("add /f{}/n{node}", node % FOLDERS));
    cluster.prepare(&folders.chain(nodes).collect::<Vec<_>>())?;
    cluster.begin();
    let before = cluster.merging();
    let gap = terms.gap();
    cluster.load(AROUND, gap, &mut line);
    if split > 0 {
        cluster.cut(|from, to| (from < size / 2) != (to < size / 2));
        cluster.load(Micros::from_seconds(split), gap, &mut line);
        cluster.mend();
    }
    cluster.load(AROUND, gap, &mut line);
    cluster.come_together()?;

    let merging = cluster.merging().since(before);
    let seen = cluster.seen();
    let sorted = |number: fn(&super::witness::Late) -> u64| {
        let mut numbers: Vec<u64> = seen.late().iter().map(number).collect();
        numbers.sort_unstable();
        numbers
    };
    let (newer, millis) = (sorted(|late| late.newer), sorted(|late| late.millis));
    let at = |numbers: &[u64], percent: usize| {
        let place = (numbers.len() * percent).div_ceil(100).max(1) - 1;
        numbers.get(place).map(|number| *number as f64)
    };
    let seconds = |millis: Option<f64>| millis.map(|millis| millis / 1e3);
    let late = seen.late().len() as f64;
    lateness.push([
        (split as f64).into(),
        seen.count().into(),
        seen.arrived().into(),
        (late * 100.0 / seen.arrived().max(1) as f64).into(),
        at(&newer, 50).into(),
        at(&newer, 99).into(),
        at(&newer, 100).into(),
        seconds(at(&millis, 50)).into(),
        seconds(at(&millis, 100)).into(),
    ]);
    let each_late = |count: u64| (merging.late > 0).then(|| count as f64 / merging.late as f64);
    cost.push([
        (split as f64).into(),
        merging.late.into(),
        merging.rewinds.into(),
        each_late(merging.reevaluated).into(),
        each_late(merging.revised).into(),
        (merging.records_read as f64 / merging.change_sets.max(1) as f64).into(),
    ]);
    Ok(())
}

/// One operation; its author's view may refuse it.
fn line(chance: &mut Chance) -> String {
    let (folder, other) = (chance.below(FOLDERS), chance.below(FOLDERS));
    let node = chance.below(NODES);
    match chance.below(20) {
        0..=9 => format!(
            "set /f{folder}/n{node} p{} {}",
            chance.below(3),
            chance.below(1_000)
        ),
        10..=13 => format!("add /f{folder}/n{node}"),
        14..=15 => format!("move /f{folder}/n{node} /f{other}/n{node}"),
        16 => format!("move /f{folder} /f{other}/f{folder}"),
        17 => format!("move /f{other}/f{folder} /f{folder}"),
        _ => format!("remove /f{folder}/n{node}"),
    }
}
