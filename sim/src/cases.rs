//! Runs case files: the engine against the naive model, in many deliveries of the same saves.
//!
//! After every merge the engine must show what the model makes of the change sets applied so far;
//! in the end both must be as the case expects. What is compared of a state is [`crate::observation`]'s to say, how saves are delivered
//! [`delivery`]'s, the shape of a case `merge-spec`'s.

pub mod delivery;
mod files;
mod least;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use leveret::merge::{ReadTree, Snapshot};
use leveret::model::{ChangeSet, ChangeSetId, NodeId, NodePath};
use merge_spec::{Case, CaseError, Mismatch};

use crate::engine::{Engine, Log, Receiver, check_pages, from_spec};
use crate::observation::{Observation, nodes_of};
use delivery::{Delivery, Step};

pub use files::{Found, find};
pub use least::least;

/// What came of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The file, as it was named.
    pub file: String,
    /// What the case shows; nothing if it could not be read.
    pub title: Option<String>,
    /// How many deliveries were tried, the failing one included.
    pub deliveries: usize,
    /// What went wrong, if anything did.
    pub failure: Option<Failure>,
}

/// The first thing that went wrong in a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What it was, in one line.
    pub what: String,
    /// What had been delivered before, in its order; nothing if it did not come to deliveries.
    pub after: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.after.is_empty() {
            write!(f, "; after {}", self.after.join(", "))?;
        }
        Ok(())
    }
}

impl Failure {
    fn new(what: &str) -> Self {
        let lines = what.lines().map(str::trim).filter(|line| !line.is_empty());
        Self {
            what: lines.collect::<Vec<_>>().join(" "),
            after: Vec::new(),
        }
    }
}

/// Runs the case in a file. That it can not be read, or is no case, is a failure of it.
pub fn run_file(path: &Path) -> Verdict {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => run_text(&file, &text),
        Err(error) => Verdict {
            file,
            title: None,
            deliveries: 0,
            failure: Some(Failure::new(&error.to_string())),
        },
    }
}

/// Runs a case from text; `file` is what it is called. The text is also the seed of what is
/// random, so that the same text always has the same deliveries.
pub fn run_text(file: &str, text: &str) -> Verdict {
    let case = match Case::parse(file, text) {
        Ok(case) => case,
        Err(error) => {
            return Verdict {
                file: file.to_owned(),
                title: None,
                deliveries: 0,
                failure: Some(Failure::new(&no_case(file, text, &error))),
            };
        }
    };
    let (mut deliveries, mut trail) = (0, Vec::new());
    let ran = catch_unwind(AssertUnwindSafe(|| {
        // A case that the model fails is wrong, or the model is; the engine is not to blame then.
        let model = case.check();
        model.map_err(|mismatch| format!("the model: {}", mismatch.what))?;
        let mut trial = Trial::new(&case);
        for delivery in delivery::all(case.saves.len(), blake3::hash(text.as_bytes()).into()) {
            deliveries += 1;
            trail.clear();
            trial.run(&delivery, &mut trail)?;
        }
        Ok(())
    }));
    let failure = match ran {
        Ok(Ok(())) => None,
        Ok(Err(what)) => Some(what),
        Err(panic) => Some(format!("panicked: {}", panic_text(panic.as_ref()))),
    };
    Verdict {
        file: file.to_owned(),
        title: Some(case.title),
        deliveries,
        failure: failure.map(|what: String| Failure {
            after: trail,
            ..Failure::new(&what)
        }),
    }
}

/// Why a file is no case, without its name and without drawings of the place.
fn no_case(file: &str, text: &str, error: &CaseError) -> String {
    if let CaseError::Toml { source, .. } = error {
        let start = source.span().map_or(0, |span| span.start);
        let line = 1 + text
            .bytes()
            .take(start)
            .filter(|byte| *byte == b'\n')
            .count();
        return format!("line {line}: {}", source.message());
    }
    let whole = error.to_string();
    let named = whole.strip_prefix(&format!("{file}: "));
    named.unwrap_or(&whole).to_owned()
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

/// A case while it is run.
struct Trial<'a> {
    case: &'a Case,
    /// As in the case, `base` first.
    sets: Vec<Arc<ChangeSet>>,
    /// What some change sets must come to, whatever the order in which they were merged.
    known: BTreeMap<BTreeSet<ChangeSetId>, Known>,
}

struct Known {
    /// The nodes that the model knows.
    nodes: Vec<NodeId>,
    model: Observation,
}

impl<'a> Trial<'a> {
    fn new(case: &'a Case) -> Self {
        Self {
            case,
            sets: case.change_sets.iter().map(from_spec).collect(),
            known: BTreeMap::new(),
        }
    }

    /// Runs one delivery; `trail` gets what was done, up to the first difference.
    fn run(&mut self, delivery: &Delivery, trail: &mut Vec<String>) -> Result<(), String> {
        let mut receiver = Receiver::new(Engine::new(Log::default()));
        for step in &delivery.steps {
            match step {
                Step::Arrive(sets) => {
                    let names = sets
                        .iter()
                        .map(|i| self.case.change_sets[*i].id.to_string());
                    trail.push(names.collect::<Vec<_>>().join("+"));
                    sets.iter().for_each(|i| receiver.receive(&self.sets[*i]));
                    self.merge(&mut receiver, delivery.one_by_one)?;
                }
                Step::Restart => {
                    trail.push("restart".to_owned());
                    receiver.engine.restart();
                    self.compare(&receiver, &receiver.engine.snapshot())?;
                }
            }
        }
        let held: Vec<_> = receiver.held().map(|set| set.id.to_string()).collect();
        if !held.is_empty() {
            return Err(format!("never ready: {}", held.join(", ")));
        }
        self.expect(&receiver.engine.snapshot())
    }

