//! Names of nodes and of properties, and what is refused as one.

use std::fmt;
use std::sync::Arc;

use unicode_normalization::is_nfc;

use super::limits::NAME_BYTES_MAX;

/// Why a text is not a name. Each names the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing between two slashes, or an empty property name.
    #[error("a name must not be empty")]
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("the name `{start}...` has {bytes} bytes; at most {NAME_BYTES_MAX} are allowed")]
    TooLong {
        /// Its first characters.
        start: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// `.` or `..`.
    #[error("`{0}` is not allowed as a name")]
    Dots(String),
    /// A slash in the name of a node.
    #[error("the name `{0}` contains a `/`")]
    Slash(String),
    /// A control character.
    #[error("the name {0:?} contains a control character")]
    Control(String),
    /// Not in Unicode normalisation form C.
    #[error("the name `{0}` is not in Unicode normalisation form C (NFC)")]
    NotNfc(String),
    /// Ends in `~` and 8 or more hex digits, the form that tells clashing names apart (M10).
    #[error("the name `{0}` ends in `~` and 8 or more hex digits, which is reserved")]
    Reserved(String),
}

fn check_common(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong {
            start: text.chars().take(40).collect(),
            bytes: text.len(),
        });
    }
    if text.chars().any(char::is_control) {
        return Err(NameError::Control(text.into()));
    }
    if !is_nfc(text) {
        return Err(NameError::NotNfc(text.into()));
    }
    Ok(())
}

/// Splits `name~hex` with 8 to 32 or more hex digits into the name and the digits.
pub(crate) fn split_reserved(text: &str) -> Option<(&str, &str)> {
    let (name, digits) = text.rsplit_once('~')?;
    (digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_hexdigit())).then_some((name, digits))
}

/// The name of a node: 1 to 255 bytes of NFC text without `/` or control characters, not `.` or
/// `..`, not ending in `~` and 8 or more hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// Checks a text as a node's name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check_common(text)?;
        if text == "." || text == ".." {
            return Err(NameError::Dots(text.into()));
        }
        if text.contains('/') {
            return Err(NameError::Slash(text.into()));
        }
        if split_reserved(text).is_some() {
            return Err(NameError::Reserved(text.into()));
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a property: 1 to 255 bytes of NFC text without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PropertyName(Arc<str>);

impl PropertyName {
    /// Checks a text as a property's name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check_common(text)?;
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_impls {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    };
}
text_impls!(NodeName);
text_impls!(PropertyName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_malformed_name_gets_its_own_error() {
        let long = "n".repeat(256);
        type Expected = fn(&NameError) -> bool;
        let cases: [(&str, Expected); 8] = [
            ("", |e| matches!(e, NameError::Empty)),
            (".", |e| matches!(e, NameError::Dots(_))),
            ("..", |e| matches!(e, NameError::Dots(_))),
            ("a/b", |e| matches!(e, NameError::Slash(_))),
            ("a\0b", |e| matches!(e, NameError::Control(_))),
            ("e\u{301}", |e| matches!(e, NameError::NotNfc(_))),
            (&long, |e| {
                matches!(e, NameError::TooLong { bytes: 256, .. })
            }),
            ("x~0123abcd", |e| matches!(e, NameError::Reserved(_))),
        ];
        for (text, expected) in cases {
            let error = NodeName::new(text).unwrap_err();
            assert!(expected(&error), "{text:?}: {error}");
        }
        for text in [
            "a",
            "é",
            "x~0123abc",
            "x~0123abcg",
            &"n".repeat(255),
            "...",
            "@types",
        ] {
            assert_eq!(NodeName::new(text).unwrap().as_str(), text);
        }
        assert!(PropertyName::new("xml/lang").is_ok());
    }
}
