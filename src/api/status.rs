//! How the replica is: `GET /v1/status`, `/v1/peers`, `/healthz`, `/metrics`.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::{Shared, stream};
use crate::merge::Heads;
use crate::model::RepoId;
use crate::peer::{PeerInfo, PeerStatus, RepoStatus};

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
        "member": peer.member,
        "since": peer.since.and_then(super::log::rfc3339),
        "error": peer.last_error,
    })
}

fn status_json(status: &PeerStatus) -> Value {
    let mut repositories = Map::new();
    let mut main = json!({});
    let (mut held, mut conflicts) = (0, 0);
    for repo in &status.repos {
        let one = repo_json(repo);
        held += repo.held;
        if repo.repo == RepoId::MAIN {
            main = one.clone();
            conflicts = repo.merge.clashes;
        }
        repositories.insert(repo.repo.name().to_owned(), one);
    }
    let peers: Vec<Value> = status.peers.iter().map(peer_json).collect();
    json!({
        "replica": status.replica.to_string(),
        "name": status.name,
        "cluster": status.cluster.to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "address": status.addresses.first(),
        "ready": status.ready,
        "isolated": status.isolated,
        "heads": main["heads"],
        "digest": main["digest"],
        "held": held,
        "conflicts": conflicts,
        "peers": peers,
        "counters": main["counters"],
        "repositories": repositories,
        "disk_bytes": status.disk_bytes,
        "warnings": warnings(status),
    })
}

fn repo_json(repo: &RepoStatus) -> Value {
    json!({
        "heads": heads_text(&repo.heads),
        "digest": repo.digest.to_string(),
        "held": repo.held,
        "counters": counters(repo).into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect::<Map<_, _>>(),
    })
}

/// What is counted of a repository.
fn counters(repo: &RepoStatus) -> Vec<(&'static str, u64)> {
    repo.merge.entries().to_vec()
}

fn warnings(status: &PeerStatus) -> Vec<String> {
    let failure = status.failure.iter().map(|reason| format!("nothing is saved: {reason}"));
    failure.chain(status.alarms.iter().cloned()).collect()
}

/// Whether the daemon takes saves.
pub(super) async fn health(State(shared): State<Shared>) -> Response {
    let status = shared.peer.status().await;
    if status.ready {
        return ([(header::CONTENT_TYPE, stream::TEXT)], "ok\n").into_response();
    }
    let reason = status.failure.unwrap_or_else(|| "the store is not open".into());
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("nothing is saved: {reason}"),
        "the daemon tries to open its store again; look at its log",
    )
    .into_response()
}

/// The numbers of the status, for Prometheus.
pub(super) async fn metrics(State(shared): State<Shared>) -> Response {
    let status = shared.peer.status().await;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics_text(&status)).into_response()
}

fn metrics_text(status: &PeerStatus) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, value: u64| {
        text.push_str(&format!("# TYPE leveret_{name} gauge\nleveret_{name} {value}\n"));
    };
    gauge("ready", status.ready.into());
    gauge("isolated", status.isolated.into());
    gauge("disk_bytes", status.disk_bytes);
    gauge("warnings", warnings(status).len() as u64);
    gauge("peers", status.peers.len() as u64);
    let connected = status.peers.iter().filter(|peer| peer.connected).count();
    gauge("peers_connected", connected as u64);
    gauge("lag", status.peers.iter().filter_map(|peer| peer.lag).max().unwrap_or(0));
    let by_repo: Vec<(&str, Vec<(&'static str, u64)>)> = status
        .repos
        .iter()
        .map(|repo| {
            let mut all = counters(repo);
            all.push(("held", repo.held));
            (repo.repo.name(), all)
        })
        .collect();
    let names: Vec<&str> = match by_repo.first() {
        Some((_, counts)) => counts.iter().map(|(name, _)| *name).collect(),
        None => Vec::new(),
    };
    for (i, name) in names.iter().enumerate() {
        // How many there are now, and not since when.
        let kind = if matches!(*name, "clashes" | "held") { "gauge" } else { "counter" };
        text.push_str(&format!("# TYPE leveret_{name} {kind}\n"));
        for (repo, counts) in &by_repo {
            let value = counts[i].1;
            text.push_str(&format!("leveret_{name}{{repo=\"{repo}\"}} {value}\n"));
        }
    }
    text
}
