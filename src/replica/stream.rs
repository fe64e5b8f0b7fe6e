//! One origin's stream in one repository: what there is of it, and how far it has been applied.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use crate::codec::journal::Seal;
use crate::codec::message::{HEADS_MAX, HeadList, SealedBytes};
use crate::model::change_set::ChainHash;
use crate::model::{ClusterId, OriginId, PublicKey, RepoId, Sequence, Time};

/// Most change sets from one sealed one to the next.
pub(super) const RUN_CHANGE_SETS_MAX: usize = 256;
/// Most bytes of change sets from one sealed one to the next, the last one not counted.
pub(super) const RUN_BYTES_MAX: usize = 512 << 10;
/// How many of the newest times of a stream are kept in memory.
const RECENT_TIMES_MAX: usize = 512;

/// The end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tip {
    /// The last number; 0 before the first.
    pub(super) sequence: Sequence,
    /// Its hash.
    pub(super) hash: ChainHash,
    /// Its time.
    pub(super) time: Time,
}

impl Tip {
    /// Before the first.
    pub(super) const NONE: Self = Self {
        sequence: Sequence(0),
        hash: ChainHash([0; 32]),
        time: Time(0),
    };
}

/// How far a stream has been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Reached {
    /// The last number; 0 for none.
    pub(super) sequence: Sequence,
    /// Its time.
    pub(super) time: Time,
}

/// An origin's stream.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// Under which its seals verify.
    pub(super) key: PublicKey,
    /// The end of what has been taken, verified, on its way to disk or there.
    pub(super) tip: Tip,
    /// The last number on disk.
    pub(super) stored: Sequence,
    /// The last number on disk that is sealed.
    pub(super) sealed: Sequence,
    /// Its hash.
    pub(super) sealed_hash: ChainHash,
    /// What the merged state has.
    pub(super) applied: Reached,
    /// If it has been shown to break the rules: the last number before it does (M17). What is
    /// taken beyond, up to the next seal, only carries that seal.
    pub(super) ended: Option<Sequence>,
    /// Whether it has ended there since its author has closed it, and not since it broke the rules.
    pub(super) closed: bool,
    /// Up to which number it is wanted though it has ended before that: what is there is to be saved
    /// again, or something is that has seen it.
    pub(super) wanted: Sequence,
    /// The hash at the end, if the chain gets there.
    pub(super) end_hash: ChainHash,
    /// How many of those not applied were from the future when they came, and their bytes.
    pub(super) future: (usize, usize),
    /// Whether some were not taken for want of room for those from the future.
    pub(super) full: bool,
    /// Whether it has been told that it is this replica's own and came from others.
    pub(super) came_back: bool,
    /// Up to which number waiting has been counted.
    pub(super) counted_held: Sequence,
    /// The times of the newest ones, the last of them the tip's.
    recent: VecDeque<Time>,
}

impl Stream {
    /// A stream of which there is nothing yet.
    pub(super) fn new(key: PublicKey) -> Self {
        Self {
            key,
            tip: Tip::NONE,
            stored: Sequence(0),
            sealed: Sequence(0),
            sealed_hash: ChainHash::default(),
            applied: Reached::default(),
            ended: None,
            closed: false,
            wanted: Sequence(0),
            end_hash: ChainHash::default(),
            future: (0, 0),
            full: false,
            came_back: false,
            counted_held: Sequence(0),
            recent: VecDeque::new(),
        }
    }

    /// Begins in the middle of the chain.
    pub(super) fn resume(&mut self, tip: Tip) {
        self.tip = tip;
        self.note_end();
        self.recent = VecDeque::from([tip.time]);
    }

    /// Continues the chain.
    pub(super) fn advance(&mut self, tip: Tip) {
        assert!(
            tip.sequence == self.tip.sequence.next(),
            "a chain has no gaps"
        );
        self.tip = tip;
        self.note_end();
        self.recent.push_back(tip.time);
        if self.recent.len() > RECENT_TIMES_MAX {
            self.recent.pop_front();
        }
    }

    fn note_end(&mut self) {
        if self.ended == Some(self.tip.sequence) {
            self.end_hash = self.tip.hash;
        }
    }

    /// A number, or the last one of the origin if that is less.
    pub(super) fn within(&self, sequence: Sequence) -> Sequence {
        self.ended.map_or(sequence, |last| last.min(sequence))
    }

