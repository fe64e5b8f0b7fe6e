//! `leveret restore`: what is in the trash, and out of it.

use std::io::Write;

use serde_json::Value;

use super::apply::Saving;
use super::client::Query;
use super::text::{author, member};

/// Restore a removed node, with everything below it; without a node, list what can be restored
///
/// A node goes back to the place it had, under the name it has, or to the path given with --to.
#[derive(clap::Args)]
pub(crate) struct Restore {
    /// What to restore: the path it had (of several that were there, the one removed last), or its
    /// id
    #[arg(value_name = "PATH|NODE")]
    node: Option<String>,
    /// The path that it is to have
    #[arg(long, value_name = "PATH", requires = "node")]
    to: Option<String>,
    /// How many are listed at most, newest first
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "node")]
    limit: u32,
    #[command(flatten)]
    saving: Saving,
}

impl Restore {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let Some(node) = self.node else {
            return list(&self.saving, self.limit, out);
        };
        let key = super::text::node_key(&node);
        let mut query: Query<'_> = vec![(key, node.clone())];
        if let Some(to) = self.to {
            query.push(("to", to));
        }
        let answer = self.saving.post("/v1/restore", query, "")?;
        self.saving.print(&answer, out)?;
        let others = answer["others"].as_array().map_or(0, Vec::len);
        if others > 0 {
            out.flush()?;
            let many = match others {
                1 => "another node".to_owned(),
                many => format!("{many} other nodes"),
            };
            writeln!(
                std::io::stderr(),
                "leveret: {many} that was at {} is in the trash too; this is the one removed last, \
                 {}",
                super::text::printable(&node),
                member(&answer, "node")
            )?;
        }
        Ok(())
    }
}

fn list(saving: &Saving, limit: u32, out: &mut dyn Write) -> anyhow::Result<()> {
    let query = vec![("limit", limit.to_string())];
    let mut answer = saving.daemon().get("/v1/trash", query)?;
    if saving.is_json() {
        return answer.copy_to(out);
    }
    while let Some((_, line)) = answer.next_line()? {
        let by = &line["removed_by"];
        writeln!(
            out,
            "{}  {}  {}  {}  {}{}",
            member(&line, "node"),
            path(&line),
            member(by, "time"),
            author(by),
            member(by, "id"),
            if line["emptied"] == true {
                "  (its parent came back empty)"
            } else {
                ""
            }
        )?;
    }
    Ok(())
}

/// The path that something in the trash had, or at least its name.
fn path(line: &Value) -> String {
    match &line["path"] {
        Value::Null => format!("…/{}", member(line, "name")),
        path => super::text::shown(path),
    }
}
