//! The trash, and restoring from it: through the library, and through a daemon.

use std::collections::BTreeSet;

use leveret::model::script::parse_script;
use leveret::{
    Draft, DraftError, NodeId, NodeName, OriginId, Peer, PeerOptions, ReadTree as _, SaveError,
    SessionError,
};
use leveret_sim::engine::{Engine, Log, from_spec};
use leveret_sim::observation::nodes_of;
use proptest::prelude::*;

use crate::daemon::{Daemon, Ran, place, refused};

async fn open(directory: &tempfile::TempDir) -> Peer {
    Peer::open(directory.path(), PeerOptions::default())
        .await
        .unwrap()
}

async fn apply(peer: &Peer, script: &str) {
    for save in parse_script(script).unwrap() {
        let mut session = peer.session();
        for (_, operation) in &save.operations {
            session.apply(operation).unwrap();
        }
        session.save().await.unwrap();
    }
}

async fn restore(peer: &Peer, target: &str, to: Option<&str>) {
    let mut session = peer.session();
    session.restore(target, to).unwrap();
    session.save().await.unwrap();
}

fn tree(peer: &Peer) -> String {
    leveret::TreeFormat::default()
        .text(&peer.snapshot(), NodeId::ROOT)
        .unwrap()
}

fn listed(peer: &Peer) -> Vec<String> {
    let trash = peer.snapshot().trash(None, 100).unwrap();
    let paths = trash.iter().map(|trashed| trashed.path.as_ref().unwrap());
    paths.map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_was_removed_level_by_level_is_restored_level_by_level() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(&directory).await;
    apply(
        &peer,
        "add /a\nadd /a/b\nadd /a/b/c\nadd /a/b/c/d\nset /a/b/c/d x 1\nset /a y 2",
    )
    .await;
    let before = tree(&peer);
    apply(&peer, "remove /a/b/c\n---\nremove /a/b\n---\nremove /a").await;
    assert_eq!(tree(&peer), "{}\n");
    assert_eq!(listed(&peer), ["/a", "/a/b", "/a/b/c"]);
    let snapshot = peer.snapshot();
    let below = snapshot.trashed_at(&"/a/b/c/d".parse().unwrap()).unwrap();
    assert_eq!(below.len(), 1);
    assert_ne!(below[0].top, below[0].node);
    let refused = peer.session().restore("/a/b", None).unwrap_err();
    assert!(
        matches!(
            refused,
            SessionError::Draft(DraftError::PlaceGone { place, .. })
                if Some(place) == snapshot.trashed_at(&"/a".parse().unwrap()).unwrap().first().map(|a| a.node)
        ),
        "{refused}"
    );
    for path in ["/a", "/a/b", "/a/b/c"] {
        restore(&peer, path, None).await;
    }
    assert_eq!(tree(&peer), before);
    assert!(listed(&peer).is_empty());
    peer.close().await.unwrap();
}

#[tokio::test]
async fn a_path_means_what_was_removed_there_last() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(&directory).await;
    for x in 1..=3 {
        apply(&peer, &format!("add /a\nset /a x {x}\n---\nremove /a")).await;
    }
    let all = peer.snapshot().trashed_at(&"/a".parse().unwrap()).unwrap();
    assert_eq!(all.len(), 3);
    restore(&peer, "/a", None).await;
    assert_eq!(tree(&peer), "{\"a\": {\"x\": 3}}\n");
    let taken = peer.session().restore("/a", None).unwrap_err();
    assert!(
        matches!(taken, SessionError::Draft(DraftError::NameTaken { .. })),
        "{taken}"
    );
    restore(&peer, "/a", Some("/b")).await;
    let mut session = peer.session();
    session.restore(all[2].node, Some("/b/c")).unwrap();
    session.save().await.unwrap();
    assert_eq!(
        tree(&peer),
        "{\"a\": {\"x\": 3}, \"b\": {\"x\": 2, \"c\": {\"x\": 1}}}\n"
    );
    // The form with digits tells them apart too.
    apply(&peer, "remove /b/c\n---\nremove /b").await;
    let exact = format!("/b~{}/c", &all[1].node.to_string()[..8]);
    let found = peer.snapshot().trashed_at(&exact.parse().unwrap()).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].node, all[2].node);
    assert_eq!(found[0].path.as_ref().unwrap().to_string(), "/b/c");
    peer.close().await.unwrap();
}

#[tokio::test]
async fn a_part_of_what_was_removed_can_be_taken_out_to_another_place() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(&directory).await;
    apply(&peer, "add /a\nadd /a/b\nset /a/b x 1\nadd /a/c\nadd /z").await;
    apply(&peer, "remove /a").await;
    let refused = peer.session().restore("/a/b", None).unwrap_err();
    assert!(refused.to_string().contains("/a"), "{refused}");
    restore(&peer, "/a/b", Some("/z/b")).await;
    assert_eq!(tree(&peer), "{\"z\": {\"b\": {\"x\": 1}}}\n");
    restore(&peer, "/a", None).await;
    assert_eq!(
        tree(&peer),
        "{\"a\": {\"c\": {}}, \"z\": {\"b\": {\"x\": 1}}}\n"
    );
    peer.close().await.unwrap();
}

