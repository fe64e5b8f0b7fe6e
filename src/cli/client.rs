//! The client side of the HTTP API: where the daemon is, requests, and what its errors become.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

use serde_json::Value;
use ureq::{Agent, AsSendBody};

use super::Failure;

/// Where the daemon's API is unless one says otherwise.
const API_DEFAULT: &str = "http://127.0.0.1:7411";
/// Longest answer that is read as one JSON text, in bytes.
const JSON_BYTES_MAX: u64 = 512 << 20;
/// How long to wait for the daemon to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The daemon that a command talks to.
#[derive(clap::Args)]
pub(crate) struct Daemon {
    /// Address of the daemon's HTTP API [default: $LEVERET_API, or http://127.0.0.1:7411]
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    /// Bearer token, where the API asks for one [default: $LEVERET_API_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    api_token: Option<String>,
}

/// The repository that a command is about.
#[derive(clap::Args)]
pub(crate) struct Repository {
    /// The repository: `main`, or `system`, which holds the members and is read only
    #[arg(long, value_name = "NAME", default_value = "main")]
    repo: Repo,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Repo {
    Main,
    System,
}

impl Repository {
    /// Its name, as the API takes it.
    pub(crate) fn name(&self) -> String {
        match self.repo {
            Repo::Main => "main".into(),
            Repo::System => "system".into(),
        }
    }
}

/// Parameters of a request.
pub(crate) type Query<'a> = Vec<(&'a str, String)>;

impl Daemon {
    /// A daemon that is named otherwise than by this command's own `--api`.
    pub(crate) fn new(api: Option<String>, api_token: Option<String>) -> Self {
        Self { api, api_token }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// If no daemon answers, or it answers with an error.
    pub(crate) fn get(&self, path: &str, query: Query<'_>) -> anyhow::Result<Answer> {
        self.connection()?.get(path, query)
    }

    /// Sends something.
    ///
    /// # Errors
    /// If no daemon answers, or it answers with an error.
    pub(crate) fn post(
        &self,
        path: &str,
        query: Query<'_>,
        body: impl AsSendBody,
    ) -> anyhow::Result<Answer> {
        self.post_any(path, query, body)?.checked()
    }

    /// Sends something, and takes an error for an answer too.
    ///
    /// # Errors
    /// If no daemon answers.
    pub(crate) fn post_any(
        &self,
        path: &str,
        query: Query<'_>,
        body: impl AsSendBody,
    ) -> anyhow::Result<Answer> {
        self.connection()?.post_any(path, query, body)
    }

    /// A connection of its own, for many requests one after the other. It is made with the first.
    ///
    /// # Errors
    /// If `--api` is no address.
    pub(crate) fn connection(&self) -> anyhow::Result<Connection> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .proxy(None)
            .max_redirects(0)
            .user_agent(concat!("leveret/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Connection {
            agent: agent.into(),
            base: self.base()?,
            authorization: self.token().map(|token| format!("Bearer {token}")),
        })
    }

    fn base(&self) -> anyhow::Result<String> {
        let given = self.api.clone().or_else(|| variable("LEVERET_API"));
        let given = given.unwrap_or_else(|| API_DEFAULT.to_owned());
        let trimmed = given.trim().trim_end_matches('/');
        if trimmed.starts_with("http://") {
            return Ok(trimmed.to_owned());
        }
        if trimmed.is_empty() || trimmed.contains("://") {
            return Err(Failure::error(
                format!("`{given}` is not the address of an API"),
                "give one like http://127.0.0.1:7411",
            ));
        }
        Ok(format!("http://{trimmed}"))
    }

    fn token(&self) -> Option<String> {
        self.api_token
            .clone()
            .or_else(|| variable("LEVERET_API_TOKEN"))
    }
}

/// A way to a daemon that is kept between requests, if their answers are read to the end.
pub(crate) struct Connection {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

impl Connection {
    /// The address of the API.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Asks for something.
    ///
    /// # Errors
    /// If no daemon answers, or it answers with an error.
    pub(crate) fn get(&self, path: &str, query: Query<'_>) -> anyhow::Result<Answer> {
        let request = self.agent.get(format!("{}{path}", self.base));
        let request = self.authorized(request.query_pairs(query));
        Answer::new(&self.base, request.call())?.checked()
    }

    /// Sends something.
    ///
    /// # Errors
    /// If no daemon answers, or it answers with an error.
    pub(crate) fn post(
        &self,
        path: &str,
        query: Query<'_>,
        body: impl AsSendBody,
    ) -> anyhow::Result<Answer> {
        self.post_any(path, query, body)?.checked()
    }

