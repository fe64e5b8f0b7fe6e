//! Verification: whether a store holds what it should, and making its state anew.
//!
//! The journal is the truth, and is checked by itself: checksums, chains, seals. Then the applied
//! part of it is folded once more, into a store in memory, and compared record by record with the
//! state that is stored. Nobody else may write to the store meanwhile.

mod records;

use std::sync::Arc;

use super::ends::{self, Ends};
use super::identity;
use super::journal::JournalReader;
use super::stream::SealPlace;
use crate::codec::change_set::{chain_hash, decode};
use crate::codec::journal;
use crate::merge::{Heads, History, ReadError, State, StateDigest};
use crate::model::change_set::ChainHash;
use crate::model::{
    Birth, ChangeSet, ChangeSetId, ClusterId, OriginId, PublicKey, RepoId, Sequence,
};
use crate::storage::memory::MemoryStorage;
use crate::storage::{Storage, StorageError};

/// Most problems of a repository that are told one by one; the others are counted.
pub const PROBLEMS_MAX: usize = 100;
/// Journal records read at a time.
const PAGE_RECORDS: usize = 64;
/// Change sets folded in one pass.
const BATCH: usize = 1_024;
/// Memory for records that are read often while folding, in bytes.
const CACHE_BYTES: usize = 32 << 20;

/// What was found in one repository.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The repository.
    pub repo: RepoId,
    /// Origins in the journal.
    pub origins: u64,
    /// Change sets in the journal.
    pub change_sets: u64,
    /// Those of them that the state has applied.
    pub applied: u64,
    /// Those at the ends of streams that no seal covers yet. A crash leaves some. The replica's own are
    /// sealed at the next start, if they continue what is before them; others stay until they come again.
    pub unsealed: u64,
    /// The digest of the stored state; nothing if it can not be read.
    pub digest: Option<StateDigest>,
    /// What is wrong, at most [`PROBLEMS_MAX`] of it.
    pub problems: Vec<String>,
    /// Problems in all.
    pub problem_count: u64,
    /// State records that were written anew or removed.
    pub rebuilt: u64,
}

impl Verified {
    fn of(repo: RepoId) -> Self {
        Self {
            repo,
            origins: 0,
            change_sets: 0,
            applied: 0,
            unsealed: 0,
            digest: None,
            problems: Vec::new(),
            problem_count: 0,
            rebuilt: 0,
        }
    }

    fn problem(&mut self, text: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text);
        }
    }
}

/// Checks one repository of a store. With `rebuild` the stored state is made what the journal
/// says, in one checkpoint.
///
/// # Errors
/// If the store can not be read or, with `rebuild`, written. What is wrong with what was read is
/// told in the answer.
pub fn verify(
    cluster: ClusterId,
    repo: RepoId,
    storage: &Arc<dyn Storage>,
    rebuild: bool,
) -> Result<Verified, StorageError> {
    let mut found = Verified::of(repo);
    let reader = JournalReader::new(repo, storage.clone());
    let ends = ends::recall(storage.as_ref(), repo)?;
    let mut chains = Vec::new();
    for origin in reader.origins()? {
        found.origins += 1;
        let place = SealPlace {
            cluster,
            repo,
            origin,
        };
        let end = ends.get(&origin).copied();
        chains.push(check_chain(&reader, place, end, &mut found)?);
    }
    let stored = match State::open(repo, storage.clone(), CACHE_BYTES) {
        Ok(state) => Some(state),
        Err(error) => {
            found.problem(format!("the stored state can not be opened: {error}"));
            None
        }
    };
    let heads = stored.as_ref().map(|state| state.heads());
    let order = fold_order(&chains, heads.as_deref(), &ends, &mut found);
    found.applied = order.len() as u64;
    let fresh: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let past = Past(&reader, &ends);
    let digest = match fold(&past, repo, &order, &fresh) {
        Ok(state) => state.latest().digest(),
        Err(error) => {
            found.problem(format!("the journal can not be folded: {error}"));
            return Ok(found);
        }
    };
    if let Some(state) = &stored {
        let stored_digest = state.latest().digest();
        found.digest = Some(stored_digest);
        if stored_digest != digest {
            found.problem(format!(
                "the stored state has the digest {stored_digest}, and the journal makes {digest}"
            ));
        }
    }
    let changes = records::compare(repo, storage.as_ref(), fresh.as_ref(), &mut found)?;
    if rebuild && found.problem_count > 0 && !changes.is_empty() {
        storage.checkpoint(&changes, &mut || Ok(()))?;
        found.rebuilt = changes.len() as u64;
    }
    Ok(found)
}

