//! Conflicts by their ids, and what dismissing one does (M14).

use merge_spec::{
    Case, ChangeSet, Conflict, Item, Kind, NodeId, Operation, Origin, SetId, Value, fold,
};

fn origin(word: &str) -> Origin {
    Origin::from_word(word).expect("a word")
}

fn id(word: &str, time: u64) -> SetId {
    SetId {
        time,
        origin: origin(word),
    }
}

fn hex(bytes: [u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first change set of an author who had seen the first ones of some others.
fn set(word: &str, time: u64, saw: &[&str], operations: Vec<Operation>) -> ChangeSet {
    ChangeSet {
        id: id(word, time),
        sequence: 1,
        dependencies: saw.iter().map(|other| (origin(other), 1)).collect(),
        all_or_nothing: false,
        operations,
    }
}

fn write(value: i64) -> Operation {
    Operation::Set {
        node: NodeId::ROOT,
        property: "v".to_owned(),
        value: Value::Int(value),
    }
}

/// `A@1 overwritten`, by a set of the root's `v` at 2.
fn lost_at_1() -> Conflict {
    Conflict {
        loser: id("A", 1),
        kind: Kind::Overwritten,
        node: NodeId::ROOT,
        item: Item::Property("v".to_owned()),
        winner: Some(id("B", 2)),
    }
}

#[test]
fn ids_of_conflicts_are_as_computed_elsewhere() {
    // Worked out with another implementation of BLAKE3.
    let overwritten = Conflict {
        loser: id("A", 3),
        kind: Kind::Overwritten,
        node: NodeId::of_add(NodeId::ROOT, "a", 0),
        item: Item::Property("v".to_owned()),
        winner: Some(id("B", 9)),
    };
    assert_eq!(hex(overwritten.id()), "f28086f8786f23744dc520afc904e456");
    let voided = Conflict {
        loser: id("A", 3),
        kind: Kind::Voided,
        node: NodeId::ROOT,
        item: Item::Node,
        winner: None,
    };
    assert_eq!(hex(voided.id()), "a3d2e22309746b7ddf4c491529f10c52");
}

#[test]
fn each_kind_has_its_byte() {
    for (byte, kind) in (0..).zip(Kind::ALL) {
        assert_eq!(kind as u8, byte, "{kind}");
    }
}

#[test]
fn what_is_dismissed_is_there_but_not_open() {
    let conflict = lost_at_1().id();
    let sets = [
        set("A", 1, &[], vec![write(1)]),
        set("B", 2, &[], vec![write(2)]),
        set("C", 3, &["A", "B"], vec![Operation::Dismiss { conflict }]),
    ];
    let before = fold(&sets[..2]);
    assert_eq!(before.conflict_pairs(), ["A@1 overwritten"]);
    let after = fold(&sets);
    assert!(after.open_conflicts().is_empty() && after.conflict_pairs().is_empty());
    assert_eq!(after.conflicts(), before.conflicts());
    assert_eq!(after.nodes(), before.nodes());
}

#[test]
fn a_dismissal_is_older_than_its_conflict_or_has_none_and_does_no_harm() {
    // The same conflict arises again, or for the first time: it is dismissed already. And an
    // all-or-nothing set whose dismissal closes nothing stands.
    let conflict = lost_at_1().id();
    let mut early = set("0", 0, &[], vec![Operation::Dismiss { conflict }, write(0)]);
    early.all_or_nothing = true;
    let nothing = Operation::Dismiss { conflict: [7; 16] };
    let sets = [
        early,
        set("A", 1, &["0"], vec![write(1), nothing]),
        set("B", 2, &["0"], vec![write(2)]),
    ];
    assert!(fold(&sets[..2]).conflicts().is_empty());
    let whole = fold(&sets);
    assert!(whole.voided().is_empty());
    assert_eq!(
        whole.conflicts().into_iter().collect::<Vec<_>>(),
        [lost_at_1()]
    );
    assert!(whole.open_conflicts().is_empty());
    assert_eq!(whole.dismissals().len(), 2);
}

#[test]
fn dismissals_of_a_voided_set_do_not_count() {
    let conflict = lost_at_1().id();
    let nowhere = Operation::Remove {
        node: NodeId::TRASH,
    };
    let mut third = set(
        "C",
        3,
        &["A"],
        vec![Operation::Dismiss { conflict }, nowhere],
    );
    third.all_or_nothing = true;
    let sets = [
        set("A", 1, &[], vec![write(1)]),
        set("B", 2, &[], vec![write(2)]),
        third,
    ];
    let folded = fold(&sets);
    assert_eq!(folded.conflict_pairs(), ["A@1 overwritten", "C@3 voided"]);
    assert!(folded.dismissals().is_empty());
}

/// A case in which C, who has seen a lost set, writes one more line.
fn seen_by_c(line: &str) -> Result<Case, String> {
    let text = format!(
        "title = 't'\n\
         [[save]]\nby = 'A'\nat = 1\nops = \"set / v 1\\nset / w 1\"\n\
         [[save]]\nby = 'B'\nat = 2\nops = \"set / v 2\\nset / w 2\"\n\
         [[save]]\nby = 'C'\nat = 3\nsaw = ['A@1', 'B@2']\nops = '{line}'\n\
         [expect]\ntree = '{{\"v\": 2, \"w\": 2}}'\nconflicts = []\n"
    );
    Case::parse("t", &text).map_err(|error| error.to_string())
}

#[test]
fn a_line_dismisses_every_open_conflict_of_its_set_and_kind() {
    let case = seen_by_c("dismiss A@1 overwritten").expect("a case");
    let written = &case.change_sets[3].operations;
    assert!(written.contains(&Operation::Dismiss {
        conflict: lost_at_1().id()
    }));
    assert_eq!(written.len(), 2);
    case.check().expect("nothing is open");
}

#[test]
fn a_line_that_dismisses_what_is_not_open_is_refused() {
    for line in [
        "dismiss A@2 overwritten",
        "dismiss A@1 cycle",
        "dismiss B@2 lost",
    ] {
        let why = seen_by_c(line).expect_err("no such conflict");
        let pair = line.strip_prefix("dismiss ").expect("the verb");
        assert!(
            why.ends_with(&format!("there is no open conflict `{pair}`")),
            "{why}"
        );
    }
    let why = seen_by_c("dismiss A@1").expect_err("no kind");
    assert!(why.ends_with("a kind is missing"), "{why}");
}
