//! The replica and what its outputs go to: waiting savers, connections, observers, the disk.
//!
//! Only `core` holds it, behind its lock; nothing here waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::connection::Connection;
use super::core::{Core, Input};
use super::disk::RELAXED_GATHERING;
use super::error::SaveError;
use crate::model::{OriginId, Time};
use crate::net::CloseCode;
use crate::replica::{Alarm, ConnectionId, Output, Receipt, Replica, Ticket};
use crate::storage::StorageError;

/// Alarms that are kept for `status`; older ones are only in the log.
const ALARMS_MAX: usize = 32;

/// A commit with so many change sets of this replica's own, for which nobody waited, is followed by one
/// that gathers for a moment, up to so many.
const GATHERED_MIN: usize = 8;
const GATHERED_MAX: usize = 512;

type SaveReply = oneshot::Sender<Result<Receipt, SaveError>>;

/// See the top of the file.
pub(super) struct Engine {
    pub(super) replica: Replica,
    /// Who waits for which save.
    tickets: BTreeMap<Ticket, SaveReply>,
    pub(super) connections: BTreeMap<ConnectionId, Arc<Connection>>,
    pub(super) alarms: VecDeque<Alarm>,
    /// Why nothing is saved at present.
    pub(super) failure: Option<String>,
    closing: bool,
    /// The origin that others know of.
    origin: OriginId,
    /// While a commit is held back so that more can be in it.
    gathering: Option<Gathering>,
}

/// What a commit is held back for.
#[derive(Clone, Copy)]
enum Gathering {
    /// Until so many wait for it: those who were just answered are to be in it.
    Savers(usize),
    /// Until it has [`GATHERED_MAX`] change sets, or somebody waits for it.
    ChangeSets,
}

impl Engine {
    pub(super) fn new(replica: Replica) -> Self {
        Self {
            origin: replica.origin(),
            replica,
            tickets: BTreeMap::new(),
            connections: BTreeMap::new(),
            alarms: VecDeque::new(),
            failure: None,
            closing: false,
            gathering: None,
        }
    }

    pub(super) fn next_timeout(&self) -> Time {
        self.replica.next_timeout()
    }

