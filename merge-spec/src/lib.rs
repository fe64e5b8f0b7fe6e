//! The judge of leveret's merge engine: the merge rules in words (`README.md`), as worked cases
//! (`cases/`), and as a model that is slow and plain enough to be checked against the rules by
//! reading.
//!
//! The model is [`fold`]: change sets go in, in any order, and the state they must lead to comes
//! out. It sorts, applies one operation after the other to a map of nodes, scans the whole map
//! whenever it wants to know who is below whom, and clones all of it before an all-or-nothing
//! set. Nothing in this crate is shared with the engine, so that a mistake has to be made twice to
//! go unnoticed.
//!
//! [`Case`] reads a case file, turns its lines into operations the way an author's replica would,
//! and checks a result against what the file expects, whoever computed that result.
//! [`Case::transcribe`] goes the other way, from change sets to the lines of a case, and [`minimise`]
//! leaves out of a case what does not matter.
//!
//! With the feature `random`, the module `random` makes histories for property tests.
//!
//! Modelled: M1 to M14. Not modelled: ids and clocks (M15, M16), forks (M17; a set that is given
//! twice counts once), truncation (M18) and rule versions (M19).

mod case;
mod change;
mod conflict;
mod digest;
mod fired;
mod fold;
mod node;
#[cfg(feature = "random")]
pub mod random;
mod removal;
mod tree;
mod value;
mod view;

pub use case::{Case, CaseError, Expect, Mismatch, Refusal, Save, key_between, minimise, write};
pub use change::{ChangeSet, NodeId, Operation, Origin, SetId, Stamp};
pub use conflict::{Conflict, Item, Kind};
pub use digest::Digest;
pub use fired::RULES;
pub use fold::{Fold, fold};
pub use node::{
    NameCause, NameWrite, Node, OrderWrite, ParentCause, ParentWrite, PropertyChange,
    PropertyWrite, SkippedMove,
};
pub use value::{Instant, Value, ValueError};
pub use view::Child;
