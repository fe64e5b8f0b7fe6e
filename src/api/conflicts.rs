//! Conflicts: `GET /v1/conflicts` lists the open ones, `POST /v1/dismiss` takes some off the list.

use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::error::ApiError;
use super::explain::{item_json, place_json};
use super::read::{node_at, value_json};
use super::request::{Asked, blocking, check_length, node_path, repository, too_long, turn};
use super::save::{How, receipt_json, save};
use super::status::json_answer;
use super::told::Told;
use super::{BODY_BYTES_MAX, CONFLICTS_MAX, Shared, stream};
use crate::merge::{DraftError, ReadTree, Snapshot};
use crate::model::path::NodePath;
use crate::model::{Conflict, ConflictId, ConflictKind, NodeId, Operation, RepoId};

/// Most operations of a losing change set that are told of one conflict.
const LOST_MAX: usize = 16;
/// Fewest digits that name a conflict.
const DIGITS_MIN: usize = 8;
/// Most conflicts that one save dismisses.
const DISMISSED_MAX: usize = 8_192;

/// The parameters of the list.
#[derive(Debug, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    path: Option<String>,
    repo: Option<String>,
    limit: usize,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            path: None,
            repo: None,
            limit: 50,
        }
    }
}

/// The open conflicts, those of the newest losing change sets first.
pub(super) async fn list(
    State(shared): State<Shared>,
    Asked(query): Asked<ListQuery>,
) -> Result<Response, ApiError> {
    let repo = repository(query.repo.as_deref())?;
    let path = query.path.as_deref();
    let path = path.map(|path| node_path(Some(path))).transpose()?;
    let limit = query.limit.min(CONFLICTS_MAX);
    let turn = turn(&shared.requests).await?;
    let (tree, mut told, open) = blocking(move || {
        let tree = shared.peer.snapshot_in(repo);
        let open = wanted(&tree, path.as_ref())?;
        Ok((tree, Told::new(&shared, repo), open))
    })
    .await?;
    let mut newest = open.into_iter().rev().take(limit);
    Ok(stream::lines(turn, move || {
        let next = newest.next();
        next.map(|conflict| describe(&tree, &mut told, &conflict))
            .transpose()
    }))
}

/// The open conflicts, or those of a node and what is below it.
fn wanted(tree: &Snapshot, path: Option<&NodePath>) -> Result<Vec<Conflict>, ApiError> {
    let mut open: Vec<Conflict> = tree.conflicts()?.into_iter().collect();
    if let Some(path) = path.filter(|path| !path.is_root()) {
        let top = node_at(tree, path)?.id;
        let mut kept = Vec::new();
        for conflict in open {
            // What a voided change set would have done is nowhere.
            if conflict.kind != ConflictKind::Voided && tree.lies_below(conflict.node, top)? {
                kept.push(conflict);
            }
        }
        open = kept;
    }
    Ok(open)
}

fn describe(tree: &Snapshot, told: &mut Told, conflict: &Conflict) -> Result<Value, ApiError> {
    let mut line = item_json(&conflict.item);
    line["conflict"] = conflict.id().to_string().into();
    line["kind"] = conflict.kind.as_str().into();
    line["node"] = place_json(tree, conflict.node)?;
    line["loser"] = told.json(conflict.loser)?;
    line["winner"] = match conflict.winner {
        Some(winner) => told.json(winner)?,
        None => Value::Null,
    };
    let lost = told.sets().lost(conflict)?;
    let shown = lost.iter().take(LOST_MAX);
    let shown = shown.map(|operation| operation_json(tree, operation));
    line["lost"] = shown.collect::<Result<Vec<_>, _>>()?.into();
    line["lost_more"] = lost.len().saturating_sub(LOST_MAX).into();
    Ok(line)
}

