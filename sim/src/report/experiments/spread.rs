//! How long until half, nearly all and all replicas show a change set, and how often its bytes
//! come to each.

use super::sheet::{Column, Sheet};
use super::steady::{LETTERS, NODES, Steadies, Steady};
use super::{Experiment, Findings, MIDDLING, Place, Terms};
use crate::report::chart::{Axis, Chart, LineChart, Unit};
use crate::report::page::Section;

/// Shares of datagrams that are lost, in thousandths.
const LOSSES: [u32; 4] = [0, 50, 150, 300];

const COLUMNS: &[Column] = &[
    ("place", "where", Unit::Count),
    ("replicas", "replicas", Unit::Count),
    ("lost", "datagrams lost", Unit::Percent),
    ("saves", "saves", Unit::Count),
    ("half", "to 50 %, median", Unit::Seconds),
    ("most", "to 99 %, median", Unit::Seconds),
    ("all", "to 100 %, median", Unit::Seconds),
    ("all_99", "to 100 %, 99 of 100 saves", Unit::Seconds),
    ("all_max", "to 100 %, slowest save", Unit::Seconds),
    ("copies", "copies a replica", Unit::Count),
];

/// The number below which so many hundredths of a list in ascending order are, in seconds.
fn seconds(times: &[u64], percent: usize) -> f64 {
    let place = (times.len() * percent).div_ceil(100).max(1) - 1;
    times
        .get(place)
        .map_or(f64::NAN, |micros| *micros as f64 / 1e6)
}

fn push(sheet: &mut Sheet, place: Place, replicas: usize, lost: u32, steady: &Steady) {
    sheet.push([
        place.name().into(),
        replicas.into(),
        (f64::from(lost) / 10.0).into(),
        steady.saves.into(),
        seconds(&steady.half, 50).into(),
        seconds(&steady.most, 50).into(),
        seconds(&steady.all, 50).into(),
        seconds(&steady.all, 99).into(),
        seconds(&steady.all, 100).into(),
        (steady.payloads as f64 / steady.arrived.max(1) as f64).into(),
    ]);
}

/// Carries it out.
pub(super) fn run(
    terms: &Terms,
    steadies: &mut Steadies,
    tell: &mut dyn FnMut(&str),
) -> Result<Findings, String> {
    let (mut by_size, mut by_loss) = (Sheet::new(COLUMNS), Sheet::new(COLUMNS));
    for place in Place::ALL {
        for replicas in terms.replicas.iter().copied() {
            let steady = steadies.get(terms, (replicas, place, 0), tell)?;
            push(&mut by_size, place, replicas, 0, steady);
        }
    }
    let size = terms.size_to(MIDDLING);
    for place in Place::ALL {
        for lost in LOSSES {
            let steady = steadies.get(terms, (size, place, lost), tell)?;
            push(&mut by_loss, place, size, lost, steady);
        }
    }
    let sizes: Vec<f64> = terms.replicas.iter().map(|size| *size as f64).collect();
    let losses = LOSSES.map(|lost| f64::from(lost) / 10.0);
    let of_sizes = || {
        Axis::new("replicas", Unit::Count)
            .logarithmic()
            .with_ticks(&sizes)
    };
    let of_losses = || Axis::new("datagrams lost", Unit::Percent).with_ticks(&losses);
    let mut charts = Vec::new();
    for place in Place::ALL {
        let title = format!(
            "Time until replicas show a save, by cluster size, {}",
            place.name()
        );
        charts.push(times(title, of_sizes(), &by_size, "replicas", place));
    }
    for place in Place::ALL {
        let title = format!("The same by loss, {size} replicas, {}", place.name());
        charts.push(times(title, of_losses(), &by_loss, "lost", place));
    }
    charts.push(copies(
        "Copies of a change set a replica",
        of_sizes(),
        &by_size,
        "replicas",
    ));
    let title = format!("The same by loss, {size} replicas");
    charts.push(copies(&title, of_losses(), &by_loss, "lost"));
    let section = Section {
        heading: "How change sets spread".to_owned(),
        paragraphs: vec![
            format!(
                "Each save sets a property of one of {NODES} nodes to {LETTERS} letters. The time \
                 runs from when the save is asked for, so its own barrier is in it, and ends when a \
                 replica publishes a state with it; the author counts as a replica. *Copies* is how \
                 often a change set came to a replica that is not its author, wanted or not: 1 is \
                 the least there can be."
            ),
            "A replica pushes its own change sets to 8 others at once and tells 8 more that they \
             are there, who ask for them; what came from others is only told of, to 8, after 30 to \
             50 ms, unless they have said meanwhile that they have it. Who is told by another one \
             than the author waits 10 ms for what may be on its way, and then asks for it. So up to \
             9 replicas one hop is enough, up to 17 a round trip more, and above that every further \
             hop costs about 50 ms and a round trip."
                .to_owned(),
        ],
        charts,
        tables: vec![by_size.table(), by_loss.table()],
        command: Some(terms.command("spread")),
    };
    let sheets = vec![("by_size", by_size), ("by_loss", by_loss)];
    Ok(Findings::new(Experiment::Spread, section, sheets))
}

fn times(title: String, x: Axis, sheet: &Sheet, along: &str, place: Place) -> Chart {
    let chosen = [("place", place.name().into())];
    let line = |name, column| sheet.line(name, along, column, &chosen);
    Chart::Lines(LineChart {
        title,
        x,
        y: Axis::new("time since the save was asked for", Unit::Seconds).logarithmic(),
        series: vec![
            line("50 % of replicas, median", "half"),
            line("99 %, median", "most"),
            line("100 %, median", "all"),
            line("100 %, slowest save", "all_max"),
        ],
    })
}

fn copies(title: &str, x: Axis, sheet: &Sheet, along: &str) -> Chart {
    let line = |place: Place| {
        let chosen = [("place", place.name().into())];
        sheet.line(place.name(), along, "copies", &chosen)
    };
    Chart::Lines(LineChart {
        title: title.to_owned(),
        x,
        y: Axis::new("times that it came", Unit::Count),
        series: Place::ALL.map(line).into(),
    })
}
