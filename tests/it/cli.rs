//! The program from outside: what its commands do, and what bad input gets.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::daemon::{Daemon, Ran, now, run};

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    Place { _dir: dir, path }
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/iso-codes.json")
}

/// A bad input gets one line that names it and says what to do, and exit status 1.
#[track_caller]
fn refused(ran: &Ran, parts: &[&str]) {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let lines: Vec<&str> = ran.err.lines().collect();
    let last = lines.last().expect("it says something");
    assert!(last.starts_with("leveret: "), "{ran:?}");
    assert!(last.contains("; "), "it does not say what to do: {ran:?}");
    assert!(!ran.err.contains("panicked"), "{ran:?}");
    for part in parts {
        assert!(last.contains(part), "`{part}` is not in: {last}");
    }
}

#[test]
fn every_bad_edit_is_named_and_changes_nothing() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("a"), &[]);
    daemon.with_input(&["apply", "-"], b"add /a\nadd /a/b\nset /a x 1\nadd /c\n");
    let before = (daemon.digest(), daemon.ok(&["tree", "--json"]));
    let long_name = format!("/{}", "n".repeat(256));
    let deep = "/d".repeat(513);
    let big = format!("\"{}\"", "v".repeat(300_000));
    let long_message = "m".repeat(4_097);
    let cases: &[(&[&str], &[&str])] = &[
        (&["add", "a"], &["`a`", "`/`"]),
        (&["add", ""], &["``"]),
        (&["add", "/a//b"], &["`/a//b`", "empty"]),
        (&["add", "/a/"], &["`/a/`", "empty"]),
        (&["add", "/a/."], &["`.`"]),
        (&["add", "/a/.."], &["`..`"]),
        (&["add", "/a/e\u{301}"], &["NFC"]),
        (&["add", "/a/x\u{7}y"], &["control"]),
        (&["add", &long_name], &["256 bytes", "255"]),
        (&["add", "/a/n~01234567"], &["n~01234567", "reserved"]),
        (&["add", &deep], &["513", "512"]),
        (&["add", "/missing/x"], &["/missing"]),
        (&["add", "/a/b"], &["`b`", "already"]),
        (&["add", "/"], &["root"]),
        (&["mv", "/a", "/a/b/a"], &["/a", "below"]),
        (&["mv", "/a/b", "/c"], &["`c`", "already"]),
        (&["mv", "/missing", "/x"], &["/missing"]),
        (&["mv", "/a", "/missing/a"], &["/missing"]),
        (&["mv", "/", "/x"], &["root"]),
        (&["rm", "/"], &["root"]),
        (&["rm", "/missing"], &["/missing"]),
        (&["set", "/missing", "x", "1"], &["/missing"]),
        (&["set", "/a", "", "1"], &["empty"]),
        (&["set", "/a", "x", "NaN"], &["NaN"]),
        (&["set", "/a", "x", "1e999"], &["1e999", "finite"]),
        (&["set", "/a", "x", "null"], &["null"]),
        (&["set", "/a", "x", "text"], &["text", "JSON"]),
        (&["set", "/a", "x", "[[1]]"], &["list"]),
        (
            &["set", "/a", "x", "9223372036854775808"],
            &["9223372036854775808", "64 bits"],
        ),
        (
            &["set", "/a", "x", "{\"$ref\": \"12\"}"],
            &["`12`", "node id"],
        ),
        (&["set", "/a", "x", "{\"$bytes\": \"?\"}"], &["base64"]),
        (&["set", "/a", "x", "{\"$time\": \"noon\"}"], &["`noon`"]),
        (&["unset", "/missing", "x"], &["/missing"]),
        (&["inc", "/a", "x", "1.5"], &["`1.5`"]),
        (
            &["inc", "/a", "x", "99999999999999999999"],
            &["99999999999999999999"],
        ),
        (&["order", "/a", "before", "missing"], &["missing"]),
        (&["order", "/", "first"], &["root"]),
        (
            &["add", "/d", "--message", &long_message],
            &["4097", "4096"],
        ),
        (&["get", "/missing"], &["/missing"]),
        (&["get", "/a", "y"], &["/a", "`y`"]),
        (&["get", "a"], &["`a`"]),
        (&["tree", "/missing"], &["/missing"]),
        (&["export", "/missing"], &["/missing"]),
        (&["log", "/missing"], &["/missing"]),
        (&["watch", "/missing"], &["/missing"]),
        (&["refs", "12"], &["`12`", "node id"]),
        (&["wait", "--for", "soon"], &["`soon`"]),
    ];
    for (arguments, parts) in cases {
        refused(&daemon.run(arguments), parts);
    }
    let script = format!("set /a x {big}\n");
    refused(
        &daemon.with_input(&["apply"], script.as_bytes()),
        &["line 1", "bytes"],
    );
    let many: String = (0..5)
        .map(|i| format!("set /a p{i} \"{}\"\n", "v".repeat(250_000)))
        .collect();
    refused(&daemon.with_input(&["apply"], many.as_bytes()), &["bytes"]);
    let properties: String = (0..1_025).map(|i| format!("set /c p{i} 1\n")).collect();
    refused(
        &daemon.with_input(&["apply"], properties.as_bytes()),
        &["1024 properties"],
    );
    assert_eq!((daemon.digest(), daemon.ok(&["tree", "--json"])), before);
}

