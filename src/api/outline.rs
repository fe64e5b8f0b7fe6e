//! A subtree as text for people: a node a line, indented by its depth, with what fits of its
//! properties. Written piece by piece, without recursion.

use crate::merge::{Child, ChildCursor, ReadError, ReadTree};
use crate::model::NodeId;
use crate::model::json::value_text;

/// Children read at once.
const PAGE: usize = 256;
/// Bytes that are gathered before they are passed on.
const PIECE_BYTES: usize = 64 << 10;
/// Longest line, in characters. A long name or a deep node may take more.
const LINE_CHARS_MAX: usize = 140;
/// Room for properties that every line has, in characters.
const ROOM_CHARS_MIN: usize = 40;

/// Writes a node, which is called `title`, and what is below it down to `depth` levels, or all of
/// it; passes the pieces to `emit` until that says that nobody wants more.
///
/// # Errors
/// If the tree can not be read; pieces may have been passed on.
pub(super) fn write(
    tree: &impl ReadTree,
    node: NodeId,
    title: &str,
    depth: Option<usize>,
    emit: &mut dyn FnMut(String) -> bool,
) -> Result<(), ReadError> {
    let depth = depth.unwrap_or(usize::MAX);
    let mut out = line(tree, node, title, 0)?;
    let mut open = vec![Open::new(tree, node, depth == 0)?];
    while let Some(top) = open.last_mut() {
        let Some(child) = top.next_child(tree)? else {
            open.pop();
            continue;
        };
        let level = open.len();
        out.push_str(&line(tree, child.id, &child.shown, level)?);
        open.push(Open::new(tree, child.id, level >= depth)?);
        if out.len() >= PIECE_BYTES && !emit(std::mem::take(&mut out)) {
            return Ok(());
        }
    }
    emit(out);
    Ok(())
}

/// One node's line.
fn line(tree: &impl ReadTree, node: NodeId, name: &str, level: usize) -> Result<String, ReadError> {
    let mut text = format!("{:indent$}{name}", "", indent = 2 * level);
    let used = 2 * level + name.chars().count();
    let mut room = LINE_CHARS_MAX.saturating_sub(used).max(ROOM_CHARS_MIN);
    for (name, value) in tree.properties(node)? {
        let part = format!("  {}={}", name.as_str(), value_text(&value));
        let length = part.chars().count();
        if length > room {
            text.extend(part.chars().take(room.saturating_sub(1)));
            text.push('…');
            break;
        }
        text.push_str(&part);
        room -= length;
    }
    text.push('\n');
    Ok(text)
}

/// A node whose children are being written.
struct Open {
    node: NodeId,
    page: std::vec::IntoIter<Child>,
    /// The last child of the page, if there may be more after it.
    after: Option<ChildCursor>,
}

impl Open {
    fn new(tree: &impl ReadTree, node: NodeId, last: bool) -> Result<Self, ReadError> {
        let page = if last {
            Vec::new()
        } else {
            tree.children(node, None, PAGE)?
        };
        let after = more_after(&page);
        let page = page.into_iter();
        Ok(Self { node, page, after })
    }

    fn next_child(&mut self, tree: &impl ReadTree) -> Result<Option<Child>, ReadError> {
        if let Some(child) = self.page.next() {
            return Ok(Some(child));
        }
        let Some(after) = self.after.take() else {
            return Ok(None);
        };
        let page = tree.children(self.node, Some(&after), PAGE)?;
        self.after = more_after(&page);
        self.page = page.into_iter();
        Ok(self.page.next())
    }
}

fn more_after(page: &[Child]) -> Option<ChildCursor> {
    let last = page.last().filter(|_| page.len() == PAGE)?;
    Some(last.cursor.clone())
}
