//! leveret: a replicated store for trees of nodes with properties.
pub mod codec;
pub mod merge;
pub mod model;
#[cfg(feature = "net")]
pub mod net;
#[cfg(feature = "net")]
pub mod peer;
pub mod replica;
pub mod storage;
