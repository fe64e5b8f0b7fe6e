//! `leveret serve`: the daemon.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Failure, advised};
use crate::api::{Api, BindError};
use crate::peer::{Durability, JoinToken, OpenError, Peer, PeerOptions};

/// How long requests that are under way may take when the daemon ends.
const ANSWERS_TIME: Duration = Duration::from_millis(400);
/// How long the peer may take to make everything durable when the daemon ends. What it does not
/// manage is in the journal, and done at the next start.
const CLOSE_TIME: Duration = Duration::from_millis(1_400);

/// Run a peer and its HTTP API, until SIGTERM or SIGINT
///
/// A new directory founds a cluster, or joins one if a token is given. Prints one line with its
/// addresses when it is ready.
#[derive(clap::Args)]
pub(crate) struct Serve {
    /// The data directory; made if it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where to listen for other peers (UDP); port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7410")]
    listen: SocketAddr,
    /// Where to listen for the HTTP API; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7411")]
    api: SocketAddr,
    /// Join the cluster that this token is of; `leveret token` prints one
    #[arg(long, value_name = "TOKEN")]
    join: Option<String>,
    /// Set a store that can not be used aside, and fetch everything again from the others; needs
    /// --join. What no other replica has is in what was set aside alone
    #[arg(long, requires = "join")]
    refetch: bool,
    /// What to call this replica
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// `host:port` under which other peers reach this one, if that is not where it listens; can be
    /// given several times
    #[arg(long, value_name = "ADDR")]
    advertise: Vec<String>,
    /// When a save is answered: `sync`, when it is on disk; `relaxed`, at once
    #[arg(long, value_name = "WHEN", default_value = "sync")]
    durability: When,
    /// Ask every API request for this bearer token [default: $LEVERET_API_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    api_token: Option<String>,
    /// Print the line with the addresses as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum When {
    Sync,
    Relaxed,
}

impl Serve {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let runtime = Builder::new_multi_thread()
            .enable_all()
            .thread_name("leveret")
            .build()
            .map_err(|error| {
                Failure::error(
                    format!("can not start threads: {error}"),
                    "look at the limits of this user",
                )
            })?;
        let done = runtime.block_on(self.serve(out));
        // Reads that are still under way have nobody to answer any more.
        Runtime::shutdown_background(runtime);
        done
    }

    async fn serve(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut signals = Signals::new()?;
        let token = match &self.api_token {
            Some(token) => Some(token.clone()),
            None => std::env::var("LEVERET_API_TOKEN")
                .ok()
                .filter(|token| !token.is_empty()),
        };
        let api = match Api::bind(self.api, token.as_deref()).await {
            Ok(api) => api,
            Err(error) => return Err(self.cannot_bind(error).await),
        };
        let peer = tokio::select! {
            peer = self.open() => peer?,
            () = signals.next() => return Ok(()),
        };
        let address = api.address();
        self.announce(&peer, address, out).await?;
        let (stop, stopping) = watch::channel(false);
        let answering = tokio::spawn(api.serve(peer.clone(), self.data.clone(), stopping));
        signals.next().await;
        tracing::info!("ending");
        // Only fails if nobody answers any more.
        let _ = stop.send(true);
        end(answering, peer).await
    }

    async fn open(&self) -> anyhow::Result<Peer> {
        let join = self.join.as_deref().map(str::parse::<JoinToken>);
        let join = join.transpose().map_err(|error| {
            Failure::error(
                format!("the join token is not one: {error}"),
                "copy the whole line that `leveret token` printed",
            )
        })?;
        let mut options =
            PeerOptions::default()
                .listen(self.listen)
                .durability(match self.durability {
                    When::Sync => Durability::Sync,
                    When::Relaxed => Durability::Relaxed,
                });
        if let Some(join) = join {
            options = options.join(join).refetch(self.refetch);
        }
        if let Some(name) = &self.name {
            options = options.name(name);
        }
        for address in &self.advertise {
            options = options.advertise(address);
        }
        Peer::open(&self.data, options)
            .await
            .map_err(|error| advised(&error, open_advice(&error)))
    }

    /// What to say when the API can not listen. If that is because another daemon has the same
    /// directory, that is the thing to say.
    async fn cannot_bind(&self, error: BindError) -> anyhow::Error {
        let advice = match &error {
            BindError::NeedsToken(_) => {
                "give one with --api-token or LEVERET_API_TOKEN, or listen on 127.0.0.1"
            }
            BindError::BadToken => "choose another one, for instance 32 hex digits",
            BindError::InUse(_) => {
                "another program listens there, perhaps another daemon; choose another one with --api"
            }
            _ => "choose another one with --api",
        };
        if matches!(error, BindError::InUse(_)) && has_contents(&self.data) {
            match self.open().await {
                Ok(peer) => {
                    // Nothing was done with it.
                    let _ = peer.close().await;
                }
                Err(error) => return error,
            }
        }
        Failure::error(error.to_string(), advice)
    }

    async fn announce(
        &self,
        peer: &Peer,
        api: SocketAddr,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let status = peer.status().await;
        let listen = peer.local_addr().map(|address| address.to_string());
        if self.json {
            let line = json!({
                "replica": status.replica.to_string(),
                "cluster": status.cluster.to_string(),
                "listen": listen,
                "api": format!("http://{api}"),
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(
                out,
                "leveret: replica {}, peers at {}, api at http://{api}",
                super::text::short(&status.replica.to_string()),
                listen.as_deref().unwrap_or("-"),
            )?;
        }
        Ok(out.flush()?)
    }
}

fn open_advice(error: &OpenError) -> &'static str {
    match error {
        OpenError::Bind(_) => "choose another address with --listen",
        OpenError::Option(_) => "give another one",
        OpenError::Join(_) => "check that a member of the cluster runs there, and try again",
        OpenError::Store { .. } | OpenError::Replica(_) => {
            "`leveret verify` says more, and `--rebuild` may help; `leveret serve --refetch` sets \
             the store aside and fetches everything again from the others"
        }
        _ => "try again",
    }
}

fn has_contents(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

/// Lets what is under way end, for a while, and closes the peer.
async fn end(answering: JoinHandle<std::io::Result<()>>, peer: Peer) -> anyhow::Result<()> {
    let abort = answering.abort_handle();
    match tokio::time::timeout(ANSWERS_TIME, answering).await {
        Ok(Ok(Err(error))) => tracing::warn!(%error, "the API failed"),
        Ok(_) => {}
        Err(_) => abort.abort(),
    }
    match tokio::time::timeout(CLOSE_TIME, peer.close()).await {
        Ok(closed) => {
            closed.map_err(|error| advised(&error, "look at the disk, and start it again"))
        }
        Err(_) => {
            tracing::warn!("not everything was put in its place; the next start does that");
            Ok(())
        }
    }
}

/// The signals that end the daemon.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let fail = |error: std::io::Error| {
            Failure::error(format!("can not listen for signals: {error}"), "try again")
        };
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(fail)?,
            interrupt: signal(SignalKind::interrupt()).map_err(fail)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
