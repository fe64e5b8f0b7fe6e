//! Chains written by hand, as their author should not have.

use super::super::held::{Author, BY_HAND, join_by_hand, speak};
use super::super::world::World;
use crate::codec::message::SealedBytes;
use crate::model::{ChangeSet, NodeId, Operation, PropertyName, RepoId, Sequence, Time, Value};
use crate::replica::Message;

/// A chain written by hand, and which of its change sets are sealed.
#[derive(Clone)]
pub(super) struct Branch {
    pub(super) author: Author,
    pub(super) sets: Vec<(ChangeSet, bool)>,
}

impl Branch {
    pub(super) fn new(world: &World, i: usize, nonce: u8) -> Self {
        Self {
            author: Author::of(world, i, nonce),
            sets: Vec::new(),
        }
    }

    /// The first so many of it, to go on differently.
    pub(super) fn cut_back(&self, world: &World, nonce: u8, keep: usize) -> Self {
        let mut cut = Self::new(world, 3, nonce);
        for (set, sealed) in &self.sets[..keep] {
            cut.author.go_on_after(set);
            cut.sets.push((set.clone(), *sealed));
        }
        cut
    }

    pub(super) fn add(&mut self, time: Time, name: &str, sealed: bool) {
        let set = self.author.write(time, name, Vec::new());
        self.sets.push((set, sealed));
    }

    /// One of about so many bytes.
    pub(super) fn add_large(&mut self, time: Time, name: &str, bytes: usize, sealed: bool) {
        let mut set = self.author.write(time, name, Vec::new());
        let value = Value::from("x".repeat(bytes / 4));
        for n in 0..4 {
            set.operations.push(Operation::Set {
                node: NodeId::ROOT,
                property: PropertyName::new(&format!("p{n}")).unwrap(),
                value: value.clone(),
            });
        }
        self.author.go_on_after(&set);
        self.sets.push((set, sealed));
    }

    /// So many more, named alike, a millisecond apart, all or only the last of them sealed.
    pub(super) fn grow(
        mut self,
        world: &World,
        name: &str,
        count: usize,
        all_sealed: bool,
    ) -> Self {
        for n in 0..count {
            let time = world.time(0).plus_millis(self.sets.len() as u64);
            let name = format!("{name}{n}");
            self.add(time, &name, all_sealed || n + 1 == count);
        }
        self
    }

    /// A range from the number after `after` up to `to`.
    pub(super) fn range(&self, world: &World, after: usize, to: usize) -> Message {
        let records: Vec<SealedBytes> = self.sets[after..to]
            .iter()
            .map(|(set, sealed)| self.author.record(world, set, *sealed))
            .collect();
        Message::Range {
            repo: RepoId::MAIN,
            origin: self.author.origin,
            first: Sequence(after as u64 + 1),
            records,
            more: false,
        }
    }

    /// Brings all of it to a machine.
    pub(super) fn tell(&self, world: &mut World, i: usize) {
        let message = self.range(world, 0, self.sets.len());
        by_hand(world, i, message);
    }

    /// The proof of a fork in a history that nobody has.
    pub(super) fn invented(&self, world: &World, at: usize, n: usize) -> Message {
        let mut set = self.sets[at].0.clone();
        if at > 0 {
            set.previous.0[0] ^= 1;
        }
        let [held, refused] = ["one", "other"].map(|text| {
            set.message = Some(format!("{text} {n}").into());
            vec![self.author.record(world, &set, true)]
        });
        Message::Fork {
            repo: RepoId::MAIN,
            origin: self.author.origin,
            held,
            refused,
        }
    }
}

pub(super) fn by_hand(world: &mut World, i: usize, message: Message) {
    join_by_hand(world, i, 3);
    speak(world, i, message);
    let now = world.time(i);
    world.replica(i).disconnected(now, BY_HAND);
    world.run(20);
}
