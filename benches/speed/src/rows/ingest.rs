//! Taking in the change sets of another replica from recorded frames, against local saves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use leveret::codec::message::{self, Message, SealedBytes};
use leveret::merge::Draft;
use leveret::model::{NodeId, OriginId, PropertyName, RepoId, Sequence, Time, Value};
use leveret::peer::Durability;
use leveret::replica::{
    CheckpointToken, CommitToken, ConnectionId, Founder, Identity, Output, Replica, ReplicaConfig,
};
use leveret::storage::memory::MemoryStorage;
use leveret::storage::sled::{SledOptions, SledStorage};
use leveret::storage::{Change, Key, Storage};

use super::saves;
use crate::measure::{Aim, Row, Settings};

/// Nodes that are saved again and again.
const HOT: usize = 1_000;
/// Saves of one commit of whoever made them, and so of one frame.
const FRAME: usize = 64;
/// Bytes of frames that may be on their way to the disk.
const AHEAD_BYTES: usize = 4 << 20;

/// One property each, decoded, verified, merged and made durable.
pub(crate) fn ingest(settings: &Settings) {
    let what = format!("taking in change sets from frames of {FRAME}, {HOT} hot nodes");
    let row = Row {
        what: &what,
        unit: "/s",
        against: "local saves, relaxed, 1 caller",
        aim: Aim::AtLeast(0.8),
    };
    let count = (settings.seconds * 30_000.0) as usize;
    let recorded = Recorded::new(count);
    row.measure(
        || recorded.take_in(),
        || saves::local(settings, Durability::Relaxed, 1, HOT),
    );
}

fn now() -> Time {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Time(0).plus_millis(u64::try_from(now.as_millis()).unwrap())
}

fn author() -> (Identity, ReplicaConfig) {
    let identity = Identity::from_seed(&[1; 32]);
    let founder = Founder {
        key: identity.public(),
        nonce: [3; 16],
    };
    (identity, ReplicaConfig::new(founder))
}

/// What one replica has sent.
struct Recorded {
    frames: Vec<Vec<u8>>,
    saves: usize,
}

impl Recorded {
    /// Lets a replica in memory make so many saves, besides those that make the nodes.
    fn new(saves: usize) -> Self {
        let (identity, config) = author();
        let storage = Arc::new(MemoryStorage::new());
        let mut replica = Replica::open(config, identity, storage, [5; 32], now()).unwrap();
        let mut draft = draft_of(&replica);
        let parent = draft.add(NodeId::ROOT, &"n".parse().unwrap()).unwrap();
        let nodes: Vec<_> = (0..HOT)
            .map(|i| {
                draft
                    .add(parent, &format!("n{i}").parse().unwrap())
                    .unwrap()
            })
            .collect();
        replica.save(now(), &draft).unwrap();
        let mut journal = Vec::new();
        work(&mut replica, &mut journal);
        let name: PropertyName = "x".parse().unwrap();
        for i in 0..saves {
            let mut draft = draft_of(&replica);
            draft.overwrite(true);
            draft
                .set(nodes[i * 7_919 % HOT], &name, Value::Int(i as i64))
                .unwrap();
            replica.save(now(), &draft).unwrap();
            if i % FRAME == FRAME - 1 || i + 1 == saves {
                work(&mut replica, &mut journal);
            }
        }
        let origin = replica.origin();
        let mut frames = Vec::new();
        let mut sequence = Sequence(0);
        let reader = |sequence| journal_record(&journal, origin, sequence);
        let mut records: Vec<SealedBytes> = Vec::new();
        while let Some(record) = reader(sequence.next()) {
            sequence = sequence.next();
            let sealed = record.seal.is_some();
            records.push(record);
            if sealed {
                let first = Sequence(sequence.0 + 1 - records.len() as u64);
                let records = std::mem::take(&mut records);
                frames.push(message::encode(&Message::Range {
                    repo: RepoId::MAIN,
                    origin,
                    first,
                    records,
                    more: false,
                }));
            }
        }
        Self { frames, saves }
    }

