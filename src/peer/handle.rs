//! [`Peer`]: what one holds of an open peer.

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::backup::{BackupError, BackupReport};
use super::change_sets::ChangeSets;
use super::clock;
use super::conflicts::OpenConflicts;
use super::core::{Core, Input};
use super::dial::Dialler;
use super::directory::Home;
use super::error::{CloseError, CreateTokenError, LogError, OpenError, SessionError, WaitError};
use super::import::{Import, ImportFailure, ImportReport};
use super::log::{Log, LogEntry};
use super::network::Network;
use super::observe::Observer;
use super::options::PeerOptions;
use super::repair::{ClockRepair, ClockRepairError};
use super::session::{Session, Target, find};
use super::status::PeerStatus;
use crate::merge::{ReadTree as _, Snapshot};
use crate::model::{ChangeSetId, NodeId, NodePath, OriginId, PublicKey, RepoId, Sequence};
use crate::net::JoinToken;
use crate::replica::RepairAnyway;

/// Longest time that closing may take until it is given up.
const CLOSE_MAX: Duration = Duration::from_secs(30);
/// Longest time that dropping the last handle waits for what is under way.
const DROP_MAX: Duration = Duration::from_secs(2);

/// An open peer: one replica on its data directory, connected to the others of its cluster.
///
/// Clones are handles to the same peer. [`Peer::close`] ends it in good order; dropping the last
/// handle does so too as far as it can, waiting at most two seconds. A peer lives in the tokio
/// runtime that it was opened in, and has two threads of its own.
///
/// Methods without a repository in their name are about the main one, [`RepoId::MAIN`].
#[derive(Clone)]
pub struct Peer {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) core: Arc<Core>,
    pub(super) network: Arc<Network>,
    pub(super) dialler: Arc<Dialler>,
    pub(super) tasks: Vec<AbortHandle>,
    /// Taken by whoever closes.
    pub(super) threads: Mutex<Option<Vec<JoinHandle<()>>>>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) conflicts: Arc<OpenConflicts>,
    /// For backups.
    pub(super) home: Home,
}

impl Peer {
    pub(super) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Opens a peer on a data directory, and makes that if it is not there.
    ///
    /// A directory that belongs to no cluster founds one, or joins one if there is a token in the
    /// options; that done, the token is not needed any more.
    ///
    /// # Errors
    /// Why it could not be opened. A directory that is not leveret's, or of another version, is
    /// not touched.
    pub async fn open(
        directory: impl AsRef<Path>,
        options: PeerOptions,
    ) -> Result<Self, OpenError> {
        super::open::open(directory.as_ref(), options).await
    }

    /// Begins a session on the newest state.
    pub fn session(&self) -> Session {
        self.session_in(RepoId::MAIN)
    }

    /// Begins a session in a repository.
    pub fn session_in(&self, repo: RepoId) -> Session {
        Session::open(&self.inner.core, repo)
    }

