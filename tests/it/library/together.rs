//! Peers with one another: joining, converging, copied directories, tokens.

use std::path::Path;
use std::time::Duration;

use leveret::{JoinError, JoinToken, OpenError, Peer, PeerOptions, RepoId};

use super::{PATIENCE, apply, tree};

#[expect(dead_code, reason = "`main` is for `cargo run --example`")]
#[path = "../../../examples/two_peers.rs"]
mod two_peers;

fn listening() -> PeerOptions {
    PeerOptions::default().listen(([127, 0, 0, 1], 0).into())
}

async fn until_equal(peers: &[&Peer]) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let heads: Vec<_> = peers
            .iter()
            .flat_map(|peer| RepoId::ALL.map(|repo| peer.snapshot_in(repo).heads().clone()))
            .collect();
        if heads
            .chunks(RepoId::ALL.len())
            .all(|one| one == &heads[..RepoId::ALL.len()])
        {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "not equal in time: {heads:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for repo in RepoId::ALL {
        let digests = peers.iter().map(|peer| peer.snapshot_in(repo).digest());
        assert!(digests.collect::<Vec<_>>().windows(2).all(|w| w[0] == w[1]));
    }
}

#[tokio::test]
async fn the_example_of_two_peers_runs_and_both_end_with_the_same_tree() {
    let [(_, north), (_, south)] = two_peers::run().await.unwrap();
    assert_eq!(north, south);
    assert_eq!(
        north,
        "{\"field\": {\"hares\": 8}, \"warren\": {\"depth\": 3}}\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_peers_converge_and_know_one_another() {
    let directories = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let first = Peer::open(directories[0].path(), listening().name("first"))
        .await
        .unwrap();
    apply(&first, "add /shared\nset /shared n 0").await;
    let mut peers = vec![first];
    for directory in &directories[1..] {
        // Each is let in by the one before: whom one admits the others know.
        let inviter = peers.last().unwrap();
        let token = inviter.create_token(Duration::from_secs(60)).await.unwrap();
        let options = listening().join(token);
        peers.push(Peer::open(directory.path(), options).await.unwrap());
    }
    let all: Vec<&Peer> = peers.iter().collect();
    until_equal(&all).await;
    for (i, peer) in peers.iter().enumerate() {
        for k in 0..10 {
            apply(peer, &format!("add /shared/{i}-{k}\ninc /shared n 1")).await;
        }
    }
    until_equal(&all).await;
    assert!(tree(&peers[0]).contains("\"n\": 30"));
    assert!(
        peers
            .windows(2)
            .all(|pair| tree(&pair[0]) == tree(&pair[1]))
    );

    let deadline = tokio::time::Instant::now() + PATIENCE;
    for peer in &peers {
        loop {
            let status = peer.status().await;
            if status.peers.len() == 2 && status.peers.iter().all(|other| other.connected) {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "{status:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    // One is cut off; both sides go on; then they meet again.
    peers[2].set_isolated(true);
    apply(&peers[0], "add /shared/by-day").await;
    apply(&peers[2], "add /shared/by-night").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_ne!(tree(&peers[0]), tree(&peers[2]));
    peers[2].set_isolated(false);
    until_equal(&all).await;

    // And one is away and comes back, without a token this time.
    let away = peers.pop().unwrap();
    away.close().await.unwrap();
    apply(&peers[0], "add /shared/meanwhile").await;
    let back = Peer::open(directories[2].path(), listening())
        .await
        .unwrap();
    until_equal(&[&peers[0], &peers[1], &back]).await;
    assert!(tree(&back).contains("meanwhile"));
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, kind) = entry
            .map(|entry| (entry.path(), entry.file_type()))
            .unwrap();
        let to = to.join(entry.file_name().unwrap());
        if kind.unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_tree(&entry, &to);
        } else {
            // A file may be gone by the time it is its turn: temporaries are.
            let _ = std::fs::copy(&entry, &to);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_copied_under_its_owner_goes_on_beside_it_and_nothing_is_lost() {
    let [one, two, copy] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let owner = Peer::open(one.path(), listening().name("owner"))
        .await
        .unwrap();
    let token = owner.create_token(Duration::from_secs(60)).await.unwrap();
    let other = Peer::open(two.path(), listening().join(token))
        .await
        .unwrap();
    apply(&owner, "add /before\n---\nset /before x 1").await;
    until_equal(&[&owner, &other]).await;
    copy_tree(one.path(), copy.path());
    apply(&owner, "add /of-the-owner").await;
    let twin = Peer::open(copy.path(), listening().name("twin"))
        .await
        .unwrap();
    assert_eq!(twin.key(), owner.key());
    apply(&twin, "add /of-the-twin").await;
    apply(&owner, "inc /before x 1").await;
    apply(&twin, "inc /before x 1").await;
    until_equal(&[&owner, &other, &twin]).await;
    let expected = "{\"before\": {\"x\": 3}, \"of-the-owner\": {}, \"of-the-twin\": {}}\n";
    assert_eq!(tree(&other), expected);
    assert_eq!(tree(&owner), expected);
    assert_eq!(tree(&twin), expected);
}

async fn refusal(token: JoinToken) -> OpenError {
    let directory = tempfile::tempdir().unwrap();
    let error = Peer::open(directory.path(), listening().join(token))
        .await
        .unwrap_err();
    // Without a token it is not mistaken for a founder's directory.
    let again = Peer::open(directory.path(), listening()).await.unwrap_err();
    assert!(matches!(again, OpenError::JoinUnfinished(_)), "{again}");
    error
}

#[tokio::test]
async fn a_wrong_an_expired_and_a_foreign_token_are_refused() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let peer = Peer::open(one.path(), listening()).await.unwrap();
    let stranger = Peer::open(other.path(), listening()).await.unwrap();

    let expired = peer.create_token(Duration::from_millis(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let error = refusal(expired).await.to_string();
    assert!(error.contains("expired token"), "{error}");

    // The secret of another cluster, with this one's key and address.
    let good = peer.create_token(Duration::from_secs(60)).await.unwrap();
    let foreign = stranger
        .create_token(Duration::from_secs(60))
        .await
        .unwrap();
    let forge = |cluster, secret| {
        let addresses = good.addresses().to_vec();
        let expires = good.expires_unix_seconds();
        JoinToken::new(cluster, good.inviter(), addresses, secret, expires).unwrap()
    };
    let error = refusal(forge(good.cluster(), foreign.secret()))
        .await
        .to_string();
    assert!(error.contains("wrong token"), "{error}");
    let error = refusal(forge(foreign.cluster(), good.secret()))
        .await
        .to_string();
    assert!(error.contains("another cluster"), "{error}");

    peer.close().await.unwrap();
    let error = refusal(good).await;
    assert!(
        matches!(error, OpenError::Join(JoinError::Unreachable { .. })),
        "{error}"
    );
    let token = stranger
        .create_token(Duration::from_secs(60))
        .await
        .unwrap();
    let error = Peer::open(one.path(), listening().join(token))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::OtherCluster { .. }), "{error}");
}