/// An operation as JSON, with the places that it names.
fn operation_json(tree: &Snapshot, operation: &Operation) -> Result<Value, ApiError> {
    let place = |node: &NodeId| place_json(tree, *node);
    Ok(match operation {
        Operation::Add { parent, name, .. } => {
            json!({"operation": "add", "parent": place(parent)?, "name": name.as_str()})
        }
        Operation::AddUnique { parent, name } => {
            json!({"operation": "add_unique", "parent": place(parent)?, "name": name.as_str()})
        }
        Operation::Remove { node } => json!({"operation": "remove", "node": place(node)?}),
        Operation::Move { node, parent, name } => json!({
            "operation": "move",
            "node": place(node)?,
            "parent": place(parent)?,
            "name": name.as_ref().map(|name| name.as_str()),
        }),
        Operation::Rename { node, name } => {
            json!({"operation": "rename", "node": place(node)?, "name": name.as_str()})
        }
        Operation::Set {
            node,
            property,
            value,
        } => json!({
            "operation": "set",
            "node": place(node)?,
            "property": property.as_str(),
            "value": value_json(value),
        }),
        Operation::Unset { node, property } => {
            json!({"operation": "unset", "node": place(node)?, "property": property.as_str()})
        }
        Operation::Inc {
            node,
            property,
            delta,
        } => json!({
            "operation": "inc",
            "node": place(node)?,
            "property": property.as_str(),
            "value": delta,
        }),
        Operation::Order { node, key } => {
            json!({"operation": "order", "node": place(node)?, "value": format!("{key:?}")})
        }
        Operation::Dismiss { conflict } => {
            json!({"operation": "dismiss", "conflict": conflict.to_string()})
        }
    })
}

/// The parameters of a dismissal.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Query {
    all: bool,
    path: Option<String>,
    message: Option<String>,
    overwrite: bool,
    all_or_nothing: bool,
}

/// Dismisses the conflicts that the body names, one a line, or all.
pub(super) async fn dismiss(
    State(shared): State<Shared>,
    Asked(query): Asked<Query>,
    request: Request,
) -> Result<Response, ApiError> {
    check_length(request.headers(), BODY_BYTES_MAX as u64, "list")?;
    let body = Bytes::from_request(request, &()).await;
    let body = body.map_err(|_| too_long(BODY_BYTES_MAX as u64, "list"))?;
    let names = std::str::from_utf8(&body).unwrap_or("?");
    let names: Vec<String> = names.split_whitespace().map(str::to_lowercase).collect();
    if names.is_empty() != query.all {
        return Err(ApiError::bad(
            "it is not said which conflicts to dismiss",
            "give their ids, or `all`",
        ));
    }
    let path = query.path.as_deref();
    let path = path.map(|path| node_path(Some(path))).transpose()?;
    let how = How::new(query.message, query.overwrite, query.all_or_nothing);
    let _turn = turn(&shared.requests).await?;
    let handle = Handle::current();
    let answer = blocking(move || {
        let tree = shared.peer.snapshot_in(RepoId::MAIN);
        let open = wanted(&tree, path.as_ref())?;
        let ids: Vec<ConflictId> = open.iter().map(Conflict::id).collect();
        let chosen = match query.all {
            true => ids,
            false => choose(&ids, &names)?,
        };
        let mut saved: Vec<Value> = Vec::new();
        for some in chosen.chunks(DISMISSED_MAX) {
            let receipt = save(&shared.peer, &handle, &how, &|session| {
                for id in some {
                    match session.dismiss(*id) {
                        // All that are left.
                        Err(DraftError::NoSuchConflict(_)) if query.all => {}
                        dismissed => dismissed?,
                    }
                }
                Ok(())
            });
            match receipt {
                Ok(receipt) => saved.push(receipt_json(&receipt)),
                Err(error) => return Err(error.with("saved", saved)),
            }
        }
        Ok(json!({"saved": saved, "dismissed": chosen.len()}))
    })
    .await?;
    Ok(json_answer(&answer))
}

/// The conflicts whose ids begin with what was given, each once.
fn choose(open: &[ConflictId], names: &[String]) -> Result<Vec<ConflictId>, ApiError> {
    let mut chosen = std::collections::BTreeSet::new();
    for name in names {
        if name.len() < DIGITS_MIN || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ApiError::bad(
                format!("`{}` is not the id of a conflict", shown(name)),
                format!("give at least {DIGITS_MIN} of its hex digits"),
            ));
        }
        let mut found = open.iter().filter(|id| id.to_string().starts_with(name));
        match (found.next(), found.next()) {
            (Some(only), None) => chosen.insert(*only),
            (Some(_), Some(_)) => {
                return Err(ApiError::bad(
                    format!("there are several open conflicts `{}`", shown(name)),
                    "give more of its digits",
                ));
            }
            (None, _) => {
                return Err(ApiError::new(
                    axum::http::StatusCode::NOT_FOUND,
                    format!("there is no open conflict `{}`", shown(name)),
                    "`leveret conflicts` lists those there are",
                ));
            }
        };
    }
    Ok(chosen.into_iter().collect())
}

fn shown(name: &str) -> String {
    name.chars().take(40).collect()
}
