//! Conflicts and voided saves, as people meet them: through the library, and through daemons.

use std::path::Path;
use std::time::Duration;

use leveret::model::script::parse_script;
use leveret::model::{ConflictId, ConflictItem, ConflictKind, Operation};
use leveret::{DraftError, Event, Peer, PeerOptions, RepoId, Session, Value};
use leveret_sim::engine::{Engine, Log, from_spec};
use proptest::prelude::*;

use crate::daemon::{Daemon, now, place, refused};

const PATIENCE: Duration = Duration::from_secs(20);

async fn pair(directory: &tempfile::TempDir) -> (Peer, Peer) {
    let options = || PeerOptions::default().listen(([127, 0, 0, 1], 0).into());
    let a = Peer::open(directory.path().join("a"), options())
        .await
        .unwrap();
    let token = a.create_token(Duration::from_secs(60)).await.unwrap();
    let b = Peer::open(directory.path().join("b"), options().join(token))
        .await
        .unwrap();
    (a, b)
}

fn script(peer: &Peer, script: &str) -> Session {
    let mut session = peer.session();
    for save in parse_script(script).unwrap() {
        for (_, operation) in &save.operations {
            session.apply(operation).unwrap();
        }
    }
    session
}

async fn until_equal(a: &Peer, b: &Peer) {
    let equal = async {
        while a.snapshot().heads() != b.snapshot().heads() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, equal).await.unwrap();
    assert_eq!(a.snapshot().digest(), b.snapshot().digest());
}

#[tokio::test]
async fn a_conflict_is_listed_with_what_was_lost_and_dismissed_everywhere() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = pair(&directory).await;
    script(&a, "add /a").save().await.unwrap();
    until_equal(&a, &b).await;
    b.set_isolated(true);
    let lost = script(&a, "set /a x 1\nset /a y 1").save().await.unwrap();
    let won = script(&b, "set /a x 2").save().await.unwrap();
    assert!(a.session().conflicts().unwrap().is_empty());
    b.set_isolated(false);
    until_equal(&a, &b).await;
    let open = a.session().conflicts().unwrap();
    assert_eq!(open, b.session().conflicts().unwrap());
    let [conflict] = &open[..] else {
        panic!("{open:?}");
    };
    assert_eq!(conflict.kind, ConflictKind::Overwritten);
    assert_eq!((conflict.loser, conflict.winner), (lost.id, Some(won.id)));
    assert_eq!(conflict.item, ConflictItem::Property("x".parse().unwrap()));
    for peer in [&a, &b] {
        let lost = peer.change_sets(RepoId::MAIN).lost(conflict).unwrap();
        let [Operation::Set { value, .. }] = &lost[..] else {
            panic!("{lost:?}");
        };
        assert_eq!(*value, Value::Int(1));
        assert_eq!(peer.status().await.conflicts, Some(1));
    }

    let mut session = b.session();
    let unknown = session.dismiss(ConflictId([7; 16])).unwrap_err();
    assert!(
        matches!(unknown, DraftError::NoSuchConflict(_)),
        "{unknown}"
    );
    session.dismiss(conflict.id()).unwrap();
    let again = session.dismiss(conflict.id()).unwrap_err();
    assert!(matches!(again, DraftError::NoSuchConflict(_)), "{again}");
    session.save().await.unwrap();
    until_equal(&a, &b).await;
    for peer in [&a, &b] {
        assert!(peer.session().conflicts().unwrap().is_empty());
        assert_eq!(peer.status().await.conflicts, Some(0));
        let mut session = peer.session();
        assert!(session.dismiss(conflict.id()).is_err());
    }
    a.close().await.unwrap();
    b.close().await.unwrap();
}

#[tokio::test]
async fn every_observer_and_the_author_hear_of_a_voided_save() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = pair(&directory).await;
    script(&a, "add /a\nadd /far").save().await.unwrap();
    until_equal(&a, &b).await;
    b.set_isolated(true);
    // A's is older, so it stands when they meet.
    script(&a, "remove /a").save().await.unwrap();
    let mut far = b.observe("/far").unwrap();
    let mut session = script(&b, "set /a x 1");
    session.all_or_nothing(true);
    let receipt = session.save().await.unwrap();
    assert!(!receipt.voided);
    b.set_isolated(false);
    until_equal(&a, &b).await;
    let event = tokio::time::timeout(PATIENCE, far.next()).await.unwrap();
    let Some(Event::Commit(event)) = event else {
        panic!("{event:?}");
    };
    assert_eq!(event.voided, [(receipt.id, true)]);
    assert!(event.changes.is_empty());
    let open = b.session().conflicts().unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(
        (open[0].kind, open[0].loser),
        (ConflictKind::Voided, receipt.id)
    );
    let lost = a.change_sets(RepoId::MAIN).lost(&open[0]).unwrap();
    assert_eq!(lost.len(), 1);
    a.close().await.unwrap();
    b.close().await.unwrap();
}

