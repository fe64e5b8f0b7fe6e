//! Who had seen what: of each change set, how far its author had seen every origin (M2).

use std::collections::BTreeMap;
use std::sync::Arc;

use leveret::model::{ChangeSet, OriginId, Sequence};

/// How far authors had seen, by the numbers of their change sets in a history.
pub(super) struct Seen {
    /// Of each change set, its origin's number and its sequence number there.
    at: Vec<(usize, u64)>,
    /// Of each change set, by the numbers of origins, the sequence numbers it had seen, its own
    /// included. Origins that are missing at the end were not seen.
    horizons: Vec<Vec<u64>>,
}

impl Seen {
    /// Works it out from the dependencies.
    ///
    /// # Panics
    /// If ids do not rise, or something comes before what it depends on.
    pub(super) fn of(sets: &[Arc<ChangeSet>]) -> Self {
        let mut origins: BTreeMap<OriginId, usize> = BTreeMap::new();
        let mut numbers: BTreeMap<(OriginId, Sequence), usize> = BTreeMap::new();
        let mut seen = Self {
            at: Vec::new(),
            horizons: Vec::new(),
        };
        for (number, set) in sets.iter().enumerate() {
            assert!(number == 0 || sets[number - 1].id < set.id, "ids rise");
            let (id, sequence) = (set.id.origin, set.sequence);
            let count = origins.len();
            let origin = *origins.entry(id).or_insert(count);
            let before = (sequence > Sequence(1)).then(|| (id, Sequence(sequence.0 - 1)));
            let others = set
                .dependencies
                .iter()
                .map(|other| (other.origin, other.sequence));
            let mut horizon = vec![0; origin + 1];
            for dependency in others.chain(before) {
                let known = numbers.get(&dependency).expect("causes come first");
                let other = &seen.horizons[*known];
                if horizon.len() < other.len() {
                    horizon.resize(other.len(), 0);
                }
                for (mine, theirs) in horizon.iter_mut().zip(other) {
                    *mine = (*mine).max(*theirs);
                }
            }
            horizon[origin] = sequence.0;
            numbers.insert((id, sequence), number);
            seen.at.push((origin, sequence.0));
            seen.horizons.push(horizon);
        }
        seen
    }

    /// Whether neither of two change sets had seen the other.
    pub(super) fn are_concurrent(&self, a: usize, b: usize) -> bool {
        !self.has_seen(a, b) && !self.has_seen(b, a)
    }

    /// Whether a change set had seen another, or is it.
    fn has_seen(&self, number: usize, other: usize) -> bool {
        let (origin, sequence) = self.at[other];
        self.reach(number, origin) >= sequence
    }

    /// How far a change set had seen an origin.
    fn reach(&self, number: usize, origin: usize) -> u64 {
        self.horizons[number].get(origin).copied().unwrap_or(0)
    }
}

/// Things that change sets did in one place, in the order of the history, apart by origin.
#[derive(Default)]
pub(super) struct Timeline(BTreeMap<usize, Vec<Entry>>);

struct Entry {
    sequence: u64,
    set: usize,
    thing: usize,
}

impl Timeline {
    /// Adds a thing that a change set did. Numbers of things rise.
    pub(super) fn push(&mut self, seen: &Seen, set: usize, thing: usize) {
        let (origin, sequence) = seen.at[set];
        let entry = Entry {
            sequence,
            set,
            thing,
        };
        self.0.entry(origin).or_default().push(entry);
    }

    /// The newest thing that the author of a change set had seen.
    pub(super) fn newest_seen(&self, seen: &Seen, set: usize) -> Option<usize> {
        let newest = self.0.iter().filter_map(|(origin, entries)| {
            let reach = seen.reach(set, *origin);
            let count = entries.partition_point(|entry| entry.sequence <= reach);
            Some(entries[..count].last()?.thing)
        });
        newest.max()
    }

    /// The things, from the number `from` on, that the author of a change set had seen.
    pub(super) fn seen_from(&self, seen: &Seen, set: usize, from: usize) -> Vec<usize> {
        let mut things = Vec::new();
        for (origin, entries) in &self.0 {
            let reach = seen.reach(set, *origin);
            let count = entries.partition_point(|entry| entry.sequence <= reach);
            let first = entries.partition_point(|entry| entry.thing < from);
            let between = entries[..count].iter().skip(first);
            things.extend(between.map(|entry| entry.thing));
        }
        things
    }

    /// Whether anything is by a change set that is concurrent with this one.
    pub(super) fn has_concurrent(&self, seen: &Seen, set: usize) -> bool {
        self.0.iter().any(|(origin, entries)| {
            let reach = seen.reach(set, *origin);
            // The first one that it had not seen knows least of all that follow.
            let unseen = entries.partition_point(|entry| entry.sequence <= reach);
            let first = entries.get(unseen);
            first.is_some_and(|first| seen.are_concurrent(first.set, set))
        })
    }
}
