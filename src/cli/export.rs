//! `leveret export`: a subtree as JSON.

use std::io::Write;

use super::client::{Daemon, Repository};

/// Print a node and what is below it as JSON, one member a line, as `import` takes it
#[derive(clap::Args)]
pub(crate) struct Export {
    /// The node
    #[arg(default_value = "/")]
    path: String,
    /// Accepted as everywhere: the output is JSON anyway
    #[arg(long, hide = true)]
    json: bool,
    #[command(flatten)]
    repository: Repository,
    #[command(flatten)]
    daemon: Daemon,
}

impl Export {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let query = vec![("path", self.path), ("repo", self.repository.name())];
        self.daemon.get("/v1/export", query)?.copy_to(out)
    }
}
