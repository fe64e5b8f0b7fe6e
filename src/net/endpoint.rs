//! An endpoint: the UDP socket of a peer, where it dials others and is dialled.
//!
//! Whoever is dialled has not been admitted yet, so every step up to the welcome is bounded: how
//! many are at it, for how long, with how many bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, Incoming, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{timeout, timeout_at};
use tracing::debug;

use super::link::{CloseCode, Link, LinkError, Wire, remote_addr};
use super::{Limits, tls};
use crate::codec::handshake::{
    Greeting, HANDSHAKE_BYTES_MAX, HandshakeError, Hello, RefusalCode, Refused, Welcome,
};
use crate::model::PublicKey;
use crate::replica::identity::Identity;

/// Most bytes of a connection that may be under way before its hello was answered.
const WINDOW_BEFORE_WELCOME: u32 = 64 << 10;
/// Most bytes of a connection that were sent and not confirmed yet.
const SEND_WINDOW: u64 = 4 << 20;
/// Most connections whose hello was read and that wait for [`Endpoint::accept`].
const CALLERS_MAX: usize = 32;
/// How long closing an endpoint may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Why an endpoint could not be made. Nothing was opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address can not be had.
    #[error("can not listen on {address}: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A limit is zero or too large for the protocol.
    #[error("{0} is out of range")]
    Limit(&'static str),
    /// TLS does not take the configuration.
    #[error("TLS can not be set up: {0}")]
    Tls(String),
}

/// Why dialling did not end in a link. The connection, if there was one, is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The hello breaks its bounds, or the address can not be dialled from here; nothing was sent.
    #[error("can not dial {address}: {reason}")]
    Invalid {
        /// The address.
        address: SocketAddr,
        /// What is wrong.
        reason: String,
    },
    /// The hello has a secret, but it was not said whose key the peer must have. Nothing was sent.
    #[error("a join secret is only sent to a peer whose key is known beforehand")]
    SecretForAnybody,
    /// Nobody answers, or not in time.
    #[error("{address} does not answer")]
    NoAnswer {
        /// The address.
        address: SocketAddr,
    },
    /// The peer has another key than it should. The hello was not sent.
    #[error("{address} has the key {found}, not {expected}")]
    WrongKey {
        /// The address.
        address: SocketAddr,
        /// The key it should have.
        expected: PublicKey,
        /// The key it has.
        found: PublicKey,
    },
    /// The peer said no.
    #[error("refused by the peer: {0}")]
    Refused(Refused),
    /// What answers does not behave as a peer does.
    #[error("{address} is no peer, or of another version: {reason}")]
    NotAPeer {
        /// The address.
        address: SocketAddr,
        /// What it did.
        reason: String,
    },
    /// The connection ended before there was an answer.
    #[error(transparent)]
    Link(LinkError),
}

/// The UDP socket of a peer. Dropping it closes every link on it at once.
#[derive(Debug)]
pub struct Endpoint {
    quic: quinn::Endpoint,
    own: Arc<CertifiedKey>,
    limits: Limits,
    transport: Arc<TransportConfig>,
    callers: Mutex<mpsc::Receiver<Caller>>,
    acceptor: AbortHandle,
}

