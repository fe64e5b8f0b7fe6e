//! The one integration-test binary.

mod cases;
mod convergence;
mod engine;
mod floors;
mod golden_state;
mod library;
mod merge_costs;
mod snapshots;
