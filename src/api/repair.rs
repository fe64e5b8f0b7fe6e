//! `POST /v1/repair-clock`: after this machine's clock was far ahead, and is right.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::Shared;
use super::error::ApiError;
use super::request::{Asked, stopped};
use super::status::json_answer;
use crate::peer::{ClockRepair, ClockRepairError, RepairError};

/// The parameters of the request.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RepairQuery {
    alone: bool,
}

/// Repairs, and answers when all is saved again.
pub(super) async fn repair_clock(
    State(shared): State<Shared>,
    Asked(query): Asked<RepairQuery>,
) -> Result<Response, ApiError> {
    let (peer, mut stop) = (shared.peer.clone(), shared.stop.clone());
    // It goes on if whoever asked goes away.
    let repairing = tokio::spawn(async move { peer.repair_clock(query.alone).await });
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
                "repository": one.repo.name(),
                "origin": one.origin.to_string(),
                "last": one.last.0,
                "saved_again": one.tip.0 - one.last.0,
                "as": one.again.to_string(),
            })
        })
        .collect();
    json!({
        "closed": closed,
        "saved_again": repaired.saved_again,
        "conflicts": repaired.conflicts,
    })
}

impl From<ClockRepairError> for ApiError {
    fn from(error: ClockRepairError) -> Self {
        match error {
            ClockRepairError::Ended | ClockRepairError::Refused(RepairError::Closing) => {
                Self::ending()
            }
            ClockRepairError::Refused(
                RepairError::Alone | RepairError::Behind | RepairError::Clock | RepairError::Unset,
            ) => Self::new(StatusCode::CONFLICT, error, ""),
            ClockRepairError::Refused(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                error,
                "the daemon tries to open its store again; look at its log, and repeat this",
            ),
            ClockRepairError::Read(error) => error.into(),
        }
    }
}
