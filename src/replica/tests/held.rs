use std::sync::Arc;

use super::world::World;
use crate::codec::change_set::{chain_hash, encode};
use crate::codec::journal::Seal;
use crate::codec::message::SealedBytes;
use crate::model::change_set::ChainHash;
use crate::model::{
    Birth, ChangeSet, ChangeSetId, Dependency, NodeId, NodeName, Operation, OriginId, RepoId,
    Sequence, Time, Value,
};
use crate::replica::admission::FUTURE_CHANGE_SETS_MAX;
use crate::replica::{Alarm, ConnectionId, HeldReason, Identity, Message};

/// An author that writes by hand what no replica would.
#[derive(Clone)]
pub(super) struct Author {
    pub(super) identity: Identity,
    pub(super) origin: OriginId,
    nonce: [u8; 16],
    last: Option<(Sequence, ChainHash)>,
}

impl Author {
    /// One with the key of machine `i`.
    pub(super) fn of(world: &World, i: usize, nonce: u8) -> Self {
        let identity = world.machines[i].identity.clone();
        let nonce = [nonce; 16];
        Self {
            origin: Birth::origin(&identity.public(), &nonce),
            identity,
            nonce,
            last: None,
        }
    }

    /// The next change set of its chain: adds a node of this name.
    pub(super) fn write(&mut self, time: Time, name: &str, on: Vec<Dependency>) -> ChangeSet {
        let (sequence, previous) = match self.last {
            Some((sequence, hash)) => (sequence.next(), hash),
            None => (Sequence(1), ChainHash::default()),
        };
        let change_set = ChangeSet {
            repo: RepoId::MAIN,
            id: ChangeSetId {
                time,
                origin: self.origin,
            },
            sequence,
            previous,
            birth: (sequence == Sequence(1)).then(|| Birth {
                key: self.identity.public(),
                nonce: self.nonce,
                predecessor: None,
            }),
            dependencies: on,
            rules: 1,
            all_or_nothing: false,
            message: None,
            operations: vec![Operation::Add {
                parent: NodeId::ROOT,
                name: NodeName::new(name).unwrap(),
                truncated_at: None,
                generation: 0,
            }],
        };
        self.last = Some((sequence, chain_hash(&encode(&change_set))));
        change_set
    }

    /// Its next one continues this one.
    pub(super) fn go_on_after(&mut self, set: &ChangeSet) {
        self.last = Some((set.sequence, chain_hash(&encode(set))));
    }

    /// Encoded, and sealed if `sealed`.
    pub(super) fn record(&self, world: &World, set: &ChangeSet, sealed: bool) -> SealedBytes {
        let body: Arc<[u8]> = encode(set).into();
        let cluster = world.machines[0].config.cluster;
        let hash = chain_hash(&body);
        let text = Seal::text(cluster, set.repo, self.origin, set.sequence, hash);
        SealedBytes {
            seal: sealed.then(|| Seal(self.identity.sign(&text))),
            body,
        }
    }

    /// A range of one sealed change set.
    pub(super) fn range(&self, world: &World, set: &ChangeSet) -> Message {
        Message::Range {
            repo: set.repo,
            origin: self.origin,
            first: set.sequence,
            records: vec![self.record(world, set, true)],
            more: false,
        }
    }
}

/// A connection of machine `i` over which a test speaks itself.
pub(super) const BY_HAND: ConnectionId = ConnectionId(1_000_000);

pub(super) fn speak(world: &mut World, i: usize, message: Message) {
    let now = world.time(i);
    world.replica(i).receive(now, BY_HAND, message);
    world.drain(i);
    world.run(10);
}

pub(super) fn join_by_hand(world: &mut World, i: usize, peer: usize) {
    let (now, key) = (world.time(i), world.key(peer));
    world.replica(i).connected(now, BY_HAND, key);
    world.drain(i);
}

// M16
#[test]
pub(super) fn what_is_far_ahead_waits_harms_nobody_and_is_applied_when_the_clock_gets_there() {
    let mut world = World::members(3, 20);
    world.connect_all();
    world.converge(2_000);
    world.machines[2].clock_ms = 10_000;
    world.save_and_wait(2, "add /ahead\nset /ahead x 1");
    world.save_and_wait(0, "add /now");
    world.run(500);
    for i in 0..2 {
        assert_eq!(world.get(i, "/ahead", "x"), None);
        assert_eq!(world.held(i), 1);
        assert!(matches!(
            world.machines[i].alarms[..],
            [Alarm::Future {
                ahead_ms: 9_000..=10_000,
                ..
            }]
        ));
        let now = world.time(i);
        let status = world.replica(i).status(now);
        assert!(status.clock_ahead_ms < 500, "the clock is not moved");
        let held: Vec<_> = status.repos[1].held.values().collect();
        assert_eq!(held, [&(1, HeldReason::Future)]);
    }
    // Nothing else waits: machine 1 goes on, and machine 2 has everything.
    world.save_and_wait(1, "add /meanwhile");
    world.run(500);
    assert_eq!(world.replica(2).status(Time(0)).held, 0);
    // What depends on it waits with it.
    world.save_and_wait(2, "set /ahead x 2");
    world.run(500);
    assert_eq!(world.held(0), 2);
    world.run(10_000);
    world.converge(1_000);
    assert_eq!(world.get(0, "/ahead", "x"), Some(Value::Int(2)));
    assert_eq!(world.held(0), 0);
}

