//! One replica of a cluster's repositories.

pub mod identity;
