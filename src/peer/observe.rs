//! Observation: one event for each commit that touches a subtree, with one net difference.
//!
//! Whether a change lies in a subtree is found by walking up from the changed node, in the state
//! before the commit and in the one after it; nothing walks down. What moves out of the subtree
//! has vanished from it, what moves in has appeared there.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::merge::{Change, NodeInfo, ReadError, ReadTree, Snapshot, Version};
use crate::model::{NodeId, RepoId};
use crate::replica::CommitEvent;

/// Most events that wait for an observer; one more, and it has lagged.
pub const EVENTS_MAX: usize = 1_024;

/// What an observer is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A commit touched what is observed, or voided an all-or-nothing change set, wherever, or let
    /// one have its effect again. The changes are the net difference, of the observed subtree
    /// alone; the change sets, and the voided ones, are all those of the commit.
    Commit(Arc<CommitEvent>),
    /// Events were left out, since more than [`EVENTS_MAX`] waited, or since the store had to be
    /// opened anew. What comes next goes on from this state.
    Lagged(Snapshot),
}

/// Receives the events of a subtree. Dropping it ends the observation.
pub struct Observer {
    queue: Arc<Queue>,
}

impl Observer {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// The node whose subtree is observed.
    pub fn node(&self) -> NodeId {
        self.queue.root
    }

    /// The next event; nothing once the peer has been closed and all events before are taken.
    ///
    /// Nothing is lost if the future is dropped before it is ready.
    pub async fn next(&mut self) -> Option<Event> {
        let queue = self.queue.clone();
        loop {
            let filled = queue.filled.notified();
            let ended = queue.waiting().ended;
            let event = self.try_next();
            if event.is_some() || ended {
                return event;
            }
            filled.await;
        }
    }

    /// The next event if one is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        let mut waiting = self.queue.waiting();
        if let Some(snapshot) = waiting.lagged.take() {
            return Some(Event::Lagged(snapshot));
        }
        waiting.events.pop_front().map(Event::Commit)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting();
        waiting.ended = true;
        waiting.events.clear();
        waiting.lagged = None;
        waiting.before = None;
    }
}

struct Waiting {
    events: VecDeque<Arc<CommitEvent>>,
    /// Events were dropped; the state after the last of them.
    lagged: Option<Snapshot>,
    /// The state that the next event starts from; not kept for the whole tree.
    before: Option<Snapshot>,
    /// The version of that state.
    since: Version,
    ended: bool,
}

/// The events that wait for one observer.
pub(super) struct Queue {
    repo: RepoId,
    root: NodeId,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

impl Queue {
    /// A queue for the subtree of `root`, from the state `now` on.
    fn new(root: NodeId, now: Snapshot) -> Arc<Self> {
        Arc::new(Self {
            repo: now.repo(),
            root,
            waiting: Mutex::new(Waiting {
                events: VecDeque::new(),
                lagged: None,
                since: now.version(),
                before: (root != NodeId::ROOT).then_some(now),
                ended: false,
            }),
            filled: Notify::new(),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event if it concerns this observer; false when nobody observes any more.
    fn offer(&self, event: &Arc<CommitEvent>) -> bool {
        let mut waiting = self.waiting();
        if waiting.ended {
            return false;
        }
        // An event that was on its way when this observer came is in its first state already.
        if event.repo != self.repo || event.snapshot.version() <= waiting.since {
            return true;
        }
        waiting.since = event.snapshot.version();
        let mine = match waiting.before.replace(event.snapshot.clone()) {
            None => {
                waiting.before = None;
                Ok(Some(event.clone()))
            }
            Some(before) => Filter::new(self.root, &before, &event.snapshot).event(event),
        };
        match mine {
            Ok(None) => return true,
            Ok(Some(event)) if waiting.lagged.is_none() && waiting.events.len() < EVENTS_MAX => {
                waiting.events.push_back(event);
            }
            // Also if a state could not be read: then nobody knows what the difference was.
            Ok(Some(_)) | Err(_) => {
                waiting.events.clear();
                waiting.lagged = Some(event.snapshot.clone());
            }
        }
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// Starts over from a state.
    fn restart(&self, now: Snapshot) {
        let mut waiting = self.waiting();
        if waiting.ended {
            return;
        }
        waiting.events.clear();
        waiting.since = now.version();
        if waiting.before.is_some() {
            waiting.before = Some(now.clone());
        }
        waiting.lagged = Some(now);
        drop(waiting);
        self.filled.notify_one();
    }

    /// No more events will come.
    fn end(&self) {
        self.waiting().ended = true;
        self.filled.notify_one();
    }
}

/// Everybody who observes something of a peer.
pub(super) struct Observers {
    /// Nothing once the peer has ended.
    queues: Mutex<Option<Vec<Arc<Queue>>>>,
}

impl Observers {
    pub(super) fn new() -> Self {
        Self {
            queues: Mutex::new(Some(Vec::new())),
        }
    }

    fn queues(&self) -> MutexGuard<'_, Option<Vec<Arc<Queue>>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an observer that starts from the state that `state` gives; no event can come between.
    pub(super) fn add<E>(
        &self,
        state: impl FnOnce() -> Result<(NodeId, Snapshot), E>,
    ) -> Result<Arc<Queue>, E> {
        let mut queues = self.queues();
        let (root, now) = state()?;
        let queue = Queue::new(root, now);
        match &mut *queues {
            Some(queues) => queues.push(queue.clone()),
            None => queue.end(),
        }
        Ok(queue)
    }

    /// Hands an event to all whom it concerns.
    pub(super) fn offer(&self, event: &Arc<CommitEvent>) {
        if let Some(queues) = &mut *self.queues() {
            queues.retain(|queue| queue.offer(event));
        }
    }

    /// Lets all start over, each from the state of its repository.
    pub(super) fn restart(&self, state: impl Fn(RepoId) -> Snapshot) {
        for queue in self.queues().iter().flatten() {
            queue.restart(state(queue.repo));
        }
    }

    /// Ends all observations.
    pub(super) fn end(&self) {
        for queue in self.queues().take().into_iter().flatten() {
            queue.end();
        }
    }
}

/// Picks from the changes of one commit what concerns a subtree.
struct Filter<'a> {
    root: NodeId,
    before: Side<'a>,
    after: Side<'a>,
}

/// One of the two states, and what has been found out about it.
struct Side<'a> {
    snapshot: &'a Snapshot,
    /// Whether a node lies in the subtree, its root included. Only looked things up in.
    known: HashMap<NodeId, bool>,
}

impl Side<'_> {
    /// Whether a visible node lies in the subtree of `root`.
    fn holds(&mut self, root: NodeId, node: NodeId) -> Result<bool, ReadError> {
        let (mut way, mut next) = (Vec::new(), node);
        let found = loop {
            if next == root {
                break true;
            }
            if let Some(&known) = self.known.get(&next) {
                break known;
            }
            if next == NodeId::ROOT {
                break false;
            }
            way.push(next);
            match self.snapshot.node(next)? {
                Some(info) => next = info.parent,
                None => break false,
            }
        };
        for node in way {
            self.known.insert(node, found);
        }
        Ok(found)
    }
}

impl<'a> Filter<'a> {
    fn new(root: NodeId, before: &'a Snapshot, after: &'a Snapshot) -> Self {
        let side = |snapshot| Side {
            snapshot,
            known: HashMap::new(),
        };
        Self {
            root,
            before: side(before),
            after: side(after),
        }
    }

