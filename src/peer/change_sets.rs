//! Single change sets out of the journal: by number, by id, and who made them.
//!
//! An origin's ids rise with its numbers (M15), so one of which only the id is known is found by
//! halving. The ids met on the way are remembered: looking up many takes few reads each.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::LogError;
use crate::codec::{change_set, journal, key};
use crate::model::{ChangeSet, ChangeSetId, OriginId, PublicKey, RepoId, Sequence};
use crate::storage::Storage;

/// Most ids that are remembered.
const IDS_MAX: usize = 1 << 16;

/// Reads single change sets of a repository.
pub struct ChangeSets {
    repo: RepoId,
    store: Arc<dyn Storage>,
    authors: BTreeMap<OriginId, Option<PublicKey>>,
    ids: BTreeMap<(OriginId, Sequence), ChangeSetId>,
}

impl ChangeSets {
    pub(super) fn new(repo: RepoId, store: Arc<dyn Storage>) -> Self {
        Self {
            repo,
            store,
            authors: BTreeMap::new(),
            ids: BTreeMap::new(),
        }
    }

    /// The change set of an id; nothing if it is not in the journal. In relaxed durability one that
    /// was saved this moment is not there yet.
    ///
    /// # Errors
    /// If the journal can not be read.
    pub fn get(&mut self, id: ChangeSetId) -> Result<Option<Arc<ChangeSet>>, LogError> {
        let last = self.last_stored(id.origin)?;
        let below = self.last_below(id.origin, last, id)?;
        if below == last {
            return Ok(None);
        }
        let set = self.read(id.origin, below.next())?;
        Ok((set.id == id).then_some(set))
    }

    /// The key of the replica whose writing life an origin is, if its first change set is there.
    ///
    /// # Errors
    /// If the journal can not be read.
    pub fn author(&mut self, origin: OriginId) -> Result<Option<PublicKey>, LogError> {
        if let Some(author) = self.authors.get(&origin) {
            return Ok(*author);
        }
        let author = match self.last_stored(origin)? {
            Sequence(0) => return Ok(None), // not yet
            _ => {
                let first = self.read(origin, Sequence(1))?;
                first.birth.as_ref().map(|birth| birth.key)
            }
        };
        self.authors.insert(origin, author);
        Ok(author)
    }

    pub(super) fn read(
        &self,
        origin: OriginId,
        sequence: Sequence,
    ) -> Result<Arc<ChangeSet>, LogError> {
        let place = || format!("{} {origin} {sequence}", self.repo.name());
        let bytes = self.store.get(&key::journal(self.repo, origin, sequence))?;
        let bytes = bytes.ok_or_else(|| LogError::Damaged {
            place: place(),
            reason: "it is missing".into(),
        })?;
        journal::decode(&bytes)
            .and_then(|record| change_set::decode(record.body))
            .map(Arc::new)
            .map_err(|error| LogError::damaged(place(), &error))
    }

    /// The last number of an origin that is in the journal; 0 if none is.
    pub(super) fn last_stored(&self, origin: OriginId) -> Result<Sequence, LogError> {
        let from = key::journal(self.repo, origin, Sequence(1));
        let to = key::journal_end(self.repo, origin);
        let last = self.store.scan_back(&from, &to, 1)?.pop();
        let last = last.and_then(|(found, _)| key::parse_journal(&found));
        Ok(last.map_or(Sequence(0), |(_, sequence)| sequence))
    }

    /// The last number of an origin, up to `last`, whose id is below `before`; 0 if none is.
    pub(super) fn last_below(
        &mut self,
        origin: OriginId,
        last: Sequence,
        before: ChangeSetId,
    ) -> Result<Sequence, LogError> {
        let (mut low, mut high) = (0, last.0);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.id(origin, Sequence(middle))? < before {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(Sequence(low))
    }

    fn id(&mut self, origin: OriginId, sequence: Sequence) -> Result<ChangeSetId, LogError> {
        if let Some(id) = self.ids.get(&(origin, sequence)) {
            return Ok(*id);
        }
        let id = self.read(origin, sequence)?.id;
        if self.ids.len() < IDS_MAX {
            self.ids.insert((origin, sequence), id);
        }
        Ok(id)
    }
}
