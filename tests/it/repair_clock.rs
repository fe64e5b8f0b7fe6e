//! A daemon whose clock was a year ahead, and is set right.

use serde_json::Value;

use crate::daemon::{Client, Daemon, PATIENCE, place, refused, run, until, until_equal};

/// A year, in milliseconds.
const YEAR_MS: i64 = 365 * 86_400_000;

/// A property of a node; nothing if either is not there, or the daemon does not answer.
fn property(client: &Client, path: &str, name: &str) -> Option<Value> {
    let text = client.try_get("/v1/node", &[("path", path)]).ok()?;
    let node: Value = serde_json::from_str(&text).unwrap();
    node["properties"].get(name).cloned()
}

/// Two daemons, and what the second one saved while it was a year ahead is held by both.
fn held(path: &std::path::Path) -> (Daemon, Daemon) {
    let a = Daemon::start(&path.join("a"), &[]);
    a.ok(&["add", "/before"]);
    a.ok(&["set", "/", "n", "1"]);
    let token = a.client().token();
    let b = Daemon::start(&path.join("b"), &["--join", &token]);
    until_equal(&[a.client(), b.client()], PATIENCE);
    b.set_clock(YEAR_MS);
    b.ok(&["set", "/before", "x", "1"]);
    b.ok(&["inc", "/", "n", "5"]);
    until("the other one holds them", || {
        a.client().status()["held"] == 2
    });
    assert_eq!(property(a.client(), "/before", "x"), None);
    assert_eq!(property(b.client(), "/before", "x"), Some(1.into()));
    b.set_clock(0);
    until("it holds them itself", || {
        let status = b.client().status();
        status["own_held"] == 2 && status["ready"] == true
    });
    (a, b)
}

#[test]
fn what_a_daemon_saved_a_year_ahead_is_held_and_then_saved_again() {
    let place = place();
    let (a, mut b) = held(&place.path);
    assert_eq!(property(b.client(), "/before", "x"), None);
    b.ok(&["set", "/before", "y", "2"]);
    until("what it saves now is seen", || {
        property(a.client(), "/before", "y") == Some(2.into())
    });
    let shown = b.ok(&["status"]);
    let line = |start: &str| shown.lines().any(|line| line.starts_with(start));
    assert!(line("own_held             2"), "{shown}");
    assert!(line("own_held_until       20"), "{shown}");
    assert!(
        shown.contains("`leveret repair-clock` saves them again"),
        "{shown}"
    );
    let held = &b.client().status()["repositories"]["main"]["held"][0];
    assert_eq!(held["count"], 2);
    assert!(held["until"].is_string(), "{held}");

    let said = b.ok(&["repair-clock"]);
    assert!(said.starts_with("closed: origin "), "{said}");
    assert!(said.contains("2 saves made again as "), "{said}");
    until_equal(&[a.client(), b.client()], PATIENCE);
    for client in [a.client(), b.client()] {
        assert_eq!(property(client, "/before", "x"), Some(1.into()));
        assert_eq!(property(client, "/", "n"), Some(6.into()));
        let main = &client.status()["repositories"]["main"];
        assert_eq!(main["closed"].as_array().unwrap().len(), 1);
        assert_eq!(main["quarantined"].as_array().unwrap().len(), 0);
    }
    assert!(!b.ok(&["status"]).contains("own_held"));
    assert!(b.ok(&["log"]).contains("saved again: "));

    b.kill();
    b.restart();
    until_equal(&[a.client(), b.client()], PATIENCE);
    let said = b.ok(&["repair-clock", "--alone"]);
    assert_eq!(said, "nothing is held of what this replica has saved\n");
    let said = b.json(&["repair-clock", "--alone", "--json"]);
    assert_eq!(said["saved_again"], 0);
    assert_eq!(property(a.client(), "/", "n"), Some(6.into()));
    for mut daemon in [a, b] {
        daemon.terminate();
        let data = daemon.data().to_str().unwrap();
        assert_eq!(run(&["verify", "--data", data]).code, Some(0));
    }
}

#[test]
fn a_replica_without_a_peer_is_repaired_only_if_that_is_meant() {
    let place = place();
    let (mut a, b) = held(&place.path);
    a.kill();
    until("it is alone", || {
        b.client().status()["peers"][0]["connected"] == false
    });
    refused(
        &b.run(&["repair-clock"]),
        &["no other replica is connected"],
    );
    assert_eq!(b.client().status()["own_held"], 2);
    let said = b.json(&["repair-clock", "--alone", "--json"]);
    assert_eq!(said["saved_again"], 2);
    assert_eq!(said["closed"][0]["saved_again"], 2);
    assert_eq!(property(b.client(), "/", "n"), Some(6.into()));
    a.restart();
    until_equal(&[a.client(), b.client()], PATIENCE);
    assert_eq!(property(a.client(), "/", "n"), Some(6.into()));
}
