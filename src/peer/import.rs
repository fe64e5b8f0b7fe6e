//! Importing a tree from JSON: many saves, each whole, and resumable.
//!
//! What is there already is kept, and its properties are written only where they differ; so an
//! import that was interrupted goes on where it stopped when it is repeated. The file is read as a
//! stream, and may be of any size.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use super::core::Core;
use super::error::{ImportError, SessionError};
use super::session::{Session, Target, find};
use crate::merge::{Draft, ReadTree};
use crate::model::json::tree::{TreeItem, TreeReader};
use crate::model::limits::PROPERTIES_MAX;
use crate::model::{
    ChangeSetId, NodeId, NodeName, NodePath, PathStep, PropertyName, RepoId, Value,
};

/// Nodes of the file after which a save is made.
const NODES_PER_SAVE: usize = 1_000;
/// Operations after which a save is made, before the next node.
const OPERATIONS_PER_SAVE: usize = 8_192;
/// Encoded size, in bytes, after which a save is made before the next node.
const BYTES_PER_SAVE: usize = 512 << 10;
/// Properties that a new node gets without its draft's counting those that it has.
const UNCHECKED_MAX: usize = PROPERTIES_MAX / 2;
/// Encoded size, in bytes, over which a node's properties are spread over two saves.
const BYTES_MAX: usize = 768 << 10;

/// What an import did, or has done so far.
#[derive(Clone, Debug, Default)]
pub struct ImportReport {
    /// The change sets that were saved.
    pub ids: Vec<ChangeSetId>,
    /// Nodes that were added.
    pub nodes_added: u64,
    /// Nodes that were there already, the top one included.
    pub nodes_found: u64,
    /// Properties that were set.
    pub properties_set: u64,
    /// Properties that had their value already.
    pub properties_same: u64,
    /// The first node that was added: where an interrupted import was resumed, if this was one.
    pub resumed_at: Option<NodePath>,
}

/// An import that ended before its end.
#[derive(Debug, thiserror::Error)]
#[error("{error}; {} saves were made before it and stay, the rest was not", report.ids.len())]
pub struct ImportFailure {
    /// What had been saved before.
    pub report: ImportReport,
    /// Why it ended.
    #[source]
    pub error: ImportError,
}

struct Open {
    node: NodeId,
    path: NodePath,
    /// If the save under way adds it, so that nothing is below it that did not come from the file.
    new: Option<New>,
}

/// What a node has so far that the save under way adds.
#[derive(Default)]
struct New {
    children: BTreeSet<NodeName>,
    properties: usize,
    /// How far it is from the root, once that matters.
    depth: Option<usize>,
}

/// An import under way.
pub(super) struct Import<'a> {
    core: &'a Arc<Core>,
    repo: RepoId,
    message: Option<&'a str>,
    session: Session,
    open: Vec<Open>,
    /// Nodes since the last save.
    nodes: usize,
    /// What is saved.
    saved: ImportReport,
    /// The same and what the next save will add to it.
    counted: ImportReport,
}

impl<'a> Import<'a> {
    /// Imports `input` below `target`; `progress` is told after each save.
    ///
    /// # Errors
    /// Why it ended early, and what had been saved. Of the save that was being put together
    /// nothing is applied.
    pub(super) async fn run(
        core: &'a Arc<Core>,
        repo: RepoId,
        target: &impl Target,
        input: impl Read + Send,
        message: Option<&'a str>,
        progress: &mut (dyn FnMut(&ImportReport) + Send),
    ) -> Result<ImportReport, ImportFailure> {
        let mut import = Self {
            core,
            repo,
            message,
            session: begin(core, repo),
            open: Vec::new(),
            nodes: 0,
            saved: ImportReport::default(),
            counted: ImportReport::default(),
        };
        match import.work(target, input, progress).await {
            Ok(()) => Ok(import.saved),
            Err(error) => Err(ImportFailure {
                report: import.saved,
                error,
            }),
        }
    }

    async fn work(
        &mut self,
        target: &impl Target,
        input: impl Read + Send,
        progress: &mut (dyn FnMut(&ImportReport) + Send),
    ) -> Result<(), ImportError> {
        self.open_target(target).map_err(ImportError::Target)?;
        let mut reader = TreeReader::new(input);
        while let Some(item) = reader.next_item()? {
            match item {
                TreeItem::Enter(name) => {
                    if self.is_full() {
                        self.save(progress).await?;
                    }
                    let path = self.top().path.join(PathStep::Plain(name.clone()));
                    self.enter(&name, &path)
                        .map_err(|source| ImportError::Refused { path, source })?;
                }
                TreeItem::Property(name, value) => {
                    let size = self.session.draft().encoded_estimate();
                    if size + value.weight() > BYTES_MAX {
                        self.save(progress).await?;
                    }
                    self.property(&name, &value)
                        .map_err(|source| ImportError::Refused {
                            path: self.top().path.clone(),
                            source,
                        })?;
                }
                TreeItem::Leave => {
                    self.open.pop();
                }
            }
        }
        if self.session.operations() > 0 {
            self.save(progress).await?;
        }
        self.saved = std::mem::take(&mut self.counted);
        Ok(())
    }