// M16
#[test]
fn what_waits_for_the_clock_waits_again_after_a_restart() {
    let mut world = World::members(2, 21);
    world.connect(0, 1);
    world.converge(1_000);
    world.machines[1].clock_ms = 5_000;
    world.save_and_wait(1, "add /ahead\nset /ahead x 1");
    world.run(200);
    assert_eq!(world.held(0), 1);
    world.crash(0);
    world.open(0);
    assert_eq!(world.held(0), 1);
    world.run(4_600);
    assert_eq!(world.get(0, "/ahead", "x"), Some(Value::Int(1)));
}

// M16
#[test]
fn no_more_of_the_future_is_kept_than_the_quota_allows() {
    let mut world = World::members(2, 22);
    world.connect(0, 1);
    world.converge(1_000);
    world.machines[1].clock_ms = 20_000;
    for n in 0..FUTURE_CHANGE_SETS_MAX + 300 {
        world.save(1, &format!("set / p{} {n}", n % 50));
        if n % 100 == 0 {
            world.run(5);
        }
    }
    world.run(2_000);
    let held = world.held(0);
    assert!(
        held > 500 && held <= FUTURE_CHANGE_SETS_MAX as u64,
        "{held}"
    );
    let wants = world.replica(0).counters.wants_sent;
    world.run(5_000);
    assert_eq!(
        world.replica(0).counters.wants_sent,
        wants,
        "not asked in vain"
    );
    world.run(20_000);
    world.converge(5_000);
}

// M2
#[test]
pub(super) fn a_change_set_waits_for_what_it_depends_on_and_that_is_asked_for() {
    let mut world = World::members(3, 23);
    world.connect(0, 1);
    world.connect(1, 2);
    world.converge(3_000);
    // Machine 2 does not get what machine 0 writes, but gets what machine 1 writes on top.
    world.tap = Some(|_, to, message| match message {
        Message::Have { .. } if to == 2 => None,
        Message::Heads { .. } | Message::Summary { .. } if to == 2 => None,
        other => Some(other),
    });
    world.save_and_wait(0, "add /a");
    world.run(100);
    world.save_and_wait(1, "set /a x 1");
    world.run(5);
    assert_eq!(world.held(2), 1);
    assert_eq!(world.get(2, "/a", "x"), None);
    world.run(100);
    assert_eq!(world.get(2, "/a", "x"), Some(Value::Int(1)));
    assert_eq!(world.held(2), 0);
    assert_eq!(world.replica(2).counters.held_ever, 1);
}

// M19
#[test]
fn a_change_set_of_unknown_rules_is_kept_and_waits() {
    let mut world = World::members(2, 24);
    join_by_hand(&mut world, 0, 1);
    let mut author = Author::of(&world, 1, 1);
    let time = world.time(0);
    let mut set = author.write(time, "later", Vec::new());
    set.rules = 2;
    let message = author.range(&world, &set);
    speak(&mut world, 0, message);
    let now = world.time(0);
    let status = world.replica(0).status(now);
    assert_eq!(status.repos[1].held[&author.origin], (1, HeldReason::Rules));
    assert_eq!(status.repos[1].stored[&author.origin], Sequence(1));
    assert!(world.machines[0].closed.is_empty());
}

// M2, M15
#[test]
pub(super) fn an_id_that_is_not_above_all_it_has_seen_is_its_authors_fault() {
    let mut world = World::members(3, 25);
    let receipt = world.save_and_wait(0, "add /a");
    let on = vec![Dependency {
        origin: receipt.id.origin,
        sequence: receipt.sequence,
    }];
    join_by_hand(&mut world, 0, 1);
    let mut early = Author::of(&world, 1, 1);
    let set = early.write(Time(receipt.id.time.0 - 1), "early", on);
    let message = early.range(&world, &set);
    speak(&mut world, 0, message);

    let mut falling = Author::of(&world, 2, 2);
    let first = falling.write(receipt.id.time, "first", Vec::new());
    let second = falling.write(Time(receipt.id.time.0 - 5), "second", Vec::new());
    for set in [&first, &second] {
        let message = falling.range(&world, set);
        speak(&mut world, 0, message);
    }
    let now = world.time(0);
    let status = world.replica(0).status(now);
    let mut both = vec![early.origin, falling.origin];
    both.sort();
    assert_eq!(status.repos[1].quarantined, both);
    assert_eq!(world.replica(0).counters.invalid, 2);
    assert!(world.machines[0].closed.is_empty(), "not the sender's");
    let applied = world.applied(0, RepoId::MAIN);
    assert_eq!(applied.get(&early.origin), None);
    assert_eq!(applied.get(&falling.origin), Some(&Sequence(1)));

    // It stays so, and what was applied stays applied.
    world.crash(0);
    world.open(0);
    assert_eq!(world.applied(0, RepoId::MAIN), applied);
    let status = world.replica(0).status(now);
    assert_eq!(status.repos[1].quarantined, both);
}

// M16
#[test]
fn a_relaxed_replica_tells_of_what_has_waited_as_soon_as_it_is_due() {
    let mut world = World::members(2, 27);
    world.relaxed(0);
    world.connect_all();
    world.converge(2_000);
    world.machines[1].clock_ms = 3_000;
    world.save_and_wait(1, "add /ahead");
    world.run(500);
    assert_eq!(world.held(0), 1);
    let told = world.machines[0].events.len();
    // Nothing else happens on this machine.
    world.disconnect(0, 1);
    let due = world.replica(0).next_timeout();
    while world.held(0) > 0 {
        world.machines[0].clock_ms += 10;
        let now = world.time(0).max(due);
        world.replica(0).handle_timeout(now);
        world.drain(0);
    }
    assert_eq!(world.machines[0].events.len(), told + 1);
}
