//! The JSON form of values (here) and of trees ([`tree`]).
//!
//! A number without fraction or exponent is an integer. Bytes, times and references are objects
//! of one member: `{"$bytes": "base64"}`, `{"$time": "RFC 3339"}`, `{"$ref": "node id"}`. Reading
//! keeps no recursion over the input, whatever its depth.

pub mod tree;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use json_event_parser::{JsonEvent, SliceJsonParser};

use super::id::{IdError, NodeId};
use super::name::NameError;
use super::value::{Timestamp, Value, ValueError};

/// Why a JSON text is not a value or a tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON, or the input could not be read.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// JSON, but not a value.
    #[error("{0} is not a property value")]
    NotAValue(&'static str),
    /// An integer of more than 64 bits.
    #[error("the integer {0} does not fit in 64 bits; write it with a fraction to have a float")]
    IntegerTooLarge(String),
    /// Refused as a value.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// A `$ref` that is no node id.
    #[error(transparent)]
    Reference(#[from] IdError),
    /// A `$bytes` that is not base64.
    #[error("`{0}` is not base64")]
    Base64(String),
    /// A malformed name in a tree.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The tree's outermost value is not an object.
    #[error("a tree is a JSON object")]
    NotATree,
    /// A tree with the same member twice in one object.
    #[error("the member `{name}` comes twice in the object at `{path}`")]
    Duplicate {
        /// The member.
        name: String,
        /// Where.
        path: String,
    },
    /// A tree that is too deep.
    #[error("the object at `{path}...` is deeper than {max} levels", max = super::limits::PATH_DEPTH_MAX)]
    TooDeep {
        /// The beginning of the path.
        path: String,
    },
    /// An object with a `$` member and others, or one that is not a string.
    #[error("the object at `{path}` with the member `{member}` is neither a value nor a node")]
    Ambiguous {
        /// Where.
        path: String,
        /// The member.
        member: String,
    },
    /// An error in a tree, with its place.
    #[error("at `{path}`: {source}")]
    At {
        /// Where.
        path: String,
        /// What is wrong there.
        source: Box<JsonError>,
    },
}

/// Reads one JSON text as a value.
///
/// # Errors
/// What keeps it from being one: syntax, null, a nested list, a number out of range.
pub fn parse_value(text: &str) -> Result<Value, JsonError> {
    let mut parser = SliceJsonParser::new(text.as_bytes());
    let mut next = || {
        parser
            .parse_next()
            .map_err(|error| JsonError::Syntax(error.to_string()))
    };
    let first = next()?;
    let value = read_value(first.into_owned(), &mut || Ok(next()?.into_owned()))?;
    match next()? {
        JsonEvent::Eof => Ok(value),
        _ => Err(JsonError::Syntax("something follows the value".into())),
    }
}

/// Reads a value whose first event is at hand.
fn read_value(
    first: Owned,
    next: &mut dyn FnMut() -> Result<Owned, JsonError>,
) -> Result<Value, JsonError> {
    let value = match first {
        Owned::StartArray => {
            let mut values = Vec::new();
            loop {
                match next()? {
                    Owned::EndArray => break,
                    Owned::StartArray => return Err(ValueError::NestedList.into()),
                    event => values.push(read_scalar(event, next)?),
                }
                if values.len() * 8 > super::limits::VALUE_BYTES_MAX {
                    return Err(ValueError::TooLarge {
                        bytes: values.len() * 8,
                    }
                    .into());
                }
            }
            Value::list(values)?
        }
        event => read_scalar(event, next)?,
    };
    value.check()?;
    Ok(value)
}

fn read_scalar(
    first: Owned,
    next: &mut dyn FnMut() -> Result<Owned, JsonError>,
) -> Result<Value, JsonError> {
    Ok(match first {
        Owned::String(text) => Value::from(text),
        Owned::Number(text) => number(&text)?,
        Owned::Boolean(flag) => Value::Bool(flag),
        Owned::Null => return Err(JsonError::NotAValue("null")),
        Owned::StartObject => {
            let (Owned::Key(kind), Owned::String(text), Owned::EndObject) =
                (next()?, next()?, next()?)
            else {
                return Err(JsonError::NotAValue(
                    "an object other than $bytes, $time or $ref",
                ));
            };
            tagged(&kind, &text)?.ok_or(JsonError::NotAValue(
                "an object other than $bytes, $time or $ref",
            ))?
        }
        _ => return Err(JsonError::Syntax("a value was expected".into())),
    })
}

/// The value of an object with one string member; nothing if the member's name is no tag.
fn tagged(kind: &str, text: &str) -> Result<Option<Value>, JsonError> {
    Ok(Some(match kind {
        "$bytes" => {
            let bytes = BASE64
                .decode(text)
                .map_err(|_| JsonError::Base64(text.chars().take(80).collect()))?;
            Value::from(bytes.as_slice())
        }
        "$time" => Value::Time(Timestamp::parse(text)?),
        "$ref" => Value::Ref(text.parse::<NodeId>()?),
        _ => return Ok(None),
    }))
}

fn number(text: &str) -> Result<Value, JsonError> {
    if text.contains(['.', 'e', 'E']) {
        let number = text
            .parse()
            .map_err(|_| JsonError::Syntax(format!("`{text}` is not a number")))?;
        return Ok(Value::float(number)?);
    }
    text.parse()
        .map(Value::Int)
        .map_err(|_| JsonError::IntegerTooLarge(text.into()))
}

/// Appends a JSON string.
pub fn write_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("every string has a JSON form"));
}

