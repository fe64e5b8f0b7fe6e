//! Replicas wired together in memory, on virtual time.

mod ends;
mod exchange;
mod faults;
mod held;
mod histories;
mod membership;
mod opening;
mod saving;
mod world;
