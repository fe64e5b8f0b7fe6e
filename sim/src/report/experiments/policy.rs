//! What share of the writes is lost when the newest version of a whole node wins, and what when old
//! changes are merged.

use super::cluster::Cluster;
use super::sheet::{Column, Sheet};
use super::{Experiment, FEW, Findings, LOAD, Place, Terms};
use crate::chance::Chance;
use crate::report::chart::{Axis, Chart, LineChart, Unit};
use crate::report::page::Section;
use crate::report::policy::compare;
use crate::world::Micros;

/// For how long replicas are apart each time, in seconds; 0 is not at all.
const APART: [u64; 5] = [0, 1, 5, 15, 60];
/// For how long they are together between that.
const TOGETHER: Micros = Micros::from_seconds(2);
/// How many nodes there are to write to.
const NODES: [u64; 3] = [1_000, 100, 10];
/// Properties of each.
const PROPERTIES: u64 = 10;

const COLUMNS: &[Column] = &[
    ("nodes", "nodes", Unit::Count),
    ("apart", "apart for", Unit::Seconds),
    ("writes", "writes", Unit::Count),
    ("concurrent", "concurrent", Unit::Percent),
    ("lost_by_node", "lost: newest node wins", Unit::Percent),
    ("lost_by_property", "lost: merged", Unit::Percent),
    (
        "of_concurrent_by_node",
        "of the concurrent: newest node wins",
        Unit::Percent,
    ),
    (
        "of_concurrent_by_property",
        "of the concurrent: merged",
        Unit::Percent,
    ),
    ("told", "told of those lost when merged", Unit::Percent),
];

/// Carries it out.
pub(super) fn run(terms: &Terms, tell: &mut dyn FnMut(&str)) -> Result<Findings, String> {
    let size = terms.size_to(FEW);
    let mut sheet = Sheet::new(COLUMNS);
    for nodes in NODES {
        for apart in APART {
            tell(&format!(
                "{size} replicas, {nodes} nodes, apart for {apart} s at a time"
            ));
            measure(terms, size, nodes, apart, &mut sheet)?;
        }
    }
    let apart = || {
        let shown = APART.map(|apart| apart as f64);
        Axis::new("time that replicas are apart", Unit::Seconds)
            .logarithmic()
            .with_ticks(&shown[1..])
    };
    let chart = |title: &str, label: &str, by_node: &'static str, by_property: &'static str| {
        let series = [("newest node wins", by_node), ("merged", by_property)]
            .into_iter()
            .flat_map(|(policy, column)| NODES.map(|nodes| (policy, column, nodes)))
            .map(|(policy, column, nodes)| {
                let name = format!("{policy}, {nodes} nodes");
                sheet.line(&name, "apart", column, &[("nodes", nodes.into())])
            });
        Chart::Lines(LineChart {
            title: title.to_owned(),
            x: apart(),
            y: Axis::new(label, Unit::Percent),
            series: series.collect(),
        })
    };
    let charts = vec![
        chart(
            "Lost writes, of all",
            "share of all writes",
            "lost_by_node",
            "lost_by_property",
        ),
        chart(
            "Lost writes, of those that met another unseen on their node",
            "share of the concurrent writes",
            "of_concurrent_by_node",
            "of_concurrent_by_property",
        ),
    ];
    let section = Section {
        heading: "What is lost: the newest node wins, or old changes are merged".to_owned(),
        paragraphs: vec![
            format!(
                "{size} replicas in the LAN are each on their own for a while, then all together \
                 for {} s, and so on for {} s at least, with {:.4} saves a second all the time. \
                 Each save writes one of {PROPERTIES} properties of one node, drawn at random: four \
                 of five set it, one adds to a count. Both ways to merge are given the same \
                 history.",
                TOGETHER.0 / 1_000_000,
                LOAD.0 / 1_000_000,
                terms.rate()
            ),
            "A write is *concurrent* if somebody wrote to the same node and neither had seen the \
             other. It is *lost* if it is not in the final state, and nobody replaced it who had \
             seen it. *Newest node wins* is a change set that carries each node that it touched \
             whole, as its author saw it; nobody is told what it overwrites. *Merged* is leveret, \
             property by property; what is lost then is told as a conflict, and the last column \
             says of how much that is so."
                .to_owned(),
            "Authors here write the instant that they have read. Whoever thinks first gives others \
             more time to come between, and loses more, either way."
                .to_owned(),
        ],
        charts,
        tables: vec![sheet.table()],
        command: Some(terms.command("policy")),
    };
    Ok(Findings::new(
        Experiment::Policy,
        section,
        vec![("by_time_apart", sheet)],
    ))
}

fn measure(
    terms: &Terms,
    size: usize,
    nodes: u64,
    apart: u64,
    sheet: &mut Sheet,
) -> Result<(), String> {
    let mut cluster = Cluster::new(terms, size, Place::Lan)?;
    let lines: Vec<String> = (0..nodes).map(|node| format!("add /n{node}")).collect();
    cluster.prepare(&lines)?;
    let mut line = |chance: &mut Chance| {
        let (node, property) = (chance.below(nodes), chance.below(PROPERTIES));
        match chance.below(5) {
            0 => format!("inc /n{node} count 1"),
            _ => format!("set /n{node} p{property} {}", chance.below(1 << 32)),
        }
    };
    let (gap, end) = (terms.gap(), cluster.now().after(LOAD));
    while cluster.now() < end {
        if apart > 0 {
            cluster.cut(|_, _| true);
            cluster.load(Micros::from_seconds(apart), gap, &mut line);
            cluster.mend();
        }
        cluster.load(TOGETHER, gap, &mut line);
    }
    cluster.come_together()?;

    let found = compare(&cluster.history());
    let percent = |count: u64, of: u64| count as f64 * 100.0 / of.max(1) as f64;
    let of = |count: u64, of: u64| (of > 0).then(|| percent(count, of));
    sheet.push([
        nodes.into(),
        (apart as f64).into(),
        found.writes.into(),
        percent(found.concurrent, found.writes).into(),
        percent(found.lost_by_node, found.writes).into(),
        percent(found.lost_by_property, found.writes).into(),
        of(found.lost_by_node, found.concurrent).into(),
        of(found.lost_by_property, found.concurrent).into(),
        of(found.told_by_property, found.lost_by_property).into(),
    ]);
    Ok(())
}
