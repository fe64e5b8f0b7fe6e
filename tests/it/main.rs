//! The integration tests: one binary, a module for each subject; leveret as a library, and as a
//! program.

mod cli;
mod daemon;
mod library;
mod limits;
