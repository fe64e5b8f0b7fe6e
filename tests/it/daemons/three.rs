//! The main job: three daemons take saves on the same nodes at the same time, over links that
//! delay, lose, double, garble and break, while one of them is killed twice and frozen once; and
//! in the end all three have the same tree, which is the one that the rules give.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use leveret::codec::change_set;
use leveret::model::{ChangeSet, OriginId, RepoId, Sequence};
use leveret::replica::journal::JournalReader;
use leveret::storage::sled::{SledOptions, SledStorage};
use leveret_sim::engine::{self, Engine, Log};
use merge_spec::fold;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::proxy::{Network, Place, Weather};
use super::workload::{Kind, NODES, User, shared_nodes};
use crate::daemon::{Client, Daemon, Failure, PATIENCE, now, program, until_equal};

/// Saves that each daemon has to acknowledge.
const SAVES: usize = 2_000;
/// A user makes a save this often, if the daemon lets him.
const PACE: Duration = Duration::from_millis(20);
/// A user looks at the tree again after so many saves.
const LOOK_EVERY: usize = 6;
/// How long all users together may take.
const RUN_MAX: Duration = Duration::from_secs(150);

const ROUGH: Weather = Weather {
    delay: Duration::from_millis(5),
    jitter: Duration::from_millis(35),
    loss: 0.03,
    doubled: 0.02,
    garbled: 0.005,
};

const STORM: Weather = Weather {
    jitter: Duration::from_millis(150),
    loss: 0.2,
    ..ROUGH
};

type Journal = BTreeMap<(OriginId, Sequence), Vec<u8>>;

