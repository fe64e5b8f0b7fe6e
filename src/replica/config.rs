//! What a replica is told when it is opened.

use std::sync::Arc;

use super::identity::GoodSeals;
use crate::model::{ClusterId, PublicKey, RepoId};

/// When a save is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// After its barrier.
    #[default]
    Sync,
    /// At once; the barrier follows immediately. A crash in between takes back what this replica
    /// alone has seen.
    Relaxed,
}

/// Who founded a cluster: the cluster's id is the hash of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Founder {
    /// The key of the replica that founded it. It is a member without anybody's doing.
    pub key: PublicKey,
    /// Random bytes.
    pub nonce: [u8; 16],
}

impl Founder {
    /// The id of the cluster that is founded so.
    pub fn cluster(&self) -> ClusterId {
        let mut hash = blake3::Hasher::new();
        hash.update(b"leveret cluster 1\0")
            .update(&self.key.0)
            .update(&self.nonce);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        ClusterId(id)
    }
}

/// What a replica is opened with.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// The cluster.
    pub cluster: ClusterId,
    /// Who founded it.
    pub founder: Founder,
    /// When saves are answered.
    pub durability: Durability,
    /// Largest lead accepted of a change set over the local clock, in milliseconds (M16).
    pub skew_max_ms: u64,
    /// Where other members reach this replica, as they dial it; kept in its member record.
    pub addresses: Vec<String>,
    /// A name for people; kept in its member record.
    pub name: String,
    /// Bytes of the main repository's state, records and what paths lead to, kept in memory beside the
    /// records that have changed; of another repository it is an eighth of that.
    pub cache_bytes: usize,
    /// A checkpoint is made this long after the one before, in milliseconds, if anything changed.
    pub checkpoint_interval_ms: u64,
    /// A checkpoint is made when this many bytes of the state have changed.
    pub checkpoint_dirty_bytes: usize,
    /// Time between two comparisons with a random other replica, in milliseconds, give or take a
    /// fifth.
    pub tick_ms: u64,
    /// Where replicas of one process share which seals were found good. Nothing for a replica that
    /// is alone in its process: it verifies each seal once anyway.
    pub good_seals: Option<Arc<GoodSeals>>,
}

impl ReplicaConfig {
    /// The bytes of a repository's state kept in memory.
    pub(super) fn cache_bytes_of(&self, repo: RepoId) -> usize {
        match repo {
            RepoId::MAIN => self.cache_bytes,
            _ => self.cache_bytes / 8,
        }
    }

    /// The usual settings for a replica of a founder's cluster.
    pub fn new(founder: Founder) -> Self {
        Self {
            cluster: founder.cluster(),
            founder,
            durability: Durability::Sync,
            skew_max_ms: 500,
            addresses: Vec::new(),
            name: String::new(),
            cache_bytes: 32 << 20,
            checkpoint_interval_ms: 5_000,
            checkpoint_dirty_bytes: 64 << 20,
            tick_ms: 1_000,
            good_seals: None,
        }
    }
}
