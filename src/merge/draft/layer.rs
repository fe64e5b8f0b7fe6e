//! What a draft's operations change, over its snapshot: they are applied by the code that merges.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Draft;
use crate::codec::record::Record;
use crate::codec::state_key::{self as key, Key};
use crate::merge::counters::MergeCounters;
use crate::merge::overlay::Overlay;
use crate::merge::pass::Written;
use crate::merge::state::Known;
use crate::merge::structure::{Arrivals, Author, Evaluator, Seen};
use crate::merge::view::{ReadError, View, last_of_layers, scan_layers};
use crate::merge::{settle, write};
use crate::model::{NodeId, RepoId};

/// Changed records; nothing where one is gone.
pub(super) type Layer = BTreeMap<Key, Option<Record>>;

/// A view with a layer on top.
struct Over<'a> {
    base: &'a dyn View,
    layer: &'a Layer,
}

impl View for Over<'_> {
    fn repo(&self) -> RepoId {
        self.base.repo()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        match self.layer.get(key) {
            Some(record) => Ok(record.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Record)>, ReadError> {
        scan_layers(self.base, self.layer, from, to, limit)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<(Key, Record)>, ReadError> {
        last_of_layers(self.base, self.layer, from, to)
    }
}

impl View for Draft {
    fn repo(&self) -> RepoId {
        self.snapshot.repo()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        self.read(|view| view.get(key))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Record)>, ReadError> {
        self.read(|view| view.scan(from, to, limit))
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<(Key, Record)>, ReadError> {
        self.read(|view| view.last(from, to))
    }

    fn known(&self) -> Option<Known<'_>> {
        self.known_above(&key::all_children(self.repo()))
    }

    fn known_below(&self, parent: NodeId) -> Option<Known<'_>> {
        self.known_above(&key::children(self.repo(), parent))
    }
}

impl Draft {
    fn read<T>(
        &self,
        read: impl FnOnce(&dyn View) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let layer = self.newest()?;
        if self.operations.is_empty() {
            return read(&self.snapshot);
        }
        match layer {
            Some(layer) => read(&Over {
                base: &self.below(),
                layer,
            }),
            None => read(&self.below()),
        }
    }

    /// What the snapshot knows of paths, if the draft has changed no child whose key begins so.
    fn known_above(&self, prefix: &[u8]) -> Option<Known<'_>> {
        let newest = self.newest().ok()?;
        let is_same = |layer: &Layer| {
            let bounds = (Bound::Included(prefix), Bound::Unbounded);
            let next = layer.range::<[u8], _>(bounds).next();
            next.is_none_or(|(key, _)| !key.starts_with(prefix))
        };
        let same = is_same(&self.changed) && newest.is_none_or(is_same);
        same.then(|| self.snapshot.known()).flatten()
    }

    /// The view without the newest operations.
    fn below(&self) -> Over<'_> {
        Over {
            base: &self.snapshot,
            layer: &self.changed,
        }
    }

    /// What the newest operations change; nothing if there are none since somebody looked last.
    fn newest(&self) -> Result<Option<&Layer>, ReadError> {
        if self.applied == self.operations.len() {
            return Ok(None);
        }
        if self.newest.get().is_none() {
            let layer = self.apply_newest()?;
            // Somebody else may have been as fast, and come to the same.
            let _ = self.newest.set(layer);
        }
        Ok(self.newest.get())
    }

    /// Before another operation comes: what has been looked at is not done again.
    pub(super) fn absorb_newest(&mut self) {
        if let Some(layer) = self.newest.take() {
            self.changed.extend(layer);
            self.applied = self.operations.len();
        }
    }

    /// Applies the newest operations, as a merge does.
    fn apply_newest(&self) -> Result<Layer, ReadError> {
        let below = self.below();
        let mut overlay = Overlay::new(&below);
        let mut arrivals = Arrivals::default();
        let mut written = Written::new();
        for (index, operation) in self.operations.iter().enumerate().skip(self.applied) {
            let index = u32::try_from(index).expect("operations are bounded");
            let stamp = self.provisional(index);
            if operation.is_structural() {
                let author = Author {
                    id: stamp.id,
                    seen: Seen::Everything,
                };
                let mut evaluator = Evaluator {
                    overlay: &mut overlay,
                    arrivals: &mut arrivals,
                    causes: &BTreeMap::new(),
                    counters: &mut MergeCounters::default(),
                };
                evaluator.evaluate(operation, stamp, &author)?;
            } else if let Some((node, name)) = write::register(&mut overlay, operation, stamp)? {
                let properties = written.entry(node).or_default();
                properties.entry(name).or_default().insert(stamp);
            }
        }
        let nodes = overlay.written_nodes()?;
        let mut counters = MergeCounters::default();
        settle::settle(&mut overlay, &nodes, None, &mut counters, &written)?;
        let changed = overlay.into_changed().into_iter();
        Ok(changed.map(|(key, change)| (key, change.now)).collect())
    }
}
