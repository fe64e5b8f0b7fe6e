//! `leveret log`: the change sets, newest first.

use std::io::Write;

use super::client::{Daemon, Query, Repository};
use super::text::{author, member};

/// Print the change sets, newest first
#[derive(clap::Args)]
pub(crate) struct Log {
    /// Only those with an operation on this node or one below it
    path: Option<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// Print JSON: one object a change set
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: Repository,
    #[command(flatten)]
    daemon: Daemon,
}

impl Log {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut query: Query<'_> = vec![
            ("limit", self.limit.to_string()),
            ("repo", self.repository.name()),
        ];
        if let Some(path) = self.path {
            query.push(("path", path));
        }
        let answer = self.daemon.get("/v1/log", query)?;
        if self.json {
            return answer.copy_to(out);
        }
        let mut answer = answer;
        while let Some((_, entry)) = answer.next_line()? {
            let author = author(&entry);
            let count = entry["operations"].as_u64().unwrap_or_default();
            let noun = if count == 1 {
                "operation"
            } else {
                "operations"
            };
            write!(
                out,
                "{}  {}  {author}  {count} {noun}",
                member(&entry, "id"),
                member(&entry, "time")
            )?;
            if entry["all_or_nothing"] == true {
                write!(out, ", all or nothing")?;
            }
            if entry["voided"] == true {
                write!(out, ": voided")?;
            }
            if !entry["message"].is_null() {
                write!(out, "  {}", member(&entry, "message"))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}
