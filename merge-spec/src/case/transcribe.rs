//! Change sets as the lines of a case: the way back from what travels to what people write.
//!
//! Authors get words for names and times become small numbers, both in the order that they had.
//! Lines have paths where operations have nodes, so every author writes anew, in the view that the
//! lines before give; what the author would be refused there (an edit of what is trashed, say) has
//! no line, and is left out. So a case tells the same story, and not always all of it: who needs
//! some property of a history looks whether the case has it too.

use std::collections::{BTreeMap, BTreeSet};

use super::author::Desk;
use super::{Case, Expect, Save, write_all};
use crate::change::{ChangeSet, NodeId, Operation, Origin, SetId, Stamp};
use crate::fold::{Fold, fold};

impl Case {
    /// Writes a history as a case that expects what the model makes of it; `file` is what messages
    /// call it. What depends on something that is not there is left out, and what has no line.
    ///
    /// Nothing if the history is empty, or there is no case to be made of it.
    #[must_use]
    pub fn transcribe(file: &str, title: &str, history: &[ChangeSet]) -> Option<Case> {
        let by_id: BTreeMap<SetId, &ChangeSet> = history.iter().map(|set| (set.id, set)).collect();
        let ids = small_ids(by_id.keys().copied());
        let mut scribe = Scribe::new(ids);
        by_id.into_values().for_each(|set| scribe.transcribe(set));
        let saves = scribe.saves;
        let change_sets = write_all(file, &saves).ok().filter(|_| saves.len() > 1)?;
        Some(Case {
            file: file.to_owned(),
            title: title.to_owned(),
            expect: Expect::of(&fold(&change_sets)),
            saves,
            change_sets,
        })
    }
}

/// Short ids in the order of those given: authors are A, B, …, and times count from 1.
fn small_ids(ids: impl Iterator<Item = SetId> + Clone) -> BTreeMap<SetId, SetId> {
    let origins: BTreeSet<Origin> = ids.clone().map(|id| id.origin).collect();
    let times: BTreeSet<u64> = ids.clone().map(|id| id.time).collect();
    let letters = (1..).find(|letters| 26_usize.pow(*letters) >= origins.len());
    let letters = letters.expect("some power of 26 is large enough");
    let named = |number: usize| {
        let letter = |at: u32| char::from(b'A' + (number / 26_usize.pow(at) % 26) as u8);
        let word: String = (0..letters).rev().map(letter).collect();
        Origin::from_word(&word).expect("letters are a word")
    };
    let origins: BTreeMap<Origin, Origin> = origins.into_iter().zip((0..).map(named)).collect();
    let times: BTreeMap<u64, u64> = times.into_iter().zip(1..).collect();
    let small = |id: SetId| SetId {
        time: times[&id.time],
        origin: origins[&id.origin],
    };
    ids.map(|id| (id, small(id))).collect()
}

/// Both histories so far: that which is read, and that which is written.
struct Scribe {
    /// What the ids read are in the case.
    ids: BTreeMap<SetId, SetId>,
    /// What was read, with what its authors had seen.
    read: BTreeMap<SetId, (ChangeSet, BTreeSet<SetId>)>,
    /// Which set has this number.
    numbers: BTreeMap<(Origin, u64), SetId>,
    /// What was written, by the ids that were read.
    written: BTreeMap<SetId, ChangeSet>,
    /// The nodes of the case, by those that were read.
    nodes: BTreeMap<NodeId, NodeId>,
    /// The case so far.
    saves: Vec<Save>,
}

impl Scribe {
    fn new(ids: BTreeMap<SetId, SetId>) -> Scribe {
        let base = Save {
            id: SetId {
                time: 0,
                origin: Origin::BASE,
            },
            saw: Vec::new(),
            all_or_nothing: false,
            ops: String::new(),
        };
        Scribe {
            ids,
            read: BTreeMap::new(),
            numbers: BTreeMap::new(),
            written: BTreeMap::new(),
            nodes: BTreeMap::from([(NodeId::ROOT, NodeId::ROOT)]),
            saves: vec![base],
        }
    }

    /// Writes one more set, that with the next greater id.
    fn transcribe(&mut self, set: &ChangeSet) {
        let named = set.dependencies.iter();
        let named = named.map(|on| self.numbers.get(on).copied());
        let Some(named) = named.collect::<Option<BTreeSet<SetId>>>() else {
            return;
        };
        let mut seen = named.clone();
        seen.extend(named.iter().flat_map(|id| &self.read[id].1));
        let past: Vec<ChangeSet> = seen.iter().map(|id| self.read[id].0.clone()).collect();
        let mut original = Original::new(fold(&past), set);
        let past: Vec<ChangeSet> = seen.iter().map(|id| self.written[id].clone()).collect();
        let dependencies = named.iter().map(|id| &self.written[id]);
        let draft = ChangeSet {
            id: self.ids[&set.id],
            sequence: set.sequence,
            dependencies: dependencies.map(|on| (on.id.origin, on.sequence)).collect(),
            all_or_nothing: set.all_or_nothing,
            operations: Vec::new(),
        };
        let mut desk = Desk::new(fold(&past), draft);
        let mut ops = String::new();
        for operation in &set.operations {
            let line = self.line(operation, &original, desk.view());
            if let Some(line) = line.filter(|line| desk.write(line).is_ok()) {
                ops += &format!("{line}\n");
                let added = added(operation, original.stamp());
                self.nodes.extend(added.zip(last_added(desk.draft())));
            }
            original.go_on(operation);
        }
        let saw = named.iter().filter(|id| id.origin != set.id.origin);
        self.saves.push(Save {
            id: self.ids[&set.id],
            saw: saw.map(|id| self.ids[id]).collect(),
            all_or_nothing: set.all_or_nothing,
            ops,
        });
        self.written.insert(set.id, desk.finish().0);
        self.numbers.insert((set.id.origin, set.sequence), set.id);
        self.read.insert(set.id, (set.clone(), seen));
    }

