//! A backup of a running peer, consistent as of one moment, written beside the saves.
//!
//! The journal only grows, and the state's records change only with a checkpoint. So the bulk is copied
//! first, as it happens to be; then checkpoints are held back, the journal's heads are taken, and what
//! is missing up to them is copied, with all of the state that differs. Checkpoints wait for no longer
//! than it takes to read the state here and there; what is saved meanwhile stays in memory, and if that
//! becomes too much they are let through, and held back once more later, when less is missing. Saves wait
//! for nothing. What a copy consists of is `replica`'s business; `docs/decisions/0009` says why it is a
//! data directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::core::Core;
use super::directory::{Directory, DirectoryError};
use super::handle::Inner;
use crate::model::{OriginId, RepoId, Sequence};
use crate::replica::{Copied, Copier, CopyError};
use crate::storage::sled::{SledOptions, SledStorage};
use crate::storage::{Storage as _, StorageError};

/// Memory for the backup's store, in bytes.
const CACHE_BYTES: u64 = 32 << 20;

/// Room that a backup leaves on its disk, in bytes: more than saves need, should it be their disk too.
const ROOM_BYTES_MIN: u64 = 64 << 20;

/// How much of the state may wait in memory while checkpoints are held back, in bytes.
const WAITING_BYTES_MAX: usize = 256 << 20;

/// How often checkpoints are held back until what is missing has been copied in time.
const HOLDS_MAX: u32 = 4;

/// What a backup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// Where it is.
    pub directory: PathBuf,
    /// Whether there was some of it already, so that only what is new was written.
    pub earlier: bool,
    /// Records of the journal written: change sets.
    pub journal_records: u64,
    /// Records of the state written.
    pub state_records: u64,
    /// Records of the state that were there and are not any more.
    pub removed_records: u64,
    /// Keys and values of all these, in bytes.
    pub bytes: u64,
    /// What all of the backup takes on disk, in bytes.
    pub disk_bytes: u64,
}

/// Why a backup was not finished. Repeating it goes on where it ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The directory can not be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The store in it can not be opened or closed.
    #[error("the backup's store {}: {source}", path.display())]
    Store {
        /// Where the store is.
        path: PathBuf,
        /// Why not.
        source: StorageError,
    },
    /// Something could not be copied.
    #[error(transparent)]
    Copy(CopyError),
    /// Saves came faster than the rest could be copied.
    #[error("more is saved than can be copied meanwhile")]
    Behind,
    /// The peer has ended meanwhile.
    #[error("the peer has ended")]
    Ended,
}

impl From<CopyError> for BackupError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Stopped => Self::Ended,
            other => Self::Copy(other),
        }
    }
}

/// How far the journal is.
type Heads = Vec<(RepoId, OriginId, Sequence)>;

/// Checkpoints are held back for as long as this lives.
struct Hold(Arc<Core>);

impl Hold {
    fn new(core: Arc<Core>) -> Option<Self> {
        core.disk.hold().then_some(Self(core))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.disk.release();
    }
}

/// A backup that is being written.
struct Target {
    core: Arc<Core>,
    // Before the directory, whose lock goes last.
    store: SledStorage,
    directory: Directory,
    earlier: bool,
    copied: Copied,
}

/// Writes a backup.
pub(super) async fn backup(inner: &Inner, path: &Path) -> Result<BackupReport, BackupError> {
    backup_within(inner, path, WAITING_BYTES_MAX).await
}

