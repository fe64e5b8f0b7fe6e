//! What answers tell of a change set that they name: when, who, why.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Shared;
use super::error::ApiError;
use super::log::rfc3339;
use super::read::member_name;
use crate::merge::Snapshot;
use crate::model::{ChangeSetId, OriginId, PublicKey, RepoId};
use crate::peer::ChangeSets;

/// Most change sets whose messages one answer looks up; those of others are left out.
const MESSAGES_MAX: usize = 512;

/// Tells of change sets, each looked up once.
pub(super) struct Told {
    sets: ChangeSets,
    members: Snapshot,
    authors: BTreeMap<OriginId, Author>,
    messages: BTreeMap<ChangeSetId, Value>,
}

#[derive(Clone, Default)]
struct Author {
    key: Option<PublicKey>,
    name: Option<String>,
}

impl Told {
    /// Of the change sets of a repository.
    pub(super) fn new(shared: &Shared, repo: RepoId) -> Self {
        Self {
            sets: shared.peer.change_sets(repo),
            members: shared.peer.snapshot_in(RepoId::SYSTEM),
            authors: BTreeMap::new(),
            messages: BTreeMap::new(),
        }
    }

    /// A change set as JSON: id, author, time, message.
    pub(super) fn json(&mut self, id: ChangeSetId) -> Result<Value, ApiError> {
        let author = self.author(id.origin)?;
        Ok(json!({
            "id": id.to_string(),
            "author": author.key.map(|key| key.to_string()),
            "author_name": author.name,
            "time": rfc3339(id.time),
            "message": self.message(id)?,
        }))
    }

    /// The change sets themselves.
    pub(super) fn sets(&mut self) -> &mut ChangeSets {
        &mut self.sets
    }

    fn author(&mut self, origin: OriginId) -> Result<Author, ApiError> {
        if let Some(author) = self.authors.get(&origin) {
            return Ok(author.clone());
        }
        let key = self.sets.author(origin)?;
        let name = match &key {
            Some(key) => member_name(&self.members, key)?,
            None => None,
        };
        let author = Author { key, name };
        self.authors.insert(origin, author.clone());
        Ok(author)
    }

    fn message(&mut self, id: ChangeSetId) -> Result<Value, ApiError> {
        if let Some(message) = self.messages.get(&id) {
            return Ok(message.clone());
        }
        if self.messages.len() >= MESSAGES_MAX {
            return Ok(Value::Null);
        }
        let set = self.sets.get(id)?;
        let message = Value::from(set.as_ref().and_then(|set| set.message.as_deref()));
        self.messages.insert(id, message.clone());
        Ok(message)
    }
}
