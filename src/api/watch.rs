//! `GET /v1/watch`: what changes below a node, one JSON object a line, for as long as one listens.

use std::io;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::error::ApiError;
use super::read::{member_name, value_json};
use super::request::{Asked, Place, blocking, stopped};
use super::status::heads_text;
use super::stream::{self, Pieces};
use super::{Shared, WATCHES_MAX};
use crate::merge::{Change, ReadError, ReadTree, Snapshot};
use crate::model::name::NodeName;
use crate::model::{self, NodeId, RepoId};
use crate::peer::{CommitEvent, Event};

/// Events and changes that are described and sent at once, if so many wait.
const CHANGES_AT_ONCE: usize = 256;

/// Most changes and change sets together that are described at once, and not on another thread.
const CHANGES_INLINE: usize = 16;

/// Most bytes of values in them.
const BYTES_INLINE: usize = 4 << 10;

/// Streams the events of a subtree until the client goes away or the daemon ends.
pub(super) async fn watch(
    State(shared): State<Shared>,
    Asked(place): Asked<Place>,
) -> Result<Response, ApiError> {
    let (repo, path) = (place.repository()?, place.path()?);
    let Ok(permit) = Arc::clone(&shared.watches).try_acquire_owned() else {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{WATCHES_MAX} watches are open already"),
            "end one of them first",
        ));
    };
    let mut observer = shared.peer.observe_in(repo, &path)?;
    let (pieces, response) = stream::answer(stream::LINES);
    let mut stop = shared.stop.clone();
    let begin = json!({
        "event": "watching",
        "repo": repo.name(),
        "path": path.to_string(),
        "heads": heads_text(shared.peer.snapshot_in(repo).heads()),
    });
    tokio::spawn(async move {
        let mut open = send(&pieces, format!("{begin}\n")).await;
        while open {
            let first = tokio::select! {
                event = observer.next() => match event {
                    Some(event) => event,
                    None => break,
                },
                () = stopped(&mut stop) => break,
                () = pieces.closed() => return,
            };
            let (mut events, mut size) = (Vec::new(), 0);
            let mut next = Some(first);
            while let Some(event) = next {
                size += 1 + changes(&event);
                events.push(event);
                next = (size < CHANGES_AT_ONCE)
                    .then(|| observer.try_next())
                    .flatten();
            }
            let members = shared.peer.snapshot_in(RepoId::SYSTEM);
            let told = match is_small(&events) {
                true => Ok(lines(&events, &members)),
                false => blocking(move || Ok(lines(&events, &members))).await,
            };
            open = match told {
                Ok(lines) => send(&pieces, lines).await,
                // Nothing more can be told; the reader sees that it breaks off.
                Err(error) => {
                    tracing::warn!(?error, "events could not be told");
                    let _ = pieces.send(Err(io::ErrorKind::Other.into())).await;
                    return;
                }
            };
        }
        let closed = json!({"event": "closed"});
        send(&pieces, format!("{closed}\n")).await;
        drop(permit);
    });
    Ok(response)
}

/// How many changes and change sets an event tells of.
fn changes(event: &Event) -> usize {
    match event {
        Event::Commit(event) => event.changes.len() + event.change_sets.len(),
        Event::Lagged(_) => 0,
    }
}

/// Whether events can be described without leaving the async threads: for a few changes that takes
/// less time than to change threads, and what was just written, and lies above it, is in memory.
fn is_small(events: &[Event]) -> bool {
    if events.iter().map(changes).sum::<usize>() > CHANGES_INLINE {
        return false;
    }
    let mut bytes = 0;
    for event in events {
        let Event::Commit(event) = event else {
            continue;
        };
        for change in &event.changes {
            if let Change::Property { before, after, .. } = change {
                let values = before.iter().chain(after);
                bytes += values.map(model::Value::weight).sum::<usize>();
            }
        }
    }
    bytes <= BYTES_INLINE
}

async fn send(pieces: &Pieces, lines: String) -> bool {
    pieces.send(Ok(Bytes::from(lines))).await.is_ok()
}

fn lagged(now: &Snapshot) -> Value {
    json!({"event": "lagged", "heads": heads_text(now.heads())})
}

/// Events as lines. One whose state can not be read any more is told as missed.
fn lines(events: &[Event], members: &Snapshot) -> String {
    let mut lines = String::new();
    for event in events {
        let line = match event {
            Event::Commit(event) => describe(event, members).unwrap_or_else(|error| {
                tracing::warn!(%error, "an event could not be told");
                lagged(&event.snapshot)
            }),
            Event::Lagged(now) => lagged(now),
        };
        lines.push_str(&format!("{line}\n"));
    }
    lines
}

fn describe(event: &CommitEvent, members: &Snapshot) -> Result<Value, ReadError> {
    let mut sets = Vec::with_capacity(event.change_sets.len());
    for set in &event.change_sets {
        sets.push(json!({
            "id": set.id.to_string(),
            "sequence": set.sequence.0,
            "author": set.author.to_string(),
            "author_name": member_name(members, &set.author)?,
            "message": set.message.as_deref(),
            "local": set.local,
        }));
    }
    let mut changes = Vec::with_capacity(event.changes.len());
    for change in &event.changes {
        changes.push(change_json(&event.snapshot, change)?);
    }
    let voided: Vec<Value> = event
        .voided
        .iter()
        .map(|(id, voided)| json!({"id": id.to_string(), "voided": voided}))
        .collect();
    Ok(json!({
        "event": "commit",
        "repo": event.repo.name(),
        "change_sets": sets,
        "changes": changes,
        "voided": voided,
        "durable": event.durable,
        "digest": event.snapshot.digest().to_string(),
    }))
}

/// A change as JSON, with the paths of the state after it, as far as the nodes are still there.
fn change_json(tree: &Snapshot, change: &Change) -> Result<Value, ReadError> {
    let path = |node: NodeId| -> Result<Option<String>, ReadError> {
        Ok(tree.path_of(node)?.map(|path| path.to_string()))
    };
    let below = |parent: NodeId, name: &NodeName| -> Result<Option<String>, ReadError> {
        Ok(path(parent)?.map(|path| format!("{}/{name}", path.trim_end_matches('/'))))
    };
    Ok(match change {
        Change::Appeared { node, .. } => {
            json!({"change": "appeared", "node": node.to_string(), "path": path(*node)?})
        }
        Change::Vanished { node, parent, name } => json!({
            "change": "vanished",
            "node": node.to_string(),
            "path": below(*parent, name)?,
        }),
        Change::Moved { node, from, .. } => json!({
            "change": "moved",
            "node": node.to_string(),
            "from": below(from.0, &from.1)?,
            "to": path(*node)?,
        }),
        Change::Ordered { node } => {
            json!({"change": "ordered", "node": node.to_string(), "path": path(*node)?})
        }
        Change::Property {
            node,
            name,
            before,
            after,
        } => {
            let mut out = json!({
                "change": "property",
                "node": node.to_string(),
                "path": path(*node)?,
                "name": name.as_str(),
            });
            if let Some(before) = before {
                out["before"] = value_json(before);
            }
            if let Some(after) = after {
                out["after"] = value_json(after);
            }
            out
        }
    })
}
