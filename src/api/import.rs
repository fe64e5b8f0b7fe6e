//! `POST /v1/import`: a JSON tree goes in as many saves, each whole.
//!
//! The body is kept in a file first and checked from one end to the other, so that a file with an
//! error changes nothing, and so that the answer, progress as one JSON object a line, can be read
//! while the import runs. Then it is read again, by the peer's own import.

mod check;

use std::fs::File;
use std::io::{self, BufReader, Seek as _, Write as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::error::ApiError;
use super::request::{Asked, blocking, check_length, node_path, too_long};
use super::stream::{self, Pieces};
use super::{IMPORT_BYTES_MAX, IMPORTS_MAX, Shared};
use crate::model::path::NodePath;
use crate::peer::ImportReport;

/// Bytes of the body that are written to the file at once.
const WRITE_BYTES: usize = 1 << 20;

/// What the body is called in errors.
const WHAT: &str = "file";

/// The parameters of the request.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Query {
    path: Option<String>,
    message: Option<String>,
}

/// Takes a tree and writes it below a node.
pub(super) async fn import(
    State(shared): State<Shared>,
    Asked(query): Asked<Query>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    check_length(&headers, IMPORT_BYTES_MAX, WHAT)?;
    let path = node_path(query.path.as_deref())?;
    let Ok(permit) = Arc::clone(&shared.imports).try_acquire_owned() else {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{IMPORTS_MAX} imports are running already"),
            "wait for one of them to end",
        ));
    };
    let file = receive(body, &shared.spool).await?;
    let (pieces, response) = stream::answer(stream::LINES);
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut answer = Answer { pieces };
        let job = Job {
            shared: &shared,
            handle,
            path,
            message: query.message.as_deref(),
        };
        let last = match job.run(file, &mut answer) {
            Ok(done) => done,
            Err(error) => {
                let mut body = error.into_body();
                body.insert("event".into(), "error".into());
                Value::Object(body)
            }
        };
        answer.line(&last);
        drop(permit);
    });
    Ok(response)
}

/// The way back to whoever imports.
struct Answer {
    pieces: Pieces,
}

impl Answer {
    /// Sends a line. If nobody listens any more there is nobody to tell.
    fn line(&mut self, line: &Value) {
        let _ = self
            .pieces
            .blocking_send(Ok(Bytes::from(format!("{line}\n"))));
    }

    /// Sends a line that can be left out when many wait already.
    fn line_if_there_is_room(&mut self, line: &Value) {
        let _ = self.pieces.try_send(Ok(Bytes::from(format!("{line}\n"))));
    }
}

struct Job<'a> {
    shared: &'a Shared,
    handle: Handle,
    path: NodePath,
    message: Option<&'a str>,
}

impl Job<'_> {
    fn run(&self, mut file: File, answer: &mut Answer) -> Result<Value, ApiError> {
        let counts = check::check(BufReader::new(&mut file), self.path.steps().len())
            .map_err(|error| wrong_file(&error))?;
        answer.line(&json!({
            "event": "checked",
            "nodes": counts.nodes,
            "properties": counts.properties,
        }));
        file.rewind().map_err(spool_failed)?;
        let mut progress = |report: &ImportReport| {
            // If nobody listens any more the import goes on: it is wanted all the same.
            answer.line_if_there_is_room(&json!({
                "event": "saved",
                "id": report.ids.last().map(ToString::to_string),
                "nodes_done": report.nodes_added + report.nodes_found - 1,
            }));
        };
        let input = BufReader::new(file);
        let importing = self
            .shared
            .peer
            .import(&self.path, input, self.message, &mut progress);
        let report = self.handle.block_on(importing).map_err(|failure| {
            let saves = failure.report.ids.len();
            let error: ApiError = failure.error.into();
            match saves {
                0 => error,
                _ => error
                    .prefixed(format_args!("the import stopped after {saves} saves: "))
                    .with("saves", saves),
            }
        })?;
        Ok(json!({
            "event": "done",
            "nodes_added": report.nodes_added,
            "nodes_found": report.nodes_found - 1,
            "properties_set": report.properties_set,
            "properties_same": report.properties_same,
            "saves": report.ids.len(),
            "resumed_at": report.resumed_at.filter(|_| report.nodes_found > 1).map(|path| path.to_string()),
        }))
    }
}

fn wrong_file(error: &check::FileError) -> ApiError {
    ApiError::bad(
        format!("the file can not be imported: {error}"),
        "nothing was changed; correct the file and try again",
    )
}

fn spool_failed(error: io::Error) -> ApiError {
    let full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    );
    if full {
        return ApiError::new(
            StatusCode::INSUFFICIENT_STORAGE,
            format!("there is no room to keep the file while it is imported: {error}"),
            "nothing was changed; make room on the daemon's disk",
        );
    }
    ApiError::internal(format!(
        "the file could not be kept for the import: {error}"
    ))
}

/// Keeps the body in a file that has no name, and so is gone with the process.
async fn receive(mut body: Body, spool: &Path) -> Result<File, ApiError> {
    let directory = spool.to_owned();
    let mut file = blocking(move || nameless(&directory).map_err(spool_failed)).await?;
    let mut waiting = Vec::with_capacity(WRITE_BYTES);
    let mut total = 0;
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let last = frame.is_none();
        if let Some(frame) = frame {
            let frame = frame.map_err(|error| {
                ApiError::bad(
                    format!("the file broke off: {error}"),
                    "nothing was changed; try again",
                )
            })?;
            if let Ok(bytes) = frame.into_data() {
                waiting.extend_from_slice(&bytes);
                total += bytes.len() as u64;
            }
        }
        if total > IMPORT_BYTES_MAX {
            return Err(too_long(IMPORT_BYTES_MAX, WHAT));
        }
        if waiting.len() >= WRITE_BYTES || last {
            (file, waiting) = blocking(move || {
                file.write_all(&waiting).map_err(spool_failed)?;
                waiting.clear();
                Ok((file, waiting))
            })
            .await?;
        }
        if last {
            break;
        }
    }
    blocking(move || {
        file.rewind().map_err(spool_failed)?;
        Ok(file)
    })
    .await
}

/// A file that is gone as soon as nobody has it open.
fn nameless(directory: &Path) -> io::Result<File> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = directory.join(format!("import-{count}.tmp"));
    match std::fs::remove_file(&path) {
        Ok(()) => {} // left behind by a process that was killed at this very moment
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
