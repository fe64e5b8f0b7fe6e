//! Closing statements: an author ends origins of its own at numbers that it names.
//!
//! One says all that is needed to believe it: whose it is, of what the origins were made, and the
//! author's signature. What it is for is told in `replica/closing`.

use serde::{Deserialize, Serialize};

use super::journal::Seal;
use super::text::{Fixed, bounded, fixed};
use super::{DecodeError, from_bytes, to_bytes, unwrap, wrap};
use crate::model::{Birth, ClusterId, OriginId, PublicKey, RepoId, Sequence, Time};

const VERSION: u8 = 1;
/// The kind of its envelope, among the notes of `mark`.
const KIND: u8 = 4;
const WHAT: &str = "a closing statement";
/// Most origins that one ends.
pub const CLOSED_MAX: usize = 4_096;
/// Longest encoded statement, in bytes.
pub const CLOSING_BYTES_MAX: usize = 256 << 10;

/// An origin that is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// From which, with the key, the origin was made.
    pub nonce: [u8; 16],
    /// The last number that counts; 0 if none does.
    pub last: Sequence,
    /// The last number that its author knows of.
    pub tip: Sequence,
}

/// See the top of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The repository.
    pub repo: RepoId,
    /// Whose the origins are.
    pub key: PublicKey,
    /// When it was made, by the author's hybrid logical clock.
    pub time: Time,
    /// What it ends, ascending by origin.
    pub closed: Vec<Closed>,
    /// The author's signature.
    pub seal: Seal,
}

#[derive(Serialize, Deserialize)]
struct Mirror(u8, Fixed<32>, u64, ClosedList, Fixed<{ Seal::BYTES }>);

#[derive(Serialize)]
struct ClosedList(Vec<(Fixed<16>, u64, u64)>);

impl<'de> Deserialize<'de> for ClosedList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bounded(deserializer, "closed origins", CLOSED_MAX, Ok).map(Self)
    }
}

impl Closing {
    /// What it ends, in order: the origins, and what is said of each.
    pub fn origins(&self) -> impl Iterator<Item = (OriginId, &Closed)> {
        let key = &self.key;
        self.closed
            .iter()
            .map(move |closed| (Birth::origin(key, &closed.nonce), closed))
    }

    /// From which, with the key, the origin is made under which the content of what does not count
    /// any more is saved again. It follows from the statement.
    pub fn nonce(&self) -> [u8; 16] {
        let mut hash = blake3::Hasher::new();
        hash.update(b"leveret again 1\0").update(&encode(self));
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        nonce
    }

    /// That origin.
    pub fn again(&self) -> OriginId {
        Birth::origin(&self.key, &self.nonce())
    }

    /// What is signed.
    pub fn text(&self, cluster: ClusterId) -> Vec<u8> {
        let mut text = b"leveret closing 1\0".to_vec();
        text.extend_from_slice(&cluster.0);
        text.push(self.repo.0);
        text.extend_from_slice(&self.key.0);
        text.extend_from_slice(&self.time.0.to_be_bytes());
        for closed in &self.closed {
            text.extend_from_slice(&closed.nonce);
            text.extend_from_slice(&closed.last.0.to_be_bytes());
            text.extend_from_slice(&closed.tip.0.to_be_bytes());
        }
        text
    }
}

/// Encodes a statement.
pub fn encode(closing: &Closing) -> Vec<u8> {
    let closed = closing.closed.iter();
    let mirror = Mirror(
        closing.repo.0,
        fixed(closing.key.0),
        closing.time.0,
        ClosedList(
            closed
                .map(|one| (fixed(one.nonce), one.last.0, one.tip.0))
                .collect(),
        ),
        fixed(closing.seal.0),
    );
    wrap(VERSION, KIND, &to_bytes(&mirror))
}

