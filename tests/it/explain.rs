//! Why a node is as it is: of merged histories, beside conflicts, and through a daemon.

mod beside_conflicts;
mod through_daemons;

use leveret::merge::{ItemHistory, ItemValue, Outcome, ReadTree as _, Snapshot, Wrote};
use leveret::model::{ConflictItem, NodeId, Stamp};
use leveret_sim::engine::{Engine, Log, from_spec};
use merge_spec::Case;

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
