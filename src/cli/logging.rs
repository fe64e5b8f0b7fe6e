//! Logs: which level, and that they go to standard error.

use tracing_subscriber::filter::LevelFilter;

use super::Failure;

/// The least important kind of report that is still written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Level {
    /// What failed.
    Error,
    /// And what someone should look at.
    Warn,
    /// And what operators like to know.
    Info,
    /// And what helps to find a bug.
    Debug,
    /// Everything.
    Trace,
}

/// The level asked for: by the option, else by `LEVERET_LOG`, else the usual one.
///
/// # Errors
/// If the variable holds no level.
pub(crate) fn level(asked: Option<Level>, serving: bool) -> anyhow::Result<Level> {
    if let Some(level) = asked {
        return Ok(level);
    }
    match std::env::var("LEVERET_LOG") {
        Ok(text) if !text.is_empty() => {
            <Level as clap::ValueEnum>::from_str(&text, true).map_err(|_| {
                Failure::error(
                    format!("LEVERET_LOG is `{text}`, which is no level"),
                    "set it to error, warn, info, debug or trace",
                )
            })
        }
        _ if serving => Ok(Level::Info),
        _ => Ok(Level::Warn),
    }
}

/// Begins to write logs to standard error.
pub(crate) fn start(level: Level) {
    let filter = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    // Fails only if something else in the process logs already, and then that goes on.
    let _ = tracing_subscriber::fmt()
        .with_max_level(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .try_init();
}