    /// Merges what is ready, and compares after every merge.
    fn merge(&mut self, receiver: &mut Receiver, one_by_one: bool) -> Result<(), String> {
        loop {
            let merged = match one_by_one {
                true => receiver.merge_one(),
                false => receiver.merge_ready(),
            };
            match merged {
                Some(merged) => self.compare(receiver, &merged.snapshot)?,
                None => return Ok(()),
            }
        }
    }

    /// Compares what the engine shows with what the model makes of the same change sets.
    fn compare(&mut self, receiver: &Receiver, snapshot: &Snapshot) -> Result<(), String> {
        let applied: BTreeSet<_> = receiver.applied().iter().map(|set| set.id).collect();
        let case = self.case;
        let known = self.known.entry(applied).or_insert_with_key(|applied| {
            let sets = case.change_sets.iter().zip(&self.sets);
            let sets = sets.filter(|(_, set)| applied.contains(&set.id));
            let fold = merge_spec::fold(&sets.map(|(set, _)| set.clone()).collect::<Vec<_>>());
            Known {
                nodes: nodes_of(&fold),
                model: Observation::of_model(&fold),
            }
        });
        let found = Observation::of_engine(snapshot, known.nodes.iter().copied());
        found.first_difference(&known.model).map_or(Ok(()), Err)
    }

    /// Compares the engine's outcome with what the case expects.
    fn expect(&self, snapshot: &Snapshot) -> Result<(), String> {
        let shorten = |mismatch: Mismatch| format!("expected otherwise: {}", mismatch.what);
        check_pages(snapshot);
        let found = Observation::of_engine(snapshot, []);
        self.case.check_tree(&found.tree).map_err(shorten)?;
        let pairs = found.conflict_pairs();
        self.case.check_conflicts(&pairs).map_err(shorten)?;
        let children = |path: &[String]| {
            let path: NodePath = format!("/{}", path.join("/")).parse().ok()?;
            let node = snapshot.resolve(&path).ok().flatten()?;
            let children = snapshot.children(node, None, usize::MAX).ok()?;
            Some(children.into_iter().map(|child| child.shown).collect())
        };
        self.case.check_order(children).map_err(shorten)
    }
}

#[cfg(test)]
mod tests {
    use leveret::model::Operation;

    use super::*;

    const CASE: &str = r#"
title = "two add below one node"
base = "add /a"
[[save]]
by = "A"
at = 3
ops = "add /a/b"
[[save]]
by = "B"
at = 9
saw = ["A@3"]
ops = "add /a/c"
[expect]
tree = '{"a": {"b": {}, "c": {}}}'
conflicts = []
[expect.order]
"/a" = ["b", "c"]
"#;

    fn what(text: &str) -> String {
        let failure = run_text("a.toml", text).failure;
        failure.expect("it fails").to_string()
    }

    #[test]
    fn a_good_case_passes_in_every_order_plainly_and_roughly() {
        let verdict = run_text("a.toml", CASE);
        assert_eq!(verdict.failure, None);
        assert_eq!(verdict.deliveries, 4);
        assert_eq!(verdict.title.as_deref(), Some("two add below one node"));
    }

    #[test]
    fn what_the_model_makes_otherwise_fails_before_anything_is_delivered() {
        let text = CASE.replace(r#""c": {}"#, r#""c": {"x": 1}"#);
        assert!(what(&text).starts_with("the model: tree: expected: "));
        let text = CASE.replace("conflicts = []", r#"conflicts = ["A@3 cycle"]"#);
        assert!(what(&text).starts_with("the model: conflicts: expected: A@3 cycle"));
    }

    #[test]
    fn what_is_no_case_fails_in_one_line_that_names_the_place() {
        let text = CASE.replace("by = \"A\"", "by = ");
        assert!(what(&text).starts_with("line 5: "), "{}", what(&text));
        assert!(!what(&text).contains('\n'));
        let text = CASE.replace("add /a/b", "add /x/b");
        assert!(what(&text).starts_with("save A@3, line 1 `add /x/b`: "));
    }

    /// An engine that gets something else than the model.
    fn run_with(change: impl Fn(&mut Vec<Operation>)) -> Result<(), (String, Vec<String>)> {
        let case = Case::parse("a.toml", CASE).unwrap();
        let mut trial = Trial::new(&case);
        let mut set = ChangeSet::clone(&trial.sets[1]);
        change(&mut set.operations);
        trial.sets[1] = Arc::new(set);
        for delivery in delivery::all(case.saves.len(), [0; 32]) {
            let mut trail = Vec::new();
            let ran = trial.run(&delivery, &mut trail);
            ran.map_err(|what| (what, trail))?;
        }
        Ok(())
    }

    #[test]
    fn an_engine_that_differs_is_found_out_at_once_and_with_what_was_delivered() {
        assert_eq!(run_with(|_| {}), Ok(()));
        let (what, trail) = run_with(Vec::clear).unwrap_err();
        assert_eq!(what, "tree: at /a/b is nothing instead of {}");
        assert_eq!(trail, ["base@0", "A@3"]);
    }

    #[test]
    fn a_save_that_comes_before_what_it_has_seen_waits() {
        let case = Case::parse("a.toml", CASE).unwrap();
        let mut trial = Trial::new(&case);
        let delivery = Delivery {
            steps: vec![Step::Arrive(vec![2, 0, 2]), Step::Arrive(vec![2])],
            one_by_one: false,
        };
        let ran = trial.run(&delivery, &mut Vec::new());
        let never = ran.unwrap_err();
        assert!(never.starts_with("never ready: "), "{never}");
    }
}
