//! A link: one connection with one stream of frames each way.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::time::{Instant, timeout, timeout_at};

use crate::codec::frame::{self, FrameAssembler, FrameError};
use crate::codec::handshake::HandshakeError;
use crate::model::PublicKey;

/// How long the other side has to confirm the last frames before a connection is closed.
const LINGER: Duration = Duration::from_secs(1);
/// Frames slower than this get no time beyond [`super::Limits::frame_timeout`].
const BYTES_PER_SECOND_MIN: f64 = (64 << 10) as f64;
/// Largest buffer that a sender keeps between two frames, in bytes.
const SEND_BUFFER_BYTES: usize = 64 << 10;

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why a connection was closed, as the one who closed it said.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum CloseCode {
            $($(#[$doc])* $name,)*
            /// A number that this version does not know.
            Other(u64),
        }

        impl CloseCode {
            pub(super) fn number(self) -> VarInt {
                match self {
                    $(Self::$name => VarInt::from_u32($number),)*
                    Self::Other(number) => VarInt::from_u64(number).unwrap_or(VarInt::MAX),
                }
            }

            fn of_number(number: VarInt) -> Self {
                match number.into_inner() {
                    $($number => Self::$name,)*
                    other => Self::Other(other),
                }
            }
        }

        impl fmt::Display for CloseCode {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.write_str($text),)*
                    Self::Other(number) => write!(f, "code {number}"),
                }
            }
        }
    };
}

close_codes! {
    /// The work is done.
    Done = 0, "done";
    /// The link was given up without a word, for instance since the program ends.
    Dropped = 1, "dropped";
    /// The peer ends.
    ShuttingDown = 2, "shutting down";
    /// The hello was not accepted.
    Refused = 3, "refused";
    /// A frame broke the bound, or was no frame.
    BadFrame = 4, "bad frame";
    /// A frame, or the handshake, was begun and not finished in time.
    TooSlow = 5, "too slow";
    /// Another connection between the two took its place.
    Duplicate = 6, "another connection took its place";
    /// A message could not be understood, or made no sense.
    BadMessage = 7, "bad message";
    /// The key is not one of a member any more.
    NotAMember = 8, "not a member of the cluster";
}

/// Why a frame could not be sent or received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A frame breaks the bound. If it was to be sent, nothing was sent and the link goes on; if it
    /// was received, the link is closed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame was begun and not finished in time. The link is closed.
    #[error("a frame was begun and not finished in time")]
    TooSlow,
    /// The peer ended its stream within a frame. The link is closed.
    #[error("the peer stopped within a frame")]
    Truncated,
    /// A welcome breaks its bounds. Nothing was sent, and the connection is closed.
    #[error("the welcome can not be sent: {0}")]
    BadWelcome(HandshakeError),
    /// An earlier send was given up halfway, so no frame can follow.
    #[error("an earlier frame was sent in part only")]
    SentInPart,
    /// The peer closed the link.
    #[error("closed by the peer: {code}{}{reason}", if reason.is_empty() { "" } else { ": " })]
    Closed {
        /// Why, for programs.
        code: CloseCode,
        /// Why, for people; may be empty.
        reason: String,
    },
    /// This side closed the link.
    #[error("closed here")]
    ClosedHere,
    /// The connection is gone, the peer with it or the network between.
    #[error("connection lost: {0}")]
    Lost(String),
}

impl From<ConnectionError> for LinkError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::Closed {
                code: CloseCode::of_number(close.error_code),
                reason: String::from_utf8_lossy(&close.reason)
                    .chars()
                    .map(|c| if c.is_control() { ' ' } else { c })
                    .collect(),
            },
            ConnectionError::LocallyClosed => Self::ClosedHere,
            other => Self::Lost(other.to_string()),
        }
    }
}

fn closed_with(code: VarInt) -> LinkError {
    LinkError::Closed {
        code: CloseCode::of_number(code),
        reason: String::new(),
    }
}

/// A connection to a peer that was welcomed.
///
/// Dropping it, or both its halves, closes the connection at once, with whatever was not sent yet.
#[derive(Debug)]
pub struct Link {
    sender: FrameSender,
    receiver: FrameReceiver,
    key: PublicKey,
}

impl Link {
    /// The bounds are those of the frames to come, in bytes.
    pub(super) fn new(wire: Wire, key: PublicKey, bound_out: u32, bound_in: u32) -> Self {
        let Wire {
            mut sender,
            mut receiver,
        } = wire;
        sender.bound = bound_out;
        receiver.assembler.set_bound(bound_in);
        Self {
            sender,
            receiver,
            key,
        }
    }

