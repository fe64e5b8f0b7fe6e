//! The bytes of a change set, which are what is hashed, chained, kept and sent.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::operation::{OperationIn, OperationOut};
use super::text::{Fixed, bounded, fixed};
use super::{DecodeError, from_bytes, to_bytes, unwrap, wrap};
use crate::model::change_set::ChainHash;
use crate::model::limits::{
    CHANGE_SET_BYTES_MAX, DEPENDENCIES_MAX, MESSAGE_BYTES_MAX, OPERATIONS_MAX,
};
use crate::model::{
    Birth, ChangeSet, ChangeSetId, Dependency, Operation, OriginId, Predecessor, PublicKey, RepoId,
    Sequence, Time,
};

/// The format version written here.
pub const VERSION: u8 = 1;
/// The envelope's kind of a change set.
const KIND: u8 = 1;
const WHAT: &str = "a change set";

#[derive(Serialize, Deserialize)]
struct Mirror<'a> {
    repo: u8,
    time: u64,
    origin: Fixed<16>,
    sequence: u64,
    previous: Fixed<32>,
    birth: Option<BirthMirror>,
    dependencies: Dependencies,
    rules: u16,
    all_or_nothing: bool,
    #[serde(borrow)]
    message: Option<&'a str>,
    operations: Operations<'a>,
}

#[derive(Serialize, Deserialize)]
struct BirthMirror {
    key: Fixed<32>,
    nonce: Fixed<16>,
    predecessor: Option<(Fixed<16>, u64, Fixed<32>)>,
}

struct Dependencies(Vec<Dependency>);

impl Serialize for Dependencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|on| (fixed(on.origin.0), on.sequence.0)))
    }
}

impl<'de> Deserialize<'de> for Dependencies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Pair = (Fixed<16>, u64);
        bounded(
            deserializer,
            "dependencies",
            DEPENDENCIES_MAX,
            |(origin, sequence): Pair| {
                Ok(Dependency {
                    origin: OriginId(origin.into_array()),
                    sequence: Sequence(sequence),
                })
            },
        )
        .map(Self)
    }
}

struct Operations<'a>(Cow<'a, [Operation]>);

impl Serialize for Operations<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(OperationOut))
    }
}

impl<'de> Deserialize<'de> for Operations<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bounded(
            deserializer,
            "operations",
            OPERATIONS_MAX,
            |operation: OperationIn| Ok(operation.0),
        )
        .map(|operations| Self(Cow::Owned(operations)))
    }
}

/// The hash that the next change set of the same stream names, and that a seal signs.
pub fn chain_hash(encoded: &[u8]) -> ChainHash {
    ChainHash(*blake3::hash(encoded).as_bytes())
}

/// Encodes a change set. Its size is not checked: the author's door does that.
pub fn encode(change_set: &ChangeSet) -> Vec<u8> {
    let mirror = Mirror {
        repo: change_set.repo.0,
        time: change_set.id.time.0,
        origin: fixed(change_set.id.origin.0),
        sequence: change_set.sequence.0,
        previous: fixed(change_set.previous.0),
        birth: change_set.birth.as_ref().map(|birth| BirthMirror {
            key: fixed(birth.key.0),
            nonce: fixed(birth.nonce),
            predecessor: birth.predecessor.as_ref().map(|before| {
                (
                    fixed(before.origin.0),
                    before.sequence.0,
                    fixed(before.hash.0),
                )
            }),
        }),
        dependencies: Dependencies(change_set.dependencies.clone()),
        rules: change_set.rules,
        all_or_nothing: change_set.all_or_nothing,
        message: change_set.message.as_deref(),
        operations: Operations(Cow::Borrowed(&change_set.operations)),
    };
    wrap(VERSION, KIND, &to_bytes(&mirror))
}

/// Decodes a change set.
///
/// What comes out is well-formed by itself: names and values are valid, dependencies sorted and
/// of other origins, the birth there exactly in the first one and fitting the origin. Whether it
/// fits the chain it claims to continue is for `replica` to say.
///
/// # Errors
/// What is wrong with it; [`DecodeError::Version`] if it is of a later format.
pub fn decode(bytes: &[u8]) -> Result<ChangeSet, DecodeError> {
    if bytes.len() > CHANGE_SET_BYTES_MAX {
        return Err(DecodeError::TooLarge {
            what: WHAT,
            bytes: bytes.len(),
            max: CHANGE_SET_BYTES_MAX,
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
        return Err(DecodeError::malformed(
            WHAT,
            format_args!("its kind is {}", envelope.kind),
        ));
    }
    let mirror: Mirror<'_> = from_bytes(WHAT, envelope.body)?;
    let change_set = ChangeSet {
        repo: RepoId(mirror.repo),
        id: ChangeSetId {
            time: Time(mirror.time),
            origin: OriginId(mirror.origin.into_array()),
        },
        sequence: Sequence(mirror.sequence),
        previous: ChainHash(mirror.previous.into_array()),
        birth: mirror.birth.map(|birth| Birth {
            key: PublicKey(birth.key.into_array()),
            nonce: birth.nonce.into_array(),
            predecessor: birth
                .predecessor
                .map(|(origin, sequence, hash)| Predecessor {
                    origin: OriginId(origin.into_array()),
                    sequence: Sequence(sequence),
                    hash: ChainHash(hash.into_array()),
                }),
        }),
        dependencies: mirror.dependencies.0,
        rules: mirror.rules,
        all_or_nothing: mirror.all_or_nothing,
        message: mirror.message.map(Into::into),
        operations: mirror.operations.0.into_owned(),
    };
    check(&change_set).map_err(|reason| DecodeError::malformed(WHAT, reason))?;
    if encode(&change_set) != bytes {
        return Err(DecodeError::NotCanonical { what: WHAT });
    }
    Ok(change_set)
}

fn check(change_set: &ChangeSet) -> Result<(), &'static str> {
    let first = change_set.sequence == Sequence(1);
    if change_set.sequence == Sequence(0) {
        return Err("sequence numbers begin at 1");
    }
    if first != (change_set.previous == ChainHash::default()) {
        return Err("only the first of an origin has none before it");
    }
    match &change_set.birth {
        Some(_) if !first => return Err("only the first of an origin tells of its birth"),
        None if first => return Err("the first of an origin does not tell of its birth"),
        Some(birth) if Birth::origin(&birth.key, &birth.nonce) != change_set.id.origin => {
            return Err("its origin does not belong to its key");
        }
        _ => {}
    }
    let dependencies = &change_set.dependencies;
    if !dependencies.is_sorted_by(|a, b| a.origin < b.origin) {
        return Err("its dependencies are not sorted by origin, each once");
    }
    if dependencies
        .iter()
        .any(|on| on.origin == change_set.id.origin || on.sequence == Sequence(0))
    {
        return Err("a dependency is of its own origin, or has no number");
    }
    if change_set
        .message
        .as_ref()
        .is_some_and(|message| message.len() > MESSAGE_BYTES_MAX)
    {
        return Err("its message is too long");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
