//! Random histories for property tests (feature `random`).
//!
//! A [`Script`] is a list of steps that stays meaningful whichever of them are dropped: nodes are
//! picked by number from those that the author sees at that moment, and a line that he would be
//! refused is left out. So a failing history shrinks to the few steps that matter; [`minimise`](crate::minimise)
//! then takes away what does not matter of those.
//! [`History::play`] has authors write case lines at their desks; what comes out is a [`Case`],
//! which can be written to a file.
//!
//! Independent random operations hardly ever meet. Here the nodes, names and properties are few,
//! and part of the steps are *contests*: a few authors who do, without knowing of each other,
//! what rules M6 to M9 and M14 are about.

mod contest;
mod play;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::case::Case;
use crate::change::{Origin, SetId};

pub use contest::Kind;

/// How many authors there are.
pub const AUTHORS: usize = 4;

/// The most steps of a script that [`script`] makes.
pub const STEPS_MAX: usize = 36;

/// A history before it is played.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// How many lines of the base are there.
    pub base: usize,
    /// What happens, in this order.
    pub steps: Vec<Step>,
}

/// One thing that happens. Numbers are taken modulo what there is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// An author saves.
    Save {
        /// Who.
        author: usize,
        /// How far his clock leaps, beyond the one it has to.
        leap: u64,
        /// Whether the save is all-or-nothing.
        all_or_nothing: bool,
        /// What he does.
        edits: Vec<Edit>,
    },
    /// An author receives sets of another, and all that those had seen.
    Deliver {
        /// Who receives.
        to: usize,
        /// Whose sets.
        from: usize,
        /// How many of the newest do not arrive.
        but: usize,
    },
    /// Everybody receives everything.
    Meet,
    /// Several authors work on the same nodes at a time.
    Contest(Contest),
}

/// Several authors who work on the same nodes at a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contest {
    /// In which way.
    pub kind: Kind,
    /// Who is the first of them.
    pub first: usize,
    /// Which nodes it is about.
    pub nodes: [usize; 3],
    /// Which of the names.
    pub name: usize,
    /// How far the clocks leap, which decides who is older.
    pub leaps: [u64; 4],
    /// What they do besides, three of these in each save.
    pub edits: Vec<Edit>,
    /// Whether the saves are all-or-nothing.
    pub all_or_nothing: bool,
    /// Whether everybody receives everything before it begins.
    pub meet: bool,
}

/// One or two lines of a save. Numbers are taken modulo what there is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// `add`, under a node or the root.
    Add(usize, usize),
    /// `add_unique`, likewise.
    AddUnique(usize, usize),
    /// `remove`.
    Remove(usize),
    /// `remove`, then `add` of the same path.
    Renew(usize),
    /// `move` of a node below another, perhaps with a name.
    Move(usize, usize, Option<usize>),
    /// `move` that is a rename.
    Rename(usize, usize),
    /// `set` of a property of a node or the root to one of a few values.
    Set(usize, usize, usize),
    /// `unset`.
    Unset(usize, usize),
    /// `inc`.
    Inc(usize, usize, i64),
    /// `order`: first, last, before or after a sibling.
    Order(usize, usize, usize),
    /// `dismiss` of one of the conflicts that the author sees open.
    Dismiss(usize),
}

/// A history that was played.
#[derive(Clone, PartialEq, Debug)]
pub struct History {
    /// What was saved. What it expects is what the model says.
    pub case: Case,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// Something that happened in a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A change set was saved by its author.
    Saved(SetId),
    /// An author received these, which he had not seen, in the order of their ids.
    Delivered {
        /// Who received them.
        to: Origin,
        /// What was received.
        sets: Vec<SetId>,
    },
}

/// Histories, with a median of about 40 saves.
pub fn history() -> impl Strategy<Value = History> {
    script().prop_map(|script| History::play(&script))
}

/// Scripts of up to [`STEPS_MAX`] steps.
pub fn script() -> impl Strategy<Value = Script> {
    (0..=play::BASE.len(), vec(step(), 1..=STEPS_MAX)).prop_map(|(base, steps)| Script {
        // Three scripts of four start with the whole base.
        base: if base % 4 == 0 {
            base
        } else {
            play::BASE.len()
        },
        steps,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let author = 0..AUTHORS;
    let save = (author.clone(), leap(), all_or_nothing(), vec(edit(), 1..=4)).prop_map(
        |(author, leap, all_or_nothing, edits)| Step::Save {
            author,
            leap,
            all_or_nothing,
            edits,
        },
    );
    let deliver = (author.clone(), author.clone(), 0..3_usize)
        .prop_map(|(to, from, but)| Step::Deliver { to, from, but });
    let contest = (
        (Kind::any(), author, prop::bool::weighted(0.8)),
        [pick(), pick(), pick()],
        0..play::NAMES.len(),
        [leap(), leap(), leap(), leap()],
        vec(beside(), 0..=15),
        all_or_nothing(),
    )
        .prop_map(
            |((kind, first, meet), nodes, name, leaps, edits, all_or_nothing)| {
                Step::Contest(Contest {
                    kind,
                    first,
                    nodes,
                    name,
                    leaps,
                    edits,
                    all_or_nothing,
                    meet,
                })
            },
        );
    prop_oneof![3 => save, 3 => deliver, 1 => Just(Step::Meet), 10 => contest]
}

/// Which of the nodes: more often one of the first, which are near the root.
fn pick() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0..6_usize, 2 => 0..16_usize]
}

fn leap() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0..4_u64, 1 => 0..16_u64]
}

fn all_or_nothing() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.18)
}

fn edit() -> impl Strategy<Value = Edit> {
    let name = 0..play::NAMES.len();
    prop_oneof![
        4 => (pick(), name.clone()).prop_map(|(under, name)| Edit::Add(under, name)),
        1 => (pick(), name.clone()).prop_map(|(under, name)| Edit::AddUnique(under, name)),
        2 => pick().prop_map(Edit::Remove),
        1 => pick().prop_map(Edit::Renew),
        3 => (pick(), pick(), prop::option::weighted(0.3, name.clone()))
            .prop_map(|(node, to, name)| Edit::Move(node, to, name)),
        2 => (pick(), name).prop_map(|(node, name)| Edit::Rename(node, name)),
        2 => (pick(), 0..4_usize, pick()).prop_map(|(node, way, by)| Edit::Order(node, way, by)),
        3 => pick().prop_map(Edit::Dismiss),
        18 => value_edit(),
    ]
}

/// What is done besides a contest.
fn beside() -> impl Strategy<Value = Edit> {
    prop_oneof![14 => value_edit(), 1 => pick().prop_map(Edit::Dismiss)]
}

fn value_edit() -> impl Strategy<Value = Edit> {
    let property = 0..play::PROPERTIES.len();
    let delta = prop_oneof![6 => -3..=3_i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    prop_oneof![
        4 => (pick(), property.clone(), 0..play::VALUES.len())
            .prop_map(|(node, property, value)| Edit::Set(node, property, value)),
        1 => (pick(), property.clone()).prop_map(|(node, property)| Edit::Unset(node, property)),
        3 => (pick(), property, delta)
            .prop_map(|(node, property, delta)| Edit::Inc(node, property, delta)),
    ]
}
