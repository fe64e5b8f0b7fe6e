//! Authors that break the rules of their chain: whatever comes to whom in which order, everybody
//! ends with the same.

mod branch;

use std::sync::Arc;

use super::closing::{statement_after, told};
use super::held::{BY_HAND, join_by_hand, speak};
use super::world::{Weather, World};
use crate::codec::message::SealedBytes;
use crate::model::{RepoId, Sequence, Value};
use crate::replica::{Alarm, Message, verify};
use crate::storage::Storage;
use branch::{Branch, by_hand};

/// Whether all have the same, wait for nothing, and none has stopped.
fn agree(world: &mut World) -> bool {
    let all: Vec<_> = (0..world.machines.len())
        .map(|i| {
            let now = world.time(i);
            let status = world.replica(i).status(now);
            let repos: Vec<_> = status
                .repos
                .iter()
                .map(|repo| {
                    let ends = repo.quarantined.clone();
                    (repo.stored.clone(), repo.applied.clone(), repo.digest, ends)
                })
                .collect();
            let at_rest = status.held == 0
                && status.failed.is_none()
                && status.on_their_way_bytes == 0
                && world.replica(i).remaking.is_none();
            (repos, at_rest)
        })
        .collect();
    all.iter().all(|one| one.1 && one.0 == all[0].0)
}

fn settle(world: &mut World) {
    world.run_until(60_000, agree);
    // Peace: nothing is said but the summaries of each tick.
    world.run(3_000);
    let counts = |world: &mut World| {
        let counters = (0..world.machines.len()).map(|i| world.replica(i).counters);
        counters.fold([0; 3], |[sent, ticks, wants], c| {
            [
                sent + c.messages_sent,
                ticks + c.ticks,
                wants + c.wants_sent,
            ]
        })
    };
    let before = counts(world);
    world.run(20_000);
    let after = counts(world);
    let [sent, ticks, wants] = [0, 1, 2].map(|i| after[i] - before[i]);
    assert_eq!(wants, 0, "asked in vain");
    assert!(sent <= 2 * ticks, "{sent} messages in {ticks} ticks");
    assert!(agree(world));
}

/// Everybody is opened again, a newcomer joins, and all go on saving.
fn go_on(world: &mut World) {
    let before = world.digests(RepoId::MAIN);
    for i in 0..world.machines.len() {
        world.crash(i);
        world.open(i);
    }
    assert_eq!(world.digests(RepoId::MAIN), before);
    let new = world.strangers_like(0);
    world.admit(0, new);
    world.connect_all();
    settle(world);
    for i in 0..=new {
        world.save_and_wait(i, &format!("add /later{i}\nset /later{i} x 1"));
    }
    settle(world);
    for i in 0..=new {
        for j in 0..=new {
            assert_eq!(
                world.get(j, &format!("/later{i}"), "x"),
                Some(Value::Int(1))
            );
        }
    }
    world.run(10_000);
    for machine in &world.machines {
        for repo in RepoId::ALL {
            let storage: Arc<dyn Storage> = machine.storage.clone();
            let found = verify(machine.config.cluster, repo, &storage, false).unwrap();
            assert_eq!(found.problems, Vec::<String>::new());
        }
        assert!(machine.closed.is_empty(), "{:?}", machine.closed);
        let defect = |alarm: &Alarm| matches!(alarm, Alarm::Digest { .. } | Alarm::Storage(_));
        assert!(!machine.alarms.iter().any(defect), "{:?}", machine.alarms);
    }
}

fn four_members(seed: u64) -> World {
    let mut world = World::members(4, seed);
    world.connect_all();
    world.converge(3_000);
    world.run(1_000);
    separate(&mut world);
    world
}

fn separate(world: &mut World) {
    for a in 0..world.machines.len() {
        for b in a + 1..world.machines.len() {
            world.disconnect(a, b);
        }
    }
}

