//! The program `leveret`.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

// What one thread makes another frees here: records of a commit, pages of sled's. docs/decisions/0013
// says what that comes to.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    leveret::cli::main()
}