#[tokio::test]
async fn the_answer_of_a_save_says_that_it_was_voided_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let peer = Peer::open(directory.path(), PeerOptions::default())
        .await
        .unwrap();
    script(&peer, "add /a").save().await.unwrap();
    // Its view is older than the removal, and it is told to overwrite.
    let mut session = script(&peer, "set /a x 1");
    session.all_or_nothing(true);
    session.overwrite(true);
    let mut other = script(&peer, "set /a x 1");
    other.overwrite(true);
    script(&peer, "remove /a").save().await.unwrap();
    assert!(session.save().await.unwrap().voided);
    assert!(!other.save().await.unwrap().voided);
    peer.close().await.unwrap();
}

/// Every open conflict of a history names something that the losing change set did.
fn check_lost(case: &merge_spec::Case) {
    let engine = Engine::new(Log::default());
    let sets: Vec<_> = case.change_sets.iter().map(from_spec).collect();
    let tree = engine.merge(&sets).snapshot;
    for conflict in tree.conflicts().unwrap() {
        let set = sets.iter().find(|set| set.id == conflict.loser).unwrap();
        let lost = conflict.lost_in(set).count();
        assert!(lost > 0, "{}\n{conflict:?}", case.to_toml());
        let voided = conflict.kind == ConflictKind::Voided;
        assert!(!voided || lost == set.operations.len(), "{conflict:?}");
    }
}

