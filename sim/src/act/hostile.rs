//! What a hostile member does to those it is connected to.

use leveret::codec::message::{self, Message, SealedBytes};
use leveret::model::{OriginId, RepoId, Sequence, Time};

use crate::chance::Chance;
use crate::plan::Kind;
use crate::world::World;

/// Messages of one flood.
const FLOOD: u64 = 1_500;
/// How far back the times of two histories of one origin go, in milliseconds.
const PAST_MS: u64 = 5_000;
/// A year, in milliseconds.
const YEAR_MS: u64 = 365 * 86_400_000;

/// Does it, if it is connected to anybody.
pub(super) fn strike(world: &mut World, me: usize, kind: Kind, chance: &mut Chance) {
    if world.connections_of(me).is_empty() {
        return;
    }
    let done = match kind {
        Kind::CutFrame | Kind::AlteredFrame => broken_frames(world, me, kind, chance),
        Kind::Gap => gap(world, me, chance),
        Kind::ForgedAuthor => forged(world, me, chance),
        Kind::Equivocation => equivocation(world, me, chance),
        Kind::Flood => flood(world, me, chance),
        Kind::FallingIds => falling(world, me, chance),
        _ => far_ahead(world, me, chance),
    };
    if done {
        world.tally.meet(kind);
    }
}

/// Sends what it has overheard, cut short or with some bits turned.
fn broken_frames(world: &mut World, me: usize, kind: Kind, chance: &mut Chance) -> bool {
    let Some(hostile) = &world.machines[me].hostile else {
        return false;
    };
    let frames: Vec<Vec<u8>> = hostile.overheard().iter().cloned().collect();
    if frames.is_empty() {
        return false;
    }
    for _ in 0..chance.within(1, 8) {
        let mut frame = chance.one_of(&frames).clone();
        if kind == Kind::CutFrame {
            frame.truncate(chance.index(frame.len().max(1)));
        } else {
            for _ in 0..chance.within(1, 3) {
                let at = chance.index(frame.len().max(1));
                if let Some(byte) = frame.get_mut(at) {
                    *byte ^= 1 << chance.below(8);
                }
            }
        }
        let whom = chance.index(8);
        world.shout(me, &frame, |i| i % 8 == whom || i == 0);
    }
    true
}

/// A name for a node that nobody else uses.
fn name(world: &mut World, me: usize) -> String {
    let Some(hostile) = &mut world.machines[me].hostile else {
        return "nobody".into();
    };
    hostile.written += 1;
    format!("hostile{}", hostile.written)
}

/// A chain of which the first ones never come, or come last.
fn gap(world: &mut World, me: usize, chance: &mut Chance) -> bool {
    let mut chain = world.hostile_chain(me, chance.bytes());
    let now = world.clock(me);
    let records: Vec<SealedBytes> = (0..4)
        .map(|_| {
            let name = name(world, me);
            chain.write(now, &name, false)
        })
        .collect();
    let late = chain.range(3, records[2..].to_vec());
    world.shout(me, &late, |_| true);
    if chance.permille(500) {
        let early = chain.range(1, records[..2].to_vec());
        world.shout(me, &early, |_| true);
        world.shout(me, &late, |_| true);
    }
    true
}

/// What others have written, altered or under its own seal.
fn forged(world: &mut World, me: usize, chance: &mut Chance) -> bool {
    let Some(hostile) = &world.machines[me].hostile else {
        return false;
    };
    let ranges: Vec<Message> = hostile
        .overheard()
        .iter()
        .filter_map(|frame| message::decode(frame).ok())
        .filter(|message| matches!(message, Message::Range { records, .. } if !records.is_empty()))
        .collect();
    if ranges.is_empty() {
        return false;
    }
    let Message::Range {
        repo,
        origin,
        first,
        mut records,
        ..
    } = chance.one_of(&ranges).clone()
    else {
        return false;
    };
    // A seal of its own on a chain of somebody else, or a body that the seal does not cover.
    let mut own = world.hostile_chain(me, chance.bytes());
    let now = world.clock(me);
    let name = name(world, me);
    let mine = own.write(now, &name, false);
    let at = chance.index(records.len());
    if chance.permille(500) {
        records[at].seal = mine.seal;
    } else {
        records[at].body = mine.body;
    }
    let first = Sequence(first.0 + chance.below(2) * records.len() as u64);
    let frame = message::encode(&Message::Range {
        repo,
        origin,
        first,
        records,
        more: false,
    });
    world.shout(me, &frame, |_| true);
    true
}

