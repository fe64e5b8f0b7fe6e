//! The new chain of one statement: what stands for what, and how it is made of the old ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::change_set::{chain_hash, decode, encode};
use crate::codec::closing::Closing;
use crate::codec::journal;
use crate::model::limits::CHANGE_SET_BYTES_MAX;
use crate::model::{
    Birth, ChangeSet, ChangeSetId, Dependency, NodeId, Operation, OriginId, Sequence, Time, Value,
};
use crate::replica::journal::JournalReader;
use crate::replica::repair::ClosedOrigin;
use crate::replica::stream::Tip;
use crate::storage::StorageError;

/// Records of a new chain read at a time.
const PAGE_RECORDS: usize = 64;

/// What is left to be saved again of one statement.
pub(in crate::replica) struct Again {
    pub(super) closing: Closing,
    /// The origin of the new chain.
    pub(super) origin: OriginId,
    /// What is next of each origin, in their order.
    pub(super) next: Vec<(OriginId, Sequence)>,
    /// The end of the new chain, as far as it has been made or gone over.
    pub(super) tip: Tip,
    /// The new ids of nodes whose id follows from when they were added.
    pub(super) nodes: BTreeMap<NodeId, NodeId>,
    /// Of which the dependencies are saved again, and the operations are to follow.
    pub(super) halved: Option<Arc<ChangeSet>>,
    /// Whether the statement is durable. Nothing is saved before.
    pub(super) durable: bool,
    /// What it waits for, which is not here.
    pub(super) lacks: Option<Dependency>,
    /// Whether it has been told that it waits.
    pub(super) told: bool,
    /// Whether it goes on without what it had seen of others and is not here.
    pub(super) alone: bool,
    /// Why it does not go on in this life.
    pub(super) stopped: Option<StorageError>,
}

impl Again {
    pub(in crate::replica) fn new(closing: Closing) -> Self {
        let next = closing
            .origins()
            .map(|(origin, closed)| (origin, closed.last.next()))
            .collect();
        Self {
            origin: closing.again(),
            next,
            tip: Tip::NONE,
            nodes: BTreeMap::new(),
            halved: None,
            durable: false,
            lacks: None,
            told: false,
            alone: false,
            stopped: None,
            closing,
        }
    }

    /// The statement.
    pub(in crate::replica) fn closing(&self) -> &Closing {
        &self.closing
    }

    /// Whether it goes on by itself.
    pub(in crate::replica) fn is_under_way(&self) -> bool {
        self.lacks.is_none() && self.stopped.is_none()
    }

    /// Why it does not go on in this life.
    pub(in crate::replica) fn stopped(&self) -> Option<&StorageError> {
        self.stopped.as_ref()
    }

    /// The last number that counts of an origin that the statement closes.
    pub(super) fn closed_after(&self, origin: OriginId) -> Option<Sequence> {
        let at = self
            .next
            .binary_search_by_key(&origin, |next| next.0)
            .ok()?;
        Some(self.closing.closed[at].last)
    }

    /// The closed one for which a change set of the new chain stands, if it names one.
    pub(super) fn stands_for(&self, set: &ChangeSet) -> Option<Dependency> {
        let mut on = set.dependencies.iter();
        let closed = |on: &&Dependency| {
            let last = self.closed_after(on.origin);
            last.is_some_and(|last| on.sequence > last)
        };
        on.find(closed).copied()
    }

