//! The fold (M1), and what applying each operation means (M4 to M7, M9, M11 to M13).
//!
//! Removals are long enough for a file of their own, `removal.rs`; what becomes a conflict is in
//! `conflict.rs`. Where a rule says that an author is refused (an add of a taken name, a move below
//! itself), nothing is checked here: a change set of one replica meets another tree on every other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::change::{ChangeSet, NodeId, Operation, Origin, SetId, Stamp};
use crate::conflict::{Item, Kind};
use crate::node::{
    NameCause, NameWrite, Node, OrderWrite, ParentCause, ParentWrite, PropertyChange,
    PropertyWrite, SkippedMove,
};
use crate::tree::{Author, Tree};
use crate::value::Value;

/// The state that a set of change sets leads to.
#[derive(Clone, PartialEq, Debug)]
pub struct Fold {
    pub(crate) tree: Tree,
    held: BTreeSet<SetId>,
    voided: BTreeSet<SetId>,
    /// What was applied, as dependencies name it.
    applied: BTreeMap<(Origin, u64), SetId>,
    /// What the author of each applied change set had seen (M2).
    histories: BTreeMap<SetId, Arc<BTreeSet<SetId>>>,
}

impl Fold {
    /// Every node there is, trashed ones and the root included.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<NodeId, Arc<Node>> {
        &self.tree.nodes
    }

    /// The change sets that were not applied since something they depend on is missing (M2).
    #[must_use]
    pub fn held(&self) -> &BTreeSet<SetId> {
        &self.held
    }

    /// The all-or-nothing change sets that count as empty (M13).
    #[must_use]
    pub fn voided(&self) -> &BTreeSet<SetId> {
        &self.voided
    }
}

/// Folds change sets, given in any order, into the state they stand for (M1).
///
/// One that is given twice counts once. One that depends on something missing is held: left out,
/// with all that depends on it (M2).
#[must_use]
pub fn fold(change_sets: &[ChangeSet]) -> Fold {
    // M1: in the order of their ids.
    let by_id: BTreeMap<SetId, &ChangeSet> = change_sets.iter().map(|set| (set.id, set)).collect();
    let mut fold = Fold::empty();
    for set in by_id.into_values() {
        fold.apply(set);
    }
    fold
}

impl Fold {
    /// The state before the first change set.
    #[must_use]
    pub fn empty() -> Fold {
        Fold {
            tree: Tree::empty(),
            held: BTreeSet::new(),
            voided: BTreeSet::new(),
            applied: BTreeMap::new(),
            histories: BTreeMap::new(),
        }
    }

    /// Applies the change set that is next in the order of ids: all that was applied is older.
    pub fn apply(&mut self, set: &ChangeSet) {
        // M2: what its author had seen is what it depends on, with all that those had seen. Since
        // that has smaller ids it has had its turn; if it has not, it is missing.
        let dependencies: Option<Vec<SetId>> = set
            .dependencies
            .iter()
            .map(|named| self.applied.get(named).copied())
            .collect();
        let Some(dependencies) = dependencies else {
            self.held.insert(set.id);
            return;
        };
        let mut seen = BTreeSet::new();
        for dependency in dependencies {
            seen.insert(dependency);
            seen.extend(self.histories[&dependency].iter());
        }

        // M13: an all-or-nothing set is tried; if anything in it goes wrong, the tree is again
        // what it was, conflicts included, as if the set had no operations.
        let before = set.all_or_nothing.then(|| self.tree.clone());
        let author = Author {
            set: set.id,
            seen: &seen,
        };
        let outcome = self.tree.apply_all(&set.operations, 0, &author);
        if let (Some(before), Outcome::Voids(why)) = (&before, outcome) {
            self.tree = before.clone();
            self.tree.fire(why);
            let (kind, item) = (Kind::Voided, Item::Node);
            self.tree.report(kind, set.id, None, NodeId::ROOT, item);
            self.voided.insert(set.id);
        } else if before.is_some() {
            self.tree.fire("M13 whole");
        }

        self.applied.insert((set.id.origin, set.sequence), set.id);
        self.histories.insert(set.id, Arc::new(seen));
    }

