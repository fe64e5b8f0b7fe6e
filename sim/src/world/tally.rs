//! What a run met: kinds of faults that really happened, marks that were passed, traffic.

use std::collections::BTreeMap;

use crate::plan::Kind;

/// Counts of one run, or of many added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often each kind of fault happened.
    pub kinds: BTreeMap<Kind, u64>,
    /// How often each mark was passed.
    pub marks: BTreeMap<&'static str, u64>,
    /// Messages sent.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Change sets that came in ranges, wanted or not, at all machines together.
    pub payloads: u64,
    /// Most bytes that waited to be sent over one connection.
    pub queued_bytes_max: usize,
    /// Saves that were taken.
    pub saves: u64,
    /// Saves that were refused, since something they write had changed or for want of room.
    pub refused: u64,
}

impl Tally {
    /// A fault of this kind has happened.
    pub(crate) fn meet(&mut self, kind: Kind) {
        *self.kinds.entry(kind).or_default() += 1;
    }

    /// Adds what another run met.
    pub fn add(&mut self, other: &Self) {
        for (kind, times) in &other.kinds {
            *self.kinds.entry(*kind).or_default() += times;
        }
        for (mark, times) in &other.marks {
            self.marks_add(mark, *times);
        }
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.payloads += other.payloads;
        self.queued_bytes_max = self.queued_bytes_max.max(other.queued_bytes_max);
        self.saves += other.saves;
        self.refused += other.refused;
    }

    /// A mark has been passed.
    pub(crate) fn mark(&mut self, name: &'static str) {
        self.marks_add(name, 1);
    }

    /// A mark has been passed so many times.
    pub(crate) fn marks_add(&mut self, name: &'static str, times: u64) {
        if times > 0 {
            *self.marks.entry(name).or_default() += times;
        }
    }
}
