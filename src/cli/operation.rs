//! The one-operation commands: each is one save of one operation line.

use std::io::Write;

use super::Failure;
use super::apply::Saving;
use crate::model::json::{parse_value, value_text, write_string};

/// Set a property of a node
#[derive(clap::Args)]
pub(crate) struct Set {
    /// The node
    path: String,
    /// The property
    name: String,
    /// The value: JSON; bytes as {"$bytes": "base64"}, a time as {"$time": "RFC 3339"}, a
    /// reference as {"$ref": "node id"}
    #[arg(value_name = "JSON", allow_hyphen_values = true)]
    value: String,
    #[command(flatten)]
    saving: Saving,
}

/// Remove a property of a node
#[derive(clap::Args)]
pub(crate) struct Unset {
    /// The node
    path: String,
    /// The property
    name: String,
    #[command(flatten)]
    saving: Saving,
}

/// Add to an integer property
#[derive(clap::Args)]
pub(crate) struct Inc {
    /// The node
    path: String,
    /// The property
    name: String,
    /// How much, of either sign
    #[arg(allow_hyphen_values = true)]
    number: String,
    #[command(flatten)]
    saving: Saving,
}

/// Add a node
#[derive(clap::Args)]
pub(crate) struct Add {
    /// The node; its parent must be there
    path: String,
    /// Never merge it with a node of that name which another replica adds at the same time
    #[arg(long)]
    unique: bool,
    #[command(flatten)]
    saving: Saving,
}

/// Remove a node, with everything below it
#[derive(clap::Args)]
pub(crate) struct Rm {
    /// The node
    path: String,
    #[command(flatten)]
    saving: Saving,
}

/// Move or rename a node
#[derive(clap::Args)]
pub(crate) struct Mv {
    /// The node
    path: String,
    /// Its new path; the parent must be there, the path itself must be free
    new_path: String,
    #[command(flatten)]
    saving: Saving,
}

/// Put a node in its place among its siblings
#[derive(clap::Args)]
pub(crate) struct Order {
    /// The node
    path: String,
    /// Where: first, last, before SIBLING, after SIBLING
    place: Place,
    /// The sibling's name, after `before` and `after`
    #[arg(required_if_eq_any([("place", "before"), ("place", "after")]))]
    sibling: Option<String>,
    #[command(flatten)]
    saving: Saving,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Place {
    First,
    Last,
    Before,
    After,
}

/// A word of an operation line, whatever is in it.
fn word(text: &str) -> String {
    let mut out = String::new();
    write_string(&mut out, text);
    out
}

impl Set {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let value = parse_value(&self.value).map_err(|error| {
            Failure::error(
                format!(
                    "the value `{}`: {error}",
                    super::text::clipped(&self.value, 80)
                ),
                "a text needs quotes of its own: '\"text\"'",
            )
        })?;
        let (path, name) = (word(&self.path), word(&self.name));
        let line = format!("set {path} {name} {}", value_text(&value));
        self.saving.apply(&line, false, out)
    }
}

impl Unset {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let line = format!("unset {} {}", word(&self.path), word(&self.name));
        self.saving.apply(&line, false, out)
    }
}

impl Inc {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let (path, name, number) = (word(&self.path), word(&self.name), word(&self.number));
        self.saving
            .apply(&format!("inc {path} {name} {number}"), false, out)
    }
}

impl Add {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let verb = if self.unique { "add_unique" } else { "add" };
        let line = format!("{verb} {}", word(&self.path));
        self.saving.apply(&line, false, out)
    }
}

impl Rm {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let line = format!("remove {}", word(&self.path));
        self.saving.apply(&line, false, out)
    }
}

impl Mv {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let line = format!("move {} {}", word(&self.path), word(&self.new_path));
        self.saving.apply(&line, false, out)
    }
}

impl Order {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let place = match self.place {
            Place::First => "first",
            Place::Last => "last",
            Place::Before => "before",
            Place::After => "after",
        };
        let sibling = self.sibling.as_deref().map(word).unwrap_or_default();
        let line = format!("order {} {place} {sibling}", word(&self.path));
        self.saving.apply(&line, false, out)
    }
}
