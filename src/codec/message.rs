//! What replicas say to one another, and its bytes.
//!
//! A message is an envelope whose kind says which one it is; kinds that are not known stay opaque,
//! so that a later version can say more. What the messages are for is told in `replica`. Kinds
//! from [`HANDSHAKE_KINDS`] on are left to the handshake, which `net` does.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::Bytes;

use super::closing::CLOSING_BYTES_MAX;
use super::journal::Seal;
use super::text::{Fixed, bounded, fixed};
use super::{DecodeError, from_bytes, to_bytes, unwrap, wrap};
use crate::model::limits::CHANGE_SET_BYTES_MAX;
use crate::model::{OriginId, RepoId, Sequence};

/// The format version written here.
pub const VERSION: u8 = 1;
/// Longest encoded message, in bytes: the bound of a frame.
pub const MESSAGE_BYTES_MAX: usize = 2 << 20;
/// Most origins in a list of heads.
pub const HEADS_MAX: usize = 65_536;
/// Most change sets in one range.
pub const RANGE_RECORDS_MAX: usize = 16_384;
/// The first of the kinds that are left to the handshake.
pub const HANDSHAKE_KINDS: u8 = 0x40;

const SUMMARY: u8 = 1;
const HEADS: u8 = 2;
const WANT: u8 = 3;
const RANGE: u8 = 4;
const HAVE: u8 = 5;
const FORK: u8 = 6;
const ENDS: u8 = 7;
const CLOSING: u8 = 8;
const WHAT: &str = "a message";

/// Origins, ascending, each with the last number of it that is there.
pub type HeadList = Vec<(OriginId, Sequence)>;

/// A change set's bytes, and its seal if it carries one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedBytes {
    /// The encoded change set.
    pub body: Arc<[u8]>,
    /// The author's signature over the chain up to here.
    pub seal: Option<Seal>,
}

/// What one replica says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// All that the sender has of a repository, in three hashes.
    Summary {
        /// The repository.
        repo: RepoId,
        /// Hash of the stored heads, and of the chains up to them.
        heads_hash: [u8; 16],
        /// Hash of the applied heads.
        applied_hash: [u8; 16],
        /// The state digest at these applied heads.
        digest: [u8; 16],
    },
    /// The sender's stored heads.
    Heads {
        /// The repository.
        repo: RepoId,
        /// The heads, ascending.
        heads: HeadList,
        /// Whether the receiver is asked for its own.
        reply: bool,
        /// What a summary would have for them.
        hash: [u8; 16],
    },
    /// Asks for what comes after a number.
    Want {
        /// The repository.
        repo: RepoId,
        /// The origin.
        origin: OriginId,
        /// The last number that the sender has; 0 for none.
        after: Sequence,
    },
    /// Change sets of one origin, one after the other, of which the last one is sealed. Answers a
    /// [`Message::Want`], and brings new change sets unasked. Empty if there is nothing to give.
    Range {
        /// The repository.
        repo: RepoId,
        /// The origin.
        origin: OriginId,
        /// The number of the first.
        first: Sequence,
        /// The change sets.
        records: Vec<SealedBytes>,
        /// Whether the sender has more after these.
        more: bool,
    },
    /// The sender now has these durably: tells those who sent them, and offers them to others.
    Have {
        /// The repository.
        repo: RepoId,
        /// What is new, ascending.
        heads: HeadList,
    },
    /// What shows that an origin ends before some number: two pieces of chain that begin at that
    /// number, end sealed, and differ in the first change set; or the change set before it, and a
    /// piece that follows on that, ends sealed, and whose first id is not above it. If both do not
    /// fit, the first comes alone and then the second, the other part being empty.
    Fork {
        /// The repository.
        repo: RepoId,
        /// The origin.
        origin: OriginId,
        /// The one.
        held: Vec<SealedBytes>,
        /// The other.
        refused: Vec<SealedBytes>,
    },
    /// Where origins end for the sender, the greatest number standing for nowhere: tells those
    /// who do not know, and asks those who know of an earlier end for the proof.
    Ends {
        /// The repository.
        repo: RepoId,
        /// The last number of each, ascending by origin.
        ends: HeadList,
    },
    /// A closing statement: shows that its author has ended origins of its own.
    Closing {
        /// The repository.
        repo: RepoId,
        /// The encoded statement.
        statement: Arc<[u8]>,
    },
    /// A kind that this version does not know. It is ignored.
    Unknown {
        /// The kind.
        kind: u8,
    },
}

