//! State records: what `merge` keeps of a repository, and its bytes on disk.
//!
//! Only data and its bytes; what the records mean and how they change is in `merge`. All of them
//! can be rebuilt from the journal, so a new format needs no migration, only a rebuild; the first
//! byte of each is [`RECORD_VERSION`] all the same. The tables are listed in [`super::state_key`].

mod layout;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{
    ChangeSetId, Dependency, NodeId, NodeName, OrderKey, OriginId, PropertyName, Sequence, Stamp,
    Time, Value,
};

/// First byte of every state record.
pub const RECORD_VERSION: u8 = 3;

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
    /// Tables `w`, `u`, `f`, `c`, `d`: the key says it all.
    Mark,
    /// Tables `t`, `s`: the newest operation that looked at a node's place, or at who has a name.
    Touched(Stamp),
    /// Table `l`: a change set with structural operations, or an all-or-nothing one.
    Structural(Arc<StructuralRecord>),
    /// Table `x`: what a conflict has besides its key, the change set that won.
    Conflict(Option<ChangeSetId>),
    /// Table `v`: how far the author of a change set had seen other origins.
    Seen(Arc<SeenRecord>),
    /// Table `a`: the applied head of an origin.
    Head(Head),
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
    /// Adds of it that changed nothing (M6), in stamp order.
    pub again: Vec<AddedAgain>,
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

/// An add of a node that is known, which changes nothing (M6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddedAgain {
    /// Its stamp.
    pub stamp: Stamp,
    /// Whether the node was live then; otherwise it was trashed, and its parent too.
    pub live: bool,
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
#[derive(Debug, Default, PartialEq)]
pub struct Register {
    /// The newest writes, in stamp order.
    pub writes: Vec<Write>,
    /// What stands in segments (table `h`), all older than the first of `writes`. Few have any, and
    /// a register should be small.
    pub older: Option<Box<Older>>,
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
    /// The oldest write summed up; [`Stamp::MAX`] if none is.
    pub oldest: Stamp,
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

/// A change set with structural operations, or an all-or-nothing one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StructuralRecord {
    /// Its number in its origin's stream.
    pub sequence: Sequence,
    /// Whether it removes anything.
    pub removes: bool,
    /// Whether it is all-or-nothing, and voided (M13).
    pub voided: bool,
    /// Operations that wrote parents of nodes other than their own: index, and those nodes.
    pub others: Vec<(u32, Vec<NodeId>)>,
    /// Structural operations on unknown nodes (M12): index, and the node.
    pub unknown: Vec<(u32, NodeId)>,
}

/// What the author of a change set had seen of other origins, told from what another one had seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenRecord {
    /// How many records there are from this one to that which tells all, from base to base.
    pub depth: u8,
    /// A change set that its author had seen; nothing if all is told here.
    pub base: Option<ChangeSetId>,
    /// Up to what time which origins had been seen, in order of origins; of those of which it is
    /// more than the base, or what that had seen.
    pub news: Vec<(OriginId, Time)>,
}

/// The newest applied change set of an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub sequence: Sequence,
    /// Its time.
    pub time: Time,
}

/// The rest of a repository's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    /// Applied heads without descendants, in order of origins.
    pub frontier: Vec<Dependency>,
    /// Sums of the hashes of all records by the first byte of their node's id.
    pub digest: Sums,
    /// The newest removal.
    pub removal: Stamp,
    /// The newest all-or-nothing change set's last operation.
    pub atomic: Stamp,
    /// For each origin the time of its newest write that a removal may have to look at (M8).
    pub causes: BTreeMap<OriginId, Time>,
    /// Counted since the repository began here: see `merge::MergeCounters`.
    pub counters: Vec<u64>,
}

/// 256 sums, of which copies share what is the same.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Sums([Arc<[u128; 16]>; 16]);

impl Sums {
    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = u128> {
        self.0.iter().flat_map(|part| part.iter().copied())
    }

    /// One of them, to be changed.
    pub fn get_mut(&mut self, index: u8) -> &mut u128 {
        let part = Arc::make_mut(&mut self.0[usize::from(index / 16)]);
        &mut part[usize::from(index % 16)]
    }
}

impl Default for Meta {
    fn default() -> Self {
        Self {
            frontier: Vec::new(),
            digest: Sums::default(),
            removal: Stamp::MIN,
            atomic: Stamp::MIN,
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

/// A copy is made to be written to, and has room for that.
impl Clone for Register {
    fn clone(&self) -> Self {
        let mut writes = Vec::with_capacity(self.writes.len() + 1);
        writes.extend_from_slice(&self.writes);
        Self {
            writes,
            older: self.older.clone(),
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
    /// The place among children, if it is one.
    pub fn as_child(&self) -> Option<&ChildEntry> {
        match self {
            Self::Child(entry) => Some(entry),
            _ => None,
        }
    }

    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        match self {
            Self::Node(node) => {
                let texts = |count: usize| count * 112;
                let properties = node.properties.iter().map(|(name, register)| {
                    let writes = register.writes.iter().map(|write| 48 + write.weight());
                    48 + name.as_str().len() + writes.sum::<usize>()
                });
                192 + node.parents.len() * 88
                    + node.skips.len() * 96
                    + node.again.len() * 40
                    + texts(node.names.len() + node.orders.len())
                    // A leaf of the map has room for 11, and is half full at least.
                    + node.properties.len().div_ceil(6) * 560
                    + properties.sum::<usize>()
            }
            Self::Register(register) => 64 + register.weight() * 2,
            Self::Segment(writes) => 48 + writes.iter().map(Write::weight).sum::<usize>() * 2,
            Self::Child(_) => 120,
            Self::Structural(record) => {
                64 + record.unknown.len() * 24
                    + record
                        .others
                        .iter()
                        .map(|(_, nodes)| 32 + nodes.len() * 16)
                        .sum::<usize>()
            }
            Self::Seen(record) => 72 + record.news.len() * 24,
            Self::Mark | Self::Touched(_) | Self::Conflict(_) | Self::Head(_) => 32,
            Self::Meta(_) => 4_400,
        }
    }
}
