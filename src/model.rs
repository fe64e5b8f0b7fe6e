//! The values everything else is made of: ids and stamps, names and paths, property values,
//! operations and change sets.
//!
//! Nothing here does input or output, keeps state, or knows how bytes are laid out (that is
//! `codec`). A value in hand is valid: constructors parse.

pub mod change_set;
pub mod conflict;
pub mod id;
pub mod json;
pub mod limits;
mod lost;
pub mod name;
pub mod order;
pub mod path;
pub mod script;
pub mod value;

pub use change_set::{Birth, ChangeSet, Dependency, Operation, Predecessor};
pub use conflict::{Conflict, ConflictItem, ConflictKind};
pub use id::{
    ChangeSetId, ClusterId, ConflictId, NodeId, OriginId, PublicKey, RepoId, Sequence, Stamp, Time,
};
pub use name::{NameError, NodeName, PropertyName};
pub use order::OrderKey;
pub use path::{NodePath, PathError, PathStep};
pub use value::{Timestamp, Value, ValueError};
