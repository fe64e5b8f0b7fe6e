//! What a pass works on: a view with changes on top.
//!
//! Nodes, and who looked at their places, are asked for again and again, by every way up that leads
//! over them. They have slots of their own, found by id: each is read once, changed in place, and
//! given out once. Everything else is kept by its key.

use std::cell::{Cell, RefCell};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::seen::{self, Runs};
use super::view::{self, Above, ReadError, View, last_of_layers, scan_layers};
use crate::codec::record::{NodeRecord, Record, SeenRecord};
use crate::codec::state_key::{self as key, Key};
use crate::model::{ChangeSetId, NodeId, RepoId, Stamp, Time};

/// Fewer rows than this are put into a map one by one; of more a map is made, and both are merged.
const FEW: usize = 16;

/// A view with changes on top.
pub(crate) struct Overlay<'a> {
    base: Rc<Base<'a>>,
    /// But for nodes and who looked at them.
    changed: BTreeMap<Key, Change>,
}

/// What lies below an overlay, as it was before anything changed. What has been read of nodes is
/// remembered.
pub(crate) struct Base<'a> {
    view: &'a dyn View,
    slots: RefCell<HashMap<NodeId, Slot, RandomState>>,
    /// Who had seen what, the pass's own change sets included.
    seen: RefCell<Runs>,
    reads: Cell<u64>,
}

/// What is known of one node.
#[derive(Default)]
struct Slot {
    node: Item<Arc<NodeRecord>>,
    touched: Item<Stamp>,
}

struct Item<T> {
    /// What it was; nothing if it has not been read.
    before: Option<Option<T>>,
    /// What it is now; nothing if it is what it was.
    now: Option<T>,
}

impl<T> Default for Item<T> {
    fn default() -> Self {
        Self {
            before: None,
            now: None,
        }
    }
}

impl<T: Clone> Item<T> {
    /// What it is now; `read` says what it was.
    fn get(
        &mut self,
        read: impl FnOnce() -> Result<Option<T>, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        match &self.now {
            Some(now) => Ok(Some(now.clone())),
            None => self.before(read),
        }
    }

    fn before(
        &mut self,
        read: impl FnOnce() -> Result<Option<T>, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        match &self.before {
            Some(before) => Ok(before.clone()),
            None => Ok(self.before.insert(read()?).clone()),
        }
    }
}

impl<T> Item<T> {
    fn change(self, key: Key, record: impl Fn(T) -> Record) -> Option<(Key, Change)> {
        let now = Some(record(self.now?));
        let before = self.before.map(|before| before.map(record));
        Some((key, Change { before, now }))
    }
}

/// A node that a pass has written.
pub(crate) struct WrittenNode {
    pub(crate) id: NodeId,
    /// Nothing if there was none.
    pub(crate) before: Option<Arc<NodeRecord>>,
    pub(crate) after: Arc<NodeRecord>,
}

/// What became of a record.
pub(crate) struct Change {
    /// What it was; nothing if nobody has read it.
    pub(crate) before: Option<Option<Record>>,
    /// What it is now.
    pub(crate) now: Option<Record>,
}

impl Above for Change {
    fn now(&self) -> Option<&Record> {
        self.now.as_ref()
    }
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(view: &'a dyn View) -> Self {
        Self {
            base: Rc::new(Base {
                view,
                slots: RefCell::default(),
                seen: RefCell::default(),
                reads: Cell::new(0),
            }),
            changed: BTreeMap::new(),
        }
    }