/// Makes a stored state, which has applied `heads`, what the journal says up to where origins end and
/// are cut, in one checkpoint.
///
/// # Errors
/// If the journal lacks some of it, or the store can not be read or written. Nothing has changed
/// then.
pub(super) fn make_again(
    repo: RepoId,
    storage: &Arc<dyn Storage>,
    heads: &Heads,
    ends: &Ends,
    cut: &Ends,
) -> Result<(), ReadError> {
    let reader = JournalReader::new(repo, storage.clone());
    let past = Past(&reader, ends);
    let mut order = Vec::new();
    for (origin, head) in heads {
        let ends = [ends, cut].map(|all| all.get(origin).copied().unwrap_or(head.sequence));
        let last = head.sequence.min(ends[0]).min(ends[1]);
        for number in 1..=last.0 {
            let sequence = Sequence(number);
            order.push((past.change_set(*origin, sequence)?.id, sequence));
        }
    }
    order.sort_unstable();
    let fresh: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    fold(&past, repo, &order, &fresh)?;
    let mut found = Verified::of(repo);
    let changes = records::compare(repo, storage.as_ref(), fresh.as_ref(), &mut found)?;
    storage.checkpoint(&changes, &mut || Ok(()))?;
    Ok(())
}

/// One origin's part of the journal, as far as it can be used: a dense chain from number 1.
struct Chain {
    origin: OriginId,
    /// The ids, in order; the first has number 1.
    ids: Vec<ChangeSetId>,
}

fn check_chain(
    reader: &JournalReader,
    place: SealPlace,
    end: Option<Sequence>,
    found: &mut Verified,
) -> Result<Chain, StorageError> {
    let origin = place.origin;
    let mut chain = Chain {
        origin,
        ids: Vec::new(),
    };
    let mut author: Option<PublicKey> = None;
    let mut previous = ChainHash::default();
    let (mut at, mut sealed) = (Sequence(0), Sequence(0));
    let mut whole = true;
    loop {
        let page = reader.page(origin, at, PAGE_RECORDS)?;
        if page.is_empty() {
            break;
        }
        for (sequence, bytes) in page {
            found.change_sets += 1;
            let wrong =
                |reason: String| format!("change set {sequence} of origin {origin}: {reason}");
            if sequence != at.next() {
                let missing = at.next();
                found.problem(wrong(format!("it follows a gap that begins at {missing}")));
                whole = false;
            }
            at = sequence;
            let link = match check_link(&bytes, place, sequence) {
                Ok(link) => link,
                Err(reason) => {
                    found.problem(wrong(reason));
                    whole = false;
                    continue;
                }
            };
            if !whole {
                continue; // it is not known what it should continue
            }
            let counts = end.is_none_or(|end| sequence <= end);
            if let Err(reason) = continues(&link, &chain, previous, counts, &mut author) {
                let length = chain.ids.len() as u64;
                // What links and breaks another rule is none: opening would take it.
                let torn = link.change_set.previous != previous;
                if torn && let Some(left) = reader.leftover(origin, Sequence(length))? {
                    found.change_sets += left - 1;
                    found.unsealed += left + length.saturating_sub(sealed.0);
                    return Ok(chain);
                }
                found.problem(wrong(reason));
                whole = false;
                continue;
            }
            previous = link.hash;
            chain.ids.push(link.change_set.id);
            if let (Some(seal), Some(author)) = (link.seal, &author) {
                if identity::verify(author, &place.text(sequence, link.hash), &seal.0) {
                    sealed = sequence;
                } else {
                    found.problem(wrong("its seal is not its author's".into()));
                }
            }
        }
    }
    found.unsealed += (chain.ids.len() as u64).saturating_sub(sealed.0);
    Ok(chain)
}

struct Link {
    change_set: ChangeSet,
    hash: ChainHash,
    seal: Option<journal::Seal>,
}