    /// The key of the peer, as it proved in the TLS handshake.
    pub fn peer_key(&self) -> PublicKey {
        self.key
    }

    /// Where the peer is at the moment.
    pub fn remote_addr(&self) -> SocketAddr {
        remote_addr(&self.sender.shared.0)
    }

    /// A handle to close the link by and to ask about it.
    pub fn handle(&self) -> LinkHandle {
        LinkHandle(self.sender.shared.0.clone())
    }

    /// The two directions, each for a task of its own.
    pub fn split(self) -> (FrameSender, FrameReceiver) {
        (self.sender, self.receiver)
    }
}

pub(super) fn remote_addr(connection: &Connection) -> SocketAddr {
    let address = connection.remote_address();
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Both directions of a connection before it is a link. The bounds are those of the handshake.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) sender: FrameSender,
    pub(super) receiver: FrameReceiver,
}

impl Wire {
    pub(super) fn new(
        connection: Connection,
        (send, recv): (SendStream, RecvStream),
        bound: u32,
        frame_timeout: Duration,
    ) -> Self {
        let shared = Arc::new(Shared(connection));
        Self {
            sender: FrameSender {
                stream: send,
                shared: Arc::clone(&shared),
                bound,
                buffer: Vec::new(),
                state: SendState::Whole,
            },
            receiver: FrameReceiver {
                stream: recv,
                shared,
                assembler: FrameAssembler::new(bound),
                deadline: None,
                frame_timeout,
            },
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.sender.shared.0
    }
}

/// The connection of both halves. It is closed when both are gone.
#[derive(Debug)]
struct Shared(Connection);

impl Shared {
    fn close(&self, code: CloseCode, reason: &str) {
        self.0.close(code.number(), reason.as_bytes());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Without effect if it was closed before.
        self.close(CloseCode::Dropped, "");
    }
}

/// Closes a link and tells about it, beside its halves. Does not keep it open.
#[derive(Clone, Debug)]
pub struct LinkHandle(Connection);

impl LinkHandle {
    /// Closes the link at once; frames that are under way are lost. Of the reason, keep to some
    /// hundred bytes.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.0.close(code.number(), reason.as_bytes());
    }

    /// Waits until the link is closed, and says why.
    pub async fn closed(&self) -> LinkError {
        self.0.closed().await.into()
    }

    /// Where the peer is at the moment.
    pub fn remote_addr(&self) -> SocketAddr {
        remote_addr(&self.0)
    }

    /// What has gone over the connection so far, in UDP payloads both ways, the handshake and what
    /// was sent again included.
    pub fn datagrams(&self) -> Datagrams {
        let stats = self.0.stats();
        Datagrams {
            sent: stats.udp_tx.datagrams,
            sent_bytes: stats.udp_tx.bytes,
            received: stats.udp_rx.datagrams,
            received_bytes: stats.udp_rx.bytes,
        }
    }

    /// Estimate of the time that a packet needs to the peer and back.
    pub fn round_trip(&self) -> Duration {
        self.0.rtt()
    }
}

/// UDP datagrams of a connection, and the bytes in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Datagrams {
    /// How many were sent.
    pub sent: u64,
    /// Bytes in them.
    pub sent_bytes: u64,
    /// How many have come.
    pub received: u64,
    /// Bytes in them.
    pub received_bytes: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum SendState {
    /// Whole frames were written.
    Whole,
    /// Part of a frame was written, or is being written.
    InPart,
    /// The stream was ended.
    Finished,
}

/// The direction to the peer.
///
/// If it is dropped without [`FrameSender::close`], the peer is told that the rest is missing.
#[derive(Debug)]
pub struct FrameSender {
    stream: SendStream,
    shared: Arc<Shared>,
    bound: u32,
    buffer: Vec<u8>,
    state: SendState,
}

impl FrameSender {
    /// Longest frame that can be sent: what the peer said that it takes, in bytes.
    pub fn bound(&self) -> u32 {
        self.bound
    }

    /// Sends a frame. Returns when it is on its way, which waits while the peer does not read. That
    /// the peer has it, it must say in a frame of its own.
    ///
    /// If the future is dropped before it is done, the link can send no more.
    ///
    /// # Errors
    /// If the frame breaks the bound (nothing was sent then), or the link is closed.
    pub async fn send(&mut self, frame: &[u8]) -> Result<(), LinkError> {
        self.put(frame)?;
        self.flush().await
    }