    /// The newest state, to read. Never waits for saves; what is saved later does not change it.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot_in(RepoId::MAIN)
    }

    /// The newest state of a repository.
    pub fn snapshot_in(&self, repo: RepoId) -> Snapshot {
        self.inner.core.state(repo).snapshot()
    }

    /// Observes a node and all below it, from the newest state on; `"/"` observes everything.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn observe(&self, target: impl Target) -> Result<Observer, SessionError> {
        self.observe_in(RepoId::MAIN, target)
    }

    /// Observes a node of a repository.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn observe_in(&self, repo: RepoId, target: impl Target) -> Result<Observer, SessionError> {
        let queue = self.inner.core.observers.add(|| {
            let snapshot = self.snapshot_in(repo);
            Ok::<_, SessionError>((find(&snapshot, &target)?, snapshot))
        })?;
        Ok(Observer::new(queue))
    }

    /// Counts whatever may have moved the applied heads, of any repository: to be looked at again
    /// then.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.inner.core.progress.subscribe()
    }

    /// Waits until a repository has applied all that is listed, at most so long.
    ///
    /// # Errors
    /// If it has not by then, or the peer has ended.
    pub async fn wait_for(
        &self,
        repo: RepoId,
        heads: &[(OriginId, Sequence)],
        timeout: Duration,
    ) -> Result<(), WaitError> {
        let mut progress = self.progress();
        let reached = async {
            loop {
                progress.borrow_and_update();
                let snapshot = self.snapshot_in(repo);
                let has = |(origin, sequence): &(OriginId, Sequence)| {
                    let head = snapshot.heads().get(origin);
                    head.is_some_and(|head| head.sequence >= *sequence)
                };
                if heads.iter().all(has) {
                    return Ok(());
                }
                drop(snapshot);
                if self.inner.core.is_ended() || progress.changed().await.is_err() {
                    return Err(WaitError::Ended);
                }
            }
        };
        tokio::time::timeout(timeout, reached)
            .await
            .unwrap_or(Err(WaitError::Timeout(timeout)))
    }

    /// The newest change sets of a repository, newest first, at most so many; with a path only
    /// those that touch the node there or one below it. Reads the journal: may take its time.
    ///
    /// # Errors
    /// If there is no such node, or history can not be read.
    pub fn log(
        &self,
        repo: RepoId,
        path: Option<&NodePath>,
        limit: usize,
    ) -> Result<Vec<LogEntry>, LogError> {
        let below = match path {
            None => None,
            Some(path) => {
                let node = self.snapshot_in(repo).resolve(path)?;
                Some(node.ok_or_else(|| LogError::NotFound(path.clone()))?)
            }
        };
        let mut history = self.history(repo, None, below)?;
        let mut entries = Vec::new();
        while entries.len() < limit
            && let Some(entry) = history.next_entry()?
        {
            entries.push(entry);
        }
        Ok(entries)
    }

    /// A walk through a repository's history, newest first, of the ids below `before`, of what
    /// touches `below` or a node below that; without them, of everything.
    ///
    /// # Errors
    /// If history can not be read.
    pub fn history(
        &self,
        repo: RepoId,
        before: Option<ChangeSetId>,
        below: Option<NodeId>,
    ) -> Result<Log, LogError> {
        let snapshot = self.snapshot_in(repo);
        Log::new(snapshot, self.inner.core.store(), before, below)
    }

    /// Reads single change sets of a repository from its history.
    pub fn change_sets(&self, repo: RepoId) -> ChangeSets {
        ChangeSets::new(repo, self.inner.core.store())
    }

    /// Imports a tree in its JSON form below a node of the main repository.
    ///
    /// Goes in many saves, each whole; what is there already is kept, and its properties are
    /// written only where they differ. Repeating an import that was interrupted resumes it.
    /// `progress` is told after each save what has been done so far.
    ///
    /// # Errors
    /// Why it ended early, with what had been saved by then.
    pub async fn import(
        &self,
        target: impl Target + Sync,
        input: impl Read + Send,
        message: Option<&str>,
        progress: &mut (dyn FnMut(&ImportReport) + Send),
    ) -> Result<ImportReport, ImportFailure> {
        let core = &self.inner.core;
        Import::run(core, RepoId::MAIN, &target, input, message, progress).await
    }

    /// How the peer is: heads, digests, what waits, who is connected.
    pub async fn status(&self) -> PeerStatus {
        PeerStatus::of(&self.inner).await
    }

    /// Why it takes no saves at present; nothing if it takes them. Cheaper than all of the status.
    pub async fn failure(&self) -> Option<String> {
        let core = &self.inner.core;
        match core.run(|engine| engine.failure.clone()).await {
            Some(failure) if !core.is_ended() => failure,
            _ => Some("the peer has ended".into()),
        }
    }

    /// Writes a backup of the replica into a directory: a data directory itself, which `leveret verify`
    /// checks, and from which a peer goes on that is opened on it or on a copy of it. Into one that has
    /// an earlier backup of this replica only what is new is written.
    ///
    /// It holds all that was durable when this was called. Saves go on meanwhile. One that was not
    /// finished, because the peer was closed or killed, is repeated, and nobody opens it before.
    ///
    /// # Errors
    /// Why it was not finished. A directory that is no backup of this replica is not touched.
    pub async fn backup(&self, directory: impl AsRef<Path>) -> Result<BackupReport, BackupError> {
        super::backup::backup(&self.inner, directory.as_ref()).await
    }

    /// Says that this machine's clock, which was far ahead, is right now. What this replica saved while
    /// it was ahead is held everywhere, here too; its origins are closed, on every replica for good, and
    /// its content is saved again as of now. Returns when that is durable. To be repeated if it was
    /// interrupted; it does nothing where nothing is held.
    ///
    /// Unless [`RepairAnyway::alone`], it is refused if no other member is connected: this directory could
    /// be an older copy of one whose clock has been repaired before. Unless
    /// [`RepairAnyway::clock_is_right`], it is refused if others have saved what is later than this
    /// machine's clock says: that may be behind, and never have been ahead.
    ///
    /// # Errors
    /// Why it was not done, or not to the end.
    pub async fn repair_clock(
        &self,
        anyway: RepairAnyway,
    ) -> Result<ClockRepair, ClockRepairError> {
        super::repair::repair_clock(&self.inner, anyway).await
    }

    /// Makes a token with which another replica can join the cluster through this one, until it
    /// expires. It may be used more than once.
    ///
    /// # Errors
    /// If this peer does not listen, or the token could not be saved.
    pub async fn create_token(&self, expires: Duration) -> Result<JoinToken, CreateTokenError> {
        let network = &self.inner.network;
        if !network.listens || network.addresses.is_empty() {
            return Err(CreateTokenError::NotListening);
        }
        let millis = u64::try_from(expires.as_millis()).unwrap_or(u64::MAX);
        let until = clock::now().plus_millis(millis);
        let secret = self.inner.core.issue_token(until).await?;
        Ok(JoinToken::new(
            network.cluster.cluster,
            network.me.key,
            network.addresses.clone(),
            secret,
            until.unix_millis() / 1_000,
        )?)
    }

    /// Cuts the replica off from all others, or joins it again. It goes on taking saves. A peer
    /// that is opened is never isolated.
    pub fn set_isolated(&self, isolated: bool) {
        self.inner.network.set_isolated(isolated);
    }

    /// The replica's key, which is its name in the cluster.
    pub fn key(&self) -> PublicKey {
        self.inner.network.me.key
    }

    /// Where it takes connections; nothing if it does not.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.inner.listen
    }

    /// Ends the peer: makes everything durable and puts it in its place, tells the others, and
    /// lets go of the directory. Other handles, sessions and observers get errors and ends from
    /// then on.
    ///
    /// # Errors
    /// If not everything could be made durable.
    pub async fn close(self) -> Result<(), CloseError> {
        let threads = self.inner.take_threads().ok_or(CloseError::Ended)?;
        self.inner.begin_close();
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().all(|thread| thread.join().is_ok())
        });
        let joined = tokio::time::timeout(CLOSE_MAX, joined).await;
        self.inner.network.close().await;
        match joined {
            Err(_) => return Err(CloseError::Timeout(CLOSE_MAX)),
            Ok(Ok(true)) => {}
            Ok(_) => return Err(CloseError::Ended),
        }
        match self.inner.core.inspect(|engine| engine.failure.clone()) {
            Some(reason) => Err(CloseError::Storage(reason)),
            None => Ok(()),
        }
    }
}

impl Inner {
    fn take_threads(&self) -> Option<Vec<JoinHandle<()>>> {
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Takes in nobody any more, dials nobody, and lets the replica finish.
    fn begin_close(&self) {
        for task in &self.tasks {
            task.abort();
        }
        self.core.disk.set_closing();
        self.core.submit(Input::Close);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(threads) = self.take_threads() else {
            return;
        };
        self.begin_close();
        let deadline = clock::instant() + DROP_MAX;
        while !threads.iter().all(JoinHandle::is_finished) && clock::instant() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        for connection in self.network.connections() {
            connection.close(crate::net::CloseCode::ShuttingDown, "");
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({})", self.key())
    }
}
