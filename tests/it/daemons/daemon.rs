//! A daemon as a process that can be killed, frozen and started again, and a client of its API.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

use super::proxy::{Network, Place};
use crate::daemon::{Ran, now, program};

/// How long a daemon may take to start; also how long anything else is waited for that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long one request may take: longer than a daemon is ever frozen.
const REQUEST_TIME: Duration = Duration::from_secs(30);
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

    /// Starts a daemon at a place of a network, and lets it join with a token, if one is given.
    pub(crate) fn start_at(network: &Network, at: Place, data: &Path, join: Option<&str>) -> Self {
        let front = network.front(at).to_string();
        let name = data.file_name().unwrap().to_str().unwrap();
        let mut arguments = vec!["--advertise", &front, "--name", name];
        if let Some(token) = join {
            arguments.extend(["--join", token]);
        }
        let daemon = Self::start(data, &arguments);
        network.settle(at, daemon.listen());
        daemon
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
        daemon.run()?;
        Ok(daemon)
    }

    fn run(&mut self) -> Result<(), Ran> {
        assert!(self.child.is_none(), "it runs already");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listen = self.listen.unwrap_or(any).to_string();
        let log = OpenOptions::new().append(true).open(&self.log).unwrap();
        let mut child = program(&["serve", "--json", "--api", "127.0.0.1:0"])
            .args(["--listen", &listen, "--data"])
            .arg(&self.data)
            .args(&self.arguments)
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
        *self.client.api.lock().unwrap() = Some(api);
        Ok(())
    }

    /// Starts it again, on the same directory and with the same address for peers. Its API gets a
    /// new one, so that a request meant for the life before never reaches this one.
    pub(crate) fn restart(&mut self) {
        self.run()
            .unwrap_or_else(|ran| panic!("it does not start again: {ran:?}"));
    }

    /// Kills it, as a power cut of the process would.
    pub(crate) fn kill(&mut self) {
        *self.client.api.lock().unwrap() = None;
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
        *self.client.api.lock().unwrap() = None;
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

    /// Where it listens for peers.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen.expect("it was started")
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

/// A client of a daemon's API.
#[derive(Clone)]
pub(crate) struct Client {
    agent: Agent,
    /// Nothing while the daemon does not run.
    api: Arc<Mutex<Option<String>>>,
}

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The daemon refused it: status and answer.
    Refused(u16, Value),
    /// There is no answer, so nobody knows.
    Lost(String),
}

type Query<'a> = &'a [(&'a str, &'a str)];

impl Client {
    fn new() -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST_TIME))
            .proxy(None)
            .build();
        Self {
            agent: config.into(),
            api: Arc::default(),
        }
    }

    /// Reads something, once.
    pub(crate) fn try_get(&self, path: &str, query: Query<'_>) -> Result<String, Failure> {
        let url = self.url(path)?;
        let pairs = query.iter().copied();
        answer(self.agent.get(url).query_pairs(pairs).call())
    }

    /// Asks for something, once.
    pub(crate) fn try_post(
        &self,
        path: &str,
        query: Query<'_>,
        body: &str,
    ) -> Result<String, Failure> {
        let url = self.url(path)?;
        let pairs = query.iter().copied();
        answer(self.agent.post(url).query_pairs(pairs).send(body))
    }

    fn url(&self, path: &str) -> Result<String, Failure> {
        match &*self.api.lock().unwrap() {
            Some(api) => Ok(format!("{api}{path}")),
            None => Err(Failure::Lost("it does not run".into())),
        }
    }

    /// Reads something that must be there; tries again while there is no answer.
    pub(crate) fn get(&self, path: &str, query: Query<'_>) -> String {
        let start = now();
        loop {
            let why = match self.try_get(path, query) {
                Ok(text) => return text,
                Err(Failure::Lost(why)) => why,
                Err(failure) => panic!("{path} {query:?}: {failure:?}"),
            };
            assert!(start.elapsed() < PATIENCE, "{path} {query:?}: {why}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The same, as JSON.
    pub(crate) fn json(&self, path: &str, query: Query<'_>) -> Value {
        let text = self.get(path, query);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// The status.
    pub(crate) fn status(&self) -> Value {
        self.json("/v1/status", &[])
    }

    /// The tree of a repository, as `tree --json` prints it.
    pub(crate) fn tree(&self, repo: &str) -> String {
        self.get("/v1/tree", &[("repo", repo)])
    }

    /// A new join token.
    pub(crate) fn token(&self) -> String {
        let answer = self.try_post("/v1/token", &[], "").unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }

    /// Makes the saves of a script. Gives their ids.
    pub(crate) fn apply(&self, script: &str) -> Result<Vec<String>, Failure> {
        let answer = self.try_post("/v1/apply", &[], script)?;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let saved = answer["saved"].as_array().unwrap().iter();
        Ok(saved
            .map(|save| save["id"].as_str().unwrap().to_owned())
            .collect())
    }

    /// The log of `main`, newest first.
    pub(crate) fn history(&self) -> Vec<Value> {
        let text = self.get("/v1/log", &[("limit", "100000")]);
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The ids in the log of `main`.
    pub(crate) fn logged(&self) -> BTreeSet<String> {
        let history = self.history();
        let ids = history.iter().map(|entry| entry["id"].as_str().unwrap());
        ids.map(str::to_owned).collect()
    }

    /// The names of the children of every node, in order, by path as shown.
    pub(crate) fn orders(&self) -> BTreeMap<String, Vec<String>> {
        let mut orders = BTreeMap::new();
        let mut waiting = vec![String::new()];
        while let Some(path) = waiting.pop() {
            let asked = if path.is_empty() { "/" } else { &path };
            let node = self.json("/v1/node", &[("path", asked)]);
            assert_eq!(node["more_children"], false);
            let children = node["children"].as_array().unwrap().iter();
            let names: Vec<String> = children
                .map(|child| child["name"].as_str().unwrap().to_owned())
                .collect();
            waiting.extend(names.iter().map(|name| format!("{path}/{name}")));
            orders.insert(path, names);
        }
        orders
    }
}

fn answer(
    result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<String, Failure> {
    let lost = |error: ureq::Error| Failure::Lost(error.to_string());
    let mut response = result.map_err(lost)?;
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(1 << 30);
    let text = body.read_to_string().map_err(lost)?;
    if status == 200 {
        return Ok(text);
    }
    let said = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Err(Failure::Refused(status, said))
}

/// What of a status must be the same everywhere in the end.
fn agreed(status: &Value) -> Value {
    let repositories = &status["repositories"];
    let part =
        |repo: &str| serde_json::json!([repositories[repo]["heads"], repositories[repo]["digest"]]);
    serde_json::json!([part("main"), part("system"), status["held"]])
}

/// Waits until all have the same heads and digests, and hold nothing. Gives the time it took.
#[track_caller]
pub(crate) fn until_equal(clients: &[&Client], patience: Duration) -> Duration {
    let start = now();
    loop {
        let statuses: Vec<Value> = clients.iter().map(|client| client.status()).collect();
        let first = agreed(&statuses[0]);
        if first[2] == 0 && statuses.iter().all(|status| agreed(status) == first) {
            return start.elapsed();
        }
        if start.elapsed() > patience {
            let shown: Vec<String> = statuses.iter().map(|s| format!("{s:#}")).collect();
            panic!("not equal after {patience:?}:\n{}", shown.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = now();
    while !holds() {
        assert!(
            start.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