    /// The one after `tip` of the new chain that stands for `old`.
    pub(super) fn renew(
        &self,
        tip: Tip,
        old: &ChangeSet,
        dependencies: Vec<Dependency>,
    ) -> ChangeSet {
        let sequence = tip.sequence.next();
        let id = ChangeSetId {
            time: Time(self.closing.time.0 + sequence.0),
            origin: self.origin,
        };
        let mut set = ChangeSet {
            repo: old.repo,
            id,
            sequence,
            previous: tip.hash,
            birth: (sequence == Sequence(1)).then(|| Birth {
                key: self.closing.key,
                nonce: self.closing.nonce(),
                predecessor: None,
            }),
            dependencies,
            rules: old.rules,
            all_or_nothing: old.all_or_nothing,
            message: old.message.clone(),
            operations: old.operations.clone(),
        };
        set.message
            .get_or_insert_with(|| format!("saved again: {}", old.id).into());
        // What one adds the next ones of the same change set may name.
        let mut added = BTreeMap::new();
        let stamps = (0..old.operations.len()).map(|index| (old.stamp(index), set.stamp(index)));
        let stamps: Vec<_> = stamps.collect();
        for (operation, (old, new)) in set.operations.iter_mut().zip(stamps) {
            let node = |node: NodeId| {
                let before = added.get(&node).or_else(|| self.nodes.get(&node));
                before.copied().unwrap_or(node)
            };
            let before = operation.node(old);
            for named in operation.nodes_mut() {
                *named = node(*named);
            }
            if let Operation::Set { value, .. } = operation {
                *value = renewed(value, &node);
            }
            let after = operation.node(new);
            if before != after {
                added.insert(before, after);
            }
        }
        set
    }

    /// Takes note of one of the new chain, which stands for `old`.
    pub(super) fn made(&mut self, old: &Arc<ChangeSet>, set: &ChangeSet, body: &[u8]) {
        self.tip = tip_at(set, body);
        let half = set.operations.is_empty() && !old.operations.is_empty();
        self.halved = half.then(|| old.clone());
        let pairs = old.operations.iter().zip(&set.operations);
        for (index, (before, after)) in pairs.enumerate() {
            let before = before.node(old.stamp(index));
            let after = after.node(set.stamp(index));
            if before != after {
                self.nodes.insert(before, after);
            }
        }
    }
}

/// A value in which nodes have their new ids.
fn renewed(value: &Value, node: &impl Fn(NodeId) -> NodeId) -> Value {
    match value {
        Value::Ref(named) => Value::Ref(node(*named)),
        Value::List(list) => {
            let items = list.iter().map(|item| renewed(item, node)).collect();
            Value::list(items).expect("a list of as many that are no lists")
        }
        other => other.clone(),
    }
}

/// Where a change set has its place in its chain.
pub(super) fn tip_at(set: &ChangeSet, body: &[u8]) -> Tip {
    Tip {
        sequence: set.sequence,
        hash: chain_hash(body),
        time: set.id.time,
    }
}

/// The operations of `old`, to follow after `tip`, where its dependencies are; nothing if they are too
/// large by themselves.
pub(super) fn rest(again: &Again, tip: Tip, old: &ChangeSet) -> Option<(ChangeSet, Vec<u8>)> {
    let mut set = again.renew(tip, old, Vec::new());
    let mut body = encode(&set);
    if body.len() > CHANGE_SET_BYTES_MAX {
        set.message = None;
        body = encode(&set);
    }
    (body.len() <= CHANGE_SET_BYTES_MAX).then_some((set, body))
}

/// How many of the change sets of closed origins are saved again, by origin. The others were too large
/// by some bytes.
///
/// # Errors
/// If the journal can not be read.
pub fn count_again(
    reader: &JournalReader,
    closed: &[ClosedOrigin],
) -> Result<BTreeMap<OriginId, u64>, StorageError> {
    let mut counts = BTreeMap::new();
    let here = closed.iter().filter(|one| one.repo == reader.repo());
    let ends: BTreeMap<_, _> = here.map(|one| (one.origin, one)).collect();
    let mut chains: Vec<_> = ends.values().map(|one| one.again).collect();
    chains.sort();
    chains.dedup();
    for again in chains {
        let mut at = Sequence(0);
        loop {
            let page = reader.page(again, at, PAGE_RECORDS)?;
            let Some((last, _)) = page.last() else { break };
            at = *last;
            for (_, bytes) in page {
                let damaged = |error| StorageError::Damaged(format!("{error}"));
                let record = journal::decode(&bytes).map_err(damaged)?;
                let set = decode(record.body).map_err(damaged)?;
                let stands_for = |on: &&Dependency| {
                    let closed = ends.get(&on.origin);
                    closed.is_some_and(|one| one.again == again && on.sequence > one.last)
                };
                if let Some(on) = set.dependencies.iter().find(stands_for) {
                    *counts.entry(on.origin).or_default() += 1;
                }
            }
        }
    }
    Ok(counts)
}