#[derive(Serialize, Deserialize)]
struct SummaryMirror(u8, Fixed<16>, Fixed<16>, Fixed<16>);

#[derive(Serialize, Deserialize)]
struct HeadsMirror(u8, HeadsList, bool, Fixed<16>);

#[derive(Serialize, Deserialize)]
struct WantMirror(u8, Fixed<16>, u64);

#[derive(Serialize, Deserialize)]
struct RangeMirror<'a>(u8, Fixed<16>, u64, #[serde(borrow)] Records<'a>, bool);

#[derive(Serialize, Deserialize)]
struct HaveMirror(u8, HeadsList);

#[derive(Serialize, Deserialize)]
struct ForkMirror<'a>(
    u8,
    Fixed<16>,
    #[serde(borrow)] Records<'a>,
    #[serde(borrow)] Records<'a>,
);

#[derive(Serialize, Deserialize)]
struct ClosingMirror<'a>(u8, #[serde(borrow)] &'a Bytes);

struct HeadsList(HeadList);

impl Serialize for HeadsList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0
                .iter()
                .map(|(origin, sequence)| (fixed(origin.0), sequence.0)),
        )
    }
}

impl<'de> Deserialize<'de> for HeadsList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut last = None;
        bounded(
            deserializer,
            "heads",
            HEADS_MAX,
            |(origin, sequence): (Fixed<16>, u64)| {
                let origin = OriginId(origin.into_array());
                if last.replace(origin).is_some_and(|last| last >= origin) {
                    return Err("heads are not sorted by origin, each once".to_owned());
                }
                Ok((origin, Sequence(sequence)))
            },
        )
        .map(Self)
    }
}

type RecordMirror<'a> = (&'a Bytes, Option<Fixed<{ Seal::BYTES }>>);

/// Records on their way out, borrowed, or in.
enum Records<'a> {
    Out(&'a [SealedBytes]),
    In(Vec<RecordMirror<'a>>),
}

impl Records<'_> {
    fn into_sealed(self) -> Vec<SealedBytes> {
        match self {
            Self::Out(records) => records.to_vec(),
            Self::In(records) => records
                .into_iter()
                .map(|(body, seal)| SealedBytes {
                    body: body.to_vec().into(),
                    seal: seal.map(|seal| Seal(seal.into_array())),
                })
                .collect(),
        }
    }
}

impl Serialize for Records<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Out(records) => serializer.collect_seq(records.iter().map(|record| {
                (
                    Bytes::new(&record.body),
                    record.seal.map(|seal| fixed(seal.0)),
                )
            })),
            Self::In(records) => serializer.collect_seq(records),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Records<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bounded(
            deserializer,
            "change sets",
            RANGE_RECORDS_MAX,
            |record: RecordMirror<'de>| match record.0.len() {
                0..=CHANGE_SET_BYTES_MAX => Ok(record),
                bytes => Err(format!(
                    "a change set has {bytes} bytes; at most {CHANGE_SET_BYTES_MAX} are allowed"
                )),
            },
        )
        .map(Self::In)
    }
}

