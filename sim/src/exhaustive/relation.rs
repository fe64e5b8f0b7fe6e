//! Who has seen whom (M2): every way in which a few change sets can have seen one another.

use std::fmt;

/// Some of the change sets of a history; bit *i* is the one with the *i*-th smallest id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sets(pub u8);

impl Sets {
    /// The first `count` of them.
    #[must_use]
    pub fn first(count: usize) -> Self {
        (0..count).fold(Self::default(), Self::with)
    }

    /// Whether the one at `index` is among them.
    #[must_use]
    pub fn has(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }

    /// These, and the one at `index`.
    #[must_use]
    pub fn with(self, index: usize) -> Self {
        Self(self.0 | (1 << index))
    }

    /// Whether all of the others are among them.
    #[must_use]
    pub fn contains(self, others: Sets) -> bool {
        others.0 & !self.0 == 0
    }

    /// Their indices, rising.
    pub fn indices(self) -> impl Iterator<Item = usize> {
        (0..8).filter(move |index| self.has(*index))
    }
}

/// What each change set of a history has seen: all of it, not the newest only.
///
/// It is transitive, and whoever was seen has a smaller id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relation {
    seen: Vec<Sets>,
}

impl Relation {
    /// Every relation of so many change sets, at most 8.
    #[must_use]
    pub fn all(sets: usize) -> Vec<Self> {
        assert!(sets <= 8, "there is one bit for each");
        let mut all = vec![Self { seen: Vec::new() }];
        for newest in 0..sets {
            let with_one_more = |relation: Self| {
                let seen = (0..=Sets::first(newest).0).map(Sets);
                // Whoever has seen a set has seen all that that one had seen.
                let closed = |seen: &Sets| seen.indices().all(|i| seen.contains(relation.seen[i]));
                let seen: Vec<Sets> = seen.filter(closed).collect();
                let relations = seen.into_iter().map(|seen| Self {
                    seen: relation.seen.iter().copied().chain([seen]).collect(),
                });
                relations.collect::<Vec<_>>()
            };
            all = all.into_iter().flat_map(with_one_more).collect();
        }
        all
    }

    /// How many change sets there are.
    #[must_use]
    pub fn sets(&self) -> usize {
        self.seen.len()
    }

    /// What the one at `index` has seen.
    #[must_use]
    pub fn seen(&self, index: usize) -> Sets {
        self.seen[index]
    }

    /// Of what the one at `index` has seen, that which nothing else that it has seen has seen.
    pub fn frontier(&self, index: usize) -> impl Iterator<Item = usize> {
        let seen = self.seen[index];
        let newest = move |i: &usize| seen.indices().all(|other| !self.seen[other].has(*i));
        seen.indices().filter(newest)
    }

    /// Which can be merged next, where `merged` are.
    pub fn ready(&self, merged: Sets) -> impl Iterator<Item = usize> {
        let ready = move |i: &usize| !merged.has(*i) && merged.contains(self.seen[*i]);
        (0..self.sets()).filter(ready)
    }
}

impl fmt::Display for Relation {
    /// Writes what each has seen, by numbers from 1: `1 saw nothing, 2 saw 1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, seen) in self.seen.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} saw", index + 1)?;
            if *seen == Sets::default() {
                f.write_str(" nothing")?;
            }
            seen.indices().try_for_each(|i| write!(f, " {}", i + 1))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(relation: &Relation, merged: Sets) -> usize {
        let ready: Vec<usize> = relation.ready(merged).collect();
        let after = ready.iter().map(|i| orders(relation, merged.with(*i)));
        if ready.is_empty() { 1 } else { after.sum() }
    }

    #[test]
    fn there_are_as_many_ways_of_having_seen_one_another_as_counted_elsewhere() {
        // Naturally labelled partial orders, A006455.
        for (sets, count) in [(1, 1), (2, 2), (3, 7), (4, 40), (5, 357)] {
            assert_eq!(Relation::all(sets).len(), count);
        }
    }

    #[test]
    fn three_sets_have_twenty_relations_with_an_order_that_respects_them() {
        let relations = Relation::all(3);
        let orders = relations.iter().map(|r| orders(r, Sets::default()));
        assert_eq!(orders.sum::<usize>(), 20);
    }

    #[test]
    fn a_frontier_leaves_out_what_was_seen_through_another() {
        let chain = Relation {
            seen: vec![Sets(0), Sets(0b1), Sets(0b11)],
        };
        assert_eq!(chain.frontier(2).collect::<Vec<_>>(), [1]);
        assert_eq!(chain.to_string(), "1 saw nothing, 2 saw 1, 3 saw 1 2");
    }
}
