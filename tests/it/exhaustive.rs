//! Every history at small scope, delivered in every order: the engine against the naive model.
//!
//! What the histories are, and what is left out of them, is said where they are made
//! (`sim/src/exhaustive.rs`). What takes long is left to `make prove`.

use std::thread;

use leveret_sim::exhaustive::{Scope, Shape, Universe, run};

/// Two change sets of everything, complete.
const PAIRS: Scope = Scope {
    sets: 2,
    shape: Shape::Forked,
    universe: Universe::Full,
    stride: 1,
};

/// Runs histories, says how many they were, and fails with those that fail.
fn check(scope: Scope) {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let outcome = run(scope, threads);
    let Scope {
        sets,
        shape,
        universe,
        stride,
    } = scope;
    println!(
        "{sets} change sets, {universe:?} universe, {shape:?} base, stride {stride}: {}",
        outcome.tally
    );
    let failures: Vec<String> = outcome.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_history_of_two_change_sets_comes_out_the_same_in_every_order() {
    for shape in Shape::ALL {
        check(Scope { shape, ..PAIRS });
    }
}

#[test]
fn every_history_of_three_adds_removals_and_moves_comes_out_the_same_in_every_order() {
    let scope = Scope {
        sets: 3,
        universe: Universe::Structure,
        ..PAIRS
    };
    for shape in Shape::ALL {
        check(Scope { shape, ..scope });
    }
}

#[test]
fn one_in_many_histories_of_three_change_sets_comes_out_the_same_in_every_order() {
    let (sets, stride) = (3, 23);
    check(Scope {
        sets,
        stride,
        ..PAIRS
    });
}

#[test]
#[ignore = "takes many minutes; `make prove` runs it"]
fn every_history_of_three_change_sets_comes_out_the_same_in_every_order() {
    check(Scope { sets: 3, ..PAIRS });
}

fn check_four(shape: Shape) {
    check(Scope {
        sets: 4,
        shape,
        universe: Universe::Structure,
        ..PAIRS
    });
}

#[test]
#[ignore = "takes many minutes; `make prove` runs it"]
fn every_history_of_four_adds_removals_and_moves_over_a_forked_base_comes_out_the_same() {
    check_four(Shape::Forked);
}

#[test]
#[ignore = "takes many minutes; `make prove` runs it"]
fn every_history_of_four_adds_removals_and_moves_over_a_flat_base_comes_out_the_same() {
    check_four(Shape::Flat);
}

#[test]
#[ignore = "takes minutes; `make prove` runs it"]
fn every_history_of_four_adds_removals_and_moves_over_a_chain_comes_out_the_same() {
    check_four(Shape::Chain);
}

#[test]
#[ignore = "takes minutes; `make prove` runs it"]
fn every_history_of_four_adds_removals_and_moves_over_a_family_comes_out_the_same() {
    check_four(Shape::Family);
}
