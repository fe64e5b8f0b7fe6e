//! How keys and values lie in sled, byte by byte. Numbers are big-endian.
//!
//! ```text
//! key                               value
//! ‹key›                             00 ‹value›                        up to 4,000 bytes
//! ‹key›                             01 ‹generation 1› ‹length 4› ‹chunks 2› ‹checksum 16›
//! ‹key›                             02 ‹values›                       a pack: see `pack.rs`
//! ‹key›                             03                                nothing
//! fe ‹key› ‹generation 1› ‹index 2› ‹4,000 bytes of the value, the last chunk what is left›
//! fe 00 00 ‹0 to 31›                ‹nothing›                         the fence
//! ff 00                             "leveret store" 00 02             the format
//! ff 01 ‹key›                       ‹nothing›                         chunks under way
//! ```
//!
//! A large value is a *head* and its chunks. The checksum is the first half of the BLAKE3 hash of
//! the value. A value that replaces another large one takes the other generation (0 or 1), so
//! that the old head finds its own chunks until the new one is in its place.

use super::pack::Pack;
use crate::storage::TABLE_END;

/// Longest value that is stored beside its key, and bytes of a chunk. sled's pages hold up to 17
/// entries and are rewritten as a whole; beyond some 64 KiB an entry is not safe with it at all.
pub(super) const CHUNK_BYTES: usize = 4000;

/// The format and its version.
pub(super) const FORMAT: &[u8] = b"leveret store\x00\x02";

/// The one before, which had no packs. All of it is part of this one.
pub(super) const FORMAT_UNPACKED: &[u8] = b"leveret store\x00\x01";

/// Where the format stands: the first record of every store.
pub(super) const FORMAT_KEY: &[u8] = &[0xff, 0];

/// Where the notes of chunks under way begin and end.
pub(super) const UNDER_WAY: (&[u8], &[u8]) = (&[0xff, 1], &[0xff, 2]);

/// Stand between the callers' keys and the chunks: more than two of sled's pages hold.
///
/// They are shorter than the key of any chunk.
pub(super) const FENCE: [[u8; 4]; 32] = {
    let mut fence = [[TABLE_END, 0, 0, 0]; 32];
    let mut at = 0;
    while at < 32 {
        fence[at][3] = at as u8;
        at += 1;
    }
    fence
};

const INLINE: u8 = 0;
const HEAD: u8 = 1;
pub(super) const PACK: u8 = 2;
const NOTHING: u8 = 3;
const HEAD_BYTES: usize = 24;

/// What stands under a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stored<'a> {
    Inline(&'a [u8]),
    Large(Head),
    /// The values of the key and of those that follow.
    Pack(Pack<'a>),
    /// As if nothing stood there, but for the pack before it.
    Nothing,
}

/// What stands under the key of a large value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) generation: u8,
    pub(super) length: u32,
    pub(super) chunks: u16,
    checksum: [u8; 16],
}

fn checksum(value: &[u8]) -> [u8; 16] {
    let hash = blake3::hash(value);
    let (first, _) = hash
        .as_bytes()
        .split_first_chunk()
        .expect("a hash has 32 bytes");
    *first
}

impl Head {
    pub(super) fn new(value: &[u8], generation: u8) -> Self {
        let length = u32::try_from(value.len()).expect("a value has at most 64 MiB");
        let chunks = value.len().div_ceil(CHUNK_BYTES);
        Self {
            generation,
            length,
            chunks: u16::try_from(chunks).expect("64 MiB are fewer than 65,536 chunks"),
            checksum: checksum(value),
        }
    }

    /// The generation of a value that replaces this one.
    pub(super) fn next_generation(&self) -> u8 {
        self.generation ^ 1
    }

    pub(super) fn matches(&self, value: &[u8]) -> bool {
        value.len() == self.length as usize && checksum(value) == self.checksum
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend([HEAD, self.generation]);
        bytes.extend(self.length.to_be_bytes());
        bytes.extend(self.chunks.to_be_bytes());
        bytes.extend(self.checksum);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[HEAD, generation], rest) = bytes.split_first_chunk()? else {
            return None;
        };
        let (length, rest) = rest.split_first_chunk()?;
        let (chunks, rest) = rest.split_first_chunk()?;
        let head = Self {
            generation,
            length: u32::from_be_bytes(*length),
            chunks: u16::from_be_bytes(*chunks),
            checksum: rest.try_into().ok()?,
        };
        let whole = (head.length as usize).div_ceil(CHUNK_BYTES) == usize::from(head.chunks);
        (generation < 2 && whole).then_some(head)
    }
}