#[test]
fn bad_usage_gets_exit_status_2() {
    for arguments in [
        &["flie"] as &[&str],
        &["serve"],
        &["tree", "--depth", "x"],
        &["tree", "--repo", "other"],
        &["wait"],
        &["wait", "--for", "x", "--timeout", "soon"],
        &["order", "/a", "middle"],
        &["order", "/a", "before"],
        &["serve", "--data", "d", "--listen", "nowhere"],
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
        assert!(!ran.err.contains("panicked"), "{ran:?}");
    }
    refused(
        &run(&["status", "--api", "127.0.0.1:9"]),
        &["127.0.0.1:9", "serve"],
    );
    refused(&run(&["status", "--api", "https://x"]), &["https://x"]);
}

#[test]
fn a_script_with_an_error_in_a_line_applies_nothing_of_that_save() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("a"), &[]);
    let ran = daemon.with_input(&["apply"], b"add /a\n---\nadd /b\nadd /b/c\nad /d\n");
    refused(&ran, &["line 5", "`ad`", "nothing was saved"]);
    assert_eq!(daemon.ok(&["tree", "--json"]), "{}\n");
    let ran = daemon.with_input(
        &["apply"],
        b"add /a\n---\nadd /b\nadd /missing/c\n---\nadd /d\n",
    );
    refused(&ran, &["line 4", "/missing", "the first save was made"]);
    assert_eq!(ran.out.lines().count(), 1);
    assert_eq!(daemon.ok(&["tree", "--json"]), "{\"a\": {}}\n");
    let log = daemon.ok(&["log"]);
    assert!(log.starts_with(ran.out.trim()), "{log}");
    refused(&daemon.with_input(&["apply"], b"add /x\xff\n"), &["UTF-8"]);
    refused(
        &daemon.with_input(&["apply"], b"# nothing\n"),
        &["no operation"],
    );
    refused(&daemon.run(&["apply", "/no/such/file"]), &["/no/such/file"]);
    let long = vec![b'#'; (16 << 20) + 1];
    refused(&daemon.with_input(&["apply"], &long), &["16777216"]);
}

#[test]
fn a_file_with_an_error_is_not_imported_at_all() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("a"), &[]);
    let many: String = (0..5_000)
        .map(|i| format!("\"n{i}\": {{\"x\": {i}}}, "))
        .collect();
    let deep = format!("{}{}", "{\"a\":".repeat(514), "{}");
    for (end, parts) in [
        (
            "\"a\": {\"x\": 1, \"x\": 2}}",
            &["`x` comes twice", "`/a`"] as &[&str],
        ),
        ("\"a\": {\"x\": null}}", &["/a/x", "null"]),
        ("\"..\": {}}", &["`..`"]),
        ("\"a/b\": {}}", &["`a/b`"]),
        ("\"e\u{301}\": {}}", &["NFC"]),
        ("\"n~01234567\": {}}", &["reserved"]),
        ("\"a\": {\"x\": [[1]]}}", &["list"]),
        ("\"a\": {\"x\": 1e999}}", &["finite"]),
        ("\"a\": {\"x\": NaN}}", &["JSON"]),
        ("\"a\": {", &["JSON"]),
        (&format!("\"a\": {deep}"), &["deeper"]),
    ] {
        let ran = daemon.with_input(&["import", "-"], format!("{{{many}{end}").as_bytes());
        refused(&ran, parts);
        assert_eq!(daemon.ok(&["tree", "--json"]), "{}\n", "{end}");
    }
    refused(&daemon.with_input(&["import", "-"], b"[1]"), &["object"]);
    refused(
        &daemon.with_input(&["import", "-", "/missing"], b"{}"),
        &["/missing"],
    );
    refused(
        &daemon.run(&["import", "/no/such/file"]),
        &["/no/such/file"],
    );
    refused(&daemon.run(&["import", "/"]), &["/"]);
}

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
fn a_directory_that_can_not_be_used_is_refused_and_not_touched() {
    let place = place();
    let dir = place.path.join("a");
    let daemon = Daemon::start(&dir, &[]);
    let Err(ran) = Daemon::try_start(&dir, &[]) else {
        panic!("two daemons on one directory")
    };
    refused(&ran, &["in use"]);
    let api = daemon.api.trim_start_matches("http://").to_owned();
    let other = place.path.join("b");
    let ran = run(&["serve", "--data", other.to_str().unwrap(), "--api", &api]);
    refused(&ran, &["in use", "--api"]);
    let listen = daemon.listen.to_string();
    let ran = run(&[
        "serve",
        "--data",
        other.to_str().unwrap(),
        "--api",
        "127.0.0.1:0",
        "--listen",
        &listen,
    ]);
    refused(&ran, &["in use"]);
    drop(daemon);
    std::fs::write(dir.join("format"), "leveret 999\n").unwrap();
    let Err(ran) = Daemon::try_start(&dir, &[]) else {
        panic!("a directory of another format was opened")
    };
    refused(&ran, &["leveret 999"]);
    let foreign = place.path.join("c");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("letter"), "dear").unwrap();
    let Err(ran) = Daemon::try_start(&foreign, &[]) else {
        panic!("a foreign directory was opened")
    };
    refused(&ran, &["letter"]);
    assert_eq!(std::fs::read_dir(&foreign).unwrap().count(), 1);
    let ran = run(&[
        "serve",
        "--data",
        other.to_str().unwrap(),
        "--api",
        "0.0.0.0:0",
    ]);
    refused(&ran, &["token"]);
}

