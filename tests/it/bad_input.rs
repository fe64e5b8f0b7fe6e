//! What bad input gets through the program: an error that names it, nothing changed, no panic.

use std::time::Duration;

use crate::daemon::{Daemon, place, refused, run};

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
fn a_directory_that_can_not_be_used_is_refused_and_not_touched() {
    let place = place();
    let dir = place.path.join("a");
    let daemon = Daemon::start(&dir, &[]);
    let Err(ran) = Daemon::try_start(&dir, &[]) else {
        panic!("two daemons on one directory")
    };
    refused(&ran, &["in use"]);
    let api = daemon.api().trim_start_matches("http://").to_owned();
    let other = place.path.join("b");
    let ran = run(&["serve", "--data", other.to_str().unwrap(), "--api", &api]);
    refused(&ran, &["in use", "--api"]);
    let listen = daemon.listen().to_string();
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
fn requests_about_history_that_make_no_sense_change_nothing() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("a"), &[]);
    daemon.ok(&["add", "/a"]);
    let digest = daemon.digest();
    let ask = |method: &str, path: &str, body: &str| -> (String, String) {
        let length = body.len();
        let request = format!(
            "{method} /v1/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let answer = daemon.raw(request.as_bytes());
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        (status, answer)
    };
    let cases = [
        ("GET", "trash?after=x", "", "400", "`x`"),
        ("GET", "trash?limit=-1", "", "400", "limit"),
        ("GET", "trash?path=/a", "", "400", "path"),
        ("GET", "explain?id=x", "", "400", "`x`"),
        ("GET", "explain?path=a", "", "400", "`a`"),
        ("GET", "explain?path=/a&property=", "", "400", "name"),
        ("GET", "explain?path=/a&limit=x", "", "400", "limit"),
        ("GET", "explain?path=/b", "", "404", "/b"),
        ("GET", "conflicts?path=/b", "", "404", "/b"),
        ("GET", "conflicts?repo=x", "", "400", "`x`"),
        ("POST", "restore", "", "400", "what to restore"),
        ("POST", "restore?path=/a&id=x", "", "400", "what to restore"),
        ("POST", "restore?path=/a", "", "400", "not in the trash"),
        ("POST", "restore?path=/b&to=c", "", "400", "`c`"),
        ("POST", "dismiss", "", "400", "which conflicts"),
        (
            "POST",
            "dismiss?all=true",
            "0a0b0c0d",
            "400",
            "which conflicts",
        ),
        ("POST", "dismiss", "\u{fc}ber", "400", "`\u{fc}ber`"),
        ("POST", "dismiss", "0a0b0c0", "400", "`0a0b0c0`"),
        ("POST", "dismiss", "0a0b0c0d", "404", "`0a0b0c0d`"),
        ("POST", "dismiss?all=maybe", "", "400", "all"),
    ];
    for (method, path, body, status, part) in cases {
        let (found, answer) = ask(method, path, body);
        assert_eq!(found, status, "{method} {path}: {answer}");
        assert!(answer.contains("\"hint\""), "{method} {path}: {answer}");
        assert!(answer.contains(part), "{method} {path}: {answer}");
    }
    assert_eq!(ask("POST", "dismiss?all=true", "").0, "200");
    assert_eq!(daemon.digest(), digest);
}

#[test]
fn garbage_on_the_peers_port_harms_nobody() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("a"), &[]);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for i in 0..200_usize {
        let bytes: Vec<u8> = (0..i * 7).map(|j| (i * 31 + j * 17) as u8).collect();
        socket.send_to(&bytes, daemon.listen()).unwrap();
    }
    daemon.ok(&["add", "/still-here"]);
}
