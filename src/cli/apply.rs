//! `leveret apply`: saves from operation lines.

use std::io::{Read as _, Write};
use std::path::PathBuf;

use serde_json::Value;

use super::Failure;
use super::client::{Daemon, Query, refusal};
use crate::model::script;

/// Longest script, in bytes; the API has the same bound.
const SCRIPT_BYTES_MAX: u64 = crate::api::APPLY_BYTES_MAX as u64;

/// Save what operation lines say; `---` alone on a line begins the next save
///
/// Prints the change set ids, one a line. Operations: add PATH, add_unique PATH, remove PATH,
/// move PATH NEWPATH, set PATH NAME JSON, unset PATH NAME, inc PATH NAME NUMBER,
/// order PATH first|last|before NAME|after NAME. A path or name with blanks is a JSON string.
/// A line that is no operation stops all of it; a save that is refused stops there, with nothing
/// of that save applied.
#[derive(clap::Args)]
pub(crate) struct Apply {
    /// The file; `-` or nothing for standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    saving: Saving,
}

/// How something is saved.
#[derive(clap::Args)]
pub(crate) struct Saving {
    /// A message that travels with the change set
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Save even if somebody has changed the same things a moment ago
    #[arg(long)]
    overwrite: bool,
    /// Let the save have its effect whole or not at all: none, as long as a save of another replica
    /// makes any of its operations void or its names clash
    #[arg(long)]
    all_or_nothing: bool,
    /// Print JSON: one object a save
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Apply {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let script = self.read()?;
        self.saving.apply(&script, true, out)
    }

    fn read(&self) -> anyhow::Result<String> {
        let shown = self.file.display();
        let fail = |error: std::io::Error| {
            Failure::error(
                format!("can not read {shown}: {error}"),
                "name a file with operation lines, or `-` for standard input",
            )
        };
        let mut bytes = Vec::new();
        if self.file.as_os_str() == "-" {
            std::io::stdin()
                .lock()
                .take(SCRIPT_BYTES_MAX + 1)
                .read_to_end(&mut bytes)
                .map_err(fail)?;
        } else {
            let file = std::fs::File::open(&self.file).map_err(fail)?;
            file.take(SCRIPT_BYTES_MAX + 1)
                .read_to_end(&mut bytes)
                .map_err(fail)?;
        }
        if bytes.len() as u64 > SCRIPT_BYTES_MAX {
            return Err(Failure::error(
                format!("{shown} is longer than {SCRIPT_BYTES_MAX} bytes; nothing was saved"),
                "divide it, or use `leveret import` for data",
            ));
        }
        String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes()[..valid]
                .iter()
                .filter(|b| **b == b'\n')
                .count();
            Failure::error(
                format!("line {line} of {shown} is not UTF-8; nothing was saved"),
                "write the file as UTF-8",
            )
        })
    }
}

impl Saving {
    /// The parameters that say how to save.
    fn query(&self) -> Query<'static> {
        let mut query: Query<'_> = Vec::new();
        if let Some(message) = &self.message {
            query.push(("message", message.clone()));
        }
        if self.overwrite {
            query.push(("overwrite", "true".into()));
        }
        if self.all_or_nothing {
            query.push(("all_or_nothing", "true".into()));
        }
        query
    }

    /// Makes a save that is no script: what it is about is in `query`.
    ///
    /// # Errors
    /// Why it was refused.
    pub(crate) fn post(
        &self,
        path: &str,
        mut query: Query<'_>,
        body: &str,
    ) -> anyhow::Result<Value> {
        query.extend(self.query());
        self.daemon.post(path, query, body)?.json()
    }

    /// Prints what the daemon says of a save: its id, or all of it as JSON.
    ///
    /// # Errors
    /// If `out` can not be written to.
    pub(crate) fn print(&self, save: &Value, out: &mut dyn Write) -> anyhow::Result<()> {
        if self.json {
            writeln!(out, "{save}")?;
        } else {
            writeln!(out, "{}", super::text::member(save, "id"))?;
        }
        if save["voided"] == true {
            out.flush()?;
            writeln!(
                std::io::stderr(),
                "leveret: {} is saved and has no effect: it is all or nothing, and something that \
                 was merged meanwhile is in its way; `leveret conflicts` shows it",
                super::text::member(save, "id")
            )?;
        }
        Ok(())
    }

    /// The daemon that saves.
    pub(crate) fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Whether JSON is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Saves a script and prints the ids. `lines` says whether the user knows it as lines.
    ///
    /// # Errors
    /// What was refused, and what was saved before.
    pub(crate) fn apply(
        self,
        script: &str,
        lines: bool,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        if let Err(error) = script::parse_script(script) {
            let what = if lines {
                format!("{error}; nothing was saved")
            } else {
                error.reason.to_string()
            };
            return Err(Failure::error(what, "correct it and try again"));
        }
        let answer = self.daemon.post_any("/v1/apply", self.query(), script)?;
        let ok = answer.is_ok();
        let answer = answer.json()?;
        let saved = answer["saved"].as_array().cloned().unwrap_or_default();
        for save in &saved {
            self.print(save, out)?;
        }
        if ok {
            return Ok(());
        }
        out.flush()?;
        let error = refusal(&answer);
        if !lines {
            return Err(error);
        }
        let line = super::text::member(&answer, "line");
        let before = match saved.len() {
            0 => "nothing was saved".to_owned(),
            1 => "the first save was made, and nothing of the next".to_owned(),
            many => format!("the first {many} saves were made, and nothing of the next"),
        };
        Err(error.context(format!("{before}: line {line}")))
    }
}
