//! `leveret status`: how the replica is.

use std::io::Write;

use serde_json::Value;

use super::client::Daemon;
use super::text::{member, printable, short};

/// Counters that people see even when they are 0.
const COUNTERS_SHOWN: [&str; 5] = ["clashes", "handed_back", "late", "rewinds", "skipped"];

/// Print the replica's heads, digest, peers and counters
#[derive(clap::Args)]
pub(crate) struct Status {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Status {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let status = self.daemon.get("/v1/status", vec![])?.json()?;
        if self.json {
            writeln!(out, "{status}")?;
            return Ok(());
        }
        for name in ["replica", "name", "cluster", "address", "ready", "isolated"] {
            line(out, name, &member(&status, name))?;
        }
        for name in ["digest", "heads", "held", "conflicts"] {
            line(out, name, &member(&status, name))?;
        }
        for name in ["disk_bytes", "live_bytes"] {
            line(out, name, &member(&status, name))?;
        }
        if status["cleaning_behind"] == true {
            line(out, "cleaning_behind", "true")?;
        }
        if status["own_held"].as_u64().is_some_and(|count| count > 0) {
            for name in ["own_held", "own_held_until"] {
                line(out, name, &member(&status, name))?;
            }
        }
        for (name, value) in status["counters"].as_object().into_iter().flatten() {
            if *value != 0 || COUNTERS_SHOWN.contains(&name.as_str()) {
                line(out, &printable(name), &super::text::shown(value))?;
            }
        }
        for warning in status["warnings"].as_array().into_iter().flatten() {
            line(out, "warning", &super::text::shown(warning))?;
        }
        let peers = status["peers"].as_array().map(Vec::as_slice);
        for peer in peers.unwrap_or_default() {
            line(out, "peer", &peer_text(peer))?;
        }
        Ok(())
    }
}

fn line(out: &mut dyn Write, name: &str, value: &str) -> std::io::Result<()> {
    writeln!(out, "{name:<20} {value}")
}

/// A peer on one line.
pub(crate) fn peer_text(peer: &Value) -> String {
    let state = if peer["connected"] == true {
        "connected"
    } else {
        "not connected"
    };
    format!(
        "{}  {}  {}  {state}  lag {}",
        short(peer["replica"].as_str().unwrap_or_default()),
        member(peer, "name"),
        member(peer, "address"),
        member(peer, "lag"),
    )
}
