//! The measurements, a file for each kind.

mod daemons;
mod disk;
mod http;
mod import;
mod ingest;
mod late;
mod memory;
mod opening;
mod reads;
mod reads_cold;
mod reunion;
mod saves;
mod visibility;
mod wire;

use crate::measure::Settings;

/// Makes a measurement and prints its lines.
type Measurement = fn(&Settings);

/// Does a part of a measurement, given the arguments after its name.
type Part = fn(&[String]);

/// What the program does when it has started itself, by its first argument.
pub(crate) const PARTS: &[(&str, Part)] = &[
    ("part-memory", memory::part),
    ("part-load", opening::part),
    ("part-import", import::part),
];

/// All of them, in the order of the table.
pub(crate) const ALL: &[(&str, Measurement)] = &[
    ("saves-relaxed", saves::relaxed),
    ("saves-sync", saves::sync),
    ("saves-http", http::relaxed),
    ("import", import::import),
    ("ingest", ingest::ingest),
    ("reads-cached", reads::cached),
    ("reads-first", reads_cold::first),
    ("reads-beside-saves", reads::beside_saves),
    ("opening", opening::opening),
    ("memory", memory::memory),
    ("disk", disk::disk),
    ("late-set", late::set),
    ("late-move", late::moves),
    ("removal", late::removal),
    ("reunion", reunion::reunion),
    ("visibility", visibility::visibility),
    ("daemons", daemons::together),
    ("wire", wire::bytes),
];
