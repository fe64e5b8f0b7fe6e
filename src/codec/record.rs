//! State records: what `merge` keeps of a repository, and its bytes on disk.
//!
//! Only data and its bytes; what the records mean and how they change is in `merge`. All of them
//! can be rebuilt from the journal, so a new format needs no migration, only a rebuild; the first
//! byte of each is [`RECORD_VERSION`] all the same. The tables are listed in [`super::state_key`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bytes::{MalformedRecord, Reader, Writer};
use crate::model::{
    Dependency, NodeId, NodeName, OrderKey, OriginId, PropertyName, Sequence, Stamp, Time, Value,
};

/// First byte of every state record.
pub const RECORD_VERSION: u8 = 1;

/// Any state record. Cloning one is cheap.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Table `n`: a node.
    Node(Arc<NodeRecord>),
    /// Table `p`: a property that has outgrown its node's record.
    Register(Arc<Register>),
    /// Table `h`: older writes of a register, in stamp order.
    Segment(Arc<Vec<Write>>),
    /// Table `o`: a place among the children of a node.
    Child(Arc<ChildEntry>),
    /// Tables `w`, `u`, `f`: the key says it all.
    Mark,
    /// Table `t`: the newest structural operation that looked at a node's place.
    Touched(Stamp),
    /// Table `l`: a change set with structural operations.
    Structural(Arc<StructuralRecord>),
    /// Table `v`: how far an origin had seen another one.
    Seen(Time),
    /// Table `a`: the applied head of an origin.
    Head(Arc<Head>),
    /// Table `m`: the rest.
    Meta(Arc<Meta>),
}

/// Everything that was ever written to one node, but for what is in tables `p` and `h`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeRecord {
    /// Parent writes that took effect, in stamp order. A node is known from the first one on.
    pub parents: Vec<ParentWrite>,
    /// Moves that were skipped (M9), in stamp order.
    pub skips: Vec<SkippedMove>,
    /// Name writes, in stamp order.
    pub names: Vec<(Stamp, NodeName)>,
    /// Order key writes, in stamp order.
    pub orders: Vec<(Stamp, OrderKey)>,
    /// The small properties.
    pub properties: BTreeMap<PropertyName, Register>,
    /// How many more have records of their own in table `p`.
    pub outside: u32,
}

/// A parent write that took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentWrite {
    /// Its stamp; that of the removal, if it is a hand-back.
    pub stamp: Stamp,
    /// The parent; [`NodeId::TRASH`] if it went there.
    pub parent: NodeId,
    /// What wrote it.
    pub how: How,
}

/// What wrote a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// An add that made the node (M6).
    Add,
    /// An add that brought it back empty (M6).
    ComeBack,
    /// An add that brought its parent back empty (M6).
    Emptied,
    /// A move (M9).
    Move,
    /// A removal (M7).
    Remove,
    /// A removal of a node above it, which handed it back (M8).
    HandBack {
        /// The write that it undid, in the sense of M8 (a): the move, or the reason's write.
        cause: Stamp,
    },
}

/// A move that was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkippedMove {
    /// Its stamp.
    pub stamp: Stamp,
    /// The parent it wanted.
    pub parent: NodeId,
    /// The write that is the reason (M9); its own stamp for a move of a node into itself.
    pub reason: Stamp,
    /// Whether for a cycle; otherwise its target was trashed.
    pub cycle: bool,
}

/// One write to a property.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Its stamp.
    pub stamp: Stamp,
    /// What it wrote.
    pub what: Written,
}

/// What a property write wrote.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// A value.
    Set(Value),
    /// Nothing.
    Unset,
    /// So much more.
    Inc(i64),
}

/// A property: a small history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Register {
    /// The newest writes, in stamp order.
    pub writes: Vec<Write>,
    /// What stands in segments (table `h`), all older than the first of `writes`.
    pub older: Option<Older>,
}

/// What a register has to know of its segments.
#[derive(Clone, Debug, PartialEq)]
pub struct Older {
    /// The stamp of the newest write that was moved to a segment.
    pub newest: Stamp,
    /// What the segments come to, kept as long as the register needs it: while it holds nothing
    /// but incs itself.
    pub under: Option<Under>,
}

/// The sum of a run of incs, and what it stands on.
#[derive(Clone, Debug, PartialEq)]
pub struct Under {
    /// Writes up to this stamp did not count when it was summed up (M6).
    pub floor: Stamp,
    /// The newest set or unset.
    pub base: Option<(Stamp, Option<Value>)>,
    /// The incs after it.
    pub incs: i128,
}

/// A place among the children of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildEntry {
    /// The child's name.
    pub name: NodeName,
    /// When it came to its place: the greater of its newest parent and name stamps (M10).
    pub placed: Stamp,
    /// Whether the child is listed elsewhere, by a written order key, and this entry is only for
    /// finding it by name.
    pub shadow: bool,
}

/// A change set with structural operations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StructuralRecord {
    /// Its number in its origin's stream.
    pub sequence: Sequence,
    /// Whether it removes anything.
    pub removes: bool,
    /// Operations that wrote parents of nodes other than their own: index, and those nodes.
    pub others: Vec<(u32, Vec<NodeId>)>,
}

/// The newest applied change set of an origin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// Its number.
    pub sequence: Sequence,
    /// Its time.
    pub time: Time,
    /// Up to what time it had seen other origins.
    pub seen: Arc<BTreeMap<OriginId, Time>>,
}

