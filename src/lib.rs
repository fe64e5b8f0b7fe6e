//! leveret: a replicated store for trees of nodes with properties.
pub mod model;
pub mod storage;
