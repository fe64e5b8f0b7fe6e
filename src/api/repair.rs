//! `POST /v1/repair-clock`: after this machine's clock was far ahead, and is right.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::Shared;
use super::error::ApiError;
use super::request::{Asked, stopped};
use super::status::json_answer;
use crate::peer::{ClockRepair, ClockRepairError, RepairAnyway, RepairError};
use crate::storage::StorageError;

/// The parameters of the request.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RepairQuery {
    alone: bool,
    clock_is_right: bool,
}

/// Repairs, and answers when all is saved again.
pub(super) async fn repair_clock(
    State(shared): State<Shared>,
    Asked(query): Asked<RepairQuery>,
) -> Result<Response, ApiError> {
    let (peer, mut stop) = (shared.peer.clone(), shared.stop.clone());
    // It goes on if whoever asked goes away.
    let anyway = RepairAnyway {
        alone: query.alone,
        clock_is_right: query.clock_is_right,
    };
    let repairing = tokio::spawn(async move { peer.repair_clock(anyway).await });
    let repaired = tokio::select! {
        repaired = repairing => repaired,
        () = stopped(&mut stop) => return Err(ApiError::ending()),
    };
    let repaired = repaired.map_err(|_| ApiError::internal("a repair broke an invariant"))??;
    Ok(json_answer(&repair_json(&repaired)))
}

fn repair_json(repaired: &ClockRepair) -> Value {
    let closed: Vec<Value> = repaired
        .closed
        .iter()
        .map(|one| {
            json!({
                "repository": one.closed.repo.name(),
                "origin": one.closed.origin.to_string(),
                "last": one.closed.last.0,
                "saved_again": one.saved_again,
                "not_again": one.not_again,
                "as": one.closed.again.to_string(),
            })
        })
        .collect();
    json!({
        "closed": closed,
        "saved_again": repaired.saved_again,
        "not_again": repaired.not_again,
        "conflicts": repaired.conflicts,
    })
}

impl From<ClockRepairError> for ApiError {
    fn from(error: ClockRepairError) -> Self {
        match error {
            ClockRepairError::Ended | ClockRepairError::Refused(RepairError::Closing) => {
                Self::ending()
            }
            ClockRepairError::Refused(RepairError::ClockBehind { .. }) => Self::new(
                StatusCode::CONFLICT,
                error,
                "compare it with `date -u` elsewhere; `leveret repair-clock --clock-is-right` says so",
            ),
            ClockRepairError::Refused(
                RepairError::Alone
                | RepairError::Behind
                | RepairError::Clock
                | RepairError::TooOften
                | RepairError::Unset,
            ) => Self::new(StatusCode::CONFLICT, error, ""),
            ClockRepairError::Refused(RepairError::Storage(StorageError::Damaged(_))) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                error,
                "stop the daemon, and look with `leveret verify`",
            ),
            ClockRepairError::Refused(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                error,
                "the daemon tries to open its store again; look at its log, and repeat this",
            ),
            ClockRepairError::Read(error) => error.into(),
        }
    }
}
