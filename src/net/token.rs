//! Join tokens: the text that a member hands to a newcomer.
//!
//! A token says which cluster to join, whom to dial, where, and under which secret. It carries a
//! checksum, so that one that was cut or mistyped is known for it before anybody is dialled. That
//! the secret is right and has not expired is for the one who is dialled to find.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::codec::handshake::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, JoinSecret, is_address};
use crate::model::{ClusterId, PublicKey};
use crate::replica::identity::is_sound;

const PREFIX: &str = "leveret1.";
const CHECKSUM_BYTES: usize = 4;
const FIXED_BYTES: usize = 16 + 32 + 16 + 8 + 1;
/// Longest text of a token, in bytes.
const TEXT_BYTES_MAX: usize = PREFIX.len()
    + (FIXED_BYTES + ADDRESSES_MAX * (1 + ADDRESS_BYTES_MAX) + CHECKSUM_BYTES).div_ceil(3) * 4;

/// An invitation into a cluster.
///
/// Its text (`Display`, `FromStr`) is a secret until it has expired; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    cluster: ClusterId,
    inviter: PublicKey,
    addresses: Vec<String>,
    secret: JoinSecret,
    expires_unix_seconds: u64,
}

/// Why something is not a join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It does not begin like one.
    #[error("not a join token: join tokens begin with `{PREFIX}`")]
    NotAToken,
    /// It begins like a token of another version.
    #[error("a join token of another version (`{0}`): this program knows `leveret1`")]
    OtherVersion(String),
    /// It is not as it was handed out.
    #[error("the join token is mistyped or incomplete: its checksum does not match")]
    Mistyped,
    /// Its checksum holds but it makes no sense.
    #[error("the join token is malformed: {0}")]
    Malformed(&'static str),
}

impl JoinToken {
    /// Makes a token.
    ///
    /// # Errors
    /// If there is no address or more than [`ADDRESSES_MAX`], if one is none, or if the key could
    /// not belong to a replica.
    pub fn new(
        cluster: ClusterId,
        inviter: PublicKey,
        addresses: Vec<String>,
        secret: JoinSecret,
        expires_unix_seconds: u64,
    ) -> Result<Self, TokenError> {
        if !(1..=ADDRESSES_MAX).contains(&addresses.len()) {
            return Err(TokenError::Malformed("it has not one to eight addresses"));
        }
        if !addresses.iter().all(|address| is_address(address)) {
            return Err(TokenError::Malformed("an address is not `host:port`"));
        }
        if !is_sound(&inviter) {
            return Err(TokenError::Malformed("its key is none of a replica"));
        }
        Ok(Self {
            cluster,
            inviter,
            addresses,
            secret,
            expires_unix_seconds,
        })
    }

    /// The cluster to join.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The key that the peer who is dialled must have.
    pub fn inviter(&self) -> PublicKey {
        self.inviter
    }

    /// Where the inviter can be dialled: 1 to 8 times `host:port`.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// What proves that one was invited. To be sent to the inviter only.
    pub fn secret(&self) -> JoinSecret {
        self.secret
    }

    /// When the token expires, in seconds since 1970.
    pub fn expires_unix_seconds(&self) -> u64 {
        self.expires_unix_seconds
    }