/// Two branches after so many common change sets, so much longer than those. Machine 0 gets the
/// one, machine 1 the other, and both save on top.
fn check_fork(common: usize, one: usize, other: usize, all_sealed: bool) {
    let mut world = four_members(100);
    let stem = Branch::new(&world, 3, 1).grow(&world, "stem", common, all_sealed);
    let left = stem.clone().grow(&world, "left", one, all_sealed);
    let right = stem.grow(&world, "right", other, all_sealed);
    left.tell(&mut world, 0);
    right.tell(&mut world, 1);
    world.run(100);
    let origin = left.author.origin;
    let applied = world.applied(0, RepoId::MAIN)[&origin];
    assert_eq!(applied, Sequence((common + one) as u64));
    world.save_and_wait(0, "set /left0 x 1\nadd /zero\nset /zero x 1");
    world.save_and_wait(1, "set /right0 x 1\nadd /one\nset /one x 1");
    // Machine 2 hears of it by others, of the one first.
    world.connect(0, 2);
    world.run(2_500);
    world.connect(2, 1);
    world.connect(1, 3);
    settle(&mut world);
    for i in 0..4 {
        let applied = world.applied(i, RepoId::MAIN).get(&origin).copied();
        let expected = (common > 0).then_some(Sequence(common as u64));
        assert_eq!(applied, expected, "machine {i}");
        for saved in ["/zero", "/one"] {
            assert_eq!(world.get(i, saved, "x"), Some(Value::Int(1)));
        }
    }
    let alarms = &world.machines[2].alarms;
    assert!(
        alarms
            .iter()
            .any(|a| matches!(a, Alarm::Fork { sequence, .. }
        if *sequence == Sequence(common as u64 + 1)))
    );
    go_on(&mut world);
    let applied = world.applied(4, RepoId::MAIN).get(&origin).copied();
    assert_eq!(applied.unwrap_or_default(), Sequence(common as u64));
}

// M17
#[test]
fn an_origin_with_two_histories_ends_before_their_first_difference_everywhere() {
    for (common, one, other) in [(0, 1, 1), (3, 2, 2), (3, 1, 4), (4, 6, 1), (40, 30, 50)] {
        for all_sealed in [true, false] {
            check_fork(common, one, other, all_sealed);
        }
    }
}

// M17
#[test]
pub(super) fn of_three_histories_the_first_difference_counts_whoever_meets_whom_first() {
    for order in [[0, 1, 2], [1, 2, 0], [2, 0, 1]] {
        let mut world = four_members(101);
        let stem = Branch::new(&world, 3, 1).grow(&world, "stem", 2, true);
        let early = stem.clone().grow(&world, "early", 7, true);
        let late = stem.grow(&world, "late", 3, false);
        let branches = [
            early,
            late.clone().grow(&world, "left", 2, true),
            late.grow(&world, "right", 5, false),
        ];
        for (i, branch) in branches.iter().enumerate() {
            branch.tell(&mut world, i);
            world.save_and_wait(i, &format!("add /by{i}\nset /by{i} x 1"));
        }
        let [a, b, c] = order;
        world.connect(a, b);
        world.run(4_000);
        world.connect(b, c);
        world.connect(c, 3);
        settle(&mut world);
        for i in 0..4 {
            let applied = world.applied(i, RepoId::MAIN);
            assert_eq!(applied[&branches[0].author.origin], Sequence(2));
            assert_eq!(world.get(i, "/by2", "x"), Some(Value::Int(1)));
        }
        go_on(&mut world);
    }
}

// M2, M17
#[test]
fn what_looks_wrong_by_a_history_that_is_lost_is_not() {
    let mut world = four_members(103);
    let stem = Branch::new(&world, 3, 1).grow(&world, "stem", 1, true);
    let (mut fast, mut slow) = (stem.clone(), stem);
    let now = world.time(0);
    fast.add(now.plus_millis(450), "fast", true);
    slow.add(now.plus_millis(5), "slow", true);
    fast.tell(&mut world, 0);
    slow.tell(&mut world, 1);
    world.run(20);
    world.save_and_wait(1, "add /honest\nset /honest x 1");
    let origin = world.replica(1).origin();
    // Machine 0 gets that, and nothing of what it depends on.
    world.tap = Some(|from, to, message| match message {
        Message::Range { first, .. } if (from, to) == (1, 0) && first == Sequence(2) => None,
        Message::Ends { .. } | Message::Fork { .. } => None,
        other => Some(other),
    });
    world.connect(0, 1);
    world.run(200);
    let now = world.time(0);
    let status = world.replica(0).status(now);
    assert_eq!(status.repos[1].quarantined, [origin]);
    assert_eq!(status.held, 0);
    world.tap = None;
    world.connect(1, 2);
    world.connect(2, 3);
    settle(&mut world);
    assert_eq!(world.get(0, "/honest", "x"), Some(Value::Int(1)));
    let status = world.replica(0).status(now);
    assert_eq!(status.repos[1].quarantined, [fast.author.origin]);
    go_on(&mut world);
}

