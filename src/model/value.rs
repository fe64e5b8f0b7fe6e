//! Property values: booleans, integers, floats, text, bytes, times, references, lists of these.

use std::fmt;
use std::sync::Arc;

use super::id::NodeId;
use super::limits::VALUE_BYTES_MAX;

/// Why something is not a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// NaN or an infinity.
    #[error("{0} is not a value: a float must be a finite number")]
    NotFinite(String),
    /// Larger than [`VALUE_BYTES_MAX`].
    #[error("the value has {bytes} bytes; at most {VALUE_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size as [`Value::weight`] counts it.
        bytes: usize,
    },
    /// A list in a list.
    #[error("a list can not hold a list")]
    NestedList,
    /// Not a time that RFC 3339 can write.
    #[error("`{0}` is not an RFC 3339 time with an offset, like 2026-11-22T10:00:00Z")]
    BadTime(String),
}

/// An instant, to the nanosecond, in the years that RFC 3339 can write with four digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

impl Timestamp {
    /// Seconds since 1970 of 0000-01-01T00:00:00Z.
    const SECONDS_MIN: i64 = -62_167_219_200;
    /// Seconds since 1970 of 9999-12-30T22:00:00Z, the last instant that every offset can show.
    const SECONDS_MAX: i64 = 253_402_207_200;

    /// The instant so many seconds after 1970 (before it, if negative) and nanoseconds after that.
    ///
    /// # Errors
    /// [`ValueError::BadTime`] outside the years 0000 to 9999 or with 10^9 nanoseconds or more.
    pub fn new(seconds: i64, nanos: u32) -> Result<Self, ValueError> {
        if !(Self::SECONDS_MIN..=Self::SECONDS_MAX).contains(&seconds) || nanos >= 1_000_000_000 {
            return Err(ValueError::BadTime(format!("{seconds} s {nanos} ns")));
        }
        Ok(Self { seconds, nanos })
    }

    /// Reads RFC 3339, any offset.
    ///
    /// # Errors
    /// [`ValueError::BadTime`].
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let fail = || ValueError::BadTime(text.chars().take(80).collect());
        let instant: jiff::Timestamp = text.parse().map_err(|_| fail())?;
        let total = instant.as_nanosecond();
        let seconds = i64::try_from(total.div_euclid(1_000_000_000)).map_err(|_| fail())?;
        let nanos = u32::try_from(total.rem_euclid(1_000_000_000)).map_err(|_| fail())?;
        Self::new(seconds, nanos).map_err(|_| fail())
    }

    /// Whole seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after [`Timestamp::seconds`], below 10^9.
    pub fn nanos(self) -> u32 {
        self.nanos
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos);
        let instant = jiff::Timestamp::from_nanosecond(total)
            .expect("the range of Timestamp is inside the range of jiff");
        fmt::Display::fmt(&instant, f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The value of a property. There is no null: nothing is no value.
///
/// Two values are equal if they have the same type and content: 1 and 1.0 differ.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A finite 64-bit float; never -0. Build it with [`Value::float`].
    Float(f64),
    /// Text.
    Str(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// An instant.
    Time(Timestamp),
    /// A reference to a node of the same repository. It may dangle.
    Ref(NodeId),
    /// A list of the others, never of lists. Build it with [`Value::list`].
    List(Arc<[Value]>),
}

impl Value {
    /// A float; -0 becomes 0.
    ///
    /// # Errors
    /// [`ValueError::NotFinite`].
    pub fn float(number: f64) -> Result<Self, ValueError> {
        if !number.is_finite() {
            return Err(ValueError::NotFinite(number.to_string()));
        }
        Ok(Self::Float(if number == 0.0 { 0.0 } else { number }))
    }

    /// A list.
    ///
    /// # Errors
    /// [`ValueError::NestedList`].
    pub fn list(values: Vec<Value>) -> Result<Self, ValueError> {
        if values.iter().any(|value| matches!(value, Self::List(_))) {
            return Err(ValueError::NestedList);
        }
        Ok(Self::List(values.into()))
    }

    /// Size in bytes as the limit counts it: the content, and 8 for each scalar or list entry.
    pub fn weight(&self) -> usize {
        match self {
            Self::Bool(_) | Self::Int(_) | Self::Float(_) => 8,
            Self::Time(_) | Self::Ref(_) => 16,
            Self::Str(text) => 8 + text.len(),
            Self::Bytes(bytes) => 8 + bytes.len(),
            Self::List(values) => 8 + values.iter().map(Value::weight).sum::<usize>(),
        }
    }

    /// Checks what the constructors and the limit ask for, whoever built it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ValueError> {
        let scalar = |value: &Value| match value {
            Self::Float(number) if !number.is_finite() => {
                Err(ValueError::NotFinite(number.to_string()))
            }
            _ => Ok(()),
        };
        match self {
            Self::List(values) => {
                if values.iter().any(|value| matches!(value, Self::List(_))) {
                    return Err(ValueError::NestedList);
                }
                values.iter().try_for_each(scalar)?;
            }
            other => scalar(other)?,
        }
        let bytes = self.weight();
        if bytes > VALUE_BYTES_MAX {
            return Err(ValueError::TooLarge { bytes });
        }
        Ok(())
    }

    /// The nodes that this value refers to, in order, repeats included.
    pub fn references(&self) -> Vec<NodeId> {
        match self {
            Self::Ref(node) => vec![*node],
            Self::List(values) => values
                .iter()
                .filter_map(|value| match value {
                    Self::Ref(node) => Some(*node),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Str(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Str(value.into())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.into())
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Self::Time(value)
    }
}

impl From<NodeId> for Value {
    fn from(value: NodeId) -> Self {
        Self::Ref(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_any_offset_and_print_in_utc() {
        let time = Timestamp::parse("2026-11-22T12:00:00.25+02:00").unwrap();
        assert_eq!(time.to_string(), "2026-11-22T10:00:00.25Z");
        assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
        for text in ["yesterday", "2026-11-22", "2026-13-01T00:00:00Z"] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn floats_are_finite_and_zero_has_one_form() {
        assert!(Value::float(f64::NAN).is_err());
        assert!(Value::float(f64::INFINITY).is_err());
        let Value::Float(zero) = Value::float(-0.0).unwrap() else {
            panic!()
        };
        assert!(zero.is_sign_positive());
    }

    #[test]
    fn a_value_over_the_limit_and_a_nested_list_are_refused() {
        let large = Value::from("x".repeat(VALUE_BYTES_MAX));
        assert!(matches!(large.check(), Err(ValueError::TooLarge { .. })));
        let inner = Value::list(vec![Value::Int(1)]).unwrap();
        assert_eq!(Value::list(vec![inner]), Err(ValueError::NestedList));
    }

    #[test]
    fn one_and_one_point_zero_differ() {
        assert_ne!(Value::Int(1), Value::Float(1.0));
    }
}
