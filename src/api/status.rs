//! How the replica is: `GET /v1/status`, `/v1/peers`, `/healthz`, `/metrics`.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::{Shared, stream};
use crate::merge::Heads;
use crate::model::id::Time;
use crate::model::{OriginId, RepoId, Sequence};
use crate::peer::{PeerInfo, PeerStatus};
use crate::replica::{Alarm, HeldReason, RepoStatus};

/// A JSON answer of one line.
pub(super) fn json_answer(value: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, stream::JSON)];
    (StatusCode::OK, kind, format!("{value}\n")).into_response()
}

/// Heads as people and programs pass them on: `origin:sequence,...`, by origin.
pub(super) fn heads_text(heads: &Heads) -> String {
    listed(heads.iter().map(|(origin, head)| (origin, head.sequence)))
}

fn listed<'a>(heads: impl Iterator<Item = (&'a OriginId, Sequence)>) -> String {
    let parts: Vec<String> = heads
        .map(|(origin, sequence)| format!("{origin}:{sequence}"))
        .collect();
    parts.join(",")
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
        "traffic": peer.traffic.map(|traffic| json!({
            "sent": traffic.sent,
            "sent_bytes": traffic.sent_bytes,
            "received": traffic.received,
            "received_bytes": traffic.received_bytes,
            "udp_sent": traffic.datagrams.sent,
            "udp_sent_bytes": traffic.datagrams.sent_bytes,
            "udp_received": traffic.datagrams.received,
            "udp_received_bytes": traffic.datagrams.received_bytes,
        })),
    })
}

fn status_json(status: &PeerStatus) -> Value {
    let main = status.repo(RepoId::MAIN);
    let repositories: Map<String, Value> = status
        .state
        .repos
        .iter()
        .map(|repo| (repo.repo.name().to_owned(), repo_json(repo)))
        .collect();
    let peers: Vec<Value> = status.peers.iter().map(peer_json).collect();
    let mut counters: Map<String, Value> = merge_counters(main);
    for (name, count) in status.state.counters.entries() {
        counters.insert(name.to_owned(), count.into());
    }
    json!({
        "replica": status.replica.to_string(),
        "name": status.name,
        "cluster": status.cluster.to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "address": status.addresses.first(),
        "ready": status.ready,
        "isolated": status.isolated,
        "heads": applied_text(main),
        "digest": main.digest.to_string(),
        "held": status.state.held,
        "own_held": own_held(status).iter().map(|(_, count, _)| count).sum::<u64>(),
        "own_held_until": own_held(status)
            .iter()
            .map(|(_, _, until)| *until)
            .max()
            .and_then(super::log::rfc3339),
        "conflicts": status.conflicts,
        "peers": peers,
        "counters": counters,
        "repositories": repositories,
        "disk_bytes": status.disk_bytes,
        "live_bytes": status.upkeep.map(|upkeep| upkeep.live_bytes),
        "cleaning_behind": status.upkeep.map(|upkeep| upkeep.behind),
        "clock_ahead_ms": status.state.clock_ahead_ms,
        "warnings": warnings(status),
    })
}

fn applied_text(repo: &RepoStatus) -> String {
    listed(
        repo.applied
            .iter()
            .map(|(origin, sequence)| (origin, *sequence)),
    )
}

fn repo_json(repo: &RepoStatus) -> Value {
    let held: Vec<Value> = repo
        .held
        .iter()
        .map(|(origin, (count, reason))| {
            json!({
                "origin": origin.to_string(),
                "replica": repo.authors.get(origin).map(ToString::to_string),
                "count": count,
                "reason": reason_text(*reason),
                "until": repo.until.get(origin).and_then(|until| super::log::rfc3339(*until)),
            })
        })
        .collect();
    json!({
        "heads": applied_text(repo),
        "stored": listed(repo.stored.iter().map(|(origin, sequence)| (origin, *sequence))),
        "digest": repo.digest.to_string(),
        "held": held,
        "quarantined": repo.quarantined.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "closed": repo.closed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "counters": merge_counters(repo),
    })
}

fn merge_counters(repo: &RepoStatus) -> Map<String, Value> {
    let entries = repo.merge.entries().into_iter();
    entries
        .map(|(name, count)| (name.to_owned(), count.into()))
        .collect()
}

fn reason_text(reason: HeldReason) -> &'static str {
    match reason {
        HeldReason::Future => "from the future",
        HeldReason::Dependency => "waits for others",
        HeldReason::Rules => "made under rules that this version does not know",
    }
}

