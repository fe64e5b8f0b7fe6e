//! What paths and names lead to, kept for reading again.
//!
//! A path is resolved by the records of children alone, so it leads to the same node in every
//! version from one change of these records to the next. Each version knows since when they are as
//! they are in it, its *placement*, and what is kept of a **whole path** holds for one placement:
//! it is never wrong, only of no use any more once a node anywhere has come, gone or moved.
//!
//! Therefore single **steps** are kept below: a child by its name under a parent. One holds from the
//! placement at which it was found until a merge changes a child of that name under that parent;
//! the merge then takes it out, before anybody can read what it made.
//!
//! Only what leads somewhere is kept.

use std::hash::{BuildHasherDefault, DefaultHasher, Hasher};
use std::sync::{PoisonError, RwLock};

use super::Version;
use super::cache::{Cache, ENTRY_BYTES};
use super::layers::Replaced;
use crate::codec::record::Record;
use crate::codec::state_key as key;
use crate::merge::fault::{Fault, on};
use crate::model::{NodeId, NodeName, NodePath};

/// Longest text of a path that is kept whole, in bytes. Longer ones are found by their steps.
const TEXT_BYTES: usize = 256;

/// See the top of the file.
pub(super) struct Paths {
    whole: RwLock<Cache<u64, Whole, BuildHasherDefault<Hashed>>>,
    steps: RwLock<Steps>,
}

/// A path, and the node that it led to at a placement.
struct Whole {
    text: Box<[u8]>,
    placement: Version,
    node: NodeId,
}

struct Steps {
    /// The newest one.
    placement: Version,
    cache: Cache<u64, Step, BuildHasherDefault<Hashed>>,
}

/// A child that the plain name has reached since a placement.
struct Step {
    parent: NodeId,
    name: NodeName,
    since: Version,
    child: NodeId,
}

/// What is known of paths at one placement. Only what is certain is told.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    paths: &'a Paths,
    placement: Version,
}

/// Keys that are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers are keys")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Paths {
    /// `bytes_max` bounds what is kept, the half of it for steps.
    pub(super) fn new(bytes_max: usize, placement: Version) -> Self {
        Self {
            whole: RwLock::new(Cache::new(bytes_max / 2)),
            steps: RwLock::new(Steps {
                placement,
                cache: Cache::new(bytes_max / 2),
            }),
        }
    }

    /// What is known at a placement.
    pub(super) fn at(&self, placement: Version) -> Known<'_> {
        Known {
            paths: self,
            placement,
        }
    }

    /// Forgets what a merge has changed. The version that it made must not be readable yet.
    ///
    /// True if the changes are such that paths lead elsewhere: then `version` is a placement of its
    /// own.
    pub(super) fn replace(&self, version: Version, changes: &[Replaced]) -> bool {
        let mut children = changes
            .iter()
            .filter_map(|change| {
                Some((key::parent_of(&change.key)?, &change.before, &change.after))
            })
            .peekable();
        if children.peek().is_none() || on(Fault::PathsStale) {
            return false;
        }
        let mut steps = self.steps.write().unwrap_or_else(PoisonError::into_inner);
        steps.placement = version;
        for (parent, before, after) in children {
            let entries = [before, after].into_iter().flatten();
            for entry in entries.filter_map(Record::as_child) {
                steps
                    .cache
                    .remove(&hash(&parent.0, entry.name.as_str().as_bytes()));
            }
        }
        true
    }
}

impl Known<'_> {
    /// The node at a path.
    pub(crate) fn path(&self, path: &NodePath) -> Option<NodeId> {
        let mut buffer = [0; TEXT_BYTES];
        let text = path.write_text(&mut buffer)?;
        self.whole(text)
    }

    /// The node at the path that a text stands for.
    pub(crate) fn text(&self, text: &str) -> Option<NodeId> {
        self.whole(text.as_bytes())
    }

    fn whole(&self, text: &[u8]) -> Option<NodeId> {
        let cache = self.paths.whole.read();
        let cache = cache.unwrap_or_else(PoisonError::into_inner);
        let known = cache.get(&hash(text, &[]))?;
        let holds = known.placement == self.placement && *known.text == *text;
        holds.then_some(known.node)
    }

    /// Keeps what a path was found to lead to.
    pub(crate) fn keep_path(&self, path: &NodePath, node: NodeId) {
        let mut buffer = [0; TEXT_BYTES];
        let Some(text) = path.write_text(&mut buffer) else {
            return;
        };
        let hash = hash(text, &[]);
        let cache = self.paths.whole.write();
        let mut cache = cache.unwrap_or_else(PoisonError::into_inner);
        // Readers of an old version do not drive out what those of new ones use.
        if (cache.get(&hash)).is_some_and(|known| known.placement > self.placement) {
            return;
        }
        let bytes = ENTRY_BYTES + text.len();
        let known = Whole {
            text: text.into(),
            placement: self.placement,
            node,
        };
        cache.insert(hash, known, bytes);
    }

    /// The child that a plain name reaches.
    pub(crate) fn child(&self, parent: NodeId, name: &NodeName) -> Option<NodeId> {
        let steps = self.paths.steps.read();
        let steps = steps.unwrap_or_else(PoisonError::into_inner);
        let step = steps
            .cache
            .get(&hash(&parent.0, name.as_str().as_bytes()))?;
        let holds = step.parent == parent && step.name == *name && step.since <= self.placement;
        holds.then_some(step.child)
    }

    /// Keeps which child a plain name was found to reach.
    pub(crate) fn keep_child(&self, parent: NodeId, name: &NodeName, child: NodeId) {
        let steps = self.paths.steps.write();
        let mut steps = steps.unwrap_or_else(PoisonError::into_inner);
        // Of an older placement it is not known what has changed since.
        if steps.placement != self.placement {
            return;
        }
        let step = Step {
            parent,
            name: name.clone(),
            since: self.placement,
            child,
        };
        let bytes = ENTRY_BYTES + 32 + name.as_str().len();
        steps
            .cache
            .insert(hash(&parent.0, name.as_str().as_bytes()), step, bytes);
    }
}

fn hash(first: &[u8], second: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(first);
    hasher.write(second);
    hasher.finish()
}
