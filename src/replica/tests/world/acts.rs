//! What tests do in the world, and what they see of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{World, identity};
use crate::merge::{Draft, ReadTree, StateDigest};
use crate::model::script::{parse_line, parse_script};
use crate::model::{NodePath, OriginId, PropertyName, PublicKey, RepoId, Sequence, Value};
use crate::replica::{Durability, Receipt, SaveError, Ticket};
use crate::storage::memory::MemoryStorage;

impl World {
    pub(in crate::replica) fn admit(&mut self, by: usize, whom: usize) {
        let (now, key) = (self.time(by), self.key(whom));
        let name = format!("m{whom}");
        let ticket = self.replica(by).admit(now, key, &name, &[]).unwrap();
        self.drain(by);
        self.run(20);
        if let Some(ticket) = ticket {
            assert!(self.machines[by].saved.contains_key(&ticket));
        }
    }

    /// Saves operation lines in `main`, on the state published last.
    pub(in crate::replica) fn try_save(
        &mut self,
        i: usize,
        lines: &str,
    ) -> Result<Ticket, SaveError> {
        let replica = self.replica(i);
        let mut draft = Draft::new(replica.state(RepoId::MAIN).snapshot(), replica.origin());
        for save in parse_script(lines).unwrap() {
            for (_, operation) in save.operations {
                draft.apply(&operation).unwrap();
            }
        }
        draft.overwrite(true);
        self.save_draft(i, &draft)
    }

    pub(in crate::replica) fn save_draft(
        &mut self,
        i: usize,
        draft: &Draft,
    ) -> Result<Ticket, SaveError> {
        let now = self.time(i);
        let ticket = self.replica(i).save(now, draft);
        self.drain(i);
        ticket
    }

    pub(in crate::replica) fn save(&mut self, i: usize, lines: &str) -> Ticket {
        self.try_save(i, lines).unwrap()
    }

    /// Saves, and lets time pass until it is done.
    pub(in crate::replica) fn save_and_wait(&mut self, i: usize, lines: &str) -> Receipt {
        let ticket = self.save(i, lines);
        self.run_until(1_000, |world| world.machines[i].saved.contains_key(&ticket));
        self.machines[i].saved[&ticket].clone()
    }

    pub(in crate::replica) fn get(
        &mut self,
        i: usize,
        path: &str,
        property: &str,
    ) -> Option<Value> {
        let snapshot = self.replica(i).state(RepoId::MAIN).snapshot();
        let node = snapshot
            .resolve(&path.parse::<NodePath>().unwrap())
            .unwrap()?;
        let property = PropertyName::new(property).unwrap();
        snapshot.property(node, &property).unwrap()
    }

    pub(in crate::replica) fn applied(
        &mut self,
        i: usize,
        repo: RepoId,
    ) -> BTreeMap<OriginId, Sequence> {
        let snapshot = self.replica(i).state(repo).snapshot();
        let heads = snapshot.heads().iter();
        heads
            .map(|(origin, head)| (*origin, head.sequence))
            .collect()
    }

    pub(in crate::replica) fn digests(&mut self, repo: RepoId) -> Vec<StateDigest> {
        (0..self.machines.len())
            .map(|i| self.replica(i).state(repo).snapshot().digest())
            .collect()
    }

    pub(in crate::replica) fn is_converged(&mut self) -> bool {
        if (0..self.machines.len()).any(|i| self.replica(i).on_their_way() > 0) {
            return false;
        }
        RepoId::ALL.into_iter().all(|repo| {
            let heads: Vec<_> = (0..self.machines.len())
                .map(|i| self.applied(i, repo))
                .collect();
            let same = heads.iter().all(|others| *others == heads[0]);
            if same {
                let digests = self.digests(repo);
                assert!(
                    digests.iter().all(|digest| *digest == digests[0]),
                    "equal heads, unequal digests"
                );
            }
            same
        })
    }

    pub(in crate::replica) fn converge(&mut self, within_ms: u64) {
        self.run_until(within_ms, World::is_converged);
    }

    /// Sets a clock, so many milliseconds ahead; what the replica does at once, as its driver has it.
    pub(in crate::replica) fn set_clock(&mut self, i: usize, ahead_ms: i64) {
        self.machines[i].clock_ms = ahead_ms;
        let now = self.time(i);
        if self.replica(i).is_due(now) {
            self.replica(i).handle_timeout(now);
            self.drain(i);
        }
    }

    pub(in crate::replica) fn relaxed(&mut self, i: usize) {
        self.machines[i].config.durability = Durability::Relaxed;
        let storage = Arc::new(self.machines[i].storage.crash());
        self.machines[i].storage = storage;
        self.open(i);
    }

    /// One more machine, configured like machine `i`, with a key of its own and no member.
    pub(in crate::replica) fn strangers_like(&mut self, i: usize) -> usize {
        let new = self.machines.len();
        let mut config = self.machines[i].config.clone();
        config.name = format!("m{new}");
        config.addresses = Vec::new();
        self.add_machine(config, identity(new), Arc::new(MemoryStorage::new()))
    }

    /// Takes a member's record out of `system`.
    pub(in crate::replica) fn remove_member(&mut self, i: usize, key: PublicKey) {
        let replica = self.replica(i);
        let mut draft = Draft::new(replica.state(RepoId::SYSTEM).latest(), replica.origin());
        let line = format!("remove /members/{key}");
        draft.apply(&parse_line(&line).unwrap()).unwrap();
        self.save_draft(i, &draft).unwrap();
        self.run(20);
    }

    pub(in crate::replica) fn held(&mut self, i: usize) -> u64 {
        let now = self.time(i);
        self.replica(i).status(now).held
    }
}
