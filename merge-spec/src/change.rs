//! What is folded: ids (M1), stamps and node ids (M3), operations and change sets (M2).
//!
//! These are plain types with public fields: the model checks nothing here that an author's
//! replica or the wire format has to check.

use std::fmt;

/// One writing life of a replica; breaks ties between equal times (M1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub [u8; 16]);

impl Origin {
    /// The origin of what every author of a case starts from; smaller than that of any word.
    pub const BASE: Origin = Origin([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// Turns an author of a case into an origin: the bytes of the word, zeros after it.
    ///
    /// `base` is [`Origin::BASE`]. None for the empty word, for one of more than 16 bytes, and for
    /// one that has blanks, `@` or zero bytes in it.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Origin> {
        if word == "base" {
            return Some(Origin::BASE);
        }
        let bad = |c: char| c.is_whitespace() || c == '@' || c == '\0';
        if word.is_empty() || word.len() > 16 || word.contains(bad) {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..word.len()].copy_from_slice(word.as_bytes());
        Some(Origin(bytes))
    }
}

impl fmt::Display for Origin {
    /// Writes the word that the origin was made from or, where there is none, 32 hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Origin::BASE {
            return f.write_str("base");
        }
        let used = self
            .0
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        match std::str::from_utf8(&self.0[..used]) {
            Ok(word) if Origin::from_word(word) == Some(*self) => f.write_str(word),
            _ => self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The id of a change set: time, then origin (M1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId {
    /// Hybrid-logical time; in cases a small number.
    pub time: u64,
    /// Who wrote it.
    pub origin: Origin,
}

impl fmt::Display for SetId {
    /// Writes `AUTHOR@TIME`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.origin, self.time)
    }
}

impl fmt::Debug for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The place of one operation in the fold (M3): its change set, then its index from 0 in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stamp {
    /// The change set that the operation is in.
    pub set: SetId,
    /// Where it stands among the operations of that set, from 0.
    pub index: u32,
}

/// The id of a node (M3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 16]);

impl NodeId {
    /// The node that everything visible is below.
    pub const ROOT: NodeId = NodeId([0; 16]);
    /// The place outside the tree. It is no node; it only occurs as a parent.
    pub const TRASH: NodeId = NodeId([0xff; 16]);

    /// Derives the id of the node that `add` makes (M3), with nothing truncated (*t* is nothing).
    #[must_use]
    pub fn of_add(parent: NodeId, name: &str, k: u32) -> NodeId {
        let length = u16::try_from(name.len()).expect("a name has at most 255 bytes");
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"leveret node 1\0");
        hasher.update(&parent.0);
        hasher.update(&length.to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&[0]);
        hasher.update(&k.to_le_bytes());
        NodeId::first_half(&hasher.finalize())
    }

    /// Derives the id of the node that `add_unique` makes (M3) from the stamp of the operation.
    #[must_use]
    pub fn of_add_unique(stamp: Stamp) -> NodeId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"leveret unique 1\0");
        hasher.update(&stamp.set.time.to_be_bytes());
        hasher.update(&stamp.set.origin.0);
        hasher.update(&stamp.index.to_le_bytes());
        NodeId::first_half(&hasher.finalize())
    }

    /// All 32 digits of the id, in lower case.
    #[must_use]
    pub fn to_hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    /// Reads 32 hex digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<NodeId> {
        let mut id = [0; 16];
        if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (at, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(NodeId(id))
    }

    fn first_half(hash: &blake3::Hash) -> NodeId {
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        NodeId(id)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            NodeId::ROOT => f.write_str("root"),
            NodeId::TRASH => f.write_str("trash"),
            NodeId(_) => f.write_str(&self.to_hex()),
        }
    }
}

/// One operation, in terms of node ids, as it travels.
#[derive(Clone, PartialEq, Debug)]
pub enum Operation {
    /// Makes the node that parent, name and `k` stand for (M3, M6).
    Add {
        /// Under which node.
        parent: NodeId,
        /// The name it is added under.
        name: String,
        /// Tells apart nodes that were added one after the other under one name.
        k: u32,
    },
    /// Makes a node of its own that merges with no other (M3).
    AddUnique {
        /// Under which node.
        parent: NodeId,
        /// The name it is added under.
        name: String,
    },
    /// Puts a node in the trash (M7, M8).
    Remove {
        /// Which node.
        node: NodeId,
    },
    /// Gives a node another parent (M9).
    Move {
        /// Which node.
        node: NodeId,
        /// Where it goes.
        parent: NodeId,
        /// The new name, unless it keeps the one it has.
        name: Option<String>,
    },
    /// Gives a node another name and leaves it where it is (M9).
    Rename {
        /// Which node.
        node: NodeId,
        /// The new name.
        name: String,
    },
    /// Writes a property (M4).
    Set {
        /// Of which node.
        node: NodeId,
        /// The property.
        property: String,
        /// What it becomes.
        value: crate::Value,
    },
    /// Writes nothing to a property (M4).
    Unset {
        /// Of which node.
        node: NodeId,
        /// The property.
        property: String,
    },
    /// Adds to a property (M5).
    Inc {
        /// Of which node.
        node: NodeId,
        /// The property.
        property: String,
        /// How much, positive or negative.
        delta: i64,
    },
    /// Writes the order key that the author computed (M11).
    Order {
        /// Which node.
        node: NodeId,
        /// Where among its siblings it sorts.
        key: Vec<u8>,
    },
    /// Closes a conflict (M14); says nothing about any node.
    Dismiss {
        /// [`Conflict::id`](crate::Conflict::id) of the conflict.
        conflict: [u8; 16],
    },
}

/// One save: operations that share an id and become visible together (M2, M13).
#[derive(Clone, PartialEq, Debug)]
pub struct ChangeSet {
    /// Its id; greater than that of everything its author had seen.
    pub id: SetId,
    /// Its number among the change sets of its origin, from 1, without gaps.
    pub sequence: u64,
    /// The newest that its author had seen, as (origin, sequence): a frontier, and in any case
    /// the change set before it of the same origin (M2).
    pub dependencies: Vec<(Origin, u64)>,
    /// Whether it takes effect whole or not at all (M13).
    pub all_or_nothing: bool,
    /// What it does, in order.
    pub operations: Vec<Operation>,
}
