//! What an author is told instead of writing (M3).

use std::fmt;

use crate::value::ValueError;

/// Why an operation is refused to its author. Nothing is written then.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// No operation begins with this word.
    NoSuchOperation(String),
    /// Something is missing at the end of the line.
    Missing(&'static str),
    /// Something is left over at the end of the line.
    LeftOver(String),
    /// A token that begins with `"` is no JSON string.
    BadString(String),
    /// A path does not begin with `/`, or has an empty element.
    BadPath(String),
    /// A name is empty or over 255 bytes.
    BadName(String),
    /// A name ends in `~` and 8 or more hex digits (M10).
    ReservedName(String),
    /// The amount of an inc is no 64-bit integer.
    BadAmount(String),
    /// A value is none.
    BadValue(ValueError),
    /// The author sees no node there: it never was, or is trashed.
    NoSuchNode(String),
    /// The author sees a live node of that name there already.
    NameTaken(String),
    /// The root stays where it is.
    Root,
    /// A node cannot move to itself or below itself.
    BelowItself,
    /// The node has that place and that name already.
    MovesNothing,
    /// No order key fits between the two neighbours.
    NoKeyFits,
    /// The author sees no such open conflict.
    NoSuchConflict(String),
    /// In its author's own view the all-or-nothing set would be voided (M13).
    Voided,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoSuchOperation(word) => write!(f, "there is no operation `{word}`"),
            Refusal::Missing(what) => write!(f, "{what} is missing"),
            Refusal::LeftOver(rest) => write!(f, "`{rest}` is too much"),
            Refusal::BadString(text) => write!(f, "`{text}` does not begin with a JSON string"),
            Refusal::BadPath(path) => write!(f, "`{path}` is no path"),
            Refusal::BadName(name) => write!(f, "`{name}` is no name; one has 1 to 255 bytes"),
            Refusal::ReservedName(name) => {
                write!(
                    f,
                    "the name `{name}` is reserved, as it ends in ~ and hex digits"
                )
            }
            Refusal::BadAmount(text) => write!(f, "`{text}` is no 64-bit integer"),
            Refusal::BadValue(error) => error.fmt(f),
            Refusal::NoSuchNode(path) => write!(f, "there is no node at `{path}`"),
            Refusal::NameTaken(path) => write!(f, "the name is taken at `{path}`"),
            Refusal::Root => {
                f.write_str("the root can be neither added, removed, moved nor ordered")
            }
            Refusal::BelowItself => f.write_str("a node cannot move below itself"),
            Refusal::MovesNothing => f.write_str("it is there already"),
            Refusal::NoKeyFits => f.write_str("no order key fits between the two neighbours"),
            Refusal::NoSuchConflict(pair) => write!(f, "there is no open conflict `{pair}`"),
            Refusal::Voided => f.write_str("with this the all-or-nothing save would be voided"),
        }
    }
}

impl std::error::Error for Refusal {}
