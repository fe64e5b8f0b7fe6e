//! Why a node is as it is: of merged histories, and through a daemon.

use std::collections::BTreeMap;
use std::path::Path;

use leveret::merge::{ItemHistory, ItemValue, Outcome, ReadTree as _, Snapshot, Wrote};
use leveret::model::{Conflict, ConflictItem, ConflictKind, NodeId, Stamp};
use leveret_sim::engine::{Engine, Log, from_spec};
use leveret_sim::observation::nodes_of;
use merge_spec::Case;
use proptest::prelude::*;

use crate::daemon::{Daemon, now, place, refused};

/// The saves of a case, `AUTHOR@TIME sees / OPERATION / ...` each.
fn merged(base: &str, saves: &[(&str, &str)]) -> Snapshot {
    let mut text = format!("title = \"explained\"\nbase = '''\n{base}\n'''\n");
    for (head, operations) in saves {
        let mut words = head.split_whitespace();
        let (by, at) = words.next().unwrap().split_once('@').unwrap();
        let saw: Vec<String> = words.map(|word| format!("{word:?}")).collect();
        let (saw, lines) = (saw.join(", "), operations.replace("; ", "\n"));
        text.push_str(&format!(
            "[[save]]\nby = {by:?}\nat = {at}\nsaw = [{saw}]\nops = '''\n{lines}\n'''\n"
        ));
    }
    text.push_str("[expect]\ntree = '''{}'''\nconflicts = []\n");
    engine_of(&Case::parse("explained.toml", &text).unwrap())
        .state
        .snapshot()
}

/// An engine that has merged a case, each save by itself, the newest first where that can be: most
/// of them are late.
fn engine_of(case: &Case) -> Engine {
    let log = Log::default();
    let engine = Engine::new(log.clone());
    let mut waiting: Vec<_> = case.change_sets.iter().map(from_spec).collect();
    waiting.iter().for_each(|set| log.add(set.clone()));
    while let Some(at) = waiting.iter().rposition(|set| engine.is_ready(set)) {
        engine.merge(&[waiting.remove(at)]);
    }
    assert!(waiting.is_empty());
    engine
}

/// The node that is, or was, at a path.
fn node(tree: &Snapshot, path: &str) -> NodeId {
    let path = path.parse().unwrap();
    match tree.resolve(&path).unwrap() {
        Some(node) => node,
        None => tree.trashed_at(&path).unwrap()[0].node,
    }
}

fn by(stamp: Stamp) -> String {
    let origin = merge_spec::Origin(stamp.id.origin.0);
    format!("{origin}@{}", stamp.id.time.0)
}

fn place_text(tree: &Snapshot, node: NodeId) -> String {
    match tree.path_of(node).unwrap() {
        Some(path) => path.to_string(),
        None => tree
            .trashed(node)
            .unwrap()
            .unwrap()
            .path
            .unwrap()
            .to_string(),
    }
}