/// Writes a backup while no more than so many bytes of the state wait in memory.
pub(super) async fn backup_within(
    inner: &Inner,
    path: &Path,
    waiting_bytes_max: usize,
) -> Result<BackupReport, BackupError> {
    let (core, home, path) = (inner.core.clone(), inner.home.clone(), path.to_owned());
    let heads = journal_heads(&core).await?;
    let mut target = blocking(move || {
        let (directory, earlier) = Directory::open_backup(&path, &home)?;
        let mut target = Target::open(core, directory, earlier)?;
        // Into an empty store there is much to write. It is done before anything has to wait.
        target.copy(&heads, !earlier, usize::MAX)?;
        Ok(target)
    })
    .await?;
    for round in 1..=HOLDS_MAX {
        let core = target.core.clone();
        let (hold, mark) = blocking(move || {
            let hold = Hold::new(core.clone()).ok_or(BackupError::Ended)?;
            // Before the heads are taken: the backup has all that its mark says was acknowledged.
            let mark = core.store().last_witness().map_err(CopyError::From)?;
            Ok((hold, mark))
        })
        .await?;
        let heads = journal_heads(&target.core).await?;
        let (rest, whole) = blocking(move || {
            let whole = target.copy(&heads, true, waiting_bytes_max)?;
            if target.core.disk.is_closing() {
                // A checkpoint may have come between.
                return Err(BackupError::Ended);
            }
            drop(hold);
            // What is missing is copied while nothing waits, for the next round to find less.
            if !whole && round < HOLDS_MAX {
                target.copy(&heads, true, usize::MAX)?;
            }
            Ok((target, whole))
        })
        .await?;
        target = rest;
        if whole {
            return blocking(move || target.finish(mark)).await;
        }
    }
    Err(BackupError::Behind)
}

async fn journal_heads(core: &Core) -> Result<Heads, BackupError> {
    let heads = core.run(|engine| engine.replica.journal_heads()).await;
    heads.ok_or(BackupError::Ended)
}

impl Target {
    fn open(core: Arc<Core>, directory: Directory, earlier: bool) -> Result<Self, BackupError> {
        let path = directory.store();
        let options = SledOptions::default()
            .with_cache_bytes(CACHE_BYTES)
            .with_room_min_bytes(ROOM_BYTES_MIN);
        match SledStorage::open(&path, &options) {
            Ok(store) => Ok(Self {
                core,
                store,
                directory,
                earlier,
                copied: Copied::default(),
            }),
            Err(source) => Err(BackupError::Store { path, source }),
        }
    }

    /// Copies the journal up to the heads, and with `state` the rest. False if more than so many bytes
    /// of the state had come to wait in memory, and not all was copied.
    fn copy(
        &mut self,
        heads: &Heads,
        state: bool,
        waiting_bytes_max: usize,
    ) -> Result<bool, BackupError> {
        let from = self.core.store();
        let closing = || self.core.disk.is_closing();
        let waiting = || RepoId::ALL.map(|repo| self.core.state(repo).dirty_bytes());
        let go_on = || !closing() && waiting().iter().sum::<usize>() <= waiting_bytes_max;
        let mut copier = Copier::new(from.as_ref(), &self.store, &go_on, self.copied);
        let mut all = || {
            copier.journal(heads)?;
            if state {
                copier.notes()?;
                copier.state()?;
            }
            Ok::<_, CopyError>(())
        };
        let outcome = all();
        self.copied = copier.copied();
        match outcome {
            Ok(()) => Ok(true),
            Err(CopyError::Stopped) if !closing() => Ok(false),
            // What was read from may be closed by now.
            Err(CopyError::From(_)) if closing() => Err(BackupError::Ended),
            Err(error) => Err(error.into()),
        }
    }

    fn finish(self, mark: Option<Vec<u8>>) -> Result<BackupReport, BackupError> {
        let path = self.directory.store();
        let fail = |source| BackupError::Store {
            path: path.clone(),
            source,
        };
        if let Some(mark) = mark {
            self.store.witness(&mark).map_err(fail)?;
        }
        self.store.close().map_err(fail)?;
        self.directory.finish_backup()?;
        let Copied {
            journal_records,
            state_records,
            removed_records,
            bytes,
        } = self.copied;
        Ok(BackupReport {
            directory: self.directory.path().to_owned(),
            earlier: self.earlier,
            journal_records,
            state_records,
            removed_records,
            bytes,
            disk_bytes: disk_bytes(&path),
        })
    }
}

/// What the files below a directory take on disk, in bytes, as far as they can be looked at.
fn disk_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(about) if about.is_dir() => directories.push(entry.path()),
                Ok(about) => bytes += about.blocks() * 512,
                Err(_) => {}
            }
        }
    }
    bytes
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    // Fails if the work panicked, or the runtime ends.
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(BackupError::Ended))
}
