//! How a peer is opened.

use std::net::SocketAddr;
use std::time::Duration;

use crate::net::JoinToken;
use crate::replica::Durability;

/// How a peer is opened: chained calls, each with a default.
///
/// ```
/// use leveret::{Durability, PeerOptions};
///
/// let options = PeerOptions::default()
///     .listen("127.0.0.1:0".parse().unwrap())
///     .name("reading room")
///     .durability(Durability::Relaxed);
/// ```
#[derive(Clone, Debug)]
pub struct PeerOptions {
    pub(super) listen: Option<SocketAddr>,
    pub(super) advertise: Vec<String>,
    pub(super) durability: Durability,
    pub(super) join: Option<JoinToken>,
    pub(super) name: String,
    pub(super) cache_bytes: u64,
    pub(super) skew_max: Duration,
    pub(super) checkpoint_interval: Duration,
    pub(super) slack_bytes: u64,
    pub(super) refetch: bool,
}

impl Default for PeerOptions {
    fn default() -> Self {
        Self {
            listen: None,
            advertise: Vec::new(),
            durability: Durability::Sync,
            join: None,
            name: String::new(),
            cache_bytes: 64 << 20,
            skew_max: Duration::from_millis(500),
            checkpoint_interval: Duration::from_secs(5),
            slack_bytes: 16 << 20,
            refetch: false,
        }
    }
}

impl PeerOptions {
    /// Takes connections at this address; port 0 chooses a free one. Without, the peer only dials
    /// others, and nobody can join through it.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// Where the others can dial this peer, as `host:port`; can be called up to 8 times. Without,
    /// the address it listens at, or if that is a wildcard, the machine's own with the same port.
    #[must_use]
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise.push(address.into());
        self
    }

    /// When a save is acknowledged. [`Durability::Sync`] unless set.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Joins a cluster, if the directory belongs to none. Without, a new directory founds one.
    #[must_use]
    pub fn join(mut self, token: JoinToken) -> Self {
        self.join = Some(token);
        self
    }

    /// What people call this peer, at most 255 bytes.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Memory for what is read often, in bytes; 64 MiB unless set. Half of it is the store's. The other
    /// half has records of the states, and for a quarter of that what paths lead to.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Largest lead of a change set over this peer's clock with which it is applied at once; one
    /// with more is held until then (M16). 500 ms unless set.
    #[must_use]
    pub fn skew_max(mut self, skew: Duration) -> Self {
        self.skew_max = skew;
        self
    }

    /// Longest time that what saves have changed in the state stays in memory alone; 5 s unless set.
    /// What is in the journal and not in the state on disk is merged again when the peer is opened
    /// after a crash: shorter makes that quicker, and saves dearer.
    #[must_use]
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.checkpoint_interval = interval;
        self
    }

    /// What the store may take on disk beside 2¼ times what lives in it, in bytes,
    /// before it is cleaned; 16 MiB unless set.
    #[must_use]
    pub fn slack_bytes(mut self, bytes: u64) -> Self {
        self.slack_bytes = bytes;
        self
    }

    /// Sets the store aside, beside itself in the data directory, and fetches everything again from
    /// the others: for one that can not be opened or mended. Needs a token of the directory's cluster
    /// ([`PeerOptions::join`]), to know whom to ask. The replica stays the one that it was; what no
    /// other replica has is in what was set aside alone. Off unless set.
    #[must_use]
    pub fn refetch(mut self, yes: bool) -> Self {
        self.refetch = yes;
        self
    }
}
