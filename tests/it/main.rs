//! The one integration-test binary.

mod cases;
mod convergence;
mod engine;
mod merge_costs;
