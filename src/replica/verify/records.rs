//! The stored state records beside those of a state made anew.
//!
//! Most follow from the journal to the byte. Some also tell how the state came to be, in which
//! batches and how late; they are held against each other by what they mean:
//!
//! - A property's writes may lie in the node's record, in one of their own, and in segments. What
//!   counts is that they are the same, and that what is remembered of them is true.
//! - The newest operation that looked at a node's place, or at who has a name, may be one that does
//!   so no more. The bound may be later than it has to be, and never earlier.
//! - A node of which nothing is known may have an empty record, or none.

use std::collections::BTreeMap;

use super::Verified;
use crate::codec::record::{NodeRecord, Record, Register, Write};
use crate::codec::state_key;
use crate::merge::remembers;
use crate::model::{PropertyName, RepoId};
use crate::replica::rows::{Row, Rows};
use crate::storage::{Change, Storage, StorageError};

/// The tables whose rows make up a node: its record, its larger properties, their older writes.
const NODE_TABLES: [u8; 3] = *b"nph";
/// The tables of the newest operations that looked at something.
const TOUCHED: [u8; 2] = *b"ts";

/// Tells where the stored state differs from a fresh one, and what would make it the same.
pub(super) fn compare(
    repo: RepoId,
    stored: &dyn Storage,
    fresh: &dyn Storage,
    found: &mut Verified,
) -> Result<Vec<Change>, StorageError> {
    let mut changes = Vec::new();
    compare_nodes(repo, stored, fresh, found, &mut changes)?;
    for table in state_key::TABLES {
        if NODE_TABLES.contains(table) {
            continue;
        }
        let mut ours = Rows::new(stored, *table, repo);
        let mut theirs = Rows::new(fresh, *table, repo);
        loop {
            let keys = [ours.peek()?, theirs.peek()?].map(|row| row.map(|(key, _)| key.clone()));
            let Some(key) = keys.into_iter().flatten().min() else {
                break;
            };
            let (ours, theirs) = (ours.take(&key), theirs.take(&key));
            if ours == theirs || (TOUCHED.contains(table) && is_late_enough(&ours, &theirs)) {
                continue;
            }
            // The rest of a repository has its counters in it, which tell of how it came to be.
            if *table != state_key::META {
                found.problem(describe(&key, theirs.is_some()));
            }
            changes.push((key, theirs));
        }
    }
    Ok(changes)
}

fn describe(key: &[u8], belongs: bool) -> String {
    let table = char::from(key[0]);
    let place: String = key[2..].iter().map(|byte| format!("{byte:02x}")).collect();
    let what = match belongs {
        true => "is not what the journal makes it",
        false => "should not be there",
    };
    format!("the record {table} {place} {what}")
}

/// Whether a stored bound is one, if a fresh state has that one.
fn is_late_enough(stored: &Option<Vec<u8>>, fresh: &Option<Vec<u8>>) -> bool {
    let bound = |bytes: &Option<Vec<u8>>| match bytes.as_deref().map(Record::decode) {
        None => Ok(None),
        Some(Ok(Record::Touched(stamp))) => Ok(Some(stamp)),
        Some(_) => Err(()),
    };
    match (bound(stored), bound(fresh)) {
        (Ok(stored), Ok(fresh)) => stored >= fresh,
        _ => false,
    }
}

fn compare_nodes(
    repo: RepoId,
    stored: &dyn Storage,
    fresh: &dyn Storage,
    found: &mut Verified,
    changes: &mut Vec<Change>,
) -> Result<(), StorageError> {
    let mut ours = NODE_TABLES.map(|table| Rows::new(stored, table, repo));
    let mut theirs = NODE_TABLES.map(|table| Rows::new(fresh, table, repo));
    loop {
        let mut first: Option<Vec<u8>> = None;
        for rows in ours.iter_mut().chain(&mut theirs) {
            let id = rows.peek()?.map(|(key, _)| node_part(key).to_vec());
            first = [first, id].into_iter().flatten().min();
        }
        let Some(id) = first else {
            return Ok(());
        };
        let (ours, theirs) = (take_node(&mut ours, &id)?, take_node(&mut theirs, &id)?);
        if ours == theirs {
            continue;
        }
        let wrong = match (meaning(repo, &ours), meaning(repo, &theirs)) {
            (Ok(ours), Ok(theirs)) if ours == theirs => continue,
            (Err(reason), _) => reason,
            (Ok(None), _) => "it is missing".into(),
            (_, Ok(None)) => "it should not be there".into(),
            _ => "it is not what the journal makes it".into(),
        };
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        found.problem(format!("node {hex}: {wrong}"));
        for (key, _) in &ours {
            if theirs.iter().all(|(other, _)| other != key) {
                changes.push((key.clone(), None));
            }
        }
        changes.extend(theirs.into_iter().map(|(key, value)| (key, Some(value))));
    }
}

