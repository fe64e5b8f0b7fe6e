//! Order keys: where a child stands among its siblings (M11).
//!
//! The fold only stores a key; the author computes it, strictly between the effective keys of the
//! two neighbours in its own view, ending in 4 bytes of its origin so that two authors do not
//! write the same one. This is fractional indexing over byte strings.

use std::fmt;
use std::sync::Arc;

use super::id::OriginId;
use super::limits::ORDER_KEY_BYTES_MAX;
use super::name::NodeName;

/// A written order key: 1 to [`ORDER_KEY_BYTES_MAX`] bytes when its author made it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey(Arc<[u8]>);

impl OrderKey {
    /// Takes bytes as a key, whatever they are: what an author wrote is what is stored.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A key of `author` strictly between two effective keys; no neighbour on a side leaves that
    /// side open. Nothing if none fits, or only one longer than [`ORDER_KEY_BYTES_MAX`].
    pub fn between(lower: Option<&[u8]>, upper: Option<&[u8]>, author: OriginId) -> Option<Self> {
        let mut key = match (lower.unwrap_or_default(), upper) {
            (lower, None) => above(lower),
            (lower, Some(upper)) => between(lower, upper)?,
        };
        key.extend_from_slice(&author.0[..4]);
        let fits = key.len() <= ORDER_KEY_BYTES_MAX
            && lower.is_none_or(|lower| lower < key.as_slice())
            && upper.is_none_or(|upper| key.as_slice() < upper);
        fits.then(|| Self(key.into()))
    }
}

impl fmt::Debug for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The key by which a child is listed: the one last written, or `0x80` and its name.
pub fn effective_key(written: Option<&OrderKey>, name: &NodeName) -> Vec<u8> {
    match written {
        Some(key) => key.as_bytes().to_vec(),
        None => {
            let mut key = Vec::with_capacity(1 + name.as_str().len());
            key.push(0x80);
            key.extend_from_slice(name.as_str().as_bytes());
            key
        }
    }
}

/// A prefix greater than `lower`, and not as great as can be, so that room is left.
fn above(lower: &[u8]) -> Vec<u8> {
    match lower.iter().position(|&byte| byte < 0xff) {
        None => [lower, &[0x80]].concat(),
        Some(i) => [&lower[..i], &[lower[i] + (0xff - lower[i]).div_ceil(2)]].concat(),
    }
}

/// A prefix of which every extension is less than `upper`; nothing if `upper` is all zeros.
fn below(upper: &[u8]) -> Option<Vec<u8>> {
    let i = upper.iter().position(|&byte| byte > 0)?;
    Some(match upper[i] {
        1 => [&upper[..i], &[0, 0x80]].concat(),
        byte => [&upper[..i], &[byte / 2]].concat(),
    })
}

fn between(lower: &[u8], upper: &[u8]) -> Option<Vec<u8>> {
    let shared = lower.iter().zip(upper).take_while(|(a, b)| a == b).count();
    let (common, rest_lower, rest_upper) = (&lower[..shared], &lower[shared..], &upper[shared..]);
    let tail = match (rest_lower.first(), rest_upper.first()) {
        (None, Some(_)) => below(rest_upper)?,
        (Some(&a), Some(&b)) if a < b => match b - a {
            1 => [&[a], above(&rest_lower[1..]).as_slice()].concat(),
            gap => vec![a + gap / 2],
        },
        _ => return None,
    };
    Some([common, &tail].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHOR: OriginId = OriginId(*b"authorauthorauth");

    #[test]
    fn a_key_lies_strictly_between_its_neighbours_and_ends_in_the_author() {
        type Bounds = (Option<&'static [u8]>, Option<&'static [u8]>);
        let cases: [Bounds; 9] = [
            (None, None),
            (Some(b"\x80a"), None),
            (None, Some(b"\x80a")),
            (Some(b"\x80a"), Some(b"\x80b")),
            (Some(b"\x80a"), Some(b"\x80a\x01")),
            (Some(b"\x80a"), Some(b"\x80ab")),
            (Some(b"\xff\xff"), None),
            (None, Some(b"\x00\x01")),
            (Some(b"\x80"), Some(b"\x81")),
        ];
        for (lower, upper) in cases {
            let key = OrderKey::between(lower, upper, AUTHOR).unwrap();
            assert!(
                lower.is_none_or(|lower| lower < key.as_bytes()),
                "{lower:?} {key:?}"
            );
            assert!(
                upper.is_none_or(|upper| key.as_bytes() < upper),
                "{key:?} {upper:?}"
            );
            assert!(key.as_bytes().ends_with(b"auth"));
        }
    }

    #[test]
    fn nothing_fits_between_equal_keys_or_below_zeros() {
        assert_eq!(
            OrderKey::between(Some(b"\x80a"), Some(b"\x80a"), AUTHOR),
            None
        );
        assert_eq!(OrderKey::between(None, Some(b"\0\0"), AUTHOR), None);
    }

    #[test]
    fn many_insertions_at_one_place_keep_their_order_until_they_are_refused() {
        for first in [true, false] {
            let (mut lower, mut upper) = (b"\x80a".to_vec(), b"\x80b".to_vec());
            let mut made = 0;
            while let Some(key) = OrderKey::between(Some(&lower), Some(&upper), AUTHOR) {
                assert!(lower.as_slice() < key.as_bytes() && key.as_bytes() < upper.as_slice());
                *if first { &mut upper } else { &mut lower } = key.as_bytes().to_vec();
                made += 1;
            }
            assert!(made > 300, "only {made} keys fitted");
        }
    }
}
