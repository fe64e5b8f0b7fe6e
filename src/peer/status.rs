//! How a peer is, for people and programs.

use std::collections::BTreeMap;

use super::handle::Inner;
use crate::merge::{Heads, MergeCounters, StateDigest};
use crate::model::{ClusterId, OriginId, PublicKey, RepoId, Time};
use crate::replica::{self, ConnectionId};

/// How a peer is.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// The replica's key.
    pub replica: PublicKey,
    /// What people call it.
    pub name: String,
    /// The cluster.
    pub cluster: ClusterId,
    /// Under which origin it writes.
    pub origin: OriginId,
    /// Where others can dial it.
    pub addresses: Vec<String>,
    /// Whether it takes saves.
    pub ready: bool,
    /// Why it takes none: how the store failed. It is opened again by itself.
    pub failure: Option<String>,
    /// Whether it was cut off from the others on purpose.
    pub isolated: bool,
    /// Its repositories.
    pub repos: Vec<RepoStatus>,
    /// The other members, and whoever else is connected, by key.
    pub peers: Vec<PeerInfo>,
    /// What went wrong of late, oldest first.
    pub alarms: Vec<String>,
    /// Bytes that the store takes on disk.
    pub disk_bytes: u64,
    /// What the replica as a whole tells.
    pub inside: replica::Status,
}

/// How one repository is.
#[derive(Clone, Debug)]
pub struct RepoStatus {
    /// Which one.
    pub repo: RepoId,
    /// The applied heads.
    pub heads: Heads,
    /// The digest of the state at these heads.
    pub digest: StateDigest,
    /// What merging has come to.
    pub merge: MergeCounters,
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
}

impl PeerStatus {
    pub(super) async fn of(inner: &Inner) -> Self {
        let _: BTreeMap<ConnectionId, u64> = BTreeMap::new();
        let _ = inner;
        std::future::pending().await
    }
}