    /// The last number that may be applied.
    pub(super) fn appliable(&self) -> Sequence {
        self.within(self.tip.sequence)
    }

    /// A number, or the last one up to which there is one history, if that is less: beyond an end that
    /// was proven there are several, beyond one that its author has set there are not.
    pub(super) fn known_to(&self, sequence: Sequence) -> Sequence {
        match self.closed {
            true => sequence,
            false => self.within(sequence),
        }
    }

    /// Up to which number it is taken; nothing if it has not ended.
    pub(super) fn enough(&self) -> Option<Sequence> {
        self.ended.map(|last| last.max(self.wanted))
    }

    /// What others are offered.
    pub(super) fn head(&self) -> Sequence {
        self.within(self.sealed)
    }

    /// The hash there.
    fn head_hash(&self) -> ChainHash {
        match self.ended {
            Some(last) if last <= self.sealed => self.end_hash,
            _ => self.sealed_hash,
        }
    }

    /// How many have been taken and wait to be applied.
    pub(super) fn waiting(&self) -> u64 {
        self.appliable().0.saturating_sub(self.applied.sequence.0)
    }

    /// The time of a change set, if it is one of the newest.
    pub(super) fn time_of(&self, sequence: Sequence) -> Option<Time> {
        let back = self.tip.sequence.0.checked_sub(sequence.0)?;
        let back = usize::try_from(back).ok()?;
        let index = self.recent.len().checked_sub(back + 1)?;
        self.recent.get(index).copied()
    }
}

/// The streams of a repository.
#[derive(Default)]
pub(super) struct Streams {
    all: BTreeMap<OriginId, Stream>,
    /// What [`Streams::hash`] gave; nothing once somebody may have changed a stream.
    hash: OnceLock<[u8; 16]>,
}

impl Streams {
    /// Hash of the stored heads, of the chains up to them, and of where origins end.
    pub(super) fn hash(&self) -> [u8; 16] {
        *self.hash.get_or_init(|| stored_hash(self))
    }
}

impl Deref for Streams {
    type Target = BTreeMap<OriginId, Stream>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl DerefMut for Streams {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.hash.take();
        &mut self.all
    }
}

/// The stored heads as others are told them: as many as fit a message.
pub(super) fn stored_heads(streams: &Streams) -> HeadList {
    streams
        .iter()
        .map(|(origin, stream)| (*origin, stream.head()))
        .filter(|(_, head)| *head > Sequence(0))
        .take(HEADS_MAX)
        .collect()
}

/// Where origins end: no more than `most`, and if there are more, those from one on that `draw` chooses
/// of so many, so that every one has its turn.
pub(super) fn ends(streams: &Streams, most: usize, draw: impl FnOnce(usize) -> usize) -> HeadList {
    let ended = streams
        .iter()
        .filter_map(|(origin, stream)| Some((*origin, stream.ended?)));
    let mut ends: HeadList = ended.collect();
    if ends.len() > most {
        let start = draw(ends.len());
        ends.rotate_left(start);
        ends.truncate(most);
        ends.sort();
    }
    ends
}

fn stored_hash(streams: &Streams) -> [u8; 16] {
    let mut hash = blake3::Hasher::new();
    hash.update(b"leveret stored 1\0");
    for (origin, stream) in streams.iter() {
        let head = stream.head();
        if head > Sequence(0) || stream.ended.is_some() {
            let end = stream.ended.unwrap_or(Sequence(u64::MAX));
            hash.update(&origin.0)
                .update(&head.0.to_be_bytes())
                .update(&stream.head_hash().0)
                .update(&end.0.to_be_bytes());
        }
    }
    short(&hash)
}

/// Hash of a list of heads, to compare two without sending them.
pub(super) fn heads_hash(heads: impl IntoIterator<Item = (OriginId, Sequence)>) -> [u8; 16] {
    let mut hash = blake3::Hasher::new();
    hash.update(b"leveret heads 1\0");
    for (origin, sequence) in heads {
        hash.update(&origin.0).update(&sequence.0.to_be_bytes());
    }
    short(&hash)
}

fn short(hash: &blake3::Hasher) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    short
}

