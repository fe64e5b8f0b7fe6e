//! The way between peers: QUIC with both sides authenticated by their ed25519 keys, and on it one
//! stream of frames each way.
//!
//! An [`Endpoint`] is one UDP socket; it dials, and takes in those who dial. A [`Link`] is a
//! connection whose handshake (`codec::handshake`) has ended well; it splits into a
//! [`FrameSender`] and a [`FrameReceiver`]. What the frames say, whom to admit, and when to dial
//! again is decided above; [`Backoff`] says how long to wait before, and a [`JoinToken`] is how
//! one enters a cluster.
//!
//! Identity is the key and nothing else: an address proves nothing, and may change during a
//! connection.

use std::time::Duration;

mod backoff;
mod endpoint;
mod link;
mod tls;
mod token;

#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use endpoint::{BindError, Caller, ConnectError, Endpoint};
pub use link::{CloseCode, Datagrams, FrameReceiver, FrameSender, Link, LinkError, LinkHandle};
pub use token::{JoinToken, TokenError};

/// What an endpoint allows its peers.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Time from the first packet of a connection until the hello is complete; also the time in
    /// which one who is dialled has to finish the TLS handshake.
    pub handshake_timeout: Duration,
    /// Time that one who was dialled has to answer a hello. Longer than the handshake, since to
    /// admit a newcomer takes a save.
    pub welcome_timeout: Duration,
    /// Time to finish a frame that was begun; longer ones get a second more for each 64 KiB.
    pub frame_timeout: Duration,
    /// Most connections at once that were not welcomed yet. Past it new ones are refused.
    pub pending_max: usize,
    /// Most bytes of one connection that were received but not read yet; 64 KiB before the
    /// welcome.
    pub receive_window_bytes: u32,
    /// Time of silence after which something is sent so that the connection stays up.
    pub keep_alive: Duration,
    /// Time of silence after which a connection counts as lost.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            welcome_timeout: Duration::from_secs(10),
            frame_timeout: Duration::from_secs(10),
            pending_max: 256,
            receive_window_bytes: 8 << 20,
            keep_alive: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(15),
        }
    }
}
