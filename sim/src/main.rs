//! The program `leveret-sim`.

use std::process::ExitCode;

/// A tenth of a run and more is spent on memory, in pieces of a few dozen bytes.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    leveret_sim::cli::main()
}
