//! Endpoints on loopback that behave. Those that do not are in `hostile`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use super::*;
use crate::codec::frame::{FRAME_BYTES_MAX, FrameError};
use crate::codec::handshake::{Hello, JoinSecret, RefusalCode, Welcome};
use crate::model::ClusterId;
use crate::replica::identity::Identity;

mod hostile;

const CLUSTER: ClusterId = ClusterId([0xc1; 16]);

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32])
}

fn limits() -> Limits {
    Limits {
        handshake_timeout: Duration::from_millis(800),
        frame_timeout: Duration::from_millis(400),
        ..Limits::default()
    }
}

fn endpoint(seed: u8) -> Endpoint {
    Endpoint::bind(loopback(), &identity(seed), limits()).unwrap()
}

fn hello() -> Hello {
    Hello {
        cluster: Some(CLUSTER),
        instance: [1; 16],
        name: "one".into(),
        addresses: vec!["127.0.0.1:7400".into()],
        join_secret: None,
        frame_bytes_max: FRAME_BYTES_MAX,
    }
}

fn welcome() -> Welcome {
    Welcome {
        cluster: CLUSTER,
        founder_key: identity(2).public(),
        founder_nonce: [9; 16],
        instance: [2; 16],
        name: "two".into(),
        addresses: vec![],
        frame_bytes_max: FRAME_BYTES_MAX,
    }
}

/// A link from `one` to `two`, seen from either side.
async fn link(one: &Endpoint, two: &Endpoint) -> (Link, Link) {
    let accept = async {
        let caller = two.accept().await.unwrap();
        assert_eq!(*caller.hello(), hello());
        caller.welcome(&welcome()).await.unwrap()
    };
    let address = two.local_addr().unwrap();
    let hello = hello();
    let (dialled, accepted) = tokio::join!(one.connect(address, None, &hello), accept);
    let (link, answer) = dialled.unwrap();
    assert_eq!(answer, welcome());
    (link, accepted)
}

#[tokio::test]
async fn frames_go_both_ways_up_to_the_bound() {
    let (one, two) = (endpoint(1), endpoint(2));
    let (a, b) = link(&one, &two).await;
    assert_eq!(a.peer_key(), identity(2).public());
    assert_eq!(b.peer_key(), identity(1).public());
    assert_eq!(a.remote_addr(), two.local_addr().unwrap());
    assert_eq!(b.remote_addr(), one.local_addr().unwrap());
    let (mut a_send, mut a_recv) = a.split();
    let (mut b_send, mut b_recv) = b.split();
    for length in [1, 2, 1_200, 70_000, FRAME_BYTES_MAX as usize] {
        let frame: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
        let (sent, echo, back) = tokio::join!(
            a_send.send(&frame),
            async {
                let frame = b_recv.recv().await.unwrap().unwrap();
                b_send.send(&frame).await
            },
            a_recv.recv()
        );
        assert!(sent.is_ok() && echo.is_ok());
        assert!(back.unwrap().unwrap() == frame, "{length} bytes differ");
    }
}

#[tokio::test]
async fn a_frame_past_what_the_peer_takes_is_not_sent_and_the_link_goes_on() {
    let (one, two) = (endpoint(1), endpoint(2));
    let small = Welcome {
        frame_bytes_max: 64 << 10,
        ..welcome()
    };
    let address = two.local_addr().unwrap();
    let hello = hello();
    let (dialled, accepted) = tokio::join!(one.connect(address, None, &hello), async {
        two.accept().await.unwrap().welcome(&small).await
    });
    let (mut send, _a_recv) = dialled.unwrap().0.split();
    let (_b_send, mut recv) = accepted.unwrap().split();
    assert_eq!(send.bound(), 64 << 10);
    let error = send.send(&vec![0; (64 << 10) + 1]).await.unwrap_err();
    assert!(matches!(
        error,
        LinkError::Frame(FrameError::TooLong { .. })
    ));
    assert!(send.send(&[]).await.is_err());
    send.send(b"after").await.unwrap();
    assert_eq!(recv.recv().await.unwrap().unwrap(), b"after");
}

