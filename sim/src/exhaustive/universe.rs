//! What an author can write: every change set of a small universe, in the author's own view.
//!
//! Candidates are written down as lines of a case and given to the author's desk (`merge-spec`),
//! which turns them into operations; what it refuses (M3) is not in the universe. So an author who
//! has seen others' change sets writes about what they made, where they put it.
//!
//! Left out, and left to random histories: change sets of more operations than are named at
//! [`Universe`], several of one author, dismissals (M14), properties of the root, more than one
//! property that authors compete for, values but an integer and a text, orders between two
//! siblings (to the fold a key is a key, M11), and what no honest author writes (M12). Names that
//! are new altogether are left out but for one: adds under them meet as those of the others do,
//! less often.

use std::fmt::Write as _;
use std::sync::Arc;

use leveret::model::ChangeSet;
use merge_spec::{self as spec, Child, Fold, NodeId};

use crate::engine::from_spec;

/// The names that nodes are added under, or get. They are names of the base too, so that what is
/// added comes to meet what is moved; at the root there is also `a`, for when that is gone.
const NAMES: [&str; 2] = ["b", "c"];

/// A name for what would have none of those left.
const SPARE: &str = "d";

/// What authors may write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Universe {
    /// Every operation, each as a set of its own, and a removal with an add of the same path; and
    /// each of these once more all-or-nothing, with an inc of another node where there is one.
    Full,
    /// Adds, removals and moves, each as a set of its own: one add under each node, and of each
    /// node one move to each other parent, which keeps the name if it can.
    Structure,
}

/// A change set that an author can write.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Its operations as the author writes them, one a line.
    pub ops: String,
    /// The change set for the model.
    pub spec: spec::ChangeSet,
    /// The same for the engine.
    pub engine: Arc<ChangeSet>,
}

/// A visible node of the author's view.
struct Place {
    path: String,
    parent: String,
    name: String,
    node: NodeId,
}

impl Universe {
    /// Everything that the author of `draft`, which has no operations yet, can write having seen
    /// what is in `view`.
    #[must_use]
    pub fn choices(self, view: &Fold, draft: &spec::ChangeSet) -> Vec<Choice> {
        let places = places(view);
        let mut desk = Writer {
            view,
            draft,
            choices: Vec::new(),
        };
        match self {
            Universe::Structure => structure(&mut desk, &places),
            Universe::Full => full(&mut desk, &places),
        }
        desk.choices
    }
}

/// Tries what an author might write, and keeps what is not refused.
struct Writer<'a> {
    view: &'a Fold,
    draft: &'a spec::ChangeSet,
    choices: Vec<Choice>,
}

impl Writer<'_> {
    /// Writes lines as a change set; false if one of them is refused.
    fn write(&mut self, ops: &str, all_or_nothing: bool) -> bool {
        let draft = spec::ChangeSet {
            all_or_nothing,
            ..self.draft.clone()
        };
        let Ok(spec) = spec::write(self.view, draft, ops) else {
            return false;
        };
        self.choices.push(Choice {
            ops: ops.to_owned(),
            engine: from_spec(&spec),
            spec,
        });
        true
    }

    /// Writes lines as a plain change set, and as an all-or-nothing one together with an inc of
    /// another node than `about`, if there is one; false if one of them is refused.
    fn both(&mut self, ops: &str, about: Option<&Place>, places: &[Place]) -> bool {
        if !self.write(ops, false) {
            return false;
        }
        let others = places
            .iter()
            .filter(|place| about.is_none_or(|about| about.node != place.node));
        let with_inc = others.map(|other| format!("{ops}\ninc {} y 1", other.path));
        let mut ways = with_inc.collect::<Vec<_>>().into_iter();
        let written = ways.any(|ops| self.write(&ops, true));
        written || self.write(ops, true)
    }
}

fn structure(desk: &mut Writer<'_>, places: &[Place]) {
    for under in parents(places) {
        names_at(under)
            .iter()
            .any(|name| desk.write(&format!("add {under}/{name}"), false));
    }
    for place in places {
        desk.write(&format!("remove {}", place.path), false);
        for to in parents(places).filter(|to| *to != place.parent) {
            let stays = format!("move {} {to}/{}", place.path, place.name);
            let _ = desk.write(&stays, false)
                || NAMES
                    .iter()
                    .any(|name| desk.write(&format!("move {} {to}/{name}", place.path), false));
        }
    }
}

fn full(desk: &mut Writer<'_>, places: &[Place]) {
    for under in parents(places) {
        let under_node = places.iter().find(|place| place.path == under);
        for name in names_at(under) {
            desk.both(&format!("add {under}/{name}"), under_node, places);
        }
        names_at(under)
            .iter()
            .any(|name| desk.both(&format!("add_unique {under}/{name}"), under_node, places));
    }
    for place in places {
        let Place { path, parent, .. } = place;
        let mut both = |ops: &str| desk.both(ops, Some(place), places);
        both(&format!("remove {path}"));
        both(&format!("remove {path}\nadd {path}"));
        for to in parents(places).filter(|to| *to != parent) {
            both(&format!("move {path} {to}/{}", place.name));
            other_names(place).any(|name| both(&format!("move {path} {to}/{name}")));
        }
        other_names(place).any(|name| both(&format!("move {path} {parent}/{name}")));
        both(&format!("set {path} x 2"));
        both(&format!("set {path} x \"t\""));
        both(&format!("unset {path} x"));
        both(&format!("inc {path} x 3"));
        let first = places.iter().find(|other| other.parent == *parent);
        let is_first = first.is_none_or(|first| first.node == place.node);
        let siblings = places.iter().filter(|other| other.parent == *parent);
        let to = match is_first && siblings.count() > 1 {
            true => "last",
            false => "first",
        };
        both(&format!("order {path} {to}"));
    }
}

fn names_at(under: &str) -> &'static [&'static str] {
    match under {
        "" => &["a", "b", "c"],
        _ => &NAMES,
    }
}

/// The names that a node might be given in place of its own.
fn other_names(place: &Place) -> impl Iterator<Item = &'static str> {
    let names = NAMES.into_iter().chain([SPARE]);
    names.filter(|name| *name != place.name)
}

/// What nodes can be added or moved under; the root is the empty path.
fn parents(places: &[Place]) -> impl Iterator<Item = &str> {
    std::iter::once("").chain(places.iter().map(|place| place.path.as_str()))
}

/// The visible nodes below the root, siblings in their order.
fn places(view: &Fold) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let mut waiting = vec![(String::new(), NodeId::ROOT)];
    while let Some((parent, node)) = waiting.pop() {
        for Child {
            shown, name, node, ..
        } in view.children(node)
        {
            let mut path = parent.clone();
            write!(path, "/{shown}").expect("a string takes all");
            waiting.push((path.clone(), node));
            places.push(Place {
                path,
                parent: parent.clone(),
                name,
                node,
            });
        }
    }
    places
}
