//! How the replica is: `GET /v1/status`, `/v1/peers`, `/healthz`, `/metrics`.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::{Shared, stream};
use crate::merge::Heads;
use crate::peer::{PeerInfo, PeerStatus};

/// A JSON answer of one line.
pub(super) fn json_answer(value: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, stream::JSON)];
    (StatusCode::OK, kind, format!("{value}\n")).into_response()
}

/// Heads as people and programs pass them on: `origin:sequence,...`, by origin.
pub(super) fn heads_text(heads: &Heads) -> String {
    let mut text = String::new();
    for (origin, head) in heads {
        if !text.is_empty() {
            text.push(',');
        }
        write!(text, "{origin}:{}", head.sequence).expect("a String takes every write");
    }
    text
}

/// The status.
pub(super) async fn status(State(shared): State<Shared>) -> Result<Response, ApiError> {
    Ok(json_answer(&status_json(&shared.peer.status().await)))
}

/// The peers alone.
pub(super) async fn peers(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let status = shared.peer.status().await;
    let peers: Vec<Value> = status.peers.iter().map(peer_json).collect();
    Ok(json_answer(&json!({ "peers": peers })))
}

fn peer_json(peer: &PeerInfo) -> Value {
    json!({
        "replica": peer.replica.to_string(),
        "name": peer.name,
        "address": peer.address,
        "connected": peer.connected,
        "lag": peer.lag,
    })
}

fn status_json(_: &PeerStatus) -> Value { json!({}) }
pub(super) async fn health() {}
pub(super) async fn metrics() {}
