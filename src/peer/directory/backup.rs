//! A backup as a directory: a data directory whose file `backup` says how far it has come.
//!
//! ```text
//! leveret backup unfinished        it is being written, or was when the peer was killed
//! leveret backup finished TIME     it is whole, since so many milliseconds after 1970
//! ```
//!
//! While it is unfinished nobody opens it but who writes it further. A peer that opens a finished one
//! takes the file away: from then on it is a data directory like any other, and what is saved there is
//! never written over by a backup.

use std::fs;
use std::path::{Path, PathBuf};

use super::{
    CLUSTER, ClusterFile, Directory, DirectoryError, FORMAT, FORMAT_VERSION, KEY, Membership, at,
    check_empty, check_format, create, hex, read_key, read_membership, read_small, remove,
    take_lock, write_small,
};
use crate::peer::clock;

const BACKUP: &str = "backup";
/// What there is of it first.
pub(super) const BEGUN: &str = "backup.new";
const UNFINISHED: &str = "leveret backup unfinished";
const FINISHED: &str = "leveret backup finished";

/// Refuses what is a backup that is not whole, or where one was about to begin.
pub(super) fn check_finished(path: &Path) -> Result<(), DirectoryError> {
    let unfinished = match read_small(&path.join(BACKUP))? {
        Some(text) => text.starts_with(UNFINISHED),
        None => path.join(BEGUN).exists() && !path.join(FORMAT).exists(),
    };
    match unfinished {
        true => Err(DirectoryError::Unfinished {
            path: path.to_owned(),
        }),
        false => Ok(()),
    }
}

fn is_backup(path: &Path) -> Result<bool, DirectoryError> {
    let text = read_small(&path.join(BACKUP))?.unwrap_or_default();
    Ok(text.starts_with(UNFINISHED) || text.starts_with(FINISHED))
}

/// The path without links, as far as it is there.
fn resolve(path: &Path) -> Result<PathBuf, DirectoryError> {
    let path = std::path::absolute(path).map_err(at(path))?;
    let mut there = path.as_path();
    let mut rest = Vec::new();
    loop {
        match (fs::canonicalize(there), there.parent(), there.file_name()) {
            (Ok(found), ..) => {
                return Ok(rest.iter().rev().fold(found, |path, name| path.join(name)));
            }
            (Err(_), Some(parent), Some(name)) => {
                rest.push(name);
                there = parent;
            }
            (Err(error), ..) => return Err(at(&path)(error)),
        }
    }
}

impl Directory {
    /// Opens a directory to write a backup of this one's replica there, and notes that it is not
    /// whole; makes it if there is none or an empty one. Gives whether it has some of one already.
    ///
    /// # Errors
    /// Why not. What is no backup of this replica is not touched.
    pub(in crate::peer) fn open_backup(
        path: &Path,
        home: &Home,
    ) -> Result<(Self, bool), DirectoryError> {
        let resolved = resolve(path)?;
        if resolved.starts_with(&home.path) {
            return Err(DirectoryError::Inside { path: resolved });
        }
        create(&resolved)?;
        let path = &resolved;
        let format = read_small(&path.join(FORMAT))?;
        match (&format, is_backup(path)?) {
            (Some(text), true) => check_format(path, text)?,
            (None, true) => {}
            (Some(_), false) => return Err(DirectoryError::NoBackup { path: path.clone() }),
            (None, false) => check_empty(path)?,
        }
        let lock = take_lock(path)?;
        let other = || DirectoryError::OtherReplica { path: path.clone() };
        let key = read_key(&path.join(KEY))?;
        if key.is_some_and(|key| key != home.seed) {
            return Err(other());
        }
        match read_membership(path)? {
            Membership::New => {}
            Membership::Member(file) if file == home.cluster => {}
            _ => return Err(other()),
        }
        write_small(path, BACKUP, &format!("{UNFINISHED}\n"))?;
        let mut directory = Self {
            path: path.clone(),
            seed: home.seed,
            membership: Membership::New,
            _lock: lock,
        };
        let earlier = directory.store().exists();
        if key.is_none() {
            write_small(path, KEY, &format!("{}\n", hex(&home.seed)))?;
        }
        if !path.join(CLUSTER).exists() {
            directory.set_cluster(home.cluster.clone())?;
        }
        if format.is_none() {
            write_small(path, FORMAT, &format!("leveret {FORMAT_VERSION}\n"))?;
        }
        Ok((directory, earlier))
    }

    /// Notes that the backup in it is whole.
    ///
    /// # Errors
    /// If that could not be written.
    pub(in crate::peer) fn finish_backup(&self) -> Result<(), DirectoryError> {
        let now = clock::now().unix_millis();
        write_small(&self.path, BACKUP, &format!("{FINISHED} {now}\n"))
    }

    /// Notes that it is no backup, but in use.
    ///
    /// # Errors
    /// If that could not be written.
    pub(in crate::peer) fn take_up(&self) -> Result<(), DirectoryError> {
        if !is_backup(&self.path)? {
            return Ok(());
        }
        remove(&self.path.join(BACKUP))?;
        super::sync_directory(&self.path)
    }

    /// What a backup needs to know of it.
    pub(in crate::peer) fn home(&self, cluster: ClusterFile) -> Home {
        Home {
            path: self.path.clone(),
            seed: self.seed,
            cluster,
        }
    }
}

/// A replica's data directory, as a backup is told of it.
#[derive(Clone)]
pub(in crate::peer) struct Home {
    path: PathBuf,
    seed: [u8; 32],
    cluster: ClusterFile,
}
