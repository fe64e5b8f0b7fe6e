//! The commands of the program, from outside.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::daemon::{Daemon, Ran, data, now, place, refused, run};

#[test]
fn what_was_imported_is_exported_and_importing_it_again_changes_nothing() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("a"), &[]);
    let file = data();
    let out = daemon.ok(&["import", file.to_str().unwrap(), "--json"]);
    let last: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "done");
    assert_eq!(last["nodes_added"], 14_215);
    assert_eq!(last["properties_set"], 45_784);
    assert!(last["saves"].as_u64().unwrap() > 1);
    let export = daemon.ok(&["export"]);
    let exported: serde_json::Value = serde_json::from_str(&export).unwrap();
    let original: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert!(exported == original, "the export differs from the file");
    let tree: serde_json::Value = serde_json::from_str(&daemon.ok(&["tree", "--json"])).unwrap();
    assert!(tree == original, "the tree differs from the file");
    let digest = daemon.digest();
    let again = daemon.ok(&["import", file.to_str().unwrap()]);
    assert!(again.contains("0 nodes added, 14215 were there"), "{again}");
    assert_eq!(daemon.digest(), digest);
    // Below another node, from what was exported, through standard input.
    daemon.ok(&["add", "/copy"]);
    let ran = daemon.with_input(&["import", "-", "/copy"], export.as_bytes());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let copy: serde_json::Value = serde_json::from_str(&daemon.ok(&["export", "/copy"])).unwrap();
    assert!(copy == original, "the copy differs from the file");
}

#[test]
fn commands_do_what_they_say() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("a"), &["--name", "alone"]);
    let id = daemon.ok(&["add", "/a", "--message", "the first"]);
    daemon.ok(&["add", "/with blank", "--unique"]);
    daemon.ok(&["set", "/a", "text", "\"ü\""]);
    daemon.ok(&["set", "/a", "number", "-7"]);
    daemon.ok(&["inc", "/a", "number", "-3"]);
    daemon.ok(&["set", "/a", "gone", "1.0"]);
    assert_eq!(daemon.ok(&["get", "/a", "gone"]), "1.0\n");
    daemon.ok(&["unset", "/a", "gone"]);
    daemon.ok(&["add", "/b"]);
    daemon.ok(&["mv", "/b", "/a/c"]);
    daemon.ok(&["add", "/a/d"]);
    daemon.ok(&["order", "/a/d", "before", "c"]);
    let node = daemon.json(&["get", "/a", "--json"]);
    let reference = format!("{{\"$ref\": {}}}", node["id"]);
    daemon.ok(&["set", "/with blank", "see", &reference]);
    assert_eq!(
        daemon.ok(&["tree", "--json"]),
        format!(
            "{{\"a\": {{\"number\": -10, \"text\": \"ü\", \"d\": {{}}, \"c\": {{}}}}, \
             \"with blank\": {{\"see\": {reference}}}}}\n"
        )
    );
    assert_eq!(
        daemon.ok(&["tree", "/a"]),
        "/a  number=-10  text=\"ü\"\n  d\n  c\n"
    );
    assert_eq!(daemon.ok(&["refs", "/a"]), "/with blank see\n");
    assert_eq!(daemon.ok(&["tree", "/", "--depth", "0", "--json"]), "{}\n");
    daemon.ok(&["rm", "/a"]);
    assert_eq!(
        daemon.ok(&["refs", node["id"].as_str().unwrap()]),
        "/with blank see\n"
    );
    let log = daemon.ok(&["log", "--json"]);
    let first: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(first["id"], id.trim());
    assert_eq!(first["message"], "the first");
    assert_eq!(first["operations"], 1);
    assert_eq!(daemon.ok(&["log", "--limit", "2"]).lines().count(), 2);
    let status = daemon.json(&["status", "--json"]);
    for member in [
        "replica",
        "heads",
        "digest",
        "peers",
        "held",
        "conflicts",
        "ready",
        "disk_bytes",
        "live_bytes",
        "cleaning_behind",
    ] {
        assert!(!status[member].is_null(), "{member}: {status}");
    }
    assert_eq!(status["ready"], true);
    assert_eq!(status["name"], "alone");
    daemon.ok(&["wait", "--for", status["heads"].as_str().unwrap()]);
    daemon.ok(&["wait", "--for", id.trim()]);
    let later = format!("ffffffffffffffff-{}", id.trim().split_once('-').unwrap().1);
    refused(
        &daemon.run(&["wait", "--for", &later, "--timeout", "100ms"]),
        &["100 ms"],
    );
    assert!(daemon.ok(&["tree", "--repo", "system"]).contains("members"));
    assert_eq!(daemon.ok(&["peers"]), "");
}