#[tokio::test]
async fn the_place_goes_by_where_it_is_now_and_a_rename_keeps_the_name() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(&directory).await;
    apply(&peer, "add /a\nadd /a/b\nmove /a/b /a/c").await;
    apply(&peer, "remove /a/c\n---\nmove /a /moved").await;
    assert_eq!(listed(&peer), ["/moved/c"]);
    restore(&peer, "/moved/c", None).await;
    assert_eq!(tree(&peer), "{\"moved\": {\"c\": {}}}\n");
    peer.close().await.unwrap();
}

#[tokio::test]
async fn two_who_restore_the_same_at_once_are_told_unless_they_overwrite() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(&directory).await;
    apply(&peer, "add /a\nadd /z\n---\nremove /a").await;
    let (mut first, mut second, mut third) = (peer.session(), peer.session(), peer.session());
    first.restore("/a", None).unwrap();
    second.restore("/a", Some("/z/a")).unwrap();
    third.restore("/a", Some("/z/a")).unwrap();
    first.save().await.unwrap();
    let error = second.save().await.unwrap_err();
    assert!(
        matches!(&error, SaveError::Changed { items } if items.len() == 1),
        "{error}"
    );
    assert!(error.to_string().contains("/a: restored"), "{error}");
    third.overwrite(true);
    third.save().await.unwrap();
    assert_eq!(tree(&peer), "{\"z\": {\"a\": {}}}\n");
    peer.close().await.unwrap();
}

#[tokio::test]
async fn a_session_restores_what_it_removed_itself() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(&directory).await;
    let mut session = peer.session();
    let node = session.add_unique("/a").unwrap();
    session.set(node, "x", 1).unwrap();
    session.remove(node).unwrap();
    session.restore(node, Some("/b")).unwrap();
    session.save().await.unwrap();
    assert_eq!(tree(&peer), "{\"b\": {\"x\": 1}}\n");
    peer.close().await.unwrap();
}

#[tokio::test]
async fn the_trash_is_listed_newest_first_in_pages() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(&directory).await;
    for i in 0..25 {
        let name = (i * 7) % 25; // not in the order of the names
        apply(&peer, &format!("add /n{name}\n---\nremove /n{name}")).await;
    }
    let snapshot = peer.snapshot();
    let whole = snapshot.trash(None, 1_000).unwrap();
    assert_eq!(whole.len(), 25);
    assert!(whole.is_sorted_by(|newer, older| newer.by > older.by));
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = snapshot.trash(after, 10).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.cursor().to_string().parse().unwrap());
        pages.extend(page);
    }
    assert_eq!(pages, whole);
    peer.close().await.unwrap();
}

/// Holds what is told of the trash against the tree, of all nodes of a history, and restores them.
fn check_trash(case: &merge_spec::Case) {
    let engine = Engine::new(Log::default());
    let sets: Vec<_> = case.change_sets.iter().map(from_spec).collect();
    let tree = engine.merge(&sets).snapshot;
    let draft = || Draft::new(tree.clone(), OriginId([9; 16]));
    let mut tops = BTreeSet::new();
    for node in nodes_of(&merge_spec::fold(&case.change_sets)) {
        let Some(trashed) = tree.trashed(node).unwrap() else {
            assert!(tree.is_visible(node).unwrap());
            let refused = draft().restore(node, None, None).unwrap_err();
            assert!(matches!(refused, DraftError::NotTrashed(_)), "{refused}");
            continue;
        };
        assert!(!tree.is_visible(node).unwrap());
        tops.insert(trashed.top);
        let path = trashed.path.as_ref().expect("nothing here is too deep");
        let found = tree.trashed_at(path).unwrap();
        assert!(found.contains(&trashed), "{path} does not lead to {node}");
        assert!(found.is_sorted_by(|newer, older| newer.by >= older.by));
        let mut draft = draft();
        match draft.restore(node, None, None) {
            Ok(()) => {
                assert_eq!(draft.path_of(node).unwrap().as_ref(), Some(path));
            }
            Err(DraftError::NameTaken { .. }) => {
                let taken = tree.resolve(path).unwrap();
                assert!(taken.is_some(), "nothing is at {path}");
            }
            Err(DraftError::PlaceGone { place, .. }) => {
                assert!(tree.trashed(place).unwrap().is_some());
            }
            Err(error) => panic!("{error}"),
        }
        if draft.operations() == 0 {
            let name = NodeName::new("restored").unwrap();
            draft
                .restore(node, Some(NodeId::ROOT), Some(&name))
                .unwrap();
            assert_eq!(
                draft.path_of(node).unwrap().unwrap().to_string(),
                "/restored"
            );
        }
        let again = draft.restore(node, None, None).unwrap_err();
        assert!(matches!(again, DraftError::NotTrashed(_)), "{again}");
    }
    let listed = tree.trash(None, usize::MAX).unwrap();
    let listed: Vec<NodeId> = listed.iter().map(|trashed| trashed.node).collect();
    assert_eq!(BTreeSet::from_iter(listed.clone()), tops);
    assert_eq!(listed.len(), tops.len());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn all_that_is_in_the_trash_is_found_and_can_be_restored(
        history in merge_spec::random::history()
    ) {
        check_trash(&history.case);
    }
}

