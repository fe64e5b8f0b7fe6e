//! `POST /v1/backup`: a backup of the replica into a directory of the daemon's machine.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::Shared;
use super::error::ApiError;
use super::request::{Asked, stopped};
use super::status::json_answer;
use crate::peer::{BackupError, BackupReport, DirectoryError};
use crate::replica::CopyError;
use crate::storage::StorageError;

/// The parameters of the request.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupQuery {
    directory: PathBuf,
}

/// Writes a backup, and answers when it is whole.
pub(super) async fn backup(
    State(shared): State<Shared>,
    Asked(query): Asked<BackupQuery>,
) -> Result<Response, ApiError> {
    if !query.directory.is_absolute() {
        return Err(ApiError::bad(
            format!("`{}` is not an absolute path", query.directory.display()),
            "name a directory of the daemon's machine from / on",
        ));
    }
    let Ok(permit) = Arc::clone(&shared.backups).try_acquire_owned() else {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "a backup is being written already",
            "wait for it to end",
        ));
    };
    let (peer, mut stop) = (shared.peer.clone(), shared.stop.clone());
    // It goes on if whoever asked goes away, and is then found whole.
    let writing = tokio::spawn(async move {
        let written = peer.backup(&query.directory).await;
        drop(permit);
        written
    });
    let written = tokio::select! {
        written = writing => written,
        () = stopped(&mut stop) => return Err(ApiError::ending()),
    };
    let report = written.map_err(|_| ApiError::internal("a backup broke an invariant"))??;
    Ok(json_answer(&report_json(&report)))
}

fn report_json(report: &BackupReport) -> serde_json::Value {
    json!({
        "directory": report.directory.to_string_lossy(),
        "earlier": report.earlier,
        "journal_records": report.journal_records,
        "state_records": report.state_records,
        "removed_records": report.removed_records,
        "bytes": report.bytes,
        "disk_bytes": report.disk_bytes,
    })
}

impl From<BackupError> for ApiError {
    fn from(error: BackupError) -> Self {
        let again = "what was written is kept; repeat it, and it goes on there";
        let full = "make room there and repeat it: it goes on where it ended";
        match error {
            BackupError::Ended => Self::ending(),
            BackupError::Behind => Self::new(StatusCode::SERVICE_UNAVAILABLE, error, again),
            BackupError::Directory(DirectoryError::Io { .. }) => {
                Self::bad(error, "name a directory that the daemon may write to")
            }
            BackupError::Directory(_) => Self::bad(error, ""),
            BackupError::Store {
                source: StorageError::Full(_),
                ..
            }
            | BackupError::Copy(CopyError::To(StorageError::Full(_))) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, error, full)
            }
            BackupError::Store { .. } | BackupError::Copy(CopyError::To(_)) => {
                let hint = "look at the disk, and repeat it; into a new directory if it is damaged";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error, hint)
            }
            BackupError::Copy(CopyError::Journal { .. } | CopyError::Other { .. }) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error, "")
            }
            BackupError::Copy(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error, again),
        }
    }
}
