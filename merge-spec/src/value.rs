//! Values of properties, and how they are written as JSON.
//!
//! What JSON has no word for is an object with one member: `{"$bytes": base64}`,
//! `{"$time": RFC 3339}`, `{"$ref": hex}`. A number without fraction and exponent is an integer,
//! any other a float, so `1` and `1.0` are different values.

mod instant;

use std::fmt;

use serde_json::{Value as Json, json};

use crate::change::NodeId;

pub use instant::Instant;

/// What a property can hold. There is no null: a property without a value is not there.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A 64-bit integer; the only kind of value that counts under an inc (M5).
    Int(i64),
    /// A 64-bit float, never NaN, and never -0.
    Float(f64),
    /// Text.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A point in time.
    Time(Instant),
    /// A reference to a node, which need not exist.
    Ref(NodeId),
    /// A list of the others; lists in lists are not values.
    List(Vec<Value>),
}

/// Why a piece of JSON is no value.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ValueError {
    /// It is no JSON; says where.
    Syntax(String),
    /// Null, which is no value.
    Null,
    /// A number without fraction and exponent that 64 bits do not hold.
    TooLarge(String),
    /// An object that is none of `$bytes`, `$time` and `$ref`.
    Object,
    /// `$bytes` with something that is not base64.
    Base64,
    /// `$time` with something that is no RFC 3339 time.
    Time(String),
    /// `$ref` with something else than 32 hex digits.
    Ref(String),
    /// A list in a list.
    Nested,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueError::Syntax(why) => write!(f, "not JSON: {why}"),
            ValueError::Null => f.write_str("null is no value; unset the property instead"),
            ValueError::TooLarge(number) => write!(f, "the integer {number} needs over 64 bits"),
            ValueError::Object => f.write_str("an object is no value, except $bytes, $time, $ref"),
            ValueError::Base64 => f.write_str("$bytes is not base64"),
            ValueError::Time(text) => write!(f, "`{text}` is no RFC 3339 time with an offset"),
            ValueError::Ref(text) => write!(f, "`{text}` is no node id, which has 32 hex digits"),
            ValueError::Nested => f.write_str("a list in a list is no value"),
        }
    }
}

impl std::error::Error for ValueError {}

impl Value {
    /// Reads a value from JSON text.
    ///
    /// # Errors
    ///
    /// [`ValueError`] where the text is no JSON or stands for no value.
    pub fn parse(text: &str) -> Result<Value, ValueError> {
        let json = serde_json::from_str(text).map_err(|e| ValueError::Syntax(e.to_string()))?;
        // An integer too long for 64 bits would silently come out of the parser as a float.
        for number in numbers(text) {
            if !number.contains(['.', 'e', 'E']) && number.parse::<i64>().is_err() {
                return Err(ValueError::TooLarge(number.to_owned()));
            }
        }
        // And -0 as well, though it has no fraction.
        if text.trim() == "-0" {
            return Ok(Value::Int(0));
        }
        Value::from_json(&json)
    }

    fn from_json(json: &Json) -> Result<Value, ValueError> {
        match json {
            Json::Array(elements) => elements
                .iter()
                .map(Value::scalar)
                .collect::<Result<_, _>>()
                .map(Value::List),
            single => Value::scalar(single),
        }
    }

