//! `verify` on damaged stores: it finds the place, and makes the state anew from the journal.

use std::path::Path;
use std::time::Duration;

use leveret::codec::record::Record;
use leveret::codec::{key, state_key};
use leveret::model::Stamp;
use leveret::model::script::parse_line;
use leveret::peer::{VerifyError, VerifyReport, verify};
use leveret::storage::Storage;
use leveret::storage::sled::{SledOptions, SledStorage};
use leveret::{NodeId, Peer, PeerOptions, ReadTree as _, RepoId, Sequence, StateDigest};

/// A directory with 300 saves in it; the digest, and the id of one node.
async fn filled(directory: &Path) -> (StateDigest, NodeId) {
    let peer = Peer::open(directory, PeerOptions::default()).await.unwrap();
    let mut node = NodeId::ROOT;
    for i in 0..300 {
        let mut session = peer.session();
        node = session.add(&format!("/n{i}")).unwrap();
        session.set(node, "x", i64::from(i)).unwrap();
        session.save().await.unwrap();
    }
    let digest = peer.snapshot().digest();
    peer.close().await.unwrap();
    (digest, node)
}

/// Does something to the store of a directory that nobody has open.
fn tamper(directory: &Path, work: impl FnOnce(&dyn Storage)) {
    let store = SledStorage::open(&directory.join("store"), &SledOptions::default()).unwrap();
    work(&store);
    store.close().unwrap();
}

fn main_of(report: &VerifyReport) -> &leveret::replica::Verified {
    let mut repos = report.repos.iter();
    repos.find(|repo| repo.repo == RepoId::MAIN).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_is_found_by_its_node_and_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (digest, node) = filled(path).await;
    let report = verify(path, false).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(main_of(&report).change_sets, 300);
    assert_eq!(main_of(&report).digest, Some(digest));
    tamper(path, |store| {
        let gone = state_key::node(RepoId::MAIN, node);
        store.checkpoint(&[(gone, None)], &mut || Ok(())).unwrap();
    });
    let report = verify(path, false).unwrap();
    let found = main_of(&report);
    assert_eq!(found.problem_count, 1, "{found:?}");
    assert!(found.problems[0].contains(&node.to_string()), "{found:?}");
    assert_eq!(found.rebuilt, 0);
    let report = verify(path, true).unwrap();
    assert!(main_of(&report).rebuilt >= 1, "{report:?}");
    assert!(verify(path, false).unwrap().is_sound());
    let peer = Peer::open(path, PeerOptions::default()).await.unwrap();
    assert_eq!(peer.snapshot().digest(), digest);
    assert!(peer.snapshot().node(node).unwrap().is_some());
    peer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_can_not_be_read_is_made_anew_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (digest, _) = filled(path).await;
    tamper(path, |store| {
        let meta = vec![state_key::META, RepoId::MAIN.0];
        store
            .checkpoint(&[(meta, Some(vec![9; 9]))], &mut || Ok(()))
            .unwrap();
    });
    assert!(Peer::open(path, PeerOptions::default()).await.is_err());
    assert!(main_of(&verify(path, true).unwrap()).rebuilt > 0);
    let peer = Peer::open(path, PeerOptions::default()).await.unwrap();
    assert_eq!(peer.snapshot().digest(), digest);
    peer.close().await.unwrap();
    assert!(verify(path, false).unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_record_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    filled(path).await;
    tamper(path, |store| {
        let (from, to) = key::journal_range(RepoId::MAIN);
        let rows = store.scan(&from, &to, 200).unwrap();
        let (place, mut bytes) = rows[149].clone();
        let (_, sequence) = key::parse_journal(&place).unwrap();
        assert_eq!(sequence, Sequence(150));
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        store.append(&[(place, bytes)]).unwrap();
    });
    let report = verify(path, false).unwrap();
    let found = main_of(&report);
    assert!(
        found.problems[0].contains("change set 150 of origin"),
        "{found:?}"
    );
    assert!(found.problems[0].contains("checksum"), "{found:?}");
    assert!(!report.is_sound());
}

async fn save(peer: &Peer, lines: &[&str]) {
    let mut session = peer.session();
    for line in lines {
        session.apply(&parse_line(line).unwrap()).unwrap();
    }
    session.save().await.unwrap();
}

/// Waits until each has what all have.
async fn until_equal(peers: [&Peer; 2]) {
    for one in peers {
        let heads: Vec<_> = one
            .snapshot()
            .heads()
            .iter()
            .map(|(o, h)| (*o, h.sequence))
            .collect();
        for other in peers {
            let waited = other
                .wait_for(RepoId::MAIN, &heads, Duration::from_secs(30))
                .await;
            waited.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_late_change_sets_have_shaped_is_as_good_as_a_fresh_one() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let options = || PeerOptions::default().listen(([127, 0, 0, 1], 0).into());
    let a = Peer::open(directories[0].path(), options()).await.unwrap();
    let token = a.create_token(Duration::from_secs(60)).await.unwrap();
    let b = Peer::open(directories[1].path(), options().join(token))
        .await
        .unwrap();
    save(
        &a,
        &["add /p", "add /q", "add /old", "add /new", "move /p /old/p"],
    )
    .await;
    until_equal([&a, &b]).await;
    b.set_isolated(true);
    // In turns, so that each half comes to the other late; more than a register keeps itself.
    save(&b, &["move /old/p /new/p"]).await;
    save(&a, &["move /q /old/p/q"]).await;
    for _ in 0..50 {
        for peer in [&a, &b] {
            save(peer, &["inc /new count 1"]).await;
        }
    }
    b.set_isolated(false);
    until_equal([&a, &b]).await;
    let node = a
        .snapshot()
        .resolve(&"/new/p".parse().unwrap())
        .unwrap()
        .unwrap();
    let counted = a.session().get("/new", "count").unwrap();
    assert_eq!(counted, Some(leveret::Value::Int(100)));
    for peer in [a, b] {
        peer.close().await.unwrap();
    }
    for directory in &directories {
        let report = verify(directory.path(), false).unwrap();
        assert!(report.is_sound(), "{report:?}");
    }

    // But a write too few, or a bound that is none, is found.
    let path = directories[0].path();
    tamper(path, |store| {
        let (from, to) = (vec![b'h', RepoId::MAIN.0], vec![b'h', RepoId::MAIN.0 + 1]);
        let rows = store.scan(&from, &to, 1_000).unwrap();
        assert!(rows.len() > 1, "the writes are in segments");
        let lost = (rows[0].0.clone(), None);
        let early = state_key::touched(RepoId::MAIN, node);
        let early = (early, Some(Record::Touched(Stamp::MIN).encode()));
        store.checkpoint(&[lost, early], &mut || Ok(())).unwrap();
    });
    let report = verify(path, false).unwrap();
    let found = main_of(&report);
    assert_eq!(found.problem_count, 2, "{found:?}");
    assert!(found.problems[0].contains("`count`"), "{found:?}");
    assert!(found.problems[1].contains("the record t"), "{found:?}");
    assert!(main_of(&verify(path, true).unwrap()).rebuilt > 2);
    assert!(verify(path, false).unwrap().is_sound());
}

#[test]
fn what_is_no_data_directory_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(
        verify(directory.path(), true),
        Err(VerifyError::Nothing(_))
    ));
    std::fs::write(directory.path().join("letter"), "dear").unwrap();
    assert!(matches!(
        verify(directory.path(), true),
        Err(VerifyError::Directory(_))
    ));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}
