//! What two peers say to one another before anything else: a hello, and a welcome or a refusal.
//!
//! Each is one frame: an envelope in MessagePack, `[version, kind, body]`. The envelope and the
//! body of a refusal look the same in every version of the protocol for all time, so that peers of
//! any two versions can at least tell each other why they part; the other bodies belong to their
//! version. Byte by byte it stands in `docs/reference/wire.md`. What a peer answers to a hello is
//! decided further up.

use std::fmt;
use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, Bytes};

use super::frame::FRAME_BYTES_MAX_MIN;
use crate::model::{ClusterId, PublicKey};

/// The oldest version of the protocol that this program speaks.
pub const VERSION_OLDEST: u16 = 1;
/// The newest version of the protocol that this program speaks.
pub const VERSION_NEWEST: u16 = 1;

/// Longest frame of the handshake, in bytes.
pub const HANDSHAKE_BYTES_MAX: u32 = 8 << 10;
/// Longest name of a replica, in bytes.
pub const REPLICA_NAME_BYTES_MAX: usize = 255;
/// Most addresses of one replica.
pub const ADDRESSES_MAX: usize = 8;
/// Longest address, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;
/// Longest reason of a refusal, in bytes.
pub const REASON_BYTES_MAX: usize = 512;

const KIND_HELLO: u8 = 1;
const KIND_WELCOME: u8 = 2;
const KIND_REFUSED: u8 = 3;

/// The secret of a join token: who knows it may join. Never shown by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct JoinSecret(pub [u8; 16]);

impl JoinSecret {
    /// What a cluster keeps to know the secret again, and from which nobody can find it.
    pub fn fingerprint(&self) -> [u8; 32] {
        *blake3::hash(&self.0).as_bytes()
    }
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret(..)")
    }
}

/// How the one who dials introduces itself. Its key is known from TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The cluster that it belongs to or wants to join; none if it knows of none.
    pub cluster: Option<ClusterId>,
    /// Random, drawn whenever a data directory is opened: tells apart two programs that run with
    /// one key.
    pub instance: [u8; 16],
    /// What people call the replica.
    pub name: String,
    /// Where it can be dialled, as `host:port`.
    pub addresses: Vec<String>,
    /// From a join token, if it wants to join.
    pub join_secret: Option<JoinSecret>,
    /// Longest frame that it takes, in bytes.
    pub frame_bytes_max: u32,
}

/// The answer to a hello that was accepted: frames of messages follow, both ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The cluster.
    pub cluster: ClusterId,
    /// The key of the replica that founded the cluster. Key and nonce hash to the cluster's id.
    pub founder_key: PublicKey,
    /// Drawn when the cluster was founded.
    pub founder_nonce: [u8; 16],
    /// As in [`Hello::instance`].
    pub instance: [u8; 16],
    /// What people call the replica.
    pub name: String,
    /// Where it can be dialled, as `host:port`.
    pub addresses: Vec<String>,
    /// Longest frame that it takes, in bytes.
    pub frame_bytes_max: u32,
}

/// The answer to a hello that was not accepted: nothing follows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Refused {
    /// Why, for programs.
    pub code: RefusalCode,
    /// Why, for people: at most [`REASON_BYTES_MAX`] bytes without control characters.
    pub reason: String,
    /// The oldest version of the protocol that the one who refuses speaks.
    pub version_oldest: u16,
    /// The newest one.
    pub version_newest: u16,
}

impl Refused {
    /// Makes a refusal. Of the reason only the beginning is kept if it is too long, and control
    /// characters become spaces.
    pub fn new(code: RefusalCode, reason: &str) -> Self {
        Self {
            code,
            reason: readable(reason),
            version_oldest: VERSION_OLDEST,
            version_newest: VERSION_NEWEST,
        }
    }
}

fn readable(reason: &str) -> String {
    let mut text = String::new();
    for c in reason.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if text.len() + c.len_utf8() > REASON_BYTES_MAX {
            break;
        }
        text.push(c);
    }
    text
}

macro_rules! refusal_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why a hello was not accepted. The numbers mean the same in every version.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum RefusalCode {
            $($(#[$doc])* $name,)*
            /// A number that this version does not know.
            Other(u16),
        }

        impl RefusalCode {
            /// The number on the wire.
            pub fn number(self) -> u16 {
                match self {
                    $(Self::$name => $number,)*
                    Self::Other(number) => number,
                }
            }

            /// The code with this number.
            pub fn of_number(number: u16) -> Self {
                match number {
                    $($number => Self::$name,)*
                    other => Self::Other(other),
                }
            }
        }

        impl fmt::Display for RefusalCode {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.write_str($text),)*
                    Self::Other(number) => write!(f, "refused with code {number}"),
                }
            }
        }
    };
}

