//! Every byte that goes to disk or wire, and its version.

pub(crate) mod bytes;
pub mod record;
pub mod state_key;
