//! Operation lines: the text that `leveret apply` takes and that merge cases are written in.
//!
//! One operation a line; `---` alone on a line starts the next save. Empty lines and lines that
//! begin with `#` are skipped. Words are separated by blanks; a path or name that begins with `"`
//! is a JSON string, and so can hold blanks. Paths are resolved later, one operation after the
//! other, in the author's own view.

use super::json::{JsonError, parse_value};
use super::name::{NameError, PropertyName};
use super::path::{NodePath, PathError, PathStep};
use super::value::Value;

/// An operation as people write it, in terms of paths.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PathOperation {
    /// `add PATH`
    Add(NodePath),
    /// `add_unique PATH`
    AddUnique(NodePath),
    /// `remove PATH`
    Remove(NodePath),
    /// `move PATH NEWPATH`
    Move(NodePath, NodePath),
    /// `set PATH NAME JSON`
    Set(NodePath, PropertyName, Value),
    /// `unset PATH NAME`
    Unset(NodePath, PropertyName),
    /// `inc PATH NAME NUMBER`
    Inc(NodePath, PropertyName, i64),
    /// `order PATH first|last|before NAME|after NAME`
    Order(NodePath, Place),
}

/// Where `order` puts a node among its siblings.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Before all of them.
    First,
    /// After all of them.
    Last,
    /// Right before this sibling.
    Before(PathStep),
    /// Right after this sibling.
    After(PathStep),
}

/// One save of a script.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ScriptSave {
    /// Its operations, each with its line number, from 1.
    pub operations: Vec<(usize, PathOperation)>,
}

