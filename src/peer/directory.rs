//! The data directory of a peer: who may use it, and the few small files beside the store.
//!
//! ```text
//! format    `leveret 1`: what this directory is
//! lock      held by the process that has it open; the text in it is that process's id
//! key       the seed of the replica's ed25519 key, 64 hex digits, mode 0600
//! joining   the id of a cluster that is being joined; gone when that is done
//! cluster   cluster id, founder's key and founder's nonce, a line each
//! backup    there while this is a backup that no peer has opened (directory/backup.rs)
//! store/    the replica's storage
//! store.aside-N/  a store that could not be used; nothing reads it
//! ```
//!
//! Every file is written whole: to `NAME.new`, fsync, rename, fsync of the directory. What is in
//! `store/` is the business of `storage`.

mod backup;

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

pub(super) use self::backup::Home;
use super::clock;
use crate::model::{ClusterId, PublicKey};
use crate::replica::Founder;

/// The version of the directory's layout that this code reads and writes.
pub const FORMAT_VERSION: u32 = 1;

const FORMAT: &str = "format";
const LOCK: &str = "lock";
const KEY: &str = "key";
const JOINING: &str = "joining";
const CLUSTER: &str = "cluster";
const STORE: &str = "store";
/// Longest of the small files, in bytes; what is longer is not ours.
const SMALL_FILE_BYTES_MAX: u64 = 4_096;

/// Why a directory can not be used as a data directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Another process has it open, or another peer of this one.
    #[error("the data directory {} is in use by {holder}; stop that first, or use another directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who has it, as far as known.
        holder: String,
    },
    /// It has something in it, and no `format` file.
    #[error("{} is not a leveret data directory and not empty (it contains `{found}`); use an empty or a new directory", path.display())]
    NotLeveret {
        /// The directory.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// It was made by another version of leveret.
    #[error("the data directory {} has the format `{found}`, and this program reads `leveret {FORMAT_VERSION}`; use the program that made it", path.display())]
    OtherFormat {
        /// The directory.
        path: PathBuf,
        /// The first line of its `format` file.
        found: String,
    },
    /// Others can read the key.
    #[error("others may read the key {} (mode {mode:03o}); if nobody has, `chmod 600` it, or else remove this replica and join anew", path.display())]
    KeyMode {
        /// The key file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// One of the small files does not say what it should.
    #[error("{} is damaged: {reason}; restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A backup was begun in it, or brought up to date, and not finished.
    #[error("the backup in {} was not finished; repeat it, or take another one", path.display())]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// A backup was to go there, and it is a data directory.
    #[error("{} is a data directory and no backup, or has been used as one; back up into a new directory", path.display())]
    NoBackup {
        /// The directory.
        path: PathBuf,
    },
    /// A backup was to go there, and it has one of another replica.
    #[error("the backup in {} is that of another replica; back up into a new directory", path.display())]
    OtherReplica {
        /// The directory.
        path: PathBuf,
    },
    /// A backup was to go there, and it is the replica's own data directory, or in that.
    #[error("{} is in the data directory itself; back up to another place, best on another disk", path.display())]
    Inside {
        /// The directory.
        path: PathBuf,
    },
    /// A file is missing that must be there.
    #[error("{} is missing; restore it from a backup", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused something.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    /// To nothing yet.
    New,
    /// To nothing yet, but joining this cluster was begun.
    Joining(ClusterId),
    /// To this cluster.
    Member(ClusterFile),
}

/// The contents of the `cluster` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClusterFile {
    pub(super) cluster: ClusterId,
    pub(super) founder: PublicKey,
    pub(super) nonce: [u8; 16],
}

/// An open data directory. Nobody else has it open while this exists.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    seed: [u8; 32],
    membership: Membership,
    /// Held for its lock, which the system lets go with it.
    _lock: File,
}

impl Directory {
    /// Opens a directory; makes it, with a new key, if there is none or an empty one.
    ///
    /// # Errors
    /// Why not. A directory that is not leveret's is not touched.
    pub(super) fn open(path: &Path) -> Result<Self, DirectoryError> {
        create(path)?;
        Self::open_there(path)
    }

