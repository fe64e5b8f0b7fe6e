//! The floors of the house: imports go only downwards, and the pure ones stay pure.

use std::path::{Path, PathBuf};

/// From the ground up. A file may use its own floor and those below it.
const FLOORS: [&str; 10] = [
    "fault", "model", "codec", "storage", "merge", "replica", "net", "peer", "api", "cli",
];

/// Floors without threads, sockets, files, clocks and chance of their own.
const PURE: [&str; 6] = ["fault", "model", "codec", "storage", "merge", "replica"];

/// What a pure floor does not name. Clocks are the linter's (`clippy.toml`).
const IMPURE: [&str; 10] = [
    "tokio",
    "quinn",
    "sled::",
    "std::fs",
    "UdpSocket",
    "TcpStream",
    "std::thread",
    "Instant",
    "SystemTime",
    "rand::rng",
];

struct Source {
    path: PathBuf,
    floor: usize,
    text: String,
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut waiting, mut sources) = (vec![src.clone()], Vec::new());
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let relative = path.strip_prefix(&src).unwrap();
            let first = relative
                .components()
                .next()
                .unwrap()
                .as_os_str()
                .to_str()
                .unwrap();
            let name = first.strip_suffix(".rs").unwrap_or(first);
            // The two crate roots stand above all floors.
            if name == "lib" || name == "main" {
                continue;
            }
            let floor = FLOORS.iter().position(|floor| *floor == name);
            let floor = floor.unwrap_or_else(|| panic!("{} is on no floor", path.display()));
            let text = code(&std::fs::read_to_string(&path).unwrap());
            sources.push(Source { path, floor, text });
        }
    }
    sources
}

/// A file's text without comments and without what follows its unit tests.
fn code(text: &str) -> String {
    text.lines()
        .take_while(|line| line.trim() != "#[cfg(test)]")
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The floors that a text names: `crate::floor`, alone or in a braced list.
fn used(text: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for prefix in ["crate::", "leveret::"] {
        for (at, _) in text.match_indices(prefix) {
            let rest = &text[at + prefix.len()..];
            let part = match rest.strip_prefix('{') {
                Some(list) => list.split_once("};").map_or(list, |(list, _)| list),
                None => rest
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap(),
            };
            let words = part.split(|c: char| !c.is_alphanumeric() && c != '_');
            found.extend(words.filter_map(|w| FLOORS.into_iter().find(|floor| *floor == w)));
        }
    }
    found
}

#[test]
fn imports_go_only_downwards() {
    let sources = sources();
    assert!(sources.len() > 40, "the sources were found");
    let mut upwards = Vec::new();
    for source in &sources {
        for floor in used(&source.text) {
            let to = FLOORS.iter().position(|other| *other == floor).unwrap();
            if to > source.floor {
                upwards.push(format!("{} uses {floor}", source.path.display()));
            }
        }
    }
    assert!(upwards.is_empty(), "{upwards:#?}");
}

#[test]
fn the_pure_floors_name_no_threads_sockets_files_or_chance() {
    let mut found = Vec::new();
    for source in sources() {
        // The store on disk, and files that are nothing but tests.
        let exempt = source.path.components().any(|part| {
            let part = part.as_os_str().to_str().unwrap();
            ["sled", "sled.rs", "contract.rs", "tests", "tests.rs"].contains(&part)
        });
        if !PURE.contains(&FLOORS[source.floor]) || exempt {
            continue;
        }
        for word in IMPURE.iter().filter(|word| source.text.contains(**word)) {
            found.push(format!("{} names {word}", source.path.display()));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn an_import_that_goes_upwards_is_seen() {
    assert_eq!(used("use crate::peer::Peer;"), ["peer"]);
    assert_eq!(used("use crate::{model::NodeId, net};"), ["model", "net"]);
    assert!(used("use super::view;").is_empty());
}