/// Decodes a statement. Whether the signature is its author's is for `replica` to say.
///
/// # Errors
/// What is wrong with it; [`DecodeError::Version`] if it is of a later format.
pub fn decode(bytes: &[u8]) -> Result<Closing, DecodeError> {
    if bytes.len() > CLOSING_BYTES_MAX {
        return Err(DecodeError::TooLarge {
            what: WHAT,
            bytes: bytes.len(),
            max: CLOSING_BYTES_MAX,
        });
    }
    let envelope = unwrap(WHAT, bytes)?;
    if envelope.version != VERSION {
        return Err(DecodeError::Version {
            what: WHAT,
            found: envelope.version,
            known: VERSION,
        });
    }
    if envelope.kind != KIND {
        let reason = format_args!("its kind is {}", envelope.kind);
        return Err(DecodeError::malformed(WHAT, reason));
    }
    let Mirror(repo, key, time, closed, seal) = from_bytes(WHAT, envelope.body)?;
    let closed = closed.0.into_iter().map(|(nonce, last, tip)| Closed {
        nonce: nonce.into_array(),
        last: Sequence(last),
        tip: Sequence(tip),
    });
    let closing = Closing {
        repo: RepoId(repo),
        key: PublicKey(key.into_array()),
        time: Time(time),
        closed: closed.collect(),
        seal: Seal(seal.into_array()),
    };
    let origins: Vec<_> = closing.origins().map(|(origin, _)| origin).collect();
    if origins.is_empty() || !origins.is_sorted_by(|a, b| a < b) {
        let reason = "its origins are none, or not in order, each once";
        return Err(DecodeError::malformed(WHAT, reason));
    }
    if closing.closed.iter().any(|one| one.last >= one.tip) {
        let reason = "an origin ends where its author knows of no more";
        return Err(DecodeError::malformed(WHAT, reason));
    }
    if encode(&closing) != bytes {
        return Err(DecodeError::NotCanonical { what: WHAT });
    }
    Ok(closing)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::codec::testing::{hex, survives};

    pub(crate) fn sample() -> Closing {
        Closing {
            repo: RepoId::MAIN,
            key: PublicKey([3; 32]),
            time: Time(0x0102_0304_0506_0708),
            closed: vec![
                Closed {
                    nonce: [5; 16],
                    last: Sequence(0),
                    tip: Sequence(1),
                },
                Closed {
                    nonce: [4; 16],
                    last: Sequence(7),
                    tip: Sequence(300),
                },
            ],
            seal: Seal([9; 64]),
        }
    }

    #[test]
    fn a_statement_stays_what_it_is_and_reads_back() {
        let closing = sample();
        let bytes = encode(&closing);
        let expected = [
            "930104c49c9501c420",
            &"03".repeat(32),
            "cf010203040506070892",
            &["93c410", &"05".repeat(16), "0001"].concat(),
            &["93c410", &"04".repeat(16), "07cd012c"].concat(),
            "c440",
            &"09".repeat(64),
        ];
        assert_eq!(hex(&bytes), expected.concat());
        assert_eq!(decode(&bytes), Ok(closing.clone()));
        let text = closing.text(ClusterId([1; 16]));
        let expected = [
            &hex(b"leveret closing 1\0"),
            &"01".repeat(16),
            "01",
            &"03".repeat(32),
            "0102030405060708",
            &[&"05".repeat(16), "00000000000000000000000000000001"].concat(),
            &[&"04".repeat(16), "0000000000000007000000000000012c"].concat(),
        ];
        assert_eq!(hex(&text), expected.concat());
        let nonce = blake3::hash(&[b"leveret again 1\0".as_slice(), &bytes].concat());
        assert_eq!(closing.nonce(), nonce.as_bytes()[..16]);
        assert_eq!(
            closing.again(),
            Birth::origin(&closing.key, &closing.nonce())
        );
    }

    #[test]
    fn what_is_out_of_order_or_ends_nothing_is_refused() {
        let refused = |change: fn(&mut Closing)| {
            let mut closing = sample();
            change(&mut closing);
            assert!(decode(&encode(&closing)).is_err());
        };
        refused(|closing| closing.closed.reverse());
        refused(|closing| closing.closed.clear());
        refused(|closing| closing.closed[1] = closing.closed[0]);
        refused(|closing| closing.closed[0].tip = Sequence(0));
        let mut trailing = encode(&sample());
        trailing.push(0);
        assert!(decode(&trailing).is_err());
    }

    #[test]
    fn random_and_mutated_statements_never_panic() {
        survives(&[encode(&sample())], |bytes| drop(decode(bytes)));
    }
}
