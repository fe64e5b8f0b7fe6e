//! `GET /v1/explain`: why a node is as it is, a line an item.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::error::ApiError;
use super::read::value_json;
use super::request::{Asked, blocking, node_path, repository, turn};
use super::told::Told;
use super::{Shared, stream, trash};
use crate::merge::{ItemHistory, ItemValue, Outcome, ReadTree, Snapshot, ToldWrite, Wrote};
use crate::model::{ConflictItem, NodeId, NodePath, Operation, PropertyName, Stamp};

/// The parameters of the request.
#[derive(Debug, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Query {
    path: Option<String>,
    id: Option<String>,
    repo: Option<String>,
    property: Option<String>,
    limit: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            path: None,
            id: None,
            repo: None,
            property: None,
            limit: 32,
        }
    }
}

/// Streams the node, then its items.
pub(super) async fn explain(
    State(shared): State<Shared>,
    Asked(query): Asked<Query>,
) -> Result<Response, ApiError> {
    let repo = repository(query.repo.as_deref())?;
    let path = node_path(query.path.as_deref())?;
    let id = query.id.as_deref().map(str::parse::<NodeId>).transpose();
    let id = id.map_err(|error| ApiError::bad(error, "give a path or a node id"))?;
    let property = query.property.as_deref().map(PropertyName::new).transpose();
    let property = property.map_err(|error| ApiError::bad(error, "name a property"))?;
    let turn = turn(&shared.requests).await?;
    let (mut telling, items) = blocking(move || {
        let tree = shared.peer.snapshot_in(repo);
        let node = match id {
            Some(id) => id,
            None => find(&tree, &path)?,
        };
        let items = tree.items(node)?.ok_or_else(|| unknown(node))?;
        let items = match property {
            Some(name) => vec![ConflictItem::Property(name)],
            None => items,
        };
        let told = Told::new(&shared, repo);
        Ok((Telling { tree, told, node }, items))
    })
    .await?;
    let mut first = true;
    let mut items = items.into_iter();
    Ok(stream::lines(turn, move || {
        if std::mem::take(&mut first) {
            return telling.node().map(Some);
        }
        let item = items.next();
        item.map(|item| telling.item(&item, query.limit))
            .transpose()
    }))
}

fn find(tree: &Snapshot, path: &NodePath) -> Result<NodeId, ApiError> {
    if let Some(node) = tree.resolve(path)? {
        return Ok(node);
    }
    let error = ApiError::no_node(path);
    Err(match tree.trashed_at(path)?.first() {
        None => error,
        Some(trashed) => ApiError::new(
            StatusCode::NOT_FOUND,
            format!("there is no node {path} any more: it is in the trash"),
            format!("ask for it by its id: `leveret explain {}`", trashed.node),
        ),
    })
}

fn unknown(node: NodeId) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        format!("there is no node {node}, in the tree or in the trash"),
        "`leveret tree` and `leveret restore` show what is there",
    )
}

struct Telling {
    tree: Snapshot,
    told: Told,
    node: NodeId,
}

impl Telling {
    /// The line about the node as such.
    fn node(&mut self) -> Result<Value, ApiError> {
        let path = self.tree.path_of(self.node)?;
        let trashed = match self.tree.trashed(self.node)? {
            None => Value::Null,
            Some(trashed) => {
                let mut value = trash::describe(&trashed);
                value["top"] = trashed.top.to_string().into();
                value["removed_by"] = self.told.json(trashed.by.id)?;
                value
            }
        };
        Ok(json!({
            "node": self.node.to_string(),
            "path": path.map(|path| path.to_string()),
            "trashed": trashed,
        }))
    }

    fn item(&mut self, item: &ConflictItem, limit: usize) -> Result<Value, ApiError> {
        let ItemHistory {
            item,
            value,
            writes,
            left_out,
            uncounted,
        } = self.tree.explain_item(self.node, item, limit)?;
        let value = match value {
            ItemValue::Parent(parent) => place_json(&self.tree, parent)?,
            ItemValue::Name(name) => name.as_str().into(),
            ItemValue::Order(key) => format!("{key:?}").into(),
            ItemValue::Property(value) => value_json(&value),
            _ => Value::Null,
        };
        let writes = writes
            .iter()
            .map(|write| self.write(write))
            .collect::<Result<Vec<_>, _>>()?;
        let mut line = item_json(&item);
        line["value"] = value;
        line["writes"] = writes.into();
        line["left_out"] = left_out.into();
        line["uncounted"] = uncounted.into();
        Ok(line)
    }

