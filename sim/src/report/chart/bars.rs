//! Bar charts.

use super::drawing::{self, Drawing, LETTER, Sample, colour};
use super::{Axis, LEFT, Plot, RIGHT, Table, Unit, shown};

/// Most of a bar's width, in CSS pixels.
const WIDTH_MAX: f64 = 56.0;

/// Groups of bars, one of each series in each group.
///
/// Bars always stand on 0: their lengths are what is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct BarChart {
    /// What it shows.
    pub title: String,
    /// What the groups are.
    pub groups_label: String,
    /// The groups, from left to right.
    pub groups: Vec<String>,
    /// What is shown upwards.
    pub label: String,
    /// What its numbers are.
    pub unit: Unit,
    /// The series.
    pub series: Vec<Bars>,
}

/// The bars of one colour.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    /// What the legend calls them.
    pub name: String,
    /// A number for each group; what is missing has no bar, and what is too much is left out.
    pub values: Vec<f64>,
}

impl BarChart {
    pub(super) fn drawing(&self) -> Drawing {
        let mut drawing = Drawing::new(&self.title, self.description());
        drawing.legend(self.names(), Sample::Bar);
        let axis = Axis::new(&self.label, self.unit);
        let columns = self.series.iter().map(|series| self.of_groups(series));
        let fitted = axis.fit(columns.flatten().copied(), true);
        let plot = Plot::begin(&mut drawing, &self.label, &fitted);

        let of_group = (RIGHT - LEFT) / self.groups.len().max(1) as f64;
        // A sixth of a group's width on either side keeps it apart from the next.
        let bar = (of_group * 2.0 / 3.0 / self.series.len().max(1) as f64).min(WIDTH_MAX);
        for (number, group) in self.groups.iter().enumerate() {
            let middle = LEFT + (number as f64 + 0.5) * of_group;
            let text = drawing::cut(group, (of_group / LETTER) as usize);
            drawing.text(middle, drawing.y, &text, "small middle");
        }
        Plot::label_below(&mut drawing, &self.groups_label);

        let zero = plot.y(fitted.place(0.0));
        let mut left_out = 0;
        for (number, series) in self.series.iter().enumerate() {
            let beside = number as f64 - self.series.len() as f64 / 2.0;
            let values = self.of_groups(series);
            left_out += series.values.len() - values.len();
            for (group, value) in values.iter().enumerate() {
                if !axis.shows(*value) {
                    left_out += 1;
                    continue;
                }
                let x = LEFT + (group as f64 + 0.5) * of_group + beside * bar;
                let end = plot.y(fitted.place(*value));
                let (gap, width) = (bar.min(10.0) * 0.1, bar - bar.min(10.0) * 0.2);
                let path = format!("M{:.1} {zero:.1}h{width:.1}V{end:.1}h-{width:.1}z", x + gap);
                let text = shown(*value, self.unit);
                let said = format!("{}, {}: {text}", series.name, self.groups[group]);
                drawing.path(&path, &format!("bar {}", colour(number)), Some(&said));
                if text.chars().count() as f64 * LETTER <= bar {
                    let above = if *value < 0.0 { end + 13.0 } else { end - 4.0 };
                    drawing.text(x + bar / 2.0, above, &text, "small middle");
                }
            }
        }
        plot.frame(&mut drawing, Some(zero));
        let no_values = self.series.iter().all(|series| series.values.is_empty());
        plot.end(&mut drawing, self.groups.is_empty() || no_values, left_out);
        drawing
    }

    pub(super) fn table(&self) -> Table {
        let row = |(number, group): (usize, &String)| {
            let cell = |series: &Bars| match series.values.get(number) {
                Some(value) => shown(*value, self.unit),
                None => String::new(),
            };
            let cells = self.series.iter().map(cell);
            std::iter::once(group.clone()).chain(cells).collect()
        };
        Table {
            columns: std::iter::once(self.groups_label.as_str())
                .chain(self.names())
                .map(str::to_owned)
                .collect(),
            rows: self.groups.iter().enumerate().map(row).collect(),
        }
    }

    /// The values of a series that belong to a group.
    fn of_groups<'a>(&self, series: &'a Bars) -> &'a [f64] {
        &series.values[..series.values.len().min(self.groups.len())]
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.series.iter().map(|series| series.name.as_str())
    }

    fn description(&self) -> String {
        let mut text = format!("Bars of {} by {}.", self.label, self.groups_label);
        for series in &self.series {
            let bars = self.groups.iter().zip(&series.values);
            let bars = bars.map(|(group, value)| format!("{group} {}", shown(*value, self.unit)));
            let bars: Vec<String> = bars.collect();
            text += &format!(" {}: {}.", series.name, bars.join(", "));
        }
        text
    }
}