#[tokio::test]
async fn a_peer_with_another_key_than_expected_is_not_told_anything() {
    let (one, two) = (endpoint(1), endpoint(2));
    let address = two.local_addr().unwrap();
    let expected = identity(3).public();
    let error = one.connect(address, Some(expected), &hello()).await;
    assert_eq!(
        error.unwrap_err(),
        ConnectError::WrongKey {
            address,
            expected,
            found: identity(2).public()
        }
    );
    let heard = timeout(Duration::from_millis(100), two.accept()).await;
    assert!(heard.is_err(), "it was heard");
    let (dialled, accepted) = {
        let hello = hello();
        let key = Some(identity(2).public());
        tokio::join!(one.connect(address, key, &hello), async {
            two.accept().await.unwrap().welcome(&welcome()).await
        })
    };
    assert!(dialled.is_ok() && accepted.is_ok());
}

#[tokio::test]
async fn a_secret_is_sent_to_nobody_but_the_expected_peer() {
    let (one, two) = (endpoint(1), endpoint(2));
    let address = two.local_addr().unwrap();
    let hello = Hello {
        join_secret: Some(JoinSecret([5; 16])),
        ..hello()
    };
    let error = one.connect(address, None, &hello).await.unwrap_err();
    assert_eq!(error, ConnectError::SecretForAnybody);
}

#[tokio::test]
async fn one_who_is_refused_learns_why() {
    let (one, two) = (endpoint(1), endpoint(2));
    let address = two.local_addr().unwrap();
    let hello = hello();
    let (dialled, ()) = tokio::join!(one.connect(address, None, &hello), async {
        let caller = two.accept().await.unwrap();
        caller.refuse(RefusalCode::ExpiredToken, "it expired at noon");
    });
    let ConnectError::Refused(refused) = dialled.unwrap_err() else {
        panic!("not refused");
    };
    assert_eq!(refused.code, RefusalCode::ExpiredToken);
    assert_eq!(refused.to_string(), "expired token: it expired at noon");
}

#[tokio::test]
async fn nobody_at_an_address_is_told_in_time() {
    let silent = UdpSocket::bind(loopback()).await.unwrap();
    let address = silent.local_addr().unwrap();
    let begun = Instant::now();
    let error = endpoint(1).connect(address, None, &hello()).await;
    assert_eq!(error.unwrap_err(), ConnectError::NoAnswer { address });
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn an_address_that_can_not_be_dialled_or_bound_is_named() {
    let one = endpoint(1);
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let error = one.connect(address, None, &hello()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Invalid { .. }), "{error}");
    let taken = one.local_addr().unwrap();
    let error = Endpoint::bind(taken, &identity(2), limits()).unwrap_err();
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}

#[tokio::test]
async fn what_was_sent_before_a_graceful_close_arrives() {
    let (one, two) = (endpoint(1), endpoint(2));
    let (a, b) = link(&one, &two).await;
    let handle = b.handle();
    let (mut send, _a_recv) = a.split();
    let (_b_send, mut recv) = b.split();
    let sender = tokio::spawn(async move {
        for i in 0..8 {
            send.send(&vec![i; 300_000]).await.unwrap();
        }
        send.close(CloseCode::Duplicate, "the other one stays")
            .await;
    });
    // Everything is here and the connection closed before the first frame is read.
    let end = handle.closed().await;
    assert_eq!(
        end,
        LinkError::Closed {
            code: CloseCode::Duplicate,
            reason: "the other one stays".into()
        }
    );
    for i in 0..8 {
        assert_eq!(recv.recv().await.unwrap().unwrap(), vec![i; 300_000]);
    }
    assert_eq!(recv.recv().await, Ok(None));
    sender.await.unwrap();
}

#[tokio::test]
async fn a_dropped_link_is_closed_at_once() {
    let (one, two) = (endpoint(1), endpoint(2));
    let dropped = LinkError::Closed {
        code: CloseCode::Dropped,
        reason: String::new(),
    };
    let (a, b) = link(&one, &two).await;
    let (mut b_send, mut b_recv) = b.split();
    drop(a);
    assert_eq!(b_recv.recv().await, Err(dropped.clone()));
    assert_eq!(b_send.send(b"late").await, Err(dropped.clone()));

    // One half alone: the peer sees that the rest is missing, in that direction.
    let (a, b) = link(&one, &two).await;
    let (a_send, mut a_recv) = a.split();
    let (mut b_send, mut b_recv) = b.split();
    drop(a_send);
    assert_eq!(b_recv.recv().await, Err(dropped));
    b_send.send(b"still here").await.unwrap();
    assert_eq!(a_recv.recv().await.unwrap().unwrap(), b"still here");
}