/// Why a line is not an operation.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: LineError,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The first word is not an operation.
    #[error("`{0}` is not an operation")]
    Unknown(String),
    /// A word is missing, or there is one too many.
    #[error("expected `{0}`")]
    Usage(&'static str),
    /// A word begins with `"` and is no JSON string.
    #[error("{0} is not a JSON string")]
    Quoted(String),
    /// A malformed path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A malformed name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A malformed value.
    #[error(transparent)]
    Value(#[from] JsonError),
    /// The number of `inc` is not a 64-bit integer.
    #[error("`{0}` is not a 64-bit integer")]
    Number(String),
}

/// Reads a whole script. Saves without operations are left out.
///
/// # Errors
/// The first line that is wrong.
pub fn parse_script(text: &str) -> Result<Vec<ScriptSave>, ScriptError> {
    let mut saves = vec![ScriptSave::default()];
    for (i, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if trimmed == "---" {
            saves.push(ScriptSave::default());
            continue;
        }
        let operation = parse_line(trimmed).map_err(|reason| ScriptError {
            line: i + 1,
            reason,
        })?;
        saves
            .last_mut()
            .expect("there is always a save")
            .operations
            .push((i + 1, operation));
    }
    saves.retain(|save| !save.operations.is_empty());
    Ok(saves)
}

/// Reads one operation.
///
/// # Errors
/// What is wrong with it.
pub fn parse_line(line: &str) -> Result<PathOperation, LineError> {
    let mut words = Words { rest: line.trim() };
    let verb = words.next_word()?.unwrap_or_default();
    let operation = match verb.as_str() {
        "add" => PathOperation::Add(words.path("add PATH")?),
        "add_unique" => PathOperation::AddUnique(words.path("add_unique PATH")?),
        "remove" => PathOperation::Remove(words.path("remove PATH")?),
        "move" => {
            let usage = "move PATH NEWPATH";
            PathOperation::Move(words.path(usage)?, words.path(usage)?)
        }
        "set" => {
            let usage = "set PATH NAME JSON";
            let (path, name) = (words.path(usage)?, words.property(usage)?);
            let json = std::mem::take(&mut words.rest).trim();
            if json.is_empty() {
                return Err(LineError::Usage(usage));
            }
            PathOperation::Set(path, name, parse_value(json)?)
        }
        "unset" => {
            let usage = "unset PATH NAME";
            PathOperation::Unset(words.path(usage)?, words.property(usage)?)
        }
        "inc" => {
            let usage = "inc PATH NAME NUMBER";
            let (path, name) = (words.path(usage)?, words.property(usage)?);
            let number = words.word(usage)?;
            let delta = number.parse().map_err(|_| LineError::Number(number))?;
            PathOperation::Inc(path, name, delta)
        }
        "order" => {
            let usage = "order PATH first|last|before NAME|after NAME";
            let path = words.path(usage)?;
            let place = match words.word(usage)?.as_str() {
                "first" => Place::First,
                "last" => Place::Last,
                "before" => Place::Before(words.sibling(usage)?),
                "after" => Place::After(words.sibling(usage)?),
                _ => return Err(LineError::Usage(usage)),
            };
            PathOperation::Order(path, place)
        }
        other => return Err(LineError::Unknown(other.chars().take(40).collect())),
    };
    match words.rest.trim() {
        "" => Ok(operation),
        _ => Err(LineError::Usage(match operation {
            PathOperation::Add(_) => "add PATH",
            PathOperation::AddUnique(_) => "add_unique PATH",
            PathOperation::Remove(_) => "remove PATH",
            PathOperation::Move(..) => "move PATH NEWPATH",
            PathOperation::Set(..) => "set PATH NAME JSON",
            PathOperation::Unset(..) => "unset PATH NAME",
            PathOperation::Inc(..) => "inc PATH NAME NUMBER",
            PathOperation::Order(..) => "order PATH first|last|before NAME|after NAME",
        })),
    }
}

/// Reads the name of a sibling, which may carry `~` and hex digits.
///
/// # Errors
/// A malformed name.
pub fn parse_sibling(text: &str) -> Result<PathStep, PathError> {
    let path: NodePath = format!("/{text}").parse()?;
    match path.steps() {
        [step] => Ok(step.clone()),
        _ => Err(PathError::Name {
            path: text.to_owned(),
            source: NameError::Slash(text.to_owned()),
        }),
    }
}

struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    fn next_word(&mut self) -> Result<Option<String>, LineError> {
        let rest = self.rest.trim_start();
        if rest.is_empty() {
            return Ok(None);
        }
        if rest.starts_with('"') {
            let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let word = match stream.next() {
                Some(Ok(word)) => word,
                _ => return Err(LineError::Quoted(rest.chars().take(60).collect())),
            };
            self.rest = &rest[stream.byte_offset()..];
            return Ok(Some(word));
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        self.rest = after;
        Ok(Some(word.to_owned()))
    }

    fn word(&mut self, usage: &'static str) -> Result<String, LineError> {
        self.next_word()?.ok_or(LineError::Usage(usage))
    }

    fn path(&mut self, usage: &'static str) -> Result<NodePath, LineError> {
        Ok(self.word(usage)?.parse()?)
    }

    fn property(&mut self, usage: &'static str) -> Result<PropertyName, LineError> {
        Ok(PropertyName::new(&self.word(usage)?)?)
    }

    fn sibling(&mut self, usage: &'static str) -> Result<PathStep, LineError> {
        Ok(parse_sibling(&self.word(usage)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_reads_and_saves_are_split() {
        let script = "\n# a comment\nadd /a\nadd_unique /a/q\nset /a x [1, 2]\nset \"/a b\" \"my x\" \
                      \"y z\"\nunset /a x\ninc /a n -4\n---\n---\nmove /a /b/a\norder /b/a after c~01234567\nremove /b\n";
        let saves = parse_script(script).unwrap();
        assert_eq!(saves.len(), 2);
        assert_eq!(saves[0].operations.len(), 6);
        assert_eq!(saves[1].operations[0].0, 11);
        assert!(matches!(
            &saves[0].operations[3].1,
            PathOperation::Set(path, name, Value::Str(text))
                if path.to_string() == "/a b" && name.as_str() == "my x" && &**text == "y z"
        ));
    }

    #[test]
    fn a_bad_line_is_named_with_its_number() {
        for (line, part) in [
            ("ad /a", "`ad`"),
            ("add", "add PATH"),
            ("add /a b", "add PATH"),
            ("add a", "`a`"),
            ("set /a x", "set PATH NAME JSON"),
            ("set /a x {", "JSON"),
            ("inc /a n 1.5", "`1.5`"),
            ("order /a middle", "order PATH"),
            ("order /a before b/c", "`b/c`"),
            ("add \"/a", "JSON string"),
        ] {
            let error = parse_script(&format!("add /ok\n{line}\n"))
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("line 2: ") && error.contains(part),
                "{line}: {error}"
            );
        }
    }
}
