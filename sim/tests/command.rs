//! The program `leveret-sim`, as a shell sees it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const GOOD: &str = r#"
title = "both edits are there"
base = "add /a"
[[save]]
by = "A"
at = 3
ops = "set /a x 1"
[[save]]
by = "B"
at = 9
ops = "set /a y 2"
[expect]
tree = '{"a": {"x": 1, "y": 2}}'
conflicts = []
"#;

fn run(arguments: &[&str], folder: &Path) -> (Option<i32>, String, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_leveret-sim"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("it prints UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for the test");
    for (name, text) in files {
        let path = folder.path().join(name);
        let parent = path.parent().expect("it is in the folder");
        fs::create_dir_all(parent).expect("a folder for the test");
        fs::write(path, text).expect("a file for the test");
    }
    folder
}

fn bad() -> String {
    GOOD.replace(r#""y": 2"#, r#""y": 3"#)
}

#[test]
fn cases_that_pass_give_a_count_and_nothing_else() {
    let folder = folder(&[("a.toml", GOOD), ("b.toml", GOOD)]);
    let (code, out, err) = run(&["cases", "a.toml", "b.toml"], folder.path());
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (Some(0), "2 passed, 0 failed\n", "")
    );
}

#[test]
fn a_case_that_fails_gives_its_line_and_exit_code_1() {
    let folder = folder(&[("good.toml", GOOD), ("bad.toml", &bad())]);
    let (code, out, _) = run(&["cases", "bad.toml", "good.toml"], folder.path());
    assert_eq!(code, Some(1));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert!(lines[0].starts_with("bad.toml: "), "{out}");
    assert!(lines[0].contains(r#"{"a":{"x":1,"y":3}}"#), "{out}");
    assert_eq!(lines[1], "1 passed, 1 failed");
}

#[test]
fn a_folder_means_every_toml_file_in_it_and_below_it() {
    let folder = folder(&[
        ("cases/b.toml", GOOD),
        ("cases/a/deep/bad.toml", &bad()),
        ("cases/a/good.toml", GOOD),
        ("cases/README.md", "no case"),
    ]);
    let (code, out, _) = run(&["cases", "cases"], folder.path());
    assert_eq!(code, Some(1));
    assert!(out.starts_with("cases/a/deep/bad.toml: "), "{out}");
    assert!(out.ends_with("\n2 passed, 1 failed\n"), "{out}");
}

#[test]
fn what_cannot_be_read_as_a_case_has_failed() {
    let folder = folder(&[("text.toml", "no = 1"), ("empty/README.md", "")]);
    for (path, reason) in [
        ("missing.toml", "missing.toml: No such file"),
        ("text.toml", "text.toml: line 1: unknown field `no`"),
        ("empty", "empty: no *.toml is in this folder"),
    ] {
        let (code, out, _) = run(&["cases", path], folder.path());
        assert_eq!(code, Some(1), "{path}");
        assert!(out.starts_with(reason), "{out}");
        assert!(out.ends_with("\n0 passed, 1 failed\n"), "{out}");
        assert_eq!(out.lines().count(), 2, "{out}");
    }
}

/// What is printed with `--json`: an object a line.
fn objects(out: &str) -> Vec<serde_json::Value> {
    let lines = out.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("it prints JSON"))
        .collect()
}

/// What the objects say that they are.
fn whats(objects: &[serde_json::Value]) -> Vec<&str> {
    let whats = objects.iter().map(|object| object["what"].as_str());
    whats.map(|what| what.expect("each says so")).collect()
}

#[test]
fn json_of_a_run_is_one_object_with_its_line_and_its_trace() {
    let folder = folder(&[]);
    let options = ["--saves=12", "--seconds=5", "--profile=calm", "--json"];
    let (code, out, _) = run(
        &[&["run", "--seed=3"][..], &options].concat(),
        folder.path(),
    );
    assert_eq!(code, Some(0), "{out}");
    let objects = objects(&out);
    assert_eq!(whats(&objects), ["run"]);
    assert_eq!(
        objects[0]["line"],
        "--seed 3 --profile calm --saves 12 --seconds 5"
    );
    assert_eq!(
        (&objects[0]["verdict"], &objects[0]["exit"]),
        (&"good".into(), &0.into())
    );
    assert_eq!(objects[0]["trace"].as_str().unwrap().len(), 32);
    assert!(
        objects[0]["acknowledged"]
            .as_u64()
            .is_some_and(|saves| saves > 0)
    );
}

#[test]
fn json_of_a_sweep_begins_with_its_seeds_and_ends_with_what_it_came_to() {
    let folder = folder(&[]);
    let options = ["--saves=12", "--seconds=5", "--profile=calm", "--json"];
    let seeds = [&["sweep", "--seeds=1..4"][..], &options].concat();
    let (code, out, _) = run(&seeds, folder.path());
    assert_eq!(code, Some(0), "{out}");
    let of_seeds = objects(&out);
    assert_eq!(whats(&of_seeds), ["seeds", "total"]);
    assert_eq!(
        (&of_seeds[0]["first"], &of_seeds[0]["end"]),
        (&1.into(), &4.into())
    );
    assert_eq!(
        (&of_seeds[1]["runs"], &of_seeds[1]["failed"]),
        (&3.into(), &0.into())
    );
    assert_eq!(of_seeds[1]["failed_seeds"], serde_json::json!([]));

    let time = [&["sweep", "--for=1s", "--from=70"][..], &options].concat();
    let (code, out, _) = run(&time, folder.path());
    assert_eq!(code, Some(0), "{out}");
    let of_time = objects(&out);
    assert_eq!(whats(&of_time), ["seeds", "total"]);
    assert_eq!(of_time[0]["first"], 70);
    assert!(of_time[0]["end"].is_null());
    assert!(of_time[1]["runs"].as_u64().unwrap() > 0);
}

#[test]
fn json_of_the_kept_runs_is_how_many_there_are_and_how_many_fail() {
    let folder = folder(&[]);
    let (code, out, _) = run(&["sweep", "--kept", "--json"], folder.path());
    assert_eq!(code, Some(0), "{out}");
    let objects = objects(&out);
    assert_eq!(whats(&objects), ["kept"]);
    let kept = leveret_sim::seeds::parse(leveret_sim::seeds::KEPT).unwrap();
    assert_eq!(objects[0]["runs"], kept.len());
    assert_eq!(objects[0]["failed"], 0);
}

#[test]
fn json_has_an_object_for_each_case_and_one_for_all() {
    let folder = folder(&[("good.toml", GOOD), ("bad.toml", &bad())]);
    let (code, out, _) = run(&["cases", "--json", "good.toml", "bad.toml"], folder.path());
    assert_eq!(code, Some(1));
    let objects = objects(&out);
    assert_eq!(objects.len(), 3);
    assert_eq!(whats(&objects), ["case", "case", "cases"]);
    assert_eq!(objects[0]["file"], "good.toml");
    assert_eq!(objects[0]["title"], "both edits are there");
    assert_eq!(objects[0]["passed"], true);
    assert_eq!(objects[0]["deliveries"], 4);
    assert!(objects[0]["difference"].is_null());
    assert_eq!(objects[1]["passed"], false);
    assert!(objects[1]["difference"].as_str().unwrap().contains("tree"));
    assert_eq!(
        (&objects[2]["passed"], &objects[2]["failed"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn a_report_is_a_page_its_charts_are_files_and_its_figures_are_json() {
    let folder = folder(&[]);
    let (code, out, err) = run(
        &[
            "report",
            "--experiment=traffic",
            "--replicas=2",
            "--saves=30",
            "--seed=3",
            "--json",
            "--out=page.html",
            "--svg=charts",
        ],
        folder.path(),
    );
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(err, "2 replicas, LAN, 0 % of datagrams lost\n");
    let objects = objects(&out);
    assert_eq!(whats(&objects), ["experiment", "report"]);
    let figures = &objects[0];
    assert_eq!(figures["experiment"], "traffic");
    assert_eq!(figures["figures"]["by_size"][0]["replicas"], 2.0);
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    let command = "leveret-sim report --experiment traffic --replicas 2 --saves 30 --seed 3";
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains(command));
    let chart = fs::read_to_string(folder.path().join("charts/traffic-1.svg")).unwrap();
    assert!(chart.starts_with("<svg"), "{chart}");
    assert_eq!(objects[1]["page"], "page.html");
    let charts = objects[1]["charts"].as_array().unwrap();
    assert!(
        charts.contains(&"charts/traffic-1.svg".into()),
        "{charts:?}"
    );
    for chart in charts {
        assert!(
            folder.path().join(chart.as_str().unwrap()).is_file(),
            "{chart}"
        );
    }
}

#[test]
fn a_report_of_what_there_is_not_is_exit_code_2() {
    let folder = folder(&[]);
    for arguments in [&["--experiment=speed"], &["--replicas=1"], &["--saves=0"]] {
        let (code, out, err) = run(&[&["report"][..], arguments].concat(), folder.path());
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_page_on_simulating_names_every_kind_of_fault_and_every_experiment() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/how-to/simulate.md");
    let page = fs::read_to_string(page).unwrap();
    let kinds = leveret_sim::plan::Kind::ALL.iter().map(|kind| kind.name());
    let experiments = leveret_sim::report::experiments::Experiment::ALL.map(|one| one.name());
    for name in kinds.chain(experiments) {
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
    }
}

#[test]
fn bad_usage_is_exit_code_2() {
    let folder = folder(&[]);
    for arguments in [
        &[][..],
        &["cases"],
        &["cases", "--fast", "x"],
        &["case", "x"],
    ] {
        let (code, out, err) = run(arguments, folder.path());
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(out.is_empty() && err.contains("Usage"), "{err}");
    }
    assert_eq!(run(&["cases", "--help"], folder.path()).0, Some(0));
}
