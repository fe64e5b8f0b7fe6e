//! A store that can not be opened is set aside, and everything fetched again from the others.

use std::fs;
use std::path::Path;
use std::time::Duration;

use leveret::{OpenError, Peer, PeerOptions, ReadTree as _, RepoId};

const PATIENCE: Duration = Duration::from_secs(60);

fn listening() -> PeerOptions {
    PeerOptions::default().listen("127.0.0.1:0".parse().unwrap())
}

async fn save(peer: &Peer, path: &str) {
    let mut session = peer.session();
    session.add(path).unwrap();
    session.save().await.unwrap();
}

/// Waits until one has applied what the other has now.
async fn until_same(a: &Peer, b: &Peer) {
    for (peer, other) in [(a, b), (b, a)] {
        let heads = other.snapshot();
        let heads = heads.heads().iter();
        let heads: Vec<_> = heads
            .map(|(origin, head)| (*origin, head.sequence))
            .collect();
        peer.wait_for(RepoId::MAIN, &heads, PATIENCE).await.unwrap();
    }
    assert_eq!(a.snapshot().digest(), b.snapshot().digest());
}

/// Makes what sled reads as an empty store of a good one.
fn destroy(directory: &Path) {
    let log = directory.join("store/db/db");
    fs::write(&log, vec![0; 4_096]).unwrap();
    for entry in fs::read_dir(directory.join("store/db")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("snap.") {
            fs::remove_file(path).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_others_have_comes_back() {
    let place = tempfile::tempdir().unwrap();
    let (one, two) = (place.path().join("one"), place.path().join("two"));
    let other = Peer::open(&one, listening()).await.unwrap();
    let token = other.create_token(Duration::from_secs(600)).await.unwrap();
    let peer = Peer::open(&two, listening().join(token.clone()))
        .await
        .unwrap();
    let key = peer.key();
    save(&other, "/from-the-other").await;
    save(&peer, "/from-here").await;
    until_same(&peer, &other).await;
    peer.close().await.unwrap();
    destroy(&two);

    let refused = Peer::open(&two, listening()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Store { .. }), "{refused}");
    let without = Peer::open(&two, listening().refetch(true)).await;
    assert!(matches!(without, Err(OpenError::Option(_))));
    assert!(two.join("store").exists() && !two.join("store.aside-1").exists());

    let again = listening().join(token).refetch(true);
    let peer = Peer::open(&two, again).await.unwrap();
    assert_eq!(peer.key(), key);
    until_same(&peer, &other).await;
    let path = "/from-here".parse().unwrap();
    assert!(peer.snapshot().resolve(&path).unwrap().is_some());
    assert!(two.join("store.aside-1/db/db").exists());
    save(&peer, "/from-here/again").await;
    until_same(&peer, &other).await;
    peer.close().await.unwrap();

    // And from then on as ever.
    let peer = Peer::open(&two, listening()).await.unwrap();
    assert_eq!(peer.snapshot().digest(), other.snapshot().digest());
    peer.close().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn a_peer_that_did_not_open_lets_go_of_its_address() {
    let place = tempfile::tempdir().unwrap();
    let peer = Peer::open(place.path(), listening()).await.unwrap();
    let address = peer.local_addr().unwrap();
    save(&peer, "/here").await;
    peer.close().await.unwrap();
    destroy(place.path());
    let refused = Peer::open(place.path(), PeerOptions::default().listen(address)).await;
    assert!(matches!(refused, Err(OpenError::Store { .. })));
    let mut tries = 0;
    while std::net::UdpSocket::bind(address).is_err() {
        tries += 1;
        assert!(tries < 500, "the address is still in use");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
