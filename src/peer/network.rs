//! The peer's connections: who is let in, which of two is kept, and who is dialled when.
//!
//! Every member is dialled at each of its addresses until a connection to it stands. A program is
//! known by its key and by what it drew when it opened its directory (its *instance*): two copies
//! of one directory are two ends of one key. Between two ends one connection is kept, the one
//! that the lesser of them dialled; a connection of an end to itself is none.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::admit::Refusal;
use super::clock;
use super::connection::{Connection, End};
use super::core::Core;
use super::directory::ClusterFile;
use crate::codec::frame::FRAME_BYTES_MAX;
use crate::codec::handshake::{Hello, JoinSecret, RefusalCode, Welcome};
use crate::net::{Caller, CloseCode, Endpoint, Link};
use crate::replica::ConnectionId;

/// How long a closing peer takes at most to send its last messages.
const FAREWELL: Duration = Duration::from_millis(200);

/// See the top of the file.
pub(super) struct Network {
    pub(super) core: Arc<Core>,
    pub(super) endpoint: Endpoint,
    pub(super) me: End,
    pub(super) cluster: ClusterFile,
    pub(super) name: String,
    /// Where others can dial us.
    pub(super) addresses: Vec<String>,
    /// Whether others may dial us at all.
    pub(super) listens: bool,
    pub(super) isolated: watch::Sender<bool>,
    ends: Mutex<BTreeMap<End, Arc<Connection>>>,
    next_id: AtomicU64,
    /// A connection has come or gone.
    pub(super) changed: Notify,
}