impl Endpoint {
    /// Opens the socket, and begins to take in those who dial. Port 0 lets the system choose one.
    ///
    /// To be called within a tokio runtime, which carries the endpoint from then on.
    ///
    /// # Errors
    /// If the address can not be had, a limit makes no sense, or there is no runtime.
    pub fn bind(
        address: SocketAddr,
        identity: &Identity,
        limits: Limits,
    ) -> Result<Self, BindError> {
        let own = tls::certified(&identity.public(), identity);
        let tls = tls::server_config(Arc::clone(&own))
            .map_err(|error| BindError::Tls(error.to_string()))?;
        let crypto = QuicServerConfig::try_from(tls).map_err(|e| BindError::Tls(e.to_string()))?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let mut transport = transport(&limits)?;
        transport
            .receive_window(WINDOW_BEFORE_WELCOME.into())
            .max_concurrent_bidi_streams(VarInt::from_u32(1));
        config
            .transport_config(Arc::new(transport))
            .max_incoming(limits.pending_max)
            .incoming_buffer_size(WINDOW_BEFORE_WELCOME.into())
            .incoming_buffer_size_total(4 << 20);
        let quic = quinn::Endpoint::server(config, address)
            .map_err(|source| BindError::Address { address, source })?;
        let (sender, callers) = mpsc::channel(CALLERS_MAX);
        let acceptor = tokio::spawn(take_in(quic.clone(), limits.clone(), sender));
        Ok(Self {
            quic,
            own,
            transport: Arc::new(self::transport(&limits)?),
            limits,
            callers: Mutex::new(callers),
            acceptor: acceptor.abort_handle(),
        })
    }

    /// The address of the socket.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.quic.local_addr()
    }

    /// Dials a peer, says hello, and waits for the answer.
    ///
    /// With an expected key no other peer gets the hello. Without one, any peer may answer:
    /// whether [`Link::peer_key`] and the welcome please is for the caller to judge.
    ///
    /// # Errors
    /// If there is no link in the end; the connection is closed then.
    pub async fn connect(
        &self,
        address: SocketAddr,
        expected: Option<PublicKey>,
        hello: &Hello,
    ) -> Result<(Link, Welcome), ConnectError> {
        let invalid = |reason: String| ConnectError::Invalid { address, reason };
        if hello.join_secret.is_some() && expected.is_none() {
            return Err(ConnectError::SecretForAnybody);
        }
        let frame = Greeting::Hello(hello.clone())
            .encode()
            .map_err(|error| invalid(error.to_string()))?;
        let verifier = Arc::new(tls::KeyVerifier::new(expected));
        let tls = tls::client_config(Arc::clone(&self.own), Arc::clone(&verifier))
            .map_err(|error| invalid(error.to_string()))?;
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| invalid(error.to_string()))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::clone(&self.transport));
        let connecting = self
            .quic
            .connect_with(config, address, tls::SERVER_NAME)
            .map_err(|error| invalid(error.to_string()))?;

        let no_answer = ConnectError::NoAnswer { address };
        let failed = |error: ConnectionError| match (verifier.mismatch(), error) {
            (Some((expected, found)), _) => ConnectError::WrongKey {
                address,
                expected,
                found,
            },
            (None, error) => connection_failed(address, error),
        };
        let connection = timeout(self.limits.handshake_timeout, connecting)
            .await
            .map_err(|_| no_answer.clone())?
            .map_err(failed)?;
        let Some(key) = authenticated_key(&connection) else {
            connection.close(CloseCode::Refused.number(), b"");
            let reason = "it showed no key".to_owned();
            return Err(ConnectError::NotAPeer { address, reason });
        };
        let streams = connection.open_bi().await.map_err(failed)?;
        let mut wire = Wire::new(
            connection,
            streams,
            HANDSHAKE_BYTES_MAX,
            self.limits.frame_timeout,
        );
        let answer = async {
            wire.sender.send(&frame).await?;
            wire.receiver.recv().await
        };
        let answer = timeout(self.limits.welcome_timeout, answer)
            .await
            .map_err(|_| no_answer)?
            .map_err(|error| link_failed(address, wire.connection(), error))?;
        match answer.as_deref().map(Greeting::decode) {
            Some(Ok(Greeting::Welcome(welcome))) => {
                let bound = welcome.frame_bytes_max;
                let link = Link::new(wire, key, bound, hello.frame_bytes_max);
                Ok((link, welcome))
            }
            Some(Ok(Greeting::Refused(refused))) => Err(ConnectError::Refused(refused)),
            Some(Ok(Greeting::Hello(_))) | None => Err(ConnectError::NotAPeer {
                address,
                reason: "it does not answer a hello".into(),
            }),
            Some(Err(error)) => Err(ConnectError::NotAPeer {
                address,
                reason: error.to_string(),
            }),
        }
    }

    /// Waits for the next peer that has dialled and said hello; none when the endpoint is closed.
    ///
    /// Those who send no good hello never get here. The future may be dropped.
    pub async fn accept(&self) -> Option<Caller> {
        self.callers.lock().await.recv().await
    }

    /// Closes every link and takes in nobody any more. Waits at most half a second until the peers
    /// know.
    pub async fn close(&self, code: CloseCode, reason: &str) {
        self.quic.close(code.number(), reason.as_bytes());
        let _ = timeout(CLOSE_TIMEOUT, self.quic.wait_idle()).await;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.acceptor.abort();
        // Without effect on what was closed before.
        self.quic.close(CloseCode::Dropped.number(), b"");
    }
}