#[test]
fn three_daemons_that_are_cut_off_killed_and_frozen_end_with_the_tree_that_the_rules_give() {
    let start = now();
    let lap = |what: &str| eprintln!("{:7.1?} s: {what}", start.elapsed().as_secs_f32());
    let directory = tempfile::tempdir().unwrap();
    let mut network = Network::new(2);
    let places = [0, 1, 2].map(|_| network.place());
    // A daemon joins through its place, and a place knows its daemon when that has spoken: one
    // after the other.
    let data = ["a", "b", "c"].map(|name| directory.path().join(name));
    let a = network.start(places[0], &data[0], None);
    let token = a.client().token();
    let b = network.start(places[1], &data[1], Some(&token));
    let mut c = network.start(places[2], &data[2], Some(&token));
    let clients = [&a, &b, &c].map(|daemon| daemon.client().clone());
    let of = clients.each_ref();

    let mut acknowledged: BTreeSet<String> = clients[0]
        .apply(&shared_nodes())
        .unwrap()
        .into_iter()
        .collect();
    until_equal(&of, PATIENCE);
    lap("all have the shared nodes");

    network.weather(&places, ROUGH);
    let counts = [0; 3].map(AtomicUsize::new);
    let mut refused = Vec::new();
    std::thread::scope(|scope| {
        let users: Vec<_> = clients
            .iter()
            .zip(&counts)
            .zip(1..)
            .map(|((client, count), seed)| scope.spawn(move || save_on(client, count, seed)))
            .collect();
        let (network, counts) = (&network, &counts);
        scope.spawn(move || break_links(network, places, counts));
        hurt(&mut c, &counts[2], &lap);
        for user in users {
            let done = user.join().unwrap();
            acknowledged.extend(done.ids);
            refused.push((done.refused, done.lost));
        }
    });
    lap(&format!(
        "all saves are made; refused and lost: {refused:?}"
    ));
    assert_eq!(acknowledged.len(), 3 * SAVES + 1);

    mend(&network, places, Weather::default());
    let took = until_equal(&of, PATIENCE);
    lap(&format!(
        "all are equal, {took:.1?} after the links are good"
    ));

    let statuses = of.map(Client::status);
    let trees = of.map(|client| client.tree("main"));
    let orders = clients[0].orders();
    for (client, tree) in clients.iter().zip(&trees) {
        assert!(*tree == trees[0], "the trees differ");
        assert!(client.orders() == orders, "the orders differ");
        let logged = client.logged();
        let lacking: Vec<_> = acknowledged.difference(&logged).collect();
        assert!(
            lacking.is_empty(),
            "acknowledged and not in the log: {lacking:?}"
        );
    }
    let counter = |status: &Value, name: &str| status["counters"][name].as_u64().unwrap();
    for status in &statuses {
        eprintln!("{}", status["counters"]);
        for name in ["rewinds", "clashes_met", "skipped", "late"] {
            assert!(counter(status, name) > 0, "{name}: {status:#}");
        }
        assert_eq!(counter(status, "digest_mismatches"), 0, "{status:#}");
        assert_eq!(counter(status, "forks"), 0, "{status:#}");
    }
    // Some counters begin anew with each life of a daemon, so not each of the three needs to have
    // seen all of it.
    for name in ["held_ever", "duplicates", "gaps"] {
        let total: u64 = statuses.iter().map(|status| counter(status, name)).sum();
        eprintln!("{name}: {total}");
        assert!(total > 0 || name != "held_ever", "nothing was ever held");
    }
    lap("trees, orders and logs are equal");

    let mut daemons = [a, b, c];
    for daemon in &mut daemons {
        let (code, time) = daemon.terminate();
        assert_eq!(code, Some(0));
        assert!(time < Duration::from_secs(2), "{time:?}");
        verify(daemon.data());
    }
    lap("all have ended, and verify finds nothing");

    let journals = [0, 1, 2].map(|i| journal(daemons[i].data()));
    assert!(
        journals[0] == journals[1] && journals[1] == journals[2],
        "the journals differ"
    );
    let sets: Vec<Arc<ChangeSet>> = journals[0]
        .values()
        .map(|body| Arc::new(change_set::decode(body).unwrap()))
        .collect();
    assert!(sets.len() > 3 * SAVES);
    lap("the journals are equal");

    // What the same change sets come to when a new engine takes them all at once.
    let log = Log::default();
    for set in &sets {
        log.add(set.clone());
    }
    let snapshot = Engine::new(log).merge(&sets).snapshot;
    assert_eq!(snapshot.digest().to_string(), statuses[0]["digest"]);
    lap("a new engine comes to the same digest");

    // And when the naive model folds them.
    let spec: Vec<_> = sets.iter().map(|set| engine::to_spec(set)).collect();
    let fold = fold(&spec);
    lap("folded by the naive model");
    assert!(fold.held().is_empty());
    let tree: Value = serde_json::from_str(&trees[0]).unwrap();
    assert!(fold.tree() == tree, "the tree is not that of the rules");
    assert_eq!(engine::spec_orders(&fold), orders);
    assert!(orders.len() > NODES / 4, "{} nodes are left", orders.len());
    lap("it is the tree of the rules");
}

/// What came of a user's work.
struct Done {
    ids: Vec<String>,
    refused: usize,
    lost: usize,
}

