//! Clients that save as fast as they can, each to its own two nodes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::client::Client;

/// Pause between saves where the load is to be light.
const GENTLE: Duration = Duration::from_millis(12);
/// Saves of one writer that may have been made in a stretch and were not acknowledged.
const UNANSWERED_MAX: usize = 64;
/// Pause after a save that was not acknowledged.
const PAUSE: Duration = Duration::from_millis(5);

/// See the top of the file.
pub(super) struct Writers(Vec<Writer>);

struct Writer {
    client: Client,
    number: usize,
    /// The number of the last save, acknowledged or not.
    asked: i64,
    /// The number of the last acknowledged one.
    saved: i64,
    /// Ids that were acknowledged since they were looked for last.
    ids: BTreeSet<String>,
    /// The origins of all that was acknowledged.
    origins: BTreeSet<String>,
}

impl Writers {
    /// So many at each daemon.
    pub(super) fn new(daemons: &[(Client, usize)]) -> Self {
        let clients = daemons
            .iter()
            .flat_map(|(client, count)| std::iter::repeat_n(client, *count));
        let writers = clients.enumerate().map(|(number, client)| Writer {
            client: client.clone(),
            number,
            asked: 0,
            saved: 0,
            ids: BTreeSet::new(),
            origins: BTreeSet::new(),
        });
        Self(writers.collect())
    }

    /// Lets them write until `meanwhile` returns.
    ///
    /// # Errors
    /// Those of `meanwhile`.
    pub(super) fn write(
        &mut self,
        gently: bool,
        meanwhile: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in &mut self.0 {
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        writer.save();
                        if gently {
                            std::thread::sleep(GENTLE);
                        }
                    }
                });
            }
            let done = meanwhile();
            stop.store(true, Ordering::Relaxed);
            done
        })
    }

    /// The origins under which a daemon has acknowledged saves.
    pub(super) fn origins(&self, daemon: &Client) -> BTreeSet<String> {
        let here = self.0.iter().filter(|writer| writer.client.is(daemon));
        here.flat_map(|writer| writer.origins.clone()).collect()
    }

    /// Checks that a daemon has all that was acknowledged since this was asked last, and gives how
    /// much that was.
    ///
    /// # Errors
    /// What is missing, or is there by half.
    pub(super) fn must_be_there(&mut self, killed: &Client) -> anyhow::Result<u64> {
        let mine = |writer: &&mut Writer| writer.client.is(killed);
        let mut count = 0;
        for writer in self.0.iter_mut().filter(mine) {
            count += writer.must_be_there()?;
        }
        Ok(count)
    }
}

impl Writer {
    fn paths(&self) -> [String; 2] {
        ["left", "right"].map(|side| format!("/writer-{}-{side}", self.number))
    }

    fn save(&mut self) {
        let [left, right] = self.paths();
        let next = self.asked + 1;
        let script = match self.saved {
            // Whether an earlier one was made is not known: an add of what is there is refused.
            0 if self.asked > 0 && self.is_there() => self.script(next),
            0 => format!("add {left}\nadd {right}\n{}", self.script(next)),
            _ => self.script(next),
        };
        self.asked = next;
        match self.client.save(&script) {
            Ok(id) => {
                self.saved = next;
                if let Some((_, origin)) = id.split_once('-') {
                    self.origins.insert(origin.to_owned());
                }
                self.ids.insert(id);
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }

    fn script(&self, number: i64) -> String {
        let [left, right] = self.paths();
        format!("set {left} n {number}\nset {right} n {number}\n")
    }

    fn is_there(&self) -> bool {
        self.number_at(&self.paths()[0]).is_ok()
    }

    fn number_at(&self, path: &str) -> anyhow::Result<i64> {
        let node = self.client.json("/v1/node", &[("path", path)])?;
        node["properties"]["n"].as_i64().context("it has a number")
    }

    fn must_be_there(&mut self) -> anyhow::Result<u64> {
        let saved = std::mem::take(&mut self.ids);
        if self.saved == 0 {
            return Ok(0);
        }
        let [left, right] = self.paths();
        let (a, b) = (self.number_at(&left)?, self.number_at(&right)?);
        ensure!(a == b, "half of a save is there: {a} and {b}");
        ensure!(
            (self.saved..=self.asked).contains(&a),
            "writer {} has {} acknowledged and {} asked for, and {a} is there",
            self.number,
            self.saved,
            self.asked
        );
        // Whatever it asked for since may be there as well.
        let limit = (saved.len() + UNANSWERED_MAX).to_string();
        let query = [("limit", limit.as_str()), ("path", &left)];
        let mut there = BTreeSet::new();
        for line in self.client.get("/v1/log", &query)?.lines() {
            let entry: Value = serde_json::from_str(line)?;
            let id = entry["id"].as_str().context("an entry has an id")?;
            there.insert(id.to_owned());
        }
        if let Some(id) = saved.difference(&there).next() {
            bail!("{id} was acknowledged, and is not there");
        }
        Ok(saved.len() as u64)
    }
}