refusal_codes! {
    /// The hello is of a version that the peer does not speak.
    UnknownProtocolVersion = 1, "unknown protocol version";
    /// The peer belongs to another cluster.
    OtherCluster = 2, "another cluster";
    /// The key is not one of a member, and no secret came with it.
    NotAMember = 3, "not a member of the cluster";
    /// The secret belongs to no token.
    WrongToken = 4, "wrong token";
    /// The secret belongs to a token that has expired.
    ExpiredToken = 5, "expired token";
    /// The peer has dialled itself.
    Itself = 6, "the peer is this very replica";
    /// The two are connected already, and the other connection is the one to keep.
    Duplicate = 7, "connected already";
    /// The peer is about to end.
    ShuttingDown = 8, "shutting down";
    /// The hello could not be read.
    Malformed = 9, "malformed hello";
    /// The peer can not take anybody in at the moment, its disk being full for instance.
    Unable = 10, "unable at the moment";
}

/// One frame of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// From the one who dialled.
    Hello(Hello),
    /// From the one who was dialled.
    Welcome(Welcome),
    /// From the one who was dialled.
    Refused(Refused),
}

/// Why bytes are not a frame of the handshake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// It is of a version that this program does not speak.
    #[error(
        "protocol version {version} is not known here (known: {VERSION_OLDEST} to {VERSION_NEWEST})"
    )]
    UnknownVersion {
        /// The version it is of.
        version: u16,
    },
    /// It is not as its version has it.
    #[error("malformed: {0}")]
    Malformed(String),
}

fn malformed(what: impl Into<String>) -> HandshakeError {
    HandshakeError::Malformed(what.into())
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a>(u16, u8, #[serde(borrow)] &'a Bytes);

#[derive(Serialize, Deserialize)]
struct HelloWire<'a> {
    cluster: Option<ByteArray<16>>,
    instance: ByteArray<16>,
    name: &'a str,
    #[serde(borrow)]
    addresses: Vec<&'a str>,
    join_secret: Option<ByteArray<16>>,
    frame_bytes_max: u32,
}

#[derive(Serialize, Deserialize)]
struct WelcomeWire<'a> {
    cluster: ByteArray<16>,
    founder_key: ByteArray<32>,
    founder_nonce: ByteArray<16>,
    instance: ByteArray<16>,
    name: &'a str,
    #[serde(borrow)]
    addresses: Vec<&'a str>,
    frame_bytes_max: u32,
}

impl Greeting {
    /// The bytes of the frame, its length not included.
    ///
    /// # Errors
    /// If a field breaks its bounds.
    pub fn encode(&self) -> Result<Vec<u8>, HandshakeError> {
        self.check()?;
        let (kind, body) = match self {
            Self::Hello(hello) => (
                KIND_HELLO,
                pack(&HelloWire {
                    cluster: hello.cluster.map(|id| ByteArray::new(id.0)),
                    instance: ByteArray::new(hello.instance),
                    name: &hello.name,
                    addresses: hello.addresses.iter().map(String::as_str).collect(),
                    join_secret: hello.join_secret.map(|secret| ByteArray::new(secret.0)),
                    frame_bytes_max: hello.frame_bytes_max,
                }),
            ),
            Self::Welcome(welcome) => (
                KIND_WELCOME,
                pack(&WelcomeWire {
                    cluster: ByteArray::new(welcome.cluster.0),
                    founder_key: ByteArray::new(welcome.founder_key.0),
                    founder_nonce: ByteArray::new(welcome.founder_nonce),
                    instance: ByteArray::new(welcome.instance),
                    name: &welcome.name,
                    addresses: welcome.addresses.iter().map(String::as_str).collect(),
                    frame_bytes_max: welcome.frame_bytes_max,
                }),
            ),
            Self::Refused(refused) => {
                let mut body = Vec::new();
                body.extend(refused.code.number().to_be_bytes());
                body.extend(refused.version_oldest.to_be_bytes());
                body.extend(refused.version_newest.to_be_bytes());
                body.extend(refused.reason.as_bytes());
                (KIND_REFUSED, body)
            }
        };
        Ok(pack(&Envelope(VERSION_NEWEST, kind, Bytes::new(&body))))
    }

