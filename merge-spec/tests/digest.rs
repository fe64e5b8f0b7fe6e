//! The state digest, of a history that has every kind of term in it.

use merge_spec::{Case, fold};

const HISTORY: &str = r#"
title = "every kind of term"
base = '''
add /a
add /a/c
add /b
add /t
'''
[[save]]
by = "A"
at = 1
ops = '''
add /e
add /e/k
remove /e
'''
# The node comes back, its child goes to the trash.
[[save]]
by = "B"
at = 2
ops = '''
add /e
set / n [true, false, -3, 2.5, "é", {"$bytes": "AP8="}, {"$time": "2024-02-29T13:00:00.5+01:00"}, {"$ref": "9b0c20468461a1a290218523a1ca9a01"}]
unset /a u
order /b first
inc /a q 5
'''
[[save]]
by = "C"
at = 3
ops = "move /b /a/b"
# Hands b back.
[[save]]
by = "D"
at = 4
ops = "remove /a"
# Skipped.
[[save]]
by = "E"
at = 5
ops = "move /t /a/t"
# Voided.
[[save]]
by = "F"
at = 6
all_or_nothing = true
ops = "move /t /a/t"
[[save]]
by = "G"
at = 7
saw = ["A@1", "B@2", "C@3", "D@4", "E@5", "F@6"]
ops = '''
dismiss E@5 target-removed
move /t /t2
'''
[expect]
tree = '{}'
conflicts = []
"#;

#[test]
fn the_digest_is_as_computed_elsewhere() {
    // Worked out by hand from the README, with another implementation of BLAKE3.
    let case = Case::parse("history", HISTORY).unwrap_or_else(|error| panic!("{error}"));
    let digest = fold(&case.change_sets).digest();
    assert_eq!(digest.to_string(), "2de17c1c49c74eebf7f55bc7fc614626");
}

#[test]
fn every_change_set_that_leaves_a_trace_changes_the_digest() {
    let case = Case::parse("history", HISTORY).unwrap_or_else(|error| panic!("{error}"));
    let mut digests: Vec<String> = (0..=case.change_sets.len())
        .map(|length| fold(&case.change_sets[..length]).digest().to_string())
        .collect();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), case.change_sets.len() + 1);
}
