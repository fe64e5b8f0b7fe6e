//! An endpoint among those that do not behave: it closes their connections, and goes on.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::codec::handshake::{Greeting, Refused};

/// Dials with any TLS configuration whatever, below our own code.
async fn dial(tls: rustls::ClientConfig, two: &Endpoint) -> Result<Connection, ConnectionError> {
    let crypto = QuicClientConfig::try_from(tls).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let quic = quinn::Endpoint::client(loopback()).unwrap();
    let address = two.local_addr().unwrap();
    quic.connect_with(config, address, "leveret").unwrap().await
}

fn good_tls() -> rustls::ClientConfig {
    let own = tls::certified(&identity(1).public(), &identity(1));
    tls::client_config(own, Arc::new(tls::KeyVerifier::new(None))).unwrap()
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes(), frame].concat()
}

fn hello_frame() -> Vec<u8> {
    Greeting::Hello(hello()).encode().unwrap()
}

type Raw = (Connection, SendStream, RecvStream);

/// A connection over which these bytes were sent.
async fn say(two: &Endpoint, bytes: &[u8]) -> Raw {
    let connection = dial(good_tls(), two).await.unwrap();
    let (mut send, recv) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    (connection, send, recv)
}

/// One that was welcomed, and the other side of its link.
async fn welcomed(two: &Endpoint) -> (Raw, Link) {
    let mut raw = say(two, &framed(&hello_frame())).await;
    let caller = two.accept().await.unwrap();
    let link = caller.welcome(&welcome()).await.unwrap();
    let mut length = [0; 4];
    raw.2.read_exact(&mut length).await.unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    raw.2.read_exact(&mut frame).await.unwrap();
    assert_eq!(Greeting::decode(&frame), Ok(Greeting::Welcome(welcome())));
    (raw, link)
}

