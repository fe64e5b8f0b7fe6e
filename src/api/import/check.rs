//! The first reading of a file: whether all of it can be imported.

use std::collections::BTreeSet;
use std::io::Read;

use crate::model::json::JsonError;
use crate::model::json::tree::{TreeItem, TreeReader};
use crate::model::limits::{PATH_DEPTH_MAX, PROPERTIES_MAX};
use crate::model::name::{NodeName, PropertyName};

/// Why a file can not be imported.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// It is not a tree.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// One of its nodes has too many properties.
    #[error("the node `{path}` has more than {PROPERTIES_MAX} properties")]
    TooManyProperties {
        /// The node, below the place of the import.
        path: String,
    },
}

/// What is in a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Nodes below the outermost object.
    pub(super) nodes: u64,
    /// Properties of all nodes.
    pub(super) properties: u64,
}

#[derive(Default)]
struct Open {
    name: Option<NodeName>,
    properties: BTreeSet<PropertyName>,
}

/// Reads a tree that is to go below a node `depth` levels below the root.
///
/// # Errors
/// The first thing that is wrong with it, and where.
pub(super) fn check(input: impl Read, depth: usize) -> Result<Counts, FileError> {
    let mut reader = TreeReader::new(input);
    let mut counts = Counts::default();
    let mut open: Vec<Open> = vec![Open::default()];
    while let Some(item) = reader.next_item()? {
        match item {
            TreeItem::Enter(name) => {
                counts.nodes += 1;
                if depth + open.len() > PATH_DEPTH_MAX {
                    let path = path_of(&open).chars().take(60).collect();
                    return Err(JsonError::TooDeep { path }.into());
                }
                open.push(Open {
                    name: Some(name),
                    properties: BTreeSet::new(),
                });
            }
            TreeItem::Property(name, _) => {
                counts.properties += 1;
                let node = open.last_mut().expect("a property is one of an open node");
                if node.properties.contains(&name) {
                    let name = name.as_str().to_owned();
                    let path = path_of(&open);
                    return Err(JsonError::Duplicate { name, path }.into());
                }
                node.properties.insert(name);
                if node.properties.len() > PROPERTIES_MAX {
                    let path = path_of(&open);
                    return Err(FileError::TooManyProperties { path });
                }
            }
            TreeItem::Leave => {
                open.pop();
            }
        }
    }
    Ok(counts)
}

fn path_of(open: &[Open]) -> String {
    let names = open.iter().filter_map(|open| open.name.as_ref());
    let names: Vec<&str> = names.map(NodeName::as_str).collect();
    format!("/{}", names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_counted_or_refused_with_the_place_of_its_error() {
        let counts = check(
            r#"{"a": {"x": 1, "b": {"y": [1]}}, "z": true}"#.as_bytes(),
            0,
        );
        assert_eq!(
            counts.unwrap(),
            Counts {
                nodes: 2,
                properties: 3
            }
        );
        let refused = |text: &str, depth, part: &str| {
            let error = check(text.as_bytes(), depth).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        refused(
            r#"{"a": {"x": 1, "x": 2}}"#,
            0,
            "`x` comes twice in the object at `/a`",
        );
        refused(
            r#"{"a": {"x": 1, "@x": 2}}"#,
            0,
            "`x` comes twice in the object at `/a`",
        );
        refused(r#"{"a": {"b": {}}}"#, 511, "deeper");
        assert!(check(r#"{"a": {"b": {}}}"#.as_bytes(), 510).is_ok());
        let many: Vec<String> = (0..=PROPERTIES_MAX)
            .map(|i| format!("\"p{i}\": 1"))
            .collect();
        refused(
            &format!("{{\"a\": {{{}}}}}", many.join(",")),
            0,
            "`/a` has more than 1024",
        );
    }
}
