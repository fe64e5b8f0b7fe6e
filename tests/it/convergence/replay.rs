//! Replays a history on merge engines, and compares each with the model after every merge.
//!
//! First as it happened: every author receives what the history says, in other orders and
//! portions, some of it twice, with restarts in between, while checkpoints are on their way to the
//! store and while somebody holds an older snapshot. Then everybody receives everything, a
//! newcomer all of it in any order, and another in one batch; and the state records of all must be
//! the same, the hidden ones too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use leveret::codec::state_key;
use leveret::merge::Merged;
use leveret::model::{ChangeSet, RepoId};
use leveret::storage::Storage;
use leveret_sim::observation::Observation;
use merge_spec::random::{AUTHORS, Event, History};
use merge_spec::{Origin, SetId};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use super::invariants;
use super::model::{Known, Model};
use super::peer::{Peer, Store};

/// One in so many histories runs on sled.
const SLED_EVERY: u64 = 64;

/// What a replay came to.
#[derive(Default)]
pub(crate) struct Replayed {
    /// Merges, after each of which engine and model were compared.
    pub(crate) merges: u64,
    /// Times a state was opened again from its store.
    pub(crate) restarts: u64,
    /// Whether some of it ran on sled.
    pub(crate) sled: bool,
    /// How often each branch of each rule fired, in the fold of everything.
    pub(crate) fired: BTreeMap<&'static str, u64>,
}

/// Replays a history; `seed` decides on all that the history leaves open.
///
/// # Errors
/// The first difference between the engine and the model, or the first invariant that is broken.
pub(crate) fn replay(history: &History, seed: u64) -> Result<Replayed, String> {
    Model::new(history).replay(seed)
}

struct Trial<'m, 'h> {
    model: &'m mut Model<'h>,
    rng: ChaCha8Rng,
    peers: Vec<Peer>,
    replayed: Replayed,
}

impl Model<'_> {
    /// As [`replay`].
    pub(crate) fn replay(&mut self, seed: u64) -> Result<Replayed, String> {
        let mut trial = Trial::new(self, seed);
        trial.as_it_happened()?;
        trial.all_of_it()?;
        let all = (1 << trial.model.sets.len()) - 1;
        let known = trial.model.known(all);
        invariants::check(&trial.model.history.case.change_sets, &known.fold)?;
        trial.without_the_voided(&known)?;
        trial.replayed.fired = known.fold.fired().clone();
        Ok(trial.replayed)
    }
}

impl<'m, 'h> Trial<'m, 'h> {
    fn new(model: &'m mut Model<'h>, seed: u64) -> Self {
        let sled = seed.is_multiple_of(SLED_EVERY);
        let peers = (0..AUTHORS).map(|author| match sled && author == 0 {
            true => Peer::new(Store::Sled(TempDir::new().unwrap())),
            false => Peer::in_memory(),
        });
        Self {
            peers: peers.collect(),
            model,
            rng: ChaCha8Rng::seed_from_u64(seed),
            replayed: Replayed {
                sled,
                ..Replayed::default()
            },
        }
    }

    /// The authors save and receive as the history says.
    fn as_it_happened(&mut self) -> Result<(), String> {
        for author in 0..AUTHORS {
            self.receive(author, &[0])?;
        }
        let authors: BTreeMap<Origin, usize> = ["A", "B", "C", "D"]
            .iter()
            .enumerate()
            .map(|(i, word)| (Origin::from_word(word).unwrap(), i))
            .collect();
        let history = self.model.history;
        for event in &history.events {
            match event {
                Event::Saved(id) => {
                    let set = self.model.index[id];
                    self.receive(authors[&id.origin], &[set])?;
                }
                Event::Delivered { to, sets } => {
                    let sets: Vec<usize> = sets.iter().map(|id| self.model.index[id]).collect();
                    self.deliver(authors[to], sets)?;
                }
            }
        }
        Ok(())
    }

