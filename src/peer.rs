//! The peer: the driver that owns a replica, and what people embed.
//!
//! The replica below is a state machine without input or output. This floor gives it a directory
//! (`directory`), a store and a thread that writes to it (`disk`), a queue for all that happens
//! and a thread that works it off (`core`, `engine`), and connections (`network`, `dial`,
//! `connection`, `join`); and it gives people sessions, observers, history, import and export.
//! HTTP and the command line are left to the floors above.

mod admit;
mod backup;
mod change_sets;
mod clock;
mod conflicts;
mod connection;
mod core;
mod dial;
mod directory;
mod disk;
mod engine;
mod error;
mod handle;
mod import;
mod join;
mod log;
mod network;
mod observe;
mod open;
mod options;
mod repair;
mod session;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod verify;

pub use self::backup::{BackupError, BackupReport};
pub use self::change_sets::ChangeSets;
pub use self::connection::Traffic;
pub use self::directory::{DirectoryError, FORMAT_VERSION};
pub use self::error::{
    CloseError, CreateTokenError, ImportError, JoinError, LogError, OpenError, SaveError,
    SessionError, TreeError, WaitError,
};
pub use self::handle::Peer;
pub use self::import::{ImportFailure, ImportReport};
pub use self::log::{Log, LogEntry};
pub use self::observe::{EVENTS_MAX, Event, Observer};
pub use self::options::PeerOptions;
pub use self::repair::{ClockRepair, ClockRepairError, RepairedOrigin};
pub use self::session::{Session, Target};
pub use self::status::{PeerInfo, PeerStatus};
pub use self::tree::TreeFormat;
pub use self::verify::{VerifyError, VerifyReport, verify};
pub use crate::net::{JoinToken, TokenError};
pub use crate::replica::{
    ChangeSetInfo, ClosedOrigin, CommitEvent, Durability, Receipt, RepairAnyway, RepairError,
    RepoStatus,
};
