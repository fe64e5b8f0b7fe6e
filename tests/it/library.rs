//! The library as people embed it: real directories, real sockets on loopback.

mod together;

use std::path::Path;
use std::time::Duration;

use leveret::model::script::parse_script;
use leveret::{
    Change, Durability, Event, NodeId, Peer, PeerOptions, ReadTree as _, RepoId, SaveError,
    SessionError, TreeFormat, Value,
};

#[expect(dead_code, reason = "`main` is for `cargo run --example`")]
#[path = "../../examples/embedded.rs"]
mod embedded;

const PATIENCE: Duration = Duration::from_secs(30);

async fn open(path: &Path) -> Peer {
    Peer::open(path, PeerOptions::default()).await.unwrap()
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

fn tree(peer: &Peer) -> String {
    TreeFormat::default()
        .text(&peer.snapshot(), NodeId::ROOT)
        .unwrap()
}

#[tokio::test]
async fn the_example_of_one_peer_runs() {
    let tree = embedded::run().await.unwrap();
    assert!(tree.contains("\"rabbits\""), "{tree}");
}

#[tokio::test]
async fn a_peer_that_is_opened_again_has_everything() {
    for durability in [Durability::Sync, Durability::Relaxed] {
        let directory = tempfile::tempdir().unwrap();
        let options = || PeerOptions::default().durability(durability);
        let peer = Peer::open(directory.path(), options()).await.unwrap();
        apply(
            &peer,
            "add /a\nset /a x 1\n---\nadd /a/b\nset /a/b t \"text\"",
        )
        .await;
        let (before, digest) = (tree(&peer), peer.snapshot().digest());
        assert_eq!(before, "{\"a\": {\"x\": 1, \"b\": {\"t\": \"text\"}}}\n");
        peer.close().await.unwrap();

        let peer = Peer::open(directory.path(), options()).await.unwrap();
        assert_eq!((tree(&peer), peer.snapshot().digest()), (before, digest));
        apply(&peer, "inc /a x 2").await;
        // Relaxed saves come to the journal, and so to the log, a moment later.
        let mut log = peer.log(RepoId::MAIN, None, 10).unwrap();
        for _ in 0..1_000 {
            if log.len() == 3 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            log = peer.log(RepoId::MAIN, None, 10).unwrap();
        }
        assert_eq!(log.len(), 3);
        assert!(log.is_sorted_by(|newer, older| newer.id > older.id));
        assert!(log.iter().all(|entry| entry.author == Some(peer.key())));
        drop(peer); // lets go of the directory as well
        let peer = Peer::open(directory.path(), options()).await.unwrap();
        assert_eq!(peer.session().get("/a", "x").unwrap(), Some(Value::Int(3)));
    }
}

#[tokio::test]
async fn a_directory_in_use_or_not_ours_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(directory.path()).await;
    let error = Peer::open(directory.path(), PeerOptions::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is in use by"), "{error}");
    apply(&peer, "add /still-works").await;

    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("thesis.tex"), "").unwrap();
    let error = Peer::open(other.path(), PeerOptions::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not a leveret"), "{error}");
}

#[tokio::test]
async fn a_session_keeps_its_state_and_sees_its_own_operations() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(directory.path()).await;
    apply(&peer, "add /a\nset /a x 1").await;
    let mut session = peer.session();
    apply(&peer, "set /a x 2\nadd /b").await;
    assert_eq!(session.get("/a", "x").unwrap(), Some(Value::Int(1)));
    assert_eq!(session.node_at("/b").unwrap(), None);
    let child = session.add_child("/a", "c").unwrap();
    assert_eq!(session.node_at("/a/c").unwrap(), Some(child));
    let unique = session.add_unique("/a/u").unwrap();
    session.set(unique, "y", true).unwrap();
    let receipt = session.save().await.unwrap();
    let real = receipt.nodes[&unique];
    let path = peer.snapshot().path_of(real).unwrap().unwrap();
    assert_eq!(path.to_string(), "/a/u");
    assert_eq!(peer.session().get(real, "y").unwrap(), Some(true.into()));
}

#[tokio::test]
async fn what_was_changed_meanwhile_is_refused_unless_told_to_overwrite() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(directory.path()).await;
    apply(&peer, "add /a\nset /a x 1").await;
    let (mut first, mut second, mut third) = (peer.session(), peer.session(), peer.session());
    for (session, value) in [(&mut first, 2), (&mut second, 3), (&mut third, 4)] {
        session.set("/a", "x", value).unwrap();
    }
    first.save().await.unwrap();
    let error = second.save().await.unwrap_err();
    assert!(
        matches!(&error, SaveError::Changed { items } if items.len() == 1),
        "{error}"
    );
    assert!(error.to_string().contains("/a"), "{error}");
    third.overwrite(true);
    third.save().await.unwrap();
    assert_eq!(peer.session().get("/a", "x").unwrap(), Some(4.into()));
}

