//! `GET /v1/watch`: what changes below a node, one JSON object a line, for as long as one listens.

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
use crate::model::{NodeId, RepoId};
use crate::peer::{CommitEvent, Event};

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
        let mut open = send(&pieces, &begin).await;
        while open {
            let line = tokio::select! {
                event = observer.next() => match event {
                    Some(Event::Commit(event)) => {
                        commit(event, shared.peer.snapshot_in(RepoId::SYSTEM)).await
                    }
                    Some(Event::Lagged(now)) => lagged(&now),
                    None => break,
                },
                () = stopped(&mut stop) => break,
                () = pieces.closed() => return,
            };
            open = send(&pieces, &line).await;
        }
        send(&pieces, &json!({"event": "closed"})).await;
        drop(permit);
    });
    Ok(response)
}

async fn send(pieces: &Pieces, line: &Value) -> bool {
    pieces
        .send(Ok(Bytes::from(format!("{line}\n"))))
        .await
        .is_ok()
}

fn lagged(now: &Snapshot) -> Value {
    json!({"event": "lagged", "heads": heads_text(now.heads())})
}

/// A commit as JSON; if its state can not be read any more, that it was missed.
async fn commit(event: Arc<CommitEvent>, members: Snapshot) -> Value {
    let snapshot = event.snapshot.clone();
    match blocking(move || Ok(describe(&event, &members)?)).await {
        Ok(line) => line,
        Err(error) => {
            tracing::warn!(?error, "an event could not be told");
            lagged(&snapshot)
        }
    }
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
