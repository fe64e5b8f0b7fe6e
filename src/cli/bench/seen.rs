//! The watches on the other daemons, and how long a save takes to get there.
//!
//! A thread for each watch tells what it reads, and one puts that together with the answers. An
//! event may come before the answer; then the save took no time to get there. A watch that is too
//! slow is told of no single events, but of the heads that it has come to: everything below them
//! counts as seen at that moment.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::delays::Delays;
use crate::cli::Failure;
use crate::cli::client::{Answer, Daemon};
use crate::model::{ChangeSetId, OriginId};

/// Most pieces of news that wait to be put together; past it, those who bring them wait.
const NEWS_MAX: usize = 1 << 16;

/// A save that was answered.
pub(super) struct Answered {
    pub(super) id: ChangeSetId,
    /// Its number in its origin's stream.
    pub(super) sequence: u64,
    pub(super) at: Instant,
}

enum News {
    Answered(Answered),
    /// A watch, counted from 0, was told of these.
    Seen(usize, Vec<ChangeSetId>, Instant),
    /// A watch has left something out, and goes on from these heads.
    Lagged(usize, HashMap<OriginId, u64>, Instant),
    /// A watch has ended, and why.
    Ended(String),
    /// No more answers will come.
    Finish,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Seen {
    /// Of each save on each other daemon: the time from the answer to the event.
    pub(super) delays: Delays,
    /// Saves that were not seen on one of them.
    pub(super) unseen: u64,
    /// How often a watch was too slow.
    pub(super) lagged: u64,
    /// Why the first watch that ended did.
    error: Option<String>,
}

/// Watches on other daemons.
pub(super) struct Watching {
    /// Nothing if there are no others.
    work: Option<(SyncSender<News>, JoinHandle<Seen>)>,
}

/// Opens a watch of a node on each daemon. Saves that are not seen within `patience` after the last
/// answer are not waited for any longer.
///
/// # Errors
/// If a daemon does not answer, or has no such node.
pub(super) fn watch(
    daemons: &[Daemon],
    path: &str,
    patience: Duration,
) -> anyhow::Result<Watching> {
    if daemons.is_empty() {
        return Ok(Watching { work: None });
    }
    let (sender, receiver) = mpsc::sync_channel(NEWS_MAX);
    for (watch, daemon) in daemons.iter().enumerate() {
        let mut answer = daemon.get("/v1/watch", vec![("path", path.to_owned())])?;
        // The first line says that it watches.
        answer.next_text()?;
        let sender = sender.clone();
        std::thread::spawn(move || {
            let end = listen(watch, &mut answer, &sender);
            // Nobody listens any more once everything has been seen.
            let _ = sender.send(News::Ended(end));
        });
    }
    let watches = daemons.len();
    let together = std::thread::spawn(move || Together::new(watches).run(&receiver, patience));
    Ok(Watching {
        work: Some((sender, together)),
    })
}

impl Watching {
    /// A save has been answered.
    pub(super) fn answered(&self, answered: Answered) {
        if let Some((sender, _)) = &self.work {
            // Fails once a watch has ended; that is told at the end.
            let _ = sender.send(News::Answered(answered));
        }
    }

    /// Waits for what has not been seen yet.
    ///
    /// # Errors
    /// If a watch has ended before.
    pub(super) fn finish(self) -> anyhow::Result<Seen> {
        let Some((sender, together)) = self.work else {
            return Ok(Seen::default());
        };
        // It has ended already if a watch has.
        let _ = sender.send(News::Finish);
        let seen = together.join().expect("putting together does not panic");
        match seen.error {
            Some(error) => Err(Failure::error(
                format!("a watch has ended: {error}"),
                "look at that daemon's log",
            )),
            None => Ok(seen),
        }
    }
}

/// What is read of a line.
#[derive(Deserialize)]
struct Line<'a> {
    event: &'a str,
    #[serde(borrow, default)]
    change_sets: Vec<Set<'a>>,
    #[serde(default)]
    heads: &'a str,
}

#[derive(Deserialize)]
struct Set<'a> {
    id: &'a str,
}

