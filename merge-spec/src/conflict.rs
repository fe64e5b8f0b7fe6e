//! What people are told (M14): the conflicts that follow from the fold.
//!
//! A conflict is kept without the lost value, which the losing change set still has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::change::{NodeId, SetId, Stamp};
use crate::fold::Fold;
use crate::node::{NameCause, Node, ParentCause, PropertyChange};
use crate::tree::{Author, Tree};
use crate::value::Value;

/// How something was lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// A newer write by somebody who had not seen this one.
    Overwritten,
    /// An edit, add or move went along with a removal, or landed in the trash.
    UnderRemoved,
    /// A move into something trashed, or one that a removal handed back.
    TargetRemoved,
    /// A move below itself.
    Cycle,
    /// A removal that a newer move took back.
    RemovalUndone,
    /// An add of something that is already there, at another place.
    Elsewhere,
    /// One of several live siblings of one name, and not the first.
    NameClash,
    /// An all-or-nothing set that counts as empty.
    Voided,
    /// An operation on a node that does not exist.
    UnknownNode,
}

impl Kind {
    /// All kinds; the place of a kind here is its byte in the id of a conflict.
    pub const ALL: [Kind; 9] = [
        Kind::Overwritten,
        Kind::UnderRemoved,
        Kind::TargetRemoved,
        Kind::Cycle,
        Kind::RemovalUndone,
        Kind::Elsewhere,
        Kind::NameClash,
        Kind::Voided,
        Kind::UnknownNode,
    ];

    /// What cases call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Overwritten => "overwritten",
            Kind::UnderRemoved => "under-removed",
            Kind::TargetRemoved => "target-removed",
            Kind::Cycle => "cycle",
            Kind::RemovalUndone => "removal-undone",
            Kind::Elsewhere => "elsewhere",
            Kind::NameClash => "name-clash",
            Kind::Voided => "voided",
            Kind::UnknownNode => "unknown-node",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What about a node was lost.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Item {
    /// The node as such: it was added or, for `voided`, a whole set is lost.
    Node,
    /// Where it is.
    Parent,
    /// What it is called.
    Name,
    /// Its order key.
    Order,
    /// A property.
    Property(String),
}

/// One thing that somebody wrote and that is not there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Conflict {
    /// The losing change set.
    pub loser: SetId,
    /// How it lost.
    pub kind: Kind,
    /// The node it is about; the root for `voided`.
    pub node: NodeId,
    /// What about it.
    pub item: Item,
    /// The winning change set, where there is one.
    pub winner: Option<SetId>,
}

impl Conflict {
    /// What a dismissal calls it: half a hash over all of its fields, so that a conflict that
    /// goes and comes again is the same one (M14).
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        let mut bytes = b"leveret conflict 1\0".to_vec();
        let set = |bytes: &mut Vec<u8>, id: SetId| {
            bytes.extend(id.time.to_be_bytes());
            bytes.extend(id.origin.0);
        };
        bytes.push(self.kind as u8);
        set(&mut bytes, self.loser);
        bytes.extend(self.node.0);
        match &self.item {
            Item::Node => bytes.push(0),
            Item::Parent => bytes.push(1),
            Item::Name => bytes.push(2),
            Item::Order => bytes.push(3),
            Item::Property(name) => {
                let length = u16::try_from(name.len()).expect("a property's name is short");
                bytes.push(4);
                bytes.extend(length.to_le_bytes());
                bytes.extend(name.as_bytes());
            }
        }
        bytes.push(u8::from(self.winner.is_some()));
        if let Some(winner) = self.winner {
            set(&mut bytes, winner);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
        id
    }
}

impl fmt::Display for Conflict {
    /// Writes it as cases do: `AUTHOR@TIME kind`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.loser, self.kind)
    }
}

/// An operation that is lost if its node is trashed in the end.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct UnderRemoved {
    operation: Stamp,
    node: NodeId,
    item: Item,
    winner: Option<SetId>,
    /// Whether it came when its node was trashed already, and did not go with it.
    landed: bool,
}

impl Tree {
    pub(crate) fn report(
        &mut self,
        kind: Kind,
        loser: SetId,
        winner: Option<SetId>,
        node: NodeId,
        item: Item,
    ) {
        self.conflicts.insert(Conflict {
            loser,
            kind,
            node,
            item,
            winner,
        });
    }

