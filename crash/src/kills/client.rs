//! A client of a daemon's API.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use ureq::Agent;

/// How long one request may take.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// Pause between two looks at something that is waited for.
const PAUSE: Duration = Duration::from_millis(50);

/// A client of a daemon's API, for any thread, that goes on with the daemon's next life.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    /// Nothing while the daemon does not run.
    api: Arc<Mutex<Option<String>>>,
}

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

    /// Whether it is a client of the same daemon.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.api, &other.api)
    }

    /// From now on the API is there, or nowhere.
    pub(super) fn goes_to(&self, api: Option<String>) {
        *self.api.lock().unwrap_or_else(PoisonError::into_inner) = api;
    }

    fn url(&self, path: &str) -> anyhow::Result<String> {
        let api = self.api.lock().unwrap_or_else(PoisonError::into_inner);
        let api = api.as_ref().context("the daemon does not run")?;
        Ok(format!("{api}{path}"))
    }

    /// Reads something as text.
    ///
    /// # Errors
    /// If there is no answer, or it is an error.
    pub(super) fn get(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<String> {
        let pairs = query.iter().copied();
        let response = self.agent.get(self.url(path)?).query_pairs(pairs).call()?;
        text(response)
    }

    /// Reads something as JSON.
    ///
    /// # Errors
    /// If there is no answer, or it is an error.
    pub(super) fn json(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.get(path, query)?)?)
    }

    /// Makes one save of operation lines. Gives its id.
    ///
    /// # Errors
    /// If it was not acknowledged.
    pub(super) fn save(&self, script: &str) -> anyhow::Result<String> {
        let answer = text(self.agent.post(self.url("/v1/apply")?).send(script)?)?;
        let answer: Value = serde_json::from_str(&answer)?;
        let id = answer["saved"][0]["id"].as_str();
        Ok(id.context("an acknowledged save has an id")?.to_owned())
    }

    /// A new join token.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn token(&self) -> anyhow::Result<String> {
        let answer = text(self.agent.post(self.url("/v1/token")?).send("")?)?;
        let answer: Value = serde_json::from_str(&answer)?;
        let token = answer["token"].as_str();
        Ok(token.context("the answer has a token")?.to_owned())
    }

    /// Has a backup written, to its end.
    ///
    /// # Errors
    /// If it was not.
    pub(super) fn backup(&self, directory: &Path) -> anyhow::Result<()> {
        let directory = directory.to_str().context("a name that can be sent")?;
        let request = self.agent.post(self.url("/v1/backup")?);
        text(request.query("directory", directory).send("")?)?;
        Ok(())
    }
}

fn text(mut response: ureq::http::Response<ureq::Body>) -> anyhow::Result<String> {
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(1 << 30);
    let text = body.read_to_string()?;
    if status != 200 {
        bail!("{status}: {text}");
    }
    Ok(text)
}

/// Waits until two daemons have the same heads and digests.
///
/// # Errors
/// If they have not in time.
pub(super) fn until_equal(a: &Client, b: &Client, patience: Duration) -> anyhow::Result<()> {
    let agreed = |client: &Client| -> anyhow::Result<Value> {
        let status = client.json("/v1/status", &[])?;
        let part = |repo: &str| {
            let repo = &status["repositories"][repo];
            json!([repo["heads"], repo["digest"], repo["held"]])
        };
        Ok(json!([part("main"), part("system")]))
    };
    let mut waited = Duration::ZERO;
    loop {
        let (one, other) = (agreed(a)?, agreed(b)?);
        if one == other {
            return Ok(());
        }
        if waited > patience {
            bail!("the two daemons do not come to the same state:\n{one:#}\n{other:#}");
        }
        std::thread::sleep(PAUSE);
        waited += PAUSE;
    }
}