/// Tells what a watch tells, until it ends, and says why it did.
fn listen(watch: usize, answer: &mut Answer, sender: &SyncSender<News>) -> String {
    loop {
        let line = match answer.next_text() {
            Ok(Some(line)) => line,
            Ok(None) => return "the daemon has ended".into(),
            Err(error) => return format!("{error:#}"),
        };
        let at = now();
        let news = match serde_json::from_str(&line) {
            Ok(Line {
                event: "commit",
                change_sets,
                ..
            }) => {
                let ids = change_sets.iter().filter_map(|set| set.id.parse().ok());
                News::Seen(watch, ids.collect(), at)
            }
            Ok(Line {
                event: "lagged",
                heads,
                ..
            }) => News::Lagged(watch, parse_heads(heads), at),
            Ok(Line {
                event: "closed", ..
            }) => return "the daemon has ended".into(),
            Ok(_) => continue,
            Err(_) => return "its answer is not in the form of this version".into(),
        };
        if sender.send(news).is_err() {
            return String::new();
        }
    }
}

fn parse_heads(text: &str) -> HashMap<OriginId, u64> {
    let parts = text.split(',').filter_map(|part| {
        let (origin, sequence) = part.split_once(':')?;
        Some((origin.parse().ok()?, sequence.parse().ok()?))
    });
    parts.collect()
}

/// A save of which not everything is known yet.
#[derive(Default)]
struct Waiting {
    /// When it was answered, and its number.
    answered: Option<(Instant, u64)>,
    /// Which watches have seen it, and when.
    seen: Vec<(usize, Instant)>,
}

struct Together {
    watches: usize,
    waiting: HashMap<ChangeSetId, Waiting>,
    /// Saves that were answered and not seen everywhere.
    missing: u64,
    /// Of each watch that has lagged: what it had come to, and when.
    floors: HashMap<usize, (HashMap<OriginId, u64>, Instant)>,
    seen: Seen,
}

impl Together {
    fn new(watches: usize) -> Self {
        Self {
            watches,
            waiting: HashMap::new(),
            missing: 0,
            floors: HashMap::new(),
            seen: Seen::default(),
        }
    }

    fn run(mut self, news: &Receiver<News>, patience: Duration) -> Seen {
        let mut deadline = None;
        loop {
            if deadline.is_some() && self.missing == 0 {
                break;
            }
            let next = match deadline {
                None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(deadline) => {
                    news.recv_timeout(Instant::saturating_duration_since(&deadline, now()))
                }
            };
            match next {
                Ok(News::Answered(answered)) => self.answered(&answered),
                Ok(News::Seen(watch, ids, at)) => {
                    for id in ids {
                        self.saw(watch, id, at);
                    }
                }
                Ok(News::Lagged(watch, heads, at)) => self.lagged(watch, heads, at),
                Ok(News::Ended(error)) => {
                    self.seen.error = Some(error);
                    break;
                }
                Ok(News::Finish) => deadline = Some(now() + patience),
                Err(_) => break,
            }
        }
        self.seen.unseen = self.missing;
        self.seen
    }

    fn answered(&mut self, answered: &Answered) {
        let save = self.waiting.entry(answered.id).or_default();
        save.answered = Some((answered.at, answered.sequence));
        self.missing += 1;
        let below: Vec<_> = self
            .floors
            .iter()
            .filter(|(_, (heads, _))| heads.get(&answered.id.origin) >= Some(&answered.sequence))
            .map(|(watch, (_, at))| (*watch, *at))
            .collect();
        self.settle(answered.id);
        for (watch, at) in below {
            self.saw(watch, answered.id, at);
        }
    }

    fn saw(&mut self, watch: usize, id: ChangeSetId, at: Instant) {
        let save = self.waiting.entry(id).or_default();
        if save.seen.iter().all(|(by, _)| *by != watch) {
            save.seen.push((watch, at));
        }
        self.settle(id);
    }

    fn lagged(&mut self, watch: usize, heads: HashMap<OriginId, u64>, at: Instant) {
        self.seen.lagged += 1;
        let below: Vec<_> = self
            .waiting
            .iter()
            .filter(|(id, save)| {
                let sequence = save.answered.map(|(_, sequence)| sequence);
                sequence.is_some_and(|it| heads.get(&id.origin) >= Some(&it))
            })
            .map(|(id, _)| *id)
            .collect();
        for id in below {
            self.saw(watch, id, at);
        }
        self.floors.insert(watch, (heads, at));
    }

    /// Counts a save of which everything is known.
    fn settle(&mut self, id: ChangeSetId) {
        let Some(save) = self.waiting.get(&id) else {
            return;
        };
        let Some((answered, _)) = save.answered.filter(|_| save.seen.len() == self.watches) else {
            return;
        };
        for (_, at) in &save.seen {
            self.seen.delays.add(at.saturating_duration_since(answered));
        }
        self.waiting.remove(&id);
        self.missing -= 1;
    }
}

#[expect(clippy::disallowed_methods, reason = "this command measures time")]
pub(super) fn now() -> Instant {
    Instant::now()
}
