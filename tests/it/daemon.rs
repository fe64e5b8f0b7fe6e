//! A daemon as a process of its own: started, killed, frozen, started again.

mod client;
mod commands;

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) use client::{Client, Failure, until, until_equal};

/// The program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_leveret");
/// How long a daemon may take to start; also how long anything else is waited for that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of a daemon's log that are shown when a test fails.
const LOG_LINES: usize = 60;

/// A daemon. It is killed when this is dropped, and must not have panicked.
pub(crate) struct Daemon {
    data: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    listen: Option<SocketAddr>,
    client: Client,
}

impl Daemon {
    /// Starts a daemon on a directory, with more arguments.
    pub(crate) fn start(data: &Path, more: &[&str]) -> Self {
        Self::try_start(data, more).unwrap_or_else(|ran| panic!("it does not start: {ran:?}"))
    }

    /// Starts a daemon; if it ends instead of being ready, gives what it said.
    pub(crate) fn try_start(data: &Path, more: &[&str]) -> Result<Self, Ran> {
        let mut daemon = Self {
            data: data.to_owned(),
            arguments: more.iter().map(|&text| text.to_owned()).collect(),
            log: data.with_extension("log"),
            child: None,
            listen: None,
            client: Client::new(),
        };
        File::create(&daemon.log).unwrap();
        daemon.begin()?;
        Ok(daemon)
    }

    /// Starts the process, and waits until it is ready.
    fn begin(&mut self) -> Result<(), Ran> {
        assert!(self.child.is_none(), "it runs already");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listen = self.listen.unwrap_or(any).to_string();
        let log = OpenOptions::new().append(true).open(&self.log).unwrap();
        let mut child = program(&["serve", "--json", "--api", "127.0.0.1:0"])
            .args(["--listen", &listen, "--data"])
            .arg(&self.data)
            .args(&self.arguments)
            .env("LEVERET_TEST_CLOCK", self.clock())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let child = self.child.insert(child);
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            // Nobody listens any more if it took too long.
            let _ = sender.send(read.map(|_| line));
        });
        let line = receiver.recv_timeout(PATIENCE);
        let line = line.expect("it is ready in time").unwrap();
        if line.is_empty() {
            let status = child.wait().unwrap();
            self.child = None;
            return Err(Ran {
                code: status.code(),
                out: line,
                err: self.log(),
            });
        }
        let said: Value = serde_json::from_str(&line).unwrap();
        self.listen = Some(said["listen"].as_str().unwrap().parse().unwrap());
        let api = said["api"].as_str().unwrap().to_owned();
        self.client.goes_to(Some(api));
        Ok(())
    }

    /// Starts it again, on the same directory and with the same address for peers. Its API gets a
    /// new one, so that a request meant for the life before never reaches this one.
    pub(crate) fn restart(&mut self) {
        self.begin()
            .unwrap_or_else(|ran| panic!("it does not start again: {ran:?}"));
    }

    /// Kills it, as a power cut of the process would.
    pub(crate) fn kill(&mut self) {
        self.client.goes_to(None);
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops it where it is, until [`Daemon::thaw`].
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    /// Asks it to end. Gives the exit code and how long it took.
    pub(crate) fn terminate(&mut self) -> (Option<i32>, Duration) {
        let start = now();
        self.signal("TERM");
        self.client.goes_to(None);
        let status = self.child.take().expect("it runs").wait().unwrap();
        (status.code(), start.elapsed())
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &id.to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// The file that says by how much its clock is wrong.
    fn clock(&self) -> PathBuf {
        self.data.with_extension("clock")
    }

    /// Sets its clock so many milliseconds ahead of the right time, at once and for later lives.
    pub(crate) fn set_clock(&self, ahead_ms: i64) {
        let fresh = self.data.with_extension("clock.new");
        std::fs::write(&fresh, ahead_ms.to_string()).unwrap();
        std::fs::rename(&fresh, self.clock()).unwrap();
    }

    /// Where it listens for peers.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen.expect("it was started")
    }

    /// The address of its API, as a URL.
    pub(crate) fn api(&self) -> String {
        self.client.api().expect("it runs")
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A client of it, for any thread, that goes on with the next life.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if it has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = self.log();
        if !std::thread::panicking() {
            assert!(!log.contains("panicked"), "the daemon panicked:\n{log}");
            return;
        }
        let lines: Vec<&str> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES)..];
        eprintln!("the log of {}:\n{}", self.data.display(), shown.join("\n"));
    }
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("the output is UTF-8"),
            err: String::from_utf8(output.stderr).expect("the errors are UTF-8"),
        }
    }
}

/// A directory of its own for one test.
pub(crate) struct Place {
    _dir: tempfile::TempDir,
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// Makes one.
pub(crate) fn place() -> Place {
    let dir = tempfile::tempdir().expect("there is room for one");
    let path = dir.path().to_owned();
    Place { _dir: dir, path }
}

/// The sample tree.
pub(crate) fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/iso-codes.json")
}

/// A bad input gets one line that names it and says what to do, and exit status 1.
#[track_caller]
pub(crate) fn refused(ran: &Ran, parts: &[&str]) {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let last = ran.err.lines().last().expect("it says something");
    assert!(last.starts_with("leveret: "), "{ran:?}");
    assert!(last.contains("; "), "it does not say what to do: {ran:?}");
    assert!(!ran.err.contains("panicked"), "{ran:?}");
    for part in parts {
        assert!(last.contains(part), "`{part}` is not in: {last}");
    }
}

/// The program with arguments, free of what the environment may say to it.
pub(crate) fn program<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .env_remove("LEVERET_API")
        .env_remove("LEVERET_API_TOKEN")
        .env_remove("LEVERET_LOG");
    command
}

/// Runs the program to its end.
pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Ran {
    let output = program(arguments).output().expect("the program runs");
    output.into()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests measure how long things take"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
