//! `leveret explain`: why a node is as it is.

use std::io::Write;

use serde_json::Value;

use super::client::{Daemon, Query, Repository};
use super::text::{author, clipped, member, node_key, printable};

/// Longest value that is spelt out for people, in characters.
const VALUE_CHARS_MAX: usize = 60;

/// Print why a node is as it is: what was written to it, by whom, and what became of it
///
/// For its place, its name, its order and each property: the value, then the writes, newest first,
/// with what took the place of each. What lost to somebody who had not seen it is said to be
/// overwritten unseen.
#[derive(clap::Args)]
pub(crate) struct Explain {
    /// The node: its path, or its id, also of one in the trash
    #[arg(value_name = "PATH|NODE", default_value = "/")]
    node: String,
    /// Only this property
    name: Option<String>,
    /// Writes that are printed of each item at most
    #[arg(long, value_name = "N", default_value_t = 32)]
    limit: u32,
    /// Print JSON: one object for the node, then one an item
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: Repository,
    #[command(flatten)]
    daemon: Daemon,
}

impl Explain {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut query: Query<'_> = vec![
            (node_key(&self.node), self.node),
            ("limit", self.limit.to_string()),
            ("repo", self.repository.name()),
        ];
        if let Some(name) = self.name {
            query.push(("property", name));
        }
        let mut answer = self.daemon.get("/v1/explain", query)?;
        if self.json {
            return answer.copy_to(out);
        }
        if let Some((_, node)) = answer.next_line()? {
            write!(out, "{}", title(&node))?;
        }
        while let Some((_, item)) = answer.next_line()? {
            write!(out, "{}", item_text(&item))?;
        }
        Ok(())
    }
}

fn title(node: &Value) -> String {
    let id = member(node, "node");
    let trashed = &node["trashed"];
    if trashed.is_null() {
        return format!("{}  (node {id})\n", member(node, "path"));
    }
    let by = &trashed["removed_by"];
    let with = match trashed["top"] == node["node"] {
        true => String::new(),
        false => format!(", along with the node {}", member(trashed, "top")),
    };
    format!(
        "node {id}, in the trash since {}{with}, was {}\n",
        change_set(by),
        member(trashed, "path")
    )
}

fn item_text(item: &Value) -> String {
    let value = match item["item"].as_str().unwrap_or_default() {
        "parent" => format!("parent  {}", place(&item["value"])),
        "property" if item["value"].is_null() => {
            format!("property {}  (no value)", member(item, "property"))
        }
        "property" => format!(
            "property {}  {}",
            member(item, "property"),
            json(&item["value"])
        ),
        "order" if item["value"].is_null() => "order  by name".into(),
        other => format!("{}  {}", printable(other), member(item, "value")),
    };
    let mut text = format!("{value}\n");
    for write in item["writes"].as_array().into_iter().flatten() {
        let mark = if write["outcome"] == "counts" {
            '*'
        } else {
            ' '
        };
        text.push_str(&format!(
            "  {mark} {}  {}{}\n",
            wrote(write),
            change_set(&write["change_set"]),
            outcome(write)
        ));
    }
    let more = if item["uncounted"] == true {
        " or more"
    } else {
        ""
    };
    if let Some(count @ 1..) = item["left_out"].as_u64() {
        text.push_str(&format!("    … and {count}{more} older; see --limit\n"));
    }
    text
}

/// A change set as people read it: when, who, which, why.
pub(crate) fn change_set(set: &Value) -> String {
    let mut text = format!(
        "{}  {}  {}",
        member(set, "time"),
        author(set),
        member(set, "id")
    );
    if let Some(message) = set["message"].as_str() {
        text.push_str(&format!("  \"{}\"", clipped(&printable(message), 60)));
    }
    text
}

fn wrote(write: &Value) -> String {
    let parent = place(&write["parent"]);
    match write["wrote"].as_str().unwrap_or_default() {
        "added" => format!("added below {parent}"),
        "added-again" => "added again".into(),
        "came-back" => format!("brought back empty below {parent}, by an add"),
        "moved" => format!("moved below {parent}"),
        "removed" => "removed".into(),
        "emptied" => "put in the trash, since its parent came back empty".into(),
        "handed-back" => format!(
            "handed back to {parent} by the removal of {}, undoing {}",
            place(&write["removed"]),
            member(&write["undid"], "id")
        ),
        "name" => member(write, "value"),
        "order" => format!("key {}", member(write, "value")),
        "set" => format!("set {}", json(&write["value"])),
        "unset" => "unset".into(),
        "inc" => format!("inc {}", member(write, "value")),
        other => printable(other),
    }
}

fn outcome(write: &Value) -> String {
    let by = format!("{} ({})", member(&write["by"], "id"), author(&write["by"]));
    let unseen = match write["seen"] == false {
        true => ", whose author had not seen this",
        false => "",
    };
    match write["outcome"].as_str().unwrap_or_default() {
        "counts" => String::new(),
        "replaced" => format!("  - replaced by {by}"),
        "overwritten" => format!("  - overwritten unseen by {by}"),
        "skipped-cycle" => format!("  - skipped: it would have come below itself, because of {by}"),
        "skipped-target-removed" => {
            format!("  - skipped: that place was in the trash, because of {by}")
        }
        "removed" => format!("  - until removed by {by}{unseen}"),
        "undone" => format!("  - undone by {by}{unseen}"),
        "handed-back" => format!("  - undone by the removal {by}, which handed it back"),
        "emptied" => format!("  - does not count since {by} brought it back empty"),
        "was-there" => "  - changed nothing: it was there".into(),
        "was-in-the-trash" => "  - changed nothing: it was in the trash, and its parent too".into(),
        "before-add" => "  - does not count: the node was not there yet".into(),
        other => format!("  - {}", printable(other)),
    }
}

/// A place: its path, or the path it had, or its id.
pub(crate) fn place(place: &Value) -> String {
    match (&place["path"], &place["was"]) {
        (Value::String(path), _) => printable(path),
        (_, Value::String(was)) => format!("{} (in the trash)", printable(was)),
        _ if place == "trash" => "the trash".into(),
        _ => format!("node {}", member(place, "node")),
    }
}

/// A value as people read it: JSON, cut if it is long.
pub(crate) fn json(value: &Value) -> String {
    clipped(&printable(&value.to_string()), VALUE_CHARS_MAX)
}
