//! Keys of the store that belong to the replica: the journal, and a few small notes.
//!
//! A key's first byte names its table, its second the repository. The tables of the state, with
//! lower-case letters, belong to `merge`.
//!
//! ```text
//! J repo origin(16) sequence(8, big-endian)   a journal record
//! R repo 'c'                                  how far the clock may have gone
//! R repo 'm' key(32)                          a key that is or was a member's
//! R repo 'q' origin(16)                       where an origin that has broken the rules ends
//! R repo 'e' origin(16) 0 or 1                the two halves of the proof of that
//! R repo 'k' origin(16)                       a closing statement, and under which origin the
//!                                             content of what it ends is saved again
//! R repo 'a' origin(16)                       that is done without what its author had seen and has not
//! R repo 'f' origin(16)                       all of that is saved again
//! R repo 'w'                                  when somebody said that the wall clock is right
//! ```

use crate::model::{OriginId, PublicKey, RepoId, Sequence};

/// A key of the store.
type Key = Vec<u8>;

/// The table of the journal.
pub const JOURNAL: u8 = b'J';
/// The length of its keys, which end in a number of 8 bytes.
pub const JOURNAL_KEY_BYTES: usize = 26;
const NOTES: u8 = b'R';

/// Where a journal record is.
pub fn journal(repo: RepoId, origin: OriginId, sequence: Sequence) -> Key {
    let mut key = Vec::with_capacity(JOURNAL_KEY_BYTES);
    key.extend_from_slice(&[JOURNAL, repo.0]);
    key.extend_from_slice(&origin.0);
    key.extend_from_slice(&sequence.0.to_be_bytes());
    key
}

/// The end, exclusive, of one origin's records.
pub fn journal_end(repo: RepoId, origin: OriginId) -> Key {
    let mut key = journal(repo, origin, Sequence(u64::MAX));
    key.push(0);
    key
}

/// The beginning, inclusive, and the end, exclusive, of a repository's journal.
pub fn journal_range(repo: RepoId) -> (Key, Key) {
    (vec![JOURNAL, repo.0], vec![JOURNAL, repo.0 + 1])
}

/// What [`journal`] made: origin and sequence. Nothing for any other key.
pub fn parse_journal(key: &[u8]) -> Option<(OriginId, Sequence)> {
    let (head, rest) = key.split_first_chunk::<2>()?;
    let (origin, sequence) = rest.split_first_chunk::<16>()?;
    let sequence: [u8; 8] = sequence.try_into().ok()?;
    (head[0] == JOURNAL).then(|| (OriginId(*origin), Sequence(u64::from_be_bytes(sequence))))
}

/// The beginning and the end of all notes.
pub fn notes() -> (Key, Key) {
    (vec![NOTES], vec![NOTES + 1])
}

/// Where the bound of the clock is.
pub fn clock() -> Key {
    vec![NOTES, RepoId::SYSTEM.0, b'c']
}

/// Where it is noted that a key is or was a member's.
pub fn member(key: &PublicKey) -> Key {
    [&[NOTES, RepoId::SYSTEM.0, b'm'], key.0.as_slice()].concat()
}

/// The beginning and the end of what [`member`] makes.
pub fn members() -> (Key, Key) {
    let repo = RepoId::SYSTEM.0;
    (vec![NOTES, repo, b'm'], vec![NOTES, repo, b'm' + 1])
}

/// What [`member`] made.
pub fn parse_member(key: &[u8]) -> Option<PublicKey> {
    Some(PublicKey(key.get(3..)?.try_into().ok()?))
}

/// Where it is noted after which number an origin ends.
pub fn quarantine(repo: RepoId, origin: OriginId) -> Key {
    [&[NOTES, repo.0, b'q'], origin.0.as_slice()].concat()
}

/// The beginning and the end of what [`quarantine`] makes for a repository.
pub fn quarantines(repo: RepoId) -> (Key, Key) {
    (vec![NOTES, repo.0, b'q'], vec![NOTES, repo.0, b'q' + 1])
}

