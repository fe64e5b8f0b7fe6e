//! A state that another version of leveret has written: an older one is made again from the journal.
//!
//! The first byte of every state record is the version of its format. All records of a repository
//! have the same one, since a format that has changed is never written beside another.

use super::recovery::OpenError;
use super::rows::Rows;
use crate::codec::record::RECORD_VERSION;
use crate::codec::state_key;
use crate::model::RepoId;
use crate::storage::{Change, Storage, StorageError};

/// Records given up in one checkpoint.
const RECORDS_MAX: usize = 16_384;

/// Gives up the stored state of a repository if its records have an older format, so that opening
/// makes it from the journal. What says which format it is goes last: whatever happens on the way,
/// the next opening goes on.
///
/// # Errors
/// If the format is of a newer program, and nothing has changed; or if the store can not be read or
/// written.
pub(super) fn give_up_older(repo: RepoId, storage: &dyn Storage) -> Result<(), OpenError> {
    let meta = state_key::meta(repo);
    let found = match storage.get(&meta)?.as_deref() {
        None | Some([RECORD_VERSION, ..] | []) => return Ok(()),
        Some([found, ..]) => *found,
    };
    if found > RECORD_VERSION {
        return Err(OpenError::Newer { repo, found });
    }
    tracing::info!(
        repo = repo.name(),
        found,
        now = RECORD_VERSION,
        "the state has an older format: it is made again from the journal"
    );
    for table in state_key::TABLES {
        if *table != state_key::META {
            give_up(repo, *table, storage)?;
        }
    }
    give_up(repo, state_key::META, storage)?;
    Ok(())
}

fn give_up(repo: RepoId, table: u8, storage: &dyn Storage) -> Result<(), StorageError> {
    loop {
        let mut rows = Rows::new(storage, table, repo);
        let mut changes: Vec<Change> = Vec::new();
        while changes.len() < RECORDS_MAX && rows.peek()?.is_some() {
            changes.extend(rows.next().map(|(key, _)| (key, None)));
        }
        if changes.is_empty() {
            return Ok(());
        }
        storage.checkpoint(&changes, &mut || Ok(()))?;
    }
}