/// The rest of a repository's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    /// Applied heads without descendants, in order of origins.
    pub frontier: Vec<Dependency>,
    /// Sums of the hashes of all records by the first byte of their node's id.
    pub digest: Box<[u128; 256]>,
    /// The newest removal.
    pub removal: Stamp,
    /// For each origin the time of its newest write that a removal may have to look at (M8).
    pub causes: BTreeMap<OriginId, Time>,
    /// Counted since the repository began here: see `merge::MergeCounters`.
    pub counters: Vec<u64>,
}

impl Default for Meta {
    fn default() -> Self {
        Self {
            frontier: Vec::new(),
            digest: Box::new([0; 256]),
            removal: Stamp::MIN,
            causes: BTreeMap::new(),
            counters: Vec::new(),
        }
    }
}

impl Write {
    /// About how many bytes it takes.
    pub fn weight(&self) -> usize {
        Stamp::BYTES
            + match &self.what {
                Written::Set(value) => value.weight(),
                Written::Unset | Written::Inc(_) => 8,
            }
    }
}

impl Register {
    /// About how many bytes it takes.
    pub fn weight(&self) -> usize {
        self.writes.iter().map(Write::weight).sum::<usize>() + 8
    }
}

impl Record {
    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        match self {
            Self::Node(node) => {
                160 + node.parents.len() * 80
                    + node.skips.len() * 80
                    + node.names.len() * 72
                    + node.orders.len() * 72
                    + node
                        .properties
                        .values()
                        .map(|r| 100 + r.weight() * 2)
                        .sum::<usize>()
            }
            Self::Register(register) => 64 + register.weight() * 2,
            Self::Segment(writes) => 48 + writes.iter().map(Write::weight).sum::<usize>() * 2,
            Self::Child(_) => 120,
            Self::Structural(record) => {
                64 + record
                    .others
                    .iter()
                    .map(|(_, nodes)| 32 + nodes.len() * 16)
                    .sum::<usize>()
            }
            Self::Head(head) => 64 + head.seen.len() * 32,
            Self::Mark | Self::Touched(_) | Self::Seen(_) => 32,
            Self::Meta(_) => 4_400,
        }
    }

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
                w.byte(record.removes.into());
                w.len(record.others.len());
                for (index, nodes) in &record.others {
                    w.uint(u64::from(*index));
                    w.len(nodes.len());
                    nodes.iter().for_each(|node| w.node(*node));
                }
            }
            Self::Seen(time) => {
                w.byte(b'v');
                w.fixed(&time.0.to_be_bytes());
            }
            Self::Head(head) => {
                w.byte(b'a');
                w.uint(head.sequence.0);
                w.fixed(&head.time.0.to_be_bytes());
                write_times(&mut w, &head.seen);
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
                    .for_each(|sum| w.fixed(&sum.to_be_bytes()));
                w.stamp(meta.removal);
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
                let (sequence, removes) = (r.sequence()?, r.byte()? != 0);
                let others = list(&mut r, |r| {
                    let index = r.uint()? as u32;
                    Ok((index, list(r, Reader::node)?))
                })?;
                Self::Structural(Arc::new(StructuralRecord {
                    sequence,
                    removes,
                    others,
                }))
            }
            b'v' => Self::Seen(r.time()?),
            b'a' => Self::Head(Arc::new(Head {
                sequence: r.sequence()?,
                time: r.time()?,
                seen: Arc::new(read_times(&mut r)?),
            })),
            b'm' => {
                let frontier = list(&mut r, |r| {
                    Ok(Dependency {
                        origin: r.origin()?,
                        sequence: r.sequence()?,
                    })
                })?;
                let mut digest = Box::new([0; 256]);
                for sum in digest.iter_mut() {
                    *sum = u128::from_be_bytes(r.fixed()?);
                }
                let removal = r.stamp()?;
                let causes = read_times(&mut r)?;
                let counters = list(&mut r, Reader::uint)?;
                Self::Meta(Arc::new(Meta {
                    frontier,
                    digest,
                    removal,
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

fn list<'a, T>(
    r: &mut Reader<'a>,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, MalformedRecord>,
) -> Result<Vec<T>, MalformedRecord> {
    let len = r.len()?;
    (0..len).map(|_| item(r)).collect()
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
    let names = list(r, |r| Ok((r.stamp()?, r.name()?)))?;
    let orders = list(r, |r| Ok((r.stamp()?, r.order_key()?)))?;
    let properties = list(r, |r| Ok((r.property()?, read_register(r)?)))?
        .into_iter()
        .collect();
    let outside = r.uint()? as u32;
    Ok(NodeRecord {
        parents,
        skips,
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
        1 => Some(Older {
            newest: r.stamp()?,
            under: None,
        }),
        2 => {
            let (newest, floor) = (r.stamp()?, r.stamp()?);
            let base = match r.byte()? {
                0 => None,
                1 => Some((r.stamp()?, None)),
                2 => Some((r.stamp()?, Some(r.value()?))),
                _ => return Err(MalformedRecord("a register's base")),
            };
            let incs = i128::from_be_bytes(r.fixed()?);
            Some(Older {
                newest,
                under: Some(Under { floor, base, incs }),
            })
        }
        _ => return Err(MalformedRecord("a register")),
    };
    Ok(Register { writes, older })
}
