//! Joining a cluster: the newcomer's side.
//!
//! The token says whose key to expect; only that one gets the secret. What it answers is checked
//! before it is believed: the cluster must be the token's, and founder and nonce must hash to it.

use super::connection::End;
use super::dial::dial;
use super::directory::ClusterFile;
use super::error::JoinError;
use crate::codec::frame::FRAME_BYTES_MAX;
use crate::codec::handshake::Hello;
use crate::net::{ConnectError, Endpoint, JoinToken, Link};
use crate::replica::Founder;

/// The connection over which a cluster was joined.
pub(super) struct Joined {
    pub(super) link: Link,
    pub(super) end: End,
    pub(super) name: String,
}

/// Asks the token's inviter to let us in, at each of its addresses.
///
/// # Errors
/// Why it did not; or why nobody could be asked.
pub(super) async fn join(
    endpoint: &Endpoint,
    me: End,
    name: &str,
    addresses: &[String],
    token: &JoinToken,
) -> Result<(ClusterFile, Joined), JoinError> {
    let hello = Hello {
        cluster: Some(token.cluster()),
        instance: me.instance,
        name: name.to_owned(),
        addresses: addresses.to_vec(),
        join_secret: Some(token.secret()),
        frame_bytes_max: FRAME_BYTES_MAX,
    };
    let mut last = String::new();
    for address in token.addresses() {
        let (link, welcome) = match dial(endpoint, address, token.inviter(), &hello).await {
            Ok(done) => done,
            Err(ConnectError::Refused(refused)) => {
                let address = address.clone();
                return Err(JoinError::Refused { address, refused });
            }
            Err(error) => {
                last = error.to_string();
                continue;
            }
        };
        let address = address.clone();
        if welcome.cluster != token.cluster() {
            return Err(JoinError::OtherCluster {
                address,
                found: welcome.cluster,
                wanted: token.cluster(),
            });
        }
        let founder = Founder {
            key: welcome.founder_key,
            nonce: welcome.founder_nonce,
        };
        if founder.cluster() != token.cluster() {
            return Err(JoinError::NotTheFounder {
                address,
                cluster: token.cluster(),
            });
        }
        let file = ClusterFile {
            cluster: welcome.cluster,
            founder: welcome.founder_key,
            nonce: welcome.founder_nonce,
        };
        let joined = Joined {
            end: End {
                key: link.peer_key(),
                instance: welcome.instance,
            },
            link,
            name: welcome.name,
        };
        return Ok((file, joined));
    }
    Err(JoinError::Unreachable { last })
}
