//! All histories of one relation and one oldest change set, in every order of delivery.
//!
//! Orders are walked as a tree of what was merged so far. On the way to its leaves the change sets
//! are merged in memory, one after the other; what they come to is then written to a store, and
//! the last one of each history is merged over that.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use leveret::model::{ChangeSet, NodeId};
use leveret::storage::memory::MemoryStorage;
use merge_spec::{self as spec, Case, Expect, Fold, Origin, Save, SetId};

use super::relation::{Relation, Sets};
use super::universe::{Choice, Universe};
use super::{Failure, Scope, Shape, Tally};
use crate::cases::panic_text;
use crate::engine::{Engine, Log, from_spec};
use crate::observation::{Observation, nodes_of};

/// The authors, in the order of their origins and of the times at which they save.
const AUTHORS: [&str; 8] = ["A", "B", "C", "D", "E", "F", "G", "H"];

/// The most change sets of a history.
const SETS_MAX: usize = AUTHORS.len();

/// Which choice each change set is; 0 for those that are not among the ones it is about.
type Chosen = [u16; SETS_MAX];

/// What every history begins with.
pub(super) struct Base {
    ops: &'static str,
    spec: spec::ChangeSet,
    fold: Fold,
    /// With the base merged, and nothing else.
    start: Start,
}

/// A store in which some change sets are merged.
struct Start {
    storage: Arc<MemoryStorage>,
    log: Log,
}

impl Start {
    /// An engine that goes on from here. Any number of them may, as long as none of them writes.
    fn open(&self) -> Engine {
        Engine::on(self.storage.clone(), self.log.copy())
    }

    /// An engine that goes on from here and may write.
    fn open_copy(&self) -> (Engine, Arc<MemoryStorage>, Log) {
        let storage = Arc::new(self.storage.copy());
        let log = self.log.copy();
        (Engine::on(storage.clone(), log.clone()), storage, log)
    }
}

impl Base {
    pub(super) fn new(shape: Shape) -> Self {
        let ops = shape.ops();
        let spec = Self::write(ops);
        let (storage, log) = (Arc::new(MemoryStorage::new()), Log::default());
        let mut engine = Engine::on(storage.clone(), log.clone());
        engine.merge(&[from_spec(&spec)]);
        engine.restart();
        Self {
            ops,
            fold: spec::fold(std::slice::from_ref(&spec)),
            spec,
            start: Start { storage, log },
        }
    }

    /// The base as its author writes it.
    fn write(ops: &str) -> spec::ChangeSet {
        let draft = spec::ChangeSet {
            id: SetId {
                time: 0,
                origin: Origin::BASE,
            },
            sequence: 1,
            dependencies: Vec::new(),
            all_or_nothing: false,
            operations: Vec::new(),
        };
        spec::write(&spec::fold(&[]), draft, ops).expect("the base can be written")
    }

    /// How many change sets an author can choose from who has seen nothing but the base.
    pub(super) fn choices_of_first(&self, universe: Universe) -> usize {
        let draft = draft(&Relation::all(1)[0], 0);
        universe.choices(&self.fold, &draft).len()
    }
}

fn id(index: usize) -> SetId {
    SetId {
        time: index as u64 + 1,
        origin: Origin::from_word(AUTHORS[index]).expect("it is a word"),
    }
}

/// The change set at `index`, before its author has written anything.
fn draft(relation: &Relation, index: usize) -> spec::ChangeSet {
    let mut dependencies: Vec<(Origin, u64)> = relation
        .frontier(index)
        .map(|i| (id(i).origin, 1))
        .collect();
    if dependencies.is_empty() {
        dependencies.push((Origin::BASE, 1));
    }
    spec::ChangeSet {
        id: id(index),
        sequence: 1,
        dependencies,
        all_or_nothing: false,
        operations: Vec::new(),
    }
}

/// What some change sets must come to.
struct Known {
    /// The nodes that the model knows.
    nodes: Vec<NodeId>,
    model: Observation,
}