#[tokio::test]
async fn refused_operations_name_what_is_wrong_and_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(directory.path()).await;
    apply(&peer, "add /a\nadd /a/b").await;
    let mut session = peer.session();
    let refused = [
        session.add("/a").unwrap_err(),
        session.add("/nowhere/x").unwrap_err(),
        session.add("a").unwrap_err(),
        session.add("/").unwrap_err(),
        session.add("/a~0123abcd").unwrap_err(),
        session.add_child("/a", "x/y").unwrap_err(),
        session.remove("/").unwrap_err(),
        session.remove("/x").unwrap_err(),
        session.move_to("/a", "/a/b/c").unwrap_err(),
        session.set("/a", "", 1).unwrap_err(),
        session.set("/a", "x", Value::Float(f64::NAN)).unwrap_err(),
        session.set("/a", "x", "y".repeat(300_000)).unwrap_err(),
    ];
    assert!(refused.iter().all(|error| !error.to_string().is_empty()));
    assert!(matches!(refused[1], SessionError::NotFound(_)));
    assert_eq!(session.operations(), 0);
    let error = session.save().await.unwrap_err();
    assert!(error.to_string().contains("nothing to save"), "{error}");
}

#[tokio::test]
async fn an_observer_hears_of_each_commit_that_touches_its_subtree() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(directory.path()).await;
    apply(&peer, "add /a\nadd /b\nadd /b/c\nadd /b/c/d").await;
    let mut observer = peer.observe("/a").unwrap();
    assert!(matches!(
        peer.observe("/nowhere"),
        Err(SessionError::NotFound(_))
    ));
    apply(&peer, "set /b x 1\n---\nadd /a/n\nset /a/n y 2\nset /b x 2").await;
    apply(
        &peer,
        "move /b/c /a/c\n---\nset /a/c/d z 1\n---\nmove /a/c /c",
    )
    .await;
    apply(&peer, "set /c/d z 2\n---\nremove /a").await;

    let mut seen = Vec::new();
    for _ in 0..5 {
        let event = tokio::time::timeout(PATIENCE, observer.next()).await;
        let Some(Event::Commit(commit)) = event.unwrap() else {
            panic!("a commit was expected");
        };
        assert_eq!(commit.change_sets.len(), 1);
        assert!(commit.durable && commit.change_sets[0].local);
        assert_eq!(commit.change_sets[0].author, peer.key());
        let changes = commit.changes.iter().map(|change| match change {
            Change::Appeared { name, .. } => format!("+{name}"),
            Change::Vanished { name, .. } => format!("-{name}"),
            Change::Property { name, .. } => format!("={name}"),
            other => format!("{other:?}"),
        });
        seen.push(changes.collect::<Vec<_>>().join(" "));
    }
    assert_eq!(seen, ["+n", "+c", "=z", "-c", "-a"]);
    assert!(observer.try_next().is_none());
    peer.close().await.unwrap();
    assert!(observer.next().await.is_none());
}

