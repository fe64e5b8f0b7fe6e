//! Saves: `POST /v1/apply` makes them from operation lines, and [`save`] is how any is made.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::error::ApiError;
use super::request::{Asked, blocking, check_length, short, too_long, turn};
use super::{APPLY_BYTES_MAX, Shared};
use crate::model::id::RepoId;
use crate::model::script::{self, ScriptSave};
use crate::peer::{Peer, Receipt, SaveError, Session};

/// How long a save is tried again on newer states when somebody changed the same things between
/// its snapshot and its turn. Whoever asks for it over HTTP has seen neither.
const TRY_FOR: Duration = Duration::from_secs(3);

/// Most operations of a script that is worked off where its request is: they read a few records
/// each. Longer ones have a thread for themselves meanwhile.
const SHORT_OPERATIONS: usize = 16;

/// How something is saved: the parameters of a request to apply, and some of those of others.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct How {
    /// What the author has to say about it.
    message: Option<String>,
    /// Whether also over what somebody else has changed a moment ago.
    overwrite: bool,
    /// Whether it has effect whole or not at all (M13).
    all_or_nothing: bool,
}

impl How {
    /// What a request that has parameters of its own says of it.
    pub(super) fn new(message: Option<String>, overwrite: bool, all_or_nothing: bool) -> Self {
        Self {
            message,
            overwrite,
            all_or_nothing,
        }
    }
}

/// Makes the saves of a script, one after the other, up to the first that is refused.
pub(super) async fn apply(
    State(shared): State<Shared>,
    Asked(how): Asked<How>,
    request: Request,
) -> Result<Response, ApiError> {
    check_length(request.headers(), APPLY_BYTES_MAX as u64, "script")?;
    let body = Bytes::from_request(request, &()).await;
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_long(APPLY_BYTES_MAX as u64, "script"),
        status => ApiError::new(
            status,
            format!("the script did not come whole: {}", rejection.body_text()),
            "nothing was saved; try again",
        ),
    })?;
    let script = std::str::from_utf8(&body).map_err(|error| {
        ApiError::bad(
            format!("the script is not UTF-8: {error}"),
            "nothing was saved; write it as UTF-8",
        )
    })?;
    let saves = script::parse_script(script).map_err(|error| {
        let hint = "nothing was saved; correct it and try again";
        ApiError::bad(error.reason, hint).with("line", error.line)
    })?;
    if saves.is_empty() {
        return Err(ApiError::bad(
            "there is no operation in it",
            "write at least one operation line",
        ));
    }
    let turn = turn(&shared.requests).await?;
    let operations: usize = saves.iter().map(|save| save.operations.len()).sum();
    // The turn is kept for as long as the work goes on, whoever still waits for it.
    let work = async move {
        let _turn = turn;
        all(shared, saves, how).await
    };
    let saved = if operations <= SHORT_OPERATIONS {
        short(work).await?
    } else {
        let handle = Handle::current();
        blocking(move || handle.block_on(work)).await?
    };
    let kind = [(header::CONTENT_TYPE, super::stream::JSON)];
    let text = format!("{}\n", json!({ "saved": saved }));
    Ok((StatusCode::OK, kind, text).into_response())
}

/// The receipts of all saves; if one is refused, its error says which were made before.
async fn all(shared: Shared, saves: Vec<ScriptSave>, how: How) -> Result<Vec<Value>, ApiError> {
    let mut saved: Vec<Value> = Vec::new();
    for script in &saves {
        match one(&shared.peer, script, &how).await {
            Ok(receipt) => saved.push(receipt_json(&receipt)),
            Err(error) => return Err(error.with("saved", saved)),
        }
    }
    Ok(saved)
}

/// One save; its errors say in which line.
async fn one(peer: &Peer, script: &ScriptSave, how: &How) -> Result<Receipt, ApiError> {
    let first = script.operations.first().map_or(1, |(line, _)| *line);
    let gather = |session: &mut Session| {
        for (line, operation) in &script.operations {
            let refused = |error| ApiError::from(error).with("line", *line);
            session.apply(operation).map_err(refused)?;
        }
        Ok(())
    };
    let saved = gathered(peer, how, &gather).await;
    saved.map_err(|error| error.or_with("line", first))
}

/// As [`gathered`], where one may wait.
pub(super) fn save(
    peer: &Peer,
    handle: &Handle,
    how: &How,
    gather: &dyn Fn(&mut Session) -> Result<(), ApiError>,
) -> Result<Receipt, ApiError> {
    handle.block_on(gathered(peer, how, gather))
}

/// Gathers operations in a session of `main` and saves them; again, on a newer state, as long as
/// somebody else was faster.
async fn gathered<G>(peer: &Peer, how: &How, gather: &G) -> Result<Receipt, ApiError>
where
    G: Fn(&mut Session) -> Result<(), ApiError> + ?Sized,
{
    let begun = now();
    loop {
        let mut progress = peer.progress();
        let mut session = peer.session_in(RepoId::MAIN);
        session.overwrite(how.overwrite);
        session.all_or_nothing(how.all_or_nothing);
        if let Some(message) = &how.message {
            session.set_message(message)?;
        }
        gather(&mut session)?;
        let version = session.snapshot().version();
        match session.save().await {
            Ok(receipt) => return Ok(receipt),
            Err(SaveError::Changed { .. }) if begun.elapsed() < TRY_FOR => {
                // What changed is merged and not published yet: nothing is gained before it is.
                let newer = async {
                    while peer.snapshot_in(RepoId::MAIN).version() == version {
                        if progress.changed().await.is_err() {
                            break;
                        }
                    }
                };
                let left = TRY_FOR.saturating_sub(begun.elapsed());
                // If nothing newer comes, the next try says why.
                let _ = tokio::time::timeout(left, newer).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the API may look at the clock")]
fn now() -> Instant {
    Instant::now()
}

/// A receipt as the API gives it.
pub(super) fn receipt_json(receipt: &Receipt) -> Value {
    json!({
        "id": receipt.id.to_string(),
        "sequence": receipt.sequence.0,
        "voided": receipt.voided,
    })
}
