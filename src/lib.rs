//! leveret: a replicated store for trees of nodes with properties.
pub mod codec;
pub mod model;
#[cfg(feature = "net")]
pub mod net;
pub mod replica;
