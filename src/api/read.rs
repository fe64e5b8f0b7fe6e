//! Reads of the tree: `GET /v1/tree`, `/v1/export`, `/v1/node`, `/v1/refs`.

use std::io;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::request::{Asked, Place, blocking, node_path, repository, turn};
use super::{NODE_CHILDREN_MAX, Shared, outline, stream};
use crate::merge::{NodeInfo, ReadError, ReadTree, Snapshot};
use crate::model::json::value_text;
use crate::model::path::NodePath;
use crate::model::{NodeId, PropertyName, PublicKey};
use crate::peer::TreeFormat;

/// The parameters of `GET /v1/tree`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TreeQuery {
    path: Option<String>,
    repo: Option<String>,
    depth: Option<usize>,
    format: Shape,
}

#[derive(Debug, Default, Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Shape {
    #[default]
    Json,
    Text,
}

/// The subtree, as JSON on one line or for people.
pub(super) async fn tree(
    State(shared): State<Shared>,
    Asked(query): Asked<TreeQuery>,
) -> Result<Response, ApiError> {
    let format = match query.format {
        Shape::Json => Format::Compact,
        Shape::Text => Format::Text,
    };
    let repo = repository(query.repo.as_deref())?;
    let path = node_path(query.path.as_deref())?;
    let snapshot = shared.peer.snapshot_in(repo);
    write(shared, snapshot, path, query.depth, format).await
}

/// The subtree, as JSON with a member a line.
pub(super) async fn export(
    State(shared): State<Shared>,
    Asked(place): Asked<Place>,
) -> Result<Response, ApiError> {
    let (repo, path) = (place.repository()?, place.path()?);
    let snapshot = shared.peer.snapshot_in(repo);
    write(shared, snapshot, path, None, Format::Pretty).await
}

async fn write(
    shared: Shared,
    snapshot: Snapshot,
    path: NodePath,
    depth: Option<usize>,
    format: Format,
) -> Result<Response, ApiError> {
    let turn = turn(&shared.requests).await?;
    let (snapshot, top, path) = blocking(move || {
        let top = node_at(&snapshot, &path)?;
        Ok((snapshot, top, path))
    })
    .await?;
    let (pieces, response) = stream::answer(match format {
        Format::Text => stream::TEXT,
        Format::Compact | Format::Pretty => stream::JSON,
    });
    let stop = shared.stop.clone();
    tokio::task::spawn_blocking(move || {
        let mut emit =
            |text: String| !*stop.borrow() && pieces.blocking_send(Ok(text.into())).is_ok();
        let done = match format {
            Format::Text => outline::write(&snapshot, top.id, &path.to_string(), depth, &mut emit)
                .map_err(io::Error::other),
            Format::Compact | Format::Pretty => TreeFormat {
                depth_max: depth,
                pretty: matches!(format, Format::Pretty),
            }
            .write(&snapshot, top.id, &mut |text| match emit(text) {
                true => Ok(()),
                false => Err(io::ErrorKind::BrokenPipe.into()),
            })
            .map_err(io::Error::other),
        };
        if let Err(error) = done {
            tracing::debug!(%error, %path, "a tree was not sent whole");
            // Breaks the answer off. If the reader has gone there is nobody left to tell.
            let _ = pieces.blocking_send(Err(error));
        }
        drop(turn);
    });
    Ok(response)
}

/// How a subtree is written.
#[derive(Clone, Copy, Debug)]
enum Format {
    /// JSON on one line.
    Compact,
    /// JSON, a member a line.
    Pretty,
    /// For people.
    Text,
}

/// The node at a path.
pub(super) fn node_at(tree: &impl ReadTree, path: &NodePath) -> Result<NodeInfo, ApiError> {
    let node = match tree.resolve(path)? {
        Some(id) => tree.node(id)?,
        None => None,
    };
    node.ok_or_else(|| ApiError::no_node(path))
}

/// One node: where it is, its properties, the first of its children.
pub(super) async fn node(
    State(shared): State<Shared>,
    Asked(place): Asked<Place>,
) -> Result<Response, ApiError> {
    let snapshot = shared.peer.snapshot_in(place.repository()?);
    let (id, path) = (place.id()?, place.path()?);
    let _turn = turn(&shared.requests).await?;
    let answer = blocking(move || {
        let found = match id {
            None => node_at(&snapshot, &path)?,
            Some(id) => snapshot.node(id)?.ok_or_else(|| {
                ApiError::new(
                    axum::http::StatusCode::NOT_FOUND,
                    format!("there is no node with the id {id}"),
                    "it may have been removed; `leveret tree` shows what is there",
                )
            })?,
        };
        describe(&snapshot, &found)
    })
    .await?;
    Ok(super::status::json_answer(&answer))
}

fn describe(tree: &Snapshot, node: &NodeInfo) -> Result<Value, ApiError> {
    let path = tree.path_of(node.id)?.map(|path| path.to_string());
    let mut properties = Map::new();
    for (name, value) in tree.properties(node.id)? {
        properties.insert(name.as_str().to_owned(), value_json(&value));
    }
    let mut children = tree.children(node.id, None, NODE_CHILDREN_MAX + 1)?;
    let more = children.len() > NODE_CHILDREN_MAX;
    children.truncate(NODE_CHILDREN_MAX);
    let children: Vec<Value> = children
        .into_iter()
        .map(|child| json!({"id": child.id.to_string(), "name": child.shown}))
        .collect();
    let parent = (node.id != NodeId::ROOT).then(|| node.parent.to_string());
    Ok(json!({
        "id": node.id.to_string(),
        "path": path,
        "parent": parent,
        "properties": properties,
        "children": children,
        "more_children": more,
    }))
}

/// A property value as JSON.
pub(super) fn value_json(value: &crate::model::Value) -> Value {
    serde_json::from_str(&value_text(value)).expect("the JSON form of a value is JSON")
}

/// Who refers to a node, by its path or, also when it is not there, by its id.
pub(super) async fn refs(
    State(shared): State<Shared>,
    Asked(place): Asked<Place>,
) -> Result<Response, ApiError> {
    let snapshot = shared.peer.snapshot_in(place.repository()?);
    let (id, path) = (place.id()?, place.path()?);
    let _turn = turn(&shared.requests).await?;
    let answer = blocking(move || {
        let id = match id {
            Some(id) => id,
            None => node_at(&snapshot, &path)?.id,
        };
        let mut list = Vec::new();
        for (node, property) in snapshot.referrers(id)? {
            let path = snapshot.path_of(node)?.map(|path| path.to_string());
            list.push(json!({
                "node": node.to_string(),
                "path": path,
                "property": property.as_str(),
            }));
        }
        Ok(json!({"node": id.to_string(), "referrers": list}))
    })
    .await?;
    Ok(super::status::json_answer(&answer))
}

/// What people call a member; nothing if it has no name. `members` is a state of `system`.
pub(super) fn member_name(
    members: &Snapshot,
    key: &PublicKey,
) -> Result<Option<String>, ReadError> {
    let (Ok(path), Ok(name)) = (format!("/members/{key}").parse(), PropertyName::new("name"))
    else {
        return Ok(None);
    };
    let Some(node) = members.resolve(&path)? else {
        return Ok(None);
    };
    Ok(match members.property(node, &name)? {
        Some(crate::model::Value::Str(name)) => Some(name.to_string()),
        _ => None,
    })
}