/// What [`quarantine`] made.
pub fn parse_quarantine(key: &[u8]) -> Option<OriginId> {
    Some(OriginId(key.get(3..)?.try_into().ok()?))
}

/// Where one of the two halves, 0 or 1, of the proof that an origin ends is.
pub fn evidence(repo: RepoId, origin: OriginId, half: u8) -> Key {
    [&[NOTES, repo.0, b'e'], origin.0.as_slice(), &[half]].concat()
}

/// Where a closing statement is, by the origin under which content is saved again.
pub fn closing(repo: RepoId, again: OriginId) -> Key {
    [&[NOTES, repo.0, b'k'], again.0.as_slice()].concat()
}

/// The beginning and the end of what [`closing`] makes for a repository.
pub fn closings(repo: RepoId) -> (Key, Key) {
    (vec![NOTES, repo.0, b'k'], vec![NOTES, repo.0, b'k' + 1])
}

/// Where it is noted that all content is saved again which a closing statement has ended.
pub fn saved_again(repo: RepoId, again: OriginId) -> Key {
    [&[NOTES, repo.0, b'f'], again.0.as_slice()].concat()
}

/// Where it is noted that content is saved again without what of others was seen and is not here.
pub fn goes_on_alone(repo: RepoId, again: OriginId) -> Key {
    [&[NOTES, repo.0, b'a'], again.0.as_slice()].concat()
}

/// Where it is noted when somebody said that the wall clock is right.
pub fn clock_is_right() -> Key {
    vec![NOTES, RepoId::SYSTEM.0, b'w']
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::hex;

    #[test]
    fn keys_stay_what_they_are_and_read_back() {
        let origin = OriginId([0xab; 16]);
        let key = journal(RepoId::MAIN, origin, Sequence(258));
        let expected = ["4a01", &"ab".repeat(16), "0000000000000102"].concat();
        assert_eq!(hex(&key), expected);
        assert_eq!(parse_journal(&key), Some((origin, Sequence(258))));
        assert_eq!(hex(&clock()), "520063");

        let public = PublicKey([0xcd; 32]);
        assert_eq!(hex(&member(&public)), ["52006d", &"cd".repeat(32)].concat());
        assert_eq!(parse_member(&member(&public)), Some(public));
        let key = quarantine(RepoId::MAIN, origin);
        assert_eq!(hex(&key), ["520171", &"ab".repeat(16)].concat());
        assert_eq!(parse_quarantine(&key), Some(origin));
        let key = evidence(RepoId::MAIN, origin, 1);
        assert_eq!(hex(&key), ["520165", &"ab".repeat(16), "01"].concat());
        let key = closing(RepoId::MAIN, origin);
        assert_eq!(hex(&key), ["52016b", &"ab".repeat(16)].concat());
        let (from, to) = closings(RepoId::MAIN);
        assert!(from < key && key < to);
        let key = saved_again(RepoId::MAIN, origin);
        assert_eq!(hex(&key), ["520166", &"ab".repeat(16)].concat());
        let key = goes_on_alone(RepoId::MAIN, origin);
        assert_eq!(hex(&key), ["520161", &"ab".repeat(16)].concat());
        assert_eq!(hex(&clock_is_right()), "520077");
        let (from, to) = notes();
        assert!(from < clock() && key < to);
    }

    #[test]
    fn the_records_of_an_origin_lie_together_in_order() {
        let (low, high) = (OriginId([1; 16]), OriginId([2; 16]));
        let (from, to) = journal_range(RepoId::SYSTEM);
        let keys = [
            from,
            journal(RepoId::SYSTEM, low, Sequence(1)),
            journal(RepoId::SYSTEM, low, Sequence(256)),
            journal(RepoId::SYSTEM, low, Sequence(u64::MAX)),
            journal_end(RepoId::SYSTEM, low),
            journal(RepoId::SYSTEM, high, Sequence(1)),
            to,
        ];
        assert!(keys.is_sorted());
    }
}
