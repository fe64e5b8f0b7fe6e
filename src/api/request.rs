//! What requests ask: their parameters, and how long work is done off the async threads.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use tokio::sync::watch::Receiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;

use super::error::ApiError;
use crate::model::id::{NodeId, RepoId};
use crate::model::path::NodePath;

/// The parameters of a request, as `T` has them.
pub(super) struct Asked<T>(pub(super) T);

impl<S, T> FromRequestParts<S> for Asked<T>
where
    S: Send + Sync,
    Query<T>: FromRequestParts<S, Rejection = QueryRejection>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(ApiError::bad(
                rejection.body_text(),
                "docs/reference/http-api.md lists the parameters",
            )),
        }
    }
}

/// Which node of which repository a request is about.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Place {
    path: Option<String>,
    id: Option<String>,
    repo: Option<String>,
}

/// Reads the name of a repository.
pub(super) fn repository(name: Option<&str>) -> Result<RepoId, ApiError> {
    match name {
        None => Ok(RepoId::MAIN),
        Some(name) => name
            .parse()
            .map_err(|error| ApiError::bad(error, "name one of the two")),
    }
}

/// Reads a path; nothing is the root.
pub(super) fn node_path(text: Option<&str>) -> Result<NodePath, ApiError> {
    match text {
        None => Ok(NodePath::root()),
        Some(text) => text
            .parse()
            .map_err(|error| ApiError::bad(error, "a path looks like /name/name")),
    }
}

impl Place {
    /// The repository.
    pub(super) fn repository(&self) -> Result<RepoId, ApiError> {
        repository(self.repo.as_deref())
    }

    /// The path; the root's if none is given.
    pub(super) fn path(&self) -> Result<NodePath, ApiError> {
        node_path(self.path.as_deref())
    }

    /// The node id, if one is given.
    pub(super) fn id(&self) -> Result<Option<NodeId>, ApiError> {
        let id = self.id.as_deref().map(str::parse).transpose();
        id.map_err(|error| ApiError::bad(error, "give a path or a node id"))
    }
}

/// Runs work that reads the disk or takes long, off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    done(tokio::task::spawn_blocking(work).await)
}

/// Runs work that is short, as a task of its own: it is done to its end even if nobody waits for
/// the answer any more.
pub(super) async fn short<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    done(tokio::spawn(work).await)
}

fn done<T>(outcome: Result<Result<T, ApiError>, JoinError>) -> Result<T, ApiError> {
    match outcome {
        Ok(done) => done,
        Err(error) if error.is_panic() => Err(ApiError::internal("a request broke an invariant")),
        Err(_) => Err(ApiError::ending()),
    }
}

/// Refuses a body that says itself that it is too long, before any of it has come.
pub(super) fn check_length(headers: &HeaderMap, max: u64, what: &str) -> Result<(), ApiError> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > max) {
        return Err(too_long(max, what));
    }
    Ok(())
}

/// A body is longer than it may be.
pub(super) fn too_long(max: u64, what: &str) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the {what} is longer than {max} bytes"),
        "nothing was changed; divide it",
    )
}

/// Waits for a turn.
pub(super) async fn turn(turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ApiError> {
    let turn = Arc::clone(turns).acquire_owned().await;
    turn.map_err(|_| ApiError::ending())
}

/// Returns when the daemon is about to end.
pub(super) async fn stopped(stop: &mut Receiver<bool>) {
    // An error means that the sender is gone, and it goes only with the daemon.
    let _ = stop.wait_for(|stop| *stop).await;
}
