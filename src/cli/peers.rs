//! `leveret peers`: the other members of the cluster.

use std::io::Write;

use super::client::Daemon;
use super::status::peer_text;

/// Print the other replicas of the cluster: key, name, address, connected, lag
///
/// The lag is how many change sets that peer is known to lack.
#[derive(clap::Args)]
pub(crate) struct Peers {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Peers {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let answer = self.daemon.get("/v1/peers", vec![])?.json()?;
        if self.json {
            writeln!(out, "{}", answer["peers"])?;
            return Ok(());
        }
        for peer in answer["peers"].as_array().into_iter().flatten() {
            writeln!(out, "{}", peer_text(peer))?;
        }
        Ok(())
    }
}