fn transport(limits: &Limits) -> Result<TransportConfig, BindError> {
    let idle = limits
        .idle_timeout
        .try_into()
        .map_err(|_| BindError::Limit("the idle timeout"))?;
    if limits.pending_max == 0 {
        return Err(BindError::Limit("the number of pending connections"));
    }
    if limits.receive_window_bytes < WINDOW_BEFORE_WELCOME {
        return Err(BindError::Limit("the receive window"));
    }
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(limits.keep_alive))
        .receive_window(limits.receive_window_bytes.into())
        .stream_receive_window(limits.receive_window_bytes.into())
        .send_window(SEND_WINDOW)
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        // Packets that overtake one another are not lost ones: the defaults (3, 1.125) made a
        // megabyte over a link with jitter eight times slower.
        .packet_threshold(64)
        .time_threshold(2.0);
    Ok(config)
}

fn connection_failed(address: SocketAddr, error: ConnectionError) -> ConnectError {
    match error {
        ConnectionError::TimedOut => ConnectError::NoAnswer { address },
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_) => ConnectError::NotAPeer {
            address,
            reason: error.to_string(),
        },
        other => ConnectError::Link(other.into()),
    }
}

/// What a failure between hello and answer means: TLS refuses the one who dials only then.
fn link_failed(address: SocketAddr, connection: &Connection, error: LinkError) -> ConnectError {
    match (error, connection.close_reason()) {
        (LinkError::Lost(_), Some(cause)) => connection_failed(address, cause),
        (error, _) => ConnectError::Link(error),
    }
}

/// The key that the other side has signed the TLS handshake with, if it spoke our protocol.
fn authenticated_key(connection: &Connection) -> Option<PublicKey> {
    let data = connection.handshake_data()?;
    let data = data.downcast_ref::<HandshakeData>()?;
    if data.protocol.as_deref() != Some(tls::ALPN) {
        return None;
    }
    let identity = connection.peer_identity()?;
    match identity
        .downcast_ref::<Vec<CertificateDer<'static>>>()?
        .as_slice()
    {
        [spki] => tls::key_of_spki(spki),
        _ => None,
    }
}

/// Takes in whoever dials, each in a task of its own, until the endpoint is closed.
async fn take_in(quic: quinn::Endpoint, limits: Limits, callers: mpsc::Sender<Caller>) {
    let pending = Arc::new(Semaphore::new(limits.pending_max));
    while let Some(incoming) = quic.accept().await {
        let Ok(permit) = Arc::clone(&pending).try_acquire_owned() else {
            debug!(address = %incoming.remote_address(), "too many pending connections");
            incoming.refuse();
            continue;
        };
        let busy = pending.available_permits() < limits.pending_max / 2;
        if busy && !incoming.remote_address_validated() {
            // Has to show first that it is where it claims to be. Only fails if it has.
            let _ = incoming.retry();
            continue;
        }
        let (limits, callers) = (limits.clone(), callers.clone());
        tokio::spawn(async move {
            let address = incoming.remote_address();
            match hear(incoming, &limits, permit).await {
                // Fails when the endpoint is gone, and the caller with it.
                Ok(Some(caller)) => drop(callers.send(caller).await),
                Ok(None) => {}
                Err(error) => debug!(%address, %error, "a connection came to nothing"),
            }
        });
    }
}

