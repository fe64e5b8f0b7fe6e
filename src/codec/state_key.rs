//! Keys of state records. The first byte names the table, the second the repository.
//!
//! | table | key after these two | record |
//! | --- | --- | --- |
//! | `n` | node | the node |
//! | `p` | node, property | a property that outgrew the node's record |
//! | `h` | node, property, 0, stamp of its last write | older writes of a property |
//! | `o` | parent, effective key, child | a place among the children |
//! | `w` | parent, name, child | the child was there once, under that name |
//! | `c` | parent, name | several children have that name |
//! | `l` | change set id | a change set with structural operations, or an all-or-nothing one |
//! | `t` | node | the newest operation that looked at its place |
//! | `s` | node, name | the newest operation that looked at which of its children have that name, or at that name of its own |
//! | `u` | origin, time, node, stamp | a parent write, or skipped move, that a removal which has not seen that change set must look at (M8) |
//! | `x` | stamp of the operation that made it, kind, node, item, stamp of the operation that lost | a conflict (M14) |
//! | `d` | conflict id, stamp | a dismissal |
//! | `v` | change set id, the origin first | how far its author had seen others |
//! | `f` | target, node, property | a reference |
//! | `a` | origin | its applied head |
//! | `m` | | the rest |
//!
//! Names and order keys inside a key are escaped (0 becomes 0 255) and end in 0 0, so that they
//! sort by their own bytes.

use crate::model::{
    ChangeSetId, ConflictId, ConflictItem, ConflictKind, NodeId, NodeName, OriginId, PropertyName,
    RepoId, Stamp, Time,
};

/// A key of a state record.
pub type Key = Vec<u8>;

/// A conflict as the state keeps it: at the operation at whose turn it arises.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConflictEntry {
    /// The operation at whose turn in the fold it arises.
    pub at: Stamp,
    /// Its kind.
    pub kind: ConflictKind,
    /// The node it is about.
    pub node: NodeId,
    /// What about the node.
    pub item: ConflictItem,
    /// The operation that lost.
    pub loser: Stamp,
}

/// The tables of the state, as above.
pub const TABLES: &[u8; 16] = b"nphowcltsuxdvfam";
/// The table of the rest.
pub const META: u8 = b'm';

fn start(table: u8, repo: RepoId, capacity: usize) -> Key {
    let mut key = Vec::with_capacity(2 + capacity);
    key.extend_from_slice(&[table, repo.0]);
    key
}

fn escape(key: &mut Key, bytes: &[u8]) {
    for &byte in bytes {
        key.push(byte);
        if byte == 0 {
            key.push(0xff);
        }
    }
    key.extend_from_slice(&[0, 0]);
}

/// Reads what [`escape`] wrote; the bytes and what follows them.
fn unescape(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::new();
    loop {
        match bytes {
            [0, 0, rest @ ..] => return Some((out, rest)),
            [0, 0xff, rest @ ..] => {
                out.push(0);
                bytes = rest;
            }
            [byte, rest @ ..] => {
                out.push(*byte);
                bytes = rest;
            }
            [] => return None,
        }
    }
}

/// The smallest key greater than every key that begins with these bytes.
pub fn after_prefix(prefix: &[u8]) -> Key {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0xff; 64]
}

/// `n`
pub fn node(repo: RepoId, node: NodeId) -> Key {
    let mut key = start(b'n', repo, 16);
    key.extend_from_slice(&node.0);
    key
}

/// The node of an `n` key.
pub fn node_of(key: &[u8]) -> Option<NodeId> {
    match key {
        [b'n', _, id @ ..] => id.try_into().ok().map(NodeId),
        _ => None,
    }
}

/// Whether it is an `n` or a `p` key: of what people read of a node.
pub fn is_of_node(key: &[u8]) -> bool {
    matches!(key.first(), Some(b'n' | b'p'))
}

/// `p`
pub fn property(repo: RepoId, node: NodeId, name: &PropertyName) -> Key {
    let mut key = properties(repo, node);
    key.extend_from_slice(name.as_str().as_bytes());
    key
}

/// What the `p` keys of a node begin with.
pub fn properties(repo: RepoId, node: NodeId) -> Key {
    let mut key = start(b'p', repo, 48);
    key.extend_from_slice(&node.0);
    key
}

/// The node and property of a `p` key.
pub fn property_of(key: &[u8]) -> Option<(NodeId, PropertyName)> {
    let (b'p', rest) = (*key.first()?, key.get(2..)?) else {
        return None;
    };
    let (node, name) = (rest.get(..16)?, rest.get(16..)?);
    let name = PropertyName::new(std::str::from_utf8(name).ok()?).ok()?;
    Some((NodeId(node.try_into().ok()?), name))
}

/// What the `h` keys of a property begin with.
pub fn segments(repo: RepoId, node: NodeId, name: &PropertyName) -> Key {
    let mut key = start(b'h', repo, 80);
    key.extend_from_slice(&node.0);
    escape(&mut key, name.as_str().as_bytes());
    key
}

