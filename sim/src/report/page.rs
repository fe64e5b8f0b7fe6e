//! Pages: one HTML file each, with everything it needs in it, and nothing else.
//!
//! A page asks for nothing from any network, and its policy tells the browser to refuse it. There
//! are no scripts.

use std::fmt::Write;

use super::chart::{Chart, STYLE, Table, escape};

/// The page follows the reader's colours, as the charts do.
const PAGE_STYLE: &str = r#"
  :root { color-scheme: light dark; --page: #ffffff; --ink: #1f2328; --soft: #57606a;
          --edge: #d0d7de; --code: #f6f8fa }
  @media (prefers-color-scheme: dark) {
    :root { --page: #0d1117; --ink: #e6edf3; --soft: #9198a1; --edge: #30363d; --code: #161b22 }
  }
  body { background: var(--page); color: var(--ink); max-width: 780px; margin: 2rem auto;
         padding: 0 1rem; line-height: 1.5;
         font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }
  h1 { font-size: 1.7rem } h2 { font-size: 1.25rem; margin-top: 2.5rem }
  svg { max-width: 100%; height: auto; display: block; margin: 1rem 0 }
  code, pre { background: var(--code); border-radius: 4px; font-size: 0.9em }
  code { padding: 0.1em 0.3em } pre { padding: 0.7em 1em; overflow-x: auto }
  pre code { padding: 0; background: none }
  summary { color: var(--soft); cursor: pointer }
  .scroll { overflow-x: auto }
  table { border-collapse: collapse; margin: 0.7rem 0; font-size: 0.9em;
          font-variant-numeric: tabular-nums }
  th, td { border-bottom: 1px solid var(--edge); padding: 0.25em 0.8em; text-align: right }
  th:first-child { text-align: left }
  thead th { color: var(--soft); font-weight: 600; vertical-align: bottom }
  tbody th { font-weight: 400 }
"#;

/// A page.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Page {
    /// Its title and first heading.
    pub title: String,
    /// What stands before the sections. Words in backticks are code, here and in sections.
    pub paragraphs: Vec<String>,
    /// The sections.
    pub sections: Vec<Section>,
}

/// One experiment, or whatever has a heading.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Section {
    /// Its heading.
    pub heading: String,
    /// What there is to say.
    pub paragraphs: Vec<String>,
    /// Charts. Each is followed by its numbers as a table, folded up.
    pub charts: Vec<Chart>,
    /// What there is in numbers and has no chart.
    pub tables: Vec<Table>,
    /// The command that makes the same numbers again.
    pub command: Option<String>,
}

impl Page {
    /// The page as one file.
    #[must_use]
    pub fn html(&self) -> String {
        let mut html = String::new();
        self.write(&mut html).expect("a string takes all");
        html
    }

    fn write(&self, html: &mut String) -> std::fmt::Result {
        let title = escape(&self.title);
        write!(
            html,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <title>{title}</title>\n<style>{PAGE_STYLE}{STYLE}</style>\n</head>\n<body>\n\
             <h1>{title}</h1>\n"
        )?;
        paragraphs(html, &self.paragraphs)?;
        for section in &self.sections {
            section.write(html)?;
        }
        html.push_str("</body>\n</html>\n");
        Ok(())
    }
}

impl Section {
    fn write(&self, html: &mut String) -> std::fmt::Result {
        write!(html, "<section>\n<h2>{}</h2>\n", escape(&self.heading))?;
        paragraphs(html, &self.paragraphs)?;
        for chart in &self.charts {
            html.push_str(&chart.svg_in_page());
            html.push_str("<details>\n<summary>The same in numbers</summary>\n");
            write_table(html, &chart.table())?;
            html.push_str("</details>\n");
        }
        for table in &self.tables {
            write_table(html, table)?;
        }
        if let Some(command) = &self.command {
            writeln!(html, "<pre><code>{}</code></pre>", escape(command))?;
        }
        html.push_str("</section>\n");
        Ok(())
    }
}