    /// The event with what concerns the subtree; nothing if nothing does.
    fn event(mut self, event: &CommitEvent) -> Result<Option<Arc<CommitEvent>>, ReadError> {
        let mut changes = Vec::new();
        for change in &event.changes {
            changes.extend(self.change(change)?);
        }
        // The subtree's own root comes and goes with what is above it.
        let root_is_named = changes.iter().any(|change| {
            matches!(change, Change::Appeared { node, .. } | Change::Vanished { node, .. } if *node == self.root)
        });
        if !root_is_named && event.changes.iter().any(is_structural) {
            let was = self.before.snapshot.node(self.root)?;
            let is = self.after.snapshot.node(self.root)?;
            match (was, is) {
                // All of it is gone with its root, or is to be read from the snapshot. Only the
                // tree's root has no name, and that neither comes nor goes.
                (Some(NodeInfo { parent, name, .. }), None) => {
                    let node = self.root;
                    changes.clear();
                    changes.extend(name.map(|name| Change::Vanished { node, parent, name }));
                }
                (None, Some(NodeInfo { parent, name, .. })) => {
                    let node = self.root;
                    changes.clear();
                    changes.extend(name.map(|name| Change::Appeared { node, parent, name }));
                }
                _ => {}
            }
        }
        if changes.is_empty() && event.voided.is_empty() {
            return Ok(None);
        }
        Ok(Some(Arc::new(CommitEvent {
            changes,
            ..event.clone()
        })))
    }

    fn change(&mut self, change: &Change) -> Result<Option<Change>, ReadError> {
        let root = self.root;
        Ok(match change {
            Change::Appeared { node, parent, .. } => {
                (*node == root || self.after.holds(root, *parent)?).then(|| change.clone())
            }
            Change::Vanished { node, parent, .. } => {
                (*node == root || self.before.holds(root, *parent)?).then(|| change.clone())
            }
            Change::Moved { node, from, to } => {
                let was = *node == root || self.before.holds(root, from.0)?;
                let is = *node == root || self.after.holds(root, to.0)?;
                match (was, is) {
                    (true, true) => Some(change.clone()),
                    (true, false) => Some(Change::Vanished {
                        node: *node,
                        parent: from.0,
                        name: from.1.clone(),
                    }),
                    (false, true) => Some(Change::Appeared {
                        node: *node,
                        parent: to.0,
                        name: to.1.clone(),
                    }),
                    (false, false) => None,
                }
            }
            Change::Ordered { node } | Change::Property { node, .. } => {
                // What moved in shows with all it has in its appearance.
                let stays = self.before.holds(root, *node)? && self.after.holds(root, *node)?;
                stays.then(|| change.clone())
            }
        })
    }
}

fn is_structural(change: &Change) -> bool {
    matches!(
        change,
        Change::Appeared { .. } | Change::Vanished { .. } | Change::Moved { .. }
    )
}
