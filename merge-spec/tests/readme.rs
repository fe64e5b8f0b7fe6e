//! What `README.md` names is there.

use std::path::PathBuf;

#[test]
fn every_rule_has_its_reason_an_example_and_what_others_do() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(folder.join("README.md")).expect("the README");
    for number in 1..=19 {
        let (_, rule) = text
            .split_once(&format!("\n### M{number} "))
            .unwrap_or_else(|| panic!("M{number}"));
        let rule = rule.split("\n##").next().expect("the text of the rule");
        for part in ["\n*Why.* ", "\n*Example.* ", "\n*Elsewhere.* "] {
            assert_eq!(rule.matches(part).count(), 1, "M{number}: {part}");
        }
    }
}

#[test]
fn every_case_that_the_readme_names_exists() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(folder.join("README.md")).expect("the README");
    let named: Vec<&str> = text
        .split('`')
        .filter(|word| word.ends_with(".toml") && !word.contains('/'))
        .collect();
    assert!(named.len() >= 15);
    for case in named {
        assert!(folder.join("cases").join(case).exists(), "{case}");
    }
}
