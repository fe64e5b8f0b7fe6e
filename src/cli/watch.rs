//! `leveret watch`: events as they come.

use std::io::Write;

use serde_json::Value;

use super::Failure;
use super::client::{Daemon, Query, Repository};
use super::text::{author, clipped, member, shown};
use crate::model::id::ChangeSetId;

/// Most changes of one event that are spelt out for people.
const CHANGES_MAX: usize = 4;
/// Longest value that is spelt out for people, in characters.
const VALUE_CHARS_MAX: usize = 40;

/// Print what changes, as it changes, one line for each commit, until Ctrl-C
#[derive(clap::Args)]
pub(crate) struct Watch {
    /// Only what happens to this node and below it
    #[arg(default_value = "/")]
    path: String,
    /// Print JSON: one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: Repository,
    #[command(flatten)]
    daemon: Daemon,
}

impl Watch {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let query: Query<'_> = vec![("path", self.path), ("repo", self.repository.name())];
        let mut answer = self.daemon.get("/v1/watch", query)?;
        while let Some((line, event)) = answer.next_line()? {
            if self.json {
                writeln!(out, "{line}")?;
            } else {
                writeln!(out, "{}", sentence(&event))?;
            }
            out.flush()?;
            if event["event"] == "closed" {
                break;
            }
        }
        Err(Failure::error(
            "the daemon has ended",
            "start it again, then this command",
        ))
    }
}

fn sentence(event: &Value) -> String {
    match event["event"].as_str().unwrap_or_default() {
        "watching" => format!("watching {}", member(event, "path")),
        "lagged" => "some events were left out: this reader was too slow".into(),
        "closed" => "the daemon ends".into(),
        "commit" => commit(event),
        other => format!("{other}: {event}"),
    }
}

fn commit(event: &Value) -> String {
    let list = |name: &str| {
        event[name]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    let (sets, changes) = (list("change_sets"), list("changes"));
    let mut out = String::new();
    if let Some(newest) = sets.last() {
        out.push_str(&clock(newest["id"].as_str().unwrap_or_default()));
    }
    let local = sets.iter().filter(|set| set["local"] == true).count();
    let whose = match (local, sets.len()) {
        (0, 1) => format!("from {}", author(&sets[0])),
        (0, many) => format!("{many} saves from other replicas"),
        (1, 1) => "saved here".into(),
        (here, many) if here == many => format!("{many} saves here"),
        (here, many) => format!("{many} saves, {here} of them here"),
    };
    out.push_str("  ");
    out.push_str(&whose);
    for message in sets
        .iter()
        .filter_map(|set| set["message"].as_str())
        .take(1)
    {
        out.push_str(&format!(
            "  \"{}\"",
            clipped(&super::text::printable(message), 60)
        ));
    }
    for change in changes.iter().take(CHANGES_MAX) {
        out.push_str("  ");
        out.push_str(&describe(change));
    }
    if changes.len() > CHANGES_MAX {
        out.push_str(&format!("  … and {} more", changes.len() - CHANGES_MAX));
    }
    for set in list("voided") {
        let again = if set["voided"] == true {
            ""
        } else {
            "no longer "
        };
        out.push_str(&format!("  {again}voided {}", member(set, "id")));
    }
    if changes.is_empty() && list("voided").is_empty() {
        out.push_str("  (no visible change)");
    }
    out
}

fn describe(change: &Value) -> String {
    let path = member(change, "path");
    match change["change"].as_str().unwrap_or_default() {
        "appeared" => format!("+{path}"),
        "vanished" => format!("-{path}"),
        "moved" if change["from"].is_null() => format!("moved to {}", member(change, "to")),
        "moved" => format!("{} -> {}", member(change, "from"), member(change, "to")),
        "ordered" => format!("{path} reordered"),
        "property" => {
            let name = member(change, "name");
            match change.get("after") {
                Some(value) => {
                    let text = match value {
                        Value::String(_) => value.to_string(),
                        other => shown(other),
                    };
                    format!("{path} {name}={}", clipped(&text, VALUE_CHARS_MAX))
                }
                None => format!("{path} {name} unset"),
            }
        }
        other => format!("{other} {path}"),
    }
}

/// The time of day, in UTC, at which a change set was made.
fn clock(id: &str) -> String {
    let Ok(id) = id.parse::<ChangeSetId>() else {
        return "-".into();
    };
    let millis = id.time.unix_millis() % 86_400_000;
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    format!(
        "{hours:02}:{minutes:02}:{:02}.{:03}",
        millis / 1_000 % 60,
        millis % 1_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_told_in_one_line() {
        let event = json!({
            "event": "commit",
            "change_sets": [{"id": format!("{:016x}-{}", 3_661_u64 << 32, "ab".repeat(16)),
                "author": "cd".repeat(32), "message": "two\nlines", "local": false}],
            "changes": [
                {"change": "appeared", "node": "x", "path": "/a"},
                {"change": "property", "path": "/b", "name": "n", "before": 1, "after": "x"},
                {"change": "property", "path": "/b", "name": "m", "before": 1},
            ],
        });
        assert_eq!(
            sentence(&event),
            "01:01:01.000  from cdcdcdcd  \"two\u{fffd}lines\"  +/a  /b n=\"x\"  /b m unset"
        );
        let event = json!({
            "event": "commit",
            "change_sets": [{"id": "x", "author_name": "n", "local": true}],
            "changes": [],
            "voided": [{"id": "y", "voided": true}, {"id": "z", "voided": false}],
        });
        assert_eq!(
            sentence(&event),
            "-  saved here  voided y  no longer voided z"
        );
    }
}
