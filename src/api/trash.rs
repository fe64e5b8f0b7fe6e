//! The trash: `GET /v1/trash` lists it, `POST /v1/restore` takes something out of it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::error::ApiError;
use super::request::{Asked, blocking, node_path, repository, turn};
use super::save::{How, receipt_json, save};
use super::status::json_answer;
use super::told::Told;
use super::{Shared, TRASH_MAX, stream};
use crate::merge::{DraftError, ReadTree, Trashed};
use crate::model::{NodeId, NodePath, RepoId};
use crate::peer::{Session, SessionError};

/// The parameters of the list.
#[derive(Debug, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    repo: Option<String>,
    after: Option<String>,
    limit: usize,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            repo: None,
            after: None,
            limit: 50,
        }
    }
}

/// What is in the trash, newest first.
pub(super) async fn list(
    State(shared): State<Shared>,
    Asked(query): Asked<ListQuery>,
) -> Result<Response, ApiError> {
    let repo = repository(query.repo.as_deref())?;
    let after = query.after.as_deref().map(str::parse).transpose();
    let after = after.map_err(|error| {
        ApiError::bad(error, "give the `cursor` of a line of an earlier answer")
    })?;
    let limit = query.limit.min(TRASH_MAX);
    let turn = turn(&shared.requests).await?;
    let (mut told, trash) = blocking(move || {
        let trash = shared.peer.snapshot_in(repo).trash(after, limit)?;
        Ok((Told::new(&shared, repo), trash))
    })
    .await?;
    let mut trash = trash.into_iter();
    Ok(stream::lines(turn, move || {
        let Some(trashed) = trash.next() else {
            return Ok(None);
        };
        let mut line = describe(&trashed);
        line["removed_by"] = told.json(trashed.by.id)?;
        line["cursor"] = trashed.cursor().to_string().into();
        Ok(Some(line))
    }))
}

/// A node in the trash as JSON.
pub(super) fn describe(trashed: &Trashed) -> Value {
    json!({
        "node": trashed.node.to_string(),
        "path": trashed.path.as_ref().map(ToString::to_string),
        "name": trashed.name.as_str(),
        "parent": trashed.parent.to_string(),
        "emptied": trashed.emptied,
    })
}

/// The parameters of a restoration.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Query {
    path: Option<String>,
    id: Option<String>,
    to: Option<String>,
    message: Option<String>,
    overwrite: bool,
    all_or_nothing: bool,
}

/// What is to be restored.
enum Wanted {
    /// What was removed there last.
    Path(NodePath),
    /// This node.
    Node(NodeId),
}

/// Restores a node: one save.
pub(super) async fn restore(
    State(shared): State<Shared>,
    Asked(query): Asked<Query>,
) -> Result<Response, ApiError> {
    let wanted = match (&query.path, &query.id) {
        (Some(path), None) => Wanted::Path(node_path(Some(path))?),
        (None, Some(id)) => Wanted::Node(
            id.parse()
                .map_err(|error| ApiError::bad(error, "give a path or a node id"))?,
        ),
        _ => {
            return Err(ApiError::bad(
                "it is not said what to restore",
                "give either a path or a node id",
            ));
        }
    };
    let to = query.to.as_deref();
    let to = to.map(|to| node_path(Some(to))).transpose()?;
    let how = How::new(query.message, query.overwrite, query.all_or_nothing);
    let _turn = turn(&shared.requests).await?;
    let handle = Handle::current();
    let answer = blocking(move || {
        let chosen = std::cell::RefCell::new((NodeId::ROOT, Vec::new()));
        let receipt = save(&shared.peer, &handle, &how, &|session| {
            let (node, others) = choose(session, &wanted)?;
            put_back(session, node, to.as_ref())?;
            *chosen.borrow_mut() = (node, others);
            Ok(())
        })?;
        let (node, others) = chosen.into_inner();
        let path = shared.peer.snapshot_in(RepoId::MAIN).path_of(node)?;
        let mut answer = receipt_json(&receipt);
        answer["node"] = node.to_string().into();
        answer["path"] = path.map(|path| path.to_string()).into();
        answer["others"] = others.iter().map(ToString::to_string).collect();
        Ok(answer)
    })
    .await?;
    Ok(json_answer(&answer))
}

/// The node that is meant, and others that were at the same path.
fn choose(session: &Session, wanted: &Wanted) -> Result<(NodeId, Vec<NodeId>), ApiError> {
    match wanted {
        Wanted::Node(node) => Ok((*node, Vec::new())),
        Wanted::Path(path) => {
            let all = session.trashed_at(path)?;
            let mut nodes = all.iter().map(|trashed| trashed.node);
            match nodes.next() {
                Some(newest) => Ok((newest, nodes.collect())),
                None => match session.resolve(path)? {
                    Some(visible) => Ok((visible, Vec::new())), // to be refused, by its path
                    None => Err(ApiError::new(
                        StatusCode::NOT_FOUND,
                        SessionError::NotInTrash(path.to_string()),
                        "`leveret restore` lists what is in the trash",
                    )),
                },
            }
        }
    }
}

fn put_back(session: &mut Session, node: NodeId, to: Option<&NodePath>) -> Result<(), ApiError> {
    let to = to.map(ToString::to_string);
    match session.restore(node, to.as_deref()) {
        Ok(_) => Ok(()),
        Err(error) => Err(refused(session, node, to.is_some(), error)?),
    }
}

/// What a refused restoration gets: what stands in its way, and where else to go.
fn refused(
    session: &Session,
    node: NodeId,
    elsewhere: bool,
    error: SessionError,
) -> Result<ApiError, ApiError> {
    Ok(match error {
        SessionError::NotInTrash(_) => ApiError::new(
            StatusCode::NOT_FOUND,
            format!("there is no node {node}, in the tree or in the trash"),
            "`leveret restore` lists what is in the trash",
        ),
        SessionError::Draft(DraftError::NotTrashed(_)) => ApiError::bad(
            error,
            "`leveret mv` moves it; `leveret restore` lists what is in the trash",
        ),
        SessionError::Draft(DraftError::NameTaken { .. }) if elsewhere => {
            ApiError::bad(error, "give another path with --to")
        }
        SessionError::Draft(DraftError::NameTaken { .. }) => {
            ApiError::bad(error, "give it another place or name with --to")
        }
        SessionError::Draft(DraftError::PlaceGone { place, .. }) => {
            let top = session.trashed(place)?.map_or(place, |place| place.top);
            ApiError::bad(
                error,
                format!("restore {top} first, or give another place with --to"),
            )
        }
        other => other.into(),
    })
}
