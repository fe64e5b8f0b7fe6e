//! Sessions: a snapshot to read, operations gathered against it, and one save.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::core::{Core, Input};
use super::error::{SaveError, SessionError};
use crate::merge::{Draft, DraftError, ReadTree, Snapshot, View};
use crate::model::script::{PathOperation, Place};
use crate::model::{
    Conflict, ConflictId, NodeId, NodeName, NodePath, PathStep, PropertyName, RepoId, Value,
};
use crate::replica::Receipt;

/// Something that leads to a node: a path, as text or parsed, or its id.
pub trait Target {
    /// The node, if it is there and visible.
    ///
    /// # Errors
    /// A malformed path, or a failed read.
    fn find_in(&self, view: &impl ReadTree) -> Result<Option<NodeId>, SessionError>;

    /// The node in the trash that it led to; of several, the one that went there last.
    ///
    /// # Errors
    /// A malformed path, or a failed read.
    fn find_trashed_in(&self, view: &impl ReadTree) -> Result<Option<NodeId>, SessionError>;

    /// What people call it, for messages.
    fn describe(&self) -> String;
}

impl Target for str {
    fn find_in(&self, view: &impl ReadTree) -> Result<Option<NodeId>, SessionError> {
        if let Some(node) = view.recall(self) {
            return Ok(Some(node));
        }
        self.parse::<NodePath>()?.find_in(view)
    }

    fn find_trashed_in(&self, view: &impl ReadTree) -> Result<Option<NodeId>, SessionError> {
        self.parse::<NodePath>()?.find_trashed_in(view)
    }

    fn describe(&self) -> String {
        self.to_owned()
    }
}

impl Target for NodePath {
    fn find_in(&self, view: &impl ReadTree) -> Result<Option<NodeId>, SessionError> {
        Ok(view.resolve(self)?)
    }

    fn find_trashed_in(&self, view: &impl ReadTree) -> Result<Option<NodeId>, SessionError> {
        let newest = view.trashed_at(self)?.into_iter().next();
        Ok(newest.map(|trashed| trashed.node))
    }

    fn describe(&self) -> String {
        self.to_string()
    }
}

impl Target for NodeId {
    fn find_in(&self, view: &impl ReadTree) -> Result<Option<NodeId>, SessionError> {
        Ok(view.is_visible(*self)?.then_some(*self))
    }

    fn find_trashed_in(&self, view: &impl ReadTree) -> Result<Option<NodeId>, SessionError> {
        Ok(view.trashed(*self)?.map(|trashed| trashed.node))
    }

    fn describe(&self) -> String {
        self.to_string()
    }
}

impl<T: Target + ?Sized> Target for &T {
    fn find_in(&self, view: &impl ReadTree) -> Result<Option<NodeId>, SessionError> {
        (**self).find_in(view)
    }

    fn find_trashed_in(&self, view: &impl ReadTree) -> Result<Option<NodeId>, SessionError> {
        (**self).find_trashed_in(view)
    }

    fn describe(&self) -> String {
        (**self).describe()
    }
}

impl Target for String {
    fn find_in(&self, view: &impl ReadTree) -> Result<Option<NodeId>, SessionError> {
        self.as_str().find_in(view)
    }

    fn find_trashed_in(&self, view: &impl ReadTree) -> Result<Option<NodeId>, SessionError> {
        self.as_str().find_trashed_in(view)
    }

    fn describe(&self) -> String {
        self.clone()
    }
}

/// The node that a target leads to.
///
/// # Errors
/// [`SessionError::NotFound`] if there is none, and others.
pub(super) fn find(view: &impl ReadTree, target: &impl Target) -> Result<NodeId, SessionError> {
    target
        .find_in(view)?
        .ok_or_else(|| SessionError::NotFound(target.describe()))
}

/// A piece of work on one state: reads it, gathers operations, sees them itself, and saves them
/// as one change set.
///
/// The state is that of the moment when the session was opened, whatever is saved meanwhile.
/// An operation that is refused changes nothing. Dropping a session drops its operations.
///
/// Where a method takes a [`Target`], that is a path (`"/a/b"` or a [`NodePath`]) or a [`NodeId`].
pub struct Session {
    core: Arc<Core>,
    draft: Draft,
}