    /// Change sets a second that a fresh replica takes in, until the last one is durable.
    fn take_in(&self) -> f64 {
        let directory = tempfile::tempdir().unwrap();
        let store = SledStorage::open(directory.path(), &SledOptions::default()).unwrap();
        let store = Arc::new(store);
        let (author, config) = author();
        let identity = Identity::from_seed(&[2; 32]);
        let mut replica = Replica::open(config, identity, store.clone(), [6; 32], now()).unwrap();
        let (jobs, todo) = mpsc::channel();
        let (done, news) = mpsc::channel();
        let storage = std::thread::spawn(move || storage_thread(&*store, &todo, &done));
        let connection = ConnectionId(1);
        replica.connected(now(), connection, author.public());
        let start = Instant::now();
        let (mut sent, mut durable) = (0, 0);
        let mut frames = self.frames.iter();
        let mut next = frames.next();
        let mut commits: Vec<usize> = Vec::new();
        while next.is_some() || durable < sent {
            if let Some(frame) = next
                && sent - durable < AHEAD_BYTES
            {
                let message = message::decode(frame).unwrap();
                replica.receive(now(), connection, message);
                sent += frame.len();
                next = frames.next();
            } else {
                let news = news.recv_timeout(Duration::from_secs(60)).unwrap();
                told(&mut replica, news, &mut commits, &mut durable);
            }
            while let Ok(news) = news.try_recv() {
                told(&mut replica, news, &mut commits, &mut durable);
            }
            while let Some(output) = replica.poll_output() {
                match output {
                    Output::Commit { token, records } => {
                        commits.push(sent);
                        jobs.send(Job::Commit(token, records)).unwrap();
                    }
                    Output::Checkpoint { token, changes } => {
                        jobs.send(Job::Checkpoint(token, changes)).unwrap();
                    }
                    Output::Alarm(alarm) => panic!("{alarm}"),
                    _ => {}
                }
            }
        }
        let rate = self.saves as f64 / start.elapsed().as_secs_f64();
        let applied: u64 = replica
            .state(RepoId::MAIN)
            .heads()
            .values()
            .map(|head| head.sequence.0)
            .sum();
        assert_eq!(applied as usize, self.saves + 1, "everything was taken");
        drop(jobs);
        storage.join().unwrap();
        rate
    }
}

fn draft_of(replica: &Replica) -> Draft {
    Draft::new(replica.state(RepoId::MAIN).latest(), replica.origin())
}

/// Keeps what a replica commits.
fn work(replica: &mut Replica, journal: &mut Vec<(Key, Vec<u8>)>) {
    while let Some(output) = replica.poll_output() {
        match output {
            Output::Commit { token, records } => {
                journal.extend(records);
                replica.committed(now(), token);
            }
            Output::Checkpoint { token, .. } => replica.checkpointed(now(), token),
            _ => {}
        }
    }
}

fn journal_record(
    journal: &[(Key, Vec<u8>)],
    origin: OriginId,
    sequence: Sequence,
) -> Option<SealedBytes> {
    let key = leveret::codec::key::journal(RepoId::MAIN, origin, sequence);
    // They came in order, with few notes in between.
    let from = usize::try_from(sequence.0).unwrap().saturating_sub(1);
    let (_, bytes) = journal
        .get(from..)?
        .iter()
        .find(|(found, _)| *found == key)?;
    let record = leveret::codec::journal::decode(bytes).unwrap();
    Some(SealedBytes {
        body: record.body.into(),
        seal: record.seal,
    })
}

enum Job {
    Commit(CommitToken, Vec<(Key, Vec<u8>)>),
    Checkpoint(CheckpointToken, Vec<Change>),
}

enum News {
    Committed(CommitToken),
    Checkpointed(CheckpointToken),
}

fn told(replica: &mut Replica, news: News, commits: &mut Vec<usize>, durable: &mut usize) {
    match news {
        News::Committed(token) => {
            *durable = commits.remove(0);
            replica.committed(now(), token);
        }
        News::Checkpointed(token) => replica.checkpointed(now(), token),
    }
}

/// What a peer's storage thread does.
fn storage_thread(store: &dyn Storage, todo: &mpsc::Receiver<Job>, done: &mpsc::Sender<News>) {
    let commit = |token, records: Vec<_>| {
        store.append(&records).unwrap();
        // Whoever asked may be through already.
        let _ = done.send(News::Committed(token));
    };
    let mut waiting = VecDeque::new();
    while let Some(job) = waiting.pop_front().or_else(|| todo.recv().ok()) {
        match job {
            Job::Commit(token, records) => commit(token, records),
            Job::Checkpoint(token, changes) => {
                let between = &mut || {
                    while let Ok(job) = todo.try_recv() {
                        match job {
                            Job::Commit(token, records) => commit(token, records),
                            later @ Job::Checkpoint(..) => waiting.push_back(later),
                        }
                    }
                    Ok(())
                };
                store.checkpoint(&changes, between).unwrap();
                let _ = done.send(News::Checkpointed(token));
            }
        }
    }
}
