//! Counting how often each branch of each rule was taken, so that a body of histories can show
//! that it leaves none out.

use std::collections::BTreeMap;

use crate::conflict::Item;
use crate::fold::Fold;
use crate::tree::Tree;

/// Every branch that [`Fold::fired`] can name, in the order of the rules.
pub const RULES: &[&str] = &[
    "M2 held",
    "M3 unique",
    "M3 added again",
    "M4 set",
    "M4 unset",
    "M5 inc on an integer",
    "M5 inc on nothing",
    "M5 inc on no integer",
    "M5 clamped",
    "M6 new",
    "M6 new under trash",
    "M6 known, live",
    "M6 known, trashed, parent trashed",
    "M6 comes back",
    "M6 empties a property",
    "M6 empties a child",
    "M7 remove",
    "M7 already in the trash",
    "M7 trashed through an ancestor",
    "M8 (a)",
    "M8 (a) handed back again",
    "M8 (b)",
    "M8 equally near",
    "M8 newest earlier place",
    "M8 older earlier place",
    "M8 parent of the removed, seen write reached",
    "M8 parent of the removed, no write left",
    "M8 parent of the removed, which is trashed",
    "M9 move",
    "M9 move with name",
    "M9 brings back",
    "M9 out of a trashed subtree",
    "M9 rename",
    "M9 rename in the trash",
    "M9 cycle",
    "M9 cycle, target trashed too",
    "M9 cycle without a reason",
    "M9 target trashed",
    "M10 clash",
    "M11 order",
    "M11 equal keys",
    "M12 unknown",
    "M12 root or trash",
    "M13 whole",
    "M13 voided by a skip",
    "M13 voided by an edit in the trash",
    "M13 voided by an add in the trash",
    "M13 voided by a clash",
    "M14 set or unset under a set or unset",
    "M14 inc under a set or unset",
    "M14 set under an inc",
    "M14 parent under a move",
    "M14 name under a name",
    "M14 order under an order",
    "M14 went with a removal",
    "M14 went with a removal, but is live",
    "M14 landed in the trash",
    "M14 emptied since",
    "M14 overwritten",
    "M14 under-removed",
    "M14 target-removed",
    "M14 cycle",
    "M14 removal-undone",
    "M14 elsewhere",
    "M14 name-clash",
    "M14 voided",
    "M14 unknown-node",
    "M14 dismissal",
    "M14 dismissed",
];

impl Tree {
    /// Counts one taking of a branch.
    pub(crate) fn fire(&mut self, rule: &'static str) {
        debug_assert!(RULES.contains(&rule), "{rule}");
        *self.fired.entry(rule).or_default() += 1;
    }
}

impl Fold {
    /// How often each branch of the rules was taken, by its name in [`RULES`]; none is there that
    /// was not. What a voided set did before it was voided does not count.
    ///
    /// Of what is a matter of the state in the end (`M5 clamped`, `M10`, `M11 equal keys`, the
    /// kinds of M14) it says how many there are.
    #[must_use]
    pub fn fired(&self) -> BTreeMap<&'static str, u64> {
        let mut fired = self.tree.fired.clone();
        let mut add = |rule: &str, times: usize| {
            let known = RULES.iter().find(|known| **known == rule);
            let known = known.unwrap_or_else(|| panic!("`{rule}` is missing in RULES"));
            if times > 0 {
                *fired.entry(known).or_default() += times as u64;
            }
        };
        add("M2 held", self.held().len());
        for node in self.nodes().values() {
            let clamped = |property: &&String| node.sum(property).is_some_and(is_out_of_range);
            add("M5 clamped", node.properties.keys().filter(clamped).count());
        }
        for id in self.nodes().keys() {
            let children = self.children(*id);
            let equal = children.windows(2).filter(|two| {
                let [one, other] = two else { return false };
                one.effective_key == other.effective_key
            });
            add("M11 equal keys", equal.count());
        }
        for conflict in self.conflicts() {
            add(&format!("M14 {}", conflict.kind), 1);
            if conflict.item == Item::Name && conflict.kind == crate::Kind::NameClash {
                add("M10 clash", 1);
            }
        }
        add("M14 dismissal", self.dismissals().len());
        let dismissed = self.conflicts().len() - self.open_conflicts().len();
        add("M14 dismissed", dismissed);
        for (rule, times) in self.lost_under_removals() {
            add(rule, times);
        }
        fired
    }
}

fn is_out_of_range(sum: i128) -> bool {
    i64::try_from(sum).is_err()
}