    /// Everybody receives everything, and two newcomers do.
    fn all_of_it(&mut self) -> Result<(), String> {
        self.peers.push(Peer::in_memory());
        self.peers.push(Peer::in_memory());
        let all: Vec<usize> = (0..self.model.sets.len()).collect();
        let in_one_batch = self.peers.len() - 1;
        for peer in 0..in_one_batch {
            self.deliver(peer, all.clone())?;
        }
        self.receive(in_one_batch, &all)?;
        for peer in 0..self.peers.len() {
            let held = self.peers[peer].receiver.held().count();
            if held > 0 {
                return Err(format!("{held} change sets never became ready"));
            }
            if self.peers[peer].applied != self.peers[in_one_batch].applied {
                return Err("not everybody has everything".into());
            }
        }
        self.compare_records()
    }

    /// Hands change sets to a peer in any order and portions, some of them twice.
    fn deliver(&mut self, to: usize, mut sets: Vec<usize>) -> Result<(), String> {
        if self.rng.random_bool(0.5) {
            sets.shuffle(&mut self.rng);
        }
        let mut rest = &sets[..];
        while !rest.is_empty() {
            let most = if self.rng.random_bool(0.5) {
                rest.len()
            } else {
                4.min(rest.len())
            };
            let (now, later) = rest.split_at(self.rng.random_range(1..=most));
            rest = later;
            self.receive(to, now)?;
            if self.rng.random_bool(0.2) {
                // What has been there before, or waits already.
                let again = sets[self.rng.random_range(0..sets.len() - rest.len())];
                self.receive(to, &[again])?;
            }
            if self.rng.random_bool(0.3) {
                self.peers[to].checkpoint();
            }
            if self.rng.random_bool(0.2) {
                self.hold(to)?;
            }
            if self.rng.random_bool(0.08) {
                self.restart(to)?;
            }
        }
        Ok(())
    }

    /// Somebody takes a snapshot, and looks at the one that he held.
    fn hold(&mut self, peer: usize) -> Result<(), String> {
        let peer = &mut self.peers[peer];
        let now = (peer.receiver.engine.snapshot(), peer.applied);
        let Some((snapshot, applied)) = peer.held.replace(now) else {
            return Ok(());
        };
        self.model
            .compare(&snapshot, applied, None)
            .map_err(|what| format!("an older snapshot: {what}"))
    }

    fn restart(&mut self, peer: usize) -> Result<(), String> {
        self.replayed.restarts += 1;
        self.peers[peer].restart();
        self.compare(peer)
    }

    /// A peer receives change sets, and merges what is ready: at once, or one by one.
    fn receive(&mut self, to: usize, sets: &[usize]) -> Result<(), String> {
        let one_by_one = self.rng.random_bool(0.3);
        let peer = &mut self.peers[to];
        let was = (peer.applied, peer.receiver.held().count());
        for set in sets {
            peer.receiver.receive(&self.model.sets[*set]);
        }
        let new = sets.iter().any(|set| was.0 & (1 << set) == 0);
        loop {
            let receiver = &mut self.peers[to].receiver;
            let merged = match one_by_one {
                true => receiver.merge_one(),
                false => receiver.merge_ready(),
            };
            match merged {
                Some(merged) if new => self.merged(to, &merged)?,
                Some(_) => return Err("what had come before was merged again".into()),
                None => return Ok(()),
            }
        }
    }

    fn merged(&mut self, peer: usize, merged: &Merged) -> Result<(), String> {
        self.replayed.merges += 1;
        let told = &mut self.peers[peer];
        told.mirror.apply(&merged.changes, &merged.snapshot)?;
        let before = told.applied;
        let ids = told.receiver.applied().iter().map(|set| SetId {
            time: set.id.time.0,
            origin: Origin(set.id.origin.0),
        });
        told.applied = ids.fold(0, |bits, id| bits | 1 << self.model.index[&id]);
        let after = told.applied;
        self.told_of_voiding(before, after, merged)?;
        self.compare(peer)
    }