/// One line a write, newest first, and before them the value.
fn told(tree: &Snapshot, history: &ItemHistory) -> Vec<String> {
    let place = |node: NodeId| place_text(tree, node);
    let mut lines = vec![match &history.value {
        ItemValue::Parent(NodeId::TRASH) => "trash".to_owned(),
        ItemValue::Parent(parent) => place(*parent),
        ItemValue::Name(name) => name.to_string(),
        ItemValue::Property(value) => leveret::model::json::value_text(value),
        _ => "nothing".to_owned(),
    }];
    for write in &history.writes {
        let wrote = match &write.wrote {
            Wrote::Added(to) => format!("added {}", place(*to)),
            Wrote::CameBack(to) => format!("came back {}", place(*to)),
            Wrote::Moved(to) => format!("moved {}", place(*to)),
            Wrote::HandedBack { to, undid } => {
                format!("handed back {} undoing {}", place(*to), by(*undid))
            }
            Wrote::Removed => "removed".to_owned(),
            Wrote::Emptied => "emptied".to_owned(),
            Wrote::Name(name) => name.to_string(),
            Wrote::Set(value) => format!("set {}", leveret::model::json::value_text(value)),
            Wrote::Unset => "unset".to_owned(),
            Wrote::Inc(delta) => format!("inc {delta}"),
            other => format!("{other:?}"),
        };
        let seen = |seen| if seen { "" } else { " unseen" };
        let outcome = match write.outcome {
            Outcome::Counts => "counts".to_owned(),
            Outcome::Replaced { by: other } => format!("replaced by {}", by(other)),
            Outcome::Overwritten { by: other } => format!("overwritten by {}", by(other)),
            Outcome::Skipped {
                reason,
                cycle: true,
            } => format!("cycle by {}", by(reason)),
            Outcome::Skipped { reason, .. } => format!("target removed by {}", by(reason)),
            Outcome::Removed { by: other, seen: s } => {
                format!("removed by {}{}", by(other), seen(s))
            }
            Outcome::Undone { by: other, seen: s } => format!("undone by {}{}", by(other), seen(s)),
            Outcome::HandedBack { by: other } => format!("handed back by {}", by(other)),
            Outcome::Emptied { by: other } => format!("emptied by {}", by(other)),
            other => format!("{other:?}"),
        };
        lines.push(format!("{}: {wrote}: {outcome}", by(write.stamp)));
    }
    lines
}

#[track_caller]
fn check(tree: &Snapshot, path: &str, item: &ConflictItem, expected: &[&str]) {
    let explanation = tree.explain(node(tree, path), 100).unwrap().unwrap();
    let found = explanation
        .items
        .iter()
        .find(|history| history.item == *item);
    let found = found.unwrap_or_else(|| panic!("{item} is not explained"));
    assert_eq!(found.left_out, 0);
    assert_eq!(told(tree, found), expected);
}

fn property(name: &str) -> ConflictItem {
    ConflictItem::Property(name.parse().unwrap())
}

#[test]
fn a_write_is_overwritten_by_who_had_not_seen_it_and_replaced_by_who_had() {
    let tree = merged(
        "add /a\nset /a x 0",
        &[
            ("A@1", "set /a x 1"),
            ("B@2", "set /a x 2"),
            ("C@3 B@2", "set /a x 3"),
            ("D@4 A@1 B@2 C@3", "set /a x 4"),
            ("A@5", "set /a x 4"),
        ],
    );
    check(
        &tree,
        "/a",
        &property("x"),
        &[
            "4",
            "A@5: set 4: counts",
            "D@4: set 4: replaced by A@5",
            "C@3: set 3: replaced by D@4",
            "B@2: set 2: replaced by C@3",
            "A@1: set 1: overwritten by B@2",
            "base@0: set 0: replaced by A@1",
        ],
    );
}

#[test]
fn what_adds_up_counts_and_what_an_inc_can_not_add_to_does_not() {
    let tree = merged(
        "add /a\nset /a x 1\nset /a y \"text\"",
        &[
            ("A@1", "inc /a x 2; inc /a y 2"),
            ("B@2", "inc /a x 3; set /a y \"more\""),
            ("C@3", "inc /a y 5"),
            ("D@4 B@2", "unset /a x"),
            ("E@5", "inc /a x 7"),
        ],
    );
    check(
        &tree,
        "/a",
        &property("y"),
        &[
            "5",
            "C@3: inc 5: counts",
            "B@2: set \"more\": overwritten by C@3",
            "A@1: inc 2: overwritten by B@2",
            "base@0: set \"text\": replaced by A@1",
        ],
    );
    check(
        &tree,
        "/a",
        &property("x"),
        &[
            "7",
            "E@5: inc 7: counts",
            "D@4: unset: replaced by E@5",
            "B@2: inc 3: replaced by D@4",
            "A@1: inc 2: overwritten by D@4",
            "base@0: set 1: replaced by D@4",
        ],
    );
}

