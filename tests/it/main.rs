//! The one integration-test binary.

mod cases;
mod convergence;
mod engine;
mod floors;
mod merge_costs;
mod snapshots;
