//! Pieces of the mirrors: ids as byte strings, and lists with a bound.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_bytes::ByteArray;

/// A byte string of a fixed length.
pub(super) type Fixed<const N: usize> = ByteArray<N>;

/// Mirrors an id.
pub(super) fn fixed<const N: usize>(bytes: [u8; N]) -> Fixed<N> {
    ByteArray::new(bytes)
}

/// The next element of an array, which must be there.
pub(super) fn element<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    seq: &mut A,
) -> Result<T, A::Error> {
    seq.next_element()?
        .ok_or_else(|| Error::custom("an array is too short"))
}

/// The elements of an array, at most `max` of them, each made by `item` from its mirror.
pub(super) struct Bounded<T, U, F> {
    pub(super) what: &'static str,
    pub(super) max: usize,
    pub(super) item: F,
    pub(super) types: PhantomData<(T, U)>,
}

impl<'de, T, U, F> DeserializeSeed<'de> for Bounded<T, U, F>
where
    T: Deserialize<'de>,
    F: FnMut(T) -> Result<U, String>,
{
    type Value = Vec<U>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<U>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T, U, F> Visitor<'de> for Bounded<T, U, F>
where
    T: Deserialize<'de>,
    F: FnMut(T) -> Result<U, String>,
{
    type Value = Vec<U>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} {}", self.max, self.what)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Vec<U>, A::Error> {
        // One byte can announce a long array: room is made as elements really come.
        let announced = seq.size_hint().unwrap_or(0);
        if announced > self.max {
            return Err(Error::custom(format_args!(
                "{announced} {}; at most {} are allowed",
                self.what, self.max
            )));
        }
        let mut items = Vec::with_capacity(announced.min(64));
        while let Some(mirror) = seq.next_element()? {
            if items.len() == self.max {
                return Err(Error::custom(format_args!(
                    "more than {} {}",
                    self.max, self.what
                )));
            }
            items.push((self.item)(mirror).map_err(Error::custom)?);
        }
        Ok(items)
    }
}

/// Reads an array as [`Bounded`] does.
pub(super) fn bounded<'de, T, U, D>(
    deserializer: D,
    what: &'static str,
    max: usize,
    item: impl FnMut(T) -> Result<U, String>,
) -> Result<Vec<U>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Bounded {
        what,
        max,
        item,
        types: PhantomData,
    }
    .deserialize(deserializer)
}
