//! Ids, and the times they are made of.
//!
//! A change set is known by `(time, origin)`, totally ordered (M1, M15); an operation by its
//! change set and its index, the *stamp* (M3); a node by a hash (M3). Byte order is the order of
//! every id here, so their bytes can be used as keys.

use std::fmt;
use std::str::FromStr;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}")]
pub struct IdError {
    text: String,
    what: &'static str,
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex<const N: usize>(text: &str, what: &'static str) -> Result<[u8; N], IdError> {
    let fail = || IdError {
        text: text.chars().take(80).collect(),
        what,
    };
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(fail());
    }
    let mut bytes = [0; N];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| fail())?;
    }
    Ok(bytes)
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex(text, $what).map(Self)
            }
        }
    };
}

bytes_id!(
    /// A node's identity: 16 bytes, written as 32 hex digits (M3).
    NodeId, 16, "a node id (32 hex digits)"
);
bytes_id!(
    /// One writing life of a replica: 16 bytes, never all zero.
    OriginId, 16, "an origin id (32 hex digits)"
);
bytes_id!(
    /// An ed25519 public key: the identity of a replica.
    PublicKey, 32, "a public key (64 hex digits)"
);
bytes_id!(
    /// A cluster: the replicas that trust one founder's list of members.
    ClusterId, 16, "a cluster id (32 hex digits)"
);

bytes_id!(
    /// A conflict: a hash of what lost, how, and to whom (M14).
    ConflictId, 16, "a conflict id (32 hex digits)"
);

impl NodeId {
    /// The root of every repository. It has no parent, name or history of its own.
    pub const ROOT: Self = Self([0; 16]);
    /// The place outside the tree where removed nodes are. Not a node.
    pub const TRASH: Self = Self([0xff; 16]);

    /// The id of the node that `add(parent, name)` makes (M3).
    ///
    /// `truncated_at` is the point up to which history is truncated in the author's view, nothing
    /// until history can be truncated; `generation` the smallest number for which no node with
    /// that id is known there.
    pub fn of_add(
        parent: NodeId,
        name: &super::NodeName,
        truncated_at: Option<ChangeSetId>,
        generation: u32,
    ) -> Self {
        let mut hash = blake3::Hasher::new();
        hash.update(b"leveret node 1\0").update(&parent.0);
        let name = name.as_str().as_bytes();
        hash.update(&(name.len() as u16).to_le_bytes()).update(name);
        match truncated_at {
            None => hash.update(&[0]),
            Some(id) => hash.update(&[1]).update(&id.to_bytes()),
        };
        hash.update(&generation.to_le_bytes());
        Self::from_hash(&hash)
    }

    /// The id of the node that the `add_unique` with this stamp makes (M3).
    pub fn of_add_unique(stamp: Stamp) -> Self {
        let mut hash = blake3::Hasher::new();
        hash.update(b"leveret unique 1\0")
            .update(&stamp.id.to_bytes());
        hash.update(&stamp.index.to_le_bytes());
        Self::from_hash(&hash)
    }

    fn from_hash(hash: &blake3::Hasher) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        Self(id)
    }
}

/// Sequence number within one origin's stream of one repository: dense, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The number after this one.
    pub fn next(self) -> Self {
        Self(
            self.0
                .checked_add(1)
                .expect("an origin never makes 2^64 change sets"),
        )
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A time of the hybrid logical clock: 64-bit NTP, that is seconds since 1970 in units of
/// 2^-32 s. The low 4 bits count within an instant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// The time this many whole milliseconds after 1970.
    pub fn from_unix_millis(millis: u64) -> Self {
        let (seconds, rest) = (millis / 1_000, millis % 1_000);
        Self((seconds << 32) | ((rest << 32) / 1_000))
    }

    /// Milliseconds since 1970, rounded down.
    pub fn unix_millis(self) -> u64 {
        (self.0 >> 32) * 1_000 + (((self.0 & 0xffff_ffff) * 1_000) >> 32)
    }

    /// This time and so many milliseconds more, at most the greatest time there is.
    pub fn plus_millis(self, millis: u64) -> Self {
        let delta = (u128::from(millis) << 32) / 1_000;
        Self(u64::try_from(u128::from(self.0) + delta).unwrap_or(u64::MAX))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A change set's identity and its place in the fold (M1): time first, then origin.
///
/// Written `time-origin` in hex: 16 digits, a dash, 32 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeSetId {
    /// When, by the author's hybrid logical clock.
    pub time: Time,
    /// Which writing life made it.
    pub origin: OriginId,
}

impl ChangeSetId {
    /// Encoded length, in bytes.
    pub const BYTES: usize = 24;
    /// Below every id that a replica can make.
    pub const MIN: Self = Self {
        time: Time(0),
        origin: OriginId([0; 16]),
    };
    /// Above every id that a replica can make.
    pub const MAX: Self = Self {
        time: Time(u64::MAX),
        origin: OriginId([0xff; 16]),
    };

    /// 24 bytes whose order is the order of ids.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.time.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.origin.0);
        bytes
    }

    /// What [`ChangeSetId::to_bytes`] made.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let (mut time, mut origin) = ([0; 8], [0; 16]);
        time.copy_from_slice(&bytes[..8]);
        origin.copy_from_slice(&bytes[8..]);
        Self {
            time: Time(u64::from_be_bytes(time)),
            origin: OriginId(origin),
        }
    }
}

