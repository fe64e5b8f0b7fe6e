//! The program `leveret-sim`: its commands, a file each, and its exit codes.

mod cases;
mod finding;
mod options;
mod report;
mod run;
mod sweep;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

/// Runs leveret's own code through histories and faults, and looks whether all that must hold does
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
    Run(run::Run),
    Sweep(sweep::Sweep),
    Cases(cases::Cases),
    Report(report::Report),
}

/// Runs the program with the arguments of the process. The exit code is 0 if all went well and 2 if
/// the arguments were no command; otherwise the commands say what theirs mean.
pub fn main() -> ExitCode {
    let program = Program::parse();
    let mut out = io::BufWriter::new(io::stdout());
    let ran = match program.command {
        Command::Run(command) => command.run(&mut out),
        Command::Sweep(command) => command.run(&mut out),
        Command::Report(command) => command.run(&mut out),
        Command::Cases(command) => command.run(&mut out).map(|good| match good {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }),
    };
    match ran.and_then(|code| out.flush().map(|()| code)) {
        Ok(code) => code,
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
