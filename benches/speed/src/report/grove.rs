//! A tree in a merge engine, which is saved to, and what each save comes to.

use std::sync::Arc;

use leveret::merge::Draft;
use leveret::model::script::parse_line;
use leveret::model::{ChangeSet, OriginId};
use leveret::storage::Storage;
use leveret_sim::engine::{Engine, Log};

/// Who saves, unless it is said.
pub(super) const AUTHOR: OriginId = OriginId([1; 16]);
/// Operations in one save, where many are made.
const TOGETHER: usize = 1_000;

/// What merging one save came to.
#[derive(Clone, Copy, Default)]
pub(super) struct Cost {
    /// Records read.
    pub(super) read: f64,
    /// Operations of earlier saves that were evaluated again.
    pub(super) again: f64,
    /// State records that changed.
    pub(super) written: f64,
    /// Bytes of these, with their keys.
    pub(super) bytes: f64,
}

/// See the top of the file.
pub(super) struct Grove {
    pub(super) engine: Engine,
    pub(super) time: u64,
}

impl Grove {
    pub(super) fn new(log: Log) -> Self {
        let engine = Engine::new(log);
        Self { engine, time: 10 }
    }

    pub(super) fn on(storage: Arc<dyn Storage>) -> Self {
        let engine = Engine::on(storage, Log::default());
        Self { engine, time: 10 }
    }

    /// What somebody saves at a time, with these lines; it is not merged.
    pub(super) fn draft(&self, time: u64, origin: OriginId, lines: &[String]) -> Arc<ChangeSet> {
        let mut draft = Draft::new(self.engine.snapshot(), origin);
        for line in lines {
            draft.apply(&parse_line(line).unwrap()).unwrap();
        }
        self.engine.save(&draft, time, origin)
    }

    /// Saves lines.
    pub(super) fn save(&mut self, lines: &[String]) -> Arc<ChangeSet> {
        self.time += 1;
        let set = self.draft(self.time, AUTHOR, lines);
        self.engine.merge(std::slice::from_ref(&set));
        set
    }

    /// Saves many lines, in large saves, with a checkpoint after each.
    pub(super) fn plant(&mut self, lines: impl Iterator<Item = String>) {
        let mut together = Vec::new();
        for line in lines {
            together.push(line);
            if together.len() == TOGETHER {
                self.save(&std::mem::take(&mut together));
                self.settle();
            }
        }
        if !together.is_empty() {
            self.save(&together);
        }
        self.settle();
    }

    /// Writes a checkpoint.
    pub(super) fn settle(&self) {
        if let Some(checkpoint) = self.engine.state.take_checkpoint() {
            self.engine.write(checkpoint);
        }
    }

    /// Saves a line, and says what that came to. There is nothing that a checkpoint does not hold.
    pub(super) fn cost(&mut self, line: &str) -> Cost {
        self.time += 1;
        let set = self.draft(self.time, AUTHOR, &[line.to_owned()]);
        self.cost_of(&set)
    }

    /// Merges a change set, and says what that came to.
    pub(super) fn cost_of(&self, set: &Arc<ChangeSet>) -> Cost {
        let before = self.engine.counters();
        self.engine.merge(std::slice::from_ref(set));
        let after = self.engine.counters();
        let mut cost = Cost {
            read: (after.records_read - before.records_read) as f64,
            again: (after.reevaluated - before.reevaluated) as f64,
            ..Cost::default()
        };
        if let Some(checkpoint) = self.engine.state.take_checkpoint() {
            for (key, record) in &checkpoint.changes {
                cost.written += 1.0;
                cost.bytes += (key.len() + record.as_ref().map_or(0, Vec::len)) as f64;
            }
            self.engine.write(checkpoint);
        }
        cost
    }
}

/// The path of node `i` of a tree in which every node has ten children, and is called by its number.
pub(super) fn place(i: usize) -> String {
    let above = match i {
        0..10 => String::new(),
        _ => place(i / 10 - 1),
    };
    format!("{above}/n{i}")
}

/// The lines that add so many nodes of such a tree, each with a property.
pub(super) fn tree(nodes: usize) -> impl Iterator<Item = String> {
    (0..nodes).flat_map(|i| [format!("add {}", place(i)), format!("set {} x 1", place(i))])
}
