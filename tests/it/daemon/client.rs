//! A client of a daemon's API, for any thread, and waiting for what daemons come to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

use super::{PATIENCE, now};

/// How long one request may take: longer than a daemon is ever frozen.
const REQUEST_TIME: Duration = Duration::from_secs(30);

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
    pub(super) fn new() -> Self {
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

    /// From now on the API is there, or nowhere.
    pub(super) fn goes_to(&self, api: Option<String>) {
        *self.api.lock().unwrap() = api;
    }

    /// Where the API is, as a URL; nothing while the daemon does not run.
    pub(super) fn api(&self) -> Option<String> {
        self.api.lock().unwrap().clone()
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
        match self.api() {
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