    /// `overwritten`, of a property that is about to be written.
    pub(crate) fn report_overwritten_value(
        &mut self,
        id: NodeId,
        property: &str,
        change: &PropertyChange,
        by: &Author<'_>,
    ) {
        let (under, incs) = self.node(id).counting(property);
        let loses = |old: &PropertyChange| match (old, change) {
            // An inc on top takes nothing away from what is under it, unless that is no integer.
            (PropertyChange::Set(value), PropertyChange::Inc(_)) => !matches!(value, Value::Int(_)),
            (_, PropertyChange::Inc(_)) => false,
            // A set or unset takes the place of each write that made the value just before it: of
            // a set or unset if its value differs, of an inc always.
            (PropertyChange::Inc(_), _) => true,
            (old, new) => old != new,
        };
        let rule = |old: &PropertyChange| match (old, change) {
            (_, PropertyChange::Inc(_)) => "M14 set under an inc",
            (PropertyChange::Inc(_), _) => "M14 inc under a set or unset",
            _ => "M14 set or unset under a set or unset",
        };
        let losers: Vec<(SetId, &'static str)> = incs
            .into_iter()
            .chain(under)
            .filter(|write| by.unseen(write.stamp) && loses(&write.change))
            .map(|write| (write.stamp.set, rule(&write.change)))
            .collect();
        for (loser, rule) in losers {
            self.fire(rule);
            let item = Item::Property(property.to_owned());
            self.report(Kind::Overwritten, loser, Some(by.set), id, item);
        }
    }

    /// `overwritten`, of a name that a rename or move is about to give.
    pub(crate) fn report_overwritten_name(&mut self, id: NodeId, name: &str, by: &Author<'_>) {
        let Some(old) = self.node(id).name() else {
            return;
        };
        if old.cause == NameCause::Given && by.unseen(old.stamp) && old.name != name {
            let loser = old.stamp.set;
            self.fire("M14 name under a name");
            self.report(Kind::Overwritten, loser, Some(by.set), id, Item::Name);
        }
    }

    /// `overwritten`, of an order key that is about to be written.
    pub(crate) fn report_overwritten_order(&mut self, id: NodeId, key: &[u8], by: &Author<'_>) {
        let Some(old) = self.node(id).order_key() else {
            return;
        };
        if by.unseen(old.stamp) && old.key != key {
            let loser = old.stamp.set;
            self.fire("M14 order under an order");
            self.report(Kind::Overwritten, loser, Some(by.set), id, Item::Order);
        }
    }

    /// What a move that is about to take effect overtakes: `removal-undone` for the removal that
    /// the node is in the trash by, `overwritten` for the newest parent write outside the trash.
    pub(crate) fn report_overtaken_parent(&mut self, id: NodeId, to: NodeId, by: &Author<'_>) {
        let writes = &self.node(id).parents;
        let removal = writes
            .last()
            .filter(|write| write.cause == ParentCause::Remove);
        let removal = removal
            .filter(|write| by.unseen(write.stamp))
            .map(|write| write.stamp.set);
        let placed = writes.iter().rfind(|write| write.to != NodeId::TRASH);
        let placed = placed
            .filter(|write| write.cause == ParentCause::Move && write.to != to)
            .filter(|write| by.unseen(write.stamp))
            .map(|write| write.stamp.set);
        if let Some(loser) = removal {
            self.report(Kind::RemovalUndone, loser, Some(by.set), id, Item::Parent);
        }
        if let Some(loser) = placed {
            self.fire("M14 parent under a move");
            self.report(Kind::Overwritten, loser, Some(by.set), id, Item::Parent);
        }
    }

    /// `elsewhere`: the add of a live node finds it under another parent or name.
    pub(crate) fn report_elsewhere(
        &mut self,
        id: NodeId,
        parent: NodeId,
        name: &str,
        by: &Author<'_>,
    ) {
        let node = self.node(id);
        let moved = node
            .parent()
            .filter(|write| write.to != parent)
            .map(|write| write.stamp);
        let renamed = node
            .name()
            .filter(|write| write.name != name)
            .map(|write| write.stamp);
        let winner = [moved, renamed]
            .into_iter()
            .flatten()
            .filter(|stamp| by.unseen(*stamp))
            .max();
        if let Some(winner) = winner {
            self.report(Kind::Elsewhere, by.set, Some(winner.set), id, Item::Node);
        }
    }

    /// `under-removed`, first half: what the remover had not seen on the node that is about to go
    /// and on those below it, once all that has to be handed back has been.
    pub(crate) fn report_under_removed(&mut self, removed: NodeId, by: &Author<'_>) {
        let mut lost = Vec::new();
        for (id, node) in &self.nodes {
            if !self.at_or_below(*id, removed) {
                continue;
            }
            for (operation, item) in &node.touched {
                if by.unseen(*operation) {
                    let (node, winner) = (*id, Some(by.set));
                    lost.push(UnderRemoved {
                        operation: *operation,
                        node,
                        item: item.clone(),
                        winner,
                        landed: false,
                    });
                }
            }
        }
        self.under_removed.append(&mut lost);
    }

    /// `under-removed`, second half: an edit, rename or add that lands in the trash, whether its
    /// author knew or not. `through` is what is trashed: the node or, of an add, the parent.
    pub(crate) fn report_in_trash(
        &mut self,
        id: NodeId,
        through: NodeId,
        operation: Stamp,
        item: Item,
    ) {
        let winner = self
            .node(self.top(through))
            .parent()
            .map(|write| write.stamp.set);
        self.under_removed.push(UnderRemoved {
            operation,
            node: id,
            item,
            winner,
            landed: true,
        });
    }

    /// How the lost operations of removals stand, by the names of [`Fold::fired`].
    fn count_lost(&self) -> [(&'static str, usize); 4] {
        let count = |has: &dyn Fn(&UnderRemoved) -> bool| {
            self.under_removed.iter().filter(|lost| has(lost)).count()
        };
        let still = |lost: &UnderRemoved| self.still_lost(lost);
        [
            (
                "M14 went with a removal",
                count(&|lost| !lost.landed && still(lost)),
            ),
            (
                "M14 went with a removal, but is live",
                count(&|lost| !still(lost)),
            ),
            (
                "M14 landed in the trash",
                count(&|lost| lost.landed && still(lost)),
            ),
            (
                "M14 emptied since",
                count(&|lost| still(lost) && !self.trashed(lost.node)),
            ),
        ]
    }

    /// Whether what is lost under a removal is still lost: the node is trashed in the end, or has
    /// come back empty since (M6).
    fn still_lost(&self, lost: &UnderRemoved) -> bool {
        self.trashed(lost.node) || self.node(lost.node).emptied > Some(lost.operation)
    }
}

impl Fold {
    /// All conflicts, each once, dismissed ones included.
    #[must_use]
    pub fn conflicts(&self) -> BTreeSet<Conflict> {
        let mut all = self.tree.conflicts.clone();
        for lost in self
            .tree
            .under_removed
            .iter()
            .filter(|lost| self.tree.still_lost(lost))
        {
            all.insert(Conflict {
                loser: lost.operation.set,
                kind: Kind::UnderRemoved,
                node: lost.node,
                item: lost.item.clone(),
                winner: lost.winner,
            });
        }
        all.extend(self.name_clashes());
        all
    }

    /// The conflicts that nobody has dismissed.
    #[must_use]
    pub fn open_conflicts(&self) -> BTreeSet<Conflict> {
        let closed: BTreeSet<&[u8; 16]> = self.tree.dismissals.values().collect();
        let mut open = self.conflicts();
        open.retain(|conflict| !closed.contains(&conflict.id()));
        open
    }

    pub(crate) fn lost_under_removals(&self) -> [(&'static str, usize); 4] {
        self.tree.count_lost()
    }

    /// The dismissals in the fold, those of voided sets left out: the stamp of each, and the id of
    /// the conflict that it closes, whether there is such a conflict or not.
    #[must_use]
    pub fn dismissals(&self) -> &BTreeMap<Stamp, [u8; 16]> {
        &self.tree.dismissals
    }

    /// The open conflicts as cases have them: `AUTHOR@TIME kind`, sorted, each pair once.
    #[must_use]
    pub fn conflict_pairs(&self) -> Vec<String> {
        let pairs: BTreeSet<String> = self
            .open_conflicts()
            .iter()
            .map(Conflict::to_string)
            .collect();
        pairs.into_iter().collect()
    }

    /// `name-clash`: for each live node but the first of those that share parent and name.
    fn name_clashes(&self) -> Vec<Conflict> {
        let mut places: BTreeMap<(NodeId, &str), Vec<NodeId>> = BTreeMap::new();
        for (id, node) in self.nodes() {
            if let (Some(parent), Some(name), false) =
                (node.parent(), node.name(), self.tree.trashed(*id))
            {
                places.entry((parent.to, &name.name)).or_default().push(*id);
            }
        }
        let mut clashes = Vec::new();
        for mut group in places.into_values() {
            group.sort_by_key(|id| self.precedence(*id));
            let winner = placed_by(self.tree.node(group[0])).map(|stamp| stamp.set);
            for later in &group[1..] {
                if let Some(loser) = placed_by(self.tree.node(*later)) {
                    let (kind, item) = (Kind::NameClash, Item::Name);
                    clashes.push(Conflict {
                        loser: loser.set,
                        kind,
                        node: *later,
                        item,
                        winner,
                    });
                }
            }
        }
        clashes
    }
}

/// The operation that a node's place is laid to (M14): its newest parent or name write; of a
/// hand-back, the move that it took back or, for (b) of M8, that was skipped.
fn placed_by(node: &Node) -> Option<Stamp> {
    let placed = node.placed()?;
    match node.parent() {
        Some(write) if write.stamp == placed => match write.cause {
            ParentCause::HandBack { blamed, .. } => Some(blamed),
            _ => Some(placed),
        },
        _ => Some(placed),
    }
}
