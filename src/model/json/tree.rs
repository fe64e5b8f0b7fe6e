//! Trees as JSON: a node is an object; object members are its children, the others its properties.
//!
//! Where a property and a child share a name, the property is written `@name`; a name that itself
//! begins with `@` gets one more, and so does a property named like one of the three value tags. In
//! a node's object the properties come first, by name, then the children, in order. Both the reader and the
//! writer work event by event, so a tree of any size passes through in memory that grows only with
//! its depth and the width of its open nodes.

use std::collections::{BTreeSet, VecDeque};
use std::io::Read;

use json_event_parser::{JsonParseError, ReaderJsonParser};

use super::{IntoOwned, JsonError, Owned, read_value, tagged, write_string, write_value};
use crate::model::limits::PATH_DEPTH_MAX;
use crate::model::name::{NodeName, PropertyName};
use crate::model::value::Value;

/// What a tree file says next.
#[derive(Debug, Clone, PartialEq)]
pub enum TreeItem {
    /// A child of the open node begins, and is now the open node.
    Enter(NodeName),
    /// A property of the open node.
    Property(PropertyName, Value),
    /// The open node ends. The last one ends the tree.
    Leave,
}

/// Reads a tree, item by item.
pub struct TreeReader<R: Read> {
    parser: ReaderJsonParser<R>,
    waiting: VecDeque<Owned>,
    open: Vec<Open>,
    started: bool,
    ended: bool,
}

struct Open {
    name: String,
    members: BTreeSet<String>,
}

impl<R: Read> TreeReader<R> {
    /// A reader at the beginning of `input`, which should be buffered.
    pub fn new(input: R) -> Self {
        Self {
            parser: ReaderJsonParser::new(input),
            waiting: VecDeque::new(),
            open: Vec::new(),
            started: false,
            ended: false,
        }
    }

    /// The next item; nothing after the end.
    ///
    /// # Errors
    /// What is wrong, and where. The reader is of no use after an error.
    pub fn next_item(&mut self) -> Result<Option<TreeItem>, JsonError> {
        if self.ended {
            return Ok(None);
        }
        if !self.started {
            if self.event()? != Owned::StartObject {
                return Err(JsonError::NotATree);
            }
            self.started = true;
            self.open.push(Open {
                name: String::new(),
                members: BTreeSet::new(),
            });
        }
        match self.event()? {
            Owned::EndObject => {
                self.open.pop();
                if self.open.is_empty() {
                    self.ended = true;
                    if self.event()? != Owned::Eof {
                        return Err(JsonError::Syntax("something follows the tree".into()));
                    }
                }
                Ok(Some(TreeItem::Leave))
            }
            Owned::Key(key) => self.member(key).map(Some),
            _ => Err(JsonError::Syntax("a member was expected".into())),
        }
    }

    fn member(&mut self, key: String) -> Result<TreeItem, JsonError> {
        let open = self
            .open
            .last_mut()
            .expect("a member comes inside an open node");
        if !open.members.insert(key.clone()) {
            return Err(JsonError::Duplicate {
                name: key,
                path: self.path(),
            });
        }
        let first = self.event()?;
        if first == Owned::StartObject && !self.is_tagged(&key)? {
            let name = NodeName::new(unescape(&key)).map_err(|error| self.at(error.into()))?;
            if self.open.len() > PATH_DEPTH_MAX {
                let path = self.path().chars().take(60).collect();
                return Err(JsonError::TooDeep { path });
            }
            self.open.push(Open {
                name: key,
                members: BTreeSet::new(),
            });
            return Ok(TreeItem::Enter(name));
        }
        let name = PropertyName::new(unescape(&key)).map_err(|error| self.at(error.into()))?;
        let value = {
            let mut next = || Self::pull(&mut self.waiting, &mut self.parser);
            read_value(first, &mut next)
        };
        match value {
            Ok(value) => Ok(TreeItem::Property(name, value)),
            Err(error) => {
                self.open.push(Open {
                    name: key,
                    members: BTreeSet::new(),
                });
                Err(self.at(error))
            }
        }
    }

    /// Whether the object just begun is a tagged value. Looks ahead, consumes nothing.
    fn is_tagged(&mut self, key: &str) -> Result<bool, JsonError> {
        let Owned::Key(member) = self.peek(0)? else {
            return Ok(false);
        };
        if !matches!(member.as_str(), "$bytes" | "$time" | "$ref") {
            return Ok(false);
        }
        let is_text = matches!(self.peek(1)?, Owned::String(_));
        if self.peek(1)? == Owned::StartObject {
            return Ok(false); // a child that happens to have that name
        }
        if is_text && self.peek(2)? == Owned::EndObject {
            return Ok(tagged(&member, "").is_ok() || !member.is_empty());
        }
        let path = format!("{}/{key}", self.path().trim_end_matches('/'));
        Err(JsonError::Ambiguous { path, member })
    }

    fn at(&self, error: JsonError) -> JsonError {
        match error {
            JsonError::Syntax(_) => error,
            _ => JsonError::At {
                path: self.path(),
                source: Box::new(error),
            },
        }
    }

    fn path(&self) -> String {
        let names: Vec<&str> = self
            .open
            .iter()
            .skip(1)
            .map(|open| open.name.as_str())
            .collect();
        format!("/{}", names.join("/"))
    }

    fn event(&mut self) -> Result<Owned, JsonError> {
        Self::pull(&mut self.waiting, &mut self.parser)
    }

    fn peek(&mut self, ahead: usize) -> Result<Owned, JsonError> {
        while self.waiting.len() <= ahead {
            let event = Self::parse(&mut self.parser)?;
            self.waiting.push_back(event);
        }
        Ok(self.waiting[ahead].clone())
    }

