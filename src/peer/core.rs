//! The peer's one queue: every input of the replica goes through here, and so does what it puts
//! out.
//!
//! Flat combining (Hendler, Incze, Shavit and Tzafrir, 2010): whoever has an input puts it in the
//! inbox and tries the lock of the engine. Who gets it works off the inbox for everybody; who does
//! not goes away, since the holder looks again after letting go. So an uncontended save runs on
//! its caller's thread, without a switch, and contended ones are worked off in rows. A holder
//! hands over to the core thread after [`INPUTS_MAX`] inputs; that thread also runs the timers,
//! and everything that came over the network. What can take long, such as merging that, is left to it
//! as well, whoever comes first when it is time for it.
//!
//! Nothing here waits while it holds the lock: what the replica puts out goes to queues.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot, watch};

use super::clock;
use super::connection::Connection;
use super::disk::Disk;
use super::engine::Engine;
use super::error::{OpenError, SaveError};
use super::observe::Observers;
use super::store::Store;
use crate::merge::{Draft, State};
use crate::model::{OriginId, RepoId, Time};
use crate::replica::{
    CheckpointToken, CommitToken, ConnectionId, Message, Receipt, Replica, STEP_BACK_MS,
};
use crate::storage::StorageError;

/// Most inputs that a caller works off before it hands over to the core thread.
const INPUTS_MAX: usize = 64;
/// Most inputs that the storage thread works off before it goes back to the disk.
const NEWS_MAX: usize = 16;
/// How often a caller looks whether the engine is free before it leaves its input to the holder, if there
/// is another processor for the holder.
const LOOKS: usize = 32;
/// How long it waits between two looks, in turns of a spin loop: all looks take about as long as a save or
/// two, and not longer than leaving it to another thread.
const SPINS: usize = 12;
/// Most messages from the network in a row before local inputs get their turn.
const MESSAGES_MAX: usize = 16;
/// Longest sleep of the core thread, in milliseconds: a wall clock that was set back delays timers by no more.
const SLEEP_MAX_MS: u64 = 1_000;

/// What can happen to a replica.
pub(super) enum Input {
    /// Somebody saves.
    Save {
        draft: Box<Draft>,
        reply: oneshot::Sender<Result<Receipt, SaveError>>,
    },
    /// A message has come. The permit is the room it took in the connection's share of the inbox.
    Received {
        from: ConnectionId,
        message: Message,
        _room: OwnedSemaphorePermit,
    },
    /// A connection is up.
    Connected(Arc<Connection>),
    /// A connection is gone.
    Disconnected(ConnectionId),
    /// The storage thread has done a commit.
    Committed(CommitToken),
    /// The storage thread has waited long enough for what a commit was to gather.
    Gathered,
    /// The storage thread has done a checkpoint.
    Checkpointed(CheckpointToken),
    /// The storage thread could not write.
    StorageFailed(StorageError),
    /// Anything else that wants to see the engine.
    Run(Box<dyn FnOnce(&mut Engine) + Send>),
    /// Make everything durable, and end.
    Close,
}

#[derive(Default)]
struct Inbox {
    /// From the storage thread; first in line, since they let saves go.
    news: VecDeque<Input>,
    /// From this process. As long as callers wait for their answers, so bounded by them.
    local: VecDeque<Input>,
    /// From the network; bounded by the connections' shares.
    network: VecDeque<Input>,
    /// The core thread is asked to come.
    summoned: bool,
    /// When the replica wants its next timeout.
    timeout: Time,
    /// When the core thread will wake up by itself.
    wakes: Time,
    ended: bool,
}

/// See the top of the file.
pub(super) struct Core {
    inbox: Mutex<Inbox>,
    bell: Condvar,
    engine: Mutex<Engine>,
    /// The core thread waits for the lock: callers leave it to that one.
    handover: AtomicBool,
    /// How often a caller looks whether the engine is free.
    looks: usize,
    /// The way to the storage thread.
    pub(super) disk: Disk,
    /// The current states, by repository, and the store under them. Replaced when the store is
    /// opened anew.
    current: RwLock<Current>,
    /// Whoever observes something.
    pub(super) observers: Observers,
    /// Counts whatever may have moved the applied heads.
    pub(super) progress: watch::Sender<u64>,
    /// The list of members has changed, or the dialler should look for another reason.
    pub(super) members: Notify,
    reopen: Reopen,
}