    /// Authors are told of their sets that are voided now, or no more.
    fn told_of_voiding(
        &mut self,
        before: u128,
        after: u128,
        merged: &Merged,
    ) -> Result<(), String> {
        let old = match before {
            0 => BTreeSet::new(),
            _ => self.model.known(before).fold.voided().clone(),
        };
        let known = self.model.known(after);
        let new = known.fold.voided();
        let expected: BTreeSet<(SetId, bool)> = new
            .difference(&old)
            .map(|id| (*id, true))
            .chain(old.difference(new).map(|id| (*id, false)))
            .collect();
        let told: Vec<(SetId, bool)> = merged
            .voided
            .iter()
            .map(|(id, voided)| {
                let origin = Origin(id.origin.0);
                let time = id.time.0;
                (SetId { time, origin }, *voided)
            })
            .collect();
        if told.iter().copied().collect::<BTreeSet<_>>() != expected || told.len() != expected.len()
        {
            return Err(format!("voided: told {told:?} instead of {expected:?}"));
        }
        Ok(())
    }

    fn compare(&mut self, peer: usize) -> Result<(), String> {
        let snapshot = self.peers[peer].receiver.engine.snapshot();
        let Peer {
            mirror, applied, ..
        } = &self.peers[peer];
        self.model.compare(&snapshot, *applied, Some(mirror))
    }

    /// Compares what all peers have in their stores.
    fn compare_records(&mut self) -> Result<(), String> {
        let mut first: Option<Rows> = None;
        for peer in &mut self.peers {
            peer.restart();
            let storage = match &peer.store {
                Store::Memory(storage) => storage.clone(),
                Store::Sled(_) => continue,
            };
            let rows = rows(storage.as_ref());
            let expected = first.get_or_insert_with(|| rows.clone());
            let keys: BTreeSet<_> = rows.keys().chain(expected.keys()).collect();
            for key in keys {
                if rows.get(key) != expected.get(key) {
                    let hex: String = key[2..].iter().map(|byte| format!("{byte:02x}")).collect();
                    let table = char::from(key[0]);
                    return Err(format!("records: {table} {hex} differs between two peers"));
                }
            }
        }
        Ok(())
    }

    /// A voided set leaves no trace but that it is voided: all is as if it had no operations.
    fn without_the_voided(&mut self, known: &Known) -> Result<(), String> {
        let voided = known.fold.voided();
        if voided.is_empty() {
            return Ok(());
        }
        let mut peer = Peer::in_memory();
        for (id, i) in &self.model.index {
            let mut set = ChangeSet::clone(&self.model.sets[*i]);
            if voided.contains(id) {
                set.operations.clear();
            }
            peer.receiver.receive(&Arc::new(set));
        }
        let merged = peer.receiver.merge_ready().ok_or("nothing is ready")?;
        let mut found = Observation::of_engine(&merged.snapshot, known.nodes.iter().copied());
        // The voiding itself is told, and is in the digest.
        found.digest = known.model.digest;
        let mut model = known.model.clone();
        model
            .conflicts
            .retain(|conflict| conflict.kind.as_str() != "voided");
        // Nodes that only a voided set made are not known to anybody.
        found.trashed.clone_from(&model.trashed);
        let difference = found.first_difference(&model);
        difference.map_or(Ok(()), |what| {
            Err(format!("without the voided sets: {what}"))
        })
    }
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The state records that follow from the change sets alone: not how properties are laid out, what
/// looked at what, and the counters.
fn rows(storage: &dyn Storage) -> Rows {
    let mut rows = Rows::new();
    for table in state_key::TABLES {
        if b"nphtsm".contains(table) {
            continue;
        }
        let from = [*table, RepoId::MAIN.0];
        let to = state_key::after_prefix(&from);
        rows.extend(storage.scan(&from, &to, usize::MAX).unwrap());
    }
    rows
}

/// Sums up what replays came to.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) histories: u64,
    pub(crate) sled: u64,
    pub(crate) merges: u64,
    pub(crate) restarts: u64,
    pub(crate) fired: BTreeMap<&'static str, u64>,
}

impl Totals {
    pub(crate) fn add(&mut self, replayed: &Replayed) {
        self.histories += 1;
        self.sled += u64::from(replayed.sled);
        self.merges += replayed.merges;
        self.restarts += replayed.restarts;
        for (rule, times) in &replayed.fired {
            *self.fired.entry(rule).or_default() += times;
        }
    }
}
