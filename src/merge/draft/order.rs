//! Order keys for a draft: between the effective keys of the two neighbours in its view (M11).

use super::{Draft, DraftError};
use crate::codec::record::Record;
use crate::codec::state_key as key;
use crate::merge::read::standing;
use crate::merge::view::{ReadError, View};
use crate::model::script::Place;
use crate::model::{NodeId, OrderKey, OriginId};

/// A sibling's place in the list.
struct Neighbour {
    key: Vec<u8>,
    effective: Vec<u8>,
}

/// The key that puts a node where `place` says.
pub(super) fn key_for(
    draft: &Draft,
    author: OriginId,
    node: NodeId,
    place: &Place,
) -> Result<OrderKey, DraftError> {
    let parent = standing(draft, node)?
        .ok_or(DraftError::NoSuchNode(node))?
        .parent;
    let prefix = key::children(draft.repo(), parent);
    let end = key::after_prefix(&prefix);
    let (lower, upper) = match place {
        Place::First => (None, after(draft, &prefix, &end, node)?),
        Place::Last => (before(draft, &prefix, &end, node)?, None),
        Place::Before(step) => {
            let sibling = neighbour(draft, parent, draft.sibling(parent, step)?)?;
            (before(draft, &prefix, &sibling.key, node)?, Some(sibling))
        }
        Place::After(step) => {
            let sibling = neighbour(draft, parent, draft.sibling(parent, step)?)?;
            let mut from = sibling.key.clone();
            from.push(0);
            let next = after(draft, &from, &end, node)?;
            (Some(sibling), next)
        }
    };
    let bound = |neighbour: &Option<Neighbour>| neighbour.as_ref().map(|n| n.effective.clone());
    let (lower, upper) = (bound(&lower), bound(&upper));
    OrderKey::between(lower.as_deref(), upper.as_deref(), author).ok_or(DraftError::NoRoom)
}

fn neighbour(draft: &Draft, parent: NodeId, sibling: NodeId) -> Result<Neighbour, DraftError> {
    let standing = standing(draft, sibling)?.ok_or(DraftError::NoSuchNode(sibling))?;
    let key = key::child(draft.repo(), parent, &standing.effective, sibling);
    Ok(Neighbour {
        key,
        effective: standing.effective,
    })
}

/// A listed child other than `node`.
fn listed(key: &[u8], record: &Record, node: NodeId) -> Option<Neighbour> {
    let (effective, child) = key::child_of(key)?;
    let listed = matches!(record, Record::Child(entry) if !entry.shadow) && child != node;
    listed.then(|| Neighbour {
        key: key.to_vec(),
        effective,
    })
}

/// The first listed child from a key on, `node` left out.
fn after(
    view: &dyn View,
    from: &[u8],
    end: &[u8],
    node: NodeId,
) -> Result<Option<Neighbour>, ReadError> {
    let mut from = from.to_vec();
    loop {
        let rows = view.scan(&from, end, 8)?;
        if let Some(found) = rows
            .iter()
            .find_map(|(key, record)| listed(key, record, node))
        {
            return Ok(Some(found));
        }
        match rows.last() {
            Some((key, _)) => {
                from = key.clone();
                from.push(0);
            }
            None => return Ok(None),
        }
    }
}

/// The last listed child before a key, `node` left out.
fn before(
    view: &dyn View,
    start: &[u8],
    to: &[u8],
    node: NodeId,
) -> Result<Option<Neighbour>, ReadError> {
    let mut to = to.to_vec();
    while let Some((key, record)) = view.last(start, &to)? {
        if let Some(found) = listed(&key, &record, node) {
            return Ok(Some(found));
        }
        to = key;
    }
    Ok(None)
}