    /// Whether the token has expired by a clock that shows so many seconds since 1970.
    pub fn has_expired(&self, now_unix_seconds: u64) -> bool {
        now_unix_seconds >= self.expires_unix_seconds
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.cluster.0);
        bytes.extend(self.inviter.0);
        bytes.extend(self.secret.0);
        bytes.extend(self.expires_unix_seconds.to_be_bytes());
        bytes.push(self.addresses.len() as u8);
        for address in &self.addresses {
            bytes.push(address.len() as u8);
            bytes.extend(address.as_bytes());
        }
        bytes.extend(checksum(&bytes));
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, TokenError> {
        let (content, sum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(TokenError::Mistyped)?;
        if checksum(content) != *sum {
            return Err(TokenError::Mistyped);
        }
        let mut rest = content;
        let cluster = ClusterId(take(&mut rest)?);
        let inviter = PublicKey(take(&mut rest)?);
        let secret = JoinSecret(take(&mut rest)?);
        let expires_unix_seconds = u64::from_be_bytes(take(&mut rest)?);
        let [count] = take(&mut rest)?;
        let mut addresses = Vec::new();
        for _ in 0..count {
            let [length] = take(&mut rest)?;
            let (address, behind) = rest
                .split_at_checked(length.into())
                .ok_or(TokenError::Malformed("it ends too early"))?;
            let address = str::from_utf8(address)
                .map_err(|_| TokenError::Malformed("an address is not `host:port`"))?;
            addresses.push(address.to_owned());
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(TokenError::Malformed("it goes on behind its end"));
        }
        Self::new(cluster, inviter, addresses, secret, expires_unix_seconds)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], TokenError> {
    let (taken, behind) = rest
        .split_first_chunk::<N>()
        .ok_or(TokenError::Malformed("it ends too early"))?;
    *rest = behind;
    Ok(*taken)
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hash = blake3::Hasher::new();
    hash.update(b"leveret token 1\0").update(content);
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&hash.finalize().as_bytes()[..CHECKSUM_BYTES]);
    sum
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.to_bytes()))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("cluster", &self.cluster)
            .field("inviter", &self.inviter)
            .field("addresses", &self.addresses)
            .field("expires_unix_seconds", &self.expires_unix_seconds)
            .finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    /// Reads the text of a token; white space around it does not matter.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let Some(encoded) = text.strip_prefix(PREFIX) else {
            let version = text.split('.').next().unwrap_or_default();
            let number = version.strip_prefix("leveret").unwrap_or_default();
            let is_number = (1..=9).contains(&number.len())
                && number.bytes().all(|byte| byte.is_ascii_digit())
                && number != "1";
            return Err(if is_number && text.len() > version.len() {
                TokenError::OtherVersion(version.to_owned())
            } else {
                TokenError::NotAToken
            });
        };
        if text.len() > TEXT_BYTES_MAX {
            return Err(TokenError::Mistyped);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| TokenError::Mistyped)?;
        Self::from_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::identity::Identity;

    fn token(addresses: usize) -> JoinToken {
        JoinToken::new(
            ClusterId([0xc1; 16]),
            Identity::from_seed(&[1; 32]).public(),
            (0..addresses).map(|i| format!("host-{i}:7400")).collect(),
            JoinSecret([0x5e; 16]),
            1_800_000_000,
        )
        .unwrap()
    }

    #[test]
    fn the_text_of_a_token_is_read_again() {
        for addresses in 1..=ADDRESSES_MAX {
            let token = token(addresses);
            let text = token.to_string();
            assert_eq!(text.parse(), Ok(token.clone()));
            assert_eq!(format!("  {text}\n").parse(), Ok(token));
        }
        assert!(!token(1).has_expired(1_799_999_999));
        assert!(token(1).has_expired(1_800_000_000));
    }

    #[test]
    fn the_text_of_a_token_is_what_it_was() {
        assert_eq!(
            token(1).to_string(),
            "leveret1.wcHBwcHBwcHBwcHBwcHBwYqI4910CfGV_VLbLTy6XXLKZwm_HZQSG_N0iAG0D29cXl5eXl5e\
             Xl5eXl5eXl5eXgAAAABrSdIAAQtob3N0LTA6NzQwMPyj1Lo"
        );
    }

    #[test]
    fn every_typo_is_told_from_a_wrong_token() {
        let text = token(2).to_string();
        for at in PREFIX.len()..text.len() {
            for other in ["A", "z", "_", " ", "é", ""] {
                let typo = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                if typo != text {
                    let error = typo.parse::<JoinToken>().unwrap_err();
                    assert_eq!(error, TokenError::Mistyped, "{typo}");
                }
            }
            let cut = &text[..at];
            assert_eq!(cut.parse::<JoinToken>(), Err(TokenError::Mistyped));
        }
        let doubled = text.repeat(100);
        assert_eq!(doubled.parse::<JoinToken>(), Err(TokenError::Mistyped));
    }

    #[test]
    fn what_is_no_token_is_told_from_one_of_another_version() {
        for text in [
            "",
            "token",
            "leveret",
            "leveret1",
            "leveretx.abc",
            "lever1.abc",
        ] {
            assert_eq!(text.parse::<JoinToken>(), Err(TokenError::NotAToken));
        }
        let error = "leveret2.abc".parse::<JoinToken>().unwrap_err();
        assert_eq!(error, TokenError::OtherVersion("leveret2".into()));
    }

    #[test]
    fn a_token_with_a_good_checksum_is_still_checked() {
        let whole = token(1).to_bytes();
        let content = &whole[..whole.len() - CHECKSUM_BYTES];
        let parse = |content: &[u8]| {
            let bytes = [content, &checksum(content)].concat();
            JoinToken::from_bytes(&bytes)
        };
        assert!(parse(content).is_ok());
        for length in 0..content.len() {
            let error = parse(&content[..length]).unwrap_err();
            assert!(matches!(error, TokenError::Malformed(_)), "{length}");
        }
        assert!(parse(&[content, &[0]].concat()).is_err());
        let mut no_address = content[..FIXED_BYTES].to_vec();
        no_address[FIXED_BYTES - 1] = 0;
        assert!(parse(&no_address).is_err());
        let mut weak_key = content.to_vec();
        weak_key[16..48].fill(0);
        assert!(parse(&weak_key).is_err());
    }

    #[test]
    fn debug_output_does_not_show_the_secret() {
        let shown = format!("{:?}", token(1));
        assert!(shown.contains("host-0:7400"), "{shown}");
        assert!(
            !shown.contains("secret") && !shown.contains("5e5e"),
            "{shown}"
        );
    }
}