#[test]
fn a_place_is_explained_by_moves_skipped_moves_and_removals_undone() {
    let tree = merged(
        "add /a\nadd /b\nadd /c\nadd /x",
        &[
            ("A@1", "move /a /b/a"),
            ("B@2", "move /b /a/b"), // a cycle
            ("C@3", "remove /x"),
            ("D@4", "move /c /x/c"), // its target is gone
            ("E@5", "move /a /c/z"), // overwrites A's
            ("F@6", "remove /a"),
            ("G@7", "move /a /b/y"), // takes the removal back
        ],
    );
    check(
        &tree,
        "/b",
        &ConflictItem::Parent,
        &[
            "/",
            "B@2: moved /b/y: cycle by A@1",
            "base@0: added /: counts",
        ],
    );
    check(
        &tree,
        "/c",
        &ConflictItem::Parent,
        &[
            "/",
            "D@4: moved /x: target removed by C@3",
            "base@0: added /: counts",
        ],
    );
    check(
        &tree,
        "/b/y",
        &ConflictItem::Parent,
        &[
            "/b",
            "G@7: moved /b: counts",
            "F@6: removed: undone by G@7 unseen",
            "E@5: moved /c: removed by F@6 unseen",
            "A@1: moved /b: overwritten by E@5",
            "base@0: added /: replaced by A@1",
        ],
    );
    check(
        &tree,
        "/b/y",
        &ConflictItem::Name,
        &[
            "y",
            "G@7: y: counts",
            "E@5: z: overwritten by G@7",
            "base@0: a: replaced by E@5",
        ],
    );
}

#[test]
fn what_a_removal_handed_back_says_which_move_it_undid() {
    let tree = merged(
        "add /p\nadd /q\nadd /q/x\nset /q/x v 1",
        &[("A@3", "move /q/x /p/x"), ("B@9", "remove /p")],
    );
    check(
        &tree,
        "/q/x",
        &ConflictItem::Parent,
        &[
            "/q",
            "B@9: handed back /q undoing A@3: counts",
            "A@3: moved /p: handed back by B@9",
            "base@0: added /q: replaced by A@3",
        ],
    );
}

#[test]
fn what_came_back_empty_says_what_does_not_count_any_more() {
    let tree = merged(
        "add /a",
        &[
            ("A@1", "add /a/e; set /a/e x 1; add /a/e/child"),
            ("C@2 A@1", "set /a/e y 2"),
            ("A@3", "remove /a/e"),
            ("B@5", "add /a/e"),
            ("C@7", "set /a/e x 7"),
        ],
    );
    check(
        &tree,
        "/a/e",
        &ConflictItem::Parent,
        &[
            "/a",
            "B@5: came back /a: counts",
            "A@3: removed: undone by B@5 unseen",
            "A@1: added /a: removed by A@3",
        ],
    );
    check(
        &tree,
        "/a/e",
        &property("x"),
        &["7", "C@7: set 7: counts", "A@1: set 1: emptied by B@5"],
    );
    check(
        &tree,
        "/a/e",
        &property("y"),
        &["nothing", "C@2: set 2: emptied by B@5"],
    );
    check(
        &tree,
        "/a/e/child",
        &ConflictItem::Parent,
        &[
            "trash",
            "B@5: emptied: counts",
            "A@1: added /a/e: emptied by B@5",
        ],
    );
}

#[test]
fn a_node_in_the_trash_is_explained_too() {
    let tree = merged(
        "add /a\nadd /a/b",
        &[
            ("A@1", "set /a/b x 1"),
            ("B@2", "remove /a"),
            ("A@3", "set /a/b x 3"),
        ],
    );
    let explanation = tree.explain(node(&tree, "/a/b"), 9).unwrap().unwrap();
    assert_eq!(explanation.path, None);
    let trashed = explanation.trashed.unwrap();
    assert_eq!(by(trashed.by), "B@2");
    assert_eq!(trashed.top, node(&tree, "/a"));
    check(
        &tree,
        "/a/b",
        &property("x"),
        &["3", "A@3: set 3: counts", "A@1: set 1: replaced by A@3"],
    );
    assert_eq!(tree.explain(NodeId([9; 16]), 9).unwrap(), None);
    let root = tree.explain(NodeId::ROOT, 9).unwrap().unwrap();
    assert_eq!(
        (root.path.unwrap().to_string(), root.items),
        ("/".into(), vec![])
    );
}

