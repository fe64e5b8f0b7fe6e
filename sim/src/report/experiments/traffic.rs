//! What goes over the network, idle and at load.

use super::sheet::{Column, Sheet};
use super::steady::{IDLE, LETTERS, Steadies};
use super::{Experiment, Findings, LOAD, Place, Terms};
use crate::report::chart::{Axis, Chart, LineChart, Unit};
use crate::report::page::Section;

const COLUMNS: &[Column] = &[
    ("replicas", "replicas", Unit::Count),
    ("idle_bytes", "idle, a second", Unit::Bytes),
    ("idle_messages", "messages", Unit::Count),
    ("load_bytes", "at load, a second", Unit::Bytes),
    ("load_messages", "messages", Unit::Count),
    ("a_save", "more for each save, a replica", Unit::Bytes),
];

/// Carries it out.
pub(super) fn run(
    terms: &Terms,
    steadies: &mut Steadies,
    tell: &mut dyn FnMut(&str),
) -> Result<Findings, String> {
    let mut sheet = Sheet::new(COLUMNS);
    for replicas in terms.replicas.iter().copied() {
        let steady = steadies.get(terms, (replicas, Place::Lan, 0), tell)?;
        let more = steady.load_bytes - steady.idle_bytes;
        let seconds = LOAD.0 as f64 / 1e6;
        sheet.push([
            replicas.into(),
            steady.idle_bytes.into(),
            steady.idle_messages.into(),
            steady.load_bytes.into(),
            steady.load_messages.into(),
            (more * seconds / steady.saves.max(1) as f64).into(),
        ]);
    }
    let sizes: Vec<f64> = terms.replicas.iter().map(|size| *size as f64).collect();
    let size = Axis::new("replicas", Unit::Count)
        .logarithmic()
        .with_ticks(&sizes);
    let chart = |title: &str, label: &str, series| {
        Chart::Lines(LineChart {
            title: title.to_owned(),
            x: size.clone(),
            y: Axis::new(label, Unit::Bytes).logarithmic(),
            series,
        })
    };
    let line = |name: &str, column| sheet.line(name, "replicas", column, &[]);
    let at_load = format!("{:.4} saves a second in all", terms.rate());
    let charts = vec![
        chart(
            "Bytes that a replica sends",
            "bytes a second, each replica",
            vec![line("idle", "idle_bytes"), line(&at_load, "load_bytes")],
        ),
        chart(
            "What a save adds to it, at each replica",
            "bytes for each save, each replica",
            vec![line("sent by each replica", "a_save")],
        ),
    ];
    let section = Section {
        heading: "What goes over the network".to_owned(),
        paragraphs: vec![
            format!(
                "In the LAN, without loss: {} s idle, and then {} s with {at_load}, each of \
                 {LETTERS} letters and what is needed around them. Bytes sent by all replicas, \
                 divided by their number; as much is received. As every replica needs every save, \
                 the rate at load grows with the saves of all, not with those of one.",
                IDLE.0 / 1_000_000,
                LOAD.0 / 1_000_000,
            ),
            "An idle replica compares with one other a second, whatever the size of the cluster: a \
             summary of a fixed length for each of its two repositories."
                .to_owned(),
        ],
        charts,
        tables: vec![sheet.table()],
        command: Some(terms.command("traffic")),
    };
    Ok(Findings::new(
        Experiment::Traffic,
        section,
        vec![("by_size", sheet)],
    ))
}
