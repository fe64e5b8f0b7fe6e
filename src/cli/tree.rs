//! `leveret tree`: a subtree, for people or as JSON.

use std::io::Write;

use super::client::{Daemon, Query, Repository};

/// Print a node and what is below it
#[derive(clap::Args)]
pub(crate) struct Tree {
    /// The node
    #[arg(default_value = "/")]
    path: String,
    /// Levels below the node to print; all of them if not given
    #[arg(long, value_name = "N")]
    depth: Option<u32>,
    /// Print JSON, as `import` takes it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: Repository,
    #[command(flatten)]
    daemon: Daemon,
}

impl Tree {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let format = if self.json { "json" } else { "text" };
        let mut query: Query<'_> = vec![
            ("path", self.path),
            ("repo", self.repository.name()),
            ("format", format.into()),
        ];
        if let Some(depth) = self.depth {
            query.push(("depth", depth.to_string()));
        }
        self.daemon.get("/v1/tree", query)?.copy_to(out)
    }
}