    fn pull(
        waiting: &mut VecDeque<Owned>,
        parser: &mut ReaderJsonParser<R>,
    ) -> Result<Owned, JsonError> {
        match waiting.pop_front() {
            Some(event) => Ok(event),
            None => Self::parse(parser),
        }
    }

    fn parse(parser: &mut ReaderJsonParser<R>) -> Result<Owned, JsonError> {
        match parser.parse_next() {
            Ok(event) => Ok(event.into_owned()),
            Err(JsonParseError::Io(error)) => Err(JsonError::Syntax(error.to_string())),
            Err(JsonParseError::Syntax(error)) => Err(JsonError::Syntax(error.to_string())),
        }
    }
}

/// Writes a tree, item by item, into a text that the caller may drain between calls.
pub struct TreeWriter {
    out: String,
    open: Vec<bool>,
    pretty: bool,
}

impl TreeWriter {
    /// A writer whose root object is open. `pretty` puts each member on a line of its own.
    pub fn new(pretty: bool) -> Self {
        Self {
            out: "{".into(),
            open: vec![false],
            pretty,
        }
    }

    /// Writes a property of the open node; `shared` says whether a child is shown by its name.
    pub fn property(&mut self, name: &PropertyName, value: &Value, shared: bool) {
        let escaped = escape(name, shared);
        self.key(&escaped);
        write_value(&mut self.out, value);
    }

    /// Opens a child under the name it is shown by.
    pub fn enter(&mut self, shown: &str) {
        let mark = if shown.starts_with('@') { "@" } else { "" };
        self.key(&format!("{mark}{shown}"));
        self.out.push('{');
        self.open.push(false);
    }

    /// Closes the open node.
    pub fn leave(&mut self) {
        let written = self.open.pop().expect("only an open node is left");
        if written {
            self.line();
        }
        self.out.push('}');
        if self.open.is_empty() {
            self.out.push('\n');
        }
    }

    /// Takes what has been written since the last call.
    pub fn drain(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// Bytes that [`TreeWriter::drain`] would give.
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    fn key(&mut self, key: &str) {
        let written = self
            .open
            .last_mut()
            .expect("members are written inside an open node");
        if std::mem::replace(written, true) {
            self.out.push_str(if self.pretty { "," } else { ", " });
        }
        self.line();
        write_string(&mut self.out, key);
        self.out.push_str(": ");
    }

    fn line(&mut self) {
        if self.pretty {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n("  ", self.open.len()));
        }
    }
}

/// The member name of a property; `shared` says whether a child is shown by its name.
pub fn escape(name: &PropertyName, shared: bool) -> String {
    let text = name.as_str();
    let marked = text.starts_with('@') || matches!(text, "$bytes" | "$time" | "$ref");
    format!(
        "{}{text}",
        "@".repeat(usize::from(shared) + usize::from(marked))
    )
}

fn unescape(key: &str) -> &str {
    key.strip_prefix('@').unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Result<Vec<TreeItem>, JsonError> {
        let mut reader = TreeReader::new(text.as_bytes());
        let mut items = Vec::new();
        while let Some(item) = reader.next_item()? {
            items.push(item);
        }
        Ok(items)
    }

    #[test]
    fn objects_are_children_and_everything_else_is_a_property() {
        let read = items(r#"{"a": {"x": 1, "t": {"$time": "2026-01-01T00:00:00Z"}}, "@a": [2]}"#);
        let [enter, x, t, leave, a, end] = read.unwrap().try_into().unwrap();
        assert!(matches!(enter, TreeItem::Enter(name) if name.as_str() == "a"));
        assert!(matches!(x, TreeItem::Property(name, Value::Int(1)) if name.as_str() == "x"));
        assert!(matches!(t, TreeItem::Property(_, Value::Time(_))));
        assert!(matches!(a, TreeItem::Property(name, Value::List(_)) if name.as_str() == "a"));
        assert_eq!((leave, end), (TreeItem::Leave, TreeItem::Leave));
    }

    #[test]
    fn what_is_wrong_with_a_tree_is_named_with_its_place() {
        let deep = format!("{}{}", "{\"a\":".repeat(514), "1");
        for (text, part) in [
            ("[]", "object"),
            (
                r#"{"a": {"b": 1, "b": 2}}"#,
                "`b` comes twice in the object at `/a`",
            ),
            (r#"{"a": {"b": null}}"#, "at `/a/b`: null"),
            (r#"{"a": {"..": {}}}"#, "at `/a`: `..`"),
            (r#"{"a": {"$ref": "x", "b": 1}}"#, "`/a`"),
            (r#"{"a": 1} 2"#, "JSON"),
            (r#"{"a": "#, "JSON"),
            (deep.as_str(), "deeper"),
        ] {
            let error = items(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_tree_is_written_as_it_is_read() {
        let mut writer = TreeWriter::new(false);
        let name = |text| PropertyName::new(text).unwrap();
        writer.property(&name("@at"), &Value::Int(1), false);
        writer.property(&name("a"), &Value::Int(2), true);
        writer.property(&name("$ref"), &Value::from("x"), false);
        writer.enter("a");
        writer.enter("b");
        writer.leave();
        writer.leave();
        writer.leave();
        let text = writer.drain();
        assert_eq!(
            text,
            "{\"@@at\": 1, \"@a\": 2, \"@$ref\": \"x\", \"a\": {\"b\": {}}}\n"
        );
        assert_eq!(items(&text).unwrap().len(), 8);
    }
}