    fn post_any(
        &self,
        path: &str,
        query: Query<'_>,
        body: impl AsSendBody,
    ) -> anyhow::Result<Answer> {
        let request = self.agent.post(format!("{}{path}", self.base));
        let request = self.authorized(request.query_pairs(query));
        Answer::new(&self.base, request.send(body))
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// What the daemon answered.
pub(crate) struct Answer {
    status: u16,
    body: BufReader<ureq::BodyReader<'static>>,
}

impl Answer {
    fn new(
        base: &str,
        result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> anyhow::Result<Self> {
        let response = result.map_err(|error| unreachable(base, error))?;
        let status = response.status().as_u16();
        let body = response.into_body().into_with_config().limit(u64::MAX);
        Ok(Self {
            status,
            body: BufReader::with_capacity(64 << 10, body.reader()),
        })
    }

    /// Whether the daemon did what it was asked.
    pub(crate) fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn checked(self) -> anyhow::Result<Self> {
        if self.is_ok() {
            return Ok(self);
        }
        let status = self.status;
        match self.json() {
            Ok(error) => Err(refusal(&error)),
            Err(_) => Err(Failure::error(
                format!("the daemon answered with status {status} and no explanation"),
                "check that --api names the API of a leveret daemon",
            )),
        }
    }

    /// The whole answer as JSON.
    ///
    /// # Errors
    /// If it broke off, or is something else.
    pub(crate) fn json(self) -> anyhow::Result<Value> {
        let mut text = Vec::new();
        self.body
            .take(JSON_BYTES_MAX)
            .read_to_end(&mut text)
            .map_err(broke_off)?;
        serde_json::from_slice(&text).map_err(|_| foreign())
    }

    /// The next line of an answer of one JSON object a line; nothing after the last one.
    ///
    /// # Errors
    /// If the answer broke off, or is something else.
    pub(crate) fn next_line(&mut self) -> anyhow::Result<Option<(String, Value)>> {
        let Some(line) = self.next_text()? else {
            return Ok(None);
        };
        let value = serde_json::from_str(&line).map_err(|_| foreign())?;
        Ok(Some((line, value)))
    }

    /// The same, not read as JSON yet.
    ///
    /// # Errors
    /// If the answer broke off.
    pub(crate) fn next_text(&mut self) -> anyhow::Result<Option<String>> {
        let mut line = String::new();
        if self.body.read_line(&mut line).map_err(broke_off)? == 0 {
            return Ok(None);
        }
        line.truncate(line.trim_end().len());
        Ok(Some(line))
    }

    /// Copies the answer as it comes.
    ///
    /// # Errors
    /// If it broke off, or `out` can not be written to.
    pub(crate) fn copy_to(mut self, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = self.body.read(&mut buffer).map_err(broke_off)?;
            if read == 0 {
                return Ok(());
            }
            out.write_all(&buffer[..read])?;
        }
    }
}

/// The error that a JSON answer describes.
pub(crate) fn refusal(answer: &Value) -> anyhow::Error {
    let text = |name: &str| answer[name].as_str().unwrap_or_default();
    let mut what = super::text::printable(text("error"));
    if what.is_empty() {
        return foreign();
    }
    let items = answer["items"].as_array().map(Vec::as_slice);
    for item in items.unwrap_or_default().iter().take(5) {
        what.push_str(&format!(", {}", super::text::shown(&item["what"])));
    }
    Failure::error(what, super::text::printable(text("hint")))
}

fn unreachable(base: &str, error: ureq::Error) -> anyhow::Error {
    let start = "start one with `leveret serve --data DIR`, or say where it is with --api URL";
    match error {
        ureq::Error::Io(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
            Failure::error(format!("no daemon answers at {base}"), start)
        }
        ureq::Error::Io(cause) => Failure::error(
            format!("the connection to the daemon at {base} failed: {cause}"),
            "look at `leveret status` and at the daemon's log",
        ),
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Timeout(_) => {
            Failure::error(format!("no daemon answers at {base}: {error}"), start)
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure::error(
            format!("`{base}` with these arguments is not an address: {error}"),
            "check --api, and shorten the path if it is very long",
        ),
        other => Failure::error(
            format!("the answer of {base} makes no sense: {other}"),
            "check that --api names the API of a leveret daemon",
        ),
    }
}

fn broke_off(error: io::Error) -> anyhow::Error {
    Failure::error(
        format!("the daemon's answer broke off: {error}"),
        "what came is not complete; look at the daemon's log and try again",
    )
}

/// The answer is none of this version.
pub(crate) fn foreign() -> anyhow::Error {
    Failure::error(
        "the daemon's answer is not in the form of this version",
        "check that --api names a leveret daemon of the same version",
    )
}
