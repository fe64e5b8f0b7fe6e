//! Replicas wired together in memory, on virtual time.

mod again;
mod ahead;
mod backup;
mod closing;
mod ends;
mod exchange;
mod faults;
mod held;
mod histories;
mod membership;
#[cfg(feature = "faults")]
mod mutations;
mod opening;
mod repair;
mod saving;
mod world;
