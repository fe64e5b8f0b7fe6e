//! The program's commands against a daemon, and requests as they are.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{Daemon, Ran, program};

impl Daemon {
    /// Runs a client command against this daemon.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().expect("the program runs");
        output.into()
    }

    /// A client command against this daemon.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(arguments);
        command.env("LEVERET_API", self.api());
        command
    }

    /// Runs a client command that has to succeed, and gives its output.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.out
    }

    /// The same, with its output as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
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
        let api = self.api();
        let address = api.trim_start_matches("http://");
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
}
