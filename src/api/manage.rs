//! What one asks of the peer itself: `POST /v1/token`, `POST /v1/isolate`, `GET /v1/wait`.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::Shared;
use super::error::ApiError;
use super::request::{Asked, repository, stopped};
use super::status::{heads_text, json_answer};
use crate::merge::Heads;
use crate::model::id::{ChangeSetId, OriginId, RepoId, Sequence};

/// Longest that one request waits.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Most heads that can be waited for at once.
const HEADS_MAX: usize = 4_096;

/// The parameters of `POST /v1/token`.
#[derive(Debug, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TokenQuery {
    expires_ms: u64,
}

impl Default for TokenQuery {
    fn default() -> Self {
        Self {
            expires_ms: 3_600_000,
        }
    }
}

/// Makes a join token.
pub(super) async fn token(
    State(shared): State<Shared>,
    Asked(query): Asked<TokenQuery>,
) -> Result<Response, ApiError> {
    if query.expires_ms == 0 {
        return Err(ApiError::bad(
            "a token that expires at once is of no use",
            "give expires_ms in milliseconds",
        ));
    }
    let expires = Duration::from_millis(query.expires_ms);
    let token = shared.peer.create_token(expires).await?;
    Ok(json_answer(&json!({
        "token": token.to_string(),
        "expires_ms": query.expires_ms,
    })))
}

/// The parameters of `POST /v1/isolate`.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IsolateQuery {
    on: bool,
}

/// Cuts the replica off from its peers, or joins it again.
pub(super) async fn isolate(
    State(shared): State<Shared>,
    Asked(query): Asked<IsolateQuery>,
) -> Result<Response, ApiError> {
    shared.peer.set_isolated(query.on);
    Ok(json_answer(&json!({"isolated": query.on})))
}

/// The parameters of `GET /v1/wait`.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitQuery {
    #[serde(rename = "for")]
    heads: String,
    #[serde(default = "thirty_seconds")]
    timeout_ms: u64,
    repo: Option<String>,
}

fn thirty_seconds() -> u64 {
    30_000
}

/// Answers when the applied heads have reached what is asked for.
pub(super) async fn wait(
    State(shared): State<Shared>,
    Asked(query): Asked<WaitQuery>,
) -> Result<Response, ApiError> {
    let repo = repository(query.repo.as_deref())?;
    let goal = Goal::parse(&query.heads)?;
    let timeout = Duration::from_millis(query.timeout_ms).min(WAIT_MAX);
    let mut stop = shared.stop.clone();
    let reached = tokio::select! {
        reached = tokio::time::timeout(timeout, reach(&shared, repo, &goal)) => reached.is_ok(),
        () = stopped(&mut stop) => return Err(ApiError::ending()),
    };
    let snapshot = shared.peer.snapshot_in(repo);
    let heads = heads_text(snapshot.heads());
    if !reached && !goal.is_reached(snapshot.heads()) {
        return Err(ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!(
                "not there after {} ms: the heads are {heads}",
                query.timeout_ms
            ),
            "`leveret status` and `leveret peers` show why; wait longer with --timeout",
        )
        .with("heads", heads));
    }
    Ok(json_answer(&json!({
        "heads": heads,
        "digest": snapshot.digest().to_string(),
    })))
}

async fn reach(shared: &Shared, repo: RepoId, goal: &Goal) {
    let mut progress = shared.peer.progress();
    loop {
        progress.borrow_and_update();
        if goal.is_reached(shared.peer.snapshot_in(repo).heads()) {
            return;
        }
        if progress.changed().await.is_err() {
            // The peer has ended; the timeout or the daemon's end comes next.
            std::future::pending::<()>().await;
        }
    }
}

/// What one waits for.
#[derive(Debug, PartialEq, Eq)]
enum Goal {
    Heads(Vec<(OriginId, Sequence)>),
    ChangeSet(ChangeSetId),
}

impl Goal {
    /// Reads `origin:sequence,...`, as a text or as a JSON string, or a change set id.
    fn parse(text: &str) -> Result<Self, ApiError> {
        let unquoted: Option<String> = serde_json::from_str(text).ok();
        let text = unquoted.as_deref().unwrap_or(text).trim();
        if let Ok(id) = text.parse() {
            return Ok(Self::ChangeSet(id));
        }
        let fail = |part: &str| {
            let part: String = part.chars().take(80).collect();
            ApiError::bad(
                format!("`{part}` is neither heads nor a change set id"),
                "give what `leveret status` prints as heads, or an id that a save printed",
            )
        };
        let mut heads = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (origin, sequence) = part.split_once(':').ok_or_else(|| fail(part))?;
            let origin = origin.parse().map_err(|_| fail(part))?;
            let sequence = sequence.parse().map_err(|_| fail(part))?;
            heads.push((origin, Sequence(sequence)));
            if heads.len() > HEADS_MAX {
                return Err(ApiError::bad(
                    format!("more than {HEADS_MAX} heads"),
                    "wait for fewer at once",
                ));
            }
        }
        Ok(Self::Heads(heads))
    }

    fn is_reached(&self, heads: &Heads) -> bool {
        match self {
            Self::Heads(wanted) => wanted.iter().all(|(origin, sequence)| {
                *sequence == Sequence(0)
                    || heads
                        .get(origin)
                        .is_some_and(|head| head.sequence >= *sequence)
            }),
            Self::ChangeSet(id) => heads
                .get(&id.origin)
                .is_some_and(|head| head.time >= id.time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_heads_or_a_change_set_id() {
        let origin = OriginId([0xab; 16]);
        let heads = Goal::Heads(vec![(origin, Sequence(7))]);
        for text in [
            format!("{origin}:7"),
            format!("\"{origin}:7\""),
            format!(" {origin}:7,"),
        ] {
            assert_eq!(Goal::parse(&text).unwrap(), heads, "{text}");
        }
        let id = format!("{:016x}-{origin}", 9);
        assert!(matches!(Goal::parse(&id), Ok(Goal::ChangeSet(_))));
        assert_eq!(Goal::parse("").unwrap(), Goal::Heads(Vec::new()));
        for text in ["x", "ab:1", "ab", &format!("{origin}:x")] {
            assert!(Goal::parse(text).is_err(), "{text}");
        }
    }
}
