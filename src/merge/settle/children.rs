//! The indexes of children: present ones by effective key and by name, former ones, and names that
//! several have.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Settling, Standing};
use crate::codec::record::{ChildEntry, NodeRecord, Record};
use crate::codec::state_key as key;
use crate::merge::fault::{Fault, on};
use crate::merge::view::{ReadError, View};
use crate::model::order::effective_key;
use crate::model::{NodeId, NodeName};

impl Settling<'_, '_> {
    /// The indexes of children, present and former.
    pub(super) fn index_place(&mut self) -> Result<(), ReadError> {
        let (before, after) = (Standing::of(self.before), Standing::of(self.after));
        if before != after {
            if let Some(standing) = &before {
                self.leave(standing)?;
            }
            if let Some(standing) = &after {
                self.enter(standing)?;
            }
        }
        if (&self.before.parents, &self.before.names) != (&self.after.parents, &self.after.names) {
            let repo = self.overlay.repo();
            let (old, new) = (former_places(self.before), former_places(self.after));
            for (parent, name) in old.difference(&new) {
                let key = key::former_child(repo, *parent, name, self.id);
                self.overlay.remove_known(key, Record::Mark);
            }
            for (parent, name) in new.difference(&old) {
                let key = key::former_child(repo, *parent, name, self.id);
                self.overlay.put_over(key, None, Record::Mark);
            }
        }
        Ok(())
    }

    fn leave(&mut self, standing: &Standing) -> Result<(), ReadError> {
        let repo = self.overlay.repo();
        let plain = effective_key(None, &standing.name);
        let key = key::child(repo, standing.parent, &standing.effective, self.id);
        self.overlay.remove_known(key, entry(standing, false));
        if plain != standing.effective && !on(Fault::OrderedUnnamed) {
            let key = key::child(repo, standing.parent, &plain, self.id);
            self.overlay.remove_known(key, entry(standing, true));
        }
        let clash = key::clash(repo, standing.parent, &standing.name);
        if standing.parent == NodeId::TRASH || self.overlay.get(&clash)?.is_none() {
            debug_assert_eq!(self.namesakes(standing)?, 0, "who clashes is noted");
            return Ok(());
        }
        self.counters.clashes = self.counters.clashes.saturating_sub(1);
        if self.namesakes(standing)? == 1 {
            self.overlay.remove(clash);
        }
        Ok(())
    }

    fn enter(&mut self, standing: &Standing) -> Result<(), ReadError> {
        let repo = self.overlay.repo();
        let others = self.namesakes(standing)?;
        if others > 0 {
            self.counters.clashes += 1;
            self.counters.clashes_met += 1;
        }
        if others == 1 {
            let key = key::clash(repo, standing.parent, &standing.name);
            self.overlay.put(key, Record::Mark);
        }
        let plain = effective_key(None, &standing.name);
        if plain != standing.effective && !on(Fault::OrderedUnnamed) {
            let key = key::child(repo, standing.parent, &plain, self.id);
            self.overlay.put_over(key, None, entry(standing, true));
        }
        let key = key::child(repo, standing.parent, &standing.effective, self.id);
        self.overlay.put_over(key, None, entry(standing, false));
        Ok(())
    }

    /// How many other children of the same parent have the same name: none, one, or more.
    fn namesakes(&self, standing: &Standing) -> Result<usize, ReadError> {
        if standing.parent == NodeId::TRASH {
            return Ok(0);
        }
        let plain = effective_key(None, &standing.name);
        let mut from = key::children_at(self.overlay.repo(), standing.parent, &plain);
        let end = key::after_prefix(&from);
        let mut found = 0;
        loop {
            let rows = self.overlay.scan(&from, &end, 16)?;
            found += rows
                .iter()
                .filter(|(key, record)| {
                    matches!(record, Record::Child(entry) if entry.name == standing.name)
                        && key::child_of(key).is_some_and(|(_, child)| child != self.id)
                })
                .count();
            match rows.last() {
                Some((last, _)) if found < 2 && rows.len() == 16 => {
                    from.clone_from(last);
                    from.push(0);
                }
                _ => return Ok(found.min(2)),
            }
        }
    }
}

/// What stands in the index for a node.
fn entry(standing: &Standing, shadow: bool) -> Record {
    let (name, placed) = (standing.name.clone(), standing.placed);
    Record::Child(Arc::new(ChildEntry {
        name,
        placed,
        shadow,
    }))
}

/// Parents that a node had once, and its name there, but for its present place and the trash.
fn former_places(node: &NodeRecord) -> BTreeSet<(NodeId, &NodeName)> {
    let mut places = BTreeSet::new();
    let (mut parents, mut names) = (node.parents.iter().peekable(), node.names.iter().peekable());
    let (mut parent, mut name) = (None, None);
    loop {
        let stamps = [
            parents.peek().map(|write| write.stamp),
            names.peek().map(|(stamp, _)| *stamp),
        ];
        let Some(now) = stamps.into_iter().flatten().min() else {
            break;
        };
        places.extend(parent.zip(name));
        if let Some(write) = parents.next_if(|write| write.stamp == now) {
            parent = Some(write.parent);
        }
        if let Some((_, written)) = names.next_if(|(stamp, _)| *stamp == now) {
            name = Some(written);
        }
    }
    places.retain(|place| place.0 != NodeId::TRASH && Some(*place) != parent.zip(name));
    places
}
