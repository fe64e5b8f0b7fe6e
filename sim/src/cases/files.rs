//! Finds case files.

use std::path::{Path, PathBuf};

use super::{Failure, Verdict, run_file};

/// What a path leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// A file, to be read as a case.
    Case(PathBuf),
    /// A folder that gives no cases, and why.
    Nothing(PathBuf, String),
}

impl Found {
    /// Runs it. Where there should be cases and are none is a failure too.
    pub fn run(&self) -> Verdict {
        match self {
            Self::Case(path) => run_file(path),
            Self::Nothing(path, why) => Verdict {
                file: path.display().to_string(),
                title: None,
                deliveries: 0,
                failure: Some(Failure::new(why)),
            },
        }
    }
}

/// The cases that a path means: all `*.toml` of a folder and the folders in it, in the order of
/// their paths; of anything else, itself.
///
/// Links to folders inside of it are not followed.
pub fn find(path: &Path) -> Vec<Found> {
    if !path.is_dir() {
        return vec![Found::Case(path.to_owned())];
    }
    let (mut waiting, mut cases, mut failed) = (vec![path.to_owned()], Vec::new(), Vec::new());
    while let Some(folder) = waiting.pop() {
        if let Err(error) = list(&folder, &mut waiting, &mut cases) {
            failed.push(Found::Nothing(folder, error.to_string()));
        }
    }
    if cases.is_empty() && failed.is_empty() {
        let why = "no *.toml is in this folder".to_owned();
        return vec![Found::Nothing(path.to_owned(), why)];
    }
    cases.sort();
    failed.extend(cases.into_iter().map(Found::Case));
    failed
}

fn list(
    folder: &Path,
    folders: &mut Vec<PathBuf>,
    cases: &mut Vec<PathBuf>,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            folders.push(path);
        } else if path.extension().is_some_and(|ending| ending == "toml") {
            cases.push(path);
        }
    }
    Ok(())
}
