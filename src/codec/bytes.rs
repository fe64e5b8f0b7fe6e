//! Reading and writing the compact binary form of state records: integers as LEB128, texts and
//! bytes with their length before them, ids and stamps at their fixed length.

use crate::model::{NodeId, NodeName, OriginId, PropertyName, Sequence, Stamp, Time, Value};
use crate::model::{OrderKey, Timestamp};

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed record: {0}")]
pub struct MalformedRecord(pub &'static str);

/// Appends to a buffer.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(crate) fn uint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(crate) fn int(&mut self, number: i64) {
        self.uint(((number << 1) ^ (number >> 63)) as u64);
    }

    pub(crate) fn len(&mut self, len: usize) {
        self.uint(len as u64);
    }

    pub(crate) fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.len(bytes.len());
        self.fixed(bytes);
    }

    pub(crate) fn node(&mut self, node: NodeId) {
        self.fixed(&node.0);
    }

    pub(crate) fn stamp(&mut self, stamp: Stamp) {
        self.fixed(&stamp.to_bytes());
    }

    pub(crate) fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(false) => self.byte(0),
            Value::Bool(true) => self.byte(1),
            Value::Int(number) => {
                self.byte(2);
                self.int(*number);
            }
            Value::Float(number) => {
                self.byte(3);
                self.fixed(&number.to_bits().to_be_bytes());
            }
            Value::Str(text) => {
                self.byte(4);
                self.bytes(text.as_bytes());
            }
            Value::Bytes(bytes) => {
                self.byte(5);
                self.bytes(bytes);
            }
            Value::Time(time) => {
                self.byte(6);
                self.int(time.seconds());
                self.uint(u64::from(time.nanos()));
            }
            Value::Ref(node) => {
                self.byte(7);
                self.node(*node);
            }
            Value::List(values) => {
                self.byte(8);
                self.len(values.len());
                for value in values.iter() {
                    self.value(value); // lists are flat: one level
                }
            }
        }
    }
}

/// Takes from a slice.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn end(&self) -> Result<(), MalformedRecord> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(MalformedRecord("trailing bytes"))
        }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], MalformedRecord> {
        if len > self.0.len() {
            return Err(MalformedRecord("too short"));
        }
        let (head, tail) = self.0.split_at(len);
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], MalformedRecord> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, MalformedRecord> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn uint(&mut self) -> Result<u64, MalformedRecord> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(MalformedRecord("an integer is too long"))
    }

    pub(crate) fn int(&mut self) -> Result<i64, MalformedRecord> {
        let number = self.uint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A count of things that take at least one byte each.
    pub(crate) fn len(&mut self) -> Result<usize, MalformedRecord> {
        let len = self.uint()?;
        if len > self.0.len() as u64 {
            return Err(MalformedRecord("a count is too large"));
        }
        Ok(len as usize)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], MalformedRecord> {
        let len = self.len()?;
        self.take(len)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, MalformedRecord> {
        std::str::from_utf8(self.bytes()?).map_err(|_| MalformedRecord("a text is not UTF-8"))
    }

    pub(crate) fn node(&mut self) -> Result<NodeId, MalformedRecord> {
        Ok(NodeId(self.fixed()?))
    }

    pub(crate) fn origin(&mut self) -> Result<OriginId, MalformedRecord> {
        Ok(OriginId(self.fixed()?))
    }

    pub(crate) fn sequence(&mut self) -> Result<Sequence, MalformedRecord> {
        Ok(Sequence(self.uint()?))
    }

    pub(crate) fn time(&mut self) -> Result<Time, MalformedRecord> {
        Ok(Time(u64::from_be_bytes(self.fixed()?)))
    }

    pub(crate) fn stamp(&mut self) -> Result<Stamp, MalformedRecord> {
        Ok(Stamp::from_bytes(self.fixed()?))
    }

    pub(crate) fn name(&mut self) -> Result<NodeName, MalformedRecord> {
        NodeName::new(self.text()?).map_err(|_| MalformedRecord("a node name"))
    }

    pub(crate) fn property(&mut self) -> Result<PropertyName, MalformedRecord> {
        PropertyName::new(self.text()?).map_err(|_| MalformedRecord("a property name"))
    }

    pub(crate) fn order_key(&mut self) -> Result<OrderKey, MalformedRecord> {
        Ok(OrderKey::from_bytes(self.bytes()?))
    }

    pub(crate) fn value(&mut self) -> Result<Value, MalformedRecord> {
        match self.byte()? {
            8 => {
                let len = self.len()?;
                let values = (0..len)
                    .map(|_| {
                        let kind = self.byte()?;
                        self.scalar(kind)
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(Value::List(values.into()))
            }
            kind => self.scalar(kind),
        }
    }

    fn scalar(&mut self, kind: u8) -> Result<Value, MalformedRecord> {
        Ok(match kind {
            0 => Value::Bool(false),
            1 => Value::Bool(true),
            2 => Value::Int(self.int()?),
            3 => Value::float(f64::from_bits(u64::from_be_bytes(self.fixed()?)))
                .map_err(|_| MalformedRecord("a float"))?,
            4 => Value::from(self.text()?),
            5 => Value::from(self.bytes()?),
            6 => {
                let seconds = self.int()?;
                let nanos = u32::try_from(self.uint()?).map_err(|_| MalformedRecord("a time"))?;
                let time = Timestamp::new(seconds, nanos).map_err(|_| MalformedRecord("a time"))?;
                Value::Time(time)
            }
            7 => Value::Ref(self.node()?),
            _ => return Err(MalformedRecord("a value of unknown kind")),
        })
    }
}
