//! The one integration-test binary: leveret as a library, and as a program.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is tests, and `allow-unwrap-in-tests` knows only functions that are one"
)]

mod backup;
mod bad_input;
mod bench;
mod cases;
mod commands;
mod conflicts;
mod convergence;
mod daemon;
mod daemons;
mod exhaustive;
mod explain;
mod floors;
mod golden_state;
mod library;
mod limits;
mod merge_costs;
mod mutations;
mod pages;
mod paths;
mod refetch;
mod repair_clock;
mod restore;
mod snapshots;
mod verify;