    /// Whether [`Engine::timeout`] is to be called.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.replica.is_due(now)
    }

    /// Whether it was told to close, and nothing is under way any more.
    pub(super) fn is_ended(&self) -> bool {
        self.closing && self.replica.is_closed()
    }

    /// The replica's origin, if it has another one since this was asked last.
    pub(super) fn new_origin(&mut self) -> Option<OriginId> {
        let origin = self.replica.origin();
        (std::mem::replace(&mut self.origin, origin) != origin).then_some(origin)
    }

    pub(super) fn timeout(&mut self, now: Time) {
        self.replica.handle_timeout(now);
    }

    /// Hands an input to the replica. What comes of it is left to [`Engine::pump`], so that what
    /// several inputs bring is merged and committed together.
    pub(super) fn take(&mut self, core: &Core, input: Input, now: Time) {
        match input {
            Input::Save { draft, reply } => self.save(&draft, reply, now),
            Input::Received { from, message, .. } => {
                // What a connection said before it was closed is not heard any more.
                if self.connections.contains_key(&from) {
                    self.replica.receive(now, from, message);
                }
            }
            Input::Connected(connection) => {
                self.replica.connected(now, connection.id, connection.key);
                self.connections.insert(connection.id, connection);
            }
            Input::Disconnected(connection) => {
                if self.connections.remove(&connection).is_some() {
                    self.replica.disconnected(now, connection);
                }
            }
            Input::Committed(token) => {
                // Who is answered already does not wait.
                self.pump_pending(core);
                self.gather(core);
                self.replica.committed(now, token);
            }
            Input::Gathered => self.gathering = None,
            Input::Checkpointed(token) => self.replica.checkpointed(now, token),
            Input::StorageFailed(error) => {
                self.failure = Some(error.to_string());
                self.replica.storage_failed(now, error);
                self.pump(core);
                core.disk.clear();
            }
            Input::Run(work) => work(self),
            Input::Close => {
                self.closing = true;
                self.replica.close(now);
            }
        }
    }

    /// Once it is at its end: lets go of whoever still waits.
    pub(super) fn end(&mut self, core: &Core) {
        self.fail_tickets();
        core.observers.end();
    }

    fn save(&mut self, draft: &crate::merge::Draft, reply: SaveReply, now: Time) {
        // A reply that nobody waits for any more is dropped: the save itself stands.
        if self.closing {
            let _ = reply.send(Err(SaveError::Closed));
            return;
        }
        match self.replica.save(now, draft) {
            Ok(ticket) => {
                self.tickets.insert(ticket, reply);
            }
            Err(error) => {
                let _ = reply.send(Err(error.into()));
            }
        }
    }

    /// A commit is through: holds the next one back for a moment, where that is worth it.
    ///
    /// If several wait for this one, or will wait for the next, most of them are about to save again. If
    /// the next commit began at once it would find half of them, and the one after that the other half,
    /// for as long as they go on. If nobody waits and many save, each commit costs everybody a signature
    /// and a switch of threads.
    fn gather(&mut self, core: &Core) {
        let waiting = self.tickets.len();
        self.gathering = if self.closing {
            None
        } else if waiting > 1 {
            let wanted = Gathering::Savers(waiting - waiting / 8);
            core.disk.gather(None).then_some(wanted)
        } else if waiting == 0 && self.replica.own_committing() >= GATHERED_MIN {
            let time = Some(RELAXED_GATHERING);
            core.disk.gather(time).then_some(Gathering::ChangeSets)
        } else {
            None
        };
    }

    /// Whether a commit that is held back is to begin.
    fn has_gathered(&self, gathering: Gathering) -> bool {
        let enough = match gathering {
            Gathering::Savers(wanted) => self.tickets.len() >= wanted,
            Gathering::ChangeSets => {
                !self.tickets.is_empty() || self.replica.gathered() >= GATHERED_MAX
            }
        };
        enough || self.closing
    }

    /// Whether [`Engine::pump`] can take long: see [`Replica::has_long_work`].
    pub(super) fn has_long_work(&self) -> bool {
        let begins = self.gathering.is_none_or(|it| self.has_gathered(it));
        begins && self.replica.has_long_work()
    }

    /// Waits for a save that was made here.
    pub(super) fn wait_for(
        &mut self,
        ticket: Ticket,
    ) -> oneshot::Receiver<Result<Receipt, SaveError>> {
        let (reply, answer) = oneshot::channel();
        self.tickets.insert(ticket, reply);
        answer
    }

    /// Answers those whose saves were under way when the store failed.
    fn fail_tickets(&mut self) {
        let reason = self.failure.clone();
        for (_, reply) in std::mem::take(&mut self.tickets) {
            let _ = reply.send(Err(match &reason {
                Some(reason) => SaveError::Uncertain(reason.clone()),
                None => SaveError::Closed,
            }));
        }
    }

    /// Takes out what the replica wants done, and hands it on.
    pub(super) fn pump(&mut self, core: &Core) {
        while let Some(output) = self.next_output() {
            self.carry_out(core, output);
        }
    }

    /// The same of what has happened already: no commit begins.
    pub(super) fn pump_pending(&mut self, core: &Core) {
        while let Some(output) = self.replica.pending_output() {
            self.carry_out(core, output);
        }
    }

    fn next_output(&mut self) -> Option<Output> {
        if let Some(gathering) = self.gathering {
            let pending = self.replica.pending_output();
            if pending.is_some() || !self.has_gathered(gathering) {
                return pending;
            }
            self.gathering = None;
        }
        self.replica.poll_output()
    }

    fn carry_out(&mut self, core: &Core, output: Output) {
        match output {
            Output::Send { to, message } => {
                if let Some(connection) = self.connections.get(&to) {
                    connection.send(message);
                }
            }
            Output::Commit { token, records } => {
                core.disk.commit(token, records);
            }
            Output::Checkpoint { token, changes } => {
                core.disk.checkpoint(token, changes);
            }
            Output::Witness(mark) => core.disk.witness(mark),
            Output::Saved { ticket, receipt } => {
                if let Some(reply) = self.tickets.remove(&ticket) {
                    let _ = reply.send(Ok(receipt));
                }
            }
            Output::SaveFailed { ticket, error } => {
                if let Some(reply) = self.tickets.remove(&ticket) {
                    let _ = reply.send(Err(SaveError::Uncertain(error.to_string())));
                }
            }
            Output::Event(event) => core.observers.offer(&Arc::new(event)),
            Output::Close { connection, reason } => {
                if let Some(connection) = self.connections.get(&connection) {
                    connection.close(CloseCode::BadMessage, &reason);
                }
            }
            Output::MembersChanged => core.members.notify_one(),
            Output::Alarm(alarm) => self.alarm(core, alarm),
        }
    }

    fn alarm(&mut self, core: &Core, alarm: Alarm) {
        tracing::warn!(%alarm, "alarm");
        let failure = match &alarm {
            Alarm::Storage(error) => Some(error.clone()),
            Alarm::Remake { .. } | Alarm::Ahead { .. } => {
                Some(StorageError::ReadOnly(alarm.to_string()))
            }
            _ => None,
        };
        if let Some(error) = failure
            && self.failure.is_none()
        {
            // Found by the replica itself: the storage thread does not know of it yet.
            self.failure = Some(error.to_string());
            core.disk.fail(error);
        }
        if matches!(alarm, Alarm::OwnHeld { .. } | Alarm::AgainLacking { .. }) {
            return; // the status tells it for as long as it is so
        }
        if self.alarms.len() == ALARMS_MAX {
            self.alarms.pop_front();
        }
        self.alarms.push_back(alarm);
    }

    /// Goes on with a replica that was opened after the store under this one had failed.
    pub(super) fn replace(&mut self, core: &Core, replica: Replica, now: Time) {
        // The news of the failure may not have come as far as here.
        self.failure
            .get_or_insert_with(|| "the store failed, and has been opened again".to_owned());
        self.fail_tickets();
        self.gathering = None;
        self.replica = replica;
        self.failure = None;
        for connection in self.connections.values() {
            self.replica.connected(now, connection.id, connection.key);
        }
        if self.closing {
            self.replica.close(now);
        }
        // What observers saw last need not be there any more: they start from what is.
        core.observers
            .restart(|repo| self.replica.state(repo).snapshot());
        self.pump(core);
        core.members.notify_one();
    }
}
