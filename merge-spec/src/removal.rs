//! Removals (M7), and what they hand back (M8).

use crate::change::{NodeId, Stamp};
use crate::conflict::{Item, Kind};
use crate::fold::Outcome;
use crate::node::{ParentCause, ParentWrite};
use crate::tree::{Author, Tree};

/// A node that a removal has to hand back, and why.
struct HandBack {
    node: NodeId,
    /// The stamp that decides between nodes that are equally near: of the newest parent write
    /// for (a), of the skipped move for (b).
    stamp: Stamp,
    /// As in [`ParentCause::HandBack`].
    undid: Stamp,
    blamed: Stamp,
    /// Whether this takes a move back that has not been taken back before (M14).
    loses_a_move: bool,
    /// Which branch of the rule this is.
    rule: &'static str,
}

impl Tree {
    /// M7.
    pub(crate) fn remove(&mut self, id: NodeId, stamp: Stamp, by: &Author<'_>) -> Outcome {
        if !self.contains_below_root(id) {
            return self.unknown(id, stamp); // M12
        }
        // Itself in the trash: nothing changes, M8 and reports included.
        if self.in_trash(id) {
            self.fire("M7 already in the trash");
            return Outcome::Fits;
        }
        self.fire(if self.trashed(id) {
            "M7 trashed through an ancestor"
        } else {
            "M7 remove"
        });
        // M8: before the node goes, one after the other is handed back, as long as there is one.
        while let Some(next) = self.next_to_hand_back(id, by) {
            let (to, found) = self.place_to_hand_back_to(next.node, id, by);
            self.fire(found);
            let HandBack {
                node,
                undid,
                blamed,
                loses_a_move,
                rule,
                ..
            } = next;
            self.fire(rule);
            let write = ParentWrite {
                stamp,
                to,
                cause: ParentCause::HandBack { undid, blamed },
            };
            self.node_mut(node).parents.push(write);
            if loses_a_move {
                let winner = Some(stamp.set);
                self.report(Kind::TargetRemoved, blamed.set, winner, node, Item::Parent);
            }
        }
        self.report_under_removed(id, by);
        // Also what is trashed through an ancestor goes to the trash by itself.
        let write = ParentWrite {
            stamp,
            to: NodeId::TRASH,
            cause: ParentCause::Remove,
        };
        self.node_mut(id).parents.push(write);
        Outcome::Fits // M13: removing voids nothing, whether trashed already or handing back
    }

    /// M8: of the nodes below the removed one that (a) or (b) holds for, the nearest; of equally
    /// near ones that with the smaller stamp and, should even that be equal, the smaller id.
    fn next_to_hand_back(&mut self, removed: NodeId, by: &Author<'_>) -> Option<HandBack> {
        let below = self
            .nodes
            .keys()
            .filter_map(|id| Some((self.steps_below(*id, removed)?, *id)));
        let mut found: Vec<(usize, HandBack)> = below
            .filter(|(steps, _)| *steps > 0)
            .filter_map(|(steps, id)| Some((steps, self.has_to_go_back(id, by)?)))
            .collect();
        found.sort_by_key(|(steps, found)| (*steps, found.stamp, found.node));
        if matches!(&found[..], [(one, _), (other, _), ..] if one == other) {
            self.fire("M8 equally near");
        }
        found.into_iter().next().map(|(_, nearest)| nearest)
    }

    /// M8 (a) and (b), of one node.
    fn has_to_go_back(&self, id: NodeId, by: &Author<'_>) -> Option<HandBack> {
        let node = self.node(id);
        let newest = node.parent()?;
        // (a) The newest parent write is an unseen move, or a hand-back of one.
        if unseen_move(newest, by) {
            let (undid, blamed, loses_a_move, rule) = match newest.cause {
                // Handed back again: what counts stays what the first one undid.
                ParentCause::HandBack { undid, blamed } => {
                    (undid, blamed, false, "M8 (a) handed back again")
                }
                _ => (newest.stamp, newest.stamp, true, "M8 (a)"),
            };
            return Some(HandBack {
                node: id,
                stamp: newest.stamp,
                undid,
                blamed,
                loses_a_move,
                rule,
            });
        }
        // (b) Or else the newest of its skipped moves is newer than that write, its author's set
        // was seen (or is the remover's own), but the reason why it was skipped was not.
        let skipped = node.skipped.last()?;
        let reason = skipped.reason?;
        let fooled = skipped.stamp > newest.stamp && !by.unseen(skipped.stamp) && by.unseen(reason);
        fooled.then_some(HandBack {
            node: id,
            stamp: skipped.stamp,
            undid: reason,
            blamed: skipped.stamp,
            loses_a_move: false,
            rule: "M8 (b)",
        })
    }

    /// M8: the place that a node is handed back to, and how it was found.
    fn place_to_hand_back_to(
        &self,
        id: NodeId,
        removed: NodeId,
        by: &Author<'_>,
    ) -> (NodeId, &'static str) {
        let beside_removed = self.parent(removed).expect("the root is never removed");
        // M7: where the removed node is trashed already, no earlier place is looked for.
        if self.trashed(removed) {
            return (beside_removed, "M8 parent of the removed, which is trashed");
        }
        for (back, write) in self.node(id).parents.iter().rev().enumerate() {
            let place = write.to;
            if place != NodeId::TRASH
                && !self.trashed(place)
                && !self.at_or_below(place, removed)
                && !self.at_or_below(place, id)
            {
                // The newest one is below the removed node, so that is never it.
                let newest = back == 1;
                return if newest {
                    (place, "M8 newest earlier place")
                } else {
                    (place, "M8 older earlier place")
                };
            }
            // Stop looking after the first one that is not unseen, in the sense of (a), adds by
            // unseen change sets being unseen too. So a removal always ends the search.
            let by_add = matches!(
                write.cause,
                ParentCause::Add | ParentCause::ComeBack | ParentCause::Emptied
            );
            let unseen_add = by_add && by.unseen(write.stamp);
            if !unseen_move(write, by) && !unseen_add {
                return (
                    beside_removed,
                    "M8 parent of the removed, seen write reached",
                );
            }
        }
        (beside_removed, "M8 parent of the removed, no write left")
    }
}

/// M8 (a): a move by a change set that the remover had not seen and that is not its own, or a
/// hand-back, whoever made it, of which that holds for the write it undid.
fn unseen_move(write: &ParentWrite, by: &Author<'_>) -> bool {
    match write.cause {
        ParentCause::Move => by.unseen(write.stamp),
        ParentCause::HandBack { undid, .. } => by.unseen(undid),
        ParentCause::Add | ParentCause::ComeBack | ParentCause::Emptied | ParentCause::Remove => {
            false
        }
    }
}
