//! `leveret bench`: what it does and says; never how fast.

use serde_json::Value;

use crate::daemon::{Daemon, place, refused, run};

/// The children of the root.
fn names(daemon: &Daemon) -> Vec<String> {
    let tree = daemon.ok(&["tree", "--depth", "1", "--json"]);
    let tree: Value = serde_json::from_str(&tree).unwrap();
    tree.as_object().unwrap().keys().cloned().collect()
}

/// Number of saves in the log of `main`.
fn saves(daemon: &Daemon) -> usize {
    daemon.client().history().len()
}

#[test]
fn as_many_saves_as_the_rate_says_are_made_and_the_nodes_are_removed() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("a"), &[]);
    daemon.ok(&["add", "/mine"]);
    let load = ["--rate", "100", "--for", "500ms", "--nodes", "7"];
    let figures = daemon.json(&[&["bench", "--json", "--connections", "3"], &load[..]].concat());
    // At 0, 10, 20 ... 490 ms.
    assert_eq!(figures["saves"], 50);
    assert_eq!(figures["failed"], 0);
    assert_eq!(figures["visible_ms"], Value::Null);
    for figure in ["median", "p99", "max"] {
        assert!(figures["answer_ms"][figure].as_f64().unwrap() > 0.0);
    }
    assert!(figures["saves_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(names(&daemon), ["mine"]);
    // Its node, the nodes below, the saves, the removal.
    assert_eq!(saves(&daemon), 1 + 1 + 1 + 50 + 1);

    let out = daemon.ok(&[&["bench", "--keep"], &load[..]].concat());
    assert!(out.starts_with("saves    50 in "), "{out}");
    assert!(out.contains("\nanswer   median "), "{out}");
    assert!(!out.contains("visible"), "{out}");
    let kept = names(&daemon);
    let kept = kept.iter().find(|name| name.starts_with("leveret-bench-"));
    let kept = daemon.json(&["tree", &format!("/{}", kept.unwrap()), "--json"]);
    let kept = kept.as_object().unwrap();
    assert_eq!(kept.len(), 7);
    // Every node is saved on, each by every seventh save.
    let mut rests: Vec<i64> = kept
        .values()
        .map(|node| node["x"].as_i64().unwrap() % 7)
        .collect();
    rests.sort_unstable();
    assert_eq!(rests, [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn without_a_rate_it_saves_until_the_time_is_over() {
    let place = place();
    let daemon = Daemon::start(&place.path.join("a"), &["--durability", "relaxed"]);
    let figures = daemon.json(&["bench", "--json", "--for", "200ms", "--nodes", "2500"]);
    let made = figures["saves"].as_u64().unwrap() as usize;
    assert!(made > 0);
    // 2,500 nodes take three saves.
    assert_eq!(saves(&daemon), 1 + 3 + made + 1);
    assert!(names(&daemon).is_empty());
}

#[test]
fn every_save_is_seen_on_every_other_daemon() {
    let place = place();
    let a = Daemon::start(&place.path.join("a"), &[]);
    let token = a.ok(&["token"]);
    let b = Daemon::start(&place.path.join("b"), &["--join", token.trim()]);
    let c = Daemon::start(&place.path.join("c"), &["--join", token.trim()]);
    let apis = [&a, &b, &c].map(|daemon| daemon.api());
    let load = ["--rate", "200", "--for", "500ms", "--nodes", "5"];
    let named = apis.each_ref().map(|api| ["--api", api.as_str()]).concat();
    let ran = run(&[&["bench", "--json"], &named[..], &load[..]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let figures: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(figures["saves"], 100);
    assert_eq!(figures["unseen"], 0);
    for figure in ["median", "p99", "max"] {
        assert!(figures["visible_ms"][figure].is_f64(), "{figures}");
    }
    let ran = run(&[&["bench"], &named[..4], &load[..]].concat());
    assert!(ran.out.contains("\nvisible  median "), "{ran:?}");
}

#[test]
fn a_save_that_is_never_seen_or_fails_is_an_error() {
    let place = place();
    let a = Daemon::start(&place.path.join("a"), &[]);
    let b = Daemon::start(&place.path.join("b"), &["--join", a.ok(&["token"]).trim()]);
    let (api, other) = (a.api(), b.api());
    let load = ["--rate", "20", "--for", "4s", "--timeout", "500ms"];
    let both = [&["bench", "--api", &api, "--api", &other], &load[..]].concat();
    // The watches are open when the first save is there.
    std::thread::scope(|scope| {
        let ran = scope.spawn(|| run(&both));
        let begun = || {
            let log = b.client().history();
            log.first().is_some_and(|set| set["operations"] == 1)
                && log.iter().any(|set| set["operations"] == 1_000)
        };
        crate::daemon::until("a save is there", begun);
        b.ok(&["isolate", "on"]);
        let ran = ran.join().unwrap();
        refused(&ran, &["were not seen", "--timeout"]);
        assert!(ran.out.starts_with("saves    80 in "), "{ran:?}");
    });
    assert!(names(&a).is_empty());

    // Cut off from the beginning.
    refused(&run(&both), &["not there after 500 ms"]);
    assert!(names(&a).is_empty());
}

#[test]
fn what_can_not_be_measured_is_refused() {
    let place = place();
    let mut a = Daemon::start(&place.path.join("a"), &[]);
    let b = Daemon::start(&place.path.join("b"), &[]);
    let (api, other) = (a.api(), b.api());
    let of = |apis: [&str; 2]| run(&["bench", "--for", "1s", "--api", apis[0], "--api", apis[1]]);
    refused(&of([&api, &api]), &["the same daemon"]);
    refused(&of([&api, &other]), &["belongs to the cluster"]);
    refused(&of([&api, "http://127.0.0.1:1"]), &["no daemon answers"]);
    assert_eq!(saves(&a), 0);
    for wrong in [
        ["--rate", "0"],
        ["--connections", "0"],
        ["--nodes", "0"],
        ["--for", "0s"],
    ] {
        let ran = a.run(&[&["bench"], &wrong[..]].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
    // The daemon ends while it is under load.
    let api = a.api();
    let load = ["bench", "--for", "4s", "--nodes", "1", "--api", &api];
    std::thread::scope(|scope| {
        let ran = scope.spawn(|| run(&load));
        crate::daemon::until("saves are made", || saves(&a) > 4);
        a.kill();
        // Nobody could remove its node.
        let told = [
            "/leveret-bench-",
            "is left behind",
            "saves failed",
            "were made",
        ];
        refused(&ran.join().unwrap(), &told);
    });
}
