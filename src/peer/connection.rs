//! One connection to another replica: its queue of what is to be sent, and its two tasks.
//!
//! Nothing is dropped. What waits to be sent is bounded in two steps: above the first bound the
//! connection is not read any more, so that the other side gets no further answers until it has
//! taken what it asked for; above the second one the connection is closed, and what was not sent
//! is found again by anti-entropy when the two meet next.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore};

use super::core::{Core, Input};
use crate::codec::frame::PREFIX_BYTES;
use crate::codec::message::{self, Message, SealedBytes};
use crate::model::{PublicKey, Time};
use crate::net::{CloseCode, Datagrams, FrameReceiver, FrameSender, LinkHandle};
use crate::replica::ConnectionId;

/// Bytes and messages that wait to be sent, above which the connection is not read.
const PAUSE_BYTES: usize = 8 << 20;
const PAUSE_MESSAGES: usize = 1_024;
/// Bytes and messages that wait to be sent, above which the connection is closed.
const QUEUE_BYTES_MAX: usize = 64 << 20;
const QUEUE_MESSAGES_MAX: usize = 65_536;
/// Bytes of frames that are handed to the network at once, if so many wait.
const WRITE_BYTES_ENOUGH: usize = 32 << 10;
/// What one connection may have in the inbox, in KiB.
const INBOX_KIB: u32 = 8 << 10;

/// Which program is at the other end: its key, and what it drew when it opened its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    pub(super) key: PublicKey,
    pub(super) instance: [u8; 16],
}

/// See the top of the file.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) key: PublicKey,
    /// The other end.
    pub(super) end: End,
    /// Which of the two dialled.
    pub(super) dialled_by: End,
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) since: Time,
    outgoing: Mutex<Outgoing>,
    filled: Notify,
    drained: Notify,
    link: LinkHandle,
    sent: Frames,
    received: Frames,
}

/// Frames that went one way.
#[derive(Default)]
struct Frames {
    count: AtomicU64,
    bytes: AtomicU64,
}

impl Frames {
    fn add(&self, bytes: usize) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let bytes = (bytes + PREFIX_BYTES) as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What has gone over a connection since it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Messages sent.
    pub sent: u64,
    /// Bytes of their frames.
    pub sent_bytes: u64,
    /// Messages received.
    pub received: u64,
    /// Bytes of their frames.
    pub received_bytes: u64,
    /// The UDP datagrams that carried them, with all that QUIC adds.
    pub datagrams: Datagrams,
}

