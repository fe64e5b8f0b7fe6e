//! `leveret backup`: a copy of a running replica that it can be put back from.

use std::io::Write;
use std::path::PathBuf;

use super::Failure;
use super::client::Daemon;
use super::text::member;

/// Write a backup of the replica into a directory of the daemon's machine
///
/// The daemon writes it, while saves go on. It is a data directory: `leveret verify --data DIR` checks
/// it, and `leveret serve` goes on from it or from a copy of it. Repeated with the same directory, it
/// writes only what is new. The key of the replica is in it: keep it where nobody else can read it.
#[derive(clap::Args)]
pub(crate) struct Backup {
    /// A new or empty directory, or an earlier backup of the same replica
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Backup {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let unusable = |why: &dyn std::fmt::Display| {
            let what = format!("`{}` can not be named: {why}", self.directory.display());
            Failure::error(what, "name a directory of the daemon's machine")
        };
        let directory = std::path::absolute(&self.directory).map_err(|error| unusable(&error))?;
        let directory = directory
            .to_str()
            .ok_or_else(|| unusable(&"the path is not UTF-8"))?;
        let query = vec![("directory", directory.to_owned())];
        let answer = self.daemon.post("/v1/backup", query, "")?.json()?;
        if self.json {
            writeln!(out, "{answer}")?;
            return Ok(());
        }
        let kind = match answer["earlier"].as_bool() {
            Some(true) => "brought up to date",
            _ => "written",
        };
        writeln!(
            out,
            "{kind}: {} journal records, {} state records and {} removed, {} bytes; {} bytes on disk in {}",
            member(&answer, "journal_records"),
            member(&answer, "state_records"),
            member(&answer, "removed_records"),
            member(&answer, "bytes"),
            member(&answer, "disk_bytes"),
            member(&answer, "directory"),
        )?;
        Ok(())
    }
}
