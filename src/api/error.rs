//! What a request gets that can not be done: a status and a JSON object that says why.

use std::fmt::Display;

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::merge::{ChangedItem, DraftError, ReadError};
use crate::model::path::NodePath;
use crate::peer::{CreateTokenError, ImportError, LogError, SaveError, SessionError};
use crate::replica;
use crate::storage::StorageError;

/// An answer that is an error: `{"error", "hint"}` and more where there is more to say.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    body: Map<String, Value>,
}

impl ApiError {
    /// An error of a status: what happened, and what to do.
    pub(super) fn new(status: StatusCode, error: impl Display, hint: impl Display) -> Self {
        let mut body = Map::new();
        body.insert("error".into(), error.to_string().into());
        body.insert("hint".into(), hint.to_string().into());
        Self { status, body }
    }

    /// Something in the request is malformed, or refused as it is.
    pub(super) fn bad(error: impl Display, hint: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, hint)
    }

    /// There is no node at a path.
    pub(super) fn no_node(path: &NodePath) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("there is no node {path}"),
            "`leveret tree --depth 1` shows what is there",
        )
    }

    /// The daemon itself is at fault.
    pub(super) fn internal(error: impl Display) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            error,
            "look at the daemon's log; `leveret verify` checks its data",
        )
    }

    /// The daemon is about to end.
    pub(super) fn ending() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is ending",
            "start it again and repeat this",
        )
    }

    /// With one more member.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body.insert(name.into(), value.into());
        self
    }

    /// With one more member, unless it has that already.
    pub(super) fn or_with(self, name: &str, value: impl Into<Value>) -> Self {
        match self.body.contains_key(name) {
            true => self,
            false => self.with(name, value),
        }
    }

    /// The text before what happened, for instance the line it happened in.
    pub(super) fn prefixed(mut self, prefix: impl Display) -> Self {
        let text = self.body["error"].as_str().unwrap_or_default();
        let text = format!("{prefix}{text}");
        self.body.insert("error".into(), text.into());
        self
    }

    /// The JSON object.
    pub(super) fn into_body(self) -> Map<String, Value> {
        self.body
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut text = Value::Object(self.body).to_string();
        text.push('\n');
        let kind = [(header::CONTENT_TYPE, super::stream::JSON)];
        (self.status, kind, text).into_response()
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Expired => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                error,
                "repeat it, or ask for a smaller part of the tree",
            ),
            other => Self::internal(other),
        }
    }
}

impl From<DraftError> for ApiError {
    fn from(error: DraftError) -> Self {
        match error {
            DraftError::Read(error) => error.into(),
            other => Self::bad(
                other,
                "nothing of this save was applied; correct it and try again",
            ),
        }
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Read(error) => error.into(),
            SessionError::Draft(error) => error.into(),
            SessionError::NotFound(_) => Self::new(
                StatusCode::NOT_FOUND,
                error,
                "`leveret tree --depth 1` shows what is there",
            ),
            other => Self::bad(other, "correct it and try again"),
        }
    }
}

impl From<SaveError> for ApiError {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Changed { items } => Self::new(
                StatusCode::CONFLICT,
                "somebody changed the same things at this moment",
                "look again and repeat it, or use --overwrite",
            )
            .with("items", items.iter().map(item_json).collect::<Vec<_>>()),
            SaveError::Refused(error) => refused(error),
            SaveError::Uncertain(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                error,
                "`leveret log` shows whether it was saved, once the daemon has opened its store again",
            ),
            SaveError::Closed => Self::ending(),
        }
    }
}

fn refused(error: replica::SaveError) -> ApiError {
    use replica::SaveError as Refusal;
    let text = error.to_string();
    let (status, hint) = match error {
        Refusal::Empty => (StatusCode::BAD_REQUEST, "give it an operation"),
        Refusal::TooLarge { .. } | Refusal::TooManyOperations { .. } => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "nothing of this save was applied; divide it",
        ),
        Refusal::Busy => (
            StatusCode::SERVICE_UNAVAILABLE,
            "nothing was changed; repeat it",
        ),
        Refusal::ReadOnly(StorageError::Full(_)) => (
            StatusCode::INSUFFICIENT_STORAGE,
            "nothing was changed; make room on the daemon's disk, and saves go on by themselves",
        ),
        Refusal::ReadOnly(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "nothing was changed; the daemon tries to open its store again: see `leveret status`",
        ),
        Refusal::Closing => return ApiError::ending(),
        Refusal::Read(error) => return error.into(),
        _ => return ApiError::internal(text),
    };
    ApiError::new(status, text, hint)
}

fn item_json(item: &ChangedItem) -> Value {
    json!({
        "what": item.to_string(),
        "node": item.node.to_string(),
        "path": item.path.as_ref().map(ToString::to_string),
    })
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Read(error) => error.into(),
            other => Self::internal(other),
        }
    }
}

impl From<CreateTokenError> for ApiError {
    fn from(error: CreateTokenError) -> Self {
        match error {
            CreateTokenError::Save(error) => error.into(),
            other => Self::bad(other, "no token was made; correct that and try again"),
        }
    }
}

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Target(error) => error.into(),
            ImportError::Save(error) => error.into(),
            other => Self::bad(
                other,
                "what was saved before stays; repeating the import skips it",
            ),
        }
    }
}

/// The answer where nothing is.
pub(super) async fn no_such_route(uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        format!("there is nothing at {}", uri.path()),
        "docs/reference/http-api.md lists the routes",
    )
}

/// The answer to a method that a route does not have.
pub(super) async fn no_such_method(uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not take this method", uri.path()),
        "docs/reference/http-api.md lists the routes",
    )
}