/// Brings one who dials to the end of its hello.
async fn hear(
    incoming: Incoming,
    limits: &Limits,
    permit: OwnedSemaphorePermit,
) -> Result<Option<Caller>, LinkError> {
    let deadline = tokio::time::Instant::now() + limits.handshake_timeout;
    let connection = timeout_at(deadline, incoming.into_future())
        .await
        .map_err(|_| LinkError::TooSlow)??;
    let close = |code: CloseCode| connection.close(code.number(), b"");
    let Some(key) = authenticated_key(&connection) else {
        close(CloseCode::Refused);
        return Err(LinkError::ClosedHere);
    };
    let Ok(streams) = timeout_at(deadline, connection.accept_bi()).await else {
        close(CloseCode::TooSlow);
        return Err(LinkError::TooSlow);
    };
    let mut wire = Wire::new(
        connection.clone(),
        streams?,
        HANDSHAKE_BYTES_MAX,
        limits.frame_timeout,
    );
    let Ok(frame) = timeout_at(deadline, wire.receiver.recv()).await else {
        close(CloseCode::TooSlow);
        return Err(LinkError::TooSlow);
    };
    let Some(frame) = frame? else {
        return Ok(None);
    };
    let (code, reason) = match Greeting::decode(&frame) {
        Ok(Greeting::Hello(hello)) => {
            return Ok(Some(Caller {
                wire,
                key,
                hello,
                window: limits.receive_window_bytes.into(),
                _permit: permit,
            }));
        }
        Ok(_) => (RefusalCode::Malformed, "not a hello".to_owned()),
        Err(error @ HandshakeError::UnknownVersion { .. }) => {
            (RefusalCode::UnknownProtocolVersion, error.to_string())
        }
        Err(error) => (RefusalCode::Malformed, error.to_string()),
    };
    debug!(address = %remote_addr(&connection), %key, %reason, "a hello was refused");
    refuse(wire, &Refused::new(code, &reason)).await;
    Ok(None)
}

async fn refuse(mut wire: Wire, refused: &Refused) {
    let sent = match Greeting::Refused(refused.clone()).encode() {
        Ok(frame) => wire.sender.send(&frame).await,
        Err(_) => Ok(()),
    };
    if sent.is_ok() {
        let reason = refused.to_string();
        wire.sender.close(CloseCode::Refused, &reason).await;
    }
}

/// One who has dialled and said hello, and waits for an answer. Dropping it closes the connection.
#[derive(Debug)]
pub struct Caller {
    wire: Wire,
    key: PublicKey,
    hello: Hello,
    window: VarInt,
    _permit: OwnedSemaphorePermit,
}

impl Caller {
    /// The key of the peer, as it proved in the TLS handshake.
    pub fn peer_key(&self) -> PublicKey {
        self.key
    }

    /// Where the peer is at the moment.
    pub fn remote_addr(&self) -> SocketAddr {
        remote_addr(self.wire.connection())
    }

    /// What it said.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Welcomes it.
    ///
    /// # Errors
    /// If the welcome breaks its bounds or the connection is gone; it is closed then.
    pub async fn welcome(mut self, welcome: &Welcome) -> Result<Link, LinkError> {
        let frame = Greeting::Welcome(welcome.clone())
            .encode()
            .map_err(LinkError::BadWelcome)?;
        self.wire.sender.send(&frame).await?;
        self.wire.connection().set_receive_window(self.window);
        Ok(Link::new(
            self.wire,
            self.key,
            self.hello.frame_bytes_max,
            welcome.frame_bytes_max,
        ))
    }

    /// Refuses it, in a task of its own. The connection is closed when it knows, or after a second.
    pub fn refuse(self, code: RefusalCode, reason: &str) {
        let refused = Refused::new(code, reason);
        tokio::spawn(async move {
            let Self { wire, _permit, .. } = self;
            refuse(wire, &refused).await;
        });
    }
}