/// What is stored beside its key.
pub(super) fn encode_inline(value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + value.len());
    bytes.push(INLINE);
    bytes.extend_from_slice(value);
    bytes
}

/// What stands where a pack has a value that was removed.
pub(super) fn encode_nothing() -> Vec<u8> {
    vec![NOTHING]
}

/// What stands under a key; nothing if it is none of the above.
pub(super) fn decode<'a>(key: &'a [u8], bytes: &'a [u8]) -> Option<Stored<'a>> {
    match bytes.split_first()? {
        (&INLINE, value) if value.len() <= CHUNK_BYTES => Some(Stored::Inline(value)),
        (&HEAD, _) => Head::decode(bytes).map(Stored::Large),
        (&PACK, values) => Pack::decode(key, values).map(Stored::Pack),
        (&NOTHING, []) => Some(Stored::Nothing),
        _ => None,
    }
}

/// The head in what stood under a key, if it was one.
pub(super) fn head_in(old: Option<&[u8]>) -> Option<Head> {
    Head::decode(old?)
}

/// Where a chunk stands.
pub(super) fn chunk_key(key: &[u8], generation: u8, index: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 4);
    bytes.push(TABLE_END);
    bytes.extend_from_slice(key);
    bytes.push(generation);
    bytes.extend(index.to_be_bytes());
    bytes
}

/// A range that holds all chunks of one generation of a key, and maybe some of longer keys.
pub(super) fn chunk_range(key: &[u8], generation: u8) -> (Vec<u8>, Vec<u8>) {
    let mut to = chunk_key(key, generation, u16::MAX);
    to.push(0);
    (chunk_key(key, generation, 0), to)
}

/// The index in the key of a chunk that came from [`chunk_range`]; nothing if it is a longer key's.
pub(super) fn chunk_index(chunk_key: &[u8], key: &[u8]) -> Option<u16> {
    let (rest, index) = chunk_key.split_last_chunk()?;
    (rest.len() == key.len() + 2).then_some(u16::from_be_bytes(*index))
}

/// Where it is noted that chunks of a key are under way.
pub(super) fn under_way_key(key: &[u8]) -> Vec<u8> {
    [UNDER_WAY.0, key].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_head_are_these() {
        let head = Head::new(&[7; 4001], 1);
        let bytes = head.encode();
        assert_eq!(bytes[..8], [1, 1, 0, 0, 0x0f, 0xa1, 0, 2]);
        assert_eq!(bytes[8..], blake3::hash(&[7; 4001]).as_bytes()[..16]);
        assert_eq!(decode(b"a", &bytes), Some(Stored::Large(head)));
        assert_eq!(chunk_key(b"ab", 1, 258), [0xfe, b'a', b'b', 1, 1, 2]);
    }

    #[test]
    fn what_is_no_value_is_not_taken_for_one() {
        let head = Head::new(&[7; 4001], 1).encode();
        assert_eq!(decode(b"a", &[]), None);
        assert_eq!(decode(b"a", &[4, 3]), None);
        assert_eq!(decode(b"a", &head[..head.len() - 1]), None);
        let mut wrong = head;
        wrong[7] = 3;
        assert_eq!(decode(b"a", &wrong), None);
    }

    #[test]
    fn the_fence_stands_between_the_callers_keys_and_the_chunks() {
        let first = FENCE[0].to_vec();
        let last = FENCE[FENCE.len() - 1].to_vec();
        assert!(FENCE.is_sorted());
        assert!(first > vec![TABLE_END - 1; crate::storage::KEY_MAX_BYTES]);
        assert!(last < chunk_key(b"\x01", 0, 0));
        assert!(last.len() < chunk_key(b"\0", 0, 0).len());
    }

    #[test]
    fn the_chunks_of_a_longer_key_are_told_apart() {
        let (from, to) = chunk_range(b"a", 1);
        let longer = chunk_key(&[b'a', 1, 5], 1, 0);
        assert!(from < longer && longer < to);
        assert_eq!(chunk_index(&longer, b"a"), None);
        assert_eq!(chunk_index(&chunk_key(b"a", 1, 9), b"a"), Some(9));
    }
}