struct Current {
    states: [Arc<State>; RepoId::ALL.len()],
    store: Arc<Store>,
    origin: OriginId,
}

/// Opens the store and a replica on it, again.
pub(super) type Reopen = Box<dyn Fn() -> Result<(Arc<Store>, Replica), OpenError> + Send + Sync>;

impl Core {
    pub(super) fn new(replica: Replica, store: Arc<Store>, reopen: Reopen) -> Arc<Self> {
        Arc::new(Self {
            inbox: Mutex::default(),
            bell: Condvar::new(),
            current: RwLock::new(Current {
                states: states(&replica),
                store,
                origin: replica.origin(),
            }),
            observers: Observers::new(),
            engine: Mutex::new(Engine::new(replica)),
            handover: AtomicBool::new(true),
            looks: match std::thread::available_parallelism() {
                Ok(processors) if processors.get() == 1 => 1,
                _ => LOOKS,
            },
            disk: Disk::default(),
            progress: watch::Sender::new(0),
            members: Notify::new(),
            reopen,
        })
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of a repository. Never waits for saves or merges.
    pub(super) fn state(&self, repo: RepoId) -> Arc<State> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.states[usize::from(repo.0)].clone()
    }

    /// The store, to read the journal from.
    pub(super) fn store(&self) -> Arc<Store> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.store.clone()
    }

    /// Hands in an input of this process, and works it off here if nobody else is at it.
    pub(super) fn submit(&self, input: Input) {
        self.inbox().local.push_back(input);
        self.combine(INPUTS_MAX);
    }

    /// Hands in what came over the network, for the core thread.
    pub(super) fn submit_message(&self, input: Input) {
        self.inbox().network.push_back(input);
        self.bell.notify_one();
    }

    /// Hands in news of the storage thread; all that waits behind them is left to others.
    pub(super) fn news(&self, input: Input) {
        self.inbox().news.push_back(input);
        self.combine(NEWS_MAX);
    }

    /// The origin under which this replica writes at present.
    pub(super) fn origin(&self) -> OriginId {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .origin
    }

    /// Looks at the engine as it is, also after it has ended, or broken.
    pub(super) fn inspect<T>(&self, look: impl FnOnce(&mut Engine) -> T) -> T {
        look(&mut self.engine.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs something on the engine and gives its result; nothing once the peer has ended.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.submit(Input::Run(Box::new(move |engine| {
            // Whoever asked may be gone; then nobody needs the answer.
            let _ = reply.send(work(engine));
        })));
        answer.await.ok()
    }

    /// Whether all has been made durable and the threads have been told to end.
    pub(super) fn is_ended(&self) -> bool {
        self.inbox().ended
    }

    fn combine(&self, inputs_max: usize) {
        loop {
            let Some(mut engine) = self.try_engine() else {
                return;
            };
            let worked = self.turn(&mut engine, inputs_max, 0);
            drop(engine);
            let inbox = self.inbox();
            if inbox.news.is_empty() && inbox.local.is_empty() {
                return;
            }
            drop(inbox);
            if worked == inputs_max {
                self.summon();
                return;
            }
        }
    }

    /// The engine, if it is free or becomes so in some microseconds. A save takes about as long,
    /// and leaving it to another thread takes longer.
    fn try_engine(&self) -> Option<MutexGuard<'_, Engine>> {
        for _ in 0..self.looks {
            if self.handover.load(Ordering::SeqCst) {
                return None;
            }
            match self.engine.try_lock() {
                Ok(engine) => return Some(engine),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Poisoned(broken)) => {
                    drop(broken); // it holds the lock
                    self.give_up();
                    return None;
                }
            }
            for _ in 0..SPINS {
                std::hint::spin_loop();
            }
        }
        None
    }

    /// An invariant was broken while the engine was held. It is not touched again: whoever waits
    /// for an answer learns that the peer has ended.
    pub(super) fn give_up(&self) {
        let mut inbox = self.inbox();
        if inbox.ended {
            return;
        }
        tracing::error!("the peer ends: an invariant was broken, see the panic before");
        inbox.ended = true;
        let dropped = (
            std::mem::take(&mut inbox.news),
            std::mem::take(&mut inbox.local),
            std::mem::take(&mut inbox.network),
        );
        drop(inbox);
        drop(dropped);
        // Those whose saves were under way wait in the engine; nothing else of it is touched.
        self.engine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .end(self);
        self.bell.notify_one();
        self.disk.stop();
    }

    fn summon(&self) {
        self.inbox().summoned = true;
        self.bell.notify_one();
    }

    /// Works off inputs: at most so many of this process, and so many messages. Gives how many of
    /// this process there were. Who takes no messages does nothing that can take long.
    fn turn(&self, engine: &mut Engine, inputs_max: usize, messages_max: usize) -> usize {
        let (mut inputs, mut messages) = (0, 0);
        loop {
            let mut inbox = self.inbox();
            let input = if inputs < inputs_max
                && let Some(input) = inbox.news.pop_front().or_else(|| inbox.local.pop_front())
            {
                inputs += 1;
                input
            } else if messages < messages_max
                && let Some(input) = inbox.network.pop_front()
            {
                messages += 1;
                input
            } else {
                break;
            };
            drop(inbox);
            engine.take(self, input, clock::now());
        }
        if messages_max == 0 && engine.has_long_work() {
            engine.pump_pending(self);
            self.summon();
        } else {
            engine.pump(self);
        }
        if let Some(origin) = engine.new_origin() {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            current.origin = origin;
        }
        let timeout = engine.next_timeout();
        let ended = engine.is_ended();
        if ended {
            engine.end(self);
        }
        let mut inbox = self.inbox();
        let earlier = timeout < inbox.wakes;
        inbox.timeout = timeout;
        if ended && !inbox.ended {
            inbox.ended = true;
            self.disk.stop();
        }
        drop(inbox);
        if earlier || ended {
            self.bell.notify_one();
        }
        if inputs + messages > 0 && self.progress.receiver_count() > 0 {
            self.progress.send_modify(|count| *count += 1);
        }
        inputs
    }

    /// What the core thread does, until the peer has ended.
    pub(super) fn run_thread(&self) {
        loop {
            // Taken up before the lock is tried, so that a crowd of callers can not keep it away.
            self.handover.store(true, Ordering::SeqCst);
            let mut engine = match self.engine.lock() {
                Ok(engine) => engine,
                Err(broken) => {
                    drop(broken); // it holds the lock
                    self.give_up();
                    return;
                }
            };
            self.handover.store(false, Ordering::SeqCst);
            let now = clock::now();
            if engine.is_due(now) {
                engine.timeout(now);
            }
            self.turn(&mut engine, INPUTS_MAX, MESSAGES_MAX);
            drop(engine);
            if !self.sleep(now) {
                return;
            }
        }
    }

    /// Waits for work, the next timeout, or until the clock is set back behind `last`; false when the
    /// peer has ended.
    fn sleep(&self, last: Time) -> bool {
        let mut inbox = self.inbox();
        loop {
            if inbox.ended {
                return false;
            }
            let waiting =
                inbox.news.len() + inbox.local.len() + inbox.network.len() > 0 || inbox.summoned;
            let now = clock::now();
            let set_back = now.plus_millis(STEP_BACK_MS) < last;
            if waiting || set_back || inbox.timeout <= now {
                inbox.summoned = false;
                return true;
            }
            inbox.wakes = inbox.timeout.min(now.plus_millis(SLEEP_MAX_MS));
            let left = inbox.wakes.unix_millis() - now.unix_millis();
            let time = Duration::from_millis(left + 1);
            inbox = self
                .bell
                .wait_timeout(inbox, time)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Opens the store again after a failure, and goes on with a new replica on it.
    ///
    /// Called by the storage thread, when the old store is closed.
    pub(super) fn reopen(&self) -> Result<Arc<Store>, OpenError> {
        let (store, replica) = (self.reopen)()?;
        let fresh = Current {
            states: states(&replica),
            store: store.clone(),
            origin: replica.origin(),
        };
        let Ok(mut engine) = self.engine.lock() else {
            return Err(OpenError::Ended);
        };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.disk.clear();
        // What the old store still had to say is none of the new replica's business.
        self.inbox().news.clear();
        engine.replace(self, replica, clock::now());
        drop(engine);
        self.summon();
        Ok(store)
    }
}

fn states(replica: &Replica) -> [Arc<State>; RepoId::ALL.len()] {
    RepoId::ALL.map(|repo| replica.state(repo).clone())
}

#[cfg(test)]
mod tests;
