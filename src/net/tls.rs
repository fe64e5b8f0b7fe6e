//! TLS 1.3 in which both sides show a raw ed25519 public key (RFC 7250) instead of a certificate,
//! and sign the handshake with it.
//!
//! Whose key it is gets decided elsewhere: here every sound key is let through that the other side
//! can sign with, unless one particular key was asked for. Sessions are never resumed and nothing
//! is sent before the handshake is complete, so nothing can be replayed.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error,
    PeerIncompatible, ServerConfig, SignatureAlgorithm, SignatureScheme,
};

use crate::model::PublicKey;
use crate::replica::identity::{Identity, is_sound, verify};

/// What leveret calls itself in the handshake. It changes only if frames or the envelope of the
/// handshake do; versions of the messages are agreed on in the hello.
pub(super) const ALPN: &[u8] = b"leveret/1";
/// The name given where TLS wants one. It is not sent and means nothing.
pub(super) const SERVER_NAME: &str = "leveret";

/// What stands in front of the 32 bytes of an ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

fn to_spki(key: &PublicKey) -> Vec<u8> {
    [&SPKI_PREFIX[..], &key.0].concat()
}

/// The key in a SubjectPublicKeyInfo, if it is a sound one of ed25519.
pub(super) fn key_of_spki(spki: &[u8]) -> Option<PublicKey> {
    let key = PublicKey(spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok()?);
    is_sound(&key).then_some(key)
}

/// For the side that is dialled. Takes one that dials with any sound key.
pub(super) fn server_config(own: Arc<CertifiedKey>) -> Result<ServerConfig, Error> {
    let verifier = Arc::new(KeyVerifier::new(None));
    let keys = AlwaysResolvesServerRawPublicKeys::new(own);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(keys));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// For the side that dials.
pub(super) fn client_config(
    own: Arc<CertifiedKey>,
    verifier: Arc<KeyVerifier>,
) -> Result<ClientConfig, Error> {
    let keys = AlwaysResolvesClientRawPublicKeys::new(own);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(keys));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(config)
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What one side shows in the handshake: a key, and what signs for it.
pub(super) fn certified(shown: &PublicKey, signer: &Identity) -> Arc<CertifiedKey> {
    let spki = CertificateDer::from(to_spki(shown));
    let key = TlsKey(signer.clone());
    Arc::new(CertifiedKey::new(vec![spki], Arc::new(key)))
}

/// Lets TLS sign with an identity, whose private key stays where it is.
#[derive(Clone, Debug)]
struct TlsKey(Identity);

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ED25519)
            .then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(to_spki(&self.0.public()).into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// Checks the key of the other side, and that it holds the private key too.
pub(super) struct KeyVerifier {
    expected: Option<PublicKey>,
    /// The key that was shown instead of the expected one.
    unexpected: OnceLock<PublicKey>,
}

impl KeyVerifier {
    /// Takes every sound key, or only the expected one.
    pub(super) fn new(expected: Option<PublicKey>) -> Self {
        Self {
            expected,
            unexpected: OnceLock::new(),
        }
    }

    /// The expected key and the other one that was shown, if that was why a handshake failed.
    pub(super) fn mismatch(&self) -> Option<(PublicKey, PublicKey)> {
        Some((self.expected?, *self.unexpected.get()?))
    }

    fn check_key(&self, spki: &[u8], chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let key = key_of_spki(spki)
            .filter(|_| chain.is_empty())
            .ok_or(CertificateError::BadEncoding)?;
        if self.expected.is_some_and(|expected| expected != key) {
            // Set before only if one verifier were used for two connections.
            let _ = self.unexpected.set(key);
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(())
    }

    fn check_signature(
        &self,
        message: &[u8],
        spki: &[u8],
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = key_of_spki(spki).ok_or(CertificateError::BadEncoding)?;
        if signed.scheme == SignatureScheme::ED25519 && verify(&key, message, signed.signature()) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }
}

impl fmt::Debug for KeyVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyVerifier({:?})", self.expected)
    }
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_key(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for KeyVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_key(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
