//! `docs/reference/limits.md` says what the source says.

use std::path::Path;

use leveret::model::limits as model;
use leveret::{api, peer};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_page_of_limits_gives_every_limit_of_the_source() {
    let limits: &[(&str, u64)] = &[
        ("NAME_BYTES_MAX", model::NAME_BYTES_MAX as u64),
        ("PATH_DEPTH_MAX", model::PATH_DEPTH_MAX as u64),
        ("PROPERTIES_MAX", model::PROPERTIES_MAX as u64),
        ("VALUE_BYTES_MAX", model::VALUE_BYTES_MAX as u64),
        ("CHANGE_SET_BYTES_MAX", model::CHANGE_SET_BYTES_MAX as u64),
        ("OPERATIONS_MAX", model::OPERATIONS_MAX as u64),
        ("MESSAGE_BYTES_MAX", model::MESSAGE_BYTES_MAX as u64),
        ("ORDER_KEY_BYTES_MAX", model::ORDER_KEY_BYTES_MAX as u64),
        ("DEPENDENCIES_MAX", model::DEPENDENCIES_MAX as u64),
        ("APPLY_BYTES_MAX", api::APPLY_BYTES_MAX as u64),
        ("IMPORT_BYTES_MAX", api::IMPORT_BYTES_MAX),
        ("BODY_BYTES_MAX", api::BODY_BYTES_MAX as u64),
        ("REQUESTS_MAX", api::REQUESTS_MAX as u64),
        ("WATCHES_MAX", api::WATCHES_MAX as u64),
        ("IMPORTS_MAX", api::IMPORTS_MAX as u64),
        ("BACKUPS_MAX", api::BACKUPS_MAX as u64),
        ("LOG_MAX", api::LOG_MAX as u64),
        ("TRASH_MAX", api::TRASH_MAX as u64),
        ("CONFLICTS_MAX", api::CONFLICTS_MAX as u64),
        ("NODE_CHILDREN_MAX", api::NODE_CHILDREN_MAX as u64),
        ("EVENTS_MAX", peer::EVENTS_MAX as u64),
    ];
    let page = read("docs/reference/limits.md");
    for (name, value) in limits {
        let row = page
            .lines()
            .find(|line| line.ends_with(&format!("| `{name}` |")))
            .unwrap_or_else(|| panic!("{name} is not on the page"));
        let digits: String = row
            .split('|')
            .nth(2)
            .unwrap()
            .chars()
            .take_while(|c| *c != 'b')
            .filter(char::is_ascii_digit)
            .collect();
        assert_eq!(digits.parse(), Ok(*value), "{row}");
    }
    for (source, marker) in [
        ("src/model/limits.rs", "pub const "),
        ("src/api.rs", "pub const "),
    ] {
        for line in read(source).lines().filter(|line| line.starts_with(marker)) {
            let name = line[marker.len()..].split(':').next().unwrap();
            assert!(
                limits.iter().any(|(known, _)| *known == name),
                "{name} of {source} is not on the page"
            );
        }
    }
}
