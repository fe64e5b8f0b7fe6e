//! A fault of merging, from a sweep to a case that anybody can run: found, made smaller, written
//! down.
#![cfg(feature = "faults")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A set leaves the incs under it as they were: machines that merge in different orders differ.
const FAULT: &str = "IncsStay";

/// Small runs in which people meet.
const RUNS: &str = "--replicas 3 --saves 60 --seconds 10 --with hot-property,partition \
                    --without wide-node,deep-path,large-set,join,leave,absence,year-ahead,clone";

/// Runs the program; its exit code, and what it prints: an object a line.
fn run(folder: &Path, arguments: &str) -> (Option<i32>, Vec<Value>) {
    let output = Command::new(env!("CARGO_BIN_EXE_leveret-sim"))
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("it prints UTF-8");
    let objects = text.lines().map(serde_json::from_str);
    (
        output.status.code(),
        objects.collect::<Result<_, _>>().expect("it prints JSON"),
    )
}

#[test]
fn a_fault_of_merging_is_found_made_smaller_and_written_as_a_case_that_shows_it() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let here = folder.path();
    let fault = format!("--json --fault {FAULT}");

    let (code, told) = run(here, &format!("sweep --seeds 1..9 {RUNS} {fault}"));
    assert_eq!(code, Some(12), "{told:?}");
    let is_failure = |object: &&Value| object["what"] == "failure" && object["exit"] == 12;
    let failures: Vec<_> = told.iter().filter(is_failure).collect();
    let line = failures[0]["line"].as_str().expect("a seed line");
    assert!(
        line.starts_with("--seed ") && line.contains("--saves 60"),
        "{line}"
    );

    let (code, told) = run(here, &format!("run {line} --shrink --found kept {fault}"));
    assert_eq!(code, Some(12), "{told:?}");
    let smaller = &told[1];
    assert_eq!((told.len(), &smaller["what"]), (2, &"smaller".into()));
    assert_eq!(smaller["of"], line);
    let less = smaller["line"].as_str().expect("a seed line");
    let seeds = fs::read_to_string(here.join("kept/seeds.txt")).expect("seeds are kept");
    assert!(
        seeds.starts_with(less) && seeds.lines().count() == 1,
        "{seeds}"
    );
    let (code, _) = run(here, &format!("run {less} {fault}"));
    assert_eq!(code, Some(12), "what is smaller fails too");

    let case = smaller["case"].as_str().expect("merging alone is at fault");
    let text = fs::read_to_string(here.join(case)).expect("the case is written");
    assert!(
        text.starts_with("# From a simulated run: leveret-sim run --seed"),
        "{text}"
    );
    // An add, an inc, a set of those who knew nothing of it, and what makes that show.
    assert!(text.matches("[[save]]").count() <= 5, "{text}");
    let (code, told) = run(here, &format!("cases {case} {fault}"));
    assert_eq!(code, Some(1), "{told:?}");
    let (code, told) = run(here, &format!("cases --json {case}"));
    assert_eq!(code, Some(0), "{told:?}");
}

#[test]
fn a_fault_that_is_not_of_merging_leaves_a_seed_line_and_no_case() {
    use leveret_sim::finding::Finding;
    use leveret_sim::plan::Options;
    use leveret_sim::run::Verdict;
    use leveret_sim::sweep::{Deliberate, Runner};

    let fault = Deliberate::parse("AcknowledgedBeforeCommit").unwrap();
    let runner = Runner::with(Some(fault));
    let runs = (1..60).map(Options::new);
    let mut runs = runs.map(|options| (runner.run(&options).verdict, options));
    let found = runs.find(|(verdict, _)| matches!(verdict, Verdict::Wrong(_)));
    let (verdict, options) = found.expect("the fault shows");
    let finding = Finding::of(&options, &verdict, runner);
    assert_eq!(finding.case, None, "{finding}");
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(finding.write(folder.path()).unwrap(), None);
    let seeds = fs::read_to_string(folder.path().join("seeds.txt")).unwrap();
    assert_eq!(
        leveret_sim::seeds::parse(&seeds).unwrap().len(),
        1,
        "{seeds}"
    );
}