fn write_table(html: &mut String, table: &Table) -> std::fmt::Result {
    html.push_str("<div class=\"scroll\"><table>\n<thead><tr>");
    for column in &table.columns {
        write!(html, "<th scope=\"col\">{}</th>", escape(column))?;
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        html.push_str("<tr>");
        for (number, cell) in row.iter().enumerate() {
            let cell = escape(cell);
            match number {
                0 => write!(html, "<th scope=\"row\">{cell}</th>")?,
                _ => write!(html, "<td>{cell}</td>")?,
            }
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n");
    Ok(())
}

fn paragraphs(html: &mut String, paragraphs: &[String]) -> std::fmt::Result {
    for paragraph in paragraphs {
        html.push_str("<p>");
        let mut parts = paragraph.split('`').peekable();
        let mut is_code = false;
        while let Some(part) = parts.next() {
            let part = escape(part);
            match (is_code, parts.peek().is_some()) {
                (true, true) => write!(html, "<code>{part}</code>")?,
                // A backtick without another one is only that.
                (true, false) => write!(html, "`{part}")?,
                (false, _) => html.push_str(&part),
            }
            is_code = !is_code;
        }
        html.push_str("</p>\n");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::chart::{Axis, LineChart, Series, Unit};
    use crate::report::markup::{attributes, check};

    fn page() -> Page {
        let chart = Chart::Lines(LineChart {
            title: "A <chart>".to_owned(),
            x: Axis::new("replicas", Unit::Count),
            y: Axis::new("time", Unit::Seconds),
            series: vec![Series {
                name: "all".to_owned(),
                points: vec![(3.0, 0.25), (10.0, 0.5)],
            }],
        });
        let section = Section {
            heading: "Spreading & so on".to_owned(),
            paragraphs: vec!["It ran `x < y` and a ` alone.".to_owned()],
            charts: vec![chart.clone(), chart],
            tables: vec![Table {
                columns: vec!["what".to_owned(), "how \"much\"".to_owned()],
                rows: vec![vec!["a".to_owned(), "<1>".to_owned()]],
            }],
            command: Some("leveret-sim report --seed 1 > page.html".to_owned()),
        };
        Page {
            title: "What it costs".to_owned(),
            paragraphs: vec!["Words.".to_owned()],
            sections: vec![section.clone(), section, Section::default()],
        }
    }

    #[test]
    fn a_page_is_well_formed_and_escapes_what_it_is_given() {
        let html = page().html();
        check(&html);
        check(&Page::default().html());
        for text in [
            "<h1>What it costs</h1>",
            "<h2>Spreading &amp; so on</h2>",
            "<p>It ran <code>x &lt; y</code> and a ` alone.</p>",
            "<pre><code>leveret-sim report --seed 1 &gt; page.html</code></pre>",
            "<th scope=\"row\">a</th><td>&lt;1&gt;</td>",
            "<th scope=\"row\">3</th><td>250 ms</td>",
        ] {
            assert!(html.contains(text), "{text}");
        }
    }

    #[test]
    fn a_page_fetches_nothing_and_runs_nothing() {
        let html = page().html();
        for attribute in ["src", "href", "srcset", "onclick"] {
            assert!(attributes(&html, attribute).is_empty(), "{attribute}");
        }
        for word in ["<script", "<link", "<img", "url(", "@import"] {
            assert!(!html.contains(word), "{word}");
        }
        let addresses: Vec<&str> = html.split("://").skip(1).collect();
        assert!(
            addresses
                .iter()
                .all(|after| after.starts_with("www.w3.org/2000/svg\""))
        );
    }

    #[test]
    fn the_style_is_on_a_page_once_however_many_charts_it_has() {
        let html = page().html();
        assert_eq!(html.matches("<svg").count(), 4);
        assert_eq!(html.matches("--c0: #0969da").count(), 1);
    }

    #[test]
    fn the_same_page_is_the_same_bytes() {
        assert_eq!(page().html(), page().html());
    }
}
