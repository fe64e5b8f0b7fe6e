//! `leveret isolate`: a replica that is to be alone for a while.

use std::io::Write;

use super::client::Daemon;

/// Cut the replica off from its peers, or join it again
///
/// While it is isolated the daemon drops and refuses every connection with a peer; it goes on
/// taking saves, and merges when it is joined again. A daemon that starts is never isolated.
#[derive(clap::Args)]
pub(crate) struct Isolate {
    /// `on` cuts it off, `off` joins it again
    state: Switch,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

impl Isolate {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let on = matches!(self.state, Switch::On);
        let query = vec![("on", on.to_string())];
        let answer = self.daemon.post("/v1/isolate", query, "")?.json()?;
        if self.json {
            writeln!(out, "{answer}")?;
        }
        Ok(())
    }
}