/// Where a chain stands, for its seals.
#[derive(Clone, Copy)]
pub(super) struct SealPlace {
    pub(super) cluster: ClusterId,
    pub(super) repo: RepoId,
    pub(super) origin: OriginId,
}

impl SealPlace {
    /// What a seal at this number signs.
    pub(super) fn text(self, sequence: Sequence, hash: ChainHash) -> Vec<u8> {
        Seal::text(self.cluster, self.repo, self.origin, sequence, hash)
    }
}

/// Which seals of a range to keep, by index: as few as the bounds of a run allow, always the last.
/// The others need not be verified. Nothing if a run is longer than allowed, or the end unsealed.
pub(super) fn seals_to_keep(records: &[SealedBytes]) -> Option<Vec<usize>> {
    let mut keep = Vec::new();
    // The last sealed one since the last kept one.
    let mut candidate = None;
    let (mut count, mut bytes) = (0, 0);
    let mut i = 0;
    while i < records.len() {
        if count == RUN_CHANGE_SETS_MAX || (count > 0 && bytes >= RUN_BYTES_MAX) {
            let at: usize = candidate.take()?;
            keep.push(at);
            (count, bytes) = (0, 0);
            i = at + 1;
            continue;
        }
        count += 1;
        bytes += records[i].body.len();
        if records[i].seal.is_some() {
            candidate = Some(i);
        }
        i += 1;
    }
    keep.push(candidate.filter(|&at| at + 1 == records.len())?);
    Some(keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(lengths: &[(usize, bool)]) -> Vec<SealedBytes> {
        lengths
            .iter()
            .map(|&(bytes, sealed)| SealedBytes {
                body: vec![0; bytes].into(),
                seal: sealed.then_some(Seal([0; 64])),
            })
            .collect()
    }

    #[test]
    fn only_as_many_seals_are_kept_as_runs_may_be_long() {
        assert_eq!(seals_to_keep(&records(&[(9, true); 3])), Some(vec![2]));
        assert_eq!(
            seals_to_keep(&records(&[(9, true); 600])),
            Some(vec![255, 511, 599])
        );
        let large = RUN_BYTES_MAX;
        assert_eq!(
            seals_to_keep(&records(&[(large, true), (9, true), (9, true)])),
            Some(vec![0, 2])
        );
        assert_eq!(
            seals_to_keep(&records(&[(9, true), (9, false), (large, true), (9, true)])),
            Some(vec![2, 3])
        );
    }

    #[test]
    fn a_range_that_ends_unsealed_or_has_too_long_a_run_is_refused() {
        assert_eq!(seals_to_keep(&records(&[(9, true), (9, false)])), None);
        assert_eq!(seals_to_keep(&[]), None);
        let mut long = vec![(9, false); 256];
        long.push((9, true));
        assert_eq!(seals_to_keep(&records(&long)), None);
    }

    #[test]
    fn where_there_are_more_ends_than_are_told_every_one_has_its_turn() {
        let mut streams = Streams::default();
        for n in 0..20 {
            let mut stream = Stream::new(PublicKey([1; 32]));
            stream.ended = (n % 2 == 0).then_some(Sequence(n.into()));
            streams.insert(OriginId([n; 16]), stream);
        }
        let all = ends(&streams, 10, |_| unreachable!("all of them fit"));
        assert_eq!(all.len(), 10);
        let mut told = HeadList::new();
        for start in 0..10 {
            let some = ends(&streams, 3, |count| {
                assert_eq!(count, 10);
                start
            });
            assert_eq!(some.len(), 3);
            assert!(some.is_sorted_by(|a, b| a.0 < b.0), "as a message has them");
            told.extend(some);
        }
        told.sort();
        told.dedup();
        assert_eq!(told, all);
    }

    #[test]
    fn the_times_of_the_newest_are_at_hand() {
        let mut stream = Stream::new(PublicKey([1; 32]));
        for n in 1..=1_000 {
            stream.advance(Tip {
                sequence: Sequence(n),
                hash: ChainHash([0; 32]),
                time: Time(n * 10),
            });
        }
        assert_eq!(stream.time_of(Sequence(1_000)), Some(Time(10_000)));
        assert_eq!(stream.time_of(Sequence(489)), Some(Time(4_890)));
        assert_eq!(stream.time_of(Sequence(488)), None);
        assert_eq!(stream.time_of(Sequence(1_001)), None);
    }
}
