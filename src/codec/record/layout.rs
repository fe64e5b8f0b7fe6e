//! The bytes of state records. `docs/reference/state.md` describes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    AddedAgain, ChildEntry, Head, How, Meta, NodeRecord, Older, ParentWrite, RECORD_VERSION,
    Record, Register, SeenRecord, SkippedMove, StructuralRecord, Sums, Under, Write, Written,
};
use crate::codec::bytes::{MalformedRecord, Reader, Writer};
use crate::model::{ChangeSetId, Dependency, OriginId, Time};

impl Record {
    /// The bytes on disk.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer(vec![RECORD_VERSION]);
        match self {
            Self::Node(node) => {
                w.byte(b'n');
                write_node(&mut w, node);
            }
            Self::Register(register) => {
                w.byte(b'p');
                write_register(&mut w, register);
            }
            Self::Segment(writes) => {
                w.byte(b'h');
                write_writes(&mut w, writes);
            }
            Self::Child(child) => {
                w.byte(b'o');
                w.bytes(child.name.as_str().as_bytes());
                w.stamp(child.placed);
                w.byte(child.shadow.into());
            }
            Self::Mark => w.byte(b'.'),
            Self::Touched(stamp) => {
                w.byte(b't');
                w.stamp(*stamp);
            }
            Self::Structural(record) => {
                w.byte(b'l');
                w.uint(record.sequence.0);
                w.byte(u8::from(record.removes) | u8::from(record.voided) << 1);
                w.len(record.others.len());
                for (index, nodes) in &record.others {
                    w.uint(u64::from(*index));
                    w.len(nodes.len());
                    nodes.iter().for_each(|node| w.node(*node));
                }
                w.len(record.unknown.len());
                for (index, node) in &record.unknown {
                    w.uint(u64::from(*index));
                    w.node(*node);
                }
            }
            Self::Conflict(winner) => {
                w.byte(b'x');
                w.byte(winner.is_some().into());
                if let Some(winner) = winner {
                    w.fixed(&winner.to_bytes());
                }
            }
            Self::Seen(record) => {
                w.byte(b'v');
                w.byte(record.depth);
                w.byte(record.base.is_some().into());
                if let Some(base) = record.base {
                    w.fixed(&base.to_bytes());
                }
                w.len(record.news.len());
                for (origin, time) in &record.news {
                    w.fixed(&origin.0);
                    w.fixed(&time.0.to_be_bytes());
                }
            }
            Self::Head(head) => {
                w.byte(b'a');
                w.uint(head.sequence.0);
                w.fixed(&head.time.0.to_be_bytes());
            }
            Self::Meta(meta) => {
                w.byte(b'm');
                w.len(meta.frontier.len());
                for dependency in &meta.frontier {
                    w.fixed(&dependency.origin.0);
                    w.uint(dependency.sequence.0);
                }
                meta.digest
                    .iter()
                    .for_each(|sum: u128| w.fixed(&sum.to_be_bytes()));
                w.stamp(meta.removal);
                w.stamp(meta.atomic);
                write_times(&mut w, &meta.causes);
                w.len(meta.counters.len());
                meta.counters.iter().for_each(|count| w.uint(*count));
            }
        }
        w.0
    }

    /// What [`Record::encode`] made.
    ///
    /// # Errors
    /// If it did not make these bytes, or another version did.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedRecord> {
        let mut r = Reader(bytes);
        if r.byte()? != RECORD_VERSION {
            return Err(MalformedRecord("of another version"));
        }
        let record = match r.byte()? {
            b'n' => Self::Node(Arc::new(read_node(&mut r)?)),
            b'p' => Self::Register(Arc::new(read_register(&mut r)?)),
            b'h' => Self::Segment(Arc::new(read_writes(&mut r)?)),
            b'o' => Self::Child(Arc::new(ChildEntry {
                name: r.name()?,
                placed: r.stamp()?,
                shadow: r.byte()? != 0,
            })),
            b'.' => Self::Mark,
            b't' => Self::Touched(r.stamp()?),
            b'l' => {
                let (sequence, flags) = (r.sequence()?, r.byte()?);
                let others = list(&mut r, |r| {
                    let index = r.uint()? as u32;
                    Ok((index, list(r, Reader::node)?))
                })?;
                let unknown = list(&mut r, |r| Ok((r.uint()? as u32, r.node()?)))?;
                Self::Structural(Arc::new(StructuralRecord {
                    sequence,
                    removes: flags & 1 != 0,
                    voided: flags & 2 != 0,
                    others,
                    unknown,
                }))
            }
            b'x' => Self::Conflict(match r.byte()? {
                0 => None,
                _ => Some(ChangeSetId::from_bytes(r.fixed()?)),
            }),
            b'v' => Self::Seen(Arc::new(SeenRecord {
                depth: r.byte()?,
                base: match r.byte()? {
                    0 => None,
                    _ => Some(ChangeSetId::from_bytes(r.fixed()?)),
                },
                news: list(&mut r, |r| Ok((r.origin()?, r.time()?)))?,
            })),
            b'a' => Self::Head(Head {
                sequence: r.sequence()?,
                time: r.time()?,
            }),
            b'm' => {
                let frontier = list(&mut r, |r| {
                    Ok(Dependency {
                        origin: r.origin()?,
                        sequence: r.sequence()?,
                    })
                })?;
                let mut digest = Sums::default();
                for index in 0..=u8::MAX {
                    *digest.get_mut(index) = u128::from_be_bytes(r.fixed()?);
                }
                let (removal, atomic) = (r.stamp()?, r.stamp()?);
                let causes = read_times(&mut r)?;
                let counters = list(&mut r, Reader::uint)?;
                Self::Meta(Arc::new(Meta {
                    frontier,
                    digest,
                    removal,
                    atomic,
                    causes,
                    counters,
                }))
            }
            _ => return Err(MalformedRecord("of unknown kind")),
        };
        r.end()?;
        Ok(record)
    }
}

