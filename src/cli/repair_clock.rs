//! `leveret repair-clock`: after this machine's clock was far ahead, and is right.

use std::io::Write;

use super::client::Daemon;
use super::text::{member, short};

/// Save again what was saved while the machine's clock was far ahead
///
/// To be run when the clock is right again. What the replica saved while it was ahead is held by all
/// replicas, itself among them, until its time comes. This closes the origin under which it was
/// saved, on every replica for good, and saves its content once more as of now. It can be repeated;
/// where nothing is held it does nothing.
#[derive(clap::Args)]
pub(crate) struct RepairClock {
    /// Do it though no other replica is connected
    #[arg(long)]
    alone: bool,
    /// Do it though others have saved what is later than this machine's clock
    #[arg(long)]
    clock_is_right: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl RepairClock {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let query = vec![
            ("alone", self.alone.to_string()),
            ("clock_is_right", self.clock_is_right.to_string()),
        ];
        let answer = self.daemon.post("/v1/repair-clock", query, "")?.json()?;
        if self.json {
            writeln!(out, "{answer}")?;
            return Ok(());
        }
        let closed = answer["closed"].as_array().map(Vec::as_slice);
        for one in closed.unwrap_or_default() {
            let origin = |name| short(one[name].as_str().unwrap_or_default());
            writeln!(
                out,
                "closed: origin {} in {} after number {}; {} saves made again as {}{}",
                origin("origin"),
                member(one, "repository"),
                member(one, "last"),
                member(one, "saved_again"),
                origin("as"),
                match one["not_again"].as_u64() {
                    None | Some(0) => String::new(),
                    Some(count) => format!(", {count} too large for that"),
                },
            )?;
        }
        if answer["not_again"].as_u64().is_some_and(|count| count > 0) {
            writeln!(
                out,
                "saves that were too large by some bytes do not count any more: `leveret status` names \
                 them"
            )?;
        }
        match (answer["saved_again"].as_u64(), answer["conflicts"].as_u64()) {
            (Some(0), _) if closed.is_none_or(<[_]>::is_empty) => {
                writeln!(out, "nothing is held of what this replica has saved")?
            }
            (_, Some(0) | None) => {}
            (_, Some(count)) => writeln!(
                out,
                "conflicts: {count} of what was saved again lost to other saves; `leveret conflicts` \
                 lists them"
            )?,
        }
        Ok(())
    }
}
