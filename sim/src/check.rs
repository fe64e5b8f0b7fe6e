//! What must hold in every run, a file for each.
//!
//! Some are watched all the way, some are looked at when the faults have stopped and everybody has
//! had time. Each of them says what is wrong in a sentence.

mod again;
mod blame;
mod bounds;
mod causality;
mod convergence;
mod durability;
mod events;
mod future;
mod heads;
mod ids;
mod model;
mod talk;
mod told;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use leveret::model::{PublicKey, Time};

use crate::world::{Note, Watcher, World};

pub use convergence::{Lag, has_converged};
pub use durability::Losses;
pub(crate) use model::history;

/// What a checker may ask for at the end.
pub struct End<'a> {
    /// The world, healed.
    pub world: &'a World,
    /// Machines that were so far ahead of time that others do not apply what they wrote.
    pub ahead: &'a BTreeSet<usize>,
    /// The keys of all that ever were.
    pub odd: &'a BTreeSet<PublicKey>,
}

/// Something that must hold.
pub trait Checker: Watcher {
    /// What it is called in reports.
    fn name(&self) -> &'static str;

    /// Looks at the world while it goes on, now and then.
    ///
    /// # Errors
    /// What does not hold.
    fn look(&mut self, _: &World) -> Result<(), String> {
        Ok(())
    }

    /// What the run has come to, to be counted.
    fn mark(&self) -> Option<&'static str> {
        None
    }

    /// Looks at a world that has healed.
    ///
    /// # Errors
    /// What does not hold.
    fn finish(&mut self, end: &End<'_>) -> Result<(), String>;
}

/// All of them.
pub struct Checkers {
    all: Vec<Rc<RefCell<dyn Checker>>>,
    durability: Rc<RefCell<durability::Durability>>,
    ids: Rc<RefCell<ids::Ids>>,
}

/// Hands notes on to a checker that is shared with [`Checkers`], and says who found it.
struct Watching(Rc<RefCell<dyn Checker>>);

impl Watcher for Watching {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        let mut checker = self.0.borrow_mut();
        let outcome = checker.note(note);
        outcome.map_err(|what| format!("{}: {what}", checker.name()))
    }
}

impl Checkers {
    /// Has all of them watch a world.
    pub fn watch(world: &mut World) -> Self {
        let durability = Rc::new(RefCell::new(durability::Durability::default()));
        let ids = Rc::new(RefCell::new(ids::Ids::default()));
        let all: Vec<Rc<RefCell<dyn Checker>>> = vec![
            Rc::new(RefCell::new(heads::Heads::default())),
            ids.clone(),
            Rc::new(RefCell::new(causality::Causality::default())),
            Rc::new(RefCell::new(events::Events::default())),
            Rc::new(RefCell::new(bounds::Bounds)),
            Rc::new(RefCell::new(future::Future::default())),
            Rc::new(RefCell::new(talk::Talk::default())),
            Rc::new(RefCell::new(told::Told::default())),
            Rc::new(RefCell::new(blame::Blame::default())),
            Rc::new(RefCell::new(again::Again::default())),
            durability.clone(),
            Rc::new(RefCell::new(convergence::Convergence)),
            Rc::new(RefCell::new(model::Model::default())),
        ];
        for checker in &all {
            world.watch(Box::new(Watching(checker.clone())));
        }
        Self {
            all,
            durability,
            ids,
        }
    }

    /// None of them.
    pub fn none() -> Self {
        Self {
            all: Vec::new(),
            durability: Rc::default(),
            ids: Rc::default(),
        }
    }

    /// Looks at a world that goes on; the first thing that does not hold.
    ///
    /// # Errors
    /// Who found what.
    pub fn look(&self, world: &World) -> Result<(), String> {
        for checker in &self.all {
            let mut checker = checker.borrow_mut();
            let outcome = checker.look(world);
            outcome.map_err(|what| format!("{}: {what}", checker.name()))?;
        }
        Ok(())
    }

    /// What is to be counted of the run.
    pub fn marks(&self) -> Vec<&'static str> {
        let all = self.all.iter();
        all.filter_map(|checker| checker.borrow().mark()).collect()
    }

    /// The faults have stopped: what is somewhere now must be everywhere in the end.
    pub fn take_stock(&self, world: &World) {
        self.durability.borrow_mut().take_stock(world);
    }

    /// Whether everything that was somewhere when the faults stopped is everywhere now.
    pub fn is_everywhere(&self, end: &End<'_>) -> bool {
        self.durability.borrow().missing(end).is_none()
    }

    /// The greatest time of what was shown, of those authors that count.
    pub fn newest(&self, counts: impl Fn(&PublicKey) -> bool) -> Time {
        self.ids.borrow().newest(counts)
    }

    /// What was acknowledged and lost with a machine that was replaced or lied.
    pub fn losses(&self) -> Losses {
        self.durability.borrow().losses()
    }

    /// Looks at everything when the world has healed; the first thing that does not hold.
    ///
    /// # Errors
    /// Who found what.
    pub fn finish(&self, end: &End<'_>) -> Result<(), String> {
        for checker in &self.all {
            let mut checker = checker.borrow_mut();
            let outcome = checker.finish(end);
            outcome.map_err(|what| format!("{}: {what}", checker.name()))?;
        }
        Ok(())
    }
}