/// `h`
pub fn segment(repo: RepoId, node: NodeId, name: &PropertyName, last: Stamp) -> Key {
    let mut key = segments(repo, node, name);
    key.extend_from_slice(&last.to_bytes());
    key
}

/// What all `o` keys begin with.
pub fn all_children(repo: RepoId) -> Key {
    start(b'o', repo, 0)
}

/// What the `o` keys of a node's children begin with.
pub fn children(repo: RepoId, parent: NodeId) -> Key {
    let mut key = start(b'o', repo, 64);
    key.extend_from_slice(&parent.0);
    key
}

/// What the `o` keys of the children with an effective key begin with.
pub fn children_at(repo: RepoId, parent: NodeId, effective: &[u8]) -> Key {
    let mut key = children(repo, parent);
    escape(&mut key, effective);
    key
}

/// `o`
pub fn child(repo: RepoId, parent: NodeId, effective: &[u8], child: NodeId) -> Key {
    let mut key = children_at(repo, parent, effective);
    key.extend_from_slice(&child.0);
    key
}

/// The child and effective key of an `o` key.
pub fn child_of(key: &[u8]) -> Option<(Vec<u8>, NodeId)> {
    let (effective, rest) = unescape(key.get(18..)?)?;
    Some((effective, NodeId(rest.try_into().ok()?)))
}

/// The parent of an `o` key.
pub fn parent_of(key: &[u8]) -> Option<NodeId> {
    match key {
        [b'o', _, rest @ ..] => rest.first_chunk().copied().map(NodeId),
        _ => None,
    }
}

/// What the `w` keys of a node begin with.
pub fn former_children(repo: RepoId, parent: NodeId) -> Key {
    let mut key = start(b'w', repo, 32);
    key.extend_from_slice(&parent.0);
    key
}

/// What the `w` keys of a node's former children of a name begin with.
pub fn former_children_named(repo: RepoId, parent: NodeId, name: &NodeName) -> Key {
    let mut key = former_children(repo, parent);
    escape(&mut key, name.as_str().as_bytes());
    key
}

/// `w`
pub fn former_child(repo: RepoId, parent: NodeId, name: &NodeName, child: NodeId) -> Key {
    let mut key = former_children_named(repo, parent, name);
    key.extend_from_slice(&child.0);
    key
}

/// The child of a `w` key.
pub fn former_child_of(key: &[u8]) -> Option<NodeId> {
    let (_, child) = unescape(key.get(18..)?)?;
    child.try_into().ok().map(NodeId)
}

/// What all `c` keys begin with.
pub fn clashes(repo: RepoId) -> Key {
    start(b'c', repo, 64)
}

/// `c`
pub fn clash(repo: RepoId, parent: NodeId, name: &NodeName) -> Key {
    let mut key = clashes(repo);
    key.extend_from_slice(&parent.0);
    key.extend_from_slice(name.as_str().as_bytes());
    key
}

/// The parent and name of a `c` key.
pub fn clash_of(key: &[u8]) -> Option<(NodeId, NodeName)> {
    let (parent, name) = (key.get(2..18)?, key.get(18..)?);
    let name = NodeName::new(std::str::from_utf8(name).ok()?).ok()?;
    Some((NodeId(parent.try_into().ok()?), name))
}

/// `l`
pub fn structural(repo: RepoId, id: ChangeSetId) -> Key {
    let mut key = start(b'l', repo, 24);
    key.extend_from_slice(&id.to_bytes());
    key
}

/// The change set of an `l` key.
pub fn structural_of(key: &[u8]) -> Option<ChangeSetId> {
    key.get(2..)?.try_into().ok().map(ChangeSetId::from_bytes)
}

/// `t`
pub fn touched(repo: RepoId, node: NodeId) -> Key {
    let mut key = start(b't', repo, 16);
    key.extend_from_slice(&node.0);
    key
}

/// The node of a `t` key.
pub fn touched_of(key: &[u8]) -> Option<NodeId> {
    match key {
        [b't', _, id @ ..] => id.try_into().ok().map(NodeId),
        _ => None,
    }
}

/// `s`
pub fn name_touched(repo: RepoId, node: NodeId, name: &NodeName) -> Key {
    let mut key = start(b's', repo, 64);
    key.extend_from_slice(&node.0);
    key.extend_from_slice(name.as_str().as_bytes());
    key
}

/// What all `x` keys begin with.
pub fn conflicts(repo: RepoId) -> Key {
    start(b'x', repo, 96)
}

/// What the `x` keys of the conflicts that one operation made begin with.
pub fn conflicts_at(repo: RepoId, at: Stamp) -> Key {
    let mut key = conflicts(repo);
    key.extend_from_slice(&at.to_bytes());
    key
}

