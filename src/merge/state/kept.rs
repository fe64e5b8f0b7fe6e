//! Keys of records in memory. Short ones, such as those of nodes and heads, stand in place, so that
//! neither keeping nor comparing them goes elsewhere.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Most bytes that stand in place.
const SHORT_BYTES: usize = 22;

/// A key. It compares as its bytes do.
#[derive(Clone)]
pub(super) enum Kept {
    /// So many of these bytes.
    Short(u8, [u8; SHORT_BYTES]),
    Long(Arc<[u8]>),
}

impl From<&[u8]> for Kept {
    fn from(key: &[u8]) -> Self {
        match u8::try_from(key.len()) {
            Ok(length) if key.len() <= SHORT_BYTES => {
                let mut bytes = [0; SHORT_BYTES];
                bytes[..key.len()].copy_from_slice(key);
                Self::Short(length, bytes)
            }
            _ => Self::Long(key.into()),
        }
    }
}

impl Deref for Kept {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl Borrow<[u8]> for Kept {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Kept {}

impl Hash for Kept {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.deref().hash(state);
    }
}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> Ordering {
        self.deref().cmp(other)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_memory_compares_as_its_bytes_do() {
        let keys: Vec<Vec<u8>> = (0..40)
            .flat_map(|length| [vec![0; length], vec![7; length], vec![255; length]])
            .collect();
        for a in &keys {
            let kept = Kept::from(a.as_slice());
            assert_eq!(*kept, **a);
            for b in &keys {
                assert_eq!(kept.cmp(&Kept::from(b.as_slice())), a.cmp(b));
            }
        }
    }
}