impl fmt::Display for ChangeSetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.time.0, self.origin)
    }
}

impl fmt::Debug for ChangeSetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ChangeSetId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let what = "a change set id (16 hex digits, a dash, 32 hex digits)";
        let fail = || IdError {
            text: text.chars().take(80).collect(),
            what,
        };
        let (time, origin) = text.split_once('-').ok_or_else(fail)?;
        let time = u64::from_be_bytes(parse_hex(time, what).map_err(|_| fail())?);
        let origin = origin.parse().map_err(|_| fail())?;
        Ok(Self {
            time: Time(time),
            origin,
        })
    }
}

/// The place of one operation in the fold: its change set, then its index there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The change set.
    pub id: ChangeSetId,
    /// Position among the change set's operations, from 0.
    pub index: u32,
}

impl Stamp {
    /// Encoded length, in bytes.
    pub const BYTES: usize = ChangeSetId::BYTES + 4;
    /// Below every stamp.
    pub const MIN: Self = Self {
        id: ChangeSetId::MIN,
        index: 0,
    };
    /// Above every stamp.
    pub const MAX: Self = Self {
        id: ChangeSetId::MAX,
        index: u32::MAX,
    };

    /// 28 bytes whose order is the order of stamps.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..24].copy_from_slice(&self.id.to_bytes());
        bytes[24..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    /// What [`Stamp::to_bytes`] made.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let (mut id, mut index) = ([0; 24], [0; 4]);
        id.copy_from_slice(&bytes[..24]);
        index.copy_from_slice(&bytes[24..]);
        Self {
            id: ChangeSetId::from_bytes(id),
            index: u32::from_be_bytes(index),
        }
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.index)
    }
}

/// One of the repositories of a peer, each a tree with its own history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoId(pub u8);

impl RepoId {
    /// Holds the members of the cluster.
    pub const SYSTEM: Self = Self(0);
    /// Holds the users' tree.
    pub const MAIN: Self = Self(1);
    /// Every repository of a peer.
    pub const ALL: [Self; 2] = [Self::SYSTEM, Self::MAIN];

    /// The name people call it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::SYSTEM => "system",
            Self::MAIN => "main",
            _ => "unknown",
        }
    }
}

impl FromStr for RepoId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::ALL
            .into_iter()
            .find(|repo| repo.name() == text)
            .ok_or_else(|| IdError {
                text: text.chars().take(80).collect(),
                what: "a repository (`main` or `system`)",
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_order_by_time_then_origin_and_their_bytes_do_too() {
        let id = |time, origin| ChangeSetId {
            time: Time(time),
            origin: OriginId([origin; 16]),
        };
        let sorted = [id(1, 9), id(2, 1), id(2, 3), id(256, 0)];
        assert!(sorted.is_sorted());
        assert!(sorted.map(ChangeSetId::to_bytes).is_sorted());
        for id in sorted {
            assert_eq!(ChangeSetId::from_bytes(id.to_bytes()), id);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn a_malformed_id_is_named() {
        let error = "12-zz".parse::<ChangeSetId>().unwrap_err();
        assert!(error.to_string().contains("`12-zz`"), "{error}");
    }

    #[test]
    fn times_convert_to_milliseconds_and_back_within_one() {
        for millis in [0, 1, 999, 1_000, 1_700_000_000_123] {
            assert!(millis - Time::from_unix_millis(millis).unix_millis() <= 1);
        }
        assert_eq!(Time(u64::MAX).plus_millis(10), Time(u64::MAX));
    }
}
