//! The program `leveret-crash`: what a machine can do to a peer, done to it on purpose.
//!
//! - [`kills`]: a daemon under load is killed, over and over;
//! - [`calls`]: each call of a run to the file system fails, is slow, or is the last one;
//! - [`cuts`]: the power goes: of what was not synced, anything may be lost;
//! - [`damage`]: bytes of its files change.
//!
//! Each time [`judge`] opens what is left and says what became of the saves that had been
//! acknowledged. [`work`] is the run that most of this is done to, as a process of its own;
//! [`strace`] records what a process says to the file system, and [`disk`] is a model of the disk
//! under it.

mod calls;
mod cuts;
mod damage;
mod disk;
mod judge;
mod kills;
mod strace;
mod tally;
mod threads;
mod trial;
mod work;

use std::process::ExitCode;

use clap::Parser;

/// Does to leveret what machines do, and looks whether an acknowledged save was lost untold
#[derive(Parser)]
#[command(
    name = "leveret-crash",
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
    Kills(kills::Kills),
    Calls(calls::Calls),
    Cuts(cuts::Cuts),
    Damage(damage::Damage),
    Work(work::Work),
}

/// The exit status is 0 if nothing was lost untold, 1 if something was or the harness itself could
/// not go on, and 2 if the arguments were no command.
fn main() -> ExitCode {
    let program = Program::parse();
    let done = match program.command {
        Command::Kills(command) => command.run(),
        Command::Calls(command) => command.run(),
        Command::Cuts(command) => command.run(),
        Command::Damage(command) => command.run(),
        Command::Work(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leveret-crash: {error:#}");
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