#[test]
fn a_token_that_is_wrong_or_has_expired_lets_nobody_in() {
    let place = place();
    let founder = Daemon::start(&place.path.join("a"), &[]);
    let refuse = |token: &str, parts: &[&str]| {
        let dir = place.path.join("b");
        match Daemon::try_start(&dir, &["--join", token]) {
            Ok(_) => panic!("joined with {token}"),
            Err(ran) => refused(&ran, parts),
        }
    };
    refuse("nonsense", &["token"]);
    let token = founder.ok(&["token", "--expires", "1ms"]);
    std::thread::sleep(Duration::from_millis(20));
    refuse(token.trim(), &["expired"]);
    let good = founder.ok(&["token"]);
    let second = Daemon::start(&place.path.join("b"), &["--join", good.trim()]);
    let third = Daemon::start(
        &place.path.join("c"),
        &["--join", second.ok(&["token"]).trim()],
    );
    let id = third.ok(&["add", "/from-the-third"]);
    founder.ok(&["wait", "--for", id.trim()]);
    second.ok(&["wait", "--for", id.trim()]);
    assert_eq!(founder.digest(), third.digest());
    // A directory that belongs to one cluster does not join another.
    let stranger = Daemon::start(&place.path.join("d"), &[]);
    let token = stranger.ok(&["token"]);
    drop(second);
    refuse(token.trim(), &["cluster"]);
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
fn the_api_keeps_web_pages_and_strangers_out() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("a"), &[]);
    let status = |head: &str| -> String {
        let answer = daemon.raw(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes());
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(status("GET /v1/status HTTP/1.1\r\nHost: localhost"), "200");
    assert_eq!(
        status("GET /v1/status HTTP/1.1\r\nHost: evil.example"),
        "403"
    );
    let post = "POST /v1/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0";
    assert_eq!(status(post), "200");
    assert_eq!(
        status(&format!("{post}\r\nOrigin: http://evil.example")),
        "403"
    );
    assert_eq!(status("GET /v1/nothing HTTP/1.1\r\nHost: localhost"), "404");
    assert_eq!(
        status("POST /v1/tree HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0"),
        "405"
    );
    assert_eq!(
        status("GET /v1/tree?deep=1 HTTP/1.1\r\nHost: localhost"),
        "400"
    );
    assert_eq!(status("GET /healthz HTTP/1.1\r\nHost: localhost"), "200");
    assert_eq!(
        status("POST /v1/apply HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999"),
        "413"
    );
    let metrics =
        daemon.raw(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(metrics.contains("leveret_ready 1"), "{metrics}");
    daemon.raw(b"\x16\x03\x01 not HTTP at all\r\n\r\n");
    let guarded = Daemon::start(&place.path.join("b"), &["--api-token", "secret"]);
    refused(&guarded.run(&["status"]), &["token", "--api-token"]);
    refused(
        &guarded.run(&["status", "--api-token", "wrong"]),
        &["token", "wrong"],
    );
    guarded.ok(&["status", "--api-token", "secret"]);
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
fn garbage_on_the_peers_port_harms_nobody() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("a"), &[]);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for i in 0..200_usize {
        let bytes: Vec<u8> = (0..i * 7).map(|j| (i * 31 + j * 17) as u8).collect();
        socket.send_to(&bytes, daemon.listen).unwrap();
    }
    daemon.ok(&["add", "/still-here"]);
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