/// The part of a key that names the node; less of it if the key is not one.
fn node_part(key: &[u8]) -> &[u8] {
    &key[2..key.len().min(18)]
}

fn take_node(tables: &mut [Rows<'_>], id: &[u8]) -> Result<Vec<Row>, StorageError> {
    let mut taken = Vec::new();
    for rows in tables {
        while rows.peek()?.is_some_and(|(key, _)| node_part(key) == id) {
            taken.extend(rows.next());
        }
    }
    Ok(taken)
}

/// A node, wherever its writes lie.
#[derive(PartialEq)]
struct Meaning {
    /// Without its properties.
    record: NodeRecord,
    properties: BTreeMap<PropertyName, Vec<Write>>,
}

/// What the rows of a node mean; nothing if there are none.
///
/// # Errors
/// What about them makes no sense.
fn meaning(repo: RepoId, rows: &[Row]) -> Result<Option<Meaning>, String> {
    if rows.is_empty() {
        return Ok(None);
    }
    let mut record = None;
    let mut outside = BTreeMap::new();
    let mut segments = BTreeMap::new();
    for (key, bytes) in rows {
        let decoded = Record::decode(bytes).map_err(|error| error.to_string())?;
        match (decoded, state_key::property_of(key)) {
            (Record::Node(node), _) if key[0] == b'n' => {
                record = state_key::node_of(key).zip(Some(node))
            }
            (Record::Register(register), Some((_, name))) => {
                outside.insert(name, register.as_ref().clone());
            }
            (Record::Segment(segment), _) if key[0] == b'h' => {
                segments.insert(key.clone(), segment);
            }
            _ => return Err("one of its records is of another kind".into()),
        }
    }
    let (id, record) = record.ok_or("it has properties and is not there itself")?;
    let mut record = record.as_ref().clone();
    if outside.len() != record.outside as usize {
        return Err("it does not have as many larger properties as it should".into());
    }
    let mut registers = std::mem::take(&mut record.properties);
    record.outside = 0;
    for (name, register) in outside {
        if registers.insert(name.clone(), register).is_some() {
            return Err(format!("it has the property `{name}` twice"));
        }
    }
    let mut properties = BTreeMap::new();
    for (name, register) in registers {
        let prefix = state_key::segments(repo, id, &name);
        let mut older = Vec::new();
        segments.retain(|key, segment| {
            let belongs = key.starts_with(&prefix);
            if belongs {
                older.extend(segment.iter().cloned());
            }
            !belongs
        });
        let writes = all_writes(&register, older)
            .ok_or_else(|| format!("what it remembers of `{name}` is not what was written"))?;
        properties.insert(name, writes);
    }
    if !segments.is_empty() {
        return Err("it has writes of no property".into());
    }
    // Somebody once asked for it, or wrote to it what was voided since.
    let nothing = record == NodeRecord::default() && properties.is_empty();
    Ok((!nothing).then_some(Meaning { record, properties }))
}

/// All writes of a register, in stamp order; nothing if what it says of the older ones is wrong.
fn all_writes(register: &Register, mut older: Vec<Write>) -> Option<Vec<Write>> {
    // Segments made by late writes lie between those they belong into.
    older.sort_by_key(|write| write.stamp);
    remembers(register, &older).then(|| {
        older.extend(register.writes.iter().cloned());
        older
    })
}
