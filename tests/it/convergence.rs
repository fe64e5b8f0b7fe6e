//! Convergence: the engine against the naive model, on random histories that bite.
//!
//! `merge-spec` makes the histories, [`replay`] delivers them. A failing history shrinks, and comes
//! out as a case file for `merge-spec/cases/`. How many are run, and from which seed, is said by
//! CASES and SEED in the environment; `make prove` runs the long form.

mod crafted;
mod invariants;
mod model;
mod peer;
mod replay;

use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;

use merge_spec::RULES;
use merge_spec::random::{self, History};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

pub(crate) use model::Model;
use replay::Totals;
pub(crate) use replay::replay;

/// Histories in `make test`.
const CASES: u64 = 2_500;

/// Branches of the rules that no history of authors with leveret can reach.
const OUT_OF_REACH: [&str; 3] = ["M2 held", "M9 cycle without a reason", "M12 root or trash"];

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

/// Another one each time: what the standard library seeds its maps with.
fn any_seed() -> u64 {
    RandomState::new().hash_one(0) >> 32
}

#[test]
fn the_engine_agrees_with_the_model_after_every_merge_of_random_histories() {
    let cases = from_environment("CASES").unwrap_or(CASES);
    let seed = from_environment("SEED").unwrap_or_else(any_seed);
    println!("{cases} histories, SEED={seed}");
    let totals = Mutex::new(Totals::default());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let share = cases / threads + u64::from(thread < cases % threads);
            let totals = &totals;
            scope.spawn(move || run(share, seed.wrapping_add(thread << 32), totals));
        }
    });
    let totals = totals.into_inner().unwrap();
    report(&totals);
    assert_eq!(totals.histories, cases, "every history was replayed");
    // A thousand times each in the histories of `make test`; with few, chance has its say.
    let enough = |rule: &str| {
        totals
            .fired
            .get(rule)
            .is_some_and(|times| *times * 5 >= cases * 2)
    };
    let seldom: Vec<&&str> = RULES
        .iter()
        .filter(|rule| !OUT_OF_REACH.contains(rule) && !enough(rule))
        .collect();
    assert!(
        cases < CASES || seldom.is_empty(),
        "seldom fired: {seldom:?}"
    );
}

fn report(totals: &Totals) {
    println!(
        "{} histories ({} partly on sled), {} merges compared, {} restarts",
        totals.histories, totals.sled, totals.merges, totals.restarts
    );
    for rule in RULES {
        let times = totals.fired.get(rule).copied().unwrap_or_default();
        println!("{times:9} {rule}");
    }
}

/// Replays so many histories; the first that fails is shrunk and ends the test.
fn run(cases: u64, seed: u64, totals: &Mutex<Totals>) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: u32::try_from(cases).expect("fewer than 2^32 histories"),
        failure_persistence: None,
        max_shrink_iters: 4_096,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let strategy = (random::history(), any::<u64>().no_shrink());
    let outcome = runner.run(
        &strategy,
        |(history, seed)| match std::panic::catch_unwind(|| replay(&history, seed)) {
            Ok(Ok(replayed)) => {
                totals.lock().unwrap().add(&replayed);
                Ok(())
            }
            Ok(Err(difference)) => Err(TestCaseError::fail(difference)),
            Err(_) => Err(TestCaseError::fail("it panicked")),
        },
    );
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, (history, seed))) => fail(&history, seed, why.message()),
        Err(error) => panic!("{error}"),
    }
}

/// Tells of a failure, and writes the history as a case file.
fn fail(history: &History, seed: u64, why: &str) -> ! {
    let mut case = history.case.clone();
    case.title = format!("found by a random history: {why}");
    let text = case.to_toml();
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("found.toml");
    std::fs::write(&file, &text).unwrap();
    panic!(
        "{why}\n(replayed with seed {seed}; a case file for merge-spec/cases is in {})\n{text}{:?}",
        file.display(),
        history.events
    );
}
