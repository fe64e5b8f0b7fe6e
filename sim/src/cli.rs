//! The program `leveret-sim`: its commands, a file each, and its exit codes.

mod cases;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

/// Runs histories through leveret's own merge code, and compares the outcome with the naive model
/// of the merge rules.
#[derive(Parser)]
#[command(
    name = "leveret-sim",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Cases(cases::Cases),
}

/// Runs the program with the arguments of the process. The exit code is 0 if all went well, 1 if
/// something differed or failed, and 2 if the arguments were no command.
pub fn main() -> ExitCode {
    let program = Program::parse();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let ran = match program.command {
        Command::Cases(command) => command.run(&mut out),
    };
    match ran.and_then(|good| out.flush().map(|()| good)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Standard error may be closed too; there is nobody left to tell then.
            let _ = writeln!(
                io::stderr(),
                "leveret-sim: cannot write the outcome: {error}"
            );
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_fit_together() {
        use clap::CommandFactory as _;
        Program::command().debug_assert();
    }
}