#[tokio::test]
async fn a_handle_closes_a_link_from_beside() {
    let (one, two) = (endpoint(1), endpoint(2));
    let (a, b) = link(&one, &two).await;
    let handle = a.handle();
    let (_a_send, mut a_recv) = a.split();
    let other = b.handle();
    let (waiting, (), told) = tokio::join!(
        a_recv.recv(),
        async { handle.close(CloseCode::BadMessage, "no such kind") },
        other.closed()
    );
    assert_eq!(waiting, Err(LinkError::ClosedHere));
    assert_eq!(
        told.to_string(),
        "closed by the peer: bad message: no such kind"
    );
}

#[tokio::test]
async fn an_endpoint_that_closes_says_so_to_everybody() {
    let (one, two) = (endpoint(1), endpoint(2));
    let (a, _b) = link(&one, &two).await;
    let handle = a.handle();
    let begun = Instant::now();
    let ((), end) = tokio::join!(two.close(CloseCode::ShuttingDown, "bye"), handle.closed());
    assert_eq!(end.to_string(), "closed by the peer: shutting down: bye");
    assert!(two.accept().await.is_none());
    let address = one.local_addr().unwrap();
    assert!(two.connect(address, None, &hello()).await.is_err());
    assert!(begun.elapsed() < Duration::from_millis(1_500));
}

#[tokio::test]
async fn receiving_can_be_interrupted_and_goes_on_where_it_was() {
    let (one, two) = (endpoint(1), endpoint(2));
    let (a, b) = link(&one, &two).await;
    let (mut send, _a_recv) = a.split();
    let (_b_send, mut recv) = b.split();
    let sender = tokio::spawn(async move {
        for i in 0..20 {
            send.send(&vec![i; 400_000]).await.unwrap();
        }
        send
    });
    for i in 0..20 {
        let frame = loop {
            if let Ok(frame) = timeout(Duration::from_micros(300), recv.recv()).await {
                break frame.unwrap().unwrap();
            }
        };
        assert_eq!(frame, vec![i; 400_000]);
    }
    sender.await.unwrap();
}

#[tokio::test]
async fn a_frame_that_was_sent_in_part_is_the_last_one() {
    let (one, two) = (endpoint(1), endpoint(2));
    let (a, b) = link(&one, &two).await;
    let (mut send, _a_recv) = a.split();
    // Nobody reads at the other end: after some frames sending has to wait.
    let frame = vec![1; FRAME_BYTES_MAX as usize];
    let mut sent = 0;
    while let Ok(done) = timeout(Duration::from_millis(300), send.send(&frame)).await {
        done.unwrap();
        sent += 1;
        assert!(sent < 20, "nothing is bounded");
    }
    assert_eq!(send.send(b"next").await, Err(LinkError::SentInPart));
    drop(b);
}

#[tokio::test]
async fn frames_go_at_a_decent_rate() {
    let (one, two) = (endpoint(1), endpoint(2));
    let (a, b) = link(&one, &two).await;
    let (mut a_send, mut a_recv) = a.split();
    let (mut b_send, mut b_recv) = b.split();
    let echo = tokio::spawn(async move {
        while let Ok(Some(frame)) = b_recv.recv().await {
            let answer = &frame[..frame.len().min(100)];
            b_send.send(answer).await.unwrap();
        }
    });
    let begun = Instant::now();
    for _ in 0..500 {
        a_send.send(&[7; 100]).await.unwrap();
        a_recv.recv().await.unwrap().unwrap();
    }
    let round_trip = begun.elapsed() / 500;
    let begun = Instant::now();
    let frame = vec![7; 1 << 20];
    let receive = async {
        for _ in 0..48 {
            a_recv.recv().await.unwrap().unwrap();
        }
    };
    let send = async {
        for _ in 0..48 {
            a_send.send(&frame).await.unwrap();
        }
    };
    tokio::join!(send, receive);
    let rate = 48.0 / begun.elapsed().as_secs_f64();
    println!("round trip {round_trip:?}, {rate:.0} MiB a second");
    assert!(round_trip < Duration::from_millis(5), "{round_trip:?}");
    assert!(rate > 8.0, "{rate} MiB a second");
    drop((a_send, a_recv));
    echo.await.unwrap();
}