    /// Reads a frame of the handshake. Refusals of every version can be read.
    ///
    /// # Errors
    /// If it is of an unknown version, or not exactly as [`Greeting::encode`] would write it.
    pub fn decode(frame: &[u8]) -> Result<Self, HandshakeError> {
        if frame.len() > HANDSHAKE_BYTES_MAX as usize {
            return Err(malformed("longer than the bound"));
        }
        let Envelope(version, kind, body) = unpack(frame)?;
        if kind == KIND_REFUSED {
            return refusal(body).map(Self::Refused);
        }
        if !(VERSION_OLDEST..=VERSION_NEWEST).contains(&version) {
            return Err(HandshakeError::UnknownVersion { version });
        }
        let greeting = match kind {
            KIND_HELLO => {
                let wire: HelloWire<'_> = unpack(body)?;
                Self::Hello(Hello {
                    cluster: wire.cluster.map(|id| ClusterId(id.into_array())),
                    instance: wire.instance.into_array(),
                    name: wire.name.to_owned(),
                    addresses: owned(&wire.addresses)?,
                    join_secret: wire
                        .join_secret
                        .map(|secret| JoinSecret(secret.into_array())),
                    frame_bytes_max: wire.frame_bytes_max,
                })
            }
            KIND_WELCOME => {
                let wire: WelcomeWire<'_> = unpack(body)?;
                Self::Welcome(Welcome {
                    cluster: ClusterId(wire.cluster.into_array()),
                    founder_key: PublicKey(wire.founder_key.into_array()),
                    founder_nonce: wire.founder_nonce.into_array(),
                    instance: wire.instance.into_array(),
                    name: wire.name.to_owned(),
                    addresses: owned(&wire.addresses)?,
                    frame_bytes_max: wire.frame_bytes_max,
                })
            }
            kind => return Err(malformed(format!("no greeting has the kind {kind}"))),
        };
        if greeting.encode()? != frame {
            return Err(malformed("not in its one canonical form"));
        }
        Ok(greeting)
    }

    fn check(&self) -> Result<(), HandshakeError> {
        let (name, addresses, bound) = match self {
            Self::Hello(hello) => (&hello.name, &hello.addresses, hello.frame_bytes_max),
            Self::Welcome(welcome) => (&welcome.name, &welcome.addresses, welcome.frame_bytes_max),
            Self::Refused(refused) if refused.reason.len() > REASON_BYTES_MAX => {
                return Err(malformed("the reason is too long"));
            }
            Self::Refused(_) => return Ok(()),
        };
        if name.len() > REPLICA_NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(malformed("the name is too long or has control characters"));
        }
        if addresses.len() > ADDRESSES_MAX {
            return Err(malformed(format!("more than {ADDRESSES_MAX} addresses")));
        }
        if let Some(address) = addresses.iter().find(|address| !is_address(address)) {
            let address = readable(address);
            return Err(malformed(format!("`{address}` is not an address")));
        }
        if bound < FRAME_BYTES_MAX_MIN {
            return Err(malformed(format!("a frame bound of only {bound} bytes")));
        }
        Ok(())
    }
}

fn pack(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec(value).expect("writing to memory does not fail")
}

fn unpack<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, HandshakeError> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(8);
    T::deserialize(&mut reader).map_err(|error| malformed(readable(&error.to_string())))
}

fn owned(addresses: &[&str]) -> Result<Vec<String>, HandshakeError> {
    if addresses.len() > ADDRESSES_MAX {
        return Err(malformed(format!("more than {ADDRESSES_MAX} addresses")));
    }
    Ok(addresses
        .iter()
        .map(|&address| address.to_owned())
        .collect())
}

/// Reads the body of a refusal, and is lenient: it may come from a far later version.
fn refusal(body: &[u8]) -> Result<Refused, HandshakeError> {
    let Some((numbers, reason)) = body.split_at_checked(6) else {
        return Err(malformed("a refusal is cut short"));
    };
    let number = |at: usize| u16::from_be_bytes([numbers[at], numbers[at + 1]]);
    Ok(Refused {
        code: RefusalCode::of_number(number(0)),
        version_oldest: number(2),
        version_newest: number(4),
        reason: readable(&String::from_utf8_lossy(reason)),
    })
}

/// Whether a text is an address: `host:port` with a host name or IPv4 address, or `[IPv6]:port`,
/// and no port 0.
///
/// Whether anybody can be dialled there is another question.
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let host_is_good = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok()),
        None => {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.bytes().all(allowed)
        }
    };
    let port_is_good = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0);
    text.len() <= ADDRESS_BYTES_MAX && host_is_good && port_is_good
}

#[cfg(test)]
mod tests;