#[test]
fn every_conflict_of_every_worked_case_tells_what_was_lost() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("merge-spec/cases");
    for entry in std::fs::read_dir(directory).unwrap() {
        check_lost(&merge_spec::Case::read(entry.unwrap().path()).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn and_of_random_histories(history in merge_spec::random::history()) {
        check_lost(&history.case);
    }
}

/// Two daemons that have met, have saved something apart, and have met again.
fn apart(a: &Daemon, b: &Daemon, here: &[&[&str]], there: &[&[&str]]) {
    settle(a, b);
    b.ok(&["isolate", "on"]);
    here.iter().for_each(|arguments| drop(a.ok(arguments)));
    there.iter().for_each(|arguments| drop(b.ok(arguments)));
    b.ok(&["isolate", "off"]);
    settle(a, b);
}

fn settle(a: &Daemon, b: &Daemon) {
    let heads = |daemon: &Daemon| daemon.json(&["status", "--json"])["heads"].clone();
    let begun = now();
    loop {
        let (ha, hb) = (heads(a), heads(b));
        if ha == hb {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{ha} {hb}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(a.digest(), b.digest());
}

fn lines(daemon: &Daemon, arguments: &[&str]) -> Vec<serde_json::Value> {
    let out = daemon.ok(arguments);
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn conflicts_are_listed_and_dismissed_from_the_command_line() {
    let place = place();
    let a = Daemon::start(&place.path.join("a"), &["--name", "north"]);
    let token = a.ok(&["token"]);
    let b = Daemon::start(
        &place.path.join("b"),
        &["--name", "south", "--join", token.trim()],
    );
    let script = "add /a\nadd /b\nadd /b/c\nadd /d\nadd /e\n";
    assert_eq!(a.with_input(&["apply"], script.as_bytes()).code, Some(0));
    assert_eq!(a.ok(&["conflicts"]), "");
    apart(
        &a,
        &b,
        &[
            &["set", "/a", "x", "\"lost\"", "-m", "mine"],
            &["set", "/b/c", "y", "1"],
            &["mv", "/a", "/d/a"],
        ],
        &[
            &["set", "/a", "x", "\"won\""],
            &["rm", "/b"],
            &["mv", "/a", "/e/z"],
        ],
    );
    let all = lines(&a, &["conflicts", "--json"]);
    assert_eq!(
        a.ok(&["conflicts", "--json"]),
        b.ok(&["conflicts", "--json"])
    );
    assert_eq!(a.json(&["status", "--json"])["conflicts"], all.len());
    let find = |kind: &str, item: &str| {
        let found = all
            .iter()
            .find(|line| line["kind"] == kind && line["item"] == item);
        found.unwrap_or_else(|| panic!("{kind} {item} is not in {all:#?}"))
    };
    let value = find("overwritten", "property");
    assert_eq!(value["property"], "x");
    assert_eq!(value["node"]["path"], "/e/z");
    assert_eq!(value["lost"][0]["value"], "lost");
    assert_eq!(value["loser"]["message"], "mine");
    assert_eq!(value["loser"]["author_name"], "north");
    assert_eq!(value["winner"]["author_name"], "south");
    let under = find("under-removed", "property");
    assert_eq!(under["node"]["path"], serde_json::Value::Null);
    assert_eq!(under["node"]["was"], "/b/c");
    let moved = find("overwritten", "parent");
    assert_eq!(moved["lost"][0]["operation"], "move");
    assert_eq!(moved["lost"][0]["parent"]["path"], "/d");

    let text = a.ok(&["conflicts"]);
    let id = |line: &serde_json::Value| line["conflict"].as_str().unwrap().to_owned();
    let first = format!("{}  overwritten  /e/z  property x", &id(value)[..8]);
    assert!(text.contains(&first), "{text}");
    assert!(text.contains("lost: set x \"lost\"  by "), "{text}");
    assert!(text.contains("/b/c (in the trash)"), "{text}");
    assert!(a.ok(&["conflicts", "--limit", "1"]).contains("… and more"));
    assert_eq!(
        lines(&a, &["conflicts", "/e", "--json"]).len(),
        all.len() - 1
    );
    assert_eq!(a.ok(&["conflicts", "/d"]), "");

    refused(&a.run(&["conflicts", "/nothing"]), &["/nothing"]);
    refused(&a.run(&["conflicts", "--dismiss", "xyz"]), &["xyz"]);
    refused(
        &a.run(&["conflicts", "--dismiss", "0a0b0c0d"]),
        &["0a0b0c0d"],
    );
    assert_eq!(a.run(&["conflicts", "--dismiss"]).code, Some(2));
    let saved = a.ok(&["conflicts", "--dismiss", &id(value)[..8], &id(under)]);
    assert_eq!(saved.lines().count(), 1);
    settle(&a, &b);
    let left = lines(&b, &["conflicts", "--json"]);
    assert_eq!(left.len(), all.len() - 2);
    refused(
        &b.run(&["conflicts", "--dismiss", &id(value)]),
        &[&id(value)],
    );
    b.ok(&["conflicts", "--all", "-m", "seen"]);
    settle(&a, &b);
    assert_eq!(a.ok(&["conflicts"]), "");
    assert_eq!(a.json(&["status", "--json"])["conflicts"], 0);
    assert_eq!(a.ok(&["conflicts", "--all"]), "");
}

#[test]
fn a_voided_save_is_told_by_watch_and_listed() {
    use std::io::{BufRead as _, BufReader};
    let place = place();
    let a = Daemon::start(&place.path.join("a"), &["--name", "north"]);
    let b = Daemon::start(&place.path.join("b"), &["--join", a.ok(&["token"]).trim()]);
    a.ok(&["add", "/a"]);
    a.ok(&["add", "/far"]);
    settle(&a, &b);
    let mut watches: Vec<_> = [&["watch", "/far", "--json"] as &[&str], &["watch", "/far"]]
        .into_iter()
        .map(|arguments| {
            let mut command = b.command(arguments);
            command
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut outputs: Vec<_> = watches
        .iter_mut()
        .map(|watch| BufReader::new(watch.stdout.take().unwrap()).lines())
        .collect();
    for output in &mut outputs {
        assert!(output.next().unwrap().unwrap().contains("watching"));
    }
    b.ok(&["isolate", "on"]);
    a.ok(&["add", "/b"]);
    let id = b.ok(&["add", "/b", "--unique", "--all-or-nothing"]);
    let id = id.trim();
    b.ok(&["set", "/b", "x", "1"]);
    b.ok(&["isolate", "off"]);
    settle(&a, &b);
    let json: serde_json::Value =
        serde_json::from_str(&outputs[0].next().unwrap().unwrap()).unwrap();
    assert_eq!(
        json["voided"],
        serde_json::json!([{"id": id, "voided": true}])
    );
    let text = outputs[1].next().unwrap().unwrap();
    assert!(text.contains(&format!("  voided {id}")), "{text}");
    let log = a.ok(&["log"]);
    let line = log.lines().find(|line| line.starts_with(id)).unwrap();
    assert!(line.ends_with(", all or nothing: voided"), "{log}");
    let listed = a.ok(&["conflicts"]);
    assert!(listed.contains("voided  the whole save"), "{listed}");
    assert!(listed.contains("add_unique `b` below /"), "{listed}");
    for mut watch in watches {
        watch.kill().unwrap();
        watch.wait().unwrap();
    }
}
