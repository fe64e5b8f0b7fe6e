//! The measurements, a file for each kind.

mod reads;
mod saves;
mod visibility;

use crate::measure::Settings;

/// Makes a measurement and prints its lines.
type Measurement = fn(&Settings);

/// All of them, in the order of the table.
pub(crate) const ALL: &[(&str, Measurement)] = &[
    ("saves-relaxed", saves::relaxed),
    ("saves-sync", saves::sync),
    ("reads-cached", reads::cached),
    ("visibility", visibility::visibility),
];
