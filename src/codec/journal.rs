//! Journal records: a change set's bytes as they came, the seal if one stands there, a checksum.
//!
//! ```text
//! 0..8    first 8 bytes of blake3 of everything after them
//! 8       version, 1
//! 9       1 if a seal follows, else 0
//! 10..74  the seal, if there is one: an ed25519 signature
//! ..      the encoded change set, to the end
//! ```

use std::fmt;

use super::DecodeError;
use crate::model::change_set::ChainHash;
use crate::model::limits::CHANGE_SET_BYTES_MAX;
use crate::model::{ClusterId, OriginId, RepoId, Sequence};

/// The format version written here.
pub const VERSION: u8 = 1;
const WHAT: &str = "a journal record";
const CHECKSUM: usize = 8;
const HEAD: usize = CHECKSUM + 2;

/// An author's signature over the chain of its origin up to the change set that it stands with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seal(pub [u8; Seal::BYTES]);

impl Seal {
    /// Length in bytes.
    pub const BYTES: usize = 64;

    /// What is signed: the place of a change set, and its hash, which covers all before it.
    pub fn text(
        cluster: ClusterId,
        repo: RepoId,
        origin: OriginId,
        sequence: Sequence,
        hash: ChainHash,
    ) -> Vec<u8> {
        let mut text = b"leveret seal 1\0".to_vec();
        text.extend_from_slice(&cluster.0);
        text.push(repo.0);
        text.extend_from_slice(&origin.0);
        text.extend_from_slice(&sequence.0.to_be_bytes());
        text.extend_from_slice(&hash.0);
        text
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}..", self.0[0], self.0[1])
    }
}

/// A record that has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The seal, if one stands with this change set.
    pub seal: Option<Seal>,
    /// The encoded change set.
    pub body: &'a [u8],
}

/// Makes a record.
pub fn encode(seal: Option<&Seal>, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + Seal::BYTES + body.len());
    bytes.extend_from_slice(&[0; CHECKSUM]);
    bytes.extend_from_slice(&[VERSION, u8::from(seal.is_some())]);
    if let Some(seal) = seal {
        bytes.extend_from_slice(&seal.0);
    }
    bytes.extend_from_slice(body);
    let sum = checksum(&bytes[CHECKSUM..]);
    bytes[..CHECKSUM].copy_from_slice(&sum);
    bytes
}

/// Reads a record. The change set in it is not decoded.
///
/// # Errors
/// [`DecodeError::Checksum`] if it is not what was written, and others if it never was a record.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    if bytes.len() < HEAD {
        return Err(DecodeError::malformed(WHAT, "it is too short"));
    }
    let (sum, rest) = bytes.split_at(CHECKSUM);
    if sum != checksum(rest) {
        return Err(DecodeError::Checksum { what: WHAT });
    }
    if rest[0] != VERSION {
        return Err(DecodeError::Version {
            what: WHAT,
            found: rest[0],
            known: VERSION,
        });
    }
    let (seal, body) = match (rest[1], &rest[2..]) {
        (0, body) => (None, body),
        (1, more) => match more.split_first_chunk() {
            Some((seal, body)) => (Some(Seal(*seal)), body),
            None => return Err(DecodeError::malformed(WHAT, "its seal is cut off")),
        },
        (other, _) => {
            let reason = format_args!("{other} stands where 0 or 1 should");
            return Err(DecodeError::malformed(WHAT, reason));
        }
    };
    if body.len() > CHANGE_SET_BYTES_MAX {
        return Err(DecodeError::TooLarge {
            what: WHAT,
            bytes: body.len(),
            max: CHANGE_SET_BYTES_MAX,
        });
    }
    Ok(Record { seal, body })
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECKSUM]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{hex, survives};

    #[test]
    fn the_bytes_of_a_record_stay_what_they_are() {
        assert_eq!(hex(&encode(None, b"body")), "acdaa767b99b26d20100626f6479");
        let sealed = encode(Some(&Seal([7; 64])), b"body");
        assert_eq!(hex(&sealed[..12]), "079d6b799c9f25fd01010707");
        assert_eq!(sealed.len(), 10 + 64 + 4);
        for (bytes, seal) in [(encode(None, b"body"), None), (sealed, Some(Seal([7; 64])))] {
            let body: &[u8] = b"body";
            assert_eq!(decode(&bytes), Ok(Record { seal, body }));
        }
    }

    #[test]
    fn the_text_under_a_seal_stays_what_it_is() {
        let text = Seal::text(
            ClusterId([1; 16]),
            RepoId::MAIN,
            OriginId([2; 16]),
            Sequence(3),
            ChainHash([4; 32]),
        );
        let expected = [
            hex(b"leveret seal 1\0"),
            "01".repeat(16),
            "01".into(),
            "02".repeat(16),
            "0000000000000003".into(),
            "04".repeat(32),
        ]
        .concat();
        assert_eq!(hex(&text), expected);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let good = encode(Some(&Seal([7; 64])), b"a body");
        for i in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[i / 8] ^= 1 << (i % 8);
            assert!(decode(&bytes).is_err(), "bit {i}");
        }
    }

    #[test]
    fn damaged_and_random_records_never_panic() {
        let good = [encode(None, b"body"), encode(Some(&Seal([7; 64])), b"")];
        survives(&good, |bytes| drop(decode(bytes)));
    }
}
