//! A backup that is being written when its daemon is killed.
//!
//! It is whole or says that it is not: whatever says that it is whole is checked, and has everything
//! that was stored when it was asked for. One that is not whole is refused, and the daemon's next life
//! goes on with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use leveret::peer::{DirectoryError, VerifyError, verify};

use super::client::Client;
use super::{copy, stored};
use crate::judge::must_be_sound;

/// A backup of one daemon, into one directory.
pub(super) struct Backup {
    directory: PathBuf,
    /// What was stored when the last one was asked for, by origin.
    asked_for: BTreeMap<String, u64>,
    /// What the last whole one says of itself, and what it must have.
    whole: (String, BTreeMap<String, u64>),
}

impl Backup {
    /// None yet.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            asked_for: BTreeMap::new(),
            whole: Default::default(),
        }
    }

    /// Asks for one after so long, and does not mind if it never comes to its end.
    pub(super) fn try_after(&mut self, delay: Duration, client: &Client) {
        std::thread::sleep(delay);
        let stored = client
            .json("/v1/status", &[])
            .and_then(|status| stored(&status));
        if let Ok(stored) = stored {
            self.asked_for = stored;
            // The daemon may be gone in the middle of it.
            let _ = client.backup(&self.directory);
        }
    }

    /// Looks at what the killed daemon left. Whether it is whole, and not the one from before.
    ///
    /// # Errors
    /// If it is not what it says that it is.
    pub(super) fn look(&mut self) -> anyhow::Result<bool> {
        if !self.directory.exists() {
            return Ok(false);
        }
        let text = match fs::read_to_string(self.directory.join("backup")) {
            Ok(text) if text.contains(" finished ") => text,
            // Killed before there was anything, or amid it.
            _ => {
                self.must_be_refused()?;
                return Ok(false);
            }
        };
        let is_new = text != self.whole.0;
        if is_new {
            self.whole = (text, self.asked_for.clone());
        }
        must_be_sound(&self.directory).context("a backup that says that it is whole")?;
        let there = copy::stored(&self.directory)?;
        for (origin, sequence) in &self.whole.1 {
            let found = there.get(origin).copied().unwrap_or(0);
            ensure!(
                found >= *sequence,
                "{sequence} change sets of {origin} were stored, and a whole backup has {found}"
            );
        }
        Ok(is_new)
    }

    fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    fn must_be_refused(&self) -> anyhow::Result<()> {
        match verify(&self.directory, false) {
            Err(VerifyError::Directory(DirectoryError::Unfinished { .. })) => Ok(()),
            // Killed before it was said that a backup is to be here.
            Err(_) if !self.directory.join("backup").exists() && !self.store().exists() => Ok(()),
            Err(error) => Err(error).context("a backup that is not whole"),
            Ok(_) => bail!("a backup that is not whole is taken for one that is"),
        }
    }

    /// The next life writes it to its end.
    ///
    /// # Errors
    /// If it does not, or it is not whole then.
    pub(super) fn finish(&mut self, client: &Client) -> anyhow::Result<()> {
        self.asked_for = stored(&client.json("/v1/status", &[])?)?;
        client.backup(&self.directory)?;
        ensure!(self.look()?, "a backup was written, and is not whole");
        Ok(())
    }
}
