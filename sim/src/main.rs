//! The program `leveret-sim`.

use std::process::ExitCode;

fn main() -> ExitCode {
    leveret_sim::cli::main()
}
