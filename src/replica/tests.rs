//! Replicas wired together in memory, on virtual time.

mod exchange;
mod faults;
mod held;
mod membership;
mod opening;
mod saving;
mod world;
