//! `leveret import`: a JSON file into the tree.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;

use serde_json::Value;
use ureq::SendBody;

use super::Failure;
use super::client::{Daemon, Query, refusal};
use super::text::member;

/// Import a JSON file
///
/// An object is a node, its object members are the node's children, its other members the node's
/// properties. The file is checked as a whole first: if anything is wrong with it, nothing is
/// changed. Then it goes in as many saves, each whole. What is there already stays; nothing is
/// removed. An import that was cut short is resumed by repeating it: what is in already is skipped.
#[derive(clap::Args)]
pub(crate) struct Import {
    /// The file; `-` for standard input
    file: PathBuf,
    /// The node that the file's outermost object is
    #[arg(default_value = "/")]
    path: String,
    /// A message that travels with the change sets
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Print JSON: one object for each step
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Import {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let shown = self.file.display().to_string();
        let mut query: Query<'_> = vec![("path", self.path)];
        if let Some(message) = self.message {
            query.push(("message", message));
        }
        let mut answer = if self.file.as_os_str() == "-" {
            let mut input = io::stdin().lock();
            self.daemon
                .post("/v1/import", query, SendBody::from_reader(&mut input))?
        } else {
            let unreadable = |error: io::Error| {
                Failure::error(
                    format!("can not read {shown}: {error}"),
                    "name a JSON file, or `-` for standard input",
                )
            };
            let mut file = File::open(&self.file).map_err(unreadable)?;
            if file.metadata().map_err(unreadable)?.is_dir() {
                return Err(unreadable(io::ErrorKind::IsADirectory.into()));
            }
            self.daemon
                .post("/v1/import", query, SendBody::from_reader(&mut file))?
        };
        let mut progress = Progress::new(!self.json && io::stderr().is_terminal());
        while let Some((line, step)) = answer.next_line()? {
            if self.json {
                writeln!(out, "{line}")?;
                out.flush()?;
            }
            match step["event"].as_str().unwrap_or_default() {
                "checked" => progress.checked(&step),
                "saved" => progress.saved(&step),
                "done" => {
                    progress.clear();
                    if !self.json {
                        writeln!(out, "{}", summary(&shown, &step))?;
                    }
                    return Ok(());
                }
                "error" => {
                    progress.clear();
                    return Err(refusal(&step));
                }
                _ => {}
            }
        }
        progress.clear();
        Err(Failure::error(
            "the daemon ended before the import did",
            "repeat the import: what is in already is skipped",
        ))
    }
}

fn summary(file: &str, done: &Value) -> String {
    format!(
        "imported {file}: {} nodes added, {} were there; {} properties set, {} were the same; \
         {} saves",
        member(done, "nodes_added"),
        member(done, "nodes_found"),
        member(done, "properties_set"),
        member(done, "properties_same"),
        member(done, "saves"),
    )
}

/// The one line on standard error that says how far the import is, where that is a terminal.
struct Progress {
    visible: bool,
    nodes: u64,
}

impl Progress {
    fn new(visible: bool) -> Self {
        Self { visible, nodes: 0 }
    }

    fn checked(&mut self, step: &Value) {
        self.nodes = step["nodes"].as_u64().unwrap_or_default();
        self.show(&format!("checked: {} nodes", self.nodes));
    }

    fn saved(&mut self, step: &Value) {
        let done = step["nodes_done"].as_u64().unwrap_or_default();
        let percent = done * 100 / self.nodes.max(1);
        self.show(&format!("{done} of {} nodes ({percent} %)", self.nodes));
    }

    fn show(&self, text: &str) {
        if self.visible {
            // A terminal that has gone away is no reason to stop the import.
            let _ = write!(io::stderr(), "\r\x1b[K{text}").and_then(|()| io::stderr().flush());
        }
    }

    fn clear(&self) {
        self.show("");
    }
}
