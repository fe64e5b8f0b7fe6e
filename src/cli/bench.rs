//! `leveret bench`: load for running daemons, and what they make of it.
//!
//! `load` makes the saves, on the first daemon; `seen` watches the others; `delays` counts how long
//! both take. Here is what is done before and after: the nodes that are saved on, and the figures.

mod delays;
mod load;
mod seen;

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Failure;
use super::client::{Connection, Daemon};
use super::duration;
use super::text::{member, printable};
use load::{Load, Saved};
use seen::Seen;

/// Most nodes that are added with one request.
const NODES_AT_ONCE: u32 = 10_000;
/// Most of them in one save.
const NODES_A_SAVE: u32 = 1_000;

/// Make saves on a running daemon for a while, and print how many it takes a second and how long
/// it takes to answer
///
/// With several --api it saves on the first, and prints the time from there to the event on the
/// others. All of it happens below a node of its own, which is removed at the end.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Address of a daemon's HTTP API: of the one to save on, then of others of its cluster to
    /// watch [default: $LEVERET_API, or http://127.0.0.1:7411]
    #[arg(long, value_name = "URL")]
    api: Vec<String>,
    /// Bearer token, where the APIs ask for one [default: $LEVERET_API_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    api_token: Option<String>,
    /// Connections that save at the same time
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=1_024))]
    connections: u32,
    /// Saves a second, of all connections together; as many as they can if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// How long to save
    #[arg(long = "for", value_name = "DURATION", default_value = "10s",
        value_parser = duration::parse)]
    time: Duration,
    /// Nodes that are saved on in turn; each save sets one property of one of them
    #[arg(long, value_name = "N", default_value_t = 1_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    nodes: u32,
    /// How long the other daemons may take to show a save
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    timeout: Duration,
    /// Leave the nodes where they are
    #[arg(long)]
    keep: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let daemons = self.daemons();
        let (first, others) = daemons.split_first().expect("there is one at least");
        let connection = first.connection()?;
        check_cluster(&daemons)?;
        let path = name();
        apply(&connection, &format!("add {path}\n"))?;
        let done = self.measure(&connection, first, others, &path);
        let removed = match self.keep {
            true => Ok(String::new()),
            false => apply(&connection, &format!("remove {path}\n")),
        };
        let told = done.and_then(|(saved, seen)| {
            self.print(&saved, &seen, others.len(), out)?;
            out.flush()?;
            verdict(&saved, &seen)
        });
        match (told, removed) {
            (told, Ok(_)) => told,
            (Err(error), Err(_)) | (Ok(()), Err(error)) => {
                Err(error.context(format!("{path} is left behind")))
            }
        }
    }

    fn daemons(&self) -> Vec<Daemon> {
        let token = || self.api_token.clone();
        if self.api.is_empty() {
            return vec![Daemon::new(None, token())];
        }
        let named = self.api.iter();
        named
            .map(|api| Daemon::new(Some(api.clone()), token()))
            .collect()
    }

    fn measure(
        &self,
        connection: &Connection,
        first: &Daemon,
        others: &[Daemon],
        path: &str,
    ) -> anyhow::Result<(Saved, Seen)> {
        let newest = add_nodes(connection, path, self.nodes)?;
        let timeout_ms = self.timeout.as_millis().to_string();
        for other in others {
            let query = vec![("for", newest.clone()), ("timeout_ms", timeout_ms.clone())];
            other.get("/v1/wait", query)?.json()?;
        }
        let watching = seen::watch(others, path, self.timeout)?;
        let load = Load {
            path: path.to_owned(),
            nodes: self.nodes,
            rate: self.rate,
            time: self.time,
        };
        let saved = load.run(first, self.connections, &watching)?;
        Ok((saved, watching.finish()?))
    }

    fn print(
        &self,
        saved: &Saved,
        seen: &Seen,
        others: usize,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let seconds = saved.time.as_secs_f64();
        let a_second = saved.answers.len() as f64 / seconds;
        if self.json {
            let line = json!({
                "saves": saved.answers.len(),
                "failed": saved.failed,
                "seconds": seconds,
                "saves_per_second": a_second,
                "answer_ms": saved.answers.json(),
                "visible_ms": (others > 0).then(|| seen.delays.json()),
                "unseen": seen.unseen,
                "lagged": seen.lagged,
            });
            writeln!(out, "{line}")?;
            return Ok(());
        }
        writeln!(
            out,
            "saves    {} in {seconds:.1} s, {a_second:.0} a second",
            saved.answers.len()
        )?;
        writeln!(out, "answer   {}", saved.answers.text())?;
        if others > 0 {
            writeln!(out, "visible  {}", seen.delays.text())?;
        }
        if seen.lagged > 0 {
            writeln!(
                out,
                "lagged   {} times a watch was too slow, and what it left out counts from the next \
                 thing it told",
                seen.lagged
            )?;
        }
        Ok(())
    }
}

/// Whether every save was made and seen.
fn verdict(saved: &Saved, seen: &Seen) -> anyhow::Result<()> {
    if let Some(error) = &saved.error {
        let made = saved.answers.len();
        return Err(Failure::error(
            format!(
                "{} saves failed, {made} were made; the first: {error}",
                saved.failed
            ),
            "",
        ));
    }
    if seen.unseen > 0 {
        return Err(Failure::error(
            format!(
                "{} saves were not seen on another daemon in time",
                seen.unseen
            ),
            "look at `leveret peers` on each, or wait longer with --timeout",
        ));
    }
    Ok(())
}

/// All are different replicas of one cluster.
fn check_cluster(daemons: &[Daemon]) -> anyhow::Result<()> {
    let mut known: Vec<(String, Value)> = Vec::new();
    for daemon in daemons {
        let connection = daemon.connection()?;
        let status = connection.get("/v1/status", vec![])?.json()?;
        let base = printable(connection.base());
        for (other, before) in &known {
            if before["replica"] == status["replica"] {
                return Err(Failure::error(
                    format!("{other} and {base} are the same daemon"),
                    "name each daemon once",
                ));
            }
            if before["cluster"] != status["cluster"] {
                return Err(Failure::error(
                    format!(
                        "{other} belongs to the cluster {}, and {base} to {}",
                        member(before, "cluster"),
                        member(&status, "cluster")
                    ),
                    "name daemons of one cluster",
                ));
            }
        }
        known.push((base, status));
    }
    Ok(())
}

/// Makes the saves of a script. Gives the id of the last.
fn apply(connection: &Connection, script: &str) -> anyhow::Result<String> {
    let answer = connection.post("/v1/apply", vec![("overwrite", "true".into())], script)?;
    let answer = answer.json()?;
    let last = answer["saved"].as_array().and_then(|saved| saved.last());
    Ok(member(last.unwrap_or(&Value::Null), "id"))
}

fn add_nodes(connection: &Connection, path: &str, nodes: u32) -> anyhow::Result<String> {
    let mut newest = String::new();
    let mut added = 0;
    while added < nodes {
        let mut script = String::new();
        for i in added..nodes.min(added + NODES_AT_ONCE) {
            if i > added && i % NODES_A_SAVE == 0 {
                script.push_str("---\n");
            }
            script.push_str(&format!("add {path}/n{i}\n"));
        }
        newest = apply(connection, &script)?;
        added += NODES_AT_ONCE;
    }
    Ok(newest)
}

/// Something that no other run has at the same time: the time, and who runs.
#[expect(clippy::disallowed_methods, reason = "this command measures time")]
fn name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = now.unwrap_or_default().as_millis();
    format!("/leveret-bench-{millis}-{}", std::process::id())
}
