//! `GET /v1/log`: the change sets, newest first, one JSON object a line.

use std::io;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::error::ApiError;
use super::read::member_name;
use super::request::{Asked, blocking, node_path, repository, turn};
use super::{LOG_MAX, Shared, stream};
use crate::merge::Snapshot;
use crate::model::id::Time;
use crate::model::{RepoId, Timestamp};
use crate::peer::{Log, LogError};

/// Bytes that are gathered before they are sent.
const PIECE_BYTES: usize = 64 << 10;

/// The parameters of the request.
#[derive(Debug, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Query {
    path: Option<String>,
    repo: Option<String>,
    limit: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            path: None,
            repo: None,
            limit: 50,
        }
    }
}

/// Streams the newest change sets, of the whole repository or those that touch a subtree.
pub(super) async fn log(
    State(shared): State<Shared>,
    Asked(query): Asked<Query>,
) -> Result<Response, ApiError> {
    let repo = repository(query.repo.as_deref())?;
    let path = query.path.as_deref();
    let path = path.map(|path| node_path(Some(path))).transpose()?;
    let limit = query.limit.min(LOG_MAX);
    let turn = turn(&shared.requests).await?;
    let members = shared.peer.snapshot_in(RepoId::SYSTEM);
    let mut history = blocking(move || {
        let snapshot = shared.peer.snapshot_in(repo);
        let below = match path {
            Some(path) => Some(super::read::node_at(&snapshot, &path)?.id),
            None => None,
        };
        Ok(shared.peer.history(repo, None, below)?)
    })
    .await?;
    let (pieces, response) = stream::answer(stream::LINES);
    tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        for _ in 0..limit {
            match next_line(&mut history, &members) {
                Ok(Some(line)) => text.push_str(&line),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "the log was not sent whole");
                    // Breaks the answer off. If the reader has gone there is nobody to tell.
                    let _ = pieces.blocking_send(Err(io::Error::other(error)));
                    return;
                }
            }
            if text.len() > PIECE_BYTES
                && pieces
                    .blocking_send(Ok(std::mem::take(&mut text).into()))
                    .is_err()
            {
                return;
            }
        }
        let _ = pieces.blocking_send(Ok(text.into()));
        drop(turn);
    });
    Ok(response)
}

fn next_line(history: &mut Log, members: &Snapshot) -> Result<Option<String>, LogError> {
    let Some(entry) = history.next_entry()? else {
        return Ok(None);
    };
    let name = match &entry.author {
        Some(author) => member_name(members, author)?,
        None => None,
    };
    let line = json!({
        "id": entry.id.to_string(),
        "sequence": entry.sequence.0,
        "author": entry.author.map(|key| key.to_string()),
        "author_name": name,
        "time": rfc3339(entry.id.time),
        "message": entry.message.as_deref(),
        "operations": entry.operations,
        "all_or_nothing": entry.all_or_nothing,
        "voided": entry.voided,
    });
    Ok(Some(format!("{line}\n")))
}

/// A time of the clock as RFC 3339, to the millisecond; nothing past the year 9999.
pub(super) fn rfc3339(time: Time) -> Option<String> {
    let millis = time.unix_millis();
    let nanos = u32::try_from(millis % 1_000 * 1_000_000).ok()?;
    let seconds = i64::try_from(millis / 1_000).ok()?;
    Some(Timestamp::new(seconds, nanos).ok()?.to_string())
}