/// Appends the JSON form of a value.
pub fn write_value(out: &mut String, value: &Value) {
    let tag = |out: &mut String, tag: &str, text: &str| {
        out.push_str("{\"");
        out.push_str(tag);
        out.push_str("\": ");
        write_string(out, text);
        out.push('}');
    };
    match value {
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => {
            out.push_str(&serde_json::to_string(number).expect("a finite float has a JSON form"));
        }
        Value::Str(text) => write_string(out, text),
        Value::Bytes(bytes) => tag(out, "$bytes", &BASE64.encode(bytes)),
        Value::Time(time) => tag(out, "$time", &time.to_string()),
        Value::Ref(node) => tag(out, "$ref", &node.to_string()),
        Value::List(values) => {
            out.push('[');
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write_value(out, value); // lists are flat, so this goes one level deep
            }
            out.push(']');
        }
    }
}

/// The JSON form of a value.
pub fn value_text(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value);
    out
}

/// A parser event that borrows nothing.
#[derive(Debug, Clone, PartialEq)]
enum Owned {
    String(String),
    Number(String),
    Boolean(bool),
    Null,
    StartArray,
    EndArray,
    StartObject,
    EndObject,
    Key(String),
    Eof,
}

trait IntoOwned {
    fn into_owned(self) -> Owned;
}

impl IntoOwned for JsonEvent<'_> {
    fn into_owned(self) -> Owned {
        match self {
            JsonEvent::String(text) => Owned::String(text.into_owned()),
            JsonEvent::Number(text) => Owned::Number(text.into_owned()),
            JsonEvent::Boolean(flag) => Owned::Boolean(flag),
            JsonEvent::Null => Owned::Null,
            JsonEvent::StartArray => Owned::StartArray,
            JsonEvent::EndArray => Owned::EndArray,
            JsonEvent::StartObject => Owned::StartObject,
            JsonEvent::EndObject => Owned::EndObject,
            JsonEvent::ObjectKey(text) => Owned::Key(text.into_owned()),
            JsonEvent::Eof => Owned::Eof,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_and_print_the_same() {
        for text in [
            "true",
            "-7",
            "9223372036854775807",
            "1.0",
            "-2.5e-7",
            "1e300",
            r#""a \"quoted\" é""#,
            r#"{"$bytes": "AAH/"}"#,
            r#"{"$time": "2026-11-22T10:00:00.000000001Z"}"#,
            r#"{"$ref": "00112233445566778899aabbccddeeff"}"#,
            r#"[1, 2.5, "x", {"$bytes": ""}]"#,
            "[]",
        ] {
            let value = parse_value(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(parse_value(&value_text(&value)).unwrap(), value, "{text}");
        }
        assert_eq!(parse_value("1").unwrap(), Value::Int(1));
        assert_eq!(parse_value("1.0").unwrap(), Value::Float(1.0));
        assert_eq!(value_text(&Value::Float(1.0)), "1.0");
    }

    #[test]
    fn what_is_no_value_is_refused_by_name() {
        for (text, part) in [
            ("null", "null"),
            ("[null]", "null"),
            ("[[1]]", "list"),
            ("{}", "object"),
            (r#"{"$ref": 3}"#, "object"),
            (r#"{"$ref": "12"}"#, "`12`"),
            (r#"{"$time": "noon"}"#, "`noon`"),
            (r#"{"$bytes": "?"}"#, "base64"),
            ("9223372036854775808", "9223372036854775808"),
            ("1e999", "finite"),
            ("NaN", "JSON"),
            ("1 2", "JSON"),
            ("", "JSON"),
        ] {
            let error = parse_value(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
