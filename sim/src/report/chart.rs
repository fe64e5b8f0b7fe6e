//! Small charts, written as SVG by hand: lines over two axes, and groups of bars.
//!
//! They are for a few series of a few dozen points. Each is legible in light and in dark, without
//! colours (marks differ, and what is pointed at names itself), and without eyes (a title, a
//! description, and the same numbers as a [`Table`]). What the axes can not show, as 0 on a
//! logarithmic one, is left out, which the chart then says. Nothing here panics, whatever the
//! numbers are.

mod axis;
mod bars;
mod drawing;
mod lines;

pub use axis::{Axis, Scale, Unit};
pub use bars::{BarChart, Bars};
pub use lines::{LineChart, Series};

pub(crate) use drawing::{STYLE, escape};

pub(in crate::report) use axis::shown;

use axis::Fitted;
use drawing::{Drawing, LETTER, MARGIN, WIDTH};

/// Height of the part of a chart that shows numbers, in CSS pixels.
const PLOT: f64 = 260.0;

/// Where that part begins from the left: before it stand the ticks.
const LEFT: f64 = 84.0;

/// Where it ends.
const RIGHT: f64 = WIDTH - MARGIN - 12.0;

/// Half way between the two.
const MIDDLE: f64 = f64::midpoint(LEFT, RIGHT);

/// A chart of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Chart {
    /// Lines.
    Lines(LineChart),
    /// Bars.
    Bars(BarChart),
}

impl Chart {
    /// The chart as a file of its own.
    #[must_use]
    pub fn svg(&self) -> String {
        self.drawing().svg(true)
    }

    /// The chart as part of a page that has the style already.
    pub(super) fn svg_in_page(&self) -> String {
        self.drawing().svg(false)
    }

    /// The numbers it shows, those included that its axes can not show.
    #[must_use]
    pub fn table(&self) -> Table {
        match self {
            Self::Lines(chart) => chart.table(),
            Self::Bars(chart) => chart.table(),
        }
    }

    fn drawing(&self) -> Drawing {
        match self {
            Self::Lines(chart) => chart.drawing(),
            Self::Bars(chart) => chart.drawing(),
        }
    }
}

/// Numbers and words in rows; the first column says what a row is about.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Table {
    /// What the columns are.
    pub columns: Vec<String>,
    /// The rows, each with a cell for each column.
    pub rows: Vec<Vec<String>>,
}

/// Where the numbers of a chart are drawn.
struct Plot {
    top: f64,
    bottom: f64,
}

impl Plot {
    /// Draws the label and ticks of the upright axis, and lines across. Leaves the drawing's `y`
    /// below the plot.
    fn begin(drawing: &mut Drawing, label: &str, axis: &Fitted) -> Self {
        let letters = ((WIDTH - 2.0 * MARGIN) / LETTER) as usize;
        drawing.text(MARGIN, drawing.y, &drawing::cut(label, letters), "small");
        let top = drawing.y + 14.0;
        let plot = Self {
            top,
            bottom: top + PLOT,
        };
        let mut free_above = f64::INFINITY;
        for (tick, text) in &axis.ticks {
            let y = plot.y(axis.place(*tick));
            drawing.path(&format!("M{LEFT} {y:.1}H{RIGHT}"), "grid", None);
            // Ticks that were asked for may lie closer than they can be written.
            if free_above - y >= 14.0 {
                drawing.text(LEFT - 8.0, y + 4.0, &drawing::cut(text, 10), "small end");
                free_above = y;
            }
        }
        drawing.y = plot.bottom + 18.0;
        plot
    }

    /// Writes what is shown to the right, under the names of the places there.
    fn label_below(drawing: &mut Drawing, label: &str) {
        drawing.y += 20.0;
        let label = drawing::cut(label, ((RIGHT - LEFT) / LETTER) as usize);
        drawing.text(MIDDLE, drawing.y, &label, "small middle");
        drawing.y += 20.0;
    }

    /// Draws the upright axis, and the flat one: at this height, or where that one ends.
    fn frame(&self, drawing: &mut Drawing, flat: Option<f64>) {
        let flat = flat.map_or(String::new(), |y| format!("M{LEFT} {y:.1}"));
        let frame = format!("M{LEFT} {:.1}V{:.1}{flat}H{RIGHT}", self.top, self.bottom);
        drawing.path(&frame, "axis", None);
    }

    /// Ends the chart: says if there is nothing in it, and how much was left out.
    fn end(&self, drawing: &mut Drawing, is_empty: bool, left_out: usize) {
        if is_empty {
            let middle = f64::midpoint(self.top, self.bottom);
            drawing.text(MIDDLE, middle, "nothing to show", "small middle");
        }
        drawing.left_out(left_out);
        drawing.y += MARGIN - 14.0;
    }

    /// Where a place of the upright axis, from 0 to 1, is.
    fn y(&self, place: f64) -> f64 {
        self.bottom - place * (self.bottom - self.top)
    }
}

#[cfg(test)]
mod tests;