/// Two histories under one origin, of which each of two groups gets another one: in one the same
/// ids stand for other contents, or the same numbers for other ids.
fn equivocation(world: &mut World, me: usize, chance: &mut Chance) -> bool {
    let mut trunk = world.hostile_chain(me, chance.bytes());
    let now = world.clock(me);
    let begun = Time::from_unix_millis(now.unix_millis().saturating_sub(PAST_MS));
    let common = chance.within(0, 3);
    let other_ids = chance.permille(500);
    let mut prefix = Vec::new();
    for _ in 0..common {
        let name = name(world, me);
        prefix.push(trunk.write(begun, &name, false));
    }
    let mut frames = Vec::new();
    for branch in 0..2 {
        let at = match other_ids {
            true => begun.plus_millis(1 + branch * (1 + chance.below(PAST_MS - 2))),
            false => begun,
        };
        let mut branch = trunk.clone();
        let mut records = prefix.clone();
        for _ in 0..chance.within(1, 4) {
            let name = name(world, me);
            records.push(branch.write(at, &name, false));
        }
        frames.push(branch.range(1, records));
    }
    let parity = chance.index(2);
    for (branch, frame) in frames.iter().enumerate() {
        world.shout(me, frame, |i| (i + branch) % 2 == parity);
    }
    let heard = world.connections_of(me).len() > 1;
    if heard {
        world.tally.mark(match other_ids {
            true => "equivocation with two ids",
            false => "equivocation with one id",
        });
    }
    heard
}

/// More messages than anybody asked for.
fn flood(world: &mut World, me: usize, chance: &mut Chance) -> bool {
    let repo = RepoId::MAIN;
    for _ in 0..FLOOD {
        let origin = OriginId(chance.bytes());
        let sequence = Sequence(chance.below(1 << 40));
        let heads = vec![(origin, sequence)];
        let message = match chance.below(5) {
            0 => Message::Want {
                repo,
                origin,
                after: sequence,
            },
            1 => Message::Have { repo, heads },
            2 => Message::Heads {
                repo,
                heads,
                reply: true,
                hash: chance.bytes(),
            },
            3 => Message::Summary {
                repo,
                heads_hash: chance.bytes(),
                applied_hash: chance.bytes(),
                digest: chance.bytes(),
            },
            _ => Message::Range {
                repo,
                origin,
                first: sequence,
                records: Vec::new(),
                more: true,
            },
        };
        let frame = message::encode(&message);
        world.shout(me, &frame, |i| i == 0);
    }
    true
}

/// Change sets of times far ahead, or at the end of time.
fn far_ahead(world: &mut World, me: usize, chance: &mut Chance) -> bool {
    let now = world.clock(me);
    let time = match chance.permille(500) {
        true => now.plus_millis(YEAR_MS),
        false => Time(u64::MAX - 8),
    };
    let times = [now, time, time, time];
    let mut chain = world.hostile_chain(me, chance.bytes());
    let records = times
        .into_iter()
        .map(|at| {
            let name = name(world, me);
            chain.write(at, &name, false)
        })
        .collect();
    let frame = chain.range(1, records);
    world.shout(me, &frame, |_| true);
    true
}

/// A chain of which one has an id below that of the one before it.
fn falling(world: &mut World, me: usize, chance: &mut Chance) -> bool {
    let now = world.clock(me);
    let mut chain = world.hostile_chain(me, chance.bytes());
    let falls = chance.within(1, 3);
    let records = (0..4)
        .map(|n| {
            let name = name(world, me);
            chain.write(now, &name, n == falls)
        })
        .collect();
    let frame = chain.range(1, records);
    world.shout(me, &frame, |_| true);
    true
}
