//! The newest version as a merge reads it.

use std::cell::RefCell;

use super::kept::Kept;
use super::{State, Summary};
use crate::codec::record::Record;
use crate::codec::state_key::Key;
use crate::merge::view::{ReadError, View};
use crate::model::RepoId;

/// How many records are remembered.
const RECENT: usize = 8;

/// The newest version while no other can come, since one merge goes on at a time. What was read
/// last is remembered: a pass asks for the records of a node again at each of its steps.
pub(super) struct Newest<'a> {
    state: &'a State,
    summary: &'a Summary,
    recent: RefCell<Recent>,
}

#[derive(Default)]
struct Recent {
    records: Vec<(Kept, Option<Record>)>,
    /// Which one goes next.
    hand: usize,
}

impl<'a> Newest<'a> {
    pub(super) fn new(state: &'a State, summary: &'a Summary) -> Self {
        Self {
            state,
            summary,
            recent: RefCell::default(),
        }
    }
}

impl View for Newest<'_> {
    fn repo(&self) -> RepoId {
        self.state.repo
    }

    fn get(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        let mut recent = self.recent.borrow_mut();
        if let Some((_, record)) = recent.records.iter().find(|(known, _)| **known == *key) {
            return Ok(record.clone());
        }
        let record = self.state.get(key, self.summary)?;
        let entry = (Kept::from(key), record.clone());
        if recent.records.len() < RECENT {
            recent.records.push(entry);
        } else {
            let hand = recent.hand;
            recent.records[hand] = entry;
            recent.hand = (hand + 1) % RECENT;
        }
        Ok(record)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Record)>, ReadError> {
        self.state.scan(from, to, limit, self.summary)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<(Key, Record)>, ReadError> {
        self.state.last(from, to, self.summary)
    }
}
