//! Every history at small scope, delivered in every order: the engine against the naive model,
//! after every merge.
//!
//! A history is what a few authors, each with one change set, wrote over a base of three nodes
//! ([`Shape`]), and what each had seen of the others ([`Relation`]). Everything that an author can
//! write is in the [`Universe`]. Small scope is where merge rules go wrong: a mistake in how two or
//! three operations meet shows with two or three operations.
//!
//! **Left out by symmetry.** The ids of the change sets rise, and every tuple of operations in that
//! order is a history; to let other authors write the same would only rename them. The nodes of a
//! base could change roles only where they are siblings, and there their names tell them apart, by
//! which they are listed. Orders of delivery
//! in which something comes before what it has seen are left out: it would wait, held, and be
//! merged where another order merges it. Nothing else is: no history is skipped since its change
//! sets seem not to meet.
//!
//! **How it is fast.** A store with some change sets merged is written once, and every history that
//! goes on from there opens its own state over it. The model folds each set of change sets once,
//! whatever the order. [`Scope::stride`] takes a part of the histories, evenly.
//!
//! What the universe leaves out is in `universe.rs`.

mod deliver;
mod relation;
mod universe;

use std::fmt;
use std::ops::AddAssign;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use deliver::{Base, Delivering};

pub use relation::{Relation, Sets};
pub use universe::{Choice, Universe};

/// Failures after which a run ends.
const FAILURES_MAX: usize = 5;

/// How the three nodes of a base stand to each other. Each of them has a property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// `/a` with `/a/b` below it, and `/c`.
    Forked,
    /// `/a`, `/b` and `/c`.
    Flat,
    /// `/a`, `/a/b` and `/a/b/c`.
    Chain,
    /// `/a` with `/a/b` and `/a/c` below it.
    Family,
}

impl Shape {
    /// All of them; there is no other tree of three nodes.
    pub const ALL: [Self; 4] = [Self::Forked, Self::Flat, Self::Chain, Self::Family];

    /// The base, as the lines of a case.
    #[must_use]
    pub fn ops(self) -> &'static str {
        match self {
            Self::Forked => "add /a\nadd /a/b\nadd /c\nset /a x 1\nset /a/b x 1\nset /c x 1\n",
            Self::Flat => "add /a\nadd /b\nadd /c\nset /a x 1\nset /b x 1\nset /c x 1\n",
            Self::Chain => {
                "add /a\nadd /a/b\nadd /a/b/c\nset /a x 1\nset /a/b x 1\nset /a/b/c x 1\n"
            }
            Self::Family => "add /a\nadd /a/b\nadd /a/c\nset /a x 1\nset /a/b x 1\nset /a/c x 1\n",
        }
    }
}

/// Which histories are run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope {
    /// How many change sets a history has, besides the base; at most 8.
    pub sets: usize,
    /// What is there before anybody writes.
    pub shape: Shape,
    /// What authors may write.
    pub universe: Universe,
    /// Of the choices of a change set one in so many is run with one of the change set before it;
    /// 1 for all of them.
    pub stride: usize,
}

/// How much was run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Histories.
    pub histories: u64,
    /// Deliveries of whole histories: every order, and all at once as one batch.
    pub deliveries: u64,
    /// Merges after which the engine was compared with the model.
    pub compared: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.histories += other.histories;
        self.deliveries += other.deliveries;
        self.compared += other.compared;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            histories,
            deliveries,
            compared,
        } = self;
        write!(
            f,
            "{histories} histories, {deliveries} deliveries, compared after {compared} merges"
        )
    }
}

/// A history that the engine and the model see differently.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The first difference, or what a panic said.
    pub what: String,
    /// The change sets in the order in which they were merged; those of a batch are joined by `+`.
    pub delivered: String,
    /// The history as a case file, which expects what the model says.
    pub case: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; after {}", self.what, self.delivered)?;
        f.write_str(&self.case)
    }
}

/// What came of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// How much was run, failures included.
    pub tally: Tally,
    /// The first failures, at most one for each relation and oldest change set.
    pub failures: Vec<Failure>,
}

/// Runs every history of a scope, with so many threads.
///
/// # Panics
/// If a thread can not be started.
#[must_use]
pub fn run(scope: Scope, threads: usize) -> Outcome {
    let base = Base::new(scope.shape);
    let relations = Relation::all(scope.sets);
    // The oldest change set has seen nothing, so its choices are the same in all relations.
    let first = base.choices_of_first(scope.universe);
    let parts = relations.len() * first;
    let (next, outcome) = (AtomicUsize::new(0), Mutex::new(Outcome::default()));
    thread::scope(|threads_of_run| {
        for _ in 0..threads {
            threads_of_run.spawn(|| {
                loop {
                    let part = next.fetch_add(1, Ordering::Relaxed);
                    if part >= parts {
                        break;
                    }
                    let relation = &relations[part / first];
                    let mut delivering = Delivering::new(&base, scope, relation, part % first);
                    let failure = delivering.run();
                    let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                    outcome.tally += delivering.tally();
                    outcome.failures.extend(failure);
                    if outcome.failures.len() >= FAILURES_MAX {
                        next.store(parts, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}
