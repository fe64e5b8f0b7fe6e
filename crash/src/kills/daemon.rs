//! A daemon as a process of its own.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::client::Client;

/// A daemon. It is killed when this is dropped.
pub(super) struct Daemon {
    program: PathBuf,
    data: PathBuf,
    arguments: Vec<String>,
    listen: String,
    child: Option<Child>,
    client: Client,
}

impl Daemon {
    /// Starts a daemon on a directory, with more arguments. Its log stands beside the directory.
    ///
    /// # Errors
    /// If it does not come to be ready.
    pub(super) fn start(program: &Path, data: &Path, more: &[&str]) -> anyhow::Result<Self> {
        let mut daemon = Self {
            program: program.to_owned(),
            data: data.to_owned(),
            arguments: more.iter().map(|&text| text.to_owned()).collect(),
            listen: "127.0.0.1:0".to_owned(),
            child: None,
            client: Client::new(),
        };
        daemon.restart()?;
        Ok(daemon)
    }

    /// Starts it again, with the same address for peers.
    ///
    /// # Errors
    /// If it does not come to be ready.
    pub(super) fn restart(&mut self) -> anyhow::Result<()> {
        let log = self.data.with_extension("log");
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let mut child = Command::new(&self.program)
            .args(["serve", "--json", "--api", "127.0.0.1:0"])
            .args(["--listen", &self.listen, "--data"])
            .arg(&self.data)
            .args(&self.arguments)
            .env_remove("LEVERET_API_TOKEN")
            .env_remove("LEVERET_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let stdout = child.stdout.take().context("it has an output")?;
        self.child = Some(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            bail!("the daemon does not start; see its log");
        }
        let said: Value = serde_json::from_str(&line)?;
        let text = |name: &str| -> anyhow::Result<String> {
            Ok(said[name]
                .as_str()
                .context("it says where it is")?
                .to_owned())
        };
        self.listen = text("listen")?;
        self.client.goes_to(Some(text("api")?));
        Ok(())
    }

    /// Kills it, as the system does when memory is short.
    ///
    /// # Errors
    /// If it was not there any more.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("it runs")?;
        ensure!(
            child.try_wait()?.is_none(),
            "the daemon had ended by itself"
        );
        child.kill()?;
        child.wait()?;
        self.client.goes_to(None);
        Ok(())
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// If it says that something went wrong.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("it runs")?;
        let id = child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status()?;
        let status = child.wait()?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }

    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if it has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
