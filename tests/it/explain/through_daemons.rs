//! What `leveret explain` tells.

use crate::daemon::{Daemon, now, place, refused};

#[test]
fn explain_tells_what_lost_on_two_daemons_alike() {
    let place = place();
    let a = Daemon::start(&place.path.join("a"), &["--name", "north"]);
    let b = Daemon::start(
        &place.path.join("b"),
        &["--name", "south", "--join", a.ok(&["token"]).trim()],
    );
    let id = a.ok(&["add", "/a"]);
    b.ok(&["wait", "--for", id.trim()]);
    b.ok(&["isolate", "on"]);
    let lost = a.ok(&["set", "/a", "x", "\"north\"", "-m", "by the book"]);
    let won = b.ok(&["set", "/a", "x", "\"south\""]);
    b.ok(&["isolate", "off"]);
    let begun = now();
    while a.digest() != b.digest() || a.ok(&["get", "/a", "x"]) != "\"south\"\n" {
        assert!(begun.elapsed().as_secs() < 20);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let text = a.ok(&["explain", "/a"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("/a  (node "), "{text}");
    let line = |part: &str| {
        let found = lines.iter().find(|line| line.contains(part));
        *found.unwrap_or_else(|| panic!("`{part}` is not in {text}"))
    };
    assert_eq!(line("property x"), "property x  \"south\"");
    assert!(line("* set \"south\"").contains("south  "), "{text}");
    let overwritten = line("set \"north\"");
    for part in [
        lost.trim(),
        "north",
        "\"by the book\"",
        &format!("overwritten unseen by {} (south)", won.trim()),
    ] {
        assert!(overwritten.contains(part), "{part}: {text}");
    }
    assert_eq!(
        a.ok(&["explain", "/a", "--json"]),
        b.ok(&["explain", "/a", "--json"])
    );
    let json = a.ok(&["explain", "/a", "x", "--json"]);
    let item: serde_json::Value = serde_json::from_str(json.lines().nth(1).unwrap()).unwrap();
    assert_eq!(item["property"], "x");
    assert_eq!(item["value"], "south");
    let write = &item["writes"][1];
    assert_eq!(write["value"], "north");
    assert_eq!(write["change_set"]["message"], "by the book");
    assert_eq!(
        (&write["outcome"], &write["seen"]),
        (&"overwritten".into(), &false.into())
    );
    assert_eq!(write["by"]["id"], won.trim());
    assert_eq!(json.lines().count(), 2);

    // What was removed is explained by its id.
    let node = a.json(&["get", "/a", "--json"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    a.ok(&["rm", "/a"]);
    refused(&a.run(&["explain", "/a"]), &["/a", "trash", &node]);
    refused(&a.run(&["explain", "/nothing"]), &["/nothing"]);
    refused(&a.run(&["explain", &"0a".repeat(16)]), &["0a0a"]);
    refused(&a.run(&["explain", "nonsense"]), &["nonsense"]);
    let text = a.ok(&["explain", &node]);
    assert!(
        text.contains("in the trash since") && text.contains("was /a"),
        "{text}"
    );
    assert!(text.contains("until removed by"), "{text}");
    assert_eq!(a.ok(&["explain"]).lines().count(), 1);
}
