//! Mirrors of operations and property values.
//!
//! An operation is an array: a number that says which one it is, then its parts. Booleans,
//! numbers, text and bytes are the MessagePack types of that name; a time, a reference and a list
//! are arrays that begin with a number.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::Bytes;

use super::text::{Fixed, element, fixed};
use crate::model::limits::{ORDER_KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::model::{
    ChangeSetId, ConflictId, NodeId, NodeName, Operation, OrderKey, PropertyName, Timestamp, Value,
};

const ADD: u8 = 1;
const ADD_UNIQUE: u8 = 2;
const REMOVE: u8 = 3;
const MOVE: u8 = 4;
const RENAME: u8 = 5;
const SET: u8 = 6;
const UNSET: u8 = 7;
const INC: u8 = 8;
const ORDER: u8 = 9;
const DISMISS: u8 = 10;

const TIME: u8 = 1;
const REFERENCE: u8 = 2;
const LIST: u8 = 3;

macro_rules! tuple {
    ($serializer:ident, $($part:expr),+) => {{
        let parts = [$(stringify!($part)),+].len();
        let mut tuple = $serializer.serialize_tuple(parts)?;
        $(tuple.serialize_element(&$part)?;)+
        tuple.end()
    }};
}

/// An operation on its way out.
pub(super) struct OperationOut<'a>(pub(super) &'a Operation);

impl Serialize for OperationOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let id = |node: &NodeId| fixed(node.0);
        match self.0 {
            Operation::Add {
                parent,
                name,
                truncated_at,
                generation,
            } => tuple!(
                serializer,
                ADD,
                id(parent),
                name.as_str(),
                truncated_at.map(|at| fixed(at.to_bytes())),
                generation
            ),
            Operation::AddUnique { parent, name } => {
                tuple!(serializer, ADD_UNIQUE, id(parent), name.as_str())
            }
            Operation::Remove { node } => tuple!(serializer, REMOVE, id(node)),
            Operation::Move { node, parent, name } => tuple!(
                serializer,
                MOVE,
                id(node),
                id(parent),
                name.as_ref().map(NodeName::as_str)
            ),
            Operation::Rename { node, name } => {
                tuple!(serializer, RENAME, id(node), name.as_str())
            }
            Operation::Set {
                node,
                property,
                value,
            } => tuple!(
                serializer,
                SET,
                id(node),
                property.as_str(),
                ValueOut(value)
            ),
            Operation::Unset { node, property } => {
                tuple!(serializer, UNSET, id(node), property.as_str())
            }
            Operation::Inc {
                node,
                property,
                delta,
            } => tuple!(serializer, INC, id(node), property.as_str(), delta),
            Operation::Order { node, key } => {
                tuple!(serializer, ORDER, id(node), Bytes::new(key.as_bytes()))
            }
            Operation::Dismiss { conflict } => tuple!(serializer, DISMISS, fixed(conflict.0)),
        }
    }
}

/// An operation on its way in.
pub(super) struct OperationIn(pub(super) Operation);

impl<'de> Deserialize<'de> for OperationIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(OperationVisitor).map(Self)
    }
}

struct OperationVisitor;

