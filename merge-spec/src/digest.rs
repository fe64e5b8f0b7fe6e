//! The state digest: 16 bytes that two replicas compare to know that they hold the same state.
//!
//! For each thing that is in the state, a *term*: half a hash over the node it belongs to, a byte
//! for its kind, and what it says. The terms are added up in 256 sums, by the first byte of the
//! node; the digest is half a hash over the sums. What a sum is good for, that terms can be added
//! and taken away one by one, the model has no use for: it goes through all of the state.

use std::fmt;

use crate::change::{NodeId, Stamp};
use crate::fold::Fold;
use crate::node::{Node, ParentCause};
use crate::value::Value;

/// The digest of a state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

impl fmt::Display for Digest {
    /// Writes 32 hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Fold {
    /// The digest of this state.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut sums = [0_u128; 256];
        let mut add = |node: NodeId, term: &[u8]| {
            let mut half = [0; 16];
            half.copy_from_slice(&blake3::hash(&[&node.0, term].concat()).as_bytes()[..16]);
            let sum = &mut sums[usize::from(node.0[0])];
            *sum = sum.wrapping_add(u128::from_be_bytes(half));
        };
        for (id, node) in self.nodes() {
            for term in terms(node) {
                add(*id, &term);
            }
        }
        // What belongs to no node is counted with the root.
        for set in self.voided() {
            let mut term = vec![5];
            write_stamp(
                &mut term,
                Stamp {
                    set: *set,
                    index: 0,
                },
            );
            add(NodeId::ROOT, &term);
        }
        for (stamp, conflict) in self.dismissals() {
            let mut term = vec![6];
            write_stamp(&mut term, *stamp);
            term.extend(conflict);
            add(NodeId::ROOT, &term);
        }

        let mut bytes = b"leveret digest 1\0".to_vec();
        bytes.extend(sums.iter().flat_map(|sum| sum.to_be_bytes()));
        let mut digest = [0; 16];
        digest.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
        Digest(digest)
    }
}

/// The terms of a node, without its id.
fn terms(node: &Node) -> Vec<Vec<u8>> {
    let mut terms = Vec::new();
    for write in &node.parents {
        let mut term = vec![0];
        write_stamp(&mut term, write.stamp);
        term.extend(write.to.0);
        term.push(match write.cause {
            ParentCause::Add => 0,
            ParentCause::ComeBack => 1,
            ParentCause::Emptied => 2,
            ParentCause::Move => 3,
            ParentCause::Remove => 4,
            ParentCause::HandBack { .. } => 5,
        });
        if let ParentCause::HandBack { undid, .. } = write.cause {
            write_stamp(&mut term, undid);
        }
        terms.push(term);
    }
    for skip in &node.skipped {
        let mut term = vec![1];
        write_stamp(&mut term, skip.stamp);
        term.extend(skip.parent.0);
        write_stamp(&mut term, skip.reason.unwrap_or(skip.stamp));
        terms.push(term);
    }
    if let Some(write) = node.name() {
        let mut term = vec![2];
        write_stamp(&mut term, write.stamp);
        write_bytes(&mut term, write.name.as_bytes());
        terms.push(term);
    }
    if let Some(write) = node.order_key() {
        let mut term = vec![3];
        write_stamp(&mut term, write.stamp);
        write_bytes(&mut term, &write.key);
        terms.push(term);
    }
    for name in node.properties.keys() {
        if let Some((value, newest)) = node.property(name) {
            let mut term = vec![4];
            write_stamp(&mut term, newest);
            write_bytes(&mut term, name.as_bytes());
            term.push(u8::from(value.is_some()));
            if let Some(value) = &value {
                write_value(&mut term, value);
            }
            terms.push(term);
        }
    }
    terms
}

/// A stamp: 28 bytes.
fn write_stamp(to: &mut Vec<u8>, stamp: Stamp) {
    to.extend(stamp.set.time.to_be_bytes());
    to.extend(stamp.set.origin.0);
    to.extend(stamp.index.to_be_bytes());
}

/// A number without sign, as LEB128: 7 bits a byte, the lowest first, the highest bit of a byte
/// set if there are more.
fn write_number(to: &mut Vec<u8>, number: u64) {
    let mut left = number;
    loop {
        let low = u8::try_from(left & 0x7f).expect("7 bits");
        left >>= 7;
        if left == 0 {
            to.push(low);
            return;
        }
        to.push(low | 0x80);
    }
}

/// A number with a sign, in zigzag form: 0, -1, 1, -2, … are 0, 1, 2, 3, …
fn write_signed(to: &mut Vec<u8>, number: i64) {
    let doubled = number.unsigned_abs().wrapping_mul(2);
    write_number(
        to,
        if number < 0 {
            doubled.wrapping_sub(1)
        } else {
            doubled
        },
    );
}

/// Bytes or a text, its length before it.
fn write_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    write_number(to, bytes.len() as u64);
    to.extend(bytes);
}

fn write_value(to: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Bool(yes) => to.push(u8::from(*yes)),
        Value::Int(integer) => {
            to.push(2);
            write_signed(to, *integer);
        }
        Value::Float(float) => {
            to.push(3);
            to.extend(float.to_bits().to_be_bytes());
        }
        Value::Str(text) => {
            to.push(4);
            write_bytes(to, text.as_bytes());
        }
        Value::Bytes(bytes) => {
            to.push(5);
            write_bytes(to, bytes);
        }
        Value::Time(instant) => {
            to.push(6);
            write_signed(to, instant.seconds);
            write_number(to, u64::from(instant.nanos));
        }
        Value::Ref(node) => {
            to.push(7);
            to.extend(node.0);
        }
        Value::List(elements) => {
            to.push(8);
            write_number(to, elements.len() as u64);
            // A list has no lists in it, so this goes no deeper.
            for element in elements {
                write_value(to, element);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold;

    fn number(number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_number(&mut bytes, number);
        bytes
    }

    fn signed(number: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_signed(&mut bytes, number);
        bytes
    }

    #[test]
    fn numbers_have_seven_bits_a_byte() {
        assert_eq!(number(0), [0]);
        assert_eq!(number(127), [127]);
        assert_eq!(number(128), [128, 1]);
        assert_eq!(number(300), [0xac, 2]);
        assert_eq!(number(u64::MAX), [[255; 9].as_slice(), &[1]].concat());
        assert_eq!(signed(0), [0]);
        assert_eq!(signed(-1), [1]);
        assert_eq!(signed(1), [2]);
        assert_eq!(signed(-64), [127]);
        assert_eq!(
            signed(i64::MAX),
            [[254].as_slice(), &[255; 8], &[1]].concat()
        );
        assert_eq!(signed(i64::MIN), number(u64::MAX));
    }

    #[test]
    fn the_digest_of_nothing_is_as_computed_elsewhere() {
        assert_eq!(
            fold(&[]).digest().to_string(),
            "ac2460c109db07eefbe17cb208155da1"
        );
    }
}
