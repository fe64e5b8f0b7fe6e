//! Taking an operation line apart: tokens and paths.
//!
//! A token ends at a blank, unless it begins with `"`: then it is a JSON string, blanks and all.

use crate::case::refusal::Refusal;

/// What is left of a line.
pub(crate) struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    pub(crate) fn new(line: &'a str) -> Words<'a> {
        Words { rest: line.trim() }
    }

    /// Takes the next token; `what` is how a message names it.
    pub(crate) fn next(&mut self, what: &'static str) -> Result<String, Refusal> {
        if self.rest.is_empty() {
            return Err(Refusal::Missing(what));
        }
        if self.rest.starts_with('"') {
            let mut strings = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
            let Some(Ok(token)) = strings.next() else {
                return Err(Refusal::BadString(self.rest.to_owned()));
            };
            let end = strings.byte_offset();
            let after = &self.rest[end..];
            if !after.is_empty() && !after.starts_with(char::is_whitespace) {
                return Err(Refusal::BadString(self.rest.to_owned()));
            }
            self.rest = after.trim_start();
            return Ok(token);
        }
        let end = self
            .rest
            .find(char::is_whitespace)
            .unwrap_or(self.rest.len());
        let (token, after) = self.rest.split_at(end);
        self.rest = after.trim_start();
        Ok(token.to_owned())
    }

    /// Takes the next token as a path.
    pub(crate) fn path(&mut self) -> Result<Path, Refusal> {
        Path::read(&self.next("a path")?)
    }

    /// Takes all that is left.
    pub(crate) fn all(&mut self, what: &'static str) -> Result<&'a str, Refusal> {
        if self.rest.is_empty() {
            return Err(Refusal::Missing(what));
        }
        Ok(std::mem::take(&mut self.rest))
    }

    /// Makes sure that nothing is left.
    pub(crate) fn end(&self) -> Result<(), Refusal> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Refusal::LeftOver(self.rest.to_owned()))
        }
    }
}

/// A path, element by element; none for the root.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) text: String,
    pub(crate) elements: Vec<String>,
}

impl Path {
    pub(crate) fn read(text: &str) -> Result<Path, Refusal> {
        let bad = || Refusal::BadPath(text.to_owned());
        let below_root = text.strip_prefix('/').ok_or_else(bad)?;
        let elements: Vec<String> = match below_root {
            "" => Vec::new(),
            some => some.split('/').map(str::to_owned).collect(),
        };
        if elements.iter().any(String::is_empty) {
            return Err(bad());
        }
        Ok(Path {
            text: text.to_owned(),
            elements,
        })
    }

    /// The path of the parent, and the last element; refused for the root.
    pub(crate) fn split_last(&self) -> Result<(Path, &str), Refusal> {
        let (last, parent) = self.elements.split_last().ok_or(Refusal::Root)?;
        let text = format!("/{}", parent.join("/"));
        Ok((
            Path {
                text,
                elements: parent.to_vec(),
            },
            last,
        ))
    }
}