async fn refusal(mut recv: RecvStream) -> Refused {
    let bytes = recv.read_to_end(10_000).await.unwrap();
    match Greeting::decode(&bytes[4..]) {
        Ok(Greeting::Refused(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

/// That nobody was let through, and that one who behaves still is.
async fn assert_undisturbed(two: &Endpoint) {
    let one = endpoint(1);
    let (a, b) = link(&one, two).await;
    let (mut send, _a_recv) = a.split();
    let (_b_send, mut recv) = b.split();
    send.send(b"well").await.unwrap();
    assert_eq!(recv.recv().await.unwrap().unwrap(), b"well");
}

fn close_code(error: &ConnectionError) -> u64 {
    match error {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn garbage_datagrams_do_not_disturb() {
    let two = endpoint(2);
    let socket = UdpSocket::bind(loopback()).await.unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for round in 0..2_000_usize {
        let mut datagram = vec![0; (round * 37) % 1_400];
        rng.fill_bytes(&mut datagram);
        // Every other one looks like the first packet of a QUIC connection of version 1.
        if round % 2 == 0 && datagram.len() > 30 {
            let first = 0xc0 | (datagram[0] & 0x0f);
            datagram[..7].copy_from_slice(&[first, 0, 0, 0, 1, 8, 1]);
        }
        let address = two.local_addr().unwrap();
        socket.send_to(&datagram, address).await.unwrap();
    }
    assert_undisturbed(&two).await;
}

#[tokio::test]
async fn one_who_shows_no_key_is_not_heard() {
    let two = endpoint(2);
    let mut tls = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(tls::KeyVerifier::new(None)))
        .with_no_client_auth();
    tls.alpn_protocols = vec![tls::ALPN.to_vec()];
    // The client may think itself connected until the server has seen the missing key.
    if let Ok(connection) = dial(tls, &two).await {
        let end = connection.closed().await;
        assert!(matches!(end, ConnectionError::ConnectionClosed(_)), "{end}");
    }
    assert_undisturbed(&two).await;
}

#[tokio::test]
async fn another_protocol_is_turned_away() {
    let two = endpoint(2);
    for protocols in [vec![], vec![b"h3".to_vec()]] {
        let mut tls = good_tls();
        tls.alpn_protocols = protocols;
        assert!(dial(tls, &two).await.is_err());
    }
    assert_undisturbed(&two).await;
}

#[tokio::test]
async fn nobody_dials_under_a_key_that_it_does_not_hold() {
    let two = endpoint(2);
    let stolen = tls::certified(&identity(1).public(), &identity(66));
    let tls = tls::client_config(stolen, Arc::new(tls::KeyVerifier::new(None))).unwrap();
    if let Ok(connection) = dial(tls, &two).await {
        let end = connection.closed().await;
        assert!(matches!(end, ConnectionError::ConnectionClosed(_)), "{end}");
    }
    assert_undisturbed(&two).await;
}

#[tokio::test]
async fn nobody_answers_under_a_key_that_it_does_not_hold() {
    let stolen = tls::certified(&identity(2).public(), &identity(66));
    let crypto = QuicServerConfig::try_from(tls::server_config(stolen).unwrap()).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let impostor = quinn::Endpoint::server(config, loopback()).unwrap();
    let address = impostor.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        for _ in 0..2 {
            let incoming = impostor.accept().await.unwrap();
            assert!(incoming.await.is_err());
        }
    });
    for expected in [None, Some(identity(2).public())] {
        let error = endpoint(1).connect(address, expected, &hello()).await;
        let error = error.unwrap_err();
        assert!(matches!(error, ConnectError::NotAPeer { .. }), "{error}");
    }
    answering.await.unwrap();
}

#[tokio::test]
async fn an_unknown_protocol_version_is_refused_with_those_known() {
    let two = endpoint(2);
    let mut later = hello_frame();
    assert_eq!(later[1], 1, "the version stands there");
    later[1] = 9;
    let (_connection, _send, recv) = say(&two, &framed(&later)).await;
    let refused = refusal(recv).await;
    assert_eq!(refused.code, RefusalCode::UnknownProtocolVersion);
    assert_eq!((refused.version_oldest, refused.version_newest), (1, 1));
    assert!(refused.reason.contains('9'), "{refused}");
    assert_undisturbed(&two).await;
}

#[tokio::test]
async fn what_is_no_hello_is_refused() {
    let two = endpoint(2);
    let not_hello = Greeting::Welcome(welcome()).encode().unwrap();
    for frame in [&b"GET / HTTP/1.1"[..], &not_hello] {
        let (_connection, _send, recv) = say(&two, &framed(frame)).await;
        assert_eq!(refusal(recv).await.code, RefusalCode::Malformed);
    }
    let (connection, _send, _recv) = say(&two, &8_193_u32.to_be_bytes()).await;
    assert_eq!(close_code(&connection.closed().await), 4);
    let (connection, mut send, _recv) = say(&two, &[0, 0]).await;
    send.finish().unwrap();
    assert_eq!(close_code(&connection.closed().await), 4);
    assert_undisturbed(&two).await;
}

#[tokio::test]
async fn a_hello_that_does_not_come_is_not_waited_for() {
    let two = endpoint(2);
    let begun = Instant::now();
    let silent = dial(good_tls(), &two).await.unwrap();
    let (slow, mut send, _recv) = say(&two, &framed(&hello_frame())[..5]).await;
    let drip = tokio::spawn(async move {
        while send.write_all(&[0x93]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    });
    assert_eq!(close_code(&silent.closed().await), 5);
    assert_eq!(close_code(&slow.closed().await), 5);
    assert!(begun.elapsed() < Duration::from_secs(2));
    drip.await.unwrap();
    assert_undisturbed(&two).await;
}

#[tokio::test]
async fn a_frame_past_the_bound_closes_the_link() {
    let two = endpoint(2);
    for announced in [FRAME_BYTES_MAX + 1, u32::MAX] {
        let ((connection, mut send, _recv), link) = welcomed(&two).await;
        let (_link_send, mut link_recv) = link.split();
        send.write_all(&announced.to_be_bytes()).await.unwrap();
        let error = link_recv.recv().await.unwrap_err();
        assert!(matches!(
            error,
            LinkError::Frame(FrameError::TooLong { .. })
        ));
        assert_eq!(close_code(&connection.closed().await), 4);
    }
    assert_undisturbed(&two).await;
}

#[tokio::test]
async fn a_frame_that_is_begun_and_never_finished_closes_the_link() {
    let two = endpoint(2);
    for begun_with in [&[0, 0][..], &[0, 0, 0, 100, 1, 2, 3]] {
        let ((connection, mut send, _recv), link) = welcomed(&two).await;
        let (_link_send, mut link_recv) = link.split();
        send.write_all(&framed(b"whole")).await.unwrap();
        send.write_all(begun_with).await.unwrap();
        assert_eq!(link_recv.recv().await.unwrap().unwrap(), b"whole");
        let begun = Instant::now();
        assert_eq!(link_recv.recv().await, Err(LinkError::TooSlow));
        assert!(begun.elapsed() < Duration::from_millis(900));
        assert_eq!(close_code(&connection.closed().await), 5);
    }
    // One byte now and then does not help.
    let ((connection, mut send, _recv), link) = welcomed(&two).await;
    let drip = tokio::spawn(async move {
        let mut bytes = framed(&[7; 1_000]).into_iter();
        while send.write_all(&[bytes.next().unwrap()]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (_link_send, mut link_recv) = link.split();
    assert_eq!(link_recv.recv().await, Err(LinkError::TooSlow));
    assert_eq!(close_code(&connection.closed().await), 5);
    drip.await.unwrap();
}

#[tokio::test]
async fn a_stream_that_ends_within_a_frame_closes_the_link() {
    let two = endpoint(2);
    let ((connection, mut send, _recv), link) = welcomed(&two).await;
    let (_link_send, mut link_recv) = link.split();
    send.write_all(&[0, 0, 0, 100, 1]).await.unwrap();
    send.finish().unwrap();
    assert_eq!(link_recv.recv().await, Err(LinkError::Truncated));
    assert_eq!(close_code(&connection.closed().await), 4);
}

#[tokio::test]
async fn one_who_is_not_welcome_yet_can_send_little() {
    let two = endpoint(2);
    let (_connection, mut send, _recv) = say(&two, &framed(&hello_frame())).await;
    let waits = two.accept().await.unwrap();
    let flood = vec![0; 1 << 20];
    let mut sent = 0;
    while let Ok(more) = timeout(Duration::from_millis(200), send.write(&flood)).await {
        sent += more.unwrap();
    }
    assert!(sent <= 70_000, "{sent} bytes were taken");
    drop(waits);
}

#[tokio::test]
async fn the_number_of_those_not_welcome_yet_is_bounded() {
    let limits = Limits {
        pending_max: 2,
        ..limits()
    };
    let two = Endpoint::bind(loopback(), &identity(2), limits).unwrap();
    let first = dial(good_tls(), &two).await.unwrap();
    let second = dial(good_tls(), &two).await.unwrap();
    let begun = Instant::now();
    let third = dial(good_tls(), &two).await;
    assert!(third.is_err());
    assert!(begun.elapsed() < Duration::from_millis(600), "told at once");
    first.closed().await;
    second.closed().await;
    assert_undisturbed(&two).await;
}