impl Network {
    pub(super) fn new(
        core: Arc<Core>,
        endpoint: Endpoint,
        me: End,
        cluster: ClusterFile,
        name: String,
        addresses: Vec<String>,
        listens: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            core,
            endpoint,
            me,
            cluster,
            name,
            addresses,
            listens,
            isolated: watch::Sender::new(false),
            ends: Mutex::default(),
            next_id: AtomicU64::new(1),
            changed: Notify::new(),
        })
    }

    fn ends(&self) -> MutexGuard<'_, BTreeMap<End, Arc<Connection>>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections that stand, by their other end.
    pub(super) fn connections(&self) -> Vec<Arc<Connection>> {
        self.ends().values().cloned().collect()
    }

    pub(super) fn is_isolated(&self) -> bool {
        *self.isolated.borrow()
    }

    /// Drops every connection and refuses new ones, or lets them come again.
    pub(super) fn set_isolated(&self, isolated: bool) {
        self.isolated.send_replace(isolated);
        if isolated {
            for connection in self.connections() {
                connection.close(CloseCode::Done, "isolated");
            }
        }
        self.core.members.notify_one();
    }

    /// What we say when we dial.
    pub(super) fn hello(&self, join_secret: Option<JoinSecret>) -> Hello {
        Hello {
            cluster: Some(self.cluster.cluster),
            instance: self.me.instance,
            name: self.name.clone(),
            addresses: self.addresses.clone(),
            join_secret,
            frame_bytes_max: FRAME_BYTES_MAX,
        }
    }

    fn welcome(&self) -> Welcome {
        Welcome {
            cluster: self.cluster.cluster,
            founder_key: self.cluster.founder,
            founder_nonce: self.cluster.nonce,
            instance: self.me.instance,
            name: self.name.clone(),
            addresses: self.addresses.clone(),
            frame_bytes_max: FRAME_BYTES_MAX,
        }
    }

    /// Answers those who dial, until the endpoint is closed.
    pub(super) async fn accept(self: Arc<Self>) {
        while let Some(caller) = self.endpoint.accept().await {
            tokio::spawn(self.clone().answer(caller));
        }
    }

    async fn answer(self: Arc<Self>, caller: Caller) {
        let end = End {
            key: caller.peer_key(),
            instance: caller.hello().instance,
        };
        let name = caller.hello().name.clone();
        if let Err((code, reason)) = self.admit(end, caller.hello()).await {
            let address = caller.remote_addr();
            tracing::debug!(peer = %end.key, %address, %code, reason, "a caller is refused");
            caller.refuse(code, &reason);
            return;
        }
        match caller.welcome(&self.welcome()).await {
            Ok(link) => self.run(link, end, end, name).await,
            Err(error) => tracing::debug!(%error, "a welcome could not be sent"),
        }
    }

    async fn admit(&self, end: End, hello: &Hello) -> Result<(), Refusal> {
        let refuse = |code: RefusalCode, reason: &str| Err((code, reason.to_owned()));
        if self.core.is_ended() {
            return refuse(RefusalCode::ShuttingDown, "this replica is about to end");
        }
        if self.is_isolated() {
            return refuse(RefusalCode::Unable, "this replica is isolated");
        }
        if end == self.me {
            return refuse(RefusalCode::Itself, "you have dialled yourself");
        }
        if !self.listens {
            return refuse(RefusalCode::Unable, "this replica takes no connections");
        }
        if hello.cluster != Some(self.cluster.cluster) {
            let reason = format!(
                "this replica belongs to the cluster {}",
                self.cluster.cluster
            );
            return Err((RefusalCode::OtherCluster, reason));
        }
        if let Some(other) = self.ends().get(&end)
            && other.dialled_by == self.me
            && self.me < end
        {
            return refuse(RefusalCode::Duplicate, "we have dialled you already");
        }
        let (name, addresses) = (hello.name.clone(), hello.addresses.clone());
        let secret = hello.join_secret;
        self.core.admit(end.key, secret, name, addresses).await
    }

    /// Runs a connection whose handshake is done, to its end.
    pub(super) async fn run(self: &Arc<Self>, link: Link, end: End, dialled_by: End, name: String) {
        let id = ConnectionId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let handle = link.handle();
        let connection = Connection::new(id, end, dialled_by, name, clock::now(), handle);
        if !self.register(&connection) {
            connection.close(CloseCode::Duplicate, "");
            return;
        }
        tracing::info!(peer = %end.key, address = %connection.address, "connected");
        self.changed.notify_one();
        let (sender, receiver) = link.split();
        let reason = connection.run(&self.core, sender, receiver).await;
        tracing::info!(peer = %end.key, address = %connection.address, reason, "disconnected");
        let mut ends = self.ends();
        if ends.get(&end).is_some_and(|current| current.id == id) {
            ends.remove(&end);
        }
        drop(ends);
        self.changed.notify_one();
    }

    /// Whether a connection is to be kept; one that it takes the place of is closed.
    fn register(&self, connection: &Arc<Connection>) -> bool {
        if self.is_isolated() || self.core.is_ended() {
            return false;
        }
        let mut ends = self.ends();
        if let Some(other) = ends.get(&connection.end) {
            // Of two that one side dialled the newer counts: it would not have dialled again if
            // the older one were any good.
            let lesser = self.me.min(connection.end);
            if other.dialled_by != connection.dialled_by && other.dialled_by == lesser {
                return false;
            }
            other.close(CloseCode::Duplicate, "");
        }
        ends.insert(connection.end, connection.clone());
        true
    }

    /// Whether the addresses are ours: dialling them would lead to ourselves.
    pub(super) fn is_own(&self, address: &str) -> bool {
        self.addresses.iter().any(|own| own == address)
    }

    /// Gives what still waits a moment to go out, and closes all connections.
    pub(super) async fn close(&self) {
        let drained = async {
            while !self.connections().iter().all(|one| one.is_drained()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Whatever is not out by then the others will ask for.
        let _ = tokio::time::timeout(FAREWELL, drained).await;
        self.endpoint.close(CloseCode::ShuttingDown, "").await;
    }
}

/// Where others can dial a socket that is bound to `bound`: there, or if that is a wildcard, at
/// the address from which this machine speaks to others.
pub(super) fn own_address(bound: SocketAddr) -> Option<String> {
    if !bound.ip().is_unspecified() {
        return Some(bound.to_string());
    }
    let (any, far) = match bound {
        SocketAddr::V4(_) => ("0.0.0.0:0", "192.0.2.1:9"),
        SocketAddr::V6(_) => ("[::]:0", "[2001:db8::1]:9"),
    };
    // Connecting a UDP socket sends nothing: it only makes the system choose a way out.
    let socket = std::net::UdpSocket::bind(any).ok()?;
    let ip = match socket.connect(far).and_then(|()| socket.local_addr()) {
        Ok(address) => address.ip(),
        Err(_) if bound.is_ipv4() => std::net::Ipv4Addr::LOCALHOST.into(),
        Err(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    Some(SocketAddr::new(ip, bound.port()).to_string())
}
