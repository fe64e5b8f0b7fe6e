//! The driver over stores that fail on demand, and replicas that ask to be opened again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::backup::{BackupError, backup_within};
use super::open::open_on;
use super::store::OpenStore;
use super::{Event, Peer, PeerOptions, SaveError, clock};
use crate::codec::change_set::{chain_hash, decode, encode};
use crate::codec::journal::Seal;
use crate::codec::message::{Message, SealedBytes};
use crate::codec::state_key::META;
use crate::merge::ReadTree as _;
use crate::model::{PublicKey, RepoId, Sequence, Value};
use crate::replica::{ConnectionId, Identity};
use crate::storage::memory::{Fault, MemoryStorage};
use crate::storage::{Change, Key, Storage, StorageError};

/// A store in memory that outlives those who open it, as a disk does.
#[derive(Clone, Default)]
struct Disk {
    current: Arc<Mutex<Arc<MemoryStorage>>>,
    opened: Arc<Mutex<usize>>,
    /// How often the last table of the state was read from its beginning.
    states_read: Arc<Mutex<usize>>,
}

struct Handle(Arc<MemoryStorage>, Arc<Mutex<usize>>);

impl Disk {
    fn store(&self) -> Arc<MemoryStorage> {
        self.current.lock().unwrap().clone()
    }

    fn opener(&self) -> OpenStore {
        let disk = self.clone();
        Arc::new(move |_| {
            let mut current = disk.current.lock().unwrap();
            *current = Arc::new(current.crash());
            *disk.opened.lock().unwrap() += 1;
            Ok(Box::new(Handle(current.clone(), disk.states_read.clone())))
        })
    }
}

impl Storage for Handle {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.0.get(key)
    }
    fn scan(&self, from: &[u8], to: &[u8], n: usize) -> Result<Vec<(Key, Vec<u8>)>, StorageError> {
        if from == [META, RepoId::MAIN.0] {
            *self.1.lock().unwrap() += 1;
        }
        self.0.scan(from, to, n)
    }
    fn scan_back(
        &self,
        from: &[u8],
        to: &[u8],
        n: usize,
    ) -> Result<Vec<(Key, Vec<u8>)>, StorageError> {
        self.0.scan_back(from, to, n)
    }
    fn append(&self, records: &[(Key, Vec<u8>)]) -> Result<(), StorageError> {
        self.0.append(records)
    }
    fn checkpoint(
        &self,
        changes: &[Change],
        between: &mut dyn FnMut() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.0.checkpoint(changes, between)
    }
    fn witness(&self, mark: &[u8]) -> Result<(), StorageError> {
        self.0.witness(mark)
    }
    fn last_witness(&self) -> Result<Option<Vec<u8>>, StorageError> {
        self.0.last_witness()
    }
    fn size_on_disk(&self) -> u64 {
        self.0.size_on_disk()
    }
}

async fn set(peer: &Peer, value: i64) -> Result<(), SaveError> {
    let mut session = peer.session();
    session.set("/a", "x", value).unwrap();
    session.save().await.map(drop)
}

async fn open(disk: &Disk) -> (tempfile::TempDir, Peer) {
    let directory = tempfile::tempdir().unwrap();
    let peer = open_on(directory.path(), PeerOptions::default(), disk.opener())
        .await
        .unwrap();
    let mut session = peer.session();
    session.add("/a").unwrap();
    session.save().await.unwrap();
    set(&peer, 1).await.unwrap();
    (directory, peer)
}

