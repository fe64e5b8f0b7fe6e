//! Subtrees as JSON: writing them out of a view, piece by piece.
//!
//! The form is that of [`crate::model::json::tree`]; children come under the names they are shown
//! by, so one of two that clash is `name~hex` (M10). Memory grows with the depth and with one page
//! of children for each open node, not with the tree.

use std::collections::BTreeSet;

use super::error::TreeError;
use crate::merge::{Child, ChildCursor, ReadError, ReadTree};
use crate::model::NodeId;
use crate::model::json::tree::TreeWriter;

/// Children that are read at a time.
const PAGE: usize = 256;
/// Bytes that are gathered before they are handed on.
const PIECE_BYTES: usize = 64 << 10;

/// Writes trees as JSON.
#[derive(Clone, Copy, Debug, Default)]
pub struct TreeFormat {
    /// Levels below the top node that are written; all of them, if nothing. At 0 it is only the
    /// top node's own properties.
    pub depth_max: Option<usize>,
    /// Whether each member is on a line of its own.
    pub pretty: bool,
}

struct Open {
    node: NodeId,
    page: std::vec::IntoIter<Child>,
    last: Option<ChildCursor>,
    /// The last page was not full.
    complete: bool,
}

impl TreeFormat {
    /// Writes the subtree of `node` in pieces of about 64 KiB, the last one ending in a line feed.
    ///
    /// # Errors
    /// If the view can not be read any more, or `sink` gives an error.
    pub fn write(
        &self,
        view: &impl ReadTree,
        node: NodeId,
        sink: &mut dyn FnMut(String) -> Result<(), std::io::Error>,
    ) -> Result<(), TreeError> {
        let mut writer = TreeWriter::new(self.pretty);
        let mut open = vec![self.begin(view, &mut writer, node, 0)?];
        while let Some(top) = open.last_mut() {
            match next_child(view, top)? {
                Some(child) => {
                    writer.enter(&child.shown);
                    let depth = open.len();
                    open.push(self.begin(view, &mut writer, child.id, depth)?);
                }
                None => {
                    writer.leave();
                    open.pop();
                }
            }
            if writer.waiting() >= PIECE_BYTES || open.is_empty() {
                sink(writer.drain())?;
            }
        }
        Ok(())
    }

    /// The subtree of `node` in one text.
    ///
    /// # Errors
    /// If the view can not be read any more.
    pub fn text(&self, view: &impl ReadTree, node: NodeId) -> Result<String, TreeError> {
        let mut text = String::new();
        self.write(view, node, &mut |piece| {
            text.push_str(&piece);
            Ok(())
        })?;
        Ok(text)
    }

    /// Writes a node's properties, and gets ready for its children.
    fn begin(
        &self,
        view: &impl ReadTree,
        writer: &mut TreeWriter,
        node: NodeId,
        depth: usize,
    ) -> Result<Open, ReadError> {
        let properties = view.properties(node)?;
        let mut open = Open {
            node,
            page: Vec::new().into_iter(),
            last: None,
            complete: self.depth_max.is_some_and(|max| depth >= max),
        };
        let mut shared = BTreeSet::new();
        if !open.complete {
            let page = view.children(node, None, PAGE)?;
            open.last = page.last().map(|child| child.cursor.clone());
            open.complete = page.len() < PAGE;
            if !properties.is_empty() {
                let names: BTreeSet<&str> =
                    properties.iter().map(|(name, _)| name.as_str()).collect();
                let mut note = |page: &[Child]| {
                    for child in page {
                        if let Some(name) = names.get(child.shown.as_str()) {
                            shared.insert((*name).to_owned());
                        }
                    }
                };
                note(&page);
                // The properties come first, so the names of all children are looked at before.
                let (mut last, mut complete) = (open.last.clone(), open.complete);
                while !complete {
                    let page = view.children(node, last.as_ref(), PAGE)?;
                    complete = page.len() < PAGE;
                    note(&page);
                    last = page.last().map(|child| child.cursor.clone()).or(last);
                }
            }
            open.page = page.into_iter();
        }
        for (name, value) in &properties {
            writer.property(name, value, shared.contains(name.as_str()));
        }
        Ok(open)
    }
}

fn next_child(view: &impl ReadTree, open: &mut Open) -> Result<Option<Child>, ReadError> {
    if let Some(child) = open.page.next() {
        return Ok(Some(child));
    }
    if open.complete {
        return Ok(None);
    }
    let page = view.children(open.node, open.last.as_ref(), PAGE)?;
    open.complete = page.len() < PAGE;
    open.last = page.last().map(|child| child.cursor.clone());
    open.page = page.into_iter();
    Ok(open.page.next())
}
