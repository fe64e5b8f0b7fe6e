//! The HTTP API of the daemon: routes, who may use them, and their bounds.
//!
//! It is a thin layer over [`Peer`]: requests become sessions, snapshots and observers, and what
//! comes back becomes JSON. `docs/reference/http-api.md` describes every route. It listens on
//! loopback; elsewhere it asks for a bearer token, and web pages are kept out (`guard`).

mod backup;
mod conflicts;
mod error;
mod explain;
mod guard;
mod import;
mod log;
mod manage;
mod outline;
mod read;
mod repair;
mod request;
mod save;
mod status;
mod stream;
mod told;
mod trash;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::watch::Receiver;

use crate::peer::Peer;

/// Longest script that `POST /v1/apply` takes, in bytes.
pub const APPLY_BYTES_MAX: usize = 16 << 20;
/// Longest file that `POST /v1/import` takes, in bytes.
pub const IMPORT_BYTES_MAX: u64 = 4 << 30;
/// Longest body of any other request, in bytes.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// Requests that read a tree or a log, or save, and are served at the same time; others wait.
pub const REQUESTS_MAX: usize = 64;
/// Watches that are open at the same time; another one is refused.
pub const WATCHES_MAX: usize = 256;
/// Imports that run at the same time; another one is refused.
pub const IMPORTS_MAX: usize = 4;
/// Backups that are written at the same time; another one is refused.
pub const BACKUPS_MAX: usize = 1;
/// Most change sets that one request for the log gives.
pub const LOG_MAX: usize = 100_000;
/// Most nodes that one request for the trash gives.
pub const TRASH_MAX: usize = 10_000;
/// Most conflicts that one request for them gives.
pub const CONFLICTS_MAX: usize = 10_000;
/// Most children that `GET /v1/node` lists.
pub const NODE_CHILDREN_MAX: usize = 1_000;

/// Why the API does not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Other machines could reach it, and there is no token to tell friends from others.
    #[error("the API address {0} is reachable from other machines and there is no API token")]
    NeedsToken(SocketAddr),
    /// The token is empty, or has characters that a header can not carry.
    #[error("the API token is not 1 to 1,024 visible ASCII characters")]
    BadToken,
    /// Another program listens there.
    #[error("the API address {0} is in use")]
    InUse(SocketAddr),
    /// The system refused for another reason.
    #[error("can not listen on the API address {address}: {source}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
}

/// An API that listens and does not answer yet.
pub struct Api {
    listener: TcpListener,
    guard: guard::Guard,
    address: SocketAddr,
}

impl Api {
    /// Listens on `address`; port 0 takes any free one. With a token every request has to bear it.
    ///
    /// # Errors
    /// If the address is not loopback and there is no token, or it can not be listened on.
    pub async fn bind(address: SocketAddr, token: Option<&str>) -> Result<Self, BindError> {
        if token.is_none() && !address.ip().is_loopback() {
            return Err(BindError::NeedsToken(address));
        }
        let fail = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(address),
            _ => BindError::Io { address, source },
        };
        let guard = guard::Guard::new(token, address.ip().is_loopback())?;
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        Ok(Self {
            listener,
            guard,
            address,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop` becomes true and the last answer is out. Streams that have no
    /// end of their own end then. `spool` is a directory for files that are being imported.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(self, peer: Peer, spool: PathBuf, stop: Receiver<bool>) -> io::Result<()> {
        let mut stopping = stop.clone();
        let shared = Shared(Arc::new(Inner {
            peer,
            spool,
            stop,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            watches: Arc::new(Semaphore::new(WATCHES_MAX)),
            imports: Arc::new(Semaphore::new(IMPORTS_MAX)),
            backups: Arc::new(Semaphore::new(BACKUPS_MAX)),
        }));
        // An answer, or an event of a watch, is not to wait until the one before it is confirmed,
        // which a reader that has nothing to say does 40 ms later.
        let listener = self.listener.tap_io(|stream| {
            // If it can not be had, things are slower and otherwise the same.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, router(shared, self.guard))
            .with_graceful_shutdown(async move { request::stopped(&mut stopping).await })
            .await
    }
}

/// What every handler may use.
#[derive(Clone)]
struct Shared(Arc<Inner>);

struct Inner {
    peer: Peer,
    spool: PathBuf,
    stop: Receiver<bool>,
    requests: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    imports: Arc<Semaphore>,
    backups: Arc<Semaphore>,
}

impl std::ops::Deref for Shared {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

fn router(shared: Shared, guard: guard::Guard) -> Router {
    Router::new()
        .route(
            "/v1/apply",
            post(save::apply).layer(DefaultBodyLimit::max(APPLY_BYTES_MAX)),
        )
        .route("/v1/tree", get(read::tree))
        .route("/v1/export", get(read::export))
        .route("/v1/node", get(read::node))
        .route("/v1/refs", get(read::refs))
        .route("/v1/import", post(import::import))
        .route("/v1/trash", get(trash::list))
        .route("/v1/restore", post(trash::restore))
        .route("/v1/conflicts", get(conflicts::list))
        .route("/v1/dismiss", post(conflicts::dismiss))
        .route("/v1/log", get(log::log))
        .route("/v1/explain", get(explain::explain))
        .route("/v1/watch", get(watch::watch))
        .route("/v1/status", get(status::status))
        .route("/v1/peers", get(status::peers))
        .route("/v1/token", post(manage::token))
        .route("/v1/isolate", post(manage::isolate))
        .route("/v1/backup", post(backup::backup))
        .route("/v1/repair-clock", post(repair::repair_clock))
        .route("/v1/wait", get(manage::wait))
        .route("/healthz", get(status::health))
        .route("/metrics", get(status::metrics))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(
            Arc::new(guard),
            guard::check,
        ))
        .with_state(shared)
}
