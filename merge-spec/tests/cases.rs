//! Every case in `cases/`, against the model.

use std::path::PathBuf;

use merge_spec::{Case, fold};

fn all_cases() -> Vec<Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases");
    let entries = std::fs::read_dir(folder).expect("the folder of the cases");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a case").path()).collect();
    files.sort();
    files
        .iter()
        .map(|file| Case::read(file).unwrap_or_else(|error| panic!("{error}")))
        .collect()
}

#[test]
fn every_case_comes_out_as_expected() {
    let failures: Vec<String> = all_cases()
        .iter()
        .filter_map(|case| case.check().err())
        .map(|mismatch| mismatch.to_string())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_order_of_arrival_and_repetition_change_nothing() {
    // M1, M17.
    for case in all_cases() {
        let expected = fold(&case.change_sets);
        let mut sets = case.change_sets.clone();
        for _ in 0..sets.len() {
            sets.rotate_left(1);
            let again = [sets.as_slice(), &sets[..1]].concat();
            assert_eq!(fold(&again), expected, "{}", case.file);
        }
        sets.reverse();
        assert_eq!(fold(&sets), expected, "{}", case.file);
    }
}

#[test]
fn a_file_name_is_its_title_with_dashes() {
    for case in all_cases() {
        let words = |text: &str| -> Vec<String> {
            let lower = text.to_lowercase();
            lower
                .split(|c: char| !c.is_alphanumeric())
                .filter(|w| !w.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let stem = PathBuf::from(&case.file);
        let stem = stem
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("a name in UTF-8")
            .to_owned();
        assert_eq!(words(&case.title), words(&stem), "{}", case.file);
    }
}