/// `x`
pub fn conflict(repo: RepoId, entry: &ConflictEntry) -> Key {
    let mut key = conflicts_at(repo, entry.at);
    key.push(entry.kind.byte());
    key.extend_from_slice(&entry.node.0);
    key.extend_from_slice(&entry.loser.to_bytes());
    key.push(entry.item.byte());
    if let ConflictItem::Property(name) = &entry.item {
        key.extend_from_slice(name.as_str().as_bytes());
    }
    key
}

/// What an `x` key says.
pub fn conflict_of(key: &[u8]) -> Option<ConflictEntry> {
    let mut rest = key.get(2..)?;
    let mut take = |length: usize| {
        let (head, tail) = rest.split_at_checked(length)?;
        rest = tail;
        Some(head)
    };
    let at = Stamp::from_bytes(take(Stamp::BYTES)?.try_into().ok()?);
    let kind = *ConflictKind::ALL.get(usize::from(take(1)?[0]))?;
    let node = NodeId(take(16)?.try_into().ok()?);
    let loser = Stamp::from_bytes(take(Stamp::BYTES)?.try_into().ok()?);
    let item = match take(1)?[0] {
        0 => ConflictItem::Node,
        1 => ConflictItem::Parent,
        2 => ConflictItem::Name,
        3 => ConflictItem::Order,
        4 => ConflictItem::Property(PropertyName::new(std::str::from_utf8(rest).ok()?).ok()?),
        _ => return None,
    };
    Some(ConflictEntry {
        at,
        kind,
        node,
        item,
        loser,
    })
}

/// What the `d` keys of a conflict begin with.
pub fn dismissals(repo: RepoId, conflict: ConflictId) -> Key {
    let mut key = start(b'd', repo, 48);
    key.extend_from_slice(&conflict.0);
    key
}

/// `d`
pub fn dismissal(repo: RepoId, conflict: ConflictId, stamp: Stamp) -> Key {
    let mut key = dismissals(repo, conflict);
    key.extend_from_slice(&stamp.to_bytes());
    key
}

/// What the `u` keys of an origin's change sets from `time` on begin at.
pub fn causes_from(repo: RepoId, origin: OriginId, time: Time) -> Key {
    let mut key = start(b'u', repo, 68);
    key.extend_from_slice(&origin.0);
    key.extend_from_slice(&time.0.to_be_bytes());
    key
}

/// `u`
pub fn cause(repo: RepoId, cause: ChangeSetId, node: NodeId, stamp: Stamp) -> Key {
    let mut key = causes_from(repo, cause.origin, cause.time);
    key.extend_from_slice(&node.0);
    key.extend_from_slice(&stamp.to_bytes());
    key
}

/// The node of a `u` key.
pub fn cause_of(key: &[u8]) -> Option<NodeId> {
    key.get(26..42)?.try_into().ok().map(NodeId)
}

/// `v`
pub fn seen(repo: RepoId, origin: OriginId, time: Time) -> Key {
    let mut key = start(b'v', repo, 24);
    key.extend_from_slice(&origin.0);
    key.extend_from_slice(&time.0.to_be_bytes());
    key
}

/// The time of a `v` key.
pub fn seen_of(key: &[u8]) -> Option<Time> {
    match key {
        [b'v', _, id @ ..] if id.len() == 24 => {
            let time = id[16..].try_into().ok()?;
            Some(Time(u64::from_be_bytes(time)))
        }
        _ => None,
    }
}

/// What the `f` keys of a target begin with.
pub fn referrers(repo: RepoId, target: NodeId) -> Key {
    let mut key = start(b'f', repo, 64);
    key.extend_from_slice(&target.0);
    key
}

/// `f`
pub fn referrer(repo: RepoId, target: NodeId, node: NodeId, name: &PropertyName) -> Key {
    let mut key = referrers(repo, target);
    key.extend_from_slice(&node.0);
    key.extend_from_slice(name.as_str().as_bytes());
    key
}

/// The node and property of an `f` key.
pub fn referrer_of(key: &[u8]) -> Option<(NodeId, PropertyName)> {
    let (node, name) = (key.get(18..34)?, key.get(34..)?);
    let name = PropertyName::new(std::str::from_utf8(name).ok()?).ok()?;
    Some((NodeId(node.try_into().ok()?), name))
}

/// What all `a` keys begin with.
pub fn heads(repo: RepoId) -> Key {
    start(b'a', repo, 16)
}

/// `a`
pub fn head(repo: RepoId, origin: OriginId) -> Key {
    let mut key = heads(repo);
    key.extend_from_slice(&origin.0);
    key
}

/// The origin of an `a` key.
pub fn head_of(key: &[u8]) -> Option<OriginId> {
    key.get(2..)?.try_into().ok().map(OriginId)
}

/// `m`
pub fn meta(repo: RepoId) -> Key {
    start(b'm', repo, 0)
}
