//! `leveret token`: a join token.

use std::io::Write;
use std::time::Duration;

use super::client::Daemon;
use super::{duration, text};

/// Print a token with which another machine can join the cluster
///
/// Give it to `leveret serve --join TOKEN` there. Who has it can join until it expires, so treat
/// it as a password.
#[derive(clap::Args)]
pub(crate) struct Token {
    /// How long it is good for
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    expires: Duration,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Token {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let query = vec![("expires_ms", self.expires.as_millis().to_string())];
        let answer = self.daemon.post("/v1/token", query, "")?.json()?;
        if self.json {
            writeln!(out, "{answer}")?;
        } else {
            writeln!(out, "{}", text::member(&answer, "token"))?;
        }
        Ok(())
    }
}
