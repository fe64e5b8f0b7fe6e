//! What merging has come to, counted: for tests that count instead of timing, and for operators.

/// Counts since this replica began to hold the repository; checkpointed with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergeCounters {
    /// Passes.
    pub merges: u64,
    /// Change sets merged.
    pub change_sets: u64,
    /// Change sets that were older than one merged before them.
    pub late: u64,
    /// Passes that had to evaluate structural operations of earlier passes again.
    pub rewinds: u64,
    /// Structural operations of earlier passes that were evaluated again.
    pub reevaluated: u64,
    /// Those of them that came out differently.
    pub revised: u64,
    /// Nodes handed back by removals (M8).
    pub handed_back: u64,
    /// Moves skipped (M9).
    pub skipped: u64,
    /// Nodes brought back empty by an add (M6).
    pub come_back: u64,
    /// Times a child came to a place where another has the same name (M10).
    pub clashes_met: u64,
    /// Children that share their name with an earlier one, now (M10).
    pub clashes: u64,
    /// Records read from below a pass.
    pub records_read: u64,
    /// All-or-nothing change sets that were voided, each time (M13).
    pub voided: u64,
}

impl MergeCounters {
    const FIELDS: usize = 13;

    /// Names and values, for people and machines.
    pub fn entries(&self) -> [(&'static str, u64); Self::FIELDS] {
        [
            ("merges", self.merges),
            ("change_sets", self.change_sets),
            ("late", self.late),
            ("rewinds", self.rewinds),
            ("reevaluated", self.reevaluated),
            ("revised", self.revised),
            ("handed_back", self.handed_back),
            ("skipped", self.skipped),
            ("come_back", self.come_back),
            ("clashes_met", self.clashes_met),
            ("clashes", self.clashes),
            ("records_read", self.records_read),
            ("voided", self.voided),
        ]
    }

    pub(crate) fn to_stored(self) -> Vec<u64> {
        self.entries().map(|(_, count)| count).to_vec()
    }

    pub(crate) fn from_stored(stored: &[u64]) -> Self {
        let at = |i: usize| stored.get(i).copied().unwrap_or_default();
        Self {
            merges: at(0),
            change_sets: at(1),
            late: at(2),
            rewinds: at(3),
            reevaluated: at(4),
            revised: at(5),
            handed_back: at(6),
            skipped: at(7),
            come_back: at(8),
            clashes_met: at(9),
            clashes: at(10),
            records_read: at(11),
            voided: at(12),
        }
    }
}