#[derive(Default)]
struct Outgoing {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl Connection {
    pub(super) fn new(
        id: ConnectionId,
        end: End,
        dialled_by: End,
        name: String,
        since: Time,
        link: LinkHandle,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            key: end.key,
            end,
            dialled_by,
            name,
            address: link.remote_addr(),
            since,
            outgoing: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
            link,
            sent: Frames::default(),
            received: Frames::default(),
        })
    }

    /// What has gone over it.
    pub(super) fn traffic(&self) -> Traffic {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Traffic {
            sent: read(&self.sent.count),
            sent_bytes: read(&self.sent.bytes),
            received: read(&self.received.count),
            received_bytes: read(&self.received.bytes),
            datagrams: self.link.datagrams(),
        }
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message in line. Never waits.
    pub(super) fn send(&self, message: Message) {
        let mut outgoing = self.outgoing();
        outgoing.bytes += weight(&message);
        outgoing.messages.push_back(message);
        let over = outgoing.bytes > QUEUE_BYTES_MAX || outgoing.messages.len() > QUEUE_MESSAGES_MAX;
        drop(outgoing);
        self.filled.notify_one();
        if over {
            self.close(CloseCode::TooSlow, "it does not take what is sent to it");
        }
    }

    /// Closes the connection at once.
    pub(super) fn close(&self, code: CloseCode, reason: &str) {
        tracing::debug!(peer = %self.key, %code, reason, "closing a connection");
        let reason: String = reason.chars().take(200).collect();
        self.link.close(code, &reason);
    }

    /// Whether everything has been handed to the network.
    pub(super) fn is_drained(&self) -> bool {
        self.outgoing().messages.is_empty()
    }

    fn pop(&self) -> Option<Message> {
        let mut outgoing = self.outgoing();
        let message = outgoing.messages.pop_front()?;
        outgoing.bytes -= weight(&message);
        if outgoing.bytes <= PAUSE_BYTES / 2 && outgoing.messages.len() <= PAUSE_MESSAGES / 2 {
            self.drained.notify_one();
        }
        Some(message)
    }

    async fn next(&self) -> Message {
        loop {
            let filled = self.filled.notified();
            if let Some(message) = self.pop() {
                return message;
            }
            filled.await;
        }
    }

    fn is_full(&self) -> bool {
        let outgoing = self.outgoing();
        outgoing.bytes > PAUSE_BYTES || outgoing.messages.len() > PAUSE_MESSAGES
    }

    /// Waits as long as so much waits to be sent that the connection is not to be read.
    async fn wait_for_room(&self) {
        loop {
            let drained = self.drained.notified();
            if !self.is_full() {
                return;
            }
            drained.await;
        }
    }

    /// Runs the connection until it ends, and says why it did.
    pub(super) async fn run(
        self: &Arc<Self>,
        core: &Arc<Core>,
        sender: FrameSender,
        receiver: FrameReceiver,
    ) -> String {
        core.submit(Input::Connected(self.clone()));
        let end = tokio::select! {
            end = self.write(sender) => end,
            end = self.read(core, receiver) => end,
            end = self.link.closed() => end.to_string(),
        };
        core.submit(Input::Disconnected(self.id));
        end
    }

    async fn write(&self, mut sender: FrameSender) -> String {
        loop {
            let mut next = Some(self.next().await);
            // What waits by now goes along.
            while let Some(message) = next {
                let frame = message::encode(&message);
                let waiting = match sender.put(&frame) {
                    Ok(bytes) => bytes,
                    Err(error) => return error.to_string(),
                };
                self.sent.add(frame.len());
                next = (waiting < WRITE_BYTES_ENOUGH).then(|| self.pop()).flatten();
            }
            if let Err(error) = sender.flush().await {
                return error.to_string();
            }
        }
    }

    async fn read(&self, core: &Core, mut receiver: FrameReceiver) -> String {
        let inbox = Arc::new(Semaphore::new(INBOX_KIB as usize));
        loop {
            self.wait_for_room().await;
            let frame = match receiver.recv().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return "closed by the peer".into(),
                Err(error) => return error.to_string(),
            };
            self.received.add(frame.len());
            let kib = u32::try_from(frame.len() >> 10).unwrap_or(INBOX_KIB) + 1;
            let room = inbox
                .clone()
                .acquire_many_owned(kib.min(INBOX_KIB))
                .await
                .expect("the semaphore of an inbox is never closed");
            match message::decode(&frame) {
                Ok(message) => core.submit_message(Input::Received {
                    from: self.id,
                    message,
                    _room: room,
                }),
                Err(error) => {
                    let reason = error.to_string();
                    self.close(CloseCode::BadMessage, &reason);
                    return reason;
                }
            }
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} to {})", self.id.0, self.key)
    }
}

/// About how many bytes a message takes, in memory and encoded.
fn weight(message: &Message) -> usize {
    let records = |records: &[SealedBytes]| -> usize {
        records.iter().map(|record| record.body.len() + 100).sum()
    };
    64 + match message {
        Message::Range { records: list, .. } => records(list),
        Message::Fork { held, refused, .. } => records(held) + records(refused),
        Message::Heads { heads, .. }
        | Message::Have { heads, .. }
        | Message::Ends { ends: heads, .. } => heads.len() * 27,
        Message::Closing { statement, .. } => statement.len(),
        _ => 0,
    }
}
