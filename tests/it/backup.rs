//! Backups of running peers: what is in them, who may open them, and going on from them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leveret::peer::{DirectoryError, VerifyError};
use leveret::{BackupError, OpenError, Peer, PeerOptions, ReadTree as _, Receipt, RepoId};

use crate::daemon::{Daemon, PATIENCE, Ran, place, program, refused, run, until_equal};

fn options() -> PeerOptions {
    // Checkpoints come often enough to meet backups.
    PeerOptions::default().checkpoint_interval(Duration::from_millis(50))
}

async fn open(directory: &Path) -> Peer {
    Peer::open(directory, options()).await.unwrap()
}

async fn add(peer: &Peer, path: &str) -> Receipt {
    let mut session = peer.session();
    session.add(path).unwrap();
    session.set(path, "text", "some text".repeat(20)).unwrap();
    session.save().await.unwrap()
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

fn has(peer: &Peer, path: &str) -> bool {
    let path = path.parse().unwrap();
    peer.snapshot().resolve(&path).unwrap().is_some()
}

fn is_sound(directory: &Path) -> bool {
    leveret::peer::verify(directory, false).unwrap().is_sound()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_sound_and_a_peer_goes_on_from_it() {
    let place = place();
    let (data, backup) = (place.path.join("data"), place.path.join("sub/backup"));
    let peer = open(&data).await;
    for n in 0..200 {
        add(&peer, &format!("/n{n}")).await;
    }
    let report = peer.backup(&backup).await.unwrap();
    assert!(
        !report.earlier && report.journal_records >= 201,
        "{report:?}"
    );
    assert!(
        report.bytes > 200 * 180 && report.disk_bytes > 0,
        "{report:?}"
    );
    let digest = peer.snapshot().digest();
    let later = add(&peer, "/later").await;
    assert_eq!((mode(&backup), mode(&backup.join("key"))), (0o700, 0o600));
    // What is checked is a backup still.
    assert!(is_sound(&backup));
    let again = peer.backup(&backup).await.unwrap();
    assert!(again.earlier && again.journal_records == 1, "{again:?}");
    assert!(again.state_records < 20, "{again:?}");
    assert!(is_sound(&backup));
    let all = peer.snapshot().digest();
    assert_ne!(all, digest);

    let key = peer.key();
    peer.close().await.unwrap();
    let restored = open(&backup).await;
    assert_eq!((restored.key(), restored.snapshot().digest()), (key, all));
    assert!(has(&restored, "/later"));
    let next = add(&restored, "/in-its-place").await;
    assert_ne!(next.id.origin, later.id.origin);
    restored.close().await.unwrap();
    assert!(is_sound(&backup));

    // It is in use now: a backup of the other would take the state of one for that of the other.
    let peer = open(&data).await;
    let error = peer.backup(&backup).await.unwrap_err();
    assert!(
        matches!(
            &error,
            BackupError::Directory(DirectoryError::NoBackup { .. })
        ),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_amid_saves_have_all_that_was_acknowledged_before() {
    let place = place();
    let peer = open(&place.path.join("data")).await;
    let done = AtomicBool::new(false);
    let saving = async {
        let mut count = 0;
        while !done.load(Ordering::Relaxed) {
            add(&peer, &format!("/n{count}")).await;
            if count % 3 == 0 {
                let mut session = peer.session();
                session.remove(format!("/n{count}").as_str()).unwrap();
                session.save().await.unwrap();
            }
            count += 1;
        }
        count
    };
    let backing_up = async {
        let mut known = 0;
        for round in 0..12 {
            let name = format!("backup-{}", round % 3);
            let directory = place.path.join(&name);
            let heads = peer.snapshot().heads().clone();
            let report = peer.backup(&directory).await.unwrap();
            assert_eq!(report.earlier, round >= 3);
            let copied = place.path.join("copy");
            copy(&directory, &copied);
            assert!(is_sound(&copied), "round {round}");
            let restored = open(&copied).await;
            for (origin, head) in &heads {
                let there = restored.snapshot().heads()[origin].sequence;
                assert!(there >= head.sequence, "round {round}");
                known = there.0;
            }
            restored.close().await.unwrap();
            fs::remove_dir_all(&copied).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        known
    };
    let (count, known) = tokio::join!(saving, backing_up);
    assert!(count > 20 && known > 20, "{count} {known}");
    peer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_backup_of_the_replica_is_refused_and_not_touched() {
    let place = place();
    let data = place.path.join("data");
    let peer = open(&data).await;
    let refused = async |path: &Path| match peer.backup(path).await.unwrap_err() {
        BackupError::Directory(error) => error,
        other => panic!("{other}"),
    };
    let full = place.path.join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("notes.txt"), "mine").unwrap();
    let error = refused(&full).await;
    assert!(
        matches!(error, DirectoryError::NotLeveret { .. }),
        "{error}"
    );
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);

    std::os::unix::fs::symlink(&data, place.path.join("link")).unwrap();
    for inside in [
        "data",
        "data/backup",
        "data/x/y",
        "link",
        "link/b",
        "data/../data/b",
    ] {
        let error = refused(&place.path.join(inside)).await;
        assert!(matches!(error, DirectoryError::Inside { .. }), "{error}");
    }
    assert!(!data.join("backup").exists() && !data.join("b").exists());

    let other_data = place.path.join("other");
    let other = open(&other_data).await;
    let error = refused(&other_data).await;
    assert!(matches!(error, DirectoryError::NoBackup { .. }), "{error}");
    let backup = place.path.join("backup");
    other.backup(&backup).await.unwrap();
    let error = refused(&backup).await;
    assert!(
        matches!(error, DirectoryError::OtherReplica { .. }),
        "{error}"
    );
    assert!(is_sound(&backup));

    // One at a time: who has it open keeps the others out.
    let lock = fs::File::open(backup.join("lock")).unwrap();
    lock.lock().unwrap();
    let error = other.backup(&backup).await.unwrap_err();
    assert!(
        matches!(error, BackupError::Directory(DirectoryError::InUse { .. })),
        "{error}"
    );
    drop(lock);
    other.backup(&backup).await.unwrap();
    let file = place.path.join("file");
    fs::write(&file, "").unwrap();
    let error = refused(&file).await;
    assert!(matches!(error, DirectoryError::Io { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_opens_a_backup_that_was_not_finished() {
    let place = place();
    let backup = place.path.join("backup");
    let peer = open(&place.path.join("data")).await;
    add(&peer, "/a").await;
    peer.backup(&backup).await.unwrap();
    fs::write(backup.join("backup"), "leveret backup unfinished\n").unwrap();
    let error = Peer::open(&backup, options()).await.unwrap_err();
    let is_unfinished = |error: &DirectoryError| matches!(error, DirectoryError::Unfinished { .. });
    assert!(
        matches!(&error, OpenError::Directory(error) if is_unfinished(error)),
        "{error}"
    );
    let error = leveret::peer::verify(&backup, false).unwrap_err();
    assert!(
        matches!(&error, VerifyError::Directory(error) if is_unfinished(error)),
        "{error}"
    );
    // Killed before there was anything but the note, or the key.
    for name in ["store", "format", "cluster", "key"] {
        let path = backup.join(name);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
        let half = place.path.join("half");
        copy(&backup, &half);
        assert!(Peer::open(&half, options()).await.is_err());
        let report = peer.backup(&half).await.unwrap();
        assert!(!report.earlier && report.journal_records > 0, "{report:?}");
        assert!(is_sound(&half));
        fs::remove_dir_all(&half).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_closed_amid_a_backup_ends_soon_and_the_backup_is_repeated() {
    let place = place();
    let (data, backup) = (place.path.join("data"), place.path.join("backup"));
    let mut finished = 0;
    for round in 0..4_u64 {
        let peer = open(&data).await;
        for n in 0..500 {
            let mut session = peer.session();
            session.add(format!("/r{round}n{n}").as_str()).unwrap();
            session.save().await.unwrap();
        }
        let clone = peer.clone();
        let target = backup.clone();
        let writing = tokio::spawn(async move { clone.backup(&target).await });
        tokio::time::sleep(Duration::from_millis(20 * round)).await;
        tokio::time::timeout(Duration::from_secs(20), peer.close())
            .await
            .unwrap()
            .unwrap();
        match writing.await.unwrap() {
            Ok(_) => finished += 1,
            Err(BackupError::Ended) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(finished < 4, "none was interrupted");
    let peer = open(&data).await;
    let digest = peer.snapshot().digest();
    peer.backup(&backup).await.unwrap();
    peer.close().await.unwrap();
    assert!(is_sound(&backup));
    let restored = open(&backup).await;
    assert_eq!(restored.snapshot().digest(), digest);
    restored
        .wait_for(RepoId::MAIN, &[], PATIENCE)
        .await
        .unwrap();
}

fn script(name: &str, count: usize) -> String {
    (0..count)
        .map(|n| format!("add /{name}{n}\nset /{name}{n} x {n}\n---\n"))
        .collect()
}

fn verified(data: &Path) -> Ran {
    run(&["verify".as_ref(), "--data".as_ref(), data.as_os_str()])
}

#[test]
fn a_lost_machine_is_replaced_from_its_backup_and_told_what_it_lacked() {
    let place = place();
    let a = Daemon::start(&place.path.join("a"), &[]);
    let token = a.client().token();
    let mut b = Daemon::start(&place.path.join("b"), &["--join", &token]);
    b.client().apply(&script("before", 50)).unwrap();
    until_equal(&[a.client(), b.client()], PATIENCE);
    // Relative to where the command runs, not to where the daemon does.
    let mut command = b.command(&["backup", "kept", "--json"]);
    let ran: Ran = command.current_dir(&place.path).output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let said: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let kept = place.path.join("kept");
    assert_eq!(
        said["directory"],
        kept.canonicalize().unwrap().to_str().unwrap()
    );
    assert_eq!(said["earlier"], false);
    assert!(said["journal_records"].as_u64() > Some(50), "{said}");
    let ran = verified(&kept);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let text = b.ok(&["backup", kept.to_str().unwrap()]);
    assert!(
        text.starts_with("brought up to date: 0 journal records, "),
        "{text}"
    );

    b.client().apply(&script("after", 50)).unwrap();
    until_equal(&[a.client(), b.client()], PATIENCE);
    assert_eq!(a.client().status()["warnings"], serde_json::json!([]));
    b.kill();
    fs::remove_dir_all(b.data()).unwrap();
    copy(&kept, b.data());
    b.restart();
    assert!(!b.data().join("backup").exists() && kept.join("backup").exists());
    until_equal(&[a.client(), b.client()], PATIENCE);
    assert_eq!(b.client().tree("main"), a.client().tree("main"));
    let warnings = b.client().status()["warnings"].clone();
    let told = warnings.as_array().unwrap();
    assert!(
        told.iter().any(|warning| {
            let text = warning.as_str().unwrap();
            text.contains("in `main`, from number ") && text.contains("an older copy")
        }),
        "{warnings}"
    );
    b.client().apply(&script("restored", 5)).unwrap();
    until_equal(&[a.client(), b.client()], PATIENCE);
    assert_eq!(a.client().status()["counters"]["forks"], 0);
    assert_eq!(b.terminate().0, Some(0));
    assert_eq!(verified(b.data()).code, Some(0));
}

#[test]
fn a_backup_during_which_the_daemon_is_killed_is_refused_and_repeated() {
    let place = place();
    let mut daemon = Daemon::start(&place.path.join("data"), &[]);
    let kept = place.path.join("kept");
    let mut interrupted = 0;
    for round in 0..6_u64 {
        daemon
            .client()
            .apply(&script(&format!("r{round}-"), 300))
            .unwrap();
        let mut child = daemon
            .command(&["backup", kept.to_str().unwrap()])
            .stderr(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(15 * round));
        daemon.kill();
        if !child.wait().unwrap().success() && kept.exists() {
            interrupted += 1;
            let half = place.path.join("half");
            copy(&kept, &half);
            let ran = verified(&half);
            if half.join("backup").exists() && ran.code != Some(0) {
                refused(&ran, &["was not finished", "repeat it"]);
            }
            fs::remove_dir_all(&half).unwrap();
        }
        daemon.restart();
    }
    assert!(interrupted > 0, "no backup was interrupted");
    let text = daemon.ok(&["backup", kept.to_str().unwrap()]);
    assert!(text.contains(" journal records, "), "{text}");
    assert_eq!(verified(&kept).code, Some(0));
    let tree = daemon.client().tree("main");
    let restored = place.path.join("restored");
    copy(&kept, &restored);
    let restored = Daemon::start(&restored, &[]);
    assert_eq!(restored.client().tree("main"), tree);
}

#[test]
fn a_backup_that_can_not_be_is_told_in_a_line() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("data"), &[]);
    let data = daemon.data().to_str().unwrap().to_owned();
    refused(
        &daemon.run(&["backup", &data]),
        &["in the data directory itself"],
    );
    let full = place.path.to_str().unwrap();
    refused(&daemon.run(&["backup", full]), &["not empty"]);
    refused(
        &daemon.run(&["backup", "/proc/nowhere"]),
        &["/proc/nowhere"],
    );
    let failure = daemon
        .client()
        .try_post("/v1/backup", &[("directory", "kept")], "")
        .unwrap_err();
    assert!(
        format!("{failure:?}").contains("not an absolute path"),
        "{failure:?}"
    );
    let ran: Ran = program(&["backup", "--api", "http://127.0.0.1:1", "x"])
        .output()
        .unwrap()
        .into();
    refused(&ran, &["no daemon answers"]);
}

#[test]
fn the_page_on_backups_cites_what_the_program_says() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(home.join(path)).unwrap();
    let page = read("docs/how-to/back-up.md");
    let said: String = [
        "src/peer/backup.rs",
        "src/peer/directory.rs",
        "src/replica/backup.rs",
        "src/replica/output.rs",
    ]
    .map(read)
    .concat();
    let said = said.replace("\\\n", "");
    let said: Vec<&str> = said.split_whitespace().collect();
    let said = said.join(" ");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: Vec<&str> = rows.map(|row| row.split('`').next().unwrap()).collect();
    assert!(rows.len() >= 5, "{rows:?}");
    for row in rows {
        for part in row
            .split('…')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            assert!(said.contains(part), "nobody says `{part}`");
        }
    }
    assert!(page.contains("change sets of this replica's own origin"));
    assert!(said.contains("change sets of this replica's own origin"));
    assert!(home.join("docs/how-to/../reference/cli.md").is_file());
}
