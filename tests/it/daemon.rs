//! A daemon as a process of its own, and commands against it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_leveret");

/// A running daemon. It ends when this is dropped, and must not have panicked.
pub(crate) struct Daemon {
    child: Child,
    /// The address of its API, as a URL.
    pub(crate) api: String,
    /// Where it listens for peers.
    pub(crate) listen: SocketAddr,
    log: PathBuf,
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

impl Daemon {
    /// Starts a daemon on a directory, on free ports, with more arguments.
    pub(crate) fn start(data: &Path, more: &[&str]) -> Self {
        match Self::try_start(data, more) {
            Ok(daemon) => daemon,
            Err(ran) => panic!("the daemon does not start: {ran:?}"),
        }
    }

    /// The same; gives what it said if it ends at once.
    pub(crate) fn try_start(data: &Path, more: &[&str]) -> Result<Self, Ran> {
        let log = data.with_extension("log");
        let mut child = program(&["serve", "--json", "--listen", "127.0.0.1:0"])
            .args(["--api", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("the log can be made"))
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("it is piped");
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        stdout.read_line(&mut line).expect("its output can be read");
        if line.is_empty() {
            let status = child.wait().expect("it can be waited for");
            return Err(Ran {
                code: status.code(),
                out: line,
                err: std::fs::read_to_string(&log).expect("the log can be read"),
            });
        }
        let said: serde_json::Value = serde_json::from_str(&line).expect("it says JSON");
        let text = |name: &str| said[name].as_str().expect("it says all").to_owned();
        Ok(Self {
            child,
            api: text("api"),
            listen: text("listen").parse().expect("it is an address"),
            log,
        })
    }

    /// Runs a client command against this daemon.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().expect("the program runs");
        output.into()
    }

    /// A client command against this daemon.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(arguments);
        command.env("LEVERET_API", &self.api);
        command
    }

    /// Runs a client command that has to succeed, and gives its output.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.out
    }

    /// The same, with its output as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let out = self.ok(arguments);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
    }

    /// Runs a client command with input on its standard input.
    pub(crate) fn with_input(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        // It may end before it has read all; then what it says is looked at.
        let _ = stdin.write_all(input);
        drop(stdin);
        child.wait_with_output().expect("the program runs").into()
    }

    /// Sends a request as it is and gives the whole answer.
    pub(crate) fn raw(&self, request: &[u8]) -> String {
        let address = self.api.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("the API takes connections");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a timeout can be set");
        // It may be refused before it is sent whole; then the answer says why.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The digest of `main`.
    pub(crate) fn digest(&self) -> String {
        let status = self.json(&["status", "--json"]);
        status["digest"]
            .as_str()
            .expect("there is a digest")
            .to_owned()
    }

    /// Sends SIGTERM, and gives the exit code and how long it took.
    pub(crate) fn terminate(&mut self) -> (Option<i32>, Duration) {
        let start = now();
        let killed = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        assert!(killed.expect("kill runs").success());
        let status = self.child.wait().expect("it can be waited for");
        (status.code(), start.elapsed())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        if !std::thread::panicking() {
            assert!(!log.contains("panicked"), "the daemon panicked:\n{log}");
        } else {
            eprintln!("the daemon's log:\n{log}");
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests measure how long things take"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
