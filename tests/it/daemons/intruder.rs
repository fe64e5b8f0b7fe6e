//! Somebody who talks to a daemon below our own code: QUIC and TLS as they have to be, and on top
//! of them any bytes whatever.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use leveret::codec::frame::FRAME_BYTES_MAX;
use leveret::codec::handshake::{Greeting, Hello, JoinSecret};
use leveret::model::{ClusterId, PublicKey};
use leveret::replica::identity::Identity;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureAlgorithm, SignatureScheme};

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A connection to a daemon, on which nothing has been said yet.
pub(super) struct Intruder {
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
    _endpoint: Endpoint,
}

/// A hello as it has to be.
pub(super) fn hello(cluster: Option<ClusterId>, secret: Option<JoinSecret>) -> Hello {
    Hello {
        cluster,
        instance: [7; 16],
        name: "intruder".into(),
        addresses: vec!["127.0.0.1:9".into()],
        join_secret: secret,
        frame_bytes_max: FRAME_BYTES_MAX,
    }
}

impl Intruder {
    /// Dials, with the key of this seed.
    pub(super) async fn dial(address: SocketAddr, seed: u8) -> Self {
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let crypto = QuicClientConfig::try_from(tls(Identity::from_seed(&[seed; 32]))).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let dialled = endpoint.connect_with(config, address, "leveret").unwrap();
        let connection = dialled.await.unwrap();
        let (send, recv) = connection.open_bi().await.unwrap();
        Self {
            connection,
            send,
            recv,
            _endpoint: endpoint,
        }
    }

    /// Says some bytes.
    pub(super) async fn say(&mut self, bytes: &[u8]) {
        // It may be cut short by a daemon that has heard enough.
        let _ = self.send.write_all(bytes).await;
    }

    /// Says a frame.
    pub(super) async fn frame(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap();
        self.say(&[&length.to_be_bytes()[..], frame].concat()).await;
    }

    /// Says a greeting, and hears the answer.
    pub(super) async fn greet(&mut self, greeting: &[u8]) -> Greeting {
        self.frame(greeting).await;
        let answer = async {
            let mut length = [0; 4];
            self.recv.read_exact(&mut length).await.unwrap();
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            self.recv.read_exact(&mut frame).await.unwrap();
            frame
        };
        let frame = tokio::time::timeout(PATIENCE, answer).await.unwrap();
        Greeting::decode(&frame).unwrap()
    }

    /// Waits until the daemon closes the connection. Gives the code, and its reason for people.
    pub(super) async fn closed(self) -> (u64, String) {
        let end = tokio::time::timeout(PATIENCE, self.connection.closed());
        match end.await.expect("it is closed in time") {
            ConnectionError::ApplicationClosed(close) => (
                close.error_code.into_inner(),
                String::from_utf8_lossy(&close.reason).into_owned(),
            ),
            other => panic!("{other}"),
        }
    }
}

fn tls(identity: Identity) -> ClientConfig {
    let spki = CertificateDer::from(spki(&identity.public()));
    let own = CertifiedKey::new(vec![spki], Arc::new(Key(identity)));
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(
            own,
        ))));
    config.alpn_protocols = vec![b"leveret/1".to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config
}

/// A public key as RFC 8410 writes it.
fn spki(key: &PublicKey) -> Vec<u8> {
    let prefix = [48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0];
    [&prefix[..], &key.0].concat()
}

#[derive(Clone, Debug)]
struct Key(Identity);

impl SigningKey for Key {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(self.clone()))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(spki(&self.0.public()).into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// Takes any server for what it says it is.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
