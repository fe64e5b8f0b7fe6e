//! Records read through layers: what a merge or a draft works on.

use std::collections::BTreeMap;
use std::ops::{Bound, Deref};
use std::sync::Arc;

use super::seen;
use super::state::Known;
use crate::codec::bytes::MalformedRecord;
use crate::codec::record::{NodeRecord, Record, Register, SeenRecord};
use crate::codec::state_key::{self as key, Key};
use crate::model::{ChangeSetId, NodeId, PropertyName, RepoId, Time};
use crate::storage::StorageError;

/// Why records could not be read. Nothing has changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The snapshot was held so long that what it needs had to be given up.
    #[error("the snapshot has expired: it was held while too much was written")]
    Expired,
    /// A record is damaged; `verify --rebuild` makes it again from the journal.
    #[error("the record {key} is damaged: {source}")]
    Malformed {
        /// Its key, in hex.
        key: String,
        /// What is wrong.
        source: MalformedRecord,
    },
}

impl ReadError {
    pub(crate) fn malformed(key: &[u8], source: MalformedRecord) -> Self {
        let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
        Self::Malformed { key, source }
    }

    fn kind(key: &[u8]) -> Self {
        Self::malformed(key, MalformedRecord("of another kind than its table's"))
    }
}

/// A repository's records at one moment.
pub trait View {
    /// Which repository.
    fn repo(&self) -> RepoId;

    /// The record of a key.
    ///
    /// # Errors
    /// If it can not be read.
    fn get(&self, key: &[u8]) -> Result<Option<Record>, ReadError>;

    /// Everything ever written to a node; nothing if that is nothing.
    ///
    /// # Errors
    /// If it can not be read.
    fn node(&self, id: NodeId) -> Result<Option<Arc<NodeRecord>>, ReadError> {
        let key = key::node(self.repo(), id);
        match self.get(&key)? {
            None => Ok(None),
            Some(Record::Node(node)) => Ok(Some(node)),
            Some(_) => Err(ReadError::kind(&key)),
        }
    }

    /// The record that tells what the author of a change set had seen, and the time of the change
    /// set whose record it is: this one's, or one's before it of its origin.
    ///
    /// # Errors
    /// If it can not be read.
    fn seen(&self, id: ChangeSetId) -> Result<(Time, Arc<SeenRecord>), ReadError> {
        seen::read(self, id)
    }

    /// The first `limit` records of `from..to`, ascending.
    ///
    /// # Errors
    /// If they can not be read.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Record)>, ReadError>;

    /// The last record of `from..to`.
    ///
    /// # Errors
    /// If it can not be read.
    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<(Key, Record)>, ReadError>;

    /// What is known of paths without looking, and may be noted of them; nothing if this view can
    /// not tell.
    fn known(&self) -> Option<Known<'_>> {
        None
    }

    /// As [`View::known`], of the children of one node.
    fn known_below(&self, _parent: NodeId) -> Option<Known<'_>> {
        self.known()
    }
}

/// A register, where it stands.
pub(crate) enum Found<'a> {
    /// In its node's record.
    Inside(&'a Register),
    /// In a record of its own.
    Outside(Arc<Register>),
}

impl Deref for Found<'_> {
    type Target = Register;

    fn deref(&self) -> &Register {
        match self {
            Self::Inside(register) => register,
            Self::Outside(register) => register,
        }
    }
}

/// Everything ever written to a node; nothing if that is nothing.
pub(crate) fn node(view: &dyn View, id: NodeId) -> Result<Option<Arc<NodeRecord>>, ReadError> {
    view.node(id)
}

/// A property's register, wherever it stands.
pub(crate) fn register<'a>(
    view: &dyn View,
    id: NodeId,
    node: &'a NodeRecord,
    name: &PropertyName,
) -> Result<Option<Found<'a>>, ReadError> {
    if let Some(register) = node.properties.get(name) {
        return Ok(Some(Found::Inside(register)));
    }
    if node.outside == 0 {
        return Ok(None);
    }
    let key = key::property(view.repo(), id, name);
    match view.get(&key)? {
        None => Ok(None),
        Some(Record::Register(register)) => Ok(Some(Found::Outside(register))),
        Some(_) => Err(ReadError::kind(&key)),
    }
}

/// All registers of a node, by name.
pub(crate) fn registers<'a>(
    view: &dyn View,
    id: NodeId,
    node: &'a NodeRecord,
) -> Result<BTreeMap<PropertyName, Found<'a>>, ReadError> {
    let mut all: BTreeMap<_, _> = node
        .properties
        .iter()
        .map(|(name, register)| (name.clone(), Found::Inside(register)))
        .collect();
    if node.outside > 0 {
        let prefix = key::properties(view.repo(), id);
        for (key, record) in view.scan(&prefix, &key::after_prefix(&prefix), usize::MAX)? {
            match (key::property_of(&key), record) {
                (Some((_, name)), Record::Register(register)) => {
                    all.insert(name, Found::Outside(register));
                }
                _ => return Err(ReadError::kind(&key)),
            }
        }
    }
    Ok(all)
}

/// A record on top of a view, or that there is none.
pub(crate) trait Above {
    /// The record.
    fn now(&self) -> Option<&Record>;
}

impl Above for Option<Record> {
    fn now(&self) -> Option<&Record> {
        self.as_ref()
    }
}

/// Scans a range of a view with changes on top, page by page of the view.
pub(crate) fn scan_layers(
    base: &dyn View,
    changed: &BTreeMap<Key, impl Above>,
    from: &[u8],
    to: &[u8],
    limit: usize,
) -> Result<Vec<(Key, Record)>, ReadError> {
    let mut above = changed.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
    let mut next_above = above.next();
    let mut out = Vec::new();
    let mut cursor = from.to_vec();
    while out.len() < limit {
        let page = (limit - out.len()).clamp(16, 1_024);
        let rows = base.scan(&cursor, to, page)?;
        let complete = rows.len() < page;
        let end = rows.last().map(|(key, _)| key.clone());
        let mut rows = rows.into_iter().peekable();
        loop {
            match (rows.peek().map(|(key, _)| key), next_above) {
                (Some(base), Some((key, record))) if key <= base => {
                    if key == base {
                        rows.next();
                    }
                    out.extend(record.now().map(|record| (key.clone(), record.clone())));
                    next_above = above.next();
                }
                (Some(_), _) => out.extend(rows.next()),
                (None, Some((key, record))) if complete => {
                    out.extend(record.now().map(|record| (key.clone(), record.clone())));
                    next_above = above.next();
                }
                (None, _) => break,
            }
            if out.len() == limit {
                return Ok(out);
            }
        }
        if complete {
            break;
        }
        cursor = end.expect("a full page has a last row");
        cursor.push(0);
    }
    Ok(out)
}

/// The last record of a range of a view with changes on top.
pub(crate) fn last_of_layers(
    base: &dyn View,
    changed: &BTreeMap<Key, impl Above>,
    from: &[u8],
    to: &[u8],
) -> Result<Option<(Key, Record)>, ReadError> {
    let mut to = to.to_vec();
    loop {
        let range = (Bound::Included(from), Bound::Excluded(to.as_slice()));
        let above = changed.range::<[u8], _>(range).next_back();
        let below = base.last(from, &to)?;
        match above {
            Some((key, record)) if below.as_ref().is_none_or(|(other, _)| other <= key) => {
                match record.now() {
                    Some(record) => return Ok(Some((key.clone(), record.clone()))),
                    None => to = key.clone(),
                }
            }
            _ => return Ok(below),
        }
    }
}
