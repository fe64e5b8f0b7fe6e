//! `leveret get`: one node, or one of its properties.

use std::io::Write;

use super::Failure;
use super::client::{Daemon, Repository};
use super::text::{clipped, member, printable};

/// Longest value that is printed whole when a node is shown, in characters.
const VALUE_CHARS_MAX: usize = 200;

/// Print a node's properties, or the value of one of them
#[derive(clap::Args)]
pub(crate) struct Get {
    /// The node
    #[arg(default_value = "/")]
    path: String,
    /// The property whose value to print, as JSON
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: Repository,
    #[command(flatten)]
    daemon: Daemon,
}

impl Get {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let query = vec![
            ("path", self.path.clone()),
            ("repo", self.repository.name()),
        ];
        let node = self.daemon.get("/v1/node", query)?.json()?;
        if let Some(name) = self.name {
            let Some(value) = node["properties"].get(&name) else {
                return Err(Failure::error(
                    format!("{} has no property `{}`", self.path, printable(&name)),
                    format!("`leveret get '{}'` lists those it has", self.path),
                ));
            };
            writeln!(out, "{value}")?;
            return Ok(());
        }
        if self.json {
            writeln!(out, "{node}")?;
            return Ok(());
        }
        writeln!(
            out,
            "{}  (node {})",
            member(&node, "path"),
            member(&node, "id")
        )?;
        for (name, value) in node["properties"].as_object().into_iter().flatten() {
            let value = clipped(&value.to_string(), VALUE_CHARS_MAX);
            writeln!(out, "  {} = {value}", printable(name))?;
        }
        let children = node["children"].as_array().map(Vec::as_slice);
        for child in children.unwrap_or_default() {
            writeln!(out, "  {}/", member(child, "name"))?;
        }
        if node["more_children"] == true {
            writeln!(out, "  … and more; `leveret tree --depth 1` lists them all")?;
        }
        Ok(())
    }
}
