//! One call: its name, what it was given and what it gave back.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Its name.
    pub(crate) name: String,
    /// What it was given.
    pub(crate) arguments: Vec<Argument>,
    /// What it gave back; nothing if it never did.
    pub(crate) result: Option<Answer>,
}

/// What a call was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Argument {
    /// An open file: its number, and what it is a name for.
    File(i64, PathBuf),
    /// Texts, one or several.
    Bytes(Vec<u8>),
    /// A number.
    Number(i64),
    /// Flags and the like.
    Word(String),
}

/// What a call gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A number, and if it is an open file, what it is a name for.
    Done(i64, Option<PathBuf>),
    /// An error.
    Failed,
}

impl Call {
    /// The open file that it is about, and its name.
    pub(crate) fn file(&self) -> Option<(i64, &Path)> {
        match self.arguments.first() {
            Some(Argument::File(number, path)) => Some((*number, path)),
            _ => None,
        }
    }

    pub(crate) fn files(&self) -> Vec<(i64, PathBuf)> {
        let files = self.arguments.iter().filter_map(|argument| match argument {
            Argument::File(number, path) => Some((*number, path.clone())),
            _ => None,
        });
        files.collect()
    }

    /// The text that it was given as number `at`.
    pub(crate) fn bytes(&self, at: usize) -> Option<&[u8]> {
        let mut texts = self.arguments.iter().filter_map(|argument| match argument {
            Argument::Bytes(bytes) => Some(&bytes[..]),
            _ => None,
        });
        texts.nth(at)
    }

    pub(crate) fn number(&self, at: usize) -> Option<u64> {
        let mut numbers = self.arguments.iter().filter_map(|argument| match argument {
            Argument::Number(number) => Some(*number),
            _ => None,
        });
        numbers
            .nth(at)
            .and_then(|number| u64::try_from(number).ok())
    }

    pub(crate) fn flags(&self) -> String {
        let words = self.arguments.iter().filter_map(|argument| match argument {
            Argument::Word(word) => Some(word.as_str()),
            _ => None,
        });
        words.collect()
    }

    /// The path that it was given as number `at`, from the directory that stands before it.
    pub(crate) fn path(&self, at: usize) -> Option<PathBuf> {
        let mut from = PathBuf::new();
        let mut left = at;
        for argument in &self.arguments {
            match argument {
                Argument::File(_, path) => from.clone_from(path),
                Argument::Bytes(bytes) if left == 0 => {
                    return Some(from.join(OsStr::from_bytes(bytes)));
                }
                Argument::Bytes(_) => left -= 1,
                _ => {}
            }
        }
        None
    }

    /// The line that a process said with this call on its standard output.
    pub(crate) fn said(&self) -> Option<String> {
        match (self.name.as_str(), self.file()) {
            ("write", Some((1, _))) => Some(
                String::from_utf8_lossy(self.bytes(0)?)
                    .trim_end()
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