    /// Opens a directory that a replica was made in; nothing if that has not come to its end, and then
    /// nothing is changed.
    ///
    /// # Errors
    /// As of [`Directory::open`], or if there is none.
    pub(super) fn open_made(path: &Path) -> Result<Option<Self>, DirectoryError> {
        backup::check_finished(path)?;
        if read_small(&path.join(FORMAT))?.is_none() {
            return check_empty(path).map(|()| None);
        }
        Self::open_there(path).map(Some)
    }

    fn open_there(path: &Path) -> Result<Self, DirectoryError> {
        let path = &fs::canonicalize(path).map_err(at(path))?;
        backup::check_finished(path)?;
        let format = read_small(&path.join(FORMAT))?;
        match &format {
            Some(text) => check_format(path, text)?,
            None => check_empty(path)?,
        }
        let lock = take_lock(path)?;
        backup::check_finished(path)?;
        let key_file = path.join(KEY);
        let membership = read_membership(path)?;
        let seed = match read_key(&key_file)? {
            Some(seed) => seed,
            None if membership != Membership::New => {
                return Err(DirectoryError::Missing { path: key_file });
            }
            None => {
                let seed = clock::random();
                write_small(path, KEY, &format!("{}\n", hex(&seed)))?;
                seed
            }
        };
        if format.is_none() {
            write_small(path, FORMAT, &format!("leveret {FORMAT_VERSION}\n"))?;
        }
        Ok(Self {
            path: path.clone(),
            seed,
            membership,
            _lock: lock,
        })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the store is.
    pub(super) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// The seed of the replica's key.
    pub(super) fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// What it belongs to.
    pub(super) fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Notes that it is about to join a cluster.
    ///
    /// # Errors
    /// If that could not be written.
    pub(super) fn set_joining(&mut self, cluster: ClusterId) -> Result<(), DirectoryError> {
        write_small(&self.path, JOINING, &format!("{cluster}\n"))?;
        self.membership = Membership::Joining(cluster);
        Ok(())
    }

    /// Gives the store another name, if there is one, and notes that the directory is about to join
    /// its cluster again, as a new one does. Gives that name.
    ///
    /// # Errors
    /// If a file can not be written or renamed. Repeating it is then no harm.
    pub(super) fn set_store_aside(
        &mut self,
        cluster: ClusterId,
    ) -> Result<Option<PathBuf>, DirectoryError> {
        self.set_joining(cluster)?;
        remove(&self.path.join(CLUSTER))?;
        let store = self.store();
        if !store.exists() {
            return Ok(None);
        }
        let names = (1_u32..).map(|number| self.path.join(format!("{STORE}.aside-{number}")));
        let mut unused = names.skip_while(|path| path.exists());
        let aside = unused.next().expect("not every number is in use");
        fs::rename(&store, &aside).map_err(at(&store))?;
        sync_directory(&self.path)?;
        Ok(Some(aside))
    }

    /// Notes which cluster it belongs to, for good.
    ///
    /// # Errors
    /// If that could not be written.
    pub(super) fn set_cluster(&mut self, file: ClusterFile) -> Result<(), DirectoryError> {
        let text = format!(
            "cluster {}\nfounder {}\nnonce {}\n",
            file.cluster,
            file.founder,
            hex(&file.nonce)
        );
        write_small(&self.path, CLUSTER, &text)?;
        remove(&self.path.join(JOINING))?;
        self.membership = Membership::Member(file);
        Ok(())
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> DirectoryError + '_ {
    move |source| DirectoryError::Io {
        path: path.to_owned(),
        source,
    }
}

fn create(path: &Path) -> Result<(), DirectoryError> {
    if path.exists() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(at(parent))?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.map_err(at(path))?,
    }
    sync_directory(parent)
}

/// Removes a file, which need not be there.
fn remove(path: &Path) -> Result<(), DirectoryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn sync_directory(path: &Path) -> Result<(), DirectoryError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(at(path))
}

fn check_format(path: &Path, text: &str) -> Result<(), DirectoryError> {
    let line = text.lines().next().unwrap_or_default();
    if line == format!("leveret {FORMAT_VERSION}") {
        return Ok(());
    }
    if line.starts_with("leveret ") {
        return Err(DirectoryError::OtherFormat {
            path: path.to_owned(),
            found: line.chars().take(60).collect(),
        });
    }
    Err(DirectoryError::NotLeveret {
        path: path.to_owned(),
        found: FORMAT.into(),
    })
}