impl Session {
    pub(super) fn open(core: &Arc<Core>, repo: RepoId) -> Self {
        let snapshot = core.state(repo).snapshot();
        let draft = Draft::new(snapshot, core.origin());
        Self {
            core: core.clone(),
            draft,
        }
    }

    /// The state that the session reads, without its own operations.
    pub fn snapshot(&self) -> &Snapshot {
        self.draft.snapshot()
    }

    /// The value of a property; nothing if it has none.
    ///
    /// # Errors
    /// If there is no such node, or what was given is malformed.
    pub fn get(&self, target: impl Target, name: &str) -> Result<Option<Value>, SessionError> {
        let node = find(&self.draft, &target)?;
        Ok(self.draft.property(node, &PropertyName::new(name)?)?)
    }

    /// The node that a target leads to; nothing if none is there.
    ///
    /// # Errors
    /// If the target is malformed.
    pub fn node_at(&self, target: impl Target) -> Result<Option<NodeId>, SessionError> {
        target.find_in(&self.draft)
    }

    /// Adds a node at a path, whose parent must be there, and gives its id.
    ///
    /// # Errors
    /// If the name is taken, the parent is missing, or what was given is malformed. Nothing is
    /// added then; so it is with every method here.
    pub fn add(&mut self, path: &str) -> Result<NodeId, SessionError> {
        let (parent, name) = self.place(path)?;
        Ok(self.draft.add(parent, &name)?)
    }

    /// Adds a node that never merges with one that others add by the same path. The id holds
    /// within the session; [`Receipt::nodes`] has the final one.
    ///
    /// # Errors
    /// As [`Session::add`].
    pub fn add_unique(&mut self, path: &str) -> Result<NodeId, SessionError> {
        let (parent, name) = self.place(path)?;
        Ok(self.draft.add_unique(parent, &name)?)
    }

    /// Adds a child to a node.
    ///
    /// # Errors
    /// As [`Session::add`].
    pub fn add_child(&mut self, parent: impl Target, name: &str) -> Result<NodeId, SessionError> {
        let parent = find(&self.draft, &parent)?;
        Ok(self.draft.add(parent, &NodeName::new(name)?)?)
    }

    /// Removes a node with everything below it.
    ///
    /// # Errors
    /// If there is no such node, or it is the root.
    pub fn remove(&mut self, target: impl Target) -> Result<(), SessionError> {
        let node = find(&self.draft, &target)?;
        Ok(self.draft.remove(node)?)
    }

    /// Moves a node to a new path: to another parent, to another name, or both.
    ///
    /// # Errors
    /// If the node or the new parent is missing, the name is taken there, or the new parent is
    /// the node itself or below it.
    pub fn move_to(&mut self, target: impl Target, path: &str) -> Result<(), SessionError> {
        let node = find(&self.draft, &target)?;
        let (parent, name) = self.place(path)?;
        Ok(self.draft.move_to(node, parent, Some(&name))?)
    }

    /// Takes a node out of the trash, with everything below it, to the place it had or to a path,
    /// and gives its id. A path as the target means what was removed there; of several, the one
    /// that was removed last.
    ///
    /// # Errors
    /// If it is not in the trash, the place it had is in the trash too, or the name is taken there.
    pub fn restore(
        &mut self,
        target: impl Target,
        to: Option<&str>,
    ) -> Result<NodeId, SessionError> {
        let node = match target.find_trashed_in(&self.draft)? {
            Some(node) => node,
            None => match target.find_in(&self.draft)? {
                Some(node) => node, // to be refused, by its path
                None => return Err(SessionError::NotInTrash(target.describe())),
            },
        };
        match to {
            None => self.draft.restore(node, None, None)?,
            Some(path) => {
                let (parent, name) = self.place(path)?;
                self.draft.restore(node, Some(parent), Some(&name))?;
            }
        }
        Ok(node)
    }

    /// Sets a property.
    ///
    /// # Errors
    /// If there is no such node, or the name or value is refused.
    pub fn set(
        &mut self,
        target: impl Target,
        name: &str,
        value: impl Into<Value>,
    ) -> Result<(), SessionError> {
        let node = find(&self.draft, &target)?;
        let name = PropertyName::new(name)?;
        Ok(self.draft.set_found(node, &name, value.into())?)
    }