/// Most items of a list for which room is made before they are read.
const LIST_ROOM_MAX: usize = 64;

fn list<'a, T>(
    r: &mut Reader<'a>,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, MalformedRecord>,
) -> Result<Vec<T>, MalformedRecord> {
    let len = r.len()?;
    // Most are short, and are kept in memory: with no more room than they need.
    let mut items = Vec::with_capacity(len.min(LIST_ROOM_MAX));
    for _ in 0..len {
        items.push(item(r)?);
    }
    Ok(items)
}

fn write_times(w: &mut Writer, times: &BTreeMap<OriginId, Time>) {
    w.len(times.len());
    for (origin, time) in times {
        w.fixed(&origin.0);
        w.fixed(&time.0.to_be_bytes());
    }
}

fn read_times(r: &mut Reader<'_>) -> Result<BTreeMap<OriginId, Time>, MalformedRecord> {
    Ok(list(r, |r| Ok((r.origin()?, r.time()?)))?
        .into_iter()
        .collect())
}

fn write_node(w: &mut Writer, node: &NodeRecord) {
    w.len(node.parents.len());
    for write in &node.parents {
        w.stamp(write.stamp);
        w.node(write.parent);
        match write.how {
            How::Add => w.byte(0),
            How::ComeBack => w.byte(1),
            How::Emptied => w.byte(2),
            How::Move => w.byte(3),
            How::Remove => w.byte(4),
            How::HandBack { cause } => {
                w.byte(5);
                w.stamp(cause);
            }
        }
    }
    w.len(node.skips.len());
    for skip in &node.skips {
        w.stamp(skip.stamp);
        w.node(skip.parent);
        w.stamp(skip.reason);
        w.byte(skip.cycle.into());
    }
    w.len(node.again.len());
    for again in &node.again {
        w.stamp(again.stamp);
        w.byte(again.live.into());
    }
    w.len(node.names.len());
    for (stamp, name) in &node.names {
        w.stamp(*stamp);
        w.bytes(name.as_str().as_bytes());
    }
    w.len(node.orders.len());
    for (stamp, key) in &node.orders {
        w.stamp(*stamp);
        w.bytes(key.as_bytes());
    }
    w.len(node.properties.len());
    for (name, register) in &node.properties {
        w.bytes(name.as_str().as_bytes());
        write_register(w, register);
    }
    w.uint(u64::from(node.outside));
}