#[test]
fn watch_tells_what_happens_until_the_daemon_ends() {
    let place = place();
    let mut daemon = Daemon::start(&place.path.join("a"), &[]);
    daemon.ok(&["add", "/a"]);
    let mut watch = daemon
        .command(&["watch", "/a", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next =
        || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["event"], "watching");
    daemon.ok(&["add", "/elsewhere"]);
    let id = daemon.ok(&["set", "/a", "x", "1", "-m", "why"]);
    let event = next();
    assert_eq!(event["change_sets"][0]["id"], id.trim());
    assert_eq!(event["change_sets"][0]["message"], "why");
    assert_eq!(event["change_sets"][0]["local"], true);
    assert_eq!(
        event["changes"][0],
        serde_json::json!({
            "change": "property", "path": "/a", "name": "x", "after": 1,
            "node": event["changes"][0]["node"],
        })
    );
    daemon.ok(&["rm", "/a"]);
    assert_eq!(next()["changes"][0]["change"], "vanished");
    let (code, time) = daemon.terminate();
    assert_eq!(code, Some(0));
    assert!(time < Duration::from_secs(2), "{time:?}");
    assert_eq!(next()["event"], "closed");
    watch.wait().unwrap();
}

#[test]
fn an_isolated_daemon_goes_on_alone_and_merges_when_it_is_back() {
    let place = place();
    let a = Daemon::start(&place.path.join("a"), &[]);
    let b = Daemon::start(&place.path.join("b"), &["--join", a.ok(&["token"]).trim()]);
    a.ok(&["add", "/shared"]);
    let start = now();
    while a.json(&["peers", "--json"])[0]["connected"] != true {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
    b.ok(&["isolate", "on"]);
    assert_eq!(b.json(&["status", "--json"])["isolated"], true);
    assert_eq!(b.json(&["peers", "--json"])[0]["connected"], false);
    let id = a.ok(&["add", "/from-a"]);
    b.ok(&["add", "/from-b"]);
    refused(
        &b.run(&["wait", "--for", id.trim(), "--timeout", "1s"]),
        &["1000 ms"],
    );
    b.ok(&["isolate", "off"]);
    b.ok(&["wait", "--for", id.trim()]);
    a.ok(&[
        "wait",
        "--for",
        b.json(&["status", "--json"])["heads"].as_str().unwrap(),
    ]);
    assert_eq!(a.digest(), b.digest());
    assert_eq!(a.ok(&["tree", "--json"]), b.ok(&["tree", "--json"]));
}

#[test]
fn whoever_stops_reading_ends_a_command_quietly() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("a"), &[]);
    daemon.ok(&["import", data().to_str().unwrap()]);
    let mut child = daemon
        .command(&["tree"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    daemon.ok(&["status"]);
}

#[test]
fn verify_finds_nothing_after_merges() {
    let place = place();
    let (dir_a, dir_b) = (place.path.join("a"), place.path.join("b"));
    let mut a = Daemon::start(&dir_a, &[]);
    let mut b = Daemon::start(&dir_b, &["--join", a.ok(&["token"]).trim()]);
    let base: String = (0..20)
        .map(|i| format!("add /n{i}\nset /n{i} x {i}\n"))
        .collect();
    a.with_input(&["apply"], base.as_bytes());
    let heads = a.json(&["status", "--json"])["heads"]
        .as_str()
        .unwrap()
        .to_owned();
    b.ok(&["wait", "--for", &heads]);
    b.ok(&["isolate", "on"]);
    // Moves into one another, removals, edits below, equal names; interleaved in time.
    for i in 0..10 {
        let (j, k) = (i + 10, (i + 1) % 10);
        a.ok(&["mv", &format!("/n{i}"), &format!("/n{j}/m")]);
        b.ok(&["mv", &format!("/n{j}"), &format!("/n{i}/m")]);
        a.ok(&["set", &format!("/n{j}"), "x", "\"a\""]);
        b.ok(&["set", &format!("/n{i}/m"), "x", "\"b\""]);
        b.ok(&["add", &format!("/n{k}/new")]);
        a.ok(&["add", &format!("/e{i}")]);
        b.ok(&["add", &format!("/e{i}")]);
        a.ok(&["inc", &format!("/e{i}"), "n", "3"]);
        b.ok(&["inc", &format!("/e{i}"), "n", "4"]);
        a.ok(&["rm", &format!("/e{i}")]);
    }
    b.ok(&["isolate", "off"]);
    let settle = |one: &Daemon, other: &Daemon| {
        let status = one.json(&["status", "--json"]);
        other.ok(&["wait", "--for", status["heads"].as_str().unwrap()]);
    };
    settle(&a, &b);
    settle(&b, &a);
    let (digest, tree) = (a.digest(), a.ok(&["tree", "--json"]));
    assert_eq!(
        (b.digest(), b.ok(&["tree", "--json"])),
        (digest.clone(), tree.clone())
    );
    assert!(b.json(&["status", "--json"])["counters"]["rewinds"].as_u64() > Some(0));
    let verify = |dir: &Path, more: &[&str]| {
        let arguments = ["verify", "--data", dir.to_str().unwrap()];
        run(&[&arguments, more].concat())
    };
    refused(&verify(&dir_a, &[]), &["in use"]);
    assert_eq!(a.terminate().0, Some(0));
    assert_eq!(b.terminate().0, Some(0));
    for dir in [&dir_a, &dir_b] {
        let ran = verify(dir, &["--json"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(report["sound"], true);
        assert_eq!(report["repositories"]["main"]["digest"], digest);
    }
    drop(a);
    let a = Daemon::start(&dir_a, &[]);
    assert_eq!((a.digest(), a.ok(&["tree", "--json"])), (digest, tree));
    refused(&verify(&place.path.join("none"), &[]), &["none"]);
    std::fs::create_dir(place.path.join("empty")).unwrap();
    refused(&verify(&place.path.join("empty"), &[]), &["empty"]);
    assert_eq!(
        std::fs::read_dir(place.path.join("empty")).unwrap().count(),
        0
    );
}

#[test]
fn saves_at_the_same_time_through_the_api_all_go_in() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("a"), &[]);
    daemon.ok(&["add", "/hot"]);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let daemon = &daemon;
            scope.spawn(move || {
                let script: String = (0..50)
                    .map(|i| {
                        format!("inc /hot sum 1\nset /hot last {i}\nadd /hot/t{thread}-{i}\n---\n")
                    })
                    .collect();
                let ran = daemon.with_input(&["apply"], script.as_bytes());
                assert_eq!(ran.code, Some(0), "{ran:?}");
                assert_eq!(ran.out.lines().count(), 50);
            });
        }
    });
    assert_eq!(daemon.ok(&["get", "/hot", "sum"]), "400\n");
    assert_eq!(daemon.ok(&["tree", "/hot"]).lines().count(), 401);
}