    /// Applies further operations of the change set that was applied last, which its author is
    /// still writing. False, and nothing has changed, if that would void it (M13).
    pub(crate) fn continue_set(&mut self, set: &ChangeSet, operations: &[Operation]) -> bool {
        let before = set.all_or_nothing.then(|| self.tree.clone());
        let author = Author {
            set: set.id,
            seen: &self.histories[&set.id],
        };
        let first = set.operations.len();
        let outcome = self.tree.apply_all(operations, first, &author);
        let undone = before.filter(|_| outcome != Outcome::Fits);
        let stands = undone.is_none();
        if let Some(before) = undone {
            self.tree = before;
        }
        stands
    }
}

/// What an operation means for the change set it is in, should that be all-or-nothing (M13).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It did what its author meant, or nothing was left to do.
    Fits,
    /// It was skipped, landed in the trash, or made its node clash with another; which of these,
    /// by the names of [`Fold::fired`].
    Voids(&'static str),
}

impl Outcome {
    const SKIPPED: Outcome = Outcome::Voids("M13 voided by a skip");
    const EDIT_IN_TRASH: Outcome = Outcome::Voids("M13 voided by an edit in the trash");
    const ADD_IN_TRASH: Outcome = Outcome::Voids("M13 voided by an add in the trash");
    const CLASH: Outcome = Outcome::Voids("M13 voided by a clash");

    fn clash_if(clashes: bool) -> Outcome {
        if clashes {
            Outcome::CLASH
        } else {
            Outcome::Fits
        }
    }
}

impl Tree {
    /// Applies operations that stand one after the other in a change set, from `first` on.
    fn apply_all(&mut self, operations: &[Operation], first: usize, by: &Author<'_>) -> Outcome {
        let mut all = Outcome::Fits;
        for (index, operation) in (first..).zip(operations) {
            let index = u32::try_from(index).expect("a change set has at most a MiB");
            let stamp = Stamp { set: by.set, index };
            let outcome = self.apply(operation, stamp, by);
            if all == Outcome::Fits {
                all = outcome;
            }
        }
        all
    }

    /// Applies one operation.
    fn apply(&mut self, operation: &Operation, stamp: Stamp, by: &Author<'_>) -> Outcome {
        match operation {
            Operation::Add { parent, name, k } => {
                if *k > 0 {
                    self.fire("M3 added again");
                }
                self.add(NodeId::of_add(*parent, name, *k), *parent, name, stamp, by)
            }
            Operation::AddUnique { parent, name } => {
                self.fire("M3 unique");
                self.add(NodeId::of_add_unique(stamp), *parent, name, stamp, by)
            }
            Operation::Remove { node } => self.remove(*node, stamp, by),
            Operation::Move { node, parent, name } => {
                self.move_to(*node, *parent, name.as_deref(), stamp, by)
            }
            Operation::Rename { node, name } => self.rename(*node, name, stamp, by),
            Operation::Set {
                node,
                property,
                value,
            } => self.write(
                *node,
                property,
                PropertyChange::Set(value.clone()),
                stamp,
                by,
            ),
            Operation::Unset { node, property } => {
                self.write(*node, property, PropertyChange::Unset, stamp, by)
            }
            Operation::Inc {
                node,
                property,
                delta,
            } => self.write(*node, property, PropertyChange::Inc(*delta), stamp, by),
            Operation::Order { node, key } => self.order(*node, key, stamp, by),
            Operation::Dismiss { conflict } => {
                // M14: it needs no node, changes none, and never voids its set.
                self.dismissals.insert(stamp, *conflict);
                Outcome::Fits
            }
        }
    }

    /// M12: an operation on a node that the fold does not know, or that is not for such an
    /// operation (the root, the trash), is skipped. `node` is the one at fault.
    pub(crate) fn unknown(&mut self, node: NodeId, stamp: Stamp) -> Outcome {
        self.fire(match node {
            NodeId::ROOT | NodeId::TRASH => "M12 root or trash",
            _ => "M12 unknown",
        });
        self.report(Kind::UnknownNode, stamp.set, None, node, Item::Node);
        Outcome::SKIPPED
    }