/// Saves until enough saves are acknowledged. What is refused is replaced by something else; a
/// save whose answer is lost may be there or not, and does not count.
fn save_on(client: &Client, count: &AtomicUsize, seed: u64) -> Done {
    let start = now();
    let mut user = User::new(seed);
    let mut done = Done {
        ids: Vec::new(),
        refused: 0,
        lost: 0,
    };
    let mut kinds = [0; 3];
    user.look(&client.get("/v1/tree", &[]));
    while done.ids.len() < SAVES {
        assert!(start.elapsed() < RUN_MAX, "{} saves only", done.ids.len());
        let kind = user.kind();
        match client.apply(&user.operations()) {
            Ok(ids) => {
                assert_eq!(ids.len(), 1);
                done.ids.extend(ids);
                count.store(done.ids.len(), Ordering::Relaxed);
                user.done();
                kinds[kind as usize] += 1;
                if done.ids.len().is_multiple_of(LOOK_EVERY) {
                    user.look(&client.get("/v1/tree", &[]));
                }
                let due = PACE.mul_f64(done.ids.len() as f64);
                std::thread::sleep(due.saturating_sub(start.elapsed()));
            }
            Err(Failure::Refused(400 | 404 | 409, _)) => {
                done.refused += 1;
                if done.refused.is_multiple_of(LOOK_EVERY) {
                    user.look(&client.get("/v1/tree", &[]));
                }
            }
            Err(Failure::Lost(_)) => {
                done.lost += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(failure) => panic!("{failure:?}"),
        }
    }
    assert_eq!(kinds[Kind::Move as usize], SAVES / 5);
    assert_eq!(kinds[Kind::Remove as usize], SAVES / 10);
    done
}

/// Kills the daemon, freezes it, and kills it again, while it is being used.
fn hurt(daemon: &mut Daemon, count: &AtomicUsize, lap: &dyn Fn(&str)) {
    let until = |share: f64| {
        let start = now();
        while (count.load(Ordering::Relaxed) as f64) < share * SAVES as f64 {
            assert!(start.elapsed() < RUN_MAX, "too few saves are made");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until(0.2);
    daemon.kill();
    lap("killed");
    std::thread::sleep(Duration::from_secs(1));
    daemon.restart();
    lap("started again");
    until(0.4);
    daemon.freeze();
    lap("frozen");
    std::thread::sleep(Duration::from_secs(5));
    daemon.thaw();
    lap("thawed");
    until(0.65);
    daemon.kill();
    lap("killed");
    std::thread::sleep(Duration::from_secs(2));
    daemon.restart();
    lap("started again");
}

/// Cuts links and mends them, until all saves are made; leaves them as they are then.
fn break_links(network: &Network, places: [Place; 3], counts: &[AtomicUsize; 3]) {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    // If a user has given up there is nothing to wait for either.
    let start = now();
    let pause = |millis: u64| {
        let end = start.elapsed() + Duration::from_millis(millis);
        let saving = || {
            counts
                .iter()
                .any(|count| count.load(Ordering::Relaxed) < SAVES)
        };
        while start.elapsed() < end && saving() {
            std::thread::sleep(Duration::from_millis(10));
        }
        saving() && start.elapsed() < RUN_MAX
    };
    // Once for so long that both ends give the connection up.
    if !pause(2_000) {
        return;
    }
    network.set_cut_between(places[0], places[1], true);
    if !pause(17_000) {
        return;
    }
    mend(network, places, ROUGH);
    while pause(rng.random_range(500..2_000)) {
        let one = rng.random_range(0..3);
        let (one, other, third) = (places[one], places[(one + 1) % 3], places[(one + 2) % 3]);
        match rng.random_range(0..4) {
            0 => network.set_cut(one, other, true),
            1 => network.set_cut_between(one, other, true),
            2 => {
                network.set_cut_between(one, other, true);
                network.set_cut_between(one, third, true);
            }
            _ => network.weather(&[one, other], STORM),
        }
        if !pause(rng.random_range(1_000..4_000)) {
            return;
        }
        mend(network, places, ROUGH);
    }
}

/// Takes all cuts away.
fn mend(network: &Network, places: [Place; 3], weather: Weather) {
    for from in places {
        for to in places {
            network.set_cut(from, to, false);
        }
    }
    network.weather(&places, weather);
}

/// Lets the program check a directory.
pub(super) fn verify(data: &Path) {
    let output = program(&["verify", "--data"]).arg(data).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}\n{output:?}");
    assert_eq!(out.lines().count(), 2, "{out}");
    assert!(out.lines().all(|line| line.ends_with(": sound")), "{out}");
}

/// Every change set of `main` in the journal of a directory that nobody has open.
fn journal(data: &Path) -> Journal {
    let storage = SledStorage::open(&data.join("store"), &SledOptions::default()).unwrap();
    let reader = JournalReader::new(RepoId::MAIN, Arc::new(storage));
    let mut journal = Journal::new();
    for origin in reader.origins().unwrap() {
        let mut sequence = Sequence(1);
        while let Some(record) = reader.record(origin, sequence).unwrap() {
            journal.insert((origin, sequence), record.body);
            sequence = sequence.next();
        }
    }
    journal
}