// M17
#[test]
fn a_proof_that_does_not_fit_one_message_goes_in_two() {
    let mut world = four_members(104);
    let stem = Branch::new(&world, 3, 1).grow(&world, "stem", 2, true);
    let large = |name: &str| {
        let mut branch = stem.clone();
        for n in 0..2 {
            let time = world.time(0).plus_millis(10 + n);
            let kib = if n == 0 { 400 } else { 900 };
            branch.add_large(time, name, kib << 10, n == 1);
        }
        branch
    };
    let (left, right) = (large("left"), large("right"));
    left.tell(&mut world, 0);
    right.tell(&mut world, 1);
    world.save_and_wait(0, "add /zero");
    // Machine 2 has nothing of either, and hears of the end first.
    world.connect(0, 1);
    world.run(5_000);
    world.connect(1, 2);
    world.connect(2, 3);
    settle(&mut world);
    let applied = world.applied(3, RepoId::MAIN);
    assert_eq!(applied[&left.author.origin], Sequence(2));
    go_on(&mut world);
}

// M17
#[test]
fn whether_an_origin_is_closed_does_not_depend_on_which_proof_came_first() {
    // The fork ends it after the second; its author says where it does, too.
    for (last, closes) in [(1, true), (2, true), (3, false)] {
        let found = [true, false].map(|statement_first| {
            let mut world = four_members(106);
            let stem = Branch::new(&world, 3, 1).grow(&world, "stem", 2, true);
            let left = stem.clone().grow(&world, "left", 2, true);
            let right = stem.grow(&world, "right", 2, true);
            let statement = statement_after(&world, 3, [1; 16], Sequence(last));
            left.tell(&mut world, 0);
            if statement_first {
                by_hand(&mut world, 0, told(&statement));
                world.run(200);
            }
            right.tell(&mut world, 0);
            world.run(200);
            if !statement_first {
                by_hand(&mut world, 0, told(&statement));
                world.run(200);
            }
            let origin = left.author.origin;
            let seen = |world: &mut World| {
                let status = world.replica(0).repo_status(RepoId::MAIN);
                let (closed, broken) = (status.closed, status.quarantined);
                (closed.contains(&origin), broken.contains(&origin))
            };
            let found = seen(&mut world);
            assert_eq!(found, (closes, !closes), "{last} {statement_first}");
            world.crash(0);
            world.open(0);
            assert_eq!(seen(&mut world), found, "{last} {statement_first}");
            world.applied(0, RepoId::MAIN)[&origin]
        });
        assert_eq!(found, [Sequence(last.min(2)); 2]);
    }
}

// M17
#[test]
fn what_proves_nothing_ends_the_connection_and_nothing_else() {
    let mut world = four_members(105);
    let branch = Branch::new(&world, 3, 1).grow(&world, "n", 4, true);
    let other = Branch::new(&world, 2, 1).grow(&world, "m", 4, true);
    branch.tell(&mut world, 0);
    let (repo, origin) = (RepoId::MAIN, branch.author.origin);
    let records: Vec<_> = (0..4)
        .map(|n| branch.author.record(&world, &branch.sets[n].0, true))
        .collect();
    let record = |n: usize| records[n].clone();
    let fork = |held: Vec<SealedBytes>, refused: Vec<SealedBytes>| Message::Fork {
        repo,
        origin,
        held,
        refused,
    };
    let mut changed = branch.sets[1].0.clone();
    changed.message = Some("invented".into());
    let mut forged = other.author.record(&world, &changed, true);
    let unsealed = branch.author.record(&world, &changed, false);
    let mut last = branch.sets[1].0.clone();
    last.sequence = Sequence(u64::MAX);
    let last = branch.author.record(&world, &last, true);
    let cases = [
        fork(vec![last.clone()], vec![last]),
        fork(vec![record(1)], Vec::new()),
        fork(vec![record(1)], vec![record(1)]),
        fork(vec![record(1)], vec![record(2)]),
        fork(vec![record(1)], vec![unsealed]),
        fork(vec![record(1)], vec![forged.clone()]),
        fork(
            vec![other.author.record(&world, &other.sets[1].0, true)],
            vec![record(1)],
        ),
        fork(vec![record(1)], {
            forged.body = vec![1, 2, 3].into();
            vec![forged]
        }),
    ];
    for (n, message) in cases.into_iter().enumerate() {
        by_hand(&mut world, 0, message);
        let closed = if n == 0 { 1 } else { n }; // the half one is none yet
        assert_eq!(world.machines[0].closed.len(), closed, "{n}");
    }
    // A second half without the first is not looked at.
    by_hand(&mut world, 0, fork_half(&branch, record(1)));
    let now = world.time(0);
    assert!(world.replica(0).status(now).repos[1].quarantined.is_empty());
    assert_eq!(world.applied(0, RepoId::MAIN)[&origin], Sequence(4));
}

fn fork_half(branch: &Branch, record: SealedBytes) -> Message {
    Message::Fork {
        repo: RepoId::MAIN,
        origin: branch.author.origin,
        held: Vec::new(),
        refused: vec![record],
    }
}