fn read_node(r: &mut Reader<'_>) -> Result<NodeRecord, MalformedRecord> {
    let parents = list(r, |r| {
        let (stamp, parent) = (r.stamp()?, r.node()?);
        let how = match r.byte()? {
            0 => How::Add,
            1 => How::ComeBack,
            2 => How::Emptied,
            3 => How::Move,
            4 => How::Remove,
            5 => How::HandBack { cause: r.stamp()? },
            _ => return Err(MalformedRecord("a parent write of unknown kind")),
        };
        Ok(ParentWrite { stamp, parent, how })
    })?;
    let skips = list(r, |r| {
        Ok(SkippedMove {
            stamp: r.stamp()?,
            parent: r.node()?,
            reason: r.stamp()?,
            cycle: r.byte()? != 0,
        })
    })?;
    let again = list(r, |r| {
        Ok(AddedAgain {
            stamp: r.stamp()?,
            live: r.byte()? != 0,
        })
    })?;
    let names = list(r, |r| Ok((r.stamp()?, r.name()?)))?;
    let orders = list(r, |r| Ok((r.stamp()?, r.order_key()?)))?;
    let properties = list(r, |r| Ok((r.property()?, read_register(r)?)))?
        .into_iter()
        .collect();
    let outside = r.uint()? as u32;
    Ok(NodeRecord {
        parents,
        skips,
        again,
        names,
        orders,
        properties,
        outside,
    })
}

fn write_writes(w: &mut Writer, writes: &[Write]) {
    w.len(writes.len());
    for write in writes {
        w.stamp(write.stamp);
        match &write.what {
            Written::Set(value) => {
                w.byte(0);
                w.value(value);
            }
            Written::Unset => w.byte(1),
            Written::Inc(delta) => {
                w.byte(2);
                w.int(*delta);
            }
        }
    }
}

fn read_writes(r: &mut Reader<'_>) -> Result<Vec<Write>, MalformedRecord> {
    list(r, |r| {
        let stamp = r.stamp()?;
        let what = match r.byte()? {
            0 => Written::Set(r.value()?),
            1 => Written::Unset,
            2 => Written::Inc(r.int()?),
            _ => return Err(MalformedRecord("a property write of unknown kind")),
        };
        Ok(Write { stamp, what })
    })
}

fn write_register(w: &mut Writer, register: &Register) {
    write_writes(w, &register.writes);
    let Some(older) = &register.older else {
        return w.byte(0);
    };
    let Some(under) = &older.under else {
        w.byte(1);
        return w.stamp(older.newest);
    };
    w.byte(2);
    w.stamp(older.newest);
    w.stamp(under.floor);
    w.stamp(under.oldest);
    match &under.base {
        None => w.byte(0),
        Some((stamp, None)) => {
            w.byte(1);
            w.stamp(*stamp);
        }
        Some((stamp, Some(value))) => {
            w.byte(2);
            w.stamp(*stamp);
            w.value(value);
        }
    }
    w.fixed(&under.incs.to_be_bytes());
}

fn read_register(r: &mut Reader<'_>) -> Result<Register, MalformedRecord> {
    let writes = read_writes(r)?;
    let older = match r.byte()? {
        0 => None,
        1 => Some(Box::new(Older {
            newest: r.stamp()?,
            under: None,
        })),
        2 => {
            let (newest, floor, oldest) = (r.stamp()?, r.stamp()?, r.stamp()?);
            let base = match r.byte()? {
                0 => None,
                1 => Some((r.stamp()?, None)),
                2 => Some((r.stamp()?, Some(r.value()?))),
                _ => return Err(MalformedRecord("a register's base")),
            };
            let incs = i128::from_be_bytes(r.fixed()?);
            let under = Some(Under {
                floor,
                oldest,
                base,
                incs,
            });
            Some(Box::new(Older { newest, under }))
        }
        _ => return Err(MalformedRecord("a register")),
    };
    Ok(Register { writes, older })
}
