//! What every chart is drawn with: a card with a title and a legend, text, marks, and the colours.
//!
//! Widths of text are estimated, on the generous side, since nothing here knows the reader's fonts.

use std::fmt::{Display, Write};

/// Width of a chart, in CSS pixels.
pub(super) const WIDTH: f64 = 760.0;

/// Between the card's edge and what is drawn.
pub(super) const MARGIN: f64 = 20.0;

/// Width of a letter of small text.
pub(super) const LETTER: f64 = 6.8;

/// Width of a letter of the title.
const TITLE_LETTER: f64 = 8.2;

/// How many colours there are; more series than this begin again, with other marks.
const COLOURS: usize = 6;

/// Letters after which the name of a series is cut off in the legend.
const NAME_LETTERS: usize = 60;

/// The colours follow the reader's: light unless the reader prefers dark. The card behind a chart
/// is opaque, so it can be read on any page.
pub(crate) const STYLE: &str = r#"
  .chart { --card: #ffffff; --edge: #d0d7de; --ink: #1f2328; --soft: #57606a; --line: #8c959f;
           --grid: #eaeef2; --c0: #0969da; --c1: #bc4c00; --c2: #1a7f37; --c3: #8250df;
           --c4: #cf222e; --c5: #57606a }
  @media (prefers-color-scheme: dark) {
    .chart { --card: #0d1117; --edge: #30363d; --ink: #e6edf3; --soft: #9198a1; --line: #6e7681;
             --grid: #21262d; --c0: #58a6ff; --c1: #f0883e; --c2: #3fb950; --c3: #bc8cff;
             --c4: #f85149; --c5: #9198a1 }
  }
  .chart .card { fill: var(--card); stroke: var(--edge) }
  .chart text { fill: var(--ink); font-size: 14px;
                font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }
  .chart .head { font-weight: 600 }
  .chart .small { fill: var(--soft); font-size: 12px }
  .chart .middle { text-anchor: middle }
  .chart .end { text-anchor: end }
  .chart .axis { stroke: var(--line); stroke-width: 1; fill: none }
  .chart .grid { stroke: var(--grid); stroke-width: 1; fill: none }
  .chart .line { stroke: currentColor; stroke-width: 2; fill: none; stroke-linejoin: round }
  .chart .mark { fill: currentColor; stroke: var(--card); stroke-width: 1 }
  .chart .bar { fill: currentColor }
  .chart .c0 { color: var(--c0) } .chart .c1 { color: var(--c1) } .chart .c2 { color: var(--c2) }
  .chart .c3 { color: var(--c3) } .chart .c4 { color: var(--c4) } .chart .c5 { color: var(--c5) }
"#;

/// Text as it stands in HTML and SVG, between tags or in quotes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(letter),
            // XML has no place for these.
            _ if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// At most so many letters of a text, the last of them `…` if there were more.
pub(super) fn cut(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let kept: String = text.chars().take(letters.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// A text in lines of at most so many letters; longer words are cut off.
fn wrap(text: &str, letters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = cut(word, letters);
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= letters => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// What stands for a series in the legend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sample {
    /// A line with a mark.
    Line,
    /// A square.
    Bar,
}

/// The class that gives a series its colour.
pub(super) fn colour(series: usize) -> String {
    format!("c{}", series % COLOURS)
}

/// The outline of the mark of a series around a point: shapes differ, for whom colours do not.
pub(super) fn mark(series: usize, x: f64, y: f64) -> String {
    let corners: &[(f64, f64)] = match series % 4 {
        0 => return format!("M{:.1} {y:.1}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", x - 4.0),
        1 => &[(-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)],
        2 => &[(0.0, -4.8), (4.6, 3.4), (-4.6, 3.4)],
        _ => &[(0.0, -5.0), (5.0, 0.0), (0.0, 5.0), (-5.0, 0.0)],
    };
    let mut path = String::new();
    for (number, (right, down)) in corners.iter().enumerate() {
        let step = if number == 0 { 'M' } else { 'L' };
        write!(path, "{step}{:.1} {:.1}", x + right, y + down).expect("a string takes all");
    }
    path + "z"
}

/// A chart in the making. `y` grows downwards.
pub(super) struct Drawing {
    title: String,
    description: String,
    shapes: Vec<String>,
    /// Where the next thing can be put.
    pub(super) y: f64,
}

impl Drawing {
    /// An empty card with a title, and a description for who can not see it.
    pub(super) fn new(title: &str, description: String) -> Self {
        let mut drawing = Self {
            title: title.to_owned(),
            description,
            shapes: Vec::new(),
            y: 30.0,
        };
        let letters = ((WIDTH - 2.0 * MARGIN) / TITLE_LETTER) as usize;
        for line in wrap(title, letters) {
            drawing.text(MARGIN, drawing.y, &line, "head");
            drawing.y += 20.0;
        }
        drawing
    }

    /// Names the series, beside each other as far as there is room.
    pub(super) fn legend<'a>(&mut self, names: impl Iterator<Item = &'a str>, sample: Sample) {
        let mut x = MARGIN;
        let mut is_empty = true;
        for (series, name) in names.enumerate() {
            let short = cut(name, NAME_LETTERS);
            let width = 28.0 + short.chars().count() as f64 * LETTER + 18.0;
            if x > MARGIN && x + width > WIDTH - MARGIN {
                (x, self.y) = (MARGIN, self.y + 20.0);
            }
            let (y, class) = (self.y, colour(series));
            match sample {
                Sample::Line => {
                    let line = format!("M{x:.1} {:.1}H{:.1}", y - 4.0, x + 22.0);
                    self.path(&line, &format!("line {class}"), None);
                    let mark = mark(series, x + 11.0, y - 4.0);
                    self.path(&mark, &format!("mark {class}"), None);
                }
                Sample::Bar => {
                    let square = format!("M{:.1} {:.1}h12v12h-12z", x + 6.0, y - 10.0);
                    self.path(&square, &format!("bar {class}"), None);
                }
            }
            self.text(x + 28.0, y, &short, "small");
            x += width;
            is_empty = false;
        }
        if !is_empty {
            self.y += 24.0;
        }
    }

    /// Writes a text at a point of its baseline.
    pub(super) fn text(&mut self, x: f64, y: f64, text: &str, class: &str) {
        let text = escape(text);
        self.shapes.push(format!(
            r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{text}</text>"#
        ));
    }

    /// Draws a path; what is said of it is shown when it is pointed at.
    pub(super) fn path(&mut self, path: &str, class: &str, said: Option<&str>) {
        self.shapes.push(match said {
            None => format!(r#"<path d="{path}" class="{class}"/>"#),
            Some(said) => {
                let said = escape(said);
                format!(r#"<path d="{path}" class="{class}"><title>{said}</title></path>"#)
            }
        });
    }

    /// Says that some numbers are not in the chart, if any are not.
    pub(super) fn left_out(&mut self, count: usize) {
        if count > 0 {
            let what = if count == 1 { "value" } else { "values" };
            let note = format!("left out: {count} {what} that these axes can not show");
            self.text(MARGIN, self.y, &note, "small");
            self.y += 18.0;
        }
    }

    /// The chart, down to `y`; with the style if it is to stand alone.
    pub(super) fn svg(self, is_alone: bool) -> String {
        let height = self.y;
        let style: &dyn Display = match is_alone {
            true => &format!("<style>{STYLE}</style>\n"),
            false => &"",
        };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\" class=\"chart\">\n\
             <title>{}</title>\n<desc>{}</desc>\n{style}\
             <rect x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\" class=\"card\"/>\n\
             {}\n</svg>\n",
            escape(&self.title),
            escape(&self.description),
            WIDTH - 1.0,
            height - 1.0,
            self.shapes.join("\n"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_svg_is_escaped_and_what_it_can_not_hold_replaced() {
        assert_eq!(
            escape("a<b> & \"c\" 'd'"),
            "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;"
        );
        assert_eq!(escape("a\u{0}b\u{1b}c\n"), "a\u{fffd}b\u{fffd}c\n");
    }

    #[test]
    fn long_titles_are_wrapped_and_long_words_cut() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("incomprehensible", 7), ["incomp…"]);
        assert!(wrap("", 7).is_empty());
        assert_eq!(cut("äöü", 3), "äöü");
    }
}