    /// Everything as it was.
    pub(crate) fn base(&self) -> Rc<Base<'a>> {
        self.base.clone()
    }

    pub(crate) fn put(&mut self, key: Key, record: Record) {
        self.set(key, Some(record), None);
    }

    pub(crate) fn remove(&mut self, key: Key) {
        self.set(key, None, None);
    }

    /// Puts a record where one was before the pass, or none, that need not be read to know it.
    pub(crate) fn put_over(&mut self, key: Key, before: Option<Record>, record: Record) {
        self.set(key, Some(record), Some(before));
    }

    /// Removes a record that was there before the pass, or came in it.
    pub(crate) fn remove_known(&mut self, key: Key, before: Record) {
        self.set(key, None, Some(Some(before)));
    }

    fn set(&mut self, key: Key, now: Option<Record>, before: Option<Option<Record>>) {
        debug_assert!(!in_slots(&key), "nodes are put as such and never removed");
        if key::seen_of(&key).is_some() {
            self.base.seen.borrow_mut().clear();
        }
        match self.changed.entry(key) {
            Entry::Occupied(mut change) => change.get_mut().now = now,
            Entry::Vacant(place) => {
                place.insert(Change { before, now });
            }
        }
    }

    pub(crate) fn put_node(&mut self, id: NodeId, node: Arc<NodeRecord>) {
        let mut slots = self.base.slots.borrow_mut();
        slots.entry(id).or_default().node.now = Some(node);
    }

    /// Takes a node's record out to change it in place; [`Overlay::put_node`] brings it back.
    pub(crate) fn take_node(&mut self, id: NodeId) -> Result<Arc<NodeRecord>, ReadError> {
        let mut slots = self.base.slots.borrow_mut();
        let item = &mut slots.entry(id).or_default().node;
        match item.now.take() {
            Some(node) => Ok(node),
            None => Ok(item.before(|| self.base.read_node(id))?.unwrap_or_default()),
        }
    }

    /// The newest operation that looked at a node's place, if any has.
    pub(crate) fn touched(&self, id: NodeId) -> Result<Option<Stamp>, ReadError> {
        let mut slots = self.base.slots.borrow_mut();
        let item = &mut slots.entry(id).or_default().touched;
        item.get(|| self.base.read_touched(id))
    }

    /// Notes that the operation at `stamp` has looked at a node's place.
    pub(crate) fn touch(&mut self, id: NodeId, stamp: Stamp) -> Result<(), ReadError> {
        let mut slots = self.base.slots.borrow_mut();
        let item = &mut slots.entry(id).or_default().touched;
        if item.get(|| self.base.read_touched(id))? < Some(stamp) {
            item.now = Some(stamp);
        }
        Ok(())
    }

    /// The nodes that were put, whether they differ from before or not, in order of ids.
    pub(crate) fn written_nodes(&self) -> Result<Vec<WrittenNode>, ReadError> {
        let mut slots = self.base.slots.borrow_mut();
        let mut nodes = Vec::new();
        for (id, slot) in slots.iter_mut() {
            if let Some(after) = slot.node.now.clone() {
                nodes.push(WrittenNode {
                    id: *id,
                    before: slot.node.before(|| self.base.read_node(*id))?,
                    after,
                });
            }
        }
        nodes.sort_unstable_by_key(|node| node.id);
        Ok(nodes)
    }

    /// Gives up the changes.
    pub(crate) fn into_changed(self) -> BTreeMap<Key, Change> {
        let repo = self.repo();
        let mut slots: Vec<_> = self.base.slots.take().into_iter().collect();
        slots.sort_unstable_by_key(|(id, _)| *id);
        let (mut nodes, mut touched) = (Vec::new(), Vec::new());
        for (id, slot) in slots {
            nodes.extend(slot.node.change(key::node(repo, id), Record::Node));
            touched.extend(slot.touched.change(key::touched(repo, id), Record::Touched));
        }
        let mut changed = self.changed;
        let few = nodes.len() + touched.len() < FEW;
        let rows = nodes.into_iter().chain(touched);
        if few {
            changed.extend(rows);
        } else {
            changed.append(&mut rows.collect());
        }
        changed
    }

    /// Records read from below so far.
    pub(crate) fn reads(&self) -> u64 {
        self.base.reads.get()
    }
}

/// Whether a key's record has a slot.
fn in_slots(key: &[u8]) -> bool {
    key::node_of(key).is_some() || key::touched_of(key).is_some()
}

impl View for Overlay<'_> {
    fn repo(&self) -> RepoId {
        self.base.view.repo()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        if let Some(id) = key::node_of(key) {
            return Ok(self.node(id)?.map(Record::Node));
        }
        if let Some(id) = key::touched_of(key) {
            return Ok(self.touched(id)?.map(Record::Touched));
        }
        match self.changed.get(key) {
            Some(change) => Ok(change.now.clone()),
            None => self.base.counted().get(key),
        }
    }

    fn node(&self, id: NodeId) -> Result<Option<Arc<NodeRecord>>, ReadError> {
        let mut slots = self.base.slots.borrow_mut();
        let item = &mut slots.entry(id).or_default().node;
        item.get(|| self.base.read_node(id))
    }

    fn seen(&self, id: ChangeSetId) -> Result<(Time, Arc<SeenRecord>), ReadError> {
        let mut runs = self.base.seen.borrow_mut();
        match runs.get(id) {
            Some(known) => Ok(known),
            None => runs.read(self, id),
        }
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Record)>, ReadError> {
        debug_assert!(!in_slots(from), "nodes are not scanned in a pass");
        let records = scan_layers(self.base.view, &self.changed, from, to, limit)?;
        self.base.count(records.len() as u64);
        Ok(records)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<(Key, Record)>, ReadError> {
        debug_assert!(!in_slots(from), "nodes are not scanned in a pass");
        last_of_layers(self.base.counted(), &self.changed, from, to)
    }
}

impl<'a> Base<'a> {
    fn count(&self, reads: u64) {
        self.reads.set(self.reads.get() + reads);
    }

    fn counted(&self) -> &'a dyn View {
        self.count(1);
        self.view
    }

    fn read_node(&self, id: NodeId) -> Result<Option<Arc<NodeRecord>>, ReadError> {
        view::node(self.counted(), id)
    }

    fn read_touched(&self, id: NodeId) -> Result<Option<Stamp>, ReadError> {
        match self.counted().get(&key::touched(self.view.repo(), id))? {
            Some(Record::Touched(stamp)) => Ok(Some(stamp)),
            _ => Ok(None),
        }
    }
}

impl View for Base<'_> {
    fn repo(&self) -> RepoId {
        self.view.repo()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        self.view.get(key)
    }

    fn node(&self, id: NodeId) -> Result<Option<Arc<NodeRecord>>, ReadError> {
        let mut slots = self.slots.borrow_mut();
        let item = &mut slots.entry(id).or_default().node;
        item.before(|| self.read_node(id))
    }

    fn seen(&self, id: ChangeSetId) -> Result<(Time, Arc<SeenRecord>), ReadError> {
        match self.seen.borrow().get(id) {
            Some(known) => Ok(known),
            None => seen::read(self, id),
        }
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Record)>, ReadError> {
        self.view.scan(from, to, limit)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<(Key, Record)>, ReadError> {
        self.view.last(from, to)
    }
}
