//! The cases leave no branch of the rules out.

use std::collections::BTreeSet;
use std::path::PathBuf;

use merge_spec::{Case, RULES, fold};

/// What no case can say, and which test has it instead.
const NOT_IN_CASES: [(&str, &str); 3] = [
    (
        "M2 held",
        "fold.rs: a_change_set_waits_for_what_it_depends_on",
    ),
    (
        "M9 cycle without a reason",
        "fold.rs: a_move_directly_below_itself_is_a_cycle_without_a_reason",
    ),
    (
        "M12 root or trash",
        "fold.rs: the_root_and_the_trash_are_unknown_as_targets",
    ),
];

#[test]
fn every_branch_of_every_rule_is_taken_by_some_case() {
    let mut missing: BTreeSet<&str> = RULES.iter().copied().collect();
    for (rule, _) in NOT_IN_CASES {
        assert!(missing.remove(rule), "{rule}");
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases");
    for entry in std::fs::read_dir(folder).expect("the folder of the cases") {
        let path = entry.expect("a case").path();
        let case = Case::read(path).unwrap_or_else(|error| panic!("{error}"));
        for rule in fold(&case.change_sets).fired().into_keys() {
            missing.remove(rule);
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}