#[test]
fn sigterm_ends_a_busy_daemon_within_two_seconds_and_nothing_is_lost() {
    let place = place();
    let dir = place.path.join("a");
    let mut daemon = Daemon::start(&dir, &[]);
    let address = daemon.api().trim_start_matches("http://").to_owned();
    // Somebody who has begun a request and says no more.
    let mut stalled = std::net::TcpStream::connect(&address).unwrap();
    let head = b"POST /v1/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{";
    std::io::Write::write_all(&mut stalled, head).unwrap();
    let waiting: Vec<_> = [
        &["watch"] as &[&str],
        &[
            "wait",
            "--for",
            "ffffffffffffffff-00000000000000000000000000000001",
        ],
        &["import", data().to_str().unwrap()],
    ]
    .map(|arguments| {
        let mut command = daemon.command(arguments);
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        quiet.spawn().unwrap()
    })
    .into();
    let id = daemon.ok(&["add", "/kept"]);
    std::thread::sleep(Duration::from_millis(300));
    let (code, time) = daemon.terminate();
    assert_eq!(code, Some(0));
    assert!(time < Duration::from_secs(2), "{time:?}");
    for mut child in waiting {
        child.wait().unwrap();
    }
    drop(daemon);
    let daemon = Daemon::start(&dir, &[]);
    daemon.ok(&["wait", "--for", id.trim()]);
    assert!(daemon.ok(&["tree", "--depth", "1"]).contains("kept"));
}
