//! The state digest: a sum of hashes over everything in the fold, in 256 buckets by node id.
//!
//! Terms are added when something comes to be and subtracted when it goes, so the sum can be kept
//! up at every merge and does not depend on the order in which things came. It covers hidden parts
//! too: parent writes that later ones lie over, and everything in the trash.

use std::fmt;

use crate::codec::bytes::Writer;
use crate::codec::record::{How, ParentWrite, SkippedMove, Sums};
use crate::model::{ConflictId, NodeId, NodeName, OrderKey, PropertyName, Stamp};

use super::register::Effective;

/// The digest of a repository's state: 16 bytes, shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateDigest(pub [u8; 16]);

impl StateDigest {
    pub(super) fn of(buckets: &Sums) -> Self {
        // In one piece: blake3 is several times faster at that.
        let mut bytes = Vec::with_capacity(20 + 256 * 16);
        bytes.extend_from_slice(b"leveret digest 1\0");
        buckets
            .iter()
            .for_each(|sum| bytes.extend_from_slice(&sum.to_be_bytes()));
        let mut digest = [0; 16];
        digest.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
        Self(digest)
    }
}

impl fmt::Display for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One thing that the digest covers.
pub(super) enum Term<'a> {
    Parent(&'a ParentWrite),
    Skip(&'a SkippedMove),
    Name(Stamp, &'a NodeName),
    Order(Stamp, &'a OrderKey),
    Property(&'a PropertyName, &'a Effective),
    /// Of the root: a voided change set, by the stamp of its first operation.
    Voided(Stamp),
    /// Of the root: a dismissal.
    Dismissed(Stamp, ConflictId),
}

/// Adds a term of a node to the sums.
pub(super) fn add(buckets: &mut Sums, node: NodeId, term: &Term<'_>) {
    let sum = buckets.get_mut(node.0[0]);
    *sum = sum.wrapping_add(hash(node, term));
}

/// Takes a term of a node out of the sums.
pub(super) fn subtract(buckets: &mut Sums, node: NodeId, term: &Term<'_>) {
    let sum = buckets.get_mut(node.0[0]);
    *sum = sum.wrapping_sub(hash(node, term));
}

fn hash(node: NodeId, term: &Term<'_>) -> u128 {
    let mut w = Writer(Vec::with_capacity(128));
    w.node(node);
    match term {
        Term::Parent(write) => {
            w.byte(0);
            w.stamp(write.stamp);
            w.node(write.parent);
            w.byte(match write.how {
                How::Add => 0,
                How::ComeBack => 1,
                How::Emptied => 2,
                How::Move => 3,
                How::Remove => 4,
                How::HandBack { .. } => 5,
            });
            if let How::HandBack { cause } = write.how {
                w.stamp(cause);
            }
        }
        Term::Skip(skip) => {
            w.byte(1);
            w.stamp(skip.stamp);
            w.node(skip.parent);
            w.stamp(skip.reason);
        }
        Term::Name(stamp, name) => {
            w.byte(2);
            w.stamp(*stamp);
            w.bytes(name.as_str().as_bytes());
        }
        Term::Order(stamp, key) => {
            w.byte(3);
            w.stamp(*stamp);
            w.bytes(key.as_bytes());
        }
        Term::Property(name, effective) => {
            w.byte(4);
            w.stamp(effective.stamp);
            w.bytes(name.as_str().as_bytes());
            match &effective.value {
                None => w.byte(0),
                Some(value) => {
                    w.byte(1);
                    w.value(value);
                }
            }
        }
        Term::Voided(stamp) => {
            w.byte(5);
            w.stamp(*stamp);
        }
        Term::Dismissed(stamp, conflict) => {
            w.byte(6);
            w.stamp(*stamp);
            w.fixed(&conflict.0);
        }
    }
    let mut sum = [0; 16];
    sum.copy_from_slice(&blake3::hash(&w.0).as_bytes()[..16]);
    u128::from_be_bytes(sum)
}
