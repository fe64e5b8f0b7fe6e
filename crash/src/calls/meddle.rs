//! The library that stands between a program and the C library (`meddle.c`): it counts a process's
//! calls about its disk over all threads, which `strace` does for each thread alone, so that the one
//! that is meant is always met.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

const SOURCE: &str = include_str!("meddle.c");

/// What is done at a call, and to which calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meddling {
    pub(super) name: &'static str,
    /// As the library names them: `w` writes, makes or lengthens, `s` syncs, `n` unlinks.
    kinds: &'static str,
    /// The number of the error; 0 to kill.
    error: i32,
}

/// What is tried, one after the other.
pub(super) const ALL: [Meddling; 3] = [
    Meddling {
        name: "killed at a call",
        kinds: "wsn",
        error: 0,
    },
    Meddling {
        name: "no room",
        kinds: "w",
        error: 28, // ENOSPC
    },
    Meddling {
        name: "a call failed",
        kinds: "ws",
        error: 5, // EIO
    },
];

/// The library, built.
pub(super) struct Library {
    directory: tempfile::TempDir,
}

impl Library {
    /// Builds it with the C compiler of this machine.
    ///
    /// # Errors
    /// If there is none, or it does not understand the source.
    pub(super) fn build() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("leveret-crash.")
            .tempdir()?;
        let library = Self { directory };
        let source = library.directory.path().join("meddle.c");
        std::fs::write(&source, SOURCE)?;
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(library.path())
            .arg(&source)
            .args(["-ldl"])
            .status()
            .context("`cc` does not run; install a C compiler")?;
        ensure!(status.success(), "`cc` refused meddle.c");
        Ok(library)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("meddle.so")
    }

    /// Lets a command run with the library, which meddles with call `at`, from 1, about what is below
    /// a directory.
    pub(super) fn preload(&self, command: &mut Command, how: Meddling, below: &Path, at: u64) {
        command
            .env("LD_PRELOAD", self.path())
            .env("MEDDLE_BELOW", below)
            .env("MEDDLE_KINDS", how.kinds)
            .env("MEDDLE_ERRNO", how.error.to_string())
            .env("MEDDLE_AT", at.to_string());
    }
}

/// Whether the call was met, by what the process wrote to standard error.
pub(super) fn was_met(said: &[u8]) -> bool {
    String::from_utf8_lossy(said).contains("meddled with ")
}