/// What the replica holds of its own saves since they are from the future: in which repository, how
/// many, and until when.
fn own_held(status: &PeerStatus) -> Vec<(RepoId, u64, Time)> {
    let own = |repo: &RepoStatus| {
        let mut count = 0;
        let mut last = None;
        for (origin, until) in &repo.until {
            if repo.authors.get(origin) == Some(&status.replica) {
                count += repo.held.get(origin).map_or(0, |(count, _)| *count);
                last = last.max(Some(*until));
            }
        }
        last.map(|until| (repo.repo, count, until))
    };
    status.state.repos.iter().filter_map(own).collect()
}

fn held_count(repo: &RepoStatus) -> u64 {
    repo.held.values().map(|(count, _)| count).sum()
}

/// What a person should look at.
fn warnings(status: &PeerStatus) -> Vec<String> {
    let mut warnings = status.alarms.clone();
    if let Some(reason) = &status.failure {
        warnings.push(format!("nothing is saved: {reason}"));
    }
    for repo in &status.state.repos {
        for (origin, (count, reason)) in &repo.held {
            if *reason == HeldReason::Dependency {
                continue; // they come and go
            }
            let author = repo.authors.get(origin);
            if repo.until.contains_key(origin) && author == Some(&status.replica) {
                continue; // told below
            }
            let author = author.map(ToString::to_string);
            warnings.push(format!(
                "{count} change sets of replica {} are held in `{}`: {}",
                author.as_deref().unwrap_or("-"),
                repo.repo.name(),
                reason_text(*reason),
            ));
        }
    }
    for (repo, count, until) in own_held(status) {
        warnings.push(format!(
            "{count} saves of this replica's own are held in `{}` until {}, since its clock was ahead \
             when they were made; `leveret repair-clock` saves them again as of now",
            repo.name(),
            super::log::rfc3339(until).unwrap_or_default(),
        ));
    }
    for repo in &status.state.repos {
        for origin in &repo.lacking {
            let (repo, origin) = (repo.repo, *origin);
            warnings.push(Alarm::AgainLacking { repo, origin }.to_string());
        }
    }
    warnings
}

/// Whether the daemon takes saves.
pub(super) async fn health(State(shared): State<Shared>) -> Response {
    let Some(reason) = shared.peer.failure().await else {
        return ([(header::CONTENT_TYPE, stream::TEXT)], "ok\n").into_response();
    };
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
        text.push_str(&format!(
            "# TYPE leveret_{name} gauge\nleveret_{name} {value}\n"
        ));
    };
    gauge("ready", status.ready.into());
    gauge("isolated", status.isolated.into());
    gauge("disk_bytes", status.disk_bytes);
    if let Some(upkeep) = status.upkeep {
        gauge("live_bytes", upkeep.live_bytes);
        gauge("cleaning_behind", upkeep.behind.into());
    }
    gauge("warnings", warnings(status).len() as u64);
    gauge("conflicts", status.conflicts.unwrap_or_default());
    gauge("peers", status.peers.len() as u64);
    let connected = status.peers.iter().filter(|peer| peer.connected).count();
    gauge("peers_connected", connected as u64);
    gauge(
        "lag",
        status
            .peers
            .iter()
            .filter_map(|peer| peer.lag)
            .max()
            .unwrap_or(0),
    );
    for (name, count) in status.state.counters.entries() {
        text.push_str(&format!(
            "# TYPE leveret_{name} counter\nleveret_{name} {count}\n"
        ));
    }
    let of_repo = |repo: &RepoStatus| {
        let mut counts = repo.merge.entries().to_vec();
        counts.push(("held", held_count(repo)));
        counts
    };
    let Some(first) = status.state.repos.first() else {
        return text;
    };
    for (i, (name, _)) in of_repo(first).into_iter().enumerate() {
        // How many there are now, and not since when.
        let is_gauge = matches!(name, "clashes" | "held");
        let kind = if is_gauge { "gauge" } else { "counter" };
        text.push_str(&format!("# TYPE leveret_{name} {kind}\n"));
        for repo in &status.state.repos {
            let (label, value) = (repo.repo.name(), of_repo(repo)[i].1);
            text.push_str(&format!("leveret_{name}{{repo=\"{label}\"}} {value}\n"));
        }
    }
    text
}
