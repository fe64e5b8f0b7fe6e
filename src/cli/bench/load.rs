//! The saves: so many connections, each of which waits for one answer before it asks for the next.
//!
//! With a rate every save is due at a moment of its own. One that is sent later, since all
//! connections wait for answers, counts from when it was due, so that a daemon that stalls does not
//! look better for it (Tene, "How not to measure latency").

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::delays::Delays;
use super::seen::{Answered, Watching};
use crate::cli::client::{Connection, Daemon};
use crate::model::ChangeSetId;

/// Pause after a save that failed.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);
/// From one save's node to the next: a prime, so that all are visited in no simple order.
const STRIDE: u64 = 7_919;

/// What is to be done.
pub(super) struct Load {
    /// The node whose children are saved on.
    pub(super) path: String,
    /// How many there are: `n0`, `n1`, and so on.
    pub(super) nodes: u32,
    /// Saves a second; nothing for as many as can be.
    pub(super) rate: Option<u32>,
    /// For how long.
    pub(super) time: Duration,
}

/// What was done.
#[derive(Default)]
pub(super) struct Saved {
    /// Of the saves that were made: the time from asking to the answer.
    pub(super) answers: Delays,
    /// Saves that were not made, or of which that is not known.
    pub(super) failed: u64,
    /// Why the first of them failed.
    pub(super) error: Option<String>,
    /// From the first save to the last answer.
    pub(super) time: Duration,
}

impl Load {
    /// Saves, tells of each answer, and gives what it came to.
    ///
    /// # Errors
    /// If the daemon's address is none. Saves that fail are counted.
    pub(super) fn run(
        &self,
        daemon: &Daemon,
        connections: u32,
        watching: &Watching,
    ) -> anyhow::Result<Saved> {
        let connections = (0..connections)
            .map(|_| daemon.connection())
            .collect::<Result<Vec<_>, _>>()?;
        let turns = AtomicU64::new(0);
        let start = super::seen::now();
        let parts: Vec<Saved> = std::thread::scope(|scope| {
            let threads: Vec<_> = connections
                .into_iter()
                .map(|one| scope.spawn(|| self.one(one, start, &turns, watching)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a connection does not panic"))
                .collect()
        });
        let mut saved = Saved::default();
        for part in parts {
            saved.answers.merge(&part.answers);
            saved.failed += part.failed;
            saved.error = saved.error.or(part.error);
            saved.time = saved.time.max(part.time);
        }
        Ok(saved)
    }

    fn one(
        &self,
        connection: Connection,
        start: Instant,
        turns: &AtomicU64,
        watching: &Watching,
    ) -> Saved {
        let mut saved = Saved::default();
        while let Some((turn, begun)) = self.turn(start, turns) {
            let done = self.save(&connection, turn);
            let at = super::seen::now();
            saved.time = at - start;
            match done {
                Ok((id, sequence)) => {
                    saved.answers.add(at - begun);
                    watching.answered(Answered { id, sequence, at });
                }
                Err(error) => {
                    saved.failed += 1;
                    saved.error.get_or_insert_with(|| format!("{error:#}"));
                    std::thread::sleep(FAILURE_PAUSE);
                }
            }
        }
        saved
    }

    /// Waits until the next save is due: its number, and when it began; nothing at the end.
    fn turn(&self, start: Instant, turns: &AtomicU64) -> Option<(u64, Instant)> {
        let turn = turns.fetch_add(1, Ordering::Relaxed);
        let now = super::seen::now();
        let Some(rate) = self.rate else {
            return (now - start < self.time).then_some((turn, now));
        };
        let due = Duration::from_secs_f64(turn as f64 / f64::from(rate));
        if due >= self.time {
            return None;
        }
        let due = start + due;
        if due <= now {
            return Some((turn, due));
        }
        std::thread::sleep(due - now);
        // It is no fault of the daemon's if this thread slept too long.
        Some((turn, super::seen::now()))
    }

    fn save(&self, connection: &Connection, turn: u64) -> anyhow::Result<(ChangeSetId, u64)> {
        let node = turn.wrapping_mul(STRIDE) % u64::from(self.nodes);
        let script = format!("set {}/n{node} x {turn}\n", self.path);
        let query = vec![("overwrite", "true".into())];
        let answer = connection.post("/v1/apply", query, script)?.json()?;
        let saved = &answer["saved"][0];
        let id = saved["id"].as_str().and_then(|id| id.parse().ok());
        match (id, saved["sequence"].as_u64()) {
            (Some(id), Some(sequence)) => Ok((id, sequence)),
            _ => Err(crate::cli::client::foreign()),
        }
    }
}