// M15
#[test]
fn an_origin_whose_ids_do_not_rise_ends_before_that_wherever_its_seals_are() {
    // The third one falls. Sealed are those whose bit is set, and the last.
    for seals in 0..32_u32 {
        let mut world = four_members(102);
        let mut branch = Branch::new(&world, 3, 1);
        let start = world.time(0);
        for n in 0..6_u64 {
            let time = if n == 3 { 1 } else { n };
            let sealed = n == 5 || seals & (1 << n) != 0;
            branch.add(start.plus_millis(time), &format!("n{n}"), sealed);
        }
        let mut whole = branch.clone();
        whole.sets.truncate(3);
        whole.sets[2].1 = true;
        // Machine 0 gets all of it at once, machine 1 the good part, machine 2 all in pieces.
        branch.tell(&mut world, 0);
        whole.tell(&mut world, 1);
        join_by_hand(&mut world, 2, 3);
        let mut after = 0;
        for to in 1..=6 {
            if branch.sets[to - 1].1 {
                let message = branch.range(&world, after, to);
                speak(&mut world, 2, message);
                after = to;
            }
        }
        let now = world.time(2);
        world.replica(2).disconnected(now, BY_HAND);
        for i in 0..3 {
            world.save_and_wait(i, &format!("add /by{i}"));
        }
        world.connect(0, 1);
        world.connect(1, 2);
        world.connect(2, 3);
        settle(&mut world);
        for i in 0..4 {
            let applied = world.applied(i, RepoId::MAIN)[&branch.author.origin];
            assert_eq!(applied, Sequence(3), "machine {i}, seals {seals:b}");
        }
        if seals % 8 == 5 {
            go_on(&mut world);
        }
    }
}

// M15, M17
#[test]
fn whatever_hostile_chains_come_to_whom_the_honest_agree() {
    let seeds = std::env::var("LEVERET_ENDS_SEEDS").map_or(25, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        check_random(seed);
    }
}

/// Branches at random, told to some at random, among saves, restarts and bad weather.
fn check_random(seed: u64) {
    let mut world = four_members(1_000 + seed);
    let mut branches: Vec<Branch> = Vec::new();
    for nonce in 1..=2 {
        let start = world.time(0);
        let mut family = vec![Branch::new(&world, 3, nonce)];
        for b in 0..2 + world.random(3) {
            let mut branch = family[world.random(family.len())].clone();
            let keep = world.random(branch.sets.len() + 1);
            branch = branch.cut_back(&world, nonce, keep);
            for n in 0..1 + world.random(12) {
                let mut at = 5 * branch.sets.len() as u64 + world.random(5) as u64;
                if world.random(15) == 0 {
                    at = at.saturating_sub(5);
                }
                let sealed = world.random(3) == 0;
                let name = format!("o{nonce}b{b}n{n}");
                branch.add(start.plus_millis(at), &name, sealed);
            }
            branch.sets.last_mut().unwrap().1 = true;
            family.push(branch);
        }
        branches.extend(family.drain(1..));
    }
    world.weather = Weather {
        lost: 50,
        doubled: 50,
        jitter_ms: 30,
    };
    for n in 0..40 {
        let i = world.random(4);
        match world.random(6) {
            0 => {
                let branch = branches[world.random(branches.len())].clone();
                branch.tell(&mut world, i);
            }
            1 => {
                // A part of it, perhaps after a gap.
                let branch = branches[world.random(branches.len())].clone();
                let sealed = |to: &usize| branch.sets[to - 1].1;
                let ends: Vec<_> = (1..=branch.sets.len()).filter(sealed).collect();
                let to = ends[world.random(ends.len())];
                let after = world.random(to);
                let message = branch.range(&world, after, to);
                by_hand(&mut world, i, message);
            }
            2 if world.random(4) == 0 => {
                let branch = branches[world.random(branches.len())].clone();
                let at = world.random(branch.sets.len());
                let message = branch.invented(&world, at, n);
                by_hand(&mut world, i, message);
            }
            // One that has stopped to be opened again takes none.
            2 => drop(world.try_save(i, &format!("add_unique /s{n}"))),
            3 => {
                let j = world.random(4);
                if i != j {
                    world.disconnect(i, j);
                    world.connect(i, j);
                }
            }
            4 => separate(&mut world),
            _ => {
                world.crash(i);
                world.open(i);
            }
        }
        let pause = world.random(400) as u64;
        world.run(pause);
    }
    world.weather = Weather::default();
    separate(&mut world);
    world.connect_all();
    settle(&mut world);
    go_on(&mut world);
}