impl Known {
    fn of(fold: &Fold) -> Self {
        Self {
            nodes: nodes_of(fold),
            model: Observation::of_model(fold),
        }
    }
}

/// All histories of one relation and one oldest change set.
pub(super) struct Delivering<'a> {
    base: &'a Base,
    scope: Scope,
    relation: &'a Relation,
    /// Which choice the oldest change set is.
    first: usize,
    /// What the author of each change set can choose from, by what that author had seen.
    choices: HashMap<(usize, Chosen), Choices>,
    known: HashMap<(Sets, Chosen), Arc<Known>>,
    tally: Tally,
    /// The change sets of the history that is being delivered, by index, as far as they are chosen.
    history: [Option<Arc<Choice>>; SETS_MAX],
    chosen: Chosen,
    /// What was merged so far, by index.
    trail: Vec<usize>,
    /// Whether all of [`Delivering::trail`] was merged as one batch.
    batch: bool,
}

/// What an author can choose from.
type Choices = Arc<[Arc<Choice>]>;

/// The first difference.
type Difference = String;

impl<'a> Delivering<'a> {
    pub(super) fn new(base: &'a Base, scope: Scope, relation: &'a Relation, first: usize) -> Self {
        assert!(scope.sets <= SETS_MAX, "every change set has an author");
        Self {
            base,
            scope,
            relation,
            first,
            choices: HashMap::new(),
            known: HashMap::new(),
            tally: Tally::default(),
            history: Default::default(),
            chosen: Chosen::default(),
            trail: Vec::new(),
            batch: false,
        }
    }

    /// How much was run so far.
    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// Runs them, up to the first that fails.
    pub(super) fn run(&mut self) -> Option<Failure> {
        let ran = catch_unwind(AssertUnwindSafe(|| self.go_on(Sets::default())));
        let what = match ran {
            Ok(Ok(())) => return None,
            Ok(Err(difference)) => difference,
            Err(panic) => format!("panicked: {}", panic_text(panic.as_ref())),
        };
        let names = self.trail.iter().map(|i| id(*i).to_string());
        let between = if self.batch { "+" } else { ", " };
        let delivered = names.collect::<Vec<_>>().join(between);
        Some(Failure {
            case: self.case().to_toml(),
            delivered,
            what,
        })
    }

    /// Goes on from where `merged` are merged, as the trail says, with each that can be the next.
    ///
    /// It calls itself once for each change set of a history, of which there are at most 8.
    fn go_on(&mut self, merged: Sets) -> Result<(), Difference> {
        let relation = self.relation;
        let all = Sets::first(relation.sets());
        let mut start = None;
        for next in relation.ready(merged) {
            let then = merged.with(next);
            let choices = self.choices_of(next);
            for number in self.numbers(next, &choices) {
                self.choose(next, number, &choices);
                if !self.is_taken(then) {
                    continue;
                }
                if then != all {
                    if self.leads_anywhere(then) {
                        self.trail.push(next);
                        self.go_on(then)?;
                        self.trail.pop();
                    }
                    continue;
                }
                if start.is_none() {
                    start = Some(self.merge_trail(merged)?);
                }
                let start = start.as_ref().expect("it was just made");
                self.trail.push(next);
                self.merge_last(start, next)?;
                self.trail.pop();
            }
            self.chosen[next] = 0;
            self.history[next] = None;
        }
        Ok(())
    }

    fn choose(&mut self, index: usize, number: usize, choices: &Choices) {
        self.chosen[index] = u16::try_from(number).expect("a universe is small");
        self.history[index] = Some(choices[number].clone());
    }

    /// What the change set at `index` can be.
    fn choices_of(&mut self, index: usize) -> Choices {
        let key = (index, self.of(self.relation.seen(index)));
        if let Some(choices) = self.choices.get(&key) {
            return choices.clone();
        }
        let view = self.fold(self.relation.seen(index));
        let draft = draft(self.relation, index);
        let choices = self.scope.universe.choices(&view, &draft);
        let choices: Choices = choices.into_iter().map(Arc::new).collect();
        self.choices.insert(key, choices.clone());
        choices
    }

