//! A daemon on a disk that gets full.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::three::verify;
use crate::daemon::{Daemon, Failure, PATIENCE, now, until, until_equal};

/// A small disk of its own; taken away when this is dropped.
struct Disk(PathBuf);

impl Disk {
    /// Nothing, with a word about it, where the system does not allow it.
    fn new(at: &Path) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"])
            .arg(at)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr);
                eprintln!("not tested, since no small disk can be made here: {why}");
                None
            }
            Err(error) => {
                eprintln!("not tested, since `mount` can not be run: {error}");
                None
            }
        }
    }

    /// Writes to a file until nothing more fits.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        for piece in [1 << 20, 4 << 10, 1] {
            while file.write_all(&vec![0; piece]).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A process that has just been killed may hold on to it for a moment.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn on_a_full_disk_saves_fail_reads_go_on_and_room_makes_all_well_again() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(&directory.path().join("disk")) else {
        return;
    };
    let mut daemon = Daemon::start(&disk.0.join("a"), &[]);
    let token = daemon.client().token();
    let mut other = Daemon::start(&directory.path().join("b"), &["--join", &token]);
    let client = daemon.client().clone();
    let mut ids = client.apply("add /a\nset /a x 1").unwrap();
    until_equal(&[&client, other.client()], PATIENCE);

    let filler = disk.fill();
    let start = now();
    let mut tries = 0;
    let refusal = loop {
        tries += 1;
        assert!(
            start.elapsed() < PATIENCE,
            "{tries} saves, and none was refused"
        );
        // What is acknowledged still counts.
        match client.apply(&format!("add /full{tries}")) {
            Ok(saved) => ids.extend(saved),
            Err(Failure::Refused(status, answer)) => break (status, answer),
            Err(failure) => panic!("{failure:?}"),
        }
    };
    let (status, answer) = refusal;
    assert!(status == 507 || status == 503, "{status}: {answer}");
    // Once it is known, every save is told the same.
    until("a save is told that the disk is full", || {
        match client.apply("add /more") {
            Ok(saved) => {
                ids.extend(saved);
                false
            }
            Err(Failure::Refused(507, answer)) => {
                let error = answer["error"].as_str().unwrap();
                assert!(error.contains("full") || error.contains("room"), "{answer}");
                assert!(
                    answer["hint"].as_str().unwrap().contains("disk"),
                    "{answer}"
                );
                true
            }
            Err(Failure::Refused(503, _)) => false,
            Err(failure) => panic!("{failure:?}"),
        }
    });
    // Reads go on.
    assert!(client.tree("main").contains("\"x\": 1"));
    let shown = client.status();
    assert_eq!(shown["ready"], false, "{shown:#}");
    assert!(
        !shown["warnings"].as_array().unwrap().is_empty(),
        "{shown:#}"
    );
    assert!(!client.logged().is_empty());
    // Others save on meanwhile.
    ids.extend(other.client().apply("add /elsewhere").unwrap());

    std::fs::remove_file(filler).unwrap();
    until("it takes saves again", || client.status()["ready"] == true);
    let mut tries = 0;
    until("a save is acknowledged", || {
        tries += 1;
        match client.apply(&format!("add /after{tries}")) {
            Ok(saved) => {
                ids.extend(saved);
                true
            }
            Err(_) => false,
        }
    });
    until_equal(&[&client, other.client()], PATIENCE);
    let logged = client.logged();
    assert!(
        ids.iter().all(|id| logged.contains(id)),
        "an acknowledged save is gone"
    );
    assert_eq!(client.tree("main"), other.client().tree("main"));
    for daemon in [&mut daemon, &mut other] {
        assert_eq!(daemon.terminate().0, Some(0));
        verify(daemon.data());
    }
}
