//! The core without its threads: what each input leads to.

use super::*;
use crate::codec::key::JOURNAL;
use crate::model::script::parse_line;
use crate::model::{PublicKey, Sequence};
use crate::replica::{Durability, Founder, Identity, Output, ReplicaConfig};
use crate::storage::Storage;
use crate::storage::memory::MemoryStorage;

const CONNECTION: ConnectionId = ConnectionId(1);

/// A replica of the cluster that the first identity has founded.
fn replica(seed: u8, durability: Durability) -> (Arc<Store>, Replica) {
    let founder = Founder {
        key: identity(1).public(),
        nonce: [3; 16],
    };
    let store = Store::new(Box::new(MemoryStorage::new()));
    let mut config = ReplicaConfig::new(founder);
    config.durability = durability;
    let (identity, now) = (identity(seed), clock::now());
    let replica = Replica::open(config, identity, store.clone(), [seed; 32], now);
    (store, replica.unwrap())
}

fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32])
}

/// A save of the first replica, as it sends it.
fn range() -> (PublicKey, Message) {
    let (store, mut author) = replica(1, Durability::Sync);
    let now = clock::now();
    let mut draft = Draft::new(author.state(RepoId::MAIN).snapshot(), author.origin());
    draft.apply(&parse_line("add /a").unwrap()).unwrap();
    author.save(now, &draft).unwrap();
    author.connected(now, CONNECTION, identity(2).public());
    let mut asked = false;
    while let Some(output) = author.poll_output() {
        match output {
            Output::Commit { token, records } => {
                store.append(&records).unwrap();
                author.committed(now, token);
            }
            Output::Saved { .. } if !asked => {
                asked = true;
                let want = Message::Want {
                    repo: RepoId::MAIN,
                    origin: author.origin(),
                    after: Sequence(0),
                };
                author.receive(now, CONNECTION, want);
            }
            Output::Send { message, .. } if matches!(message, Message::Range { .. }) => {
                return (identity(1).public(), message);
            }
            _ => {}
        }
    }
    panic!("it has sent nothing");
}

#[test]
fn what_has_come_is_merged_by_the_core_thread_whoever_is_at_it() {
    let (author, range) = range();
    let (store, replica) = replica(2, Durability::Sync);
    let core = Core::new(replica, store, Box::new(|| Err(OpenError::Ended)));
    // As if that thread slept.
    core.handover.store(false, Ordering::SeqCst);
    core.submit(Input::Run(Box::new(move |engine| {
        let now = clock::now();
        engine.replica.connected(now, CONNECTION, author);
        engine.replica.receive(now, CONNECTION, range);
    })));
    let merged = || core.inspect(|it| it.replica.state(RepoId::MAIN).latest().heads().len());
    assert_eq!(merged(), 0);
    assert!(std::mem::take(&mut core.inbox().summoned));
    core.inspect(|engine| core.turn(engine, INPUTS_MAX, MESSAGES_MAX));
    assert_eq!(merged(), 1);
}

/// The core of the founder's peer, without its threads.
fn alone(durability: Durability) -> Arc<Core> {
    let (store, replica) = replica(1, durability);
    let core = Core::new(replica, store, Box::new(|| Err(OpenError::Ended)));
    core.handover.store(false, Ordering::SeqCst);
    core
}

/// Saves from so many callers, none of whom waits for another.
fn save(core: &Core, saves: usize) {
    for _ in 0..saves {
        core.submit(one(core));
    }
}

fn one(core: &Core) -> Input {
    let mut draft = Draft::new(core.state(RepoId::MAIN).snapshot(), core.origin());
    draft.apply(&parse_line("inc / n 1").unwrap()).unwrap();
    let (reply, _) = oneshot::channel();
    Input::Save {
        draft: Box::new(draft),
        reply,
    }
}

/// One that answers at once, with a commit of 39 change sets out.
fn loaded() -> Arc<Core> {
    let core = alone(Durability::Relaxed);
    save(&core, 40);
    commit_all(&core, 1);
    core
}

/// The commit that the storage thread would find, and how many change sets of `main` it has.
fn commit(core: &Core) -> Option<(CommitToken, usize)> {
    let (token, records) = core.disk.next_commit()?;
    let main = [JOURNAL, RepoId::MAIN.0];
    let journal = records.iter().filter(|(key, _)| key[..2] == main);
    Some((token, journal.count()))
}

/// Does the commit that is out, which is to have so many change sets.
fn commit_all(core: &Core, sets: usize) {
    let (token, count) = commit(core).expect("a commit is out");
    assert_eq!(count, sets);
    core.news(Input::Committed(token));
}

#[test]
fn a_commit_after_a_large_one_that_nobody_waited_for_gathers() {
    let core = loaded();
    // After a small one there is no pause; after this one there is.
    commit_all(&core, 39);
    save(&core, 33);
    assert!(commit(&core).is_none());
    core.news(Input::Gathered);
    commit_all(&core, 33);
    // It ends also with so many.
    save(&core, 511);
    assert!(commit(&core).is_none());
    save(&core, 1);
    commit_all(&core, 512);
    // And when the peer closes.
    save(&core, 1);
    assert!(commit(&core).is_none());
    core.submit(Input::Close);
    commit_all(&core, 1);
}

#[test]
fn a_commit_after_one_that_several_waited_for_waits_for_them_again() {
    let core = alone(Durability::Sync);
    save(&core, 1);
    save(&core, 10);
    commit_all(&core, 1);
    // Ten wait for this one, and an eighth of them may stay away from the next.
    commit_all(&core, 10);
    save(&core, 8);
    assert!(commit(&core).is_none());
    save(&core, 1);
    commit_all(&core, 9);
    save(&core, 1);
    assert!(commit(&core).is_none());
    core.news(Input::Gathered);
    commit_all(&core, 1);
}

#[test]
fn nothing_is_held_back_while_a_checkpoint_is_written() {
    let core = loaded();
    assert!(core.disk.begin_checkpoint());
    commit_all(&core, 39);
    save(&core, 1);
    commit_all(&core, 1);
}

#[test]
fn who_has_his_answer_already_does_not_count_as_waiting() {
    let core = loaded();
    let (token, _) = commit(&core).unwrap();
    // In one turn, so that the answer is still on its way.
    let input = one(&core);
    core.inspect(|engine| {
        engine.take(&core, input, clock::now());
        engine.take(&core, Input::Committed(token), clock::now());
        engine.pump(&core);
    });
    assert!(commit(&core).is_none());
    core.news(Input::Gathered);
    commit_all(&core, 1);
}

#[test]
fn nothing_is_held_back_before_a_checkpoint() {
    let core = loaded();
    core.disk.checkpoint(CheckpointToken(9), Vec::new());
    commit_all(&core, 39);
    save(&core, 1);
    commit_all(&core, 1);
}
