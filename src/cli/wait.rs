//! `leveret wait`: until the replica has caught up.

use std::io::Write;
use std::time::Duration;

use super::client::{Daemon, Repository};
use super::duration;

/// Wait until the replica has applied given change sets
#[derive(clap::Args)]
pub(crate) struct Wait {
    /// What to wait for: heads as `leveret status` prints them, or a change set id
    #[arg(long = "for", value_name = "HEADS")]
    heads: String,
    /// How long to wait; after that the exit status is 1
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    timeout: Duration,
    /// Print a JSON object with the heads and the digest at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: Repository,
    #[command(flatten)]
    daemon: Daemon,
}

impl Wait {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let query = vec![
            ("for", self.heads),
            ("timeout_ms", self.timeout.as_millis().to_string()),
            ("repo", self.repository.name()),
        ];
        let answer = self.daemon.get("/v1/wait", query)?.json()?;
        if self.json {
            writeln!(out, "{answer}")?;
        }
        Ok(())
    }
}
