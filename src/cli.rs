//! The program `leveret`: one command a file, and how they report errors.
//!
//! `serve` runs a peer with its HTTP API, `verify` looks at a data directory; every other command
//! is a client of that API and holds no state of its own.

mod apply;
mod backup;
mod bench;
mod client;
mod conflicts;
mod duration;
mod explain;
mod export;
mod get;
mod import;
mod isolate;
mod log;
mod logging;
mod operation;
mod peers;
mod refs;
mod repair_clock;
mod restore;
mod serve;
mod status;
mod text;
mod token;
mod tree;
mod verify;
mod wait;
mod watch;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

/// A replicated store for trees of nodes with properties: every peer takes writes, every save
/// merges.
#[derive(Parser)]
#[command(
    name = "leveret",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
struct Program {
    #[command(subcommand)]
    command: Command,
    /// What to log to standard error: error, warn, info, debug or trace [default: $LEVERET_LOG,
    /// or warn; info for serve]
    #[arg(long, value_name = "LEVEL", global = true)]
    log: Option<logging::Level>,
}

#[derive(clap::Subcommand)]
enum Command {
    Serve(serve::Serve),
    Token(token::Token),
    Apply(apply::Apply),
    Set(operation::Set),
    Unset(operation::Unset),
    Inc(operation::Inc),
    Add(operation::Add),
    Rm(operation::Rm),
    Mv(operation::Mv),
    Order(operation::Order),
    Tree(tree::Tree),
    Get(get::Get),
    Refs(refs::Refs),
    Restore(restore::Restore),
    Import(import::Import),
    Export(export::Export),
    Log(log::Log),
    Explain(explain::Explain),
    Conflicts(conflicts::Conflicts),
    Watch(watch::Watch),
    Status(status::Status),
    Peers(peers::Peers),
    Wait(wait::Wait),
    Isolate(isolate::Isolate),
    Backup(backup::Backup),
    RepairClock(repair_clock::RepairClock),
    Bench(bench::Bench),
    Verify(verify::Verify),
}

/// What happened, and what the user can do about it.
#[derive(Debug)]
struct Failure {
    what: String,
    advice: String,
}

impl Failure {
    /// An error of these two halves.
    fn error(what: impl Into<String>, advice: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self {
            what: what.into(),
            advice: advice.into(),
        })
    }
}

/// An error of a floor below, with what to do about it if it does not say that itself.
fn advised(error: &dyn std::error::Error, advice: &str) -> anyhow::Error {
    let what = error.to_string();
    let advice = if what.contains("; ") { "" } else { advice };
    Failure::error(what, advice)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.advice.is_empty() {
            write!(f, "; {}", self.advice)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Runs the program with the arguments of the process. The exit code is 0 if all went well, 1 if
/// it did not, and 2 if the arguments were no command.
pub fn main() -> ExitCode {
    let program = Program::parse();
    let level = match logging::level(program.log, matches!(program.command, Command::Serve(_))) {
        Ok(level) => level,
        Err(error) => return report(&error),
    };
    logging::start(level);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = run(program.command, &mut out).and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let flushed = out.flush();
            if is_broken_pipe(&error) || flushed.is_err() {
                // Whoever read our output has seen enough.
                return ExitCode::SUCCESS;
            }
            report(&error)
        }
    }
}

fn run(command: Command, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        Command::Serve(command) => command.run(out),
        Command::Token(command) => command.run(out),
        Command::Apply(command) => command.run(out),
        Command::Set(command) => command.run(out),
        Command::Unset(command) => command.run(out),
        Command::Inc(command) => command.run(out),
        Command::Add(command) => command.run(out),
        Command::Rm(command) => command.run(out),
        Command::Mv(command) => command.run(out),
        Command::Order(command) => command.run(out),
        Command::Tree(command) => command.run(out),
        Command::Get(command) => command.run(out),
        Command::Refs(command) => command.run(out),
        Command::Restore(command) => command.run(out),
        Command::Import(command) => command.run(out),
        Command::Export(command) => command.run(out),
        Command::Log(command) => command.run(out),
        Command::Explain(command) => command.run(out),
        Command::Conflicts(command) => command.run(out),
        Command::Watch(command) => command.run(out),
        Command::Status(command) => command.run(out),
        Command::Peers(command) => command.run(out),
        Command::Wait(command) => command.run(out),
        Command::Isolate(command) => command.run(out),
        Command::Backup(command) => command.run(out),
        Command::RepairClock(command) => command.run(out),
        Command::Bench(command) => command.run(out),
        Command::Verify(command) => command.run(out),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

fn report(error: &anyhow::Error) -> ExitCode {
    // Standard error may be closed too; there is nobody left to tell then.
    let _ = writeln!(io::stderr(), "leveret: {error:#}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_fit_together() {
        use clap::CommandFactory as _;
        Program::command().debug_assert();
    }

    #[test]
    fn an_error_says_what_happened_and_what_to_do() {
        let error = Failure::error("no daemon answers", "start one");
        assert_eq!(format!("{error:#}"), "no daemon answers; start one");
    }
}
