//! The witness file: a mark beside the store that outlives a lost tail of it.
//!
//! ```text
//! offset  bytes
//!      0      8  "LVRTMARK"
//!      8      4  version: 1, big-endian
//!     12      n  the mark, up to the end of the file but for
//! 12 + n     32  BLAKE3 of all before
//! ```

use super::directory::Directory;
use crate::storage::StorageError;

/// The name of the file.
pub(super) const NAME: &str = "witness";

const HEADER: &[u8; 12] = b"LVRTMARK\0\0\0\x01";

/// Replaces the mark.
pub(super) fn write(directory: &Directory, mark: &[u8]) -> Result<(), StorageError> {
    let mut bytes = [HEADER, mark].concat();
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    directory.replace(NAME, &bytes)
}

/// Reads the mark, if there is one.
///
/// # Errors
/// If it can not be read, or is not what was written.
pub(super) fn read(directory: &Directory) -> Result<Option<Vec<u8>>, StorageError> {
    let Some(bytes) = directory.read(NAME)? else {
        return Ok(None);
    };
    let mark = decode(&bytes).ok_or_else(|| {
        StorageError::Damaged(format!(
            "{}: the mark in it is not the one that was written",
            directory.join(NAME).display()
        ))
    })?;
    Ok(Some(mark.to_vec()))
}

fn decode(bytes: &[u8]) -> Option<&[u8]> {
    let (written, hash) = bytes.split_last_chunk::<32>()?;
    if blake3::hash(written) != blake3::Hash::from(*hash) {
        return None;
    }
    written.strip_prefix(HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_witness_is_not_read() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        assert_eq!(read(&directory).unwrap(), None);
        write(&directory, b"41").unwrap();
        write(&directory, b"42").unwrap();
        assert_eq!(read(&directory).unwrap(), Some(b"42".to_vec()));
        let whole = directory.read(NAME).unwrap().unwrap();
        assert_eq!(whole[..14], *b"LVRTMARK\0\0\0\x0142");
        for length in 0..whole.len() {
            directory.replace(NAME, &whole[..length]).unwrap();
            assert!(matches!(read(&directory), Err(StorageError::Damaged(_))));
        }
    }
}