impl<'de> Visitor<'de> for OperationVisitor {
    type Value = Operation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an operation")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Operation, A::Error> {
        let seq = &mut seq;
        Ok(match element::<u8, A>(seq)? {
            ADD => Operation::Add {
                parent: place(seq)?,
                name: name(seq)?,
                truncated_at: element::<Option<Fixed<{ ChangeSetId::BYTES }>>, A>(seq)?
                    .map(|at| ChangeSetId::from_bytes(at.into_array())),
                generation: element(seq)?,
            },
            ADD_UNIQUE => Operation::AddUnique {
                parent: place(seq)?,
                name: name(seq)?,
            },
            REMOVE => Operation::Remove { node: child(seq)? },
            MOVE => Operation::Move {
                node: child(seq)?,
                parent: place(seq)?,
                name: element::<Option<&str>, A>(seq)?
                    .map(NodeName::new)
                    .transpose()
                    .map_err(Error::custom)?,
            },
            RENAME => Operation::Rename {
                node: child(seq)?,
                name: name(seq)?,
            },
            SET => Operation::Set {
                node: place(seq)?,
                property: property(seq)?,
                value: {
                    let value = element::<ValueIn, A>(seq)?.0;
                    value.check().map_err(Error::custom)?;
                    value
                },
            },
            UNSET => Operation::Unset {
                node: place(seq)?,
                property: property(seq)?,
            },
            INC => Operation::Inc {
                node: place(seq)?,
                property: property(seq)?,
                delta: element(seq)?,
            },
            ORDER => Operation::Order {
                node: child(seq)?,
                key: {
                    let key = element::<&Bytes, A>(seq)?;
                    if key.is_empty() || key.len() > ORDER_KEY_BYTES_MAX {
                        return Err(Error::custom(format_args!(
                            "an order key has {} bytes; 1 to {ORDER_KEY_BYTES_MAX} are allowed",
                            key.len()
                        )));
                    }
                    OrderKey::from_bytes(key)
                },
            },
            DISMISS => Operation::Dismiss {
                conflict: ConflictId(element::<Fixed<16>, A>(seq)?.into_array()),
            },
            other => {
                return Err(Error::custom(format_args!(
                    "{other} is not an operation of this version"
                )));
            }
        })
    }
}

/// A node that can hold children or properties: any but the trash.
fn place<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<NodeId, A::Error> {
    match NodeId(element::<Fixed<16>, A>(seq)?.into_array()) {
        NodeId::TRASH => Err(Error::custom("the trash can not be written to")),
        node => Ok(node),
    }
}

/// A node that has a parent: neither the trash nor the root.
fn child<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<NodeId, A::Error> {
    match place(seq)? {
        NodeId::ROOT => Err(Error::custom("the root can not be moved, named or removed")),
        node => Ok(node),
    }
}

fn name<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<NodeName, A::Error> {
    NodeName::new(element::<&str, A>(seq)?).map_err(Error::custom)
}

fn property<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<PropertyName, A::Error> {
    PropertyName::new(element::<&str, A>(seq)?).map_err(Error::custom)
}

struct ValueOut<'a>(&'a Value);

impl Serialize for ValueOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Str(value) => serializer.serialize_str(value),
            Value::Bytes(value) => serializer.serialize_bytes(value),
            Value::Time(time) => tuple!(serializer, TIME, time.seconds(), time.nanos()),
            Value::Ref(node) => tuple!(serializer, REFERENCE, fixed(node.0)),
            Value::List(values) => tuple!(serializer, LIST, ListOut(values)),
        }
    }
}

struct ListOut<'a>(&'a [Value]);

impl Serialize for ListOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ValueOut))
    }
}

struct ValueIn(Value);

impl<'de> Deserialize<'de> for ValueIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lists = true;
        deserializer
            .deserialize_any(ValueVisitor { lists })
            .map(Self)
    }
}

/// A value that is not a list.
struct ScalarIn(Value);

impl<'de> Deserialize<'de> for ScalarIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lists = false;
        deserializer
            .deserialize_any(ValueVisitor { lists })
            .map(Self)
    }
}

struct ValueVisitor {
    /// Whether a list is allowed here.
    lists: bool,
}

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a property value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value)
            .map(Value::Int)
            .map_err(|_| E::custom("an integer value does not fit in 64 bits with a sign"))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Value::float(value).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let seq = &mut seq;
        match element::<u8, A>(seq)? {
            TIME => Timestamp::new(element(seq)?, element(seq)?)
                .map(Value::Time)
                .map_err(Error::custom),
            REFERENCE => Ok(Value::Ref(NodeId(
                element::<Fixed<16>, A>(seq)?.into_array(),
            ))),
            LIST if self.lists => Value::list(element::<ListIn, A>(seq)?.0).map_err(Error::custom),
            other => Err(Error::custom(format_args!(
                "{other} is not a type of value that is allowed here"
            ))),
        }
    }
}

struct ListIn(Vec<Value>);

impl<'de> Deserialize<'de> for ListIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Every entry weighs 8 bytes at least.
        let max = VALUE_BYTES_MAX / 8;
        super::text::bounded(deserializer, "list entries", max, |entry: ScalarIn| {
            Ok(entry.0)
        })
        .map(Self)
    }
}