#[tokio::test]
async fn an_observer_that_lags_is_told_and_goes_on_from_the_newest_state() {
    let directory = tempfile::tempdir().unwrap();
    let options = PeerOptions::default().durability(Durability::Relaxed);
    let peer = Peer::open(directory.path(), options).await.unwrap();
    let mut observer = peer.observe("/").unwrap();
    for i in 0..leveret::peer::EVENTS_MAX + 10 {
        apply(&peer, &format!("add /n{i}")).await;
    }
    let Some(Event::Lagged(snapshot)) = observer.next().await else {
        panic!("it has lagged");
    };
    let last = format!("/n{}", leveret::peer::EVENTS_MAX + 9);
    assert!(snapshot.resolve(&last.parse().unwrap()).unwrap().is_some());
    apply(&peer, "add /more").await;
    let Some(Event::Commit(commit)) = observer.next().await else {
        panic!("it goes on");
    };
    assert_eq!(commit.changes.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_at_the_same_time_all_get_their_own_answer() {
    for durability in [Durability::Sync, Durability::Relaxed] {
        let directory = tempfile::tempdir().unwrap();
        let options = PeerOptions::default().durability(durability);
        let peer = Peer::open(directory.path(), options).await.unwrap();
        apply(&peer, "add /n").await;
        let callers = (0..8).map(|caller| {
            let peer = peer.clone();
            tokio::spawn(async move {
                for i in 0..50 {
                    let mut session = peer.session();
                    session.add(&format!("/n/{caller}-{i}")).unwrap();
                    session.inc("/n", "count", 1).unwrap();
                    session.save().await.unwrap();
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        assert_eq!(peer.session().get("/n", "count").unwrap(), Some(400.into()));
        let status = peer.status().await;
        assert!(status.ready && status.failure.is_none());
        peer.close().await.unwrap();
        let peer = open(directory.path()).await;
        let node = peer.session().node_at("/n").unwrap().unwrap();
        assert_eq!(
            peer.snapshot().children(node, None, 1_000).unwrap().len(),
            400
        );
    }
}

#[tokio::test]
async fn an_import_is_made_of_whole_saves_and_is_resumed_when_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(directory.path()).await;
    apply(&peer, "add /in").await;
    let nodes = |count: usize| {
        let nodes: Vec<String> = (0..count)
            .map(|i| format!("\"n{i:04}\": {{\"at\": {i}, \"@sub\": true, \"sub\": {{}}}}"))
            .collect();
        format!("{{\"kind\": \"numbers\", {}", nodes.join(", "))
    };
    // The file breaks off: what was saved before stays, of the rest nothing.
    let broken = nodes(1_200);
    let mut told = 0;
    let failure = peer
        .import("/in", broken.as_bytes(), None, &mut |_| told += 1)
        .await
        .unwrap_err();
    assert_eq!((failure.report.ids.len(), told), (2, 2), "{failure}");
    assert!(failure.to_string().contains("JSON"), "{failure}");

    let whole = format!("{}}}", nodes(1_200));
    let mut progress = |_: &leveret::ImportReport| {};
    let report = peer
        .import("/in", whole.as_bytes(), Some("numbers"), &mut progress)
        .await
        .unwrap();
    assert_eq!(report.nodes_added + report.nodes_found, 2_401);
    assert_eq!(report.nodes_found, failure.report.nodes_added + 1);
    assert_eq!(report.resumed_at.unwrap().to_string(), "/in/n1000");
    let again = peer
        .import("/in", whole.as_bytes(), None, &mut progress)
        .await
        .unwrap();
    assert_eq!(
        (again.ids.len(), again.nodes_added, again.properties_set),
        (0, 0, 0)
    );

    let snapshot = peer.snapshot();
    let top = snapshot.resolve(&"/in".parse().unwrap()).unwrap().unwrap();
    let text = TreeFormat::default().text(&snapshot, top).unwrap();
    assert!(text.trim_end() == whole, "{}", &text[..200]);
    let shallow = TreeFormat {
        depth_max: Some(0),
        pretty: false,
    };
    let text = shallow.text(&snapshot, top).unwrap();
    assert_eq!(text, "{\"kind\": \"numbers\"}\n");

    for bad in [
        "{\"a\": {\"x\": 1, \"x\": 2}}",
        "{\"a\": {\"..\": {}}}",
        "[]",
    ] {
        let failure = peer
            .import("/", bad.as_bytes(), None, &mut progress)
            .await
            .unwrap_err();
        assert!(failure.report.ids.is_empty(), "{failure}");
        assert_eq!(peer.session().node_at("/a").unwrap(), None);
    }
}

#[tokio::test]
async fn history_is_told_newest_first_and_of_a_subtree_if_asked() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(directory.path()).await;
    for i in 0..100 {
        apply(&peer, &format!("add /n{i}\nset /n{i} x {i}")).await;
    }
    apply(&peer, "set /n7 x 70\n---\nadd /n7/below").await;
    let all = peer.log(RepoId::MAIN, None, 1_000).unwrap();
    assert_eq!(all.len(), 102);
    assert!(all.is_sorted_by(|newer, older| newer.id > older.id));
    let path = "/n7".parse().unwrap();
    let some = peer.log(RepoId::MAIN, Some(&path), 1_000).unwrap();
    assert_eq!(some.len(), 3);
    assert_eq!(some[2].id, all[94].id);
    let mut rest = peer.history(RepoId::MAIN, Some(all[50].id), None).unwrap();
    assert_eq!(rest.next_entry().unwrap().unwrap().id, all[51].id);
    assert!(
        peer.log(RepoId::MAIN, Some(&"/gone".parse().unwrap()), 1)
            .is_err()
    );
}

#[tokio::test]
async fn waiting_ends_when_the_heads_are_there_or_the_time_is_up() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(directory.path()).await;
    let mut session = peer.session();
    session.add("/a").unwrap();
    let receipt = session.save().await.unwrap();
    let (origin, sequence) = (receipt.id.origin, receipt.sequence);
    peer.wait_for(RepoId::MAIN, &[(origin, sequence)], PATIENCE)
        .await
        .unwrap();
    let next = [(origin, sequence.next())];
    let short = Duration::from_millis(20);
    assert!(peer.wait_for(RepoId::MAIN, &next, short).await.is_err());
    let waiting = {
        let peer = peer.clone();
        tokio::spawn(async move { peer.wait_for(RepoId::MAIN, &next, PATIENCE).await })
    };
    apply(&peer, "add /b").await;
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_closed_peer_answers_with_errors_and_closes_fast() {
    let directory = tempfile::tempdir().unwrap();
    let peer = open(directory.path()).await;
    apply(&peer, "add /a").await;
    let (other, mut session) = (peer.clone(), peer.session());
    session.add("/b").unwrap();
    let began = tokio::time::Instant::now();
    peer.close().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2));
    assert!(matches!(session.save().await, Err(SaveError::Closed)));
    assert!(other.create_token(PATIENCE).await.is_err());
    assert!(other.close().await.is_err());
    open(directory.path()).await.close().await.unwrap();
}