/// Encodes a message.
///
/// # Panics
/// On [`Message::Unknown`], which nobody sends.
pub fn encode(message: &Message) -> Vec<u8> {
    let (kind, body) = match message {
        Message::Summary {
            repo,
            heads_hash,
            applied_hash,
            digest,
        } => {
            let hashes = [heads_hash, applied_hash, digest].map(|hash| fixed(*hash));
            let [heads, applied, digest] = hashes;
            (
                SUMMARY,
                to_bytes(&SummaryMirror(repo.0, heads, applied, digest)),
            )
        }
        Message::Heads {
            repo,
            heads,
            reply,
            hash,
        } => (
            HEADS,
            to_bytes(&HeadsMirror(
                repo.0,
                HeadsList(heads.clone()),
                *reply,
                fixed(*hash),
            )),
        ),
        Message::Want {
            repo,
            origin,
            after,
        } => (
            WANT,
            to_bytes(&WantMirror(repo.0, fixed(origin.0), after.0)),
        ),
        Message::Range {
            repo,
            origin,
            first,
            records,
            more,
        } => (
            RANGE,
            to_bytes(&RangeMirror(
                repo.0,
                fixed(origin.0),
                first.0,
                Records::Out(records),
                *more,
            )),
        ),
        Message::Have { repo, heads } => (
            HAVE,
            to_bytes(&HaveMirror(repo.0, HeadsList(heads.clone()))),
        ),
        Message::Fork {
            repo,
            origin,
            held,
            refused,
        } => (
            FORK,
            to_bytes(&ForkMirror(
                repo.0,
                fixed(origin.0),
                Records::Out(held),
                Records::Out(refused),
            )),
        ),
        Message::Ends { repo, ends } => {
            (ENDS, to_bytes(&HaveMirror(repo.0, HeadsList(ends.clone()))))
        }
        Message::Closing { repo, statement } => (
            CLOSING,
            to_bytes(&ClosingMirror(repo.0, Bytes::new(statement))),
        ),
        Message::Unknown { kind } => panic!("nobody sends a message of unknown kind {kind}"),
    };
    wrap(VERSION, kind, &body)
}

/// Decodes a message. The change sets in it are not decoded.
///
/// # Errors
/// What is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(DecodeError::TooLarge {
            what: WHAT,
            bytes: bytes.len(),
            max: MESSAGE_BYTES_MAX,
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
    let Some(message) = decode_body(envelope.kind, envelope.body)? else {
        return match wrap(VERSION, envelope.kind, envelope.body) == bytes {
            true => Ok(Message::Unknown {
                kind: envelope.kind,
            }),
            false => Err(DecodeError::NotCanonical { what: WHAT }),
        };
    };
    if encode(&message) != bytes {
        return Err(DecodeError::NotCanonical { what: WHAT });
    }
    Ok(message)
}

fn decode_body(kind: u8, body: &[u8]) -> Result<Option<Message>, DecodeError> {
    Ok(Some(match kind {
        SUMMARY => {
            let SummaryMirror(repo, heads, applied, digest) = from_bytes(WHAT, body)?;
            Message::Summary {
                repo: RepoId(repo),
                heads_hash: heads.into_array(),
                applied_hash: applied.into_array(),
                digest: digest.into_array(),
            }
        }
        HEADS => {
            let HeadsMirror(repo, heads, reply, hash) = from_bytes(WHAT, body)?;
            Message::Heads {
                repo: RepoId(repo),
                heads: heads.0,
                reply,
                hash: hash.into_array(),
            }
        }
        WANT => {
            let WantMirror(repo, origin, after) = from_bytes(WHAT, body)?;
            Message::Want {
                repo: RepoId(repo),
                origin: OriginId(origin.into_array()),
                after: Sequence(after),
            }
        }
        RANGE => {
            let RangeMirror(repo, origin, first, records, more) = from_bytes(WHAT, body)?;
            Message::Range {
                repo: RepoId(repo),
                origin: OriginId(origin.into_array()),
                first: Sequence(first),
                records: records.into_sealed(),
                more,
            }
        }
        HAVE => {
            let HaveMirror(repo, heads) = from_bytes(WHAT, body)?;
            Message::Have {
                repo: RepoId(repo),
                heads: heads.0,
            }
        }
        FORK => {
            let ForkMirror(repo, origin, held, refused) = from_bytes(WHAT, body)?;
            Message::Fork {
                repo: RepoId(repo),
                origin: OriginId(origin.into_array()),
                held: held.into_sealed(),
                refused: refused.into_sealed(),
            }
        }
        ENDS => {
            let HaveMirror(repo, ends) = from_bytes(WHAT, body)?;
            Message::Ends {
                repo: RepoId(repo),
                ends: ends.0,
            }
        }
        CLOSING => {
            let ClosingMirror(repo, statement) = from_bytes(WHAT, body)?;
            if statement.len() > CLOSING_BYTES_MAX {
                return Err(DecodeError::TooLarge {
                    what: WHAT,
                    bytes: statement.len(),
                    max: CLOSING_BYTES_MAX,
                });
            }
            Message::Closing {
                repo: RepoId(repo),
                statement: statement.to_vec().into(),
            }
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests;
