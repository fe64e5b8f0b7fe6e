//! Line charts.

use std::fmt::Write;

use super::drawing::{Drawing, LETTER, Sample, WIDTH, colour, mark};
use super::{Axis, LEFT, Plot, RIGHT, Table, shown};

/// Series of points over two axes, those of a series joined in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct LineChart {
    /// What it shows.
    pub title: String,
    /// The axis to the right.
    pub x: Axis,
    /// The axis upwards. A linear one begins at 0.
    pub y: Axis,
    /// The series.
    pub series: Vec<Series>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// Its points, each to the right and upwards.
    pub points: Vec<(f64, f64)>,
}

impl LineChart {
    pub(super) fn drawing(&self) -> Drawing {
        let mut drawing = Drawing::new(&self.title, self.description());
        drawing.legend(self.names(), Sample::Line);
        let points = self.series.iter().flat_map(|series| &series.points);
        let x_axis = self.x.fit(points.clone().map(|(x, _)| *x), false);
        let y_axis = self.y.fit(points.map(|(_, y)| *y), true);
        let plot = Plot::begin(&mut drawing, &self.y.label, &y_axis);
        let at_x = |place: f64| LEFT + place * (RIGHT - LEFT);

        let mut free_from = 0.0;
        for (tick, text) in &x_axis.ticks {
            let x = at_x(x_axis.place(*tick));
            drawing.path(&format!("M{x:.1} {:.1}v5", plot.bottom), "axis", None);
            let half = text.chars().count() as f64 * LETTER / 2.0;
            if x - half >= free_from && x + half <= WIDTH - 4.0 {
                drawing.text(x, drawing.y, text, "small middle");
                free_from = x + half + 4.0;
            }
        }
        Plot::label_below(&mut drawing, &self.x.label);
        plot.frame(&mut drawing, None);

        let mut left_out = 0;
        for (number, series) in self.series.iter().enumerate() {
            let class = colour(number);
            let (mut line, mut marks) = (String::new(), Vec::new());
            let mut is_joined = false;
            for (x, y) in &series.points {
                if !self.x.shows(*x) || !self.y.shows(*y) {
                    // No line over what is missing.
                    (left_out, is_joined) = (left_out + 1, false);
                    continue;
                }
                let (at_x, at_y) = (at_x(x_axis.place(*x)), plot.y(y_axis.place(*y)));
                let step = if is_joined { 'L' } else { 'M' };
                write!(line, "{step}{at_x:.1} {at_y:.1}").expect("a string takes all");
                is_joined = true;
                let (x, y) = (shown(*x, self.x.unit), shown(*y, self.y.unit));
                marks.push((
                    mark(number, at_x, at_y),
                    format!("{}: {x}, {y}", series.name),
                ));
            }
            if marks.len() > 1 {
                drawing.path(&line, &format!("line {class}"), None);
            }
            for (mark, said) in marks {
                drawing.path(&mark, &format!("mark {class}"), Some(&said));
            }
        }
        let is_empty = self.series.iter().all(|series| series.points.is_empty());
        plot.end(&mut drawing, is_empty, left_out);
        drawing
    }

    pub(super) fn table(&self) -> Table {
        // Each x once, in the order in which the series first come to it.
        let mut rows: Vec<f64> = Vec::new();
        for (x, _) in self.series.iter().flat_map(|series| &series.points) {
            if !rows.iter().any(|row| row.total_cmp(x).is_eq()) {
                rows.push(*x);
            }
        }
        rows.sort_by(f64::total_cmp);
        let cell = |series: &Series, x: f64| {
            let here = series
                .points
                .iter()
                .filter(|(at, _)| at.total_cmp(&x).is_eq());
            let shown: Vec<String> = here.map(|(_, y)| shown(*y, self.y.unit)).collect();
            shown.join(", ")
        };
        Table {
            columns: std::iter::once(self.x.label.as_str())
                .chain(self.names())
                .map(str::to_owned)
                .collect(),
            rows: rows
                .into_iter()
                .map(|x| {
                    let cells = self.series.iter().map(|series| cell(series, x));
                    std::iter::once(shown(x, self.x.unit))
                        .chain(cells)
                        .collect()
                })
                .collect(),
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.series.iter().map(|series| series.name.as_str())
    }

    fn description(&self) -> String {
        let mut text = format!("Lines of {} over {}.", self.y.label, self.x.label);
        for series in &self.series {
            let (first, last) = (series.points.first(), series.points.last());
            if let (Some(first), Some(last)) = (first, last) {
                let point = |(x, y): &(f64, f64)| {
                    format!("{} at {}", shown(*y, self.y.unit), shown(*x, self.x.unit))
                };
                let (name, first, last) = (&series.name, point(first), point(last));
                write!(text, " {name}: from {first} to {last}.").expect("a string takes all");
            }
        }
        text
    }
}
