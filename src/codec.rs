//! Every byte that goes to disk or wire, and its version.
//!
//! What is encoded with MessagePack goes through mirrors written for the purpose: arrays by
//! position, numbers as tags, ids as byte strings, nothing that depends on a name in the source.
//! Around it stands an envelope, `[version, kind, body]`, so that a kind that is not known yet
//! stays opaque.
//!
//! Decoding is strict. Lengths, counts and depth are bounded before anything is allocated, names
//! and values go through the constructors of `model`, and what was decoded is encoded again: a
//! text that has other bytes (trailing ones, numbers longer than need be) is refused. So a value
//! has one encoding, and hashes are taken of the bytes as they came. `docs/reference/` describes
//! the formats byte by byte; golden bytes in the tests hold them fast.

pub(crate) mod bytes;
pub mod change_set;
pub mod closing;
pub mod frame;
pub mod handshake;
pub mod journal;
pub mod key;
pub mod mark;
pub mod message;
mod operation;
pub mod record;
pub mod state_key;
mod text;

use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;

/// Deepest nesting of arrays in anything decoded here.
pub(crate) const DEPTH_MAX: usize = 32;

/// Room for what is mostly encoded: a change set with a few operations.
const BYTES_USUAL: usize = 480;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than allowed.
    #[error("{what} has {bytes} bytes; at most {max} are allowed")]
    TooLarge {
        /// What was decoded.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Of a format version that this program does not know.
    #[error("{what} is of format version {found}; this program knows version {known}")]
    Version {
        /// What was decoded.
        what: &'static str,
        /// The version that it names.
        found: u8,
        /// The version known here.
        known: u8,
    },
    /// Not of the expected shape, or with a part that is not allowed.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What was decoded.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// It means something, but there is a shorter or stricter way to write it, and only that one
    /// is allowed.
    #[error("{what} is not in its one canonical form")]
    NotCanonical {
        /// What was decoded.
        what: &'static str,
    },
    /// Not the bytes that were written.
    #[error("{what} is damaged: its checksum does not match")]
    Checksum {
        /// What was decoded.
        what: &'static str,
    },
}

impl DecodeError {
    pub(crate) fn malformed(what: &'static str, reason: impl ToString) -> Self {
        Self::Malformed {
            what,
            reason: reason.to_string(),
        }
    }
}

/// Version, kind and body of anything that travels in an envelope.
pub(crate) struct Envelope<'a> {
    pub(crate) version: u8,
    pub(crate) kind: u8,
    pub(crate) body: &'a [u8],
}

/// Encodes a mirror, which can not fail: its types have no maps of unknown length and no errors
/// of their own.
pub(crate) fn to_bytes(mirror: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BYTES_USUAL);
    mirror
        .serialize(&mut rmp_serde::Serializer::new(&mut bytes))
        .expect("mirrors always encode");
    bytes
}

/// Decodes a mirror. Trailing bytes are found by comparing afterwards.
pub(crate) fn from_bytes<'a, T: Deserialize<'a>>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<T, DecodeError> {
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
    decoder.set_max_depth(DEPTH_MAX);
    T::deserialize(&mut decoder).map_err(|error| DecodeError::malformed(what, error))
}

/// Puts a body into its envelope.
pub(crate) fn wrap(version: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 8);
    let mut encoder = rmp_serde::Serializer::new(&mut bytes);
    (version, kind, Bytes::new(body))
        .serialize(&mut encoder)
        .expect("an envelope always encodes");
    bytes
}

/// Opens an envelope; the body is still to be decoded and compared.
pub(crate) fn unwrap<'a>(what: &'static str, bytes: &'a [u8]) -> Result<Envelope<'a>, DecodeError> {
    let (version, kind, body): (u8, u8, &Bytes) = from_bytes(what, bytes)?;
    Ok(Envelope {
        version,
        kind,
        body,
    })
}

#[cfg(test)]
pub(crate) mod testing {
    //! Hex, and what every decoder must survive.

    use proptest::test_runner::{Config, TestRunner};

    /// Bytes as hex digits.
    pub(crate) fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Feeds a decoder random bytes, and good ones with a few bytes changed, cut or added.
    /// It may refuse or accept, but must return.
    pub(crate) fn survives(good: &[Vec<u8>], decode: impl Fn(&[u8])) {
        use proptest::prelude::*;
        let good = good.to_vec();
        let mutations = proptest::collection::vec((any::<usize>(), any::<u8>(), 0..4u8), 1..4);
        let strategy = (any::<usize>(), mutations).prop_map(move |(which, mutations)| {
            let mut bytes = good[which % good.len()].clone();
            for (at, byte, how) in mutations {
                let at = at % (bytes.len() + 1);
                match how {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, byte),
                    _ if at < bytes.len() => bytes[at] = byte,
                    _ => bytes.push(byte),
                }
            }
            bytes
        });
        let random = proptest::collection::vec(any::<u8>(), 0..200);
        let mut runner = TestRunner::new(Config {
            cases: 4_000,
            failure_persistence: None,
            ..Config::default()
        });
        runner
            .run(&prop_oneof![4 => strategy, 1 => random], |bytes| {
                decode(&bytes);
                Ok(())
            })
            .unwrap();
    }
}