fn err(ran: &Ran) -> &str {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    &ran.err
}

#[test]
fn restore_lists_and_restores() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("a"), &["--name", "alone"]);
    let script = "add /a\nadd /a/b\nset /a/b x 1\n---\nremove /a/b\n---\nremove /a\n";
    let ran = daemon.with_input(&["apply"], script.as_bytes());
    let ids: Vec<&str> = ran.out.lines().collect();
    let list = daemon.ok(&["restore"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert!(
        lines[0].contains("  /a  ") && lines[0].contains(ids[2]),
        "{list}"
    );
    assert!(
        lines[1].contains("  /a/b  ") && lines[1].contains("alone"),
        "{list}"
    );
    assert_eq!(daemon.ok(&["restore", "--limit", "1"]).lines().count(), 1);
    let json = daemon.ok(&["restore", "--json"]);
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["path"], "/a");
    assert_eq!(first["removed_by"]["id"], ids[2]);
    let second: serde_json::Value = serde_json::from_str(json.lines().nth(1).unwrap()).unwrap();
    let inner = second["node"].as_str().unwrap();

    refused(
        &daemon.run(&["restore", "/a/b"]),
        &["/a", "--to", first["node"].as_str().unwrap()],
    );
    refused(
        &daemon.run(&["restore", "/nothing"]),
        &["/nothing", "leveret restore"],
    );
    refused(&daemon.run(&["restore", "xyz"]), &["xyz"]);
    refused(&daemon.run(&["restore", &"0a".repeat(16)]), &["0a0a"]);
    refused(&daemon.run(&["restore", "/"]), &["/"]);
    refused(
        &daemon.run(&["restore", "/a", "--to", "/no/where"]),
        &["/no"],
    );
    daemon.ok(&["add", "/a"]);
    refused(&daemon.run(&["restore", "/a"]), &["`a`", "--to"]);
    refused(
        &daemon.run(&["restore", "/a", "--to", "/a"]),
        &["`a`", "--to"],
    );
    let id = daemon.ok(&["restore", "/a", "--to", "/old", "-m", "back"]);
    assert!(daemon.ok(&["log", "--limit", "1"]).contains(id.trim()));
    let answer = daemon.json(&["restore", inner, "--json"]);
    assert_eq!(answer["path"], "/old/b");
    assert_eq!(answer["others"], serde_json::json!([]));
    assert_eq!(
        daemon.ok(&["tree", "--json"]),
        "{\"a\": {}, \"old\": {\"b\": {\"x\": 1}}}\n"
    );
    refused(
        &daemon.run(&["restore", "/old"]),
        &["/old", "not in the trash", "leveret mv"],
    );
    assert_eq!(daemon.ok(&["restore"]), "");

    // Of several that were there it is the one removed last, and it says so.
    for _ in 0..3 {
        daemon.ok(&["rm", "/a"]);
        daemon.ok(&["add", "/a"]);
    }
    daemon.ok(&["rm", "/a"]);
    let ran = daemon.run(&["restore", "/a"]);
    assert!(err(&ran).contains("3 other nodes"), "{ran:?}");
    assert_eq!(err(&daemon.run(&["rm", "/a"])), "");
}

#[test]
fn a_save_that_is_all_or_nothing_is_marked_in_the_log() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("a"), &[]);
    daemon.ok(&["add", "/a", "--all-or-nothing"]);
    daemon.ok(&["set", "/a", "x", "1"]);
    let ran = daemon.with_input(
        &["apply", "--all-or-nothing"],
        b"set /a x 2\nset /a y 2\n---\nset /a x 3\n",
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let log = daemon.ok(&["log"]);
    let marked: Vec<bool> = log
        .lines()
        .map(|line| line.contains(", all or nothing"))
        .collect();
    assert_eq!(marked, [true, true, false, true], "{log}");
    let json = daemon.ok(&["log", "--json"]);
    let last: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(last["all_or_nothing"], true);
}