    /// M6.
    fn add(
        &mut self,
        id: NodeId,
        parent: NodeId,
        name: &str,
        stamp: Stamp,
        by: &Author<'_>,
    ) -> Outcome {
        if !self.contains(parent) {
            return self.unknown(parent, stamp); // M12
        }
        let under_trash = self.trashed(parent);
        let known = self.contains(id);
        let live = known && !self.trashed(id);

        let outcome = if !known {
            // Unknown: it comes to be under its parent, even under a trashed one.
            self.nodes.insert(id, Arc::default());
            self.place_by_add(id, parent, name, stamp, ParentCause::Add);
            if under_trash {
                self.fire("M6 new under trash");
                Outcome::ADD_IN_TRASH
            } else {
                self.fire("M6 new");
                Outcome::clash_if(self.clashes(id))
            }
        } else if live {
            // Known and not trashed: nothing changes.
            self.fire("M6 known, live");
            self.report_elsewhere(id, parent, name, by);
            Outcome::Fits
        } else if under_trash {
            // Known and trashed, as is the parent: nothing changes.
            self.fire("M6 known, trashed, parent trashed");
            Outcome::ADD_IN_TRASH
        } else {
            // Known and trashed, but the parent is not: it comes back there under that name, and
            // empty. Its older properties no longer count; each child goes to the trash by itself.
            self.fire("M6 comes back");
            let node = self.node(id);
            let lost = node
                .properties
                .keys()
                .filter_map(|name| node.property(name))
                .count();
            (0..lost).for_each(|_| self.fire("M6 empties a property"));
            for child in self.children(id) {
                self.fire("M6 empties a child");
                let write = ParentWrite {
                    stamp,
                    to: NodeId::TRASH,
                    cause: ParentCause::Emptied,
                };
                self.node_mut(child).parents.push(write);
            }
            self.node_mut(id).emptied = Some(stamp);
            self.place_by_add(id, parent, name, stamp, ParentCause::ComeBack);
            Outcome::clash_if(self.clashes(id))
        };

        self.node_mut(id).touched.push((stamp, Item::Node));
        if under_trash {
            self.report_in_trash(id, parent, stamp, Item::Node);
        }
        outcome
    }

    fn place_by_add(
        &mut self,
        id: NodeId,
        parent: NodeId,
        name: &str,
        stamp: Stamp,
        cause: ParentCause,
    ) {
        let node = self.node_mut(id);
        node.parents.push(ParentWrite {
            stamp,
            to: parent,
            cause,
        });
        node.names.push(NameWrite {
            stamp,
            name: name.to_owned(),
            cause: NameCause::Add,
        });
    }

    /// M9, of a move that names another parent than its node had in its author's view.
    fn move_to(
        &mut self,
        id: NodeId,
        parent: NodeId,
        name: Option<&str>,
        stamp: Stamp,
        by: &Author<'_>,
    ) -> Outcome {
        if !self.contains_below_root(id) {
            return self.unknown(id, stamp); // M12; first the node, then where it is to go
        }
        if !self.contains(parent) {
            return self.unknown(parent, stamp); // M12
        }
        // A cycle; this is looked at first. The reason is the newest parent write on the way from
        // the new parent up to, and without, the moved node.
        if self.at_or_below(parent, id) {
            self.fire(match (parent == id, self.trashed(parent)) {
                (true, _) => "M9 cycle without a reason",
                (false, true) => "M9 cycle, target trashed too",
                (false, false) => "M9 cycle",
            });
            let way = self.upwards(parent).take_while(|up| *up != id);
            let reason = way
                .filter_map(|up| self.node(up).parent())
                .map(|write| write.stamp)
                .max();
            return self.skip(Kind::Cycle, id, parent, reason, stamp);
        }
        // A trashed target. The reason is the write that put its nearest ancestor-or-self that is
        // itself in the trash there.
        if self.trashed(parent) {
            self.fire("M9 target trashed");
            let reason = self
                .node(self.top(parent))
                .parent()
                .map(|write| write.stamp);
            return self.skip(Kind::TargetRemoved, id, parent, reason, stamp);
        }
        if self.in_trash(id) {
            self.fire("M9 brings back");
        } else if self.trashed(id) {
            self.fire("M9 out of a trashed subtree");
        }
        self.report_overtaken_parent(id, parent, by);
        let write = ParentWrite {
            stamp,
            to: parent,
            cause: ParentCause::Move,
        };
        self.node_mut(id).parents.push(write);
        self.node_mut(id).touched.push((stamp, Item::Parent));
        if let Some(name) = name {
            self.fire("M9 move with name");
            self.give_name(id, name, stamp, by);
        } else {
            self.fire("M9 move");
        }
        Outcome::clash_if(self.clashes(id))
    }

