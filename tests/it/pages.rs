//! What `docs/explanation/merging.md` claims: its examples are cases, and its pictures are drawn by
//! `scripts/pictures.py`.
//!
//! An example is a block ```` ```case NAME ````: a line for each operation, with the save that it is
//! in (of the base only some need be there), and perhaps the `tree` and what people are `told`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use merge_spec::Case;

const PAGE: &str = "docs/explanation/merging.md";

fn at_home(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn page() -> String {
    std::fs::read_to_string(at_home(PAGE)).unwrap()
}

/// Where the page's links and pictures lead, but for those into the net.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1);
    targets
        .map(|rest| rest.split(')').next().unwrap())
        .filter(|target| !target.contains("://"))
        .collect()
}

/// The examples: the name of the case, and the lines.
fn examples(page: &str) -> Vec<(&str, Vec<&str>)> {
    let blocks = page.split("```case ").skip(1);
    blocks
        .map(|block| {
            let (block, _) = block.split_once("\n```").expect("the block ends");
            let mut lines = block.lines();
            (lines.next().unwrap().trim(), lines.collect())
        })
        .collect()
}

/// What is wrong with an example, if anything is.
fn example_differs(case: &Case, lines: &[&str]) -> Option<String> {
    let mut left = Vec::new();
    for save in &case.saves {
        let operations = save.ops.lines().map(str::trim);
        let operations = operations.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let author = save.id.to_string();
        let author = author.strip_suffix("@0").unwrap_or(&author).to_owned();
        left.extend(operations.map(|operation| (author.clone(), operation.to_owned())));
    }
    for line in lines {
        let Some((head, rest)) = line.split_once(' ') else {
            return Some(format!("this is no line of an example: {line}"));
        };
        let rest = rest.trim();
        let same = match head {
            "tree" => rest.parse::<serde_json::Value>().unwrap() == case.expect.tree,
            "told" if rest == "nothing" => case.expect.conflicts.is_empty(),
            "told" => rest == case.expect.conflicts.join(", "),
            _ => {
                let found = left.iter().position(|(by, ops)| by == head && ops == rest);
                found.map(|i| left.remove(i)).is_some()
            }
        };
        if !same {
            return Some(format!("the case has no such line: {line}"));
        }
    }
    left.retain(|(author, _)| author != "base");
    let (author, operation) = left.first()?;
    Some(format!("{author} {operation} is left out"))
}

#[test]
fn the_page_on_merging_leads_only_to_files_that_exist() {
    let page = page();
    let targets = links(&page);
    let cases = targets.iter().filter(|target| target.ends_with(".toml"));
    assert!(cases.count() >= 20, "the cases are cited");
    for target in targets {
        let path = at_home(PAGE).parent().unwrap().join(target);
        assert!(path.is_file(), "{target}");
    }
}

#[test]
fn the_pages_on_simulating_and_crashing_lead_only_to_what_exists() {
    let names = [
        "how-to/back-up.md",
        "how-to/simulate.md",
        "explanation/simulated.md",
        "explanation/crashes.md",
    ];
    for name in names {
        let path = at_home("docs").join(name);
        let page = std::fs::read_to_string(&path).unwrap();
        for target in links(&page) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(file.is_file(), "{name}: {target}");
            let there = std::fs::read_to_string(&file).unwrap_or_default();
            let mut headings = there.lines().filter(|line| line.starts_with('#'));
            let found = anchor.is_empty() || headings.any(|line| slug(line) == anchor);
            assert!(found, "{name}: {target}");
        }
    }
}

/// What a heading is called in a link.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn the_examples_on_merging_are_the_cases_that_they_cite() {
    let page = page();
    let examples = examples(&page);
    assert!(examples.len() >= 8, "the examples are found");
    for (name, lines) in examples {
        let file = format!("merge-spec/cases/{name}.toml");
        assert!(
            links(&page).contains(&format!("../../{file}").as_str()),
            "{name} is cited"
        );
        let case = Case::read(at_home(&file)).unwrap();
        assert_eq!(example_differs(&case, &lines), None, "{name}");
    }
}

#[test]
fn the_page_on_merging_speaks_of_every_rule_and_of_no_other() {
    let page = page();
    let named: BTreeSet<u32> = page
        .split(|c: char| !c.is_alphanumeric())
        .filter_map(|word| word.strip_prefix('M')?.parse().ok())
        .collect();
    assert_eq!(named, (1..=19).collect());
}

#[test]
fn an_example_that_is_not_the_case_is_noticed() {
    let file = at_home("merge-spec/cases/a-cycle-of-two.toml");
    let case = Case::read(file).unwrap();
    let (a, b) = ("A@3    move /p /q/p", "B@9    move /q /p/q");
    assert_eq!(example_differs(&case, &[a, b, "told   B@9 cycle"]), None);
    for wrong in [
        &[a][..],
        &[a, b, b],
        &[a, "B@9    move /q /p/r"],
        &[a, b, "told   nothing"],
        &[a, b, "tree   {}"],
        &[a, b, "told"],
    ] {
        assert!(example_differs(&case, wrong).is_some(), "{wrong:?}");
    }
}

#[test]
fn the_pictures_are_what_the_script_draws() {
    let drawn = tempfile::tempdir().unwrap();
    let mut python = Command::new("python3");
    python.arg(at_home("scripts/pictures.py")).arg(drawn.path());
    let output = match python.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: there is no python3 to draw them with");
            return;
        }
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{output:?}");
    let svgs = |folder: &Path| -> Vec<(String, String)> {
        let entries = std::fs::read_dir(folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut found: Vec<(String, String)> = paths
            .filter(|path| path.extension().is_some_and(|ending| ending == "svg"))
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, std::fs::read_to_string(&path).unwrap())
            })
            .collect();
        found.sort();
        found
    };
    let (kept, drawn) = (svgs(&at_home("docs/explanation")), svgs(drawn.path()));
    let names = |list: &[(String, String)]| -> Vec<String> {
        list.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&kept), names(&drawn));
    for ((name, kept), (_, drawn)) in kept.iter().zip(&drawn) {
        assert!(
            kept == drawn,
            "{name} is not what the script draws: run `make pictures`"
        );
        assert!(
            links(&page()).contains(&name.as_str()),
            "{name} is on the page"
        );
    }
}