#[test]
fn of_a_long_history_the_newest_are_told_and_the_others_counted() {
    let saves: Vec<(String, String)> = (1..=300)
        .map(|i| {
            (
                format!("A@{i}"),
                format!("inc /a n {i}; set /a x {i}; move /a /a{i}"),
            )
        })
        .map(|(head, line)| {
            let i: u32 = head[2..].parse().unwrap();
            let from = if i == 1 {
                "/a".to_owned()
            } else {
                format!("/a{}", i - 1)
            };
            (head, line.replace("/a ", &format!("{from} ")))
        })
        .collect();
    let saves: Vec<_> = saves
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let tree = merged("add /a", &saves);
    let explanation = tree.explain(node(&tree, "/a300"), 10).unwrap().unwrap();
    for (item, older) in [
        (ConflictItem::Parent, 0),
        (ConflictItem::Name, 291),
        (property("n"), 290),
        (property("x"), 290),
    ] {
        let history = explanation
            .items
            .iter()
            .find(|history| history.item == item);
        let history = history.unwrap();
        assert_eq!(
            (history.left_out, history.uncounted),
            (older, false),
            "{item}"
        );
        let newest = history.writes.iter().map(|write| write.stamp.id.time.0);
        if item != ConflictItem::Parent {
            assert!(newest.eq((291..=300).rev()), "{item}");
        }
    }
    let n = explanation
        .items
        .iter()
        .find(|history| history.item == property("n"));
    assert!(
        n.unwrap()
            .writes
            .iter()
            .all(|write| write.outcome == Outcome::Counts)
    );
}

/// Whether an explanation has what a conflict says.
fn is_told(tree: &Snapshot, conflict: &Conflict) -> bool {
    let explanation = tree.explain(conflict.node, 100).unwrap().unwrap();
    let mut items = explanation.items.iter();
    let Some(history) = items.find(|history| history.item == conflict.item) else {
        return false;
    };
    let won = |by: Stamp| Some(by.id) == conflict.winner;
    let mut writes = history.writes.iter();
    writes.any(|write| {
        write.stamp.id == conflict.loser
            && match (conflict.kind, write.outcome) {
                // Of several that it lost to, the explanation names the first.
                (ConflictKind::Overwritten, Outcome::Overwritten { by }) => {
                    won(by) || matches!(conflict.item, ConflictItem::Property(_))
                }
                // A removal that has been undone came between them.
                (ConflictKind::Overwritten, Outcome::Removed { .. }) => {
                    conflict.item == ConflictItem::Parent
                }
                (ConflictKind::Cycle, Outcome::Skipped { reason, cycle }) => cycle && won(reason),
                (ConflictKind::TargetRemoved, Outcome::Skipped { reason, cycle }) => {
                    !cycle && won(reason)
                }
                (ConflictKind::TargetRemoved, Outcome::HandedBack { by }) => won(by),
                (ConflictKind::RemovalUndone, Outcome::Undone { by, seen }) => !seen && won(by),
                _ => false,
            }
    })
}

/// Holds what conflicts say against what explanations say, of all nodes. Counts the conflicts.
fn compare(case: &Case, told: &mut BTreeMap<ConflictKind, usize>) {
    let tree = engine_of(case).state.snapshot();
    let open = tree.conflicts().unwrap();
    let kinds = [
        ConflictKind::Overwritten,
        ConflictKind::Cycle,
        ConflictKind::TargetRemoved,
        ConflictKind::RemovalUndone,
    ];
    for conflict in open.iter().filter(|open| kinds.contains(&open.kind)) {
        assert!(is_told(&tree, conflict), "{}\n{conflict:?}", case.to_toml());
        *told.entry(conflict.kind).or_default() += 1;
    }
    for node in nodes_of(&merge_spec::fold(&case.change_sets)) {
        let Some(explanation) = tree.explain(node, 256).unwrap() else {
            continue;
        };
        assert_eq!(explanation.path.is_some(), explanation.trashed.is_none());
        for history in explanation.items {
            for write in &history.writes {
                let Outcome::Overwritten { by } = write.outcome else {
                    continue;
                };
                let conflict = Conflict {
                    loser: write.stamp.id,
                    kind: ConflictKind::Overwritten,
                    node,
                    item: history.item.clone(),
                    winner: Some(by.id),
                };
                let known = open.contains(&conflict) || tree.is_dismissed(conflict.id()).unwrap();
                assert!(known, "{}\n{conflict:?}", case.to_toml());
            }
        }
    }
}