    /// M9: a move is skipped as a whole, its name included.
    fn skip(
        &mut self,
        kind: Kind,
        id: NodeId,
        parent: NodeId,
        reason: Option<Stamp>,
        stamp: Stamp,
    ) -> Outcome {
        self.node_mut(id).skipped.push(SkippedMove {
            stamp,
            parent,
            reason,
        });
        self.report(
            kind,
            stamp.set,
            reason.map(|write| write.set),
            id,
            Item::Parent,
        );
        Outcome::SKIPPED
    }

    /// M9, of a move to what was the same parent in its author's view: the name alone is written,
    /// also that of a trashed node.
    fn rename(&mut self, id: NodeId, name: &str, stamp: Stamp, by: &Author<'_>) -> Outcome {
        if !self.contains_below_root(id) {
            return self.unknown(id, stamp); // M12
        }
        self.fire(if self.trashed(id) {
            "M9 rename in the trash"
        } else {
            "M9 rename"
        });
        self.give_name(id, name, stamp, by);
        self.edited(id, stamp, Item::Name, self.clashes(id))
    }

    fn give_name(&mut self, id: NodeId, name: &str, stamp: Stamp, by: &Author<'_>) {
        self.report_overwritten_name(id, name, by);
        let write = NameWrite {
            stamp,
            name: name.to_owned(),
            cause: NameCause::Given,
        };
        self.node_mut(id).names.push(write);
    }

    /// M4, M5: a write of a property.
    fn write(
        &mut self,
        id: NodeId,
        property: &str,
        change: PropertyChange,
        stamp: Stamp,
        by: &Author<'_>,
    ) -> Outcome {
        if !self.contains(id) {
            return self.unknown(id, stamp); // M12
        }
        let under = self
            .node(id)
            .counting(property)
            .0
            .map(|write| &write.change);
        self.fire(match (&change, under) {
            (PropertyChange::Set(_), _) => "M4 set",
            (PropertyChange::Unset, _) => "M4 unset",
            (_, Some(PropertyChange::Set(Value::Int(_)))) => "M5 inc on an integer",
            (_, Some(PropertyChange::Set(_))) => "M5 inc on no integer",
            (_, _) => "M5 inc on nothing",
        });
        self.report_overwritten_value(id, property, &change, by);
        let writes = self
            .node_mut(id)
            .properties
            .entry(property.to_owned())
            .or_default();
        writes.push(PropertyWrite { stamp, change });
        self.edited(id, stamp, Item::Property(property.to_owned()), false)
    }

    /// M11: the key is stored as the author computed it.
    fn order(&mut self, id: NodeId, key: &[u8], stamp: Stamp, by: &Author<'_>) -> Outcome {
        if !self.contains_below_root(id) {
            return self.unknown(id, stamp); // M12
        }
        self.fire("M11 order");
        self.report_overwritten_order(id, key, by);
        self.node_mut(id).orders.push(OrderWrite {
            stamp,
            key: key.to_vec(),
        });
        self.edited(id, stamp, Item::Order, false)
    }

    /// What all edits share: they take effect on trashed nodes too, but are reported there (M14),
    /// and void a set that is all-or-nothing (M13).
    fn edited(&mut self, id: NodeId, stamp: Stamp, item: Item, clashes: bool) -> Outcome {
        self.node_mut(id).touched.push((stamp, item.clone()));
        let trashed = self.trashed(id);
        if trashed {
            self.report_in_trash(id, id, stamp, item);
            return Outcome::EDIT_IN_TRASH;
        }
        Outcome::clash_if(clashes)
    }
}
