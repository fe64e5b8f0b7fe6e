//! A test of the tests: leveret is made to go wrong, and the random histories must notice.
//!
//! Each fault of [`Fault`] and [`ReceiverFault`] breaks one thing. With it on, histories are
//! replayed as in [`crate::convergence`] until one fails; a fault with which [`BUDGET`] histories
//! pass is a hole in the harness. The test prints after how many each was caught, and by what.

use std::panic::{AssertUnwindSafe, catch_unwind};

use leveret::merge::Fault;
use leveret_sim::engine::ReceiverFault;
use merge_spec::random::{self, History};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::convergence::Model;

/// Histories within which each fault has to be caught: a part of what the random test runs.
const BUDGET: u64 = 256;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mutation {
    Merging(Fault),
    Receiving(ReceiverFault),
}

impl Mutation {
    fn all() -> Vec<Self> {
        let merging = Fault::ALL.iter().copied().map(Self::Merging);
        let receiving = ReceiverFault::ALL.iter().copied().map(Self::Receiving);
        merging.chain(receiving).collect()
    }

    fn name(self) -> String {
        match self {
            Self::Merging(fault) => format!("{fault:?}"),
            Self::Receiving(fault) => format!("{fault:?}"),
        }
    }

    fn with<T>(self, act: impl FnOnce() -> T) -> T {
        match self {
            Self::Merging(fault) => fault.with(act),
            Self::Receiving(fault) => fault.with(act),
        }
    }
}

/// A fault, and what it came to.
struct Trial {
    mutation: Mutation,
    /// In which history it was caught, counted from 1, and by what.
    caught: Option<(u64, String)>,
}

/// One of the histories, which are the same in every run.
fn history(number: u64) -> History {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree = random::history().new_tree(&mut runner);
    tree.expect("nothing is rejected").current()
}

/// Replays one history with each of these faults, and gives those that it shows, and by what.
fn hunt(number: u64, mutations: &[Mutation]) -> Vec<(Mutation, String)> {
    let history = history(number);
    let mut model = Model::new(&history);
    // With a history that fails anyhow nothing would be shown.
    if let Err(difference) = model.replay(number) {
        panic!("without a fault: {difference}\n{}", history.case.to_toml());
    }
    let mut caught = Vec::new();
    for mutation in mutations {
        let replayed = catch_unwind(AssertUnwindSafe(|| mutation.with(|| model.replay(number))));
        let by = match replayed {
            Ok(Ok(_)) => continue,
            Ok(Err(difference)) => difference,
            Err(panic) => format!("panic: {}", panic_text(panic.as_ref())),
        };
        let line = by.lines().next().unwrap_or_default();
        caught.push((*mutation, line.chars().take(110).collect()));
    }
    caught
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

/// Panics that a fault provokes are what is wanted, and not told.
fn keep_provoked_panics_quiet() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if Fault::current().is_none() && ReceiverFault::current().is_none() {
            told(panic);
        }
    }));
}

#[test]
fn every_deliberate_fault_is_caught_by_the_random_histories() {
    keep_provoked_panics_quiet();
    let untried = |mutation| Trial {
        mutation,
        caught: None,
    };
    let mut trials: Vec<Trial> = Mutation::all().into_iter().map(untried).collect();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut numbers = 1..=BUDGET;
    loop {
        let left = trials.iter().filter(|trial| trial.caught.is_none());
        let left: Vec<Mutation> = left.map(|trial| trial.mutation).collect();
        let round: Vec<u64> = numbers.by_ref().take(threads as usize).collect();
        if left.is_empty() || round.is_empty() {
            break;
        }
        let caught = std::thread::scope(|scope| {
            let left = &left;
            let hunt = |number: &u64| {
                let number = *number;
                scope.spawn(move || (number, hunt(number, left)))
            };
            let hunts: Vec<_> = round.iter().map(hunt).collect();
            let done = hunts.into_iter().map(|hunt| hunt.join().unwrap());
            done.collect::<Vec<_>>()
        });
        for (number, caught) in caught {
            for (mutation, by) in caught {
                let trial = trials.iter_mut().find(|trial| trial.mutation == mutation);
                let trial = trial.expect("only faults on trial are caught");
                trial.caught.get_or_insert((number, by));
            }
        }
    }
    println!("{:26} history  caught by", "fault");
    for Trial { mutation, caught } in &trials {
        let none = (0, "NOT CAUGHT".to_owned());
        let (number, by) = caught.as_ref().unwrap_or(&none);
        println!("{:26} {number:7}  {by}", mutation.name());
    }
    let missed = trials.iter().filter(|trial| trial.caught.is_none());
    let missed: Vec<String> = missed.map(|trial| trial.mutation.name()).collect();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn no_fault_is_on_unless_it_is_switched_on_and_then_on_this_thread_alone() {
    assert_eq!(Fault::current(), None);
    Fault::CycleUnchecked.with(|| {
        assert_eq!(Fault::current(), Some(Fault::CycleUnchecked));
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(Fault::current(), None));
        });
    });
    assert_eq!(Fault::current(), None);
}

/// What ships has no faults to switch on.
#[test]
fn no_feature_but_faults_itself_brings_the_faults_in() {
    let manifest = include_str!("../../Cargo.toml");
    let features = manifest.split_once("[features]").unwrap().1;
    let (features, rest) = features.split_once("\n[").unwrap();
    let naming: Vec<&str> = features
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains("faults"))
        .collect();
    assert_eq!(naming, ["faults = []"]);
    let (_, tests) = rest.split_once("dev-dependencies]").unwrap();
    let (tests, _) = tests.split_once("\n[").unwrap();
    let everywhere = manifest.matches("\"faults\"").count();
    assert_eq!(everywhere, tests.matches("\"faults\"").count());
}
