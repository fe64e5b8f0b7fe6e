//! leveret: a replicated store for trees of nodes with properties.
pub mod codec;
pub mod merge;
pub mod model;
pub mod storage;