    /// Takes a property's value away.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn unset(&mut self, target: impl Target, name: &str) -> Result<(), SessionError> {
        let node = find(&self.draft, &target)?;
        Ok(self.draft.unset(node, &PropertyName::new(name)?)?)
    }

    /// Adds to a property; what others add at the same time adds up.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn inc(&mut self, target: impl Target, name: &str, delta: i64) -> Result<(), SessionError> {
        let node = find(&self.draft, &target)?;
        Ok(self.draft.inc(node, &PropertyName::new(name)?, delta)?)
    }

    /// Puts a node in its place among its siblings.
    ///
    /// # Errors
    /// If there is no such node or sibling, or no place is left between two of one name.
    pub fn order(&mut self, target: impl Target, place: Place) -> Result<(), SessionError> {
        let node = find(&self.draft, &target)?;
        Ok(self.draft.order(node, &place)?)
    }

    /// The open conflicts of the session's state, in order (M14).
    ///
    /// # Errors
    /// If they can not be read.
    pub fn conflicts(&self) -> Result<Vec<Conflict>, SessionError> {
        Ok(self.snapshot().conflicts()?.into_iter().collect())
    }

    /// Takes a conflict off the list of open ones, on every replica. Changes nothing else.
    ///
    /// # Errors
    /// If there is no such open conflict.
    pub fn dismiss(&mut self, conflict: ConflictId) -> Result<(), DraftError> {
        self.draft.dismiss(conflict)
    }

    /// Does an operation as people write it.
    ///
    /// # Errors
    /// Why it can not be done in the session's view.
    pub fn apply(&mut self, operation: &PathOperation) -> Result<(), DraftError> {
        self.draft.apply(operation)
    }

    /// Says what the save is about; the text travels with the change set.
    ///
    /// # Errors
    /// If it is longer than [`MESSAGE_BYTES_MAX`](crate::model::limits::MESSAGE_BYTES_MAX).
    pub fn set_message(&mut self, message: &str) -> Result<(), DraftError> {
        self.draft.set_message(message)
    }

    /// Whether to save even over what was changed since the session was opened. Without, such a
    /// save is refused with [`SaveError::Changed`].
    pub fn overwrite(&mut self, yes: bool) {
        self.draft.overwrite(yes);
    }

    /// Whether the save has no effect at all where any of its operations would have none (M13):
    /// a move that another replica's save makes impossible, an edit of what one has removed, a name
    /// that one has taken. Without, the operations stand each by itself.
    pub fn all_or_nothing(&mut self, yes: bool) {
        self.draft.all_or_nothing(yes);
    }

    /// Operations gathered so far.
    pub fn operations(&self) -> usize {
        self.draft.operations()
    }

    /// The operations gathered so far, and their view.
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// As [`Session::draft`], to add operations by id.
    pub fn draft_mut(&mut self) -> &mut Draft {
        &mut self.draft
    }

    /// Saves the operations as one change set, whole or not at all.
    ///
    /// Unless the peer is [relaxed](crate::Durability::Relaxed), it is durable when this returns.
    /// Once this has been polled the save goes its way, even if the future is dropped.
    ///
    /// # Errors
    /// Why it was not saved. Nothing has changed then, except after [`SaveError::Uncertain`].
    pub async fn save(self) -> Result<Receipt, SaveError> {
        let (reply, answer) = oneshot::channel();
        self.core.submit(Input::Save {
            draft: Box::new(self.draft),
            reply,
        });
        answer.await.unwrap_or(Err(SaveError::Closed))
    }

    /// A path taken apart for something that is to come there: the parent and the plain name.
    fn place(&self, path: &str) -> Result<(NodeId, NodeName), SessionError> {
        let path: NodePath = path.parse()?;
        match path.split_last() {
            None => Err(SessionError::IsRoot),
            Some((_, PathStep::Exact(name, digits))) => {
                Err(SessionError::Reserved(format!("{name}~{digits}")))
            }
            Some((parent, PathStep::Plain(name))) => {
                Ok((find(&self.draft, &parent)?, name.clone()))
            }
        }
    }
}

/// The session's view: its snapshot and its own operations.
impl ReadTree for Session {
    fn view(&self) -> &dyn View {
        self.draft.view()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} operations)", self.draft.operations())
    }
}
