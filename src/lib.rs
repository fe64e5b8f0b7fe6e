//! leveret: a replicated store for trees of nodes with properties.
pub mod codec;
pub mod model;
