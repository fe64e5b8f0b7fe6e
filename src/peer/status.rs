//! How a peer is, for people and programs.

use std::collections::BTreeMap;

use super::clock;
use super::connection::Traffic;
use super::engine::Engine;
use super::handle::Inner;
use crate::model::{ClusterId, PublicKey, RepoId, Time};
use crate::replica::{self, ConnectionId, Member, RepoStatus};
use crate::storage::{Storage as _, Upkeep};

/// How a peer is.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// The replica's key.
    pub replica: PublicKey,
    /// What people call it.
    pub name: String,
    /// The cluster.
    pub cluster: ClusterId,
    /// Where others can dial it.
    pub addresses: Vec<String>,
    /// Whether it takes saves.
    pub ready: bool,
    /// Why it takes none: how the store failed. It is opened again by itself.
    pub failure: Option<String>,
    /// Whether it was cut off from the others on purpose.
    pub isolated: bool,
    /// What the replica tells of itself: heads, digests, what waits, counters.
    pub state: replica::Status,
    /// The other members, and whoever else is connected, by key.
    pub peers: Vec<PeerInfo>,
    /// What went wrong of late, oldest first.
    pub alarms: Vec<String>,
    /// Bytes that the store takes on disk.
    pub disk_bytes: u64,
    /// What the store has counted of them; nothing while it is opened again.
    pub upkeep: Option<Upkeep>,
    /// Open conflicts in [`RepoId::MAIN`] (M14); nothing if they could not be read.
    pub conflicts: Option<u64>,
}

/// How it stands with another replica.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Its key.
    pub replica: PublicKey,
    /// What people call it.
    pub name: String,
    /// Where it is connected, or else where it would be dialled; empty if nowhere.
    pub address: String,
    /// Whether it is connected.
    pub connected: bool,
    /// How many change sets it is known to lack, of what is here; nothing if not known.
    pub lag: Option<u64>,
    /// Since when it is connected.
    pub since: Option<Time>,
    /// What went wrong when it was dialled last, if it is not connected.
    pub last_error: Option<String>,
    /// Whether it is a member of the cluster.
    pub member: bool,
    /// What has gone over the connection, if it is connected.
    pub traffic: Option<Traffic>,
}

/// What only the engine knows.
struct Inside {
    state: replica::Status,
    members: Vec<Member>,
    failure: Option<String>,
    alarms: Vec<String>,
}

impl Inside {
    fn of(engine: &mut Engine) -> Self {
        Self {
            state: engine.replica.status(clock::now()),
            members: engine.replica.members().to_vec(),
            failure: engine.failure.clone(),
            alarms: engine.alarms.iter().map(ToString::to_string).collect(),
        }
    }
}

impl PeerStatus {
    /// A repository's part.
    ///
    /// # Panics
    /// If it is none of [`RepoId::ALL`].
    pub fn repo(&self, repo: RepoId) -> &RepoStatus {
        let mut repos = self.state.repos.iter();
        repos
            .find(|one| one.repo == repo)
            .expect("a replica has every repository there is")
    }

    pub(super) async fn of(inner: &Inner) -> Self {
        let inside = match inner.core.run(Inside::of).await {
            Some(inside) => inside,
            None => inner.core.inspect(Inside::of),
        };
        let network = &inner.network;
        let conflicts = open_conflicts(inner).await;
        Self {
            conflicts,
            replica: network.me.key,
            name: network.name.clone(),
            cluster: network.cluster.cluster,
            addresses: network.addresses.clone(),
            ready: inside.failure.is_none() && !inner.core.is_ended(),
            failure: inside.failure,
            isolated: network.is_isolated(),
            peers: peers(inner, &inside.state, &inside.members),
            state: inside.state,
            alarms: inside.alarms,
            disk_bytes: inner.core.store().size_on_disk(),
            upkeep: inner.core.store().upkeep(),
        }
    }
}

/// Counts the open conflicts, off the async threads.
async fn open_conflicts(inner: &Inner) -> Option<u64> {
    let snapshot = inner.core.state(RepoId::MAIN).snapshot();
    let counter = inner.conflicts.clone();
    let counted = tokio::task::spawn_blocking(move || counter.count(&snapshot)).await;
    counted.ok()?.ok()
}

/// Every connection, and every member to which there is none.
fn peers(inner: &Inner, state: &replica::Status, members: &[Member]) -> Vec<PeerInfo> {
    let network = &inner.network;
    let connections = network.connections();
    let lags: BTreeMap<ConnectionId, Option<u64>> = state
        .peers
        .iter()
        .map(|peer| (peer.connection, peer.lag))
        .collect();
    let mut infos: Vec<PeerInfo> = connections
        .iter()
        .map(|connection| PeerInfo {
            replica: connection.key,
            name: connection.name.clone(),
            address: connection.address.to_string(),
            connected: true,
            lag: lags.get(&connection.id).copied().flatten(),
            since: Some(connection.since),
            last_error: None,
            member: members.iter().any(|member| member.key == connection.key),
            traffic: Some(connection.traffic()),
        })
        .collect();
    let absent = |member: &&Member| {
        member.key != network.me.key && connections.iter().all(|one| one.key != member.key)
    };
    infos.extend(members.iter().filter(absent).map(|member| PeerInfo {
        replica: member.key,
        name: member.name.clone(),
        address: member.addresses.first().cloned().unwrap_or_default(),
        connected: false,
        lag: None,
        since: None,
        last_error: inner.dialler.last_error(member.key),
        member: true,
        traffic: None,
    }));
    infos.sort_by_key(|info| info.replica);
    infos
}
