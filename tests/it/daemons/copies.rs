//! Copied data directories: copies are new writers, and nothing that anybody saved is lost.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::proxy::Network;
use super::three::verify;
use crate::daemon::{Client, PATIENCE, until_equal};

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

fn save(client: &Client, name: &str, count: usize) -> Vec<String> {
    let script: String = (0..count)
        .map(|i| format!("add /{name}{i}\ninc /shared count 1\n---\n"))
        .collect();
    client.apply(&script).unwrap()
}

/// The warnings of a status.
fn warnings(client: &Client) -> Vec<String> {
    let status = client.status();
    let warnings = status["warnings"].as_array().unwrap().iter();
    warnings
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

/// Only that something of its own has come from others, and in which repository.
fn assert_told(client: &Client) {
    let warnings = warnings(client);
    assert!(!warnings.is_empty());
    for text in &warnings {
        assert!(text.contains("of this replica's own origin"), "{text}");
    }
    assert!(
        warnings.iter().any(|text| text.contains("in `main`")),
        "{warnings:?}"
    );
}

/// All are equal, and all have these.
fn assert_have(clients: &[&Client], ids: &BTreeSet<String>) {
    until_equal(clients, PATIENCE);
    for client in clients {
        let logged = client.logged();
        let lacking: Vec<_> = ids.difference(&logged).collect();
        assert!(lacking.is_empty(), "{lacking:?}");
        assert_eq!(client.tree("main"), clients[0].tree("main"));
        let node = client.json("/v1/node", &[("path", "/shared")]);
        assert_eq!(node["properties"]["count"], ids.len() - 1, "{node}");
        let status = client.status();
        assert_eq!(status["counters"]["forks"], 0, "{status:#}");
    }
}

#[test]
fn a_directory_copied_while_its_owner_runs_is_one_writer_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut network = Network::new(7);
    let a_place = network.place();
    let mut a = network.start(a_place, &directory.path().join("a"), None);
    let mut ids: BTreeSet<String> = a
        .client()
        .apply("add /shared")
        .unwrap()
        .into_iter()
        .collect();
    let b_place = network.place();
    let token = a.client().token();
    let mut b = network.start(b_place, &directory.path().join("b"), Some(&token));
    until_equal(&[a.client(), b.client()], PATIENCE);
    ids.extend(save(b.client(), "before", 100));

    // The copy is made in the middle of saves.
    let copied = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let saving = scope.spawn(|| {
            let mut saved = Vec::new();
            let mut round = 0;
            while !copied.load(Ordering::Relaxed) {
                saved.extend(save(b.client(), &format!("during-{round}-"), 5));
                round += 1;
            }
            saved
        });
        std::thread::sleep(Duration::from_millis(100));
        copy(b.data(), &directory.path().join("b2"));
        copied.store(true, Ordering::Relaxed);
        ids.extend(saving.join().unwrap());
    });

    // Both save before they have heard of one another, and go on together.
    network.set_cut_between(a_place, b_place, true);
    ids.extend(save(b.client(), "apart", 50));
    let copy_place = network.place();
    network.set_cut_between(b_place, copy_place, true);
    let mut b2 = network.start(copy_place, &directory.path().join("b2"), None);
    ids.extend(save(b2.client(), "copy", 50));
    network.set_cut_between(a_place, b_place, false);
    let owner_and_copy = [b.client(), b2.client()].map(|client| client.status()["replica"].clone());
    assert_eq!(owner_and_copy[0], owner_and_copy[1]);
    for round in 0..5 {
        ids.extend(save(a.client(), &format!("a-{round}-"), 10));
        ids.extend(save(b.client(), &format!("b-{round}-"), 10));
        ids.extend(save(b2.client(), &format!("b2-{round}-"), 10));
    }
    assert_have(&[a.client(), b.client(), b2.client()], &ids);
    assert!(warnings(a.client()).is_empty());
    assert_told(b.client());
    assert_told(b2.client());

    // And with a link between the two that have one key, and after each has been restarted.
    network.set_cut_between(b_place, copy_place, false);
    for daemon in [&mut b, &mut b2] {
        assert_eq!(daemon.terminate().0, Some(0));
        daemon.restart();
        let name = daemon.data().file_name().unwrap().to_str().unwrap();
        ids.extend(save(daemon.client(), &format!("again-{name}-"), 10));
    }
    assert_have(&[a.client(), b.client(), b2.client()], &ids);
    // Two that share one member record do not write to it against each other for ever.
    let system = || a.client().status()["repositories"]["system"]["heads"].clone();
    let before = system();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(system(), before);

    for daemon in [&mut a, &mut b, &mut b2] {
        assert_eq!(daemon.terminate().0, Some(0));
        verify(daemon.data());
    }
}

#[test]
fn a_directory_that_is_put_back_to_an_older_copy_gets_everything_back_and_writes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut network = Network::new(8);
    let place = network.place();
    let mut a = network.start(place, &directory.path().join("a"), None);
    let mut ids: BTreeSet<String> = a
        .client()
        .apply("add /shared")
        .unwrap()
        .into_iter()
        .collect();
    let b_place = network.place();
    let token = a.client().token();
    let mut b = network.start(b_place, &directory.path().join("b"), Some(&token));
    until_equal(&[a.client(), b.client()], PATIENCE);
    ids.extend(save(b.client(), "before", 20));
    assert_have(&[a.client(), b.client()], &ids);
    assert_eq!(b.terminate().0, Some(0));
    copy(b.data(), &directory.path().join("backup"));
    b.restart();
    ids.extend(save(b.client(), "after", 20));
    assert_have(&[a.client(), b.client()], &ids);
    b.kill();
    std::fs::remove_dir_all(b.data()).unwrap();
    std::fs::rename(directory.path().join("backup"), b.data()).unwrap();
    // It writes before it can have heard what it wrote in the life that it does not remember.
    network.set_cut_between(place, b_place, true);
    b.restart();
    ids.extend(save(b.client(), "restored", 20));
    network.set_cut_between(place, b_place, false);
    assert_have(&[a.client(), b.client()], &ids);
    assert!(warnings(a.client()).is_empty());
    assert_told(b.client());
    for daemon in [&mut a, &mut b] {
        assert_eq!(daemon.terminate().0, Some(0));
        verify(daemon.data());
    }
}
