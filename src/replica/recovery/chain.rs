//! What the journal has of one origin: its chain, followed above what the state has applied.

use std::sync::Arc;

use super::OpenError;
use crate::codec::change_set::{chain_hash, decode};
use crate::codec::journal;
use crate::model::change_set::ChainHash;
use crate::model::{ChangeSet, OriginId, PublicKey, RepoId, Sequence, Time};
use crate::replica::Repo;
use crate::replica::commit::Entry;
use crate::replica::ends::Proof;
use crate::replica::fault::{self, Fault};
use crate::replica::journal::JournalReader;
use crate::replica::stream::{Reached, Stream, Tip};
use crate::storage::{Storage, StorageError};

/// Records read from the journal at a time.
const PAGE_RECORDS: usize = 64;

/// What was found of one stream.
pub(super) struct Found {
    pub(super) stream: Stream,
    /// The first number that should follow and is missing or damaged, and how.
    pub(super) damage: Option<(Sequence, String)>,
    /// The last records, without a seal, if the stream is to be sealed at its end.
    pub(super) unsealed: Option<Entry>,
    /// The greatest time of what the state has not applied.
    pub(super) newest: Time,
}

/// Reads what the journal has of an origin above what the state has applied. Nothing if it has no
/// readable beginning and nothing of it was applied.
pub(super) fn find_stream(
    repo: &mut Repo,
    origin: OriginId,
    applied: Reached,
    end: Option<Sequence>,
    own_key: PublicKey,
) -> Result<Option<Found>, OpenError> {
    let id = repo.id;
    let reader = repo.journal.reader().clone();
    let lacking = |sequence: Sequence, reason: String| OpenError::Journal {
        repo: id,
        origin,
        sequence,
        reason,
    };
    let first = match reader.change_set(origin, Sequence(1)) {
        Ok(Some(first)) => first,
        Ok(None) | Err(StorageError::Damaged(_)) if applied.sequence == Sequence(0) => {
            return Ok(None);
        }
        Ok(None) => return Err(lacking(Sequence(1), "it is missing".into())),
        Err(error) => return Err(error.into()),
    };
    let Some(birth) = first.birth else {
        return Err(lacking(Sequence(1), "it tells of no birth".into()));
    };
    let mut stream = Stream::new(birth.key);
    stream.ended = end;
    stream.recall_closed(&repo.closings, origin);
    stream.applied = applied;
    stream.counted_held = applied.sequence;
    if applied.sequence > Sequence(0) {
        let record = reader
            .record(origin, applied.sequence)?
            .ok_or_else(|| lacking(applied.sequence, "it is missing".into()))?;
        let head =
            decode(&record.body).map_err(|error| lacking(applied.sequence, error.to_string()))?;
        if head.id.time != applied.time {
            return Err(lacking(applied.sequence, "another one is there".into()));
        }
        stream.resume(Tip {
            sequence: applied.sequence,
            hash: chain_hash(&record.body),
            time: applied.time,
        });
        (stream.sealed, stream.sealed_hash) = last_seal(&reader, origin, applied.sequence)?;
    }
    let mut found = Found {
        stream,
        damage: None,
        unsealed: None,
        newest: Time(0),
    };
    let is_own = found.stream.key == own_key;
    read_tail(repo, &reader, origin, &mut found, is_own)?;
    let stream = &mut found.stream;
    if fault::on(Fault::TailUnmerged) {
        let Tip { sequence, time, .. } = stream.tip;
        stream.applied = Reached { sequence, time };
    }
    stream.stored = stream.tip.sequence;
    found.newest = stream.tip.time;
    // What lies beyond an end is nobody's business, unless the origin is closed: then it is to be
    // saved again, by whoever has it (`again`).
    let (sequence, hash) = match end {
        Some(end) if end < stream.stored && !stream.closed => (end, stream.end_hash),
        _ => (stream.stored, stream.tip.hash),
    };
    if is_own && stream.sealed < sequence {
        let record = reader
            .record(origin, sequence)?
            .ok_or_else(|| lacking(sequence, "it is missing".into()))?;
        found.unsealed = Some(Entry {
            repo: id,
            origin,
            sequence,
            hash,
            body: record.body.into(),
            seal: None,
            own: true,
        });
    }
    Ok(Some(found))
}

