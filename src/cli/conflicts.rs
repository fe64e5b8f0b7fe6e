//! `leveret conflicts`: what was written and lost, and off the list with it.

use std::io::Write;

use serde_json::Value;

use super::apply::Saving;
use super::client::{Query, Repository};
use super::explain::{change_set, json, place};
use super::text::{member, printable, short};

/// Operations of a losing change set that are spelt out for people.
const LOST_SHOWN: usize = 3;

/// Print the open conflicts: what was written and is not there, and why
///
/// Those of the newest change sets come first. A conflict stays on the list, on every replica,
/// until what it comes from is gone, or somebody dismisses it.
#[derive(clap::Args)]
pub(crate) struct Conflicts {
    /// Only those about this node or one below it
    path: Option<String>,
    /// Dismiss these conflicts: their ids, or at least 8 digits of them
    #[arg(long, value_name = "ID", num_args = 1.., conflicts_with = "path")]
    dismiss: Vec<String>,
    /// Dismiss all open conflicts, or all that are about PATH and what is below it
    #[arg(long, conflicts_with = "dismiss")]
    all: bool,
    /// How many are printed at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    repository: Repository,
    #[command(flatten)]
    saving: Saving,
}

impl Conflicts {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        if self.all || !self.dismiss.is_empty() {
            return self.dismissed(out);
        }
        let mut query: Query<'_> = vec![
            ("limit", u64::from(self.limit).saturating_add(1).to_string()),
            ("repo", self.repository.name()),
        ];
        if let Some(path) = self.path {
            query.push(("path", path));
        }
        let mut answer = self.saving.daemon().get("/v1/conflicts", query)?;
        let mut printed = 0;
        while let Some((line, conflict)) = answer.next_line()? {
            if printed == self.limit {
                if !self.saving.is_json() {
                    writeln!(out, "… and more; --limit N prints them")?;
                }
                break;
            }
            printed += 1;
            match self.saving.is_json() {
                true => writeln!(out, "{line}")?,
                false => write!(out, "{}", text(&conflict))?,
            }
        }
        Ok(())
    }

    fn dismissed(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut query: Query<'_> = Vec::new();
        if self.all {
            query.push(("all", "true".into()));
        }
        if let Some(path) = self.path {
            query.push(("path", path));
        }
        let answer = self
            .saving
            .post("/v1/dismiss", query, &self.dismiss.join("\n"))?;
        for save in answer["saved"].as_array().into_iter().flatten() {
            self.saving.print(save, out)?;
        }
        Ok(())
    }
}

/// A conflict on one line, with the change sets that lost and won on lines of their own.
fn text(conflict: &Value) -> String {
    let id = conflict["conflict"].as_str().unwrap_or_default();
    let what = match conflict["item"].as_str().unwrap_or_default() {
        "property" => format!("property {}", member(conflict, "property")),
        other => printable(other),
    };
    let place = place(&conflict["node"]);
    let about = match conflict["kind"] == "voided" {
        true => "the whole save".to_owned(),
        false => format!("{place}  {what}"),
    };
    let lost: Vec<&Value> = conflict["lost"].as_array().into_iter().flatten().collect();
    let mut operations: Vec<String> = lost.iter().take(LOST_SHOWN).map(|o| operation(o)).collect();
    let more = lost.len().saturating_sub(LOST_SHOWN) as u64
        + conflict["lost_more"].as_u64().unwrap_or_default();
    if more > 0 {
        operations.push(format!("… and {more} more"));
    }
    let mut text = format!("{}  {}  {about}\n", short(id), member(conflict, "kind"));
    text.push_str(&format!(
        "    lost: {}  by {}\n",
        operations.join(", "),
        change_set(&conflict["loser"])
    ));
    if !conflict["winner"].is_null() {
        text.push_str(&format!("    to:   {}\n", change_set(&conflict["winner"])));
    }
    text
}

fn operation(operation: &Value) -> String {
    let value = json(&operation["value"]);
    let property = member(operation, "property");
    match operation["operation"].as_str().unwrap_or_default() {
        "set" => format!("set {property} {value}"),
        "unset" => format!("unset {property}"),
        "inc" => format!("inc {property} {value}"),
        verb @ ("add" | "add_unique") => format!(
            "{verb} `{}` below {}",
            member(operation, "name"),
            place(&operation["parent"])
        ),
        "remove" => format!("remove {}", place(&operation["node"])),
        "rename" => format!("rename to `{}`", member(operation, "name")),
        "move" if operation["name"].is_null() => {
            format!("move below {}", place(&operation["parent"]))
        }
        "move" => format!(
            "move below {} as `{}`",
            place(&operation["parent"]),
            member(operation, "name")
        ),
        other => printable(other),
    }
}
