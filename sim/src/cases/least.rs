//! From a history to the least case that shows what is wrong with merging it.
//!
//! A run that went wrong leaves many change sets, of which a few matter. What is looked at here is
//! merging alone: no replicas, no clocks, no network. If the engine comes to something else than
//! the naive model in some order of delivery (and so, too, if two orders differ from each other),
//! what is not needed for that is left out, set by set and then line by line.

use std::panic::{AssertUnwindSafe, catch_unwind};

use merge_spec::{Case, ChangeSet, fold, minimise};

use super::{delivery, run_text};
use crate::engine::{Engine, Log, Receiver, from_spec};
use crate::observation::{Observation, nodes_of};
use delivery::{Delivery, Step};

/// Deliveries that are tried of a history with too many saves for every order.
const DELIVERIES_MAX: usize = 40;

/// The least case of those that the engine fails and this history has in it; nothing if the engine
/// merges the history well, as far as is tried, or it can not be written as a case that fails.
///
/// `file` is what messages call the case.
pub fn least(file: &str, title: &str, history: &[ChangeSet]) -> Option<Case> {
    let whole = Case::transcribe(file, title, history).filter(fails)?;
    let least = minimise(&whole, fails);
    // As it will be read and run by others.
    let failed = |case: &Case| run_text(file, &case.to_toml()).failure.is_some();
    [least, whole].into_iter().find(failed)
}

/// Whether the engine comes to something else than the model in some delivery.
fn fails(case: &Case) -> bool {
    let fold = fold(&case.change_sets);
    let (nodes, model) = (nodes_of(&fold), Observation::of_model(&fold));
    let sets: Vec<_> = case.change_sets.iter().map(from_spec).collect();
    let comes_to_it = |delivery: &Delivery| {
        let mut receiver = Receiver::new(Engine::new(Log::default()));
        for step in &delivery.steps {
            match step {
                Step::Arrive(some) => {
                    some.iter().for_each(|i| receiver.receive(&sets[*i]));
                    while match delivery.one_by_one {
                        true => receiver.merge_one(),
                        false => receiver.merge_ready(),
                    }
                    .is_some()
                    {}
                }
                Step::Restart => receiver.engine.restart(),
            }
        }
        Observation::of_engine(&receiver.engine.snapshot(), nodes.iter().copied()) == model
    };
    let is_good = |delivery: &Delivery| {
        let came = catch_unwind(AssertUnwindSafe(|| comes_to_it(delivery)));
        came.unwrap_or(false)
    };
    let all = delivery::all(sets.len(), [0; 32]);
    let tried = match sets.len() - 1 <= delivery::EXHAUSTIVE_MAX {
        true => usize::MAX,
        false => DELIVERIES_MAX,
    };
    !all.take(tried).all(|delivery| is_good(&delivery))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_merges_well_is_no_case() {
        let text = "title = \"two\"\nbase = \"add /a\"\n[[save]]\nby = \"A\"\nat = 3\n\
                    ops = \"set /a x 1\"\n[[save]]\nby = \"B\"\nat = 9\nops = \"remove /a\"\n\
                    [expect]\ntree = \"{}\"\nconflicts = [\"A@3 under-removed\"]\n";
        let case = Case::parse("two", text).unwrap();
        assert_eq!(least("again", "two", &case.change_sets), None);
    }

    #[cfg(feature = "faults")]
    #[test]
    fn what_a_fault_of_the_engine_fails_at_is_left_and_nothing_else() {
        // A and B move two nodes into each other; C does what has nothing to do with it.
        let text = "title = \"a cycle\"\nbase = \"\"\"\nadd /a\nadd /b\nadd /c\"\"\"\n\
                    [[save]]\nby = \"A\"\nat = 3\nops = \"\"\"\nset /a x 1\nmove /a /b/a\"\"\"\n\
                    [[save]]\nby = \"B\"\nat = 4\nops = \"\"\"\nmove /b /a/b\nset /c y 1\"\"\"\n\
                    [[save]]\nby = \"C\"\nat = 5\nops = \"set /c x 1\"\n\
                    [expect]\ntree = \"{}\"\nconflicts = []\n";
        let case = Case::parse("cycle", text).unwrap();
        let found = leveret::merge::Fault::CycleUnchecked
            .with(|| least("again", "a cycle", &case.change_sets));
        let found = found.expect("the fault shows");
        let lines: Vec<_> = found
            .saves
            .iter()
            .flat_map(|save| save.ops.lines())
            .collect();
        assert_eq!(lines, ["add /a", "add /b", "move /a /b/a", "move /b /a/b"]);
    }
}
