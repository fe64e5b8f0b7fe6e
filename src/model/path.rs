//! Paths: how people name a node. The engine itself only ever uses ids (M3).

use std::fmt;
use std::str::FromStr;

use super::limits::PATH_DEPTH_MAX;
use super::name::{NameError, NodeName, split_reserved};

/// Why a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Paths begin with a slash.
    #[error("the path `{0}` does not begin with `/`")]
    NotAbsolute(String),
    /// One of its names is malformed.
    #[error("in the path `{path}`: {source}")]
    Name {
        /// The path.
        path: String,
        /// What is wrong.
        source: NameError,
    },
    /// More than [`PATH_DEPTH_MAX`] names.
    #[error("the path `{start}...` is {depth} names deep; at most {PATH_DEPTH_MAX} are allowed")]
    TooDeep {
        /// Its first characters.
        start: String,
        /// Its depth.
        depth: usize,
    },
}

/// One element of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathStep {
    /// The child that the plain name reaches.
    Plain(NodeName),
    /// The child of that name whose id begins with these hex digits, lower case (M10).
    Exact(NodeName, String),
}

impl fmt::Display for PathStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(name) => write!(f, "{name}"),
            Self::Exact(name, digits) => write!(f, "{name}~{digits}"),
        }
    }
}

/// A well-formed absolute path: `/`, or `/name/name`, where a name may carry `~` and at least 8
/// hex digits of a node's id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePath(Vec<PathStep>);

impl NodePath {
    /// The path of the root.
    pub fn root() -> Self {
        Self(Vec::new())
    }

    /// The elements, from the root down.
    pub fn steps(&self) -> &[PathStep] {
        &self.0
    }

    /// Whether this is the root's path.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path without its last element, and that element; nothing for the root.
    pub fn split_last(&self) -> Option<(NodePath, &PathStep)> {
        let (last, rest) = self.0.split_last()?;
        Some((Self(rest.to_vec()), last))
    }

    /// This path with one more element. The depth is not checked.
    #[must_use]
    pub fn join(&self, step: PathStep) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// Writes its text into a buffer, and gives what was written; nothing if it does not fit.
    pub(crate) fn write_text<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let mut end = 0;
        let mut write = |text: &str| {
            let to = buffer.get_mut(end..end + text.len())?;
            to.copy_from_slice(text.as_bytes());
            end += text.len();
            Some(())
        };
        if self.is_root() {
            write("/")?;
        }
        for step in &self.0 {
            write("/")?;
            match step {
                PathStep::Plain(name) => write(name.as_str())?,
                PathStep::Exact(name, digits) => {
                    write(name.as_str())?;
                    write("~")?;
                    write(digits)?;
                }
            }
        }
        buffer.get(..end)
    }

    /// Builds a path from its elements. The depth is not checked.
    pub fn from_steps(steps: Vec<PathStep>) -> Self {
        Self(steps)
    }
}

impl FromStr for NodePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let shown = || text.chars().take(300).collect::<String>();
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PathError::NotAbsolute(shown()));
        };
        if rest.is_empty() {
            return Ok(Self::root());
        }
        let depth = rest.split('/').count();
        if depth > PATH_DEPTH_MAX {
            return Err(PathError::TooDeep {
                start: text.chars().take(40).collect(),
                depth,
            });
        }
        let name = |text| {
            NodeName::new(text).map_err(|source| PathError::Name {
                path: shown(),
                source,
            })
        };
        let steps = rest
            .split('/')
            .map(|element| match split_reserved(element) {
                Some((plain, digits)) if digits.len() <= 32 => {
                    Ok(PathStep::Exact(name(plain)?, digits.to_ascii_lowercase()))
                }
                _ => Ok(PathStep::Plain(name(element)?)),
            })
            .collect::<Result<_, PathError>>()?;
        Ok(Self(steps))
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|step| write!(f, "/{step}"))
    }
}

impl fmt::Debug for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_print_as_they_were_written() {
        for text in ["/", "/a", "/a/b c/é", "/a~01234567/b"] {
            let path: NodePath = text.parse().unwrap();
            assert_eq!(path.to_string(), text);
            let mut buffer = vec![0; text.len()];
            assert_eq!(path.write_text(&mut buffer), Some(text.as_bytes()));
            assert_eq!(path.write_text(&mut buffer[1..]), None);
        }
    }

    #[test]
    fn malformed_paths_name_themselves() {
        for text in [
            "", "a", "a/b", "//", "/a/", "/a//b", "/.", "/a/..", "/a\u{7}",
        ] {
            let error = text.parse::<NodePath>().unwrap_err();
            assert!(!error.to_string().is_empty(), "{text:?}");
        }
        let deep = "/a".repeat(513);
        assert!(matches!(
            deep.parse::<NodePath>(),
            Err(PathError::TooDeep { depth: 513, .. })
        ));
        assert!("/a".repeat(512).parse::<NodePath>().is_ok());
    }
}