    /// Puts a frame behind those that go with the next [`FrameSender::flush`]. Gives the bytes that
    /// wait for it.
    ///
    /// # Errors
    /// If the frame breaks the bound, or an earlier one was sent in part; it is not sent then.
    pub fn put(&mut self, frame: &[u8]) -> Result<usize, LinkError> {
        let prefix = frame::prefix(frame.len(), self.bound)?;
        if self.state != SendState::Whole {
            return Err(LinkError::SentInPart);
        }
        self.buffer.extend_from_slice(&prefix);
        self.buffer.extend_from_slice(frame);
        Ok(self.buffer.len())
    }

    /// Sends what was put in, in as few packets as it fits. Waits, and can be dropped, as
    /// [`FrameSender::send`].
    ///
    /// # Errors
    /// If the link is closed.
    pub async fn flush(&mut self) -> Result<(), LinkError> {
        if self.state != SendState::Whole {
            return Err(LinkError::SentInPart);
        }
        self.state = SendState::InPart;
        let written = self.stream.write_all(&self.buffer).await;
        self.buffer.clear();
        if self.buffer.capacity() > SEND_BUFFER_BYTES {
            self.buffer = Vec::new();
        }
        written.map_err(|error| match error {
            WriteError::ConnectionLost(error) => error.into(),
            WriteError::Stopped(code) => closed_with(code),
            other => LinkError::Lost(other.to_string()),
        })?;
        self.state = SendState::Whole;
        Ok(())
    }

    /// Ends the stream behind the last frame, waits at most a second until the peer's side has
    /// everything, and closes the connection in both directions.
    pub async fn close(mut self, code: CloseCode, reason: &str) {
        if self.state == SendState::Whole && self.stream.finish().is_ok() {
            self.state = SendState::Finished;
            // Late, stopped or lost: in every case all that is left is to close.
            let _ = timeout(LINGER, self.stream.stopped()).await;
        }
        self.shared.close(code, reason);
    }
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        if self.state != SendState::Finished {
            // Fails if the connection is gone, and then there is nobody to tell.
            let _ = self.stream.reset(CloseCode::Dropped.number());
        }
    }
}

/// The direction from the peer.
#[derive(Debug)]
pub struct FrameReceiver {
    stream: RecvStream,
    shared: Arc<Shared>,
    assembler: FrameAssembler,
    /// When the frame that was begun must be complete.
    deadline: Option<Instant>,
    frame_timeout: Duration,
}

impl FrameReceiver {
    /// Receives the next frame; none if the peer ended its stream behind the last one.
    ///
    /// If the future is dropped, nothing is lost: the next call goes on where it was.
    ///
    /// # Errors
    /// If the link is closed. It gets closed here if the peer sends what is no frame, or one that
    /// breaks the bound, or begins a frame and does not finish it in time.
    pub async fn recv(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        loop {
            let read = self.stream.read_chunk(self.assembler.wanted(), true);
            let chunk = match self.deadline {
                None => read.await,
                Some(deadline) => match timeout_at(deadline, read).await {
                    Ok(chunk) => chunk,
                    Err(_) => {
                        self.shared.close(CloseCode::TooSlow, "frame not finished");
                        return Err(LinkError::TooSlow);
                    }
                },
            };
            let Some(chunk) = chunk.map_err(read_failed)? else {
                if !self.assembler.is_amid() {
                    return Ok(None);
                }
                self.shared
                    .close(CloseCode::BadFrame, "ends within a frame");
                return Err(LinkError::Truncated);
            };
            if !self.assembler.is_amid() {
                self.deadline = Some(Instant::now() + self.frame_timeout);
            }
            let length_was_known = self.assembler.knows_length();
            match self.assembler.push(&chunk.bytes) {
                Err(error) => {
                    self.shared.close(CloseCode::BadFrame, &error.to_string());
                    return Err(error.into());
                }
                Ok(Some(frame)) => {
                    self.deadline = None;
                    return Ok(Some(frame));
                }
                Ok(None) if !length_was_known && self.assembler.knows_length() => {
                    let more = self.assembler.wanted() as f64 / BYTES_PER_SECOND_MIN;
                    self.deadline = self
                        .deadline
                        .map(|deadline| deadline + Duration::from_secs_f64(more));
                }
                Ok(None) => {}
            }
        }
    }
}

impl Drop for FrameReceiver {
    fn drop(&mut self) {
        // Fails if everything was read or the connection is gone: nobody has to know then.
        let _ = self.stream.stop(CloseCode::Dropped.number());
    }
}

fn read_failed(error: ReadError) -> LinkError {
    match error {
        ReadError::ConnectionLost(error) => error.into(),
        ReadError::Reset(code) => closed_with(code),
        other => LinkError::Lost(other.to_string()),
    }
}