/// Follows the chain above what is known of it, as far as it holds. If it just ends, what others have
/// written counts up to its last seal: a commit that was torn may have left less than a whole run,
/// and nobody could be offered that; of an author with two histories it need not even continue what
/// came later, be that whole or torn as well. Before a gap or a damaged record all of it counts, since
/// it was whole once.
fn read_tail(
    repo: &mut Repo,
    reader: &JournalReader,
    origin: OriginId,
    found: &mut Found,
    is_own: bool,
) -> Result<(), OpenError> {
    let mut at = found.stream.tip;
    // What has been read since the last seal.
    let mut run = Vec::new();
    loop {
        let page = reader.page(origin, at.sequence, PAGE_RECORDS)?;
        let ends = page.is_empty();
        for (sequence, bytes) in page {
            let next = at.sequence.next();
            match follow(repo.id, origin, at, sequence, &bytes) {
                Ok((change_set, sealed, length)) => {
                    at = Tip {
                        sequence: next,
                        hash: chain_hash(&bytes[bytes.len() - length..]),
                        time: change_set.id.time,
                    };
                    run.push((at, Arc::new(change_set), length));
                    if sealed {
                        take_run(repo, found, &mut run);
                        found.stream.sealed = next;
                        found.stream.sealed_hash = at.hash;
                    }
                }
                Err(_) if reader.leftover(origin, at.sequence)?.is_some() => {
                    if is_own {
                        take_run(repo, found, &mut run);
                    }
                    return Ok(());
                }
                Err(reason) => {
                    take_run(repo, found, &mut run);
                    found.damage = Some((next, reason));
                    return Ok(());
                }
            }
        }
        if ends {
            if is_own {
                take_run(repo, found, &mut run);
            }
            return Ok(());
        }
    }
}

/// Counts what was read as part of the chain.
fn take_run(repo: &mut Repo, found: &mut Found, run: &mut Vec<(Tip, Arc<ChangeSet>, usize)>) {
    for (tip, change_set, length) in run.drain(..) {
        found.stream.advance(tip);
        repo.journal.keep(change_set, length);
    }
}

/// Whether a record continues a chain: its change set, whether it is sealed, its length.
fn follow(
    repo: RepoId,
    origin: OriginId,
    tip: Tip,
    sequence: Sequence,
    bytes: &[u8],
) -> Result<(ChangeSet, bool, usize), String> {
    if sequence != tip.sequence.next() {
        return Err("it is missing".into());
    }
    let record = journal::decode(bytes).map_err(|error| error.to_string())?;
    let change_set = decode(record.body).map_err(|error| error.to_string())?;
    if change_set.repo != repo
        || change_set.id.origin != origin
        || change_set.sequence != sequence
        || change_set.previous != tip.hash
    {
        return Err("it does not continue the one before it".into());
    }
    Ok((change_set, record.seal.is_some(), record.body.len()))
}

/// The last sealed number up to `sequence`, and its hash.
fn last_seal(
    reader: &JournalReader,
    origin: OriginId,
    sequence: Sequence,
) -> Result<(Sequence, ChainHash), StorageError> {
    let mut at = sequence;
    while at > Sequence(0) {
        match reader.record(origin, at) {
            Ok(Some(record)) if record.seal.is_some() => {
                return Ok((at, chain_hash(&record.body)));
            }
            Ok(Some(_)) => at = Sequence(at.0 - 1),
            // Nothing can be offered past what can not be read.
            Ok(None) | Err(StorageError::Damaged(_)) => break,
            Err(error) => return Err(error),
        }
    }
    Ok((Sequence(0), ChainHash::default()))
}

/// Whose an origin is of which there is only the proof that it has ended, if that says so.
pub(super) fn author_of(
    storage: &dyn Storage,
    repo: RepoId,
    origin: OriginId,
) -> Result<Option<PublicKey>, StorageError> {
    let proof = Proof::read(storage, repo, origin)?;
    let record = proof.as_ref().and_then(|proof| proof.one.first());
    let set = record.and_then(|record| decode(&record.body).ok());
    Ok(set.and_then(|set| set.birth).map(|birth| birth.key))
}
