//! What can go wrong at each of the peer's doors.

use std::path::PathBuf;

use super::directory::DirectoryError;
use crate::codec::DecodeError;
use crate::codec::handshake::Refused;
use crate::merge::{ChangedItem, DraftError, ReadError};
use crate::model::json::JsonError;
use crate::model::name::NameError;
use crate::model::path::PathError;
use crate::model::{ClusterId, NodePath};
use crate::net;
use crate::replica;
use crate::storage::StorageError;

/// Why a peer could not be opened. What it had begun is undone, or is finished by the next try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The data directory can not be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The store in it can not be opened.
    #[error("the store {}: {source}", path.display())]
    Store {
        /// Where the store is.
        path: PathBuf,
        /// Why not.
        source: StorageError,
    },
    /// What is in the store makes no replica.
    #[error(transparent)]
    Replica(#[from] replica::OpenError),
    /// The address to listen at can not be used.
    #[error(transparent)]
    Bind(#[from] net::BindError),
    /// The name or one of the addresses is refused.
    #[error("{0}")]
    Option(String),
    /// A token was given, and the directory belongs to another cluster.
    #[error(
        "the data directory belongs to the cluster {found}, and the token is for {wanted}; join with a new directory"
    )]
    OtherCluster {
        /// What it belongs to.
        found: ClusterId,
        /// What the token is for.
        wanted: ClusterId,
    },
    /// No token was given, and the directory was about to join a cluster.
    #[error(
        "joining the cluster {0} was begun and not finished; open the directory with a token of that cluster"
    )]
    JoinUnfinished(ClusterId),
    /// The cluster could not be joined.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
    /// The peer has ended meanwhile.
    #[error("the peer has ended")]
    Ended,
}

/// Why a cluster could not be joined. The directory belongs to none, as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The member did not accept it: a wrong or expired token, another cluster, an unknown
    /// protocol version.
    #[error("{address} does not let us in: {refused}")]
    Refused {
        /// Who was dialled.
        address: String,
        /// What it said.
        refused: Refused,
    },
    /// Whoever answered belongs to another cluster than the token.
    #[error("{address} belongs to the cluster {found}, and the token is for {wanted}")]
    OtherCluster {
        /// Who was dialled.
        address: String,
        /// Its cluster.
        found: ClusterId,
        /// The token's.
        wanted: ClusterId,
    },
    /// Whoever answered names a founder that the cluster's id was not made from.
    #[error("{address} does not know who founded the cluster {cluster}: it is not to be trusted")]
    NotTheFounder {
        /// Who was dialled.
        address: String,
        /// The cluster.
        cluster: ClusterId,
    },
    /// None of the token's addresses could be reached.
    #[error("no member of the token can be reached ({last})")]
    Unreachable {
        /// The last address and what happened there.
        last: String,
    },
}

/// Why something was not saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// Something that the save writes was changed since the session was opened. Nothing is saved.
    #[error("changed since the session was opened: {}", list(items))]
    Changed {
        /// What was changed.
        items: Vec<ChangedItem>,
    },
    /// Refused for another reason. Nothing is saved.
    #[error(transparent)]
    Refused(replica::SaveError),
    /// The store failed while the save was under way: it may come back, or not.
    #[error("the store failed meanwhile, and the save may be lost: {0}")]
    Uncertain(String),
    /// The peer has been closed. Nothing is saved.
    #[error("the peer is closed")]
    Closed,
}

fn list(items: &[ChangedItem]) -> String {
    const SHOWN_MAX: usize = 5;
    let mut text = items
        .iter()
        .take(SHOWN_MAX)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    if items.len() > SHOWN_MAX {
        text.push_str(&format!(" and {} more", items.len() - SHOWN_MAX));
    }
    text
}

impl From<replica::SaveError> for SaveError {
    fn from(error: replica::SaveError) -> Self {
        match error {
            replica::SaveError::Changed { items } => Self::Changed { items },
            other => Self::Refused(other),
        }
    }
}

/// Why a session's read or edit was refused. An edit has changed nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// A malformed path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A malformed name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No node is there.
    #[error("there is no node {0}")]
    NotFound(String),
    /// Nothing in the trash was there.
    #[error("nothing in the trash was {0}")]
    NotInTrash(String),
    /// The root is always there.
    #[error("the root can not be added or moved")]
    IsRoot,
    /// The form that tells clashing names apart, where a new name is wanted.
    #[error("`{0}` leads to a node whose name clashes; a new name can not have that form")]
    Reserved(String),
    /// The operation is refused.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// The state could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a tree was not written out to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The state could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What takes the text failed.
    #[error(transparent)]
    Sink(#[from] std::io::Error),
}

/// Why an import ended before its end. What it had saved before stays; repeating it goes on there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file is no tree.
    #[error(transparent)]
    File(#[from] JsonError),
    /// A node or property of the file is refused.
    #[error("at `{path}`: {source}")]
    Refused {
        /// The node.
        path: NodePath,
        /// Why.
        source: SessionError,
    },
    /// The node to import into is not there.
    #[error(transparent)]
    Target(SessionError),
    /// A save was refused.
    #[error(transparent)]
    Save(#[from] SaveError),
}

/// Why history could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The store could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A journal record is damaged or missing.
    #[error("the journal is damaged at {place}: {reason}")]
    Damaged {
        /// Repository, origin and sequence number.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The state could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No node is at the path.
    #[error("there is no node {0}")]
    NotFound(NodePath),
}

impl LogError {
    pub(super) fn damaged(place: String, reason: &DecodeError) -> Self {
        Self::Damaged {
            place,
            reason: reason.to_string(),
        }
    }
}

/// Why waiting was given up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// Not everything was applied by then.
    #[error("not everything was applied after {0:?}")]
    Timeout(std::time::Duration),
    /// The peer has ended.
    #[error("the peer has ended")]
    Ended,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateTokenError {
    /// Nobody could dial this peer.
    #[error("this peer does not listen, so nobody can join through it; open it with an address")]
    NotListening,
    /// The token was refused.
    #[error(transparent)]
    Token(#[from] net::TokenError),
    /// It could not be saved.
    #[error(transparent)]
    Save(#[from] SaveError),
}

/// Why a peer was not closed in good order. It is closed nevertheless.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The store had failed; what was not durable is lost here, unless others have it.
    #[error("the store had failed: {0}")]
    Storage(String),
    /// It was closed already, or has ended for another reason.
    #[error("the peer had ended before")]
    Ended,
    /// It took too long; the threads go on.
    #[error("closing takes longer than {0:?}")]
    Timeout(std::time::Duration),
}