fn check_link(bytes: &[u8], place: SealPlace, sequence: Sequence) -> Result<Link, String> {
    let record = journal::decode(bytes).map_err(|error| error.to_string())?;
    let change_set = decode(record.body).map_err(|error| error.to_string())?;
    let is_here = change_set.repo == place.repo
        && change_set.id.origin == place.origin
        && change_set.sequence == sequence;
    if !is_here {
        return Err(format!(
            "it is number {} of origin {} in `{}`",
            change_set.sequence,
            change_set.id.origin,
            change_set.repo.name()
        ));
    }
    Ok(Link {
        hash: chain_hash(record.body),
        change_set,
        seal: record.seal,
    })
}

/// Whether a change set continues a chain, before its end if it `counts`; takes the author from the first one.
fn continues(
    link: &Link,
    chain: &Chain,
    previous: ChainHash,
    counts: bool,
    author: &mut Option<PublicKey>,
) -> Result<(), String> {
    let set = &link.change_set;
    if set.previous != previous {
        return Err("it does not continue the one before it".into());
    }
    if counts && chain.ids.last().is_some_and(|last| *last >= set.id) {
        return Err("its id is not above that of the one before it (M15)".into());
    }
    match (&set.birth, chain.ids.is_empty()) {
        (Some(birth), true) if Birth::origin(&birth.key, &birth.nonce) == chain.origin => {
            *author = Some(birth.key);
            Ok(())
        }
        (None, false) => Ok(()),
        (_, true) => Err("it does not say whose origin this is".into()),
        (_, false) => Err("it says once more whose origin this is".into()),
    }
}

/// What the stored state has applied, in the order of the fold (M1). If the state can not be read,
/// nothing: the next opening applies the journal to an empty one.
fn fold_order(
    chains: &[Chain],
    heads: Option<&Heads>,
    ends: &Ends,
    found: &mut Verified,
) -> Vec<(ChangeSetId, Sequence)> {
    let mut order = Vec::new();
    let Some(heads) = heads else { return order };
    let mut whole = true;
    for (origin, head) in heads {
        let chain = chains.iter().find(|chain| chain.origin == *origin);
        let ids = chain.map_or(&[][..], |chain| &chain.ids);
        let most = ends
            .get(origin)
            .map_or(head.sequence, |end| head.sequence.min(*end));
        let applied = usize::try_from(most.0).unwrap_or(usize::MAX);
        let Some(ids) = ids.get(..applied) else {
            let has = ids.len();
            found.problem(format!(
                "the state has applied {} change sets of origin {origin}, and the journal has only {has} good ones",
                head.sequence
            ));
            whole = false;
            continue;
        };
        let numbered = ids.iter().zip(1..);
        order.extend(numbered.map(|(id, number)| (*id, Sequence(number))));
    }
    if !whole {
        // What depends on something that is missing can not be folded here.
        order.clear();
    }
    order.sort_unstable();
    order
}

/// The change sets of a journal as they count where origins end.
struct Past<'a>(&'a JournalReader, &'a Ends);

impl History for Past<'_> {
    fn change_set(
        &self,
        origin: OriginId,
        sequence: Sequence,
    ) -> Result<Arc<ChangeSet>, StorageError> {
        let set = self.0.change_set(origin, sequence)?;
        let set = set.map(Arc::new).ok_or_else(|| {
            StorageError::Damaged(format!(
                "change set {sequence} of origin {origin} is missing"
            ))
        })?;
        Ok(ends::within(self.1, set))
    }
}

/// Folds change sets, which are in the order of their ids, into an empty store.
fn fold(
    history: &Past<'_>,
    repo: RepoId,
    order: &[(ChangeSetId, Sequence)],
    fresh: &Arc<dyn Storage>,
) -> Result<Arc<State>, ReadError> {
    let state = State::open(repo, fresh.clone(), CACHE_BYTES)?;
    for part in order.chunks(BATCH) {
        let batch: Vec<Arc<ChangeSet>> = part
            .iter()
            .map(|(id, sequence)| history.change_set(id.origin, *sequence))
            .collect::<Result<_, _>>()?;
        let merged = state.merge(&batch, history)?;
        state.publish(merged.version);
        drop(merged);
        if let Some(checkpoint) = state.take_checkpoint() {
            fresh.checkpoint(&checkpoint.changes, &mut || Ok(()))?;
            state.checkpoint_done(checkpoint);
        }
    }
    Ok(state)
}
