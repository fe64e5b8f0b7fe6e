//! The measurements, a file for each kind.

mod daemons;
mod late;
mod reads;
mod reunion;
mod saves;
mod visibility;
mod wire;

use crate::measure::Settings;

/// Makes a measurement and prints its lines.
type Measurement = fn(&Settings);

/// All of them, in the order of the table.
pub(crate) const ALL: &[(&str, Measurement)] = &[
    ("saves-relaxed", saves::relaxed),
    ("saves-sync", saves::sync),
    ("reads-cached", reads::cached),
    ("late-set", late::set),
    ("late-move", late::moves),
    ("removal", late::removal),
    ("reunion", reunion::reunion),
    ("visibility", visibility::visibility),
    ("daemons", daemons::together),
    ("wire", wire::bytes),
];