    fn scalar(json: &Json) -> Result<Value, ValueError> {
        match json {
            Json::Null => Err(ValueError::Null),
            Json::Bool(yes) => Ok(Value::Bool(*yes)),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Ok(Value::Int(integer)),
                (None, Some(0.0)) => Ok(Value::Float(0.0)),
                (None, Some(float)) if !number.is_u64() => Ok(Value::Float(float)),
                _ => Err(ValueError::TooLarge(number.to_string())),
            },
            Json::String(text) => Ok(Value::Str(text.clone())),
            Json::Array(_) => Err(ValueError::Nested),
            Json::Object(members) => match members.iter().next() {
                Some((key, Json::String(text))) if members.len() == 1 => match key.as_str() {
                    "$bytes" => from_base64(text)
                        .map(Value::Bytes)
                        .ok_or(ValueError::Base64),
                    "$time" => Instant::parse(text)
                        .map(Value::Time)
                        .ok_or_else(|| ValueError::Time(text.clone())),
                    "$ref" => NodeId::from_hex(text)
                        .map(Value::Ref)
                        .ok_or_else(|| ValueError::Ref(text.clone())),
                    _ => Err(ValueError::Object),
                },
                _ => Err(ValueError::Object),
            },
        }
    }

    /// The JSON form of the value.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Value::Bool(yes) => json!(yes),
            Value::Int(integer) => json!(integer),
            Value::Float(float) => json!(float),
            Value::Str(text) => json!(text),
            Value::Bytes(bytes) => json!({ "$bytes": to_base64(bytes) }),
            Value::Time(time) => json!({ "$time": time.to_string() }),
            Value::Ref(node) => json!({ "$ref": node.to_hex() }),
            Value::List(elements) => elements.iter().map(Value::to_json).collect(),
        }
    }
}

/// The number tokens of a JSON text, those in strings left out.
fn numbers(json: &str) -> Vec<&str> {
    let bytes = json.as_bytes();
    let (mut found, mut at, mut in_string) = (Vec::new(), 0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let rest = &json[at..];
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
                let number = &rest[..end.unwrap_or(rest.len())];
                found.push(number);
                at += number.len() - 1;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for digit in 0..4 {
            let six = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= three.len() {
                char::from(BASE64[six as usize])
            } else {
                '='
            });
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text
        .strip_suffix("==")
        .or(text.strip_suffix('='))
        .unwrap_or(text);
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in digits.bytes() {
        let six = BASE64.iter().position(|known| *known == digit)?;
        bits = bits << 6 | u32::try_from(six).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    // What is left over of the last digit must be zeros: one text for each run of bytes.
    (bits & ((1 << held) - 1) == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_goes_in_comes_out_again() {
        for text in [
            "true",
            "-7",
            "1.0",
            "2.5",
            r#""é \" 123456789012345678901""#,
            r#"{"$bytes":"AP8="}"#,
            r#"{"$bytes":""}"#,
            r#"{"$bytes":"AAEC"}"#,
            r#"{"$bytes":"AA=="}"#,
            r#"{"$time":"2024-02-29T12:00:00Z"}"#,
            r#"{"$ref":"00112233445566778899aabbccddeeff"}"#,
            r#"[1,1.0,"a",{"$ref":"00000000000000000000000000000000"}]"#,
        ] {
            assert_eq!(
                Value::parse(text).expect("a value").to_json().to_string(),
                text
            );
        }
    }

    #[test]
    fn a_number_without_fraction_and_exponent_is_an_integer() {
        assert_eq!(Value::parse("1"), Ok(Value::Int(1)));
        assert_eq!(Value::parse("1.0"), Ok(Value::Float(1.0)));
        assert_eq!(Value::parse("1e2"), Ok(Value::Float(100.0)));
        assert_eq!(Value::parse("-0.0"), Ok(Value::Float(0.0)));
        for large in ["9223372036854775808", "[123456789012345678901234567890]"] {
            assert!(
                matches!(Value::parse(large), Err(ValueError::TooLarge(_))),
                "{large}"
            );
        }
    }

    #[test]
    fn what_stands_for_no_value_is_refused() {
        assert_eq!(Value::parse("null"), Err(ValueError::Null));
        assert_eq!(Value::parse("[null]"), Err(ValueError::Null));
        assert_eq!(Value::parse("[[1]]"), Err(ValueError::Nested));
        assert_eq!(Value::parse("{}"), Err(ValueError::Object));
        assert_eq!(Value::parse(r#"{"$bytes":"A"}"#), Err(ValueError::Base64));
        assert_eq!(
            Value::parse(r#"{"$bytes":"AB=="}"#),
            Err(ValueError::Base64)
        );
        for text in [r#"{"$time":"noon"}"#, r#"{"$ref":"00ff"}"#] {
            assert!(matches!(
                Value::parse(text),
                Err(ValueError::Time(_) | ValueError::Ref(_))
            ));
        }
        assert!(matches!(Value::parse("1 2"), Err(ValueError::Syntax(_))));
    }
}
