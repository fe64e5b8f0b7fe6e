//! Comparing what came out with what a case expects.
//!
//! In an expected tree or order, `name~*` stands for `name~` and at least 8 hex digits, whichever;
//! `name~*2` and so on for further ones of the same name.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value as Json};

use crate::case::Case;
use crate::case::words::Path;
use crate::fold::{Fold, fold};
use crate::view::split_clashing;

/// What must come out of a case.
#[derive(Clone, PartialEq, Debug)]
pub struct Expect {
    /// The visible tree.
    pub tree: Json,
    /// The conflicts, `AUTHOR@TIME kind`, sorted, each pair once.
    pub conflicts: Vec<String>,
    /// The children of some nodes, in order, by the path of the parent.
    pub order: BTreeMap<String, Vec<String>>,
}

/// How a result differs from what a case expects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// The file and title of the case.
    pub case: String,
    /// What differs, with what was expected and what is there.
    pub what: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.what)
    }
}

impl std::error::Error for Mismatch {}

impl Expect {
    pub(crate) fn read(
        tree: &str,
        conflicts: Vec<String>,
        order: BTreeMap<String, Vec<String>>,
    ) -> Result<Expect, String> {
        let tree: Json = serde_json::from_str(tree).map_err(|e| format!("tree: {e}"))?;
        if !tree.is_object() {
            return Err("tree: the root is an object".to_owned());
        }
        if !conflicts.is_sorted_by(|a, b| a < b) {
            return Err("conflicts: not sorted, or one is there twice".to_owned());
        }
        for path in order.keys() {
            Path::read(path).map_err(|e| format!("order: {e}"))?;
        }
        Ok(Expect {
            tree,
            conflicts,
            order,
        })
    }
}

impl Case {
    /// Folds the case's change sets with this crate's model, and compares all that is expected.
    ///
    /// # Errors
    ///
    /// [`Mismatch`], of the first thing that differs.
    pub fn check(&self) -> Result<(), Mismatch> {
        self.check_fold(&fold(&self.change_sets))
    }

    /// Compares a fold with all that is expected.
    ///
    /// # Errors
    ///
    /// [`Mismatch`], of the first thing that differs.
    pub fn check_fold(&self, fold: &Fold) -> Result<(), Mismatch> {
        self.check_tree(&fold.tree())?;
        self.check_order(|path| {
            let node = fold.find(path)?;
            Some(
                fold.children(node)
                    .into_iter()
                    .map(|child| child.shown)
                    .collect(),
            )
        })?;
        self.check_conflicts(&fold.conflict_pairs())
    }

    /// Compares a visible tree, written as [`Fold::tree`] does.
    ///
    /// # Errors
    ///
    /// [`Mismatch`], if it differs.
    pub fn check_tree(&self, tree: &Json) -> Result<(), Mismatch> {
        if same_tree(&self.expect.tree, tree) {
            return Ok(());
        }
        self.differs("tree", &self.expect.tree, tree)
    }

    /// Compares conflicts, written `AUTHOR@TIME kind`; order and repetition do not matter.
    ///
    /// # Errors
    ///
    /// [`Mismatch`], if they differ.
    pub fn check_conflicts(&self, conflicts: &[String]) -> Result<(), Mismatch> {
        let mut conflicts = conflicts.to_vec();
        conflicts.sort();
        conflicts.dedup();
        if self.expect.conflicts == conflicts {
            return Ok(());
        }
        let (expected, found) = (self.expect.conflicts.join(", "), conflicts.join(", "));
        self.differs("conflicts", &expected, &found)
    }

    /// Compares the order of children. `children` is asked for the names of a node's children, as
    /// shown and in their order, by the elements of its path; it answers None for what is not
    /// there.
    ///
    /// # Errors
    ///
    /// [`Mismatch`], of the first list that differs.
    pub fn check_order(
        &self,
        children: impl Fn(&[String]) -> Option<Vec<String>>,
    ) -> Result<(), Mismatch> {
        for (path, expected) in &self.expect.order {
            let elements = Path::read(path)
                .expect("checked when the case was read")
                .elements;
            let Some(found) = children(&elements) else {
                return self.differs(
                    &format!("order of {path}"),
                    &expected.join(", "),
                    &"no node",
                );
            };
            let same = expected.len() == found.len()
                && expected.iter().zip(&found).all(|(a, b)| match wildcard(a) {
                    Some(name) => split_clashing(b).is_some_and(|(shown, _)| shown == name),
                    None => a == b,
                });
            if !same {
                let what = format!("order of {path}");
                return self.differs(&what, &expected.join(", "), &found.join(", "));
            }
        }
        Ok(())
    }

    fn differs(
        &self,
        what: &str,
        expected: &dyn fmt::Display,
        found: &dyn fmt::Display,
    ) -> Result<(), Mismatch> {
        let case = format!("{} ({})", self.file, self.title);
        let what = format!("{what}:\n  expected: {expected}\n  found:    {found}");
        Err(Mismatch { case, what })
    }
}

/// The name in `name~*`, `name~*2`, and so on.
fn wildcard(member: &str) -> Option<&str> {
    let (name, number) = member.rsplit_once("~*")?;
    number
        .bytes()
        .all(|digit| digit.is_ascii_digit())
        .then_some(name)
}

/// Whether a tree is as expected. The depth is that of what somebody wrote by hand.
fn same_tree(expected: &Json, found: &Json) -> bool {
    let (Json::Object(expected), Json::Object(found)) = (expected, found) else {
        return expected == found;
    };
    let (wild, plain): (Vec<_>, Vec<_>) = expected
        .iter()
        .partition(|(key, _)| wildcard(key).is_some());
    let mut left = found.clone();
    plain.into_iter().all(|(key, value)| {
        left.remove(key)
            .is_some_and(|there| same_tree(value, &there))
    }) && wild_match(&wild, left)
}

/// Whether what is left over can be matched one to one with the wildcards, trying all ways.
fn wild_match(wild: &[(&String, &Json)], left: Map<String, Json>) -> bool {
    let Some(((key, value), others)) = wild.split_first() else {
        return left.is_empty();
    };
    left.iter().any(|(shown, there)| {
        let fits = split_clashing(shown).map(|(name, _)| name) == wildcard(key);
        fits && same_tree(value, there) && {
            let mut left = left.clone();
            left.remove(shown);
            wild_match(others, left)
        }
    })
}