    /// The line for an operation, by an author who sees `view`; nothing if there is none.
    fn line(&self, operation: &Operation, original: &Original, view: &Fold) -> Option<String> {
        let known = |node: &NodeId| self.nodes.get(node).copied();
        let at = |node: &NodeId| path(view, known(node)?);
        let below = |parent: &NodeId, name: &str| {
            let above = at(parent)?;
            Some(format!(
                "{}/{name}",
                above.strip_suffix('/').unwrap_or(&above)
            ))
        };
        Some(match operation {
            Operation::Add { parent, name, .. } => format!("add {}", word(&below(parent, name)?)),
            Operation::AddUnique { parent, name } => {
                format!("add_unique {}", word(&below(parent, name)?))
            }
            Operation::Remove { node } => format!("remove {}", word(&at(node)?)),
            Operation::Move { node, parent, name } => {
                let kept = || {
                    view.nodes()
                        .get(&known(node)?)?
                        .name()
                        .map(|w| w.name.as_str())
                };
                let name = name.as_deref().or_else(kept)?;
                format!("move {} {}", word(&at(node)?), word(&below(parent, name)?))
            }
            Operation::Rename { node, name } => {
                let from = at(node)?;
                let above = from.rsplit_once('/')?.0;
                format!("move {} {}", word(&from), word(&format!("{above}/{name}")))
            }
            Operation::Set {
                node,
                property,
                value,
            } => {
                let (at, property) = (word(&at(node)?), word(property));
                format!("set {at} {property} {}", value.to_json())
            }
            Operation::Unset { node, property } => {
                format!("unset {} {}", word(&at(node)?), word(property))
            }
            Operation::Inc {
                node,
                property,
                delta,
            } => format!("inc {} {} {delta}", word(&at(node)?), word(property)),
            Operation::Order { node, key } => {
                let place = match original.before(*node, key)? {
                    None => "first".to_owned(),
                    Some(sibling) => {
                        let beside = at(&sibling)?;
                        format!("after {}", word(beside.rsplit_once('/')?.1))
                    }
                };
                format!("order {} {place}", word(&at(node)?))
            }
            Operation::Dismiss { conflict } => {
                let mut all = original.view.conflicts().into_iter();
                let found = all.find(|other| other.id() == *conflict)?;
                format!(
                    "dismiss {} {}",
                    self.ids.get(&found.loser)?,
                    found.kind.as_str()
                )
            }
        })
    }
}

/// A set that is read, in its author's view.
struct Original {
    view: Fold,
    draft: ChangeSet,
}

impl Original {
    fn new(mut view: Fold, set: &ChangeSet) -> Original {
        let draft = ChangeSet {
            operations: Vec::new(),
            ..set.clone()
        };
        view.apply(&draft);
        Original { view, draft }
    }

    /// The stamp of the operation that is next.
    fn stamp(&self) -> Stamp {
        stamp(&self.draft, self.draft.operations.len())
    }

    fn go_on(&mut self, operation: &Operation) {
        let next = std::slice::from_ref(operation);
        self.view.continue_set(&self.draft, next);
        self.draft.operations.push(operation.clone());
    }

    /// After which of its siblings a node comes with this order key, if after any; nothing if it
    /// is not to be seen.
    fn before(&self, node: NodeId, key: &[u8]) -> Option<Option<NodeId>> {
        let tree = &self.view.tree;
        let parent = tree.contains(node).then(|| tree.parent(node))??;
        let mut siblings = self.view.children(parent);
        siblings.retain(|child| child.node != node);
        let smaller = siblings
            .iter()
            .rfind(|child| (child.effective_key.as_slice(), child.node) < (key, node));
        Some(smaller.map(|child| child.node))
    }
}

fn stamp(set: &ChangeSet, index: usize) -> Stamp {
    Stamp {
        set: set.id,
        index: u32::try_from(index).expect("a set has fewer operations"),
    }
}

/// The node that an operation of this stamp adds, if it adds one.
fn added(operation: &Operation, stamp: Stamp) -> Option<NodeId> {
    match operation {
        Operation::Add { parent, name, k } => Some(NodeId::of_add(*parent, name, *k)),
        Operation::AddUnique { .. } => Some(NodeId::of_add_unique(stamp)),
        _ => None,
    }
}

fn last_added(set: &ChangeSet) -> Option<NodeId> {
    let last = set.operations.len().checked_sub(1)?;
    added(&set.operations[last], stamp(set, last))
}

/// The path that leads to a node; nothing if it is not to be seen.
fn path(view: &Fold, node: NodeId) -> Option<String> {
    let mut names = Vec::new();
    let mut at = node;
    while at != NodeId::ROOT {
        let parent = view.tree.contains(at).then(|| view.tree.parent(at))??;
        let children = view.children(parent);
        names.push(children.into_iter().find(|child| child.node == at)?.shown);
        at = parent;
    }
    names.reverse();
    Some(format!("/{}", names.join("/")))
}

/// A word as a line takes it: a JSON string, if it could be taken for something else.
fn word(text: &str) -> String {
    let odd = |c: char| c.is_whitespace() || c.is_control();
    match text.is_empty() || text.starts_with('"') || text.contains(odd) {
        true => serde_json::Value::from(text).to_string(),
        false => text.to_owned(),
    }
}