    /// The numbers of those choices that belong here.
    fn numbers(&self, index: usize, choices: &Choices) -> Range<usize> {
        match index {
            0 => self.first..self.first + 1,
            _ => 0..choices.len(),
        }
    }

    /// The choices of some change sets alone.
    fn of(&self, sets: Sets) -> Chosen {
        let mut chosen = Chosen::default();
        sets.indices().for_each(|i| chosen[i] = self.chosen[i]);
        chosen
    }

    /// The model's fold of the base and some change sets.
    fn fold(&self, sets: Sets) -> Fold {
        let chosen = sets.indices().map(|i| &self.choice(i).spec);
        let all = std::iter::once(&self.base.spec).chain(chosen);
        spec::fold(&all.cloned().collect::<Vec<_>>())
    }

    fn choice(&self, index: usize) -> &Choice {
        let choice = self.history[index].as_ref();
        choice.expect("what is merged or seen was chosen")
    }

    fn engine_sets(&self, indices: impl IntoIterator<Item = usize>) -> Vec<Arc<ChangeSet>> {
        let sets = indices.into_iter().map(|i| self.choice(i).engine.clone());
        sets.collect()
    }

    /// Whether the stride takes histories with these choices, as far as they are made.
    ///
    /// Of the choices of a change set, one in so many goes with one of the change set before it.
    fn is_taken(&self, sets: Sets) -> bool {
        let goes_with = |i: usize| {
            let (before, number) = (usize::from(self.chosen[i - 1]), usize::from(self.chosen[i]));
            (before + number).is_multiple_of(self.scope.stride)
        };
        let pairs = sets.indices().filter(|i| *i > 0 && sets.has(i - 1));
        pairs.into_iter().all(goes_with)
    }

    /// Whether the stride takes some history that goes on from here; may say yes where more than
    /// one change set has yet to be chosen.
    fn leads_anywhere(&mut self, merged: Sets) -> bool {
        let all = Sets::first(self.relation.sets());
        let mut missing = all.indices().filter(|i| !merged.has(*i));
        let (Some(last), None) = (missing.next(), missing.next()) else {
            return true;
        };
        let choices = self.choices_of(last);
        let any = self.numbers(last, &choices).any(|number| {
            self.choose(last, number, &choices);
            self.is_taken(all)
        });
        self.chosen[last] = 0;
        self.history[last] = None;
        any
    }

    /// Merges what is on the trail over the base, in memory, compares, and writes it to a store.
    fn merge_trail(&mut self, merged: Sets) -> Result<Start, Difference> {
        let (mut engine, storage, log) = self.base.start.open_copy();
        let mut last = None;
        for set in self.engine_sets(self.trail.clone()) {
            last = Some(engine.merge(&[set]));
        }
        // Where the oldest is not among them, they come again with each that the oldest can be.
        if let Some(last) = last.filter(|_| merged.has(0) || self.first == 0) {
            let known = self.known(merged);
            self.compare(&last.snapshot, &known)?;
        }
        engine.restart();
        Ok(Start { storage, log })
    }

    /// Merges the last change set of a history, and compares.
    fn merge_last(&mut self, start: &Start, last: usize) -> Result<(), Difference> {
        let all = Sets::first(self.relation.sets());
        let known = match self.known.get(&(all, self.of(all))) {
            Some(known) => known.clone(),
            None => {
                let known = self.known(all);
                self.tally.histories += 1;
                self.tally.deliveries += 1;
                self.batch = true;
                let batch = self.engine_sets(all.indices());
                let merged = self.base.start.open().merge(&batch);
                self.compare(&merged.snapshot, &known)?;
                self.batch = false;
                known
            }
        };
        self.tally.deliveries += 1;
        let merged = start.open().merge(&self.engine_sets([last]));
        self.compare(&merged.snapshot, &known)
    }

    /// What the model makes of some change sets.
    fn known(&mut self, sets: Sets) -> Arc<Known> {
        let key = (sets, self.of(sets));
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let known = Arc::new(Known::of(&self.fold(sets)));
        self.known.insert(key, known.clone());
        known
    }