    fn write(&mut self, write: &ToldWrite) -> Result<Value, ApiError> {
        let mut line = match &write.wrote {
            Wrote::Added(parent) => {
                json!({"wrote": "added", "parent": place_json(&self.tree, *parent)?})
            }
            Wrote::CameBack(parent) => {
                json!({"wrote": "came-back", "parent": place_json(&self.tree, *parent)?})
            }
            Wrote::Moved(parent) => {
                json!({"wrote": "moved", "parent": place_json(&self.tree, *parent)?})
            }
            Wrote::AddedAgain => json!({"wrote": "added-again"}),
            Wrote::Removed => json!({"wrote": "removed"}),
            Wrote::Emptied => json!({"wrote": "emptied"}),
            Wrote::HandedBack { to, undid } => json!({
                "wrote": "handed-back",
                "parent": place_json(&self.tree, *to)?,
                "undid": self.told.json(undid.id)?,
                "removed": self.removed(write.stamp)?,
            }),
            Wrote::Name(name) => json!({"wrote": "name", "value": name.as_str()}),
            Wrote::Order(key) => json!({"wrote": "order", "value": format!("{key:?}")}),
            Wrote::Set(value) => json!({"wrote": "set", "value": value_json(value)}),
            Wrote::Unset => json!({"wrote": "unset"}),
            Wrote::Inc(delta) => json!({"wrote": "inc", "value": delta}),
        };
        let (outcome, by, seen) = match write.outcome {
            Outcome::Counts => ("counts", None, None),
            Outcome::Replaced { by } => ("replaced", Some(by), None),
            Outcome::Overwritten { by } => ("overwritten", Some(by), Some(false)),
            Outcome::Skipped {
                reason,
                cycle: true,
            } => ("skipped-cycle", Some(reason), None),
            Outcome::Skipped { reason, .. } => ("skipped-target-removed", Some(reason), None),
            Outcome::Removed { by, seen } => ("removed", Some(by), Some(seen)),
            Outcome::Undone { by, seen } => ("undone", Some(by), Some(seen)),
            Outcome::HandedBack { by } => ("handed-back", Some(by), None),
            Outcome::Emptied { by } => ("emptied", Some(by), None),
            Outcome::Nothing { live: true } => ("was-there", None, None),
            Outcome::Nothing { .. } => ("was-in-the-trash", None, None),
            Outcome::BeforeAdd => ("before-add", None, None),
        };
        line["change_set"] = self.told.json(write.stamp.id)?;
        line["outcome"] = outcome.into();
        if let Some(by) = by {
            line["by"] = self.told.json(by.id)?;
        }
        if let Some(seen) = seen {
            line["seen"] = seen.into();
        }
        Ok(line)
    }

    /// The node that a removal removed.
    fn removed(&mut self, stamp: Stamp) -> Result<Value, ApiError> {
        let set = self.told.sets().get(stamp.id)?;
        let index = usize::try_from(stamp.index).unwrap_or(usize::MAX);
        match set.as_ref().and_then(|set| set.operations.get(index)) {
            Some(Operation::Remove { node }) => place_json(&self.tree, *node),
            _ => Ok(Value::Null),
        }
    }
}

/// What item of a node something is about, as JSON.
pub(super) fn item_json(item: &ConflictItem) -> Value {
    match item {
        ConflictItem::Property(name) => json!({"item": "property", "property": name.as_str()}),
        other => json!({"item": other.to_string()}),
    }
}

/// Where a node is: its id, its path, and, if it is in the trash, the path it was at.
pub(super) fn place_json(tree: &Snapshot, node: NodeId) -> Result<Value, ApiError> {
    if node == NodeId::TRASH {
        return Ok("trash".into());
    }
    let mut place = json!({"node": node.to_string()});
    match tree.path_of(node)? {
        Some(path) => place["path"] = path.to_string().into(),
        None => {
            let was = tree.trashed(node)?.and_then(|trashed| trashed.path);
            place["path"] = Value::Null;
            place["was"] = was.map(|path| path.to_string()).into();
        }
    }
    Ok(place)
}