/// Refuses what somebody else put things into. What an interrupted creation left behind is ours.
fn check_empty(path: &Path) -> Result<(), DirectoryError> {
    for entry in fs::read_dir(path).map_err(at(path))? {
        let name = entry.map_err(at(path))?.file_name();
        let ours = [
            LOCK,
            KEY,
            "key.new",
            "format.new",
            backup::BEGUN,
            "lost+found",
        ];
        if !ours.iter().any(|known| name == *known) {
            return Err(DirectoryError::NotLeveret {
                path: path.to_owned(),
                found: name.to_string_lossy().chars().take(80).collect(),
            });
        }
    }
    Ok(())
}

fn take_lock(directory: &Path) -> Result<File, DirectoryError> {
    let path = directory.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let known = (&mut file).take(20).read_to_string(&mut text).is_ok();
            let holder = match text.trim().parse::<u32>() {
                Ok(id) if known && id == std::process::id() => "this process already".to_owned(),
                Ok(id) if known => format!("process {id}"),
                _ => "another process".to_owned(),
            };
            return Err(DirectoryError::InUse {
                path: directory.to_owned(),
                holder,
            });
        }
        Err(TryLockError::Error(error)) => return Err(at(&path)(error)),
    }
    // The text is only for the message above: a full disk must not keep a peer from opening.
    let _ = file
        .set_len(0)
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
    Ok(file)
}

fn read_key(path: &Path) -> Result<Option<[u8; 32]>, DirectoryError> {
    let Some(text) = read_small(path)? else {
        return Ok(None);
    };
    let mode = fs::metadata(path).map_err(at(path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(DirectoryError::KeyMode {
            path: path.to_owned(),
            mode,
        });
    }
    // A public key has the same text form: 64 hex digits.
    let seed: PublicKey = text.trim().parse().map_err(|_| DirectoryError::Damaged {
        path: path.to_owned(),
        reason: "it does not hold 64 hex digits".into(),
    })?;
    Ok(Some(seed.0))
}

fn read_membership(directory: &Path) -> Result<Membership, DirectoryError> {
    let path = directory.join(CLUSTER);
    if let Some(text) = read_small(&path)? {
        return parse_cluster(&text).map(Membership::Member).ok_or_else(|| {
            DirectoryError::Damaged {
                path,
                reason: "it does not name a cluster, its founder and a nonce".into(),
            }
        });
    }
    let path = directory.join(JOINING);
    match read_small(&path)? {
        None => Ok(Membership::New),
        Some(text) => match text.trim().parse() {
            Ok(cluster) => Ok(Membership::Joining(cluster)),
            Err(_) => Err(DirectoryError::Damaged {
                path,
                reason: "it does not hold a cluster id".into(),
            }),
        },
    }
}

fn parse_cluster(text: &str) -> Option<ClusterFile> {
    let mut lines = text.lines();
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let cluster = field("cluster")?.parse().ok()?;
    let founder = field("founder")?.parse().ok()?;
    let nonce: ClusterId = field("nonce")?.parse().ok()?; // 32 hex digits too
    let nonce = nonce.0;
    let key = founder;
    // What does not fit together is not what was written.
    (Founder { key, nonce }.cluster() == cluster).then_some(ClusterFile {
        cluster,
        founder,
        nonce,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A small file's text; nothing if there is no such file.
fn read_small(path: &Path) -> Result<Option<String>, DirectoryError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(at(path))?,
    };
    let mut bytes = Vec::new();
    file.take(SMALL_FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(at(path))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Writes a small file whole, readable by its owner alone, and durably.
fn write_small(directory: &Path, name: &str, text: &str) -> Result<(), DirectoryError> {
    let (path, new) = (directory.join(name), directory.join(format!("{name}.new")));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        // A file left by an interrupted attempt keeps its mode: set it in any case.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)
    };
    write().map_err(at(&path))?;
    sync_directory(directory)
}

#[cfg(test)]
mod tests;