    fn compare(
        &mut self,
        snapshot: &leveret::merge::Snapshot,
        known: &Known,
    ) -> Result<(), Difference> {
        self.tally.compared += 1;
        let found = Observation::of_engine(snapshot, known.nodes.iter().copied());
        match found == known.model {
            true => Ok(()),
            false => Err(found
                .first_difference(&known.model)
                .unwrap_or_else(|| "a difference that nothing names".to_owned())),
        }
    }

    /// What has been chosen, as a case that expects what the model says.
    fn case(&self) -> Case {
        let mut saves = vec![Save {
            id: self.base.spec.id,
            saw: Vec::new(),
            all_or_nothing: false,
            ops: self.base.ops.to_owned(),
        }];
        let chosen: Vec<usize> = (0..SETS_MAX)
            .filter(|i| self.history[*i].is_some())
            .collect();
        for index in &chosen {
            let choice = self.choice(*index);
            saves.push(Save {
                id: id(*index),
                saw: self.relation.frontier(*index).map(id).collect(),
                all_or_nothing: choice.spec.all_or_nothing,
                ops: format!("{}\n", choice.ops),
            });
        }
        let sets = chosen.iter().map(|i| self.choice(*i).spec.clone());
        let change_sets: Vec<_> = std::iter::once(self.base.spec.clone())
            .chain(sets)
            .collect();
        let words: Vec<&str> = chosen
            .iter()
            .flat_map(|i| self.choice(*i).ops.lines())
            .collect();
        Case {
            file: "exhaustive".to_owned(),
            title: format!("exhaustive: {}", words.join("; ")),
            saves,
            expect: Expect::of(&spec::fold(&change_sets)),
            change_sets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: Scope = Scope {
        sets: 2,
        shape: Shape::Forked,
        universe: Universe::Full,
        stride: 1,
    };

    #[test]
    fn a_history_is_a_case_of_which_the_same_change_sets_come() {
        let base = Base::new(SCOPE.shape);
        for relation in Relation::all(2) {
            let mut delivering = Delivering::new(&base, SCOPE, &relation, 0);
            let first = delivering.choices_of(0);
            // Every so many: enough to have each kind of operation, plain and all-or-nothing.
            for number in (0..first.len()).step_by(9) {
                delivering.choose(0, number, &first);
                let second = delivering.choices_of(1);
                for number in (0..second.len()).step_by(5) {
                    delivering.choose(1, number, &second);
                    let case = delivering.case();
                    let read = Case::parse("exhaustive", &case.to_toml()).unwrap();
                    assert_eq!(read.change_sets, case.change_sets);
                }
            }
        }
    }

    #[test]
    fn an_engine_that_differs_is_found_out_with_a_case_to_keep() {
        let mut base = Base::new(SCOPE.shape);
        // The model believes another base than the engine has merged.
        base.ops = "add /a\nadd /a/b\nadd /c\n";
        base.spec = Base::write(base.ops);
        base.fold = spec::fold(std::slice::from_ref(&base.spec));
        let relation = &Relation::all(1)[0];
        let failure = Delivering::new(&base, Scope { sets: 1, ..SCOPE }, relation, 0).run();
        let failure = failure.unwrap();
        assert_eq!(failure.what, "tree: at /a/b/x is 1 instead of nothing");
        let case = Case::parse("exhaustive", &failure.case).unwrap();
        assert_eq!(case.check(), Ok(()));
    }

    #[test]
    fn a_part_of_the_histories_is_the_same_part_every_time() {
        let scope = Scope {
            sets: 3,
            universe: Universe::Structure,
            stride: 5,
            ..SCOPE
        };
        let part = super::super::run(scope, 2);
        assert_eq!(part.failures, []);
        assert_eq!(part, super::super::run(scope, 1));
        let all = super::super::run(Scope { stride: 1, ..scope }, 2).tally;
        assert!(part.tally.histories * 20 < all.histories);
        assert!(part.tally.histories * 30 > all.histories);
    }
}
