//! What became of a node's place over time: when it was trashed, and by which removals.

use crate::codec::record::How;
use crate::merge::structure::{End, placed_at, way_up};
use crate::merge::view::{self, ReadError, View};
use crate::model::{NodeId, Stamp};

/// From a stamp to that of the next span, a node was live or trashed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) from: Stamp,
    /// How it was trashed; nothing if it was not.
    pub(super) trash: Option<Trash>,
}

/// The write that a node is trashed by: of itself or of an ancestor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trash {
    pub(super) since: Stamp,
    /// Whether it is a removal of that node, and not an add that emptied its parent.
    pub(super) removed: bool,
}

impl Span {
    /// The removal that begins with this span, and takes the node along.
    pub(super) fn removal(&self) -> Option<Stamp> {
        let trash = self.trash.filter(|trash| trash.removed)?;
        (trash.since == self.from).then_some(self.from)
    }
}

/// A node's place at a stamp, as far as the trash goes.
pub(super) struct Place {
    pub(super) trash: Option<Trash>,
    /// The newest parent write up to then, of the node and of what was above it.
    pub(super) since: Stamp,
    /// The next one; the greatest stamp if there is none.
    pub(super) until: Stamp,
}

/// Where a node was at a stamp.
pub(super) fn place(view: &dyn View, node: NodeId, at: Stamp) -> Result<Place, ReadError> {
    let way = way_up(view, node, at)?;
    let trash = match (way.end, way.nodes.last()) {
        (End::Trash, Some((top, since))) => {
            let record = view::node(view, *top)?.unwrap_or_default();
            let write = placed_at(&record, at);
            Some(Trash {
                since: *since,
                removed: write.is_some_and(|write| write.how == How::Remove),
            })
        }
        _ => None,
    };
    let since = way.nodes.iter().map(|(_, stamp)| *stamp).max();
    Ok(Place {
        trash,
        since: since.unwrap_or(Stamp::MIN),
        until: way.next,
    })
}

/// A node's spans, from `from` until the last that begins before `until`.
///
/// Each costs a way up, so as many as there are parent writes of the node and of what was above it.
pub(super) fn spans(
    view: &dyn View,
    node: NodeId,
    from: Stamp,
    until: Stamp,
) -> Result<Vec<Span>, ReadError> {
    let mut spans: Vec<Span> = Vec::new();
    let mut at = from;
    loop {
        let place = place(view, node, at)?;
        if spans.last().is_none_or(|span| span.trash != place.trash) {
            let trash = place.trash;
            spans.push(Span { from: at, trash });
        }
        if place.until >= until {
            return Ok(spans);
        }
        at = place.until;
    }
}