async fn until_ready(peer: &Peer) {
    for _ in 0..1_000 {
        if peer.status().await.ready {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the store was not opened again");
}

#[tokio::test]
async fn after_a_failed_write_saves_are_refused_reads_go_on_and_the_store_is_opened_again() {
    for kept in [0, 1] {
        let disk = Disk::default();
        let (_directory, peer) = open(&disk).await;
        let mut observer = peer.observe("/a").unwrap();
        let error = StorageError::Io("the cable was pulled".into());
        disk.store().fail_next(Fault::Fail { error, kept });

        let failed = set(&peer, 2).await.unwrap_err();
        assert!(matches!(failed, SaveError::Uncertain(_)), "{failed}");
        assert!(
            failed.to_string().contains("the cable was pulled"),
            "{failed}"
        );
        let refused = set(&peer, 3).await.unwrap_err();
        assert!(matches!(refused, SaveError::Refused(_)), "{refused}");
        let status = peer.status().await;
        assert!(!status.ready && status.failure.unwrap().contains("the cable"));
        assert_eq!(peer.session().get("/a", "x").unwrap(), Some(Value::Int(1)));

        until_ready(&peer).await;
        assert_eq!(*disk.opened.lock().unwrap(), 2);
        // What an uncertain save came to shows now.
        let found = peer.session().get("/a", "x").unwrap().unwrap();
        assert_eq!(found, Value::Int(1 + kept as i64));
        let Some(Event::Lagged(snapshot)) = observer.next().await else {
            panic!("observers start over from what is there");
        };
        let node = snapshot.resolve(&"/a".parse().unwrap()).unwrap().unwrap();
        let x = "x".parse().unwrap();
        assert_eq!(snapshot.property(node, &x).unwrap(), Some(found));
        set(&peer, 4).await.unwrap();
        assert!(matches!(observer.next().await, Some(Event::Commit(_))));
        assert_eq!(peer.log(RepoId::MAIN, None, 10).unwrap().len(), 3 + kept);
        peer.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_waited_out() {
    let disk = Disk::default();
    let (_directory, peer) = open(&disk).await;
    disk.store().set_full(true);
    let failed = set(&peer, 2).await.unwrap_err();
    assert!(failed.to_string().contains("full"), "{failed}");
    assert_eq!(peer.session().get("/a", "x").unwrap(), Some(Value::Int(1)));
    disk.store().set_full(false);
    until_ready(&peer).await;
    set(&peer, 3).await.unwrap();
    assert_eq!(peer.session().get("/a", "x").unwrap(), Some(Value::Int(3)));
}

#[tokio::test]
async fn a_peer_whose_store_has_failed_closes_and_says_so() {
    let disk = Disk::default();
    let (_directory, peer) = open(&disk).await;
    let error = StorageError::Io("gone".into());
    disk.store().fail_next(Fault::Fail { error, kept: 0 });
    set(&peer, 2).await.unwrap_err();
    let error = peer.close().await.unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
}

#[tokio::test]
async fn a_snapshot_of_a_store_that_was_closed_gives_errors_and_no_panic() {
    let disk = Disk::default();
    let (_directory, peer) = open(&disk).await;
    let snapshot = peer.snapshot();
    peer.close().await.unwrap();
    // From memory, or an error: never something else.
    match snapshot.resolve(&"/a".parse().unwrap()) {
        Ok(found) => assert!(found.is_some()),
        Err(error) => assert!(error.to_string().contains("closed"), "{error}"),
    }
}

// M17
#[tokio::test]
async fn a_peer_that_has_applied_what_does_not_count_is_opened_again_without_it() {
    let disk = Disk::default();
    let (directory, peer) = open(&disk).await;
    set(&peer, 2).await.unwrap();
    let seed = std::fs::read_to_string(directory.path().join("key")).unwrap();
    let seed: PublicKey = seed.trim().parse().unwrap(); // of the same length, in hex
    let identity = Identity::from_seed(&seed.0);
    // Its own origin has another history from number 3 on: it was set back while it ran.
    let told = peer.inner.core.run(move |engine| {
        let replica = &mut engine.replica;
        let (origin, cluster) = (replica.origin(), replica.config().cluster);
        let journal = replica.journal(RepoId::MAIN);
        let held = journal.record(origin, Sequence(3)).unwrap().unwrap();
        let mut other = decode(&held.body).unwrap();
        other.message = Some("the other history".into());
        let body: Arc<[u8]> = encode(&other).into();
        let (repo, hash) = (RepoId::MAIN, chain_hash(&body));
        let text = Seal::text(cluster, repo, origin, Sequence(3), hash);
        let seal = Some(Seal(identity.sign(&text)));
        let message = Message::Fork {
            repo,
            origin,
            held: vec![SealedBytes {
                body: held.body.into(),
                seal: held.seal,
            }],
            refused: vec![SealedBytes { body, seal }],
        };
        let (now, by_hand) = (clock::now(), ConnectionId(u64::MAX));
        replica.connected(now, by_hand, identity.public());
        replica.receive(now, by_hand, message);
        origin
    });
    let origin = told.await.unwrap();
    for _ in 0..1_000 {
        if *disk.opened.lock().unwrap() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until_ready(&peer).await;
    let status = peer.status().await;
    assert_eq!(peer.session().get("/a", "x").unwrap(), Some(Value::Int(1)));
    assert_eq!(status.state.repos[1].applied[&origin], Sequence(2));
    set(&peer, 3).await.unwrap();
    assert_eq!(peer.session().get("/a", "x").unwrap(), Some(Value::Int(3)));
    assert_eq!(peer.log(RepoId::MAIN, None, 10).unwrap().len(), 3);
    assert_eq!(*disk.opened.lock().unwrap(), 2);
    peer.close().await.unwrap();
}

#[tokio::test]
async fn a_backup_gives_up_rather_than_let_too_much_wait_in_memory_and_can_be_repeated() {
    let disk = Disk::default();
    let (directory, peer) = open(&disk).await;
    let mut session = peer.session();
    for i in 0..400 {
        session.add(&format!("/a/n{i}")).unwrap();
    }
    session.save().await.unwrap();
    peer.close().await.unwrap();
    let hour = Duration::from_secs(3_600);
    let options = PeerOptions::default().checkpoint_interval(hour);
    let peer = open_on(directory.path(), options, disk.opener());
    let peer = peer.await.unwrap();
    // It waits in memory from now on.
    set(&peer, 2).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let place = place.path().join("backup");
    let before = *disk.states_read.lock().unwrap();
    let behind = backup_within(&peer.inner, &place, 0).await;
    assert!(matches!(behind, Err(BackupError::Behind)), "{behind:?}");
    let read = *disk.states_read.lock().unwrap() - before;
    assert_eq!(read, 4, "at first, and after each round but the last");
    assert!(
        Peer::open(&place, PeerOptions::default()).await.is_err(),
        "it is not whole"
    );
    let report = peer.backup(&place).await.unwrap();
    assert!(report.earlier);
    peer.close().await.unwrap();
    let copy = Peer::open(&place, PeerOptions::default()).await.unwrap();
    assert_eq!(copy.session().get("/a", "x").unwrap(), Some(Value::Int(2)));
    assert!(copy.session().node_at("/a/n399").unwrap().is_some());
    copy.close().await.unwrap();
}