#[test]
fn what_conflicts_say_of_a_node_its_explanation_says_too() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("merge-spec/cases");
    let mut told = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        compare(&Case::read(entry.unwrap().path()).unwrap(), &mut told);
    }
    assert_eq!(told.len(), 4, "{told:?}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn in_random_histories_too(history in merge_spec::random::history()) {
        compare(&history.case, &mut BTreeMap::new());
    }
}

#[test]
fn explain_tells_what_lost_on_two_daemons_alike() {
    let place = place();
    let a = Daemon::start(&place.path.join("a"), &["--name", "north"]);
    let b = Daemon::start(
        &place.path.join("b"),
        &["--name", "south", "--join", a.ok(&["token"]).trim()],
    );
    let id = a.ok(&["add", "/a"]);
    b.ok(&["wait", "--for", id.trim()]);
    b.ok(&["isolate", "on"]);
    let lost = a.ok(&["set", "/a", "x", "\"north\"", "-m", "by the book"]);
    let won = b.ok(&["set", "/a", "x", "\"south\""]);
    b.ok(&["isolate", "off"]);
    let begun = now();
    while a.digest() != b.digest() || a.ok(&["get", "/a", "x"]) != "\"south\"\n" {
        assert!(begun.elapsed().as_secs() < 20);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let text = a.ok(&["explain", "/a"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("/a  (node "), "{text}");
    let line = |part: &str| {
        let found = lines.iter().find(|line| line.contains(part));
        *found.unwrap_or_else(|| panic!("`{part}` is not in {text}"))
    };
    assert_eq!(line("property x"), "property x  \"south\"");
    assert!(line("* set \"south\"").contains("south  "), "{text}");
    let overwritten = line("set \"north\"");
    for part in [
        lost.trim(),
        "north",
        "\"by the book\"",
        &format!("overwritten unseen by {} (south)", won.trim()),
    ] {
        assert!(overwritten.contains(part), "{part}: {text}");
    }
    assert_eq!(
        a.ok(&["explain", "/a", "--json"]),
        b.ok(&["explain", "/a", "--json"])
    );
    let json = a.ok(&["explain", "/a", "x", "--json"]);
    let item: serde_json::Value = serde_json::from_str(json.lines().nth(1).unwrap()).unwrap();
    assert_eq!(item["property"], "x");
    assert_eq!(item["value"], "south");
    let write = &item["writes"][1];
    assert_eq!(write["value"], "north");
    assert_eq!(write["change_set"]["message"], "by the book");
    assert_eq!(
        (&write["outcome"], &write["seen"]),
        (&"overwritten".into(), &false.into())
    );
    assert_eq!(write["by"]["id"], won.trim());
    assert_eq!(json.lines().count(), 2);

    // What was removed is explained by its id.
    let node = a.json(&["get", "/a", "--json"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    a.ok(&["rm", "/a"]);
    refused(&a.run(&["explain", "/a"]), &["/a", "trash", &node]);
    refused(&a.run(&["explain", "/nothing"]), &["/nothing"]);
    refused(&a.run(&["explain", &"0a".repeat(16)]), &["0a0a"]);
    refused(&a.run(&["explain", "nonsense"]), &["nonsense"]);
    let text = a.ok(&["explain", &node]);
    assert!(
        text.contains("in the trash since") && text.contains("was /a"),
        "{text}"
    );
    assert!(text.contains("until removed by"), "{text}");
    assert_eq!(a.ok(&["explain"]).lines().count(), 1);
}
