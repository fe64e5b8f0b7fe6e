//! Every limit of the data model, in one place.
//!
//! They are checked at the author's door. The fold itself never looks at them, so a limit can
//! change without two replicas coming to disagree; what the fold could see would be a constant of
//! the rules version (M19).

/// Longest node or property name, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;
/// Deepest path that an author may write to, in names below the root. Merging can exceed it.
pub const PATH_DEPTH_MAX: usize = 512;
/// Most properties of one node, as its author sees it.
pub const PROPERTIES_MAX: usize = 1_024;
/// Largest property value, in bytes as [`crate::model::Value::weight`] counts them.
pub const VALUE_BYTES_MAX: usize = 256 << 10;
/// Largest encoded change set, in bytes.
pub const CHANGE_SET_BYTES_MAX: usize = 1 << 20;
/// Most operations in one change set.
pub const OPERATIONS_MAX: usize = 65_536;
/// Longest message of a change set, in bytes of UTF-8.
pub const MESSAGE_BYTES_MAX: usize = 4_096;
/// Longest order key, in bytes. Past it `order` is refused at the author's door.
pub const ORDER_KEY_BYTES_MAX: usize = 512;
/// Most dependencies of one change set.
pub const DEPENDENCIES_MAX: usize = 4_096;
