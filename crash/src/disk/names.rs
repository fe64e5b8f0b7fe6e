//! The names on a disk: files and directories by path, and what happens to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(super) type Names = BTreeMap<PathBuf, Entry>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    File(usize),
}

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    New(PathBuf, Entry),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// A change of a name takes place, if it can: what it is about may not have lasted.
pub(super) fn apply(names: &mut Names, change: &NameChange) {
    let has_parent = |names: &Names, path: &Path| {
        let parent = path.parent().and_then(|parent| names.get(parent));
        parent == Some(&Entry::Directory)
    };
    match change {
        NameChange::New(path, entry) => {
            if has_parent(names, path) {
                names.insert(path.clone(), *entry);
            }
        }
        NameChange::Remove(path) => {
            let below: Vec<PathBuf> = below(names, path);
            for path in below {
                names.remove(&path);
            }
        }
        NameChange::Rename(from, to) => {
            if !names.contains_key(from) || !has_parent(names, to) {
                return;
            }
            for path in below(names, to) {
                names.remove(&path);
            }
            for path in below(names, from) {
                if let (Some(entry), Ok(rest)) = (names.remove(&path), path.strip_prefix(from)) {
                    let place = match rest.as_os_str().is_empty() {
                        true => to.clone(),
                        false => to.join(rest),
                    };
                    names.insert(place, entry);
                }
            }
        }
    }
}

fn below(names: &Names, path: &Path) -> Vec<PathBuf> {
    let from = names.range(path.to_owned()..).map(|(path, _)| path);
    let here = from.filter(|known| known.starts_with(path));
    here.cloned().collect()
}

impl NameChange {
    pub(super) fn is_below(&self, root: &Path) -> bool {
        match self {
            Self::New(path, _) | Self::Remove(path) => path.starts_with(root),
            Self::Rename(from, to) => from.starts_with(root) && to.starts_with(root),
        }
    }

    pub(super) fn is_in(&self, directory: &Path) -> bool {
        let parent = |path: &Path| path.parent() == Some(directory);
        match self {
            Self::New(path, _) | Self::Remove(path) => parent(path),
            // Whichever side is synced first, a file system keeps the two together.
            Self::Rename(from, to) => parent(from) || parent(to),
        }
    }
}
