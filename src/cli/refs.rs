//! `leveret refs`: who refers to a node.

use std::io::Write;

use super::client::{Daemon, Repository};
use super::text::{member, node_key};

/// Print which properties refer to a node
#[derive(clap::Args)]
pub(crate) struct Refs {
    /// The node: its path, or its id, which also finds references that dangle
    node: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: Repository,
    #[command(flatten)]
    daemon: Daemon,
}

impl Refs {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let query = vec![
            (node_key(&self.node), self.node),
            ("repo", self.repository.name()),
        ];
        let answer = self.daemon.get("/v1/refs", query)?.json()?;
        if self.json {
            writeln!(out, "{answer}")?;
            return Ok(());
        }
        let list = answer["referrers"].as_array().map(Vec::as_slice);
        for referrer in list.unwrap_or_default() {
            let (path, property) = (member(referrer, "path"), member(referrer, "property"));
            writeln!(out, "{path} {property}")?;
        }
        Ok(())
    }
}