    fn top(&self) -> &Open {
        self.open
            .last()
            .expect("a node is open until the tree ends")
    }

    fn is_full(&self) -> bool {
        let draft: &Draft = self.session.draft();
        self.nodes >= NODES_PER_SAVE && draft.operations() > 0
            || draft.operations() >= OPERATIONS_PER_SAVE
            || draft.encoded_estimate() >= BYTES_PER_SAVE
    }

    fn open_target(&mut self, target: &impl Target) -> Result<(), SessionError> {
        let node = find(&self.session, target)?;
        let path = self
            .session
            .path_of(node)?
            .ok_or_else(|| SessionError::NotFound(target.describe()))?;
        self.counted.nodes_found += 1;
        self.open.push(Open {
            node,
            path,
            new: None,
        });
        Ok(())
    }

    fn enter(&mut self, name: &NodeName, path: &NodePath) -> Result<(), SessionError> {
        let top = self
            .open
            .last_mut()
            .expect("a node is open until the tree ends");
        let parent = top.node;
        // Names that are written in two ways can come twice: that is for the draft to refuse.
        let (is_first, depth) = match &mut top.new {
            Some(new) => {
                let depth = match new.depth {
                    Some(depth) => depth,
                    // What is above may have been moved since the import began.
                    None => {
                        let real = self.session.path_of(parent)?;
                        real.map_or(path.steps().len() - 1, |real| real.steps().len())
                    }
                };
                new.depth = Some(depth);
                (Some(new.children.insert(name.clone())), depth + 1)
            }
            None => (None, path.steps().len()),
        };
        let found = match is_first {
            Some(_) => None,
            None => self.session.resolve(path)?,
        };
        let draft = self.session.draft_mut();
        let node = match found {
            Some(node) => {
                self.counted.nodes_found += 1;
                node
            }
            None => {
                let node = match is_first {
                    Some(true) => draft.add_in_new(parent, name, depth)?,
                    _ => draft.add(parent, name)?,
                };
                self.counted.nodes_added += 1;
                self.counted.resumed_at.get_or_insert_with(|| path.clone());
                node
            }
        };
        self.nodes += 1;
        self.open.push(Open {
            node,
            path: path.clone(),
            new: found.is_none().then(|| New {
                // It was added without a look at where it is, so that is known.
                depth: (is_first == Some(true)).then_some(depth),
                ..New::default()
            }),
        });
        Ok(())
    }

    fn property(&mut self, name: &PropertyName, value: &Value) -> Result<(), SessionError> {
        let top = self
            .open
            .last_mut()
            .expect("a node is open until the tree ends");
        let node = top.node;
        let draft = self.session.draft_mut();
        match &mut top.new {
            Some(new) if new.properties < UNCHECKED_MAX => {
                new.properties += 1;
                draft.set_in_new(node, name, value.clone())?;
            }
            Some(_) => draft.set(node, name, value.clone())?,
            None if draft.property(node, name)?.as_ref() == Some(value) => {
                self.counted.properties_same += 1;
                return Ok(());
            }
            None => draft.set(node, name, value.clone())?,
        }
        self.counted.properties_set += 1;
        Ok(())
    }

    async fn save(
        &mut self,
        progress: &mut (dyn FnMut(&ImportReport) + Send),
    ) -> Result<(), ImportError> {
        let fresh = begin(self.core, self.repo);
        let mut session = std::mem::replace(&mut self.session, fresh);
        if let Some(message) = self.message {
            session
                .set_message(message)
                .map_err(|error| ImportError::Target(error.into()))?;
        }
        let receipt = session.save().await?;
        // Only now: the next save stands on the state that has this one.
        self.session = begin(self.core, self.repo);
        // And others may have added to what this one has made.
        self.open.iter_mut().for_each(|open| open.new = None);
        self.counted.ids.push(receipt.id);
        self.saved = self.counted.clone();
        self.nodes = 0;
        progress(&self.saved);
        Ok(())
    }
}

fn begin(core: &Arc<Core>, repo: RepoId) -> Session {
    let mut session = Session::open(core, repo);
    // The file is what is wanted, whoever changes the same things meanwhile.
    session.overwrite(true);
    session
}
