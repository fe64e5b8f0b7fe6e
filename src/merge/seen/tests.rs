//! What is noted, beside what follows from the dependencies by hand.

use std::collections::BTreeSet;

use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::*;
use crate::codec::state_key::Key;
use crate::merge::State;
use crate::model::RepoId;
use crate::model::change_set::ChainHash;
use crate::storage::StorageError;
use crate::storage::memory::MemoryStorage;

type Seen = BTreeMap<OriginId, Time>;

/// Change sets without operations by some authors who hear of each other now and then.
#[derive(Default)]
struct Story {
    sets: Vec<Arc<ChangeSet>>,
    /// What each had seen, itself included.
    seen: BTreeMap<ChangeSetId, Seen>,
}

impl Story {
    /// Of so many saves by so many authors. Before each, its author hears from others, of
    /// `hears` in a hundred of them all that they know.
    fn new(seed: u64, authors: u8, saves: u64, hears: u32) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut story = Self::default();
        let mut views: Vec<Seen> = vec![Seen::new(); authors.into()];
        for time in (1..=saves).map(Time) {
            let author = rng.random_range(0..authors);
            let origin = OriginId([author; 16]);
            let mut view = views[usize::from(author)].clone();
            for other in &views {
                if rng.random_ratio(hears, 100) {
                    merge(&mut view, other);
                }
            }
            let sequence = story.number(origin, Time(time.0 - 1)).next();
            let set = ChangeSet {
                repo: RepoId::MAIN,
                id: ChangeSetId { time, origin },
                sequence,
                previous: ChainHash::default(),
                birth: None,
                dependencies: story.frontier(origin, &view),
                rules: 1,
                all_or_nothing: false,
                message: None,
                operations: Vec::new(),
            };
            view.insert(origin, time);
            story.seen.insert(set.id, view.clone());
            story.sets.push(Arc::new(set));
            views[usize::from(author)] = view;
        }
        story
    }

    /// The number of an origin's newest up to a time.
    fn number(&self, origin: OriginId, up_to: Time) -> Sequence {
        let own = self.sets.iter().filter(|set| set.id.origin == origin);
        let sequence = own.rev().find(|set| set.id.time <= up_to);
        sequence.map_or(Sequence(0), |set| set.sequence)
    }

    /// What is in a view and seen by nothing else there.
    fn frontier(&self, own: OriginId, view: &Seen) -> Vec<Dependency> {
        let newest = |(origin, time): (&OriginId, &Time)| ChangeSetId {
            time: *time,
            origin: *origin,
        };
        let open = view.iter().map(newest).filter(|id| {
            let others = view.iter().map(newest).filter(|other| other != id);
            let seen = |other: ChangeSetId| self.seen[&other].get(&id.origin) >= Some(&id.time);
            id.origin != own && !others.into_iter().any(seen)
        });
        open.map(|id| Dependency {
            origin: id.origin,
            sequence: self.number(id.origin, id.time),
        })
        .collect()
    }

    fn is_ready(&self, set: &ChangeSet, heads: &Heads) -> bool {
        let has = |origin: OriginId, sequence: Sequence| {
            sequence == Sequence(0) || heads.get(&origin).is_some_and(|h| h.sequence >= sequence)
        };
        has(set.id.origin, Sequence(set.sequence.0 - 1))
            && set
                .dependencies
                .iter()
                .all(|on| has(on.origin, on.sequence))
    }

    /// Notes everything, in an order drawn from `rng` or that of the ids, and gives the records.
    fn noted(&self, rng: Option<&mut ChaCha20Rng>) -> BTreeMap<Key, Option<Record>> {
        let state = State::open(RepoId::MAIN, Arc::new(MemoryStorage::new()), 1 << 20).unwrap();
        let base = state.latest();
        let mut overlay = Overlay::new(&base);
        let (mut heads, mut frontier) = (Heads::new(), Vec::new());
        let mut left: Vec<_> = self.sets.iter().collect();
        let mut rng = rng;
        while !left.is_empty() {
            let ready = |at: &usize| self.is_ready(left[*at], &heads);
            let next = match rng.as_deref_mut() {
                Some(rng) => (0..left.len()).filter(ready).choose(rng).unwrap(),
                None => 0,
            };
            let set = left.remove(next);
            note(
                &mut overlay,
                &mut heads,
                &mut frontier,
                set,
                &BTreeMap::new(),
                self,
            )
            .unwrap();
        }
        for set in &self.sets {
            for author in self
                .seen
                .keys()
                .map(|id| id.origin)
                .collect::<BTreeSet<_>>()
            {
                let expected = self.seen[&set.id].get(&author).copied();
                let found = seen_of(&overlay, set.id, author).unwrap();
                assert_eq!(
                    found,
                    expected.unwrap_or_default(),
                    "{} of {author}",
                    set.id
                );
            }
        }
        let is_seen = |(key, _): &(Key, Option<Record>)| key[0] == b'v';
        let changed = overlay.into_changed().into_iter();
        let records = changed.map(|(key, change)| (key, change.now));
        records.filter(is_seen).collect()
    }
}

impl History for Story {
    fn change_set(&self, of: OriginId, at: Sequence) -> Result<Arc<ChangeSet>, StorageError> {
        let found = self
            .sets
            .iter()
            .find(|s| s.id.origin == of && s.sequence == at);
        Ok(found.expect("asked of what there is").clone())
    }
}

fn merge(view: &mut Seen, other: &Seen) {
    for (origin, time) in other {
        let up_to = view.entry(*origin).or_default();
        *up_to = (*up_to).max(*time);
    }
}

/// How many origins a record tells of, and how deep it is, on average and at most.
fn shape(records: &BTreeMap<Key, Option<Record>>) -> (f64, usize, u8) {
    let (mut told, mut most, mut depth) = (0, 0, 0);
    for record in records.values() {
        let Some(Record::Seen(record)) = record else {
            panic!("only records of that kind, and none is removed");
        };
        told += record.news.len();
        most = most.max(record.news.len());
        depth = depth.max(record.depth);
    }
    (told as f64 / records.len() as f64, most, depth)
}

// M2
#[test]
fn what_was_seen_follows_from_the_dependencies_in_whatever_order_they_come() {
    for (seed, (authors, hears)) in (1..).zip([(3, 40), (12, 1), (12, 5), (12, 30), (30, 2)]) {
        let story = Story::new(seed, authors, 400, hears);
        let records = story.noted(None);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        for _ in 0..3 {
            assert!(records == story.noted(Some(&mut rng)), "seed {seed}");
        }
    }
}

#[test]
fn what_is_noted_follows_what_is_new_and_not_how_many_authors_there_are() {
    // Everybody hears of everything: only the author before is new.
    let (told, _, depth) = shape(&Story::new(1, 40, 600, 100).noted(None));
    assert!(told < 4.0, "{told} for each");
    assert_eq!(depth, DEPTH_MAX, "so that telling all is tested, too");
    // What one author had missed came with one other, who knew it.
    let (told, most, _) = shape(&Story::new(2, 40, 600, 4).noted(None));
    assert!(told < 12.0, "{told} for each");
    assert!(most <= 40, "{most}");
}

#[test]
fn who_hears_of_nobody_leaves_no_records() {
    assert!(Story::new(3, 5, 50, 0).noted(None).is_empty());
}
