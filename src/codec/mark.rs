//! Small notes that a replica keeps for itself: the bound of its clock, and the witness mark.

use serde::{Deserialize, Serialize};

use super::text::{Fixed, bounded, fixed};
use super::{DecodeError, from_bytes, to_bytes, unwrap, wrap};
use crate::model::{OriginId, RepoId, Sequence, Time};

const VERSION: u8 = 1;
const CLOCK: u8 = 1;
const WITNESS: u8 = 2;
const QUARANTINE: u8 = 3;
/// Most lives that a witness mark tells of, times repositories.
pub const WITNESSED_MAX: usize = 16;

/// Encodes how far the clock may have gone.
pub fn encode_clock(bound: Time) -> Vec<u8> {
    wrap(VERSION, CLOCK, &to_bytes(&(bound.0,)))
}

/// Reads what [`encode_clock`] made.
///
/// # Errors
/// If it is not that.
pub fn decode_clock(bytes: &[u8]) -> Result<Time, DecodeError> {
    const WHAT: &str = "the clock's bound";
    let (bound,): (u64,) = from_bytes(WHAT, body(WHAT, CLOCK, bytes)?)?;
    same(WHAT, bytes, &encode_clock(Time(bound)))?;
    Ok(Time(bound))
}

/// Encodes the last number before an origin ends.
pub fn encode_sequence(sequence: Sequence) -> Vec<u8> {
    wrap(VERSION, QUARANTINE, &to_bytes(&(sequence.0,)))
}

/// Reads what [`encode_sequence`] made.
///
/// # Errors
/// If it is not that.
pub fn decode_sequence(bytes: &[u8]) -> Result<Sequence, DecodeError> {
    const WHAT: &str = "the mark of an end";
    let (sequence,): (u64,) = from_bytes(WHAT, body(WHAT, QUARANTINE, bytes)?)?;
    same(WHAT, bytes, &encode_sequence(Sequence(sequence)))?;
    Ok(Sequence(sequence))
}

/// What has been acknowledged of a replica's newest writing lives, kept beside the store to tell after
/// a crash whether a tail of it was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The last number acknowledged of each life in each repository that it wrote to.
    pub acknowledged: Vec<(RepoId, OriginId, Sequence)>,
}

#[derive(Serialize, Deserialize)]
struct WitnessMirror {
    acknowledged: Acknowledged,
}

#[derive(Serialize)]
struct Acknowledged(Vec<(u8, Fixed<16>, u64)>);

impl<'de> Deserialize<'de> for Acknowledged {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bounded(deserializer, "lives", WITNESSED_MAX, Ok).map(Self)
    }
}

/// Encodes a witness mark.
pub fn encode_witness(witness: &Witness) -> Vec<u8> {
    let mirror = WitnessMirror {
        acknowledged: Acknowledged(
            witness
                .acknowledged
                .iter()
                .map(|(repo, origin, sequence)| (repo.0, fixed(origin.0), sequence.0))
                .collect(),
        ),
    };
    wrap(VERSION, WITNESS, &to_bytes(&mirror))
}

/// Reads what [`encode_witness`] made.
///
/// # Errors
/// If it is not that.
pub fn decode_witness(bytes: &[u8]) -> Result<Witness, DecodeError> {
    const WHAT: &str = "a witness mark";
    let mirror: WitnessMirror = from_bytes(WHAT, body(WHAT, WITNESS, bytes)?)?;
    let witness = Witness {
        acknowledged: mirror
            .acknowledged
            .0
            .into_iter()
            .map(|(repo, origin, sequence)| {
                (
                    RepoId(repo),
                    OriginId(origin.into_array()),
                    Sequence(sequence),
                )
            })
            .collect(),
    };
    same(WHAT, bytes, &encode_witness(&witness))?;
    Ok(witness)
}

fn body<'a>(what: &'static str, kind: u8, bytes: &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let envelope = unwrap(what, bytes)?;
    if envelope.version != VERSION {
        return Err(DecodeError::Version {
            what,
            found: envelope.version,
            known: VERSION,
        });
    }
    if envelope.kind != kind {
        let reason = format_args!("its kind is {}", envelope.kind);
        return Err(DecodeError::malformed(what, reason));
    }
    Ok(envelope.body)
}

fn same(what: &'static str, bytes: &[u8], again: &[u8]) -> Result<(), DecodeError> {
    if bytes == again {
        return Ok(());
    }
    Err(DecodeError::NotCanonical { what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{hex, survives};

    #[test]
    fn marks_stay_what_they_are_and_read_back() {
        let bytes = encode_clock(Time(0x0102_0304_0506_0708));
        assert_eq!(hex(&bytes), "930101c40a91cf0102030405060708");
        assert_eq!(decode_clock(&bytes), Ok(Time(0x0102_0304_0506_0708)));

        let bytes = encode_sequence(Sequence(300));
        assert_eq!(hex(&bytes), "930103c40491cd012c");
        assert_eq!(decode_sequence(&bytes), Ok(Sequence(300)));

        let witness = Witness {
            acknowledged: vec![
                (RepoId::SYSTEM, OriginId([9; 16]), Sequence(1)),
                (RepoId::MAIN, OriginId([8; 16]), Sequence(300)),
            ],
        };
        let bytes = encode_witness(&witness);
        assert_eq!(
            hex(&bytes),
            "930102c42e91929300c41009090909090909090909090909090909019301c41008080808080808080808080808080808cd012c"
        );
        assert_eq!(decode_witness(&bytes), Ok(witness.clone()));

        let good = [bytes, encode_clock(Time(1))];
        survives(&good, |bytes| {
            drop((decode_clock(bytes), decode_witness(bytes)))
        });
    }
}
