//! Checking a data directory that no peer has open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::{Directory, DirectoryError, Membership};
use super::store::Store;
use crate::model::{ClusterId, RepoId};
use crate::replica::Verified;
use crate::storage::sled::{SledOptions, SledStorage};
use crate::storage::{Storage, StorageError};

/// What was found in a data directory.
#[derive(Clone, Debug)]
pub struct VerifyReport {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// What was found in each repository.
    pub repos: Vec<Verified>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.repos.iter().all(|repo| repo.problem_count == 0)
    }
}

/// Why a directory could not be checked. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It can not be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// There is no directory, or it belongs to no cluster yet and so holds nothing.
    #[error("{} holds no replica; name the data directory of one", .0.display())]
    Nothing(PathBuf),
    /// The store in it can not be opened, read or written.
    #[error("the store {}: {source}", path.display())]
    Store {
        /// Where the store is.
        path: PathBuf,
        /// Why not.
        source: StorageError,
    },
}

/// Checks a data directory, and with `rebuild` makes its stored state what its journal says.
///
/// Reads everything in it, and folds the journal once more in memory: takes its time, and memory
/// for one more copy of the state.
///
/// # Errors
/// If it can not be checked. What is wrong in it is told in the report.
pub fn verify(directory: &Path, rebuild: bool) -> Result<VerifyReport, VerifyError> {
    let nothing = || VerifyError::Nothing(directory.to_owned());
    if !directory.exists() {
        return Err(nothing());
    }
    let open = Directory::open_made(directory)?.ok_or_else(nothing)?;
    let Membership::Member(cluster) = open.membership().clone() else {
        return Err(nothing());
    };
    let path = open.store();
    let fail = |source| VerifyError::Store {
        path: path.clone(),
        source,
    };
    let store = SledStorage::open(&path, &SledOptions::default()).map_err(fail)?;
    let store = Store::new(Box::new(store));
    let storage: Arc<dyn Storage> = store.clone();
    let mut repos = Vec::new();
    let mut done = Ok(());
    for repo in RepoId::ALL {
        match crate::replica::verify(cluster.cluster, repo, &storage, rebuild) {
            Ok(found) => repos.push(found),
            Err(error) => {
                done = Err(fail(error));
                break;
            }
        }
    }
    store.close();
    done?;
    Ok(VerifyReport {
        cluster: cluster.cluster,
        repos,
    })
}
