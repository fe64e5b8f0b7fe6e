//! Deliveries: in which order change sets come, how many at a time, how often, and what lies
//! between them.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Saves up to which every order is tried.
pub const EXHAUSTIVE_MAX: usize = 6;

/// Random orders that are tried of more saves than that.
pub const RANDOM_ORDERS: usize = 200;

/// One way for the change sets of a case to come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// Whether each is merged by itself when it is ready, and not all that are ready at once.
    pub one_by_one: bool,
}

/// A step of a delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// These come, by their index in the case; some perhaps not for the first time.
    Arrive(Vec<usize>),
    /// A checkpoint is written, and the state opened from it.
    Restart,
}

/// The deliveries of a case of so many change sets, the first of which is its base: every order of
/// the others, or many random ones, and each of them twice. Once plainly, the base first and each
/// by itself; and once roughly: the base anywhere, in batches, some again, with restarts.
pub fn all(sets: usize, seed: [u8; 32]) -> impl Iterator<Item = Delivery> {
    let mut rng = ChaCha8Rng::from_seed(seed);
    let saves: Vec<usize> = (1..sets).collect();
    let orders = if saves.len() <= EXHAUSTIVE_MAX {
        permutations(saves)
    } else {
        let shuffled = |_| {
            let mut order = saves.clone();
            order.shuffle(&mut rng);
            order
        };
        (0..RANDOM_ORDERS).map(shuffled).collect()
    };
    orders
        .into_iter()
        .flat_map(move |order| [plain(&order), rough(order, &mut rng)])
}

fn plain(order: &[usize]) -> Delivery {
    let all = std::iter::once(0).chain(order.iter().copied());
    Delivery {
        steps: all.map(|i| Step::Arrive(vec![i])).collect(),
        one_by_one: true,
    }
}

fn rough(mut order: Vec<usize>, rng: &mut impl Rng) -> Delivery {
    order.insert(rng.random_range(0..=order.len()), 0);
    let (mut steps, mut at) = (Vec::new(), 0);
    while at < order.len() {
        let end = rng.random_range(at + 1..=order.len());
        let mut batch = order[at..end].to_vec();
        // Again, what came before or comes with it.
        if rng.random_bool(0.5) {
            batch.push(order[rng.random_range(0..end)]);
        }
        steps.push(Step::Arrive(batch));
        if rng.random_bool(0.4) {
            steps.push(Step::Restart);
        }
        at = end;
    }
    // In the end somebody sends all of it once more.
    if rng.random_bool(0.25) {
        steps.push(Step::Arrive(order));
    }
    Delivery {
        steps,
        one_by_one: false,
    }
}

/// Every order of items that rise, in lexicographic order.
fn permutations(mut items: Vec<usize>) -> Vec<Vec<usize>> {
    let mut all = vec![items.clone()];
    // The last item that is less than its successor changes places with the last that is greater,
    // and what is behind it rises again.
    while let Some(i) = items.windows(2).rposition(|pair| pair[0] < pair[1]) {
        let greater = items.iter().rposition(|item| *item > items[i]);
        items.swap(i, greater.expect("its successor is greater"));
        items[i + 1..].reverse();
        all.push(items.clone());
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The order in which change sets come for the first time.
    fn first_come(delivery: &Delivery) -> Vec<usize> {
        let mut order = Vec::new();
        for step in &delivery.steps {
            if let Step::Arrive(sets) = step {
                for set in sets {
                    if !order.contains(set) {
                        order.push(*set);
                    }
                }
            }
        }
        order
    }

    #[test]
    fn few_saves_come_in_every_order_plainly_and_roughly() {
        for (sets, orders) in [(1, 1), (2, 1), (4, 6), (7, 720)] {
            let deliveries: Vec<Delivery> = all(sets, [1; 32]).collect();
            for one_by_one in [true, false] {
                let those = deliveries
                    .iter()
                    .filter(|delivery| delivery.one_by_one == one_by_one);
                let found: BTreeSet<Vec<usize>> = those
                    .map(|delivery| {
                        let mut order = first_come(delivery);
                        order.retain(|set| *set != 0);
                        order
                    })
                    .collect();
                assert_eq!(found.len(), orders);
                assert!(found.iter().all(|order| order.len() == sets - 1));
            }
        }
    }

    #[test]
    fn many_saves_come_in_many_orders_that_the_seed_decides() {
        let deliveries: Vec<Delivery> = all(12, [1; 32]).collect();
        assert_eq!(deliveries.len(), 2 * RANDOM_ORDERS);
        assert!(all(12, [1; 32]).eq(deliveries.iter().cloned()));
        assert!(!all(12, [2; 32]).eq(deliveries.iter().cloned()));
        let everything = |delivery: &Delivery| first_come(delivery).len() == 12;
        assert!(deliveries.iter().all(everything));
    }

    #[test]
    fn rough_deliveries_have_batches_repetitions_and_restarts() {
        let deliveries: Vec<Delivery> = all(5, [3; 32]).collect();
        let some = |test: &dyn Fn(&Step) -> bool| {
            let mut steps = deliveries.iter().flat_map(|delivery| &delivery.steps);
            steps.any(test)
        };
        assert!(some(
            &|step| matches!(step, Step::Arrive(sets) if sets.len() > 1)
        ));
        assert!(some(&|step| *step == Step::Restart));
        let come = |delivery: &Delivery| -> usize {
            let sets = delivery.steps.iter().map(|step| match step {
                Step::Arrive(sets) => sets.len(),
                Step::Restart => 0,
            });
            sets.sum()
        };
        assert!(deliveries.iter().any(|delivery| come(delivery) > 5));
    }
}
