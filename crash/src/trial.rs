//! One trial: a directory of its own, which is kept if something did not hold.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use crate::judge::{Promises, Verdict};
use crate::strace::{Record, recorded, slowed};

/// See the top of the file.
pub(crate) struct Trial {
    directory: tempfile::TempDir,
    /// What stands for the disk.
    pub(crate) root: PathBuf,
}

impl Trial {
    /// A trial on an empty disk.
    ///
    /// # Errors
    /// If there is no room for it.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("leveret-crash.")
            .tempdir()?;
        let root = directory.path().join("disk");
        fs::create_dir(&root)?;
        Ok(Self { directory, root })
    }

    /// Another trial on the same bytes.
    ///
    /// # Errors
    /// If they can not be copied.
    pub(crate) fn copy(&self) -> anyhow::Result<Self> {
        let copy = Self::new()?;
        copy_files(&self.root, &copy.root)?;
        Ok(copy)
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// From now on it stays, whatever happens.
    pub(crate) fn keep(&mut self) {
        self.directory.disable_cleanup(true);
    }

    /// Judges its data directory by `look`. If that finds something that does not hold, all of it is
    /// kept.
    ///
    /// # Errors
    /// What does not hold, and where it can be looked at: as it was, and as it was when that showed.
    pub(crate) fn judged(
        self,
        name: &str,
        look: impl FnOnce(&Path) -> anyhow::Result<Verdict>,
    ) -> anyhow::Result<Verdict> {
        let before = self.directory.path().join("before");
        copy_files(&self.root, &before)?;
        look(&self.data()).map_err(|error| {
            let kept = self.directory.keep();
            error.context(format!("{name} (kept in {})", kept.display()))
        })
    }
}

/// This program.
fn myself() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("this program does not know where it is")
}

fn with_work(mut command: Command, trial: &Trial, arguments: &[(&str, u64)]) -> Command {
    command.arg("work").arg(trial.data());
    for (name, value) in arguments {
        command.arg(name).arg(value.to_string());
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::null());
    command
}

/// Lets a process work in a trial's data directory, and writes down what it says to the file system.
///
/// # Errors
/// If it does not come to its end.
pub(crate) fn record(trial: &Trial, arguments: &[(&str, u64)]) -> anyhow::Result<Record> {
    let into = trial.directory.path().join("record");
    let output = with_work(recorded(&myself()?, &into), trial, arguments).output()?;
    let refused = output.status.code() == Some(crate::work::REFUSED);
    if !output.status.success() && !refused {
        let kept = String::from_utf8_lossy(&output.stdout).into_owned();
        bail!("the recorded run ended with {}: {kept}", output.status);
    }
    Record::read(&into)
}

/// Lets a process work in a trial's data directory, undisturbed. Gives what it promised.
///
/// # Errors
/// If it does not come to its end.
pub(crate) fn run_work(trial: &Trial, arguments: &[(&str, u64)]) -> anyhow::Result<Promises> {
    let command = Command::new(myself()?);
    let output = with_work(command, trial, arguments).output()?;
    ensure!(
        output.status.success(),
        "the run ended with {}",
        output.status
    );
    Ok(Promises::of(&String::from_utf8_lossy(&output.stdout)))
}

/// What a process did that was not left alone.
pub(crate) struct Ran {
    pub(crate) promises: Promises,
    /// Whether it came to its end.
    pub(crate) ended: bool,
    /// What it wrote to standard error.
    pub(crate) said: Vec<u8>,
}

/// Lets a process work in a trial's data directory; `meddle` may change how it is started.
///
/// # Errors
/// If it can not be started, or hangs.
pub(crate) fn run_meddled(
    trial: &Trial,
    arguments: &[(&str, u64)],
    meddle: impl FnOnce(&mut Command),
) -> anyhow::Result<Ran> {
    let mut command = with_work(Command::new(myself()?), trial, arguments);
    meddle(&mut command);
    ran(command.stderr(Stdio::piped()))
}

/// Lets a process work in a trial's data directory, with each sync so many microseconds longer.
///
/// # Errors
/// If it can not be started, or hangs.
pub(crate) fn run_slowed(
    trial: &Trial,
    arguments: &[(&str, u64)],
    microseconds: u32,
) -> anyhow::Result<Ran> {
    ran(&mut with_work(
        slowed(&myself()?, microseconds),
        trial,
        arguments,
    ))
}

fn ran(command: &mut Command) -> anyhow::Result<Ran> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(crate::work::HUNG) {
        let last = said.lines().last().unwrap_or_default();
        bail!("the run hangs after `{last}`");
    }
    Ok(Ran {
        promises: Promises::of(&said),
        ended: output.status.success(),
        said: output.stderr,
    })
}

/// Copies a directory with all that is in it.
///
/// # Errors
/// If something can not be read or written.
pub(crate) fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type()?.is_dir() {
            true => copy_files(&from, &to)?,
            false => drop(fs::copy(&from, &to)?),
        }
    }
    Ok(())
}
