//! What gets to a daemon over the network and from the system and should not: everybody else goes
//! on as if nothing had been.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leveret::JoinToken;
use leveret::codec::frame::FRAME_BYTES_MAX;
use leveret::codec::handshake::{Greeting, HANDSHAKE_BYTES_MAX, JoinSecret, RefusalCode};
use leveret::model::ClusterId;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::intruder::{Intruder, hello};
use super::proxy::{Network, Weather};
use crate::daemon::{Daemon, PATIENCE, Ran, until, until_equal};

/// Numbers of `CloseCode`, as the reference has them.
const BAD_FRAME: u64 = 4;
const BAD_MESSAGE: u64 = 7;

/// A daemon that does not start says why in one line, and what to do about it.
#[track_caller]
fn assert_refused(data: &Path, arguments: &[&str], parts: &[&str]) -> Ran {
    let ran = match Daemon::try_start(data, arguments) {
        Ok(_) => panic!("it started with {arguments:?}"),
        Err(ran) => ran,
    };
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let last = ran.err.lines().last().unwrap();
    assert!(last.starts_with("leveret: "), "{ran:?}");
    assert!(!ran.err.contains("panicked"), "{ran:?}");
    for part in parts {
        assert!(last.contains(part), "`{part}` is not in: {last}");
    }
    ran
}

/// That a daemon takes saves, has no member but itself and `members` others, and has not changed
/// its mind about anything else.
#[track_caller]
fn assert_undisturbed(daemon: &Daemon, members: usize) {
    let name = daemon.data().file_name().unwrap().to_str().unwrap();
    let count = daemon.client().logged().len();
    let script = format!("add /well-{name}-{count}");
    daemon.client().apply(&script).unwrap();
    let status = daemon.client().status();
    assert_eq!(status["ready"], true, "{status:#}");
    let others = status["peers"].as_array().unwrap().iter();
    assert_eq!(
        others.filter(|peer| peer["member"] == true).count(),
        members,
        "{status:#}"
    );
    assert!(!daemon.log().contains("panicked"));
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_token_with_another_secret_or_behind_its_time_lets_nobody_in() {
    let directory = directory();
    let founder = Daemon::start(&directory.path().join("a"), &[]);
    let newcomer = directory.path().join("b");
    let good: JoinToken = founder.client().token().parse().unwrap();
    let forged = |secret, expires| {
        let addresses = good.addresses().to_vec();
        let token = JoinToken::new(good.cluster(), good.inviter(), addresses, secret, expires);
        token.unwrap().to_string()
    };
    let later = good.expires_unix_seconds() + 10_000;
    let wrong = forged(JoinSecret([3; 16]), later);
    assert_refused(&newcomer, &["--join", &wrong], &["wrong token"]);

    // The text can be made to last longer, but not the record that the cluster keeps.
    let query = [("expires_ms", "1500")];
    let short = founder.client().try_post("/v1/token", &query, "").unwrap();
    let short: serde_json::Value = serde_json::from_str(&short).unwrap();
    let short: JoinToken = short["token"].as_str().unwrap().parse().unwrap();
    std::thread::sleep(Duration::from_millis(2_000));
    assert_refused(&newcomer, &["--join", &short.to_string()], &["expired"]);
    let stretched = forged(short.secret(), later);
    assert_refused(&newcomer, &["--join", &stretched], &["expired token"]);
    assert_undisturbed(&founder, 0);

    // None of that spoils the directory.
    let joined = Daemon::start(&newcomer, &["--join", &good.to_string()]);
    until_equal(&[founder.client(), joined.client()], PATIENCE);
    assert_undisturbed(&founder, 1);
}

#[test]
fn daemons_of_two_clusters_stay_apart_even_where_they_meet() {
    let directory = directory();
    let mut network = Network::new(11);
    let places = [network.place()];
    let a = network.start(places[0], &directory.path().join("a"), None);
    let b_place = network.place();
    let token = a.client().token();
    let mut b = network.start(b_place, &directory.path().join("b"), Some(&token));
    until_equal(&[a.client(), b.client()], PATIENCE);
    let stranger = Daemon::start(&directory.path().join("x"), &[]);
    stranger.client().apply("add /of-another-cluster").unwrap();

    // A directory of one cluster is not taken to another by a token.
    assert_eq!(b.terminate().0, Some(0));
    let foreign = stranger.client().token();
    let cluster = a.client().status()["cluster"].as_str().unwrap().to_owned();
    assert_refused(b.data(), &["--join", &foreign], &["cluster", &cluster]);

    // Now the stranger answers where B was. A dials it, and finds that it is somebody else.
    network.settle(b_place, stranger.listen());
    until("A says that somebody else is there", || {
        let status = a.client().status();
        let error = status["peers"][0]["error"].as_str().unwrap_or_default();
        error.contains("has the key")
    });
    let trees = [&a, &stranger].map(|daemon| daemon.client().tree("main"));
    assert!(!trees[0].contains("of-another-cluster"));
    assert_eq!(trees[1], "{\"of-another-cluster\": {}}\n");
    assert_undisturbed(&stranger, 0);

    // And when B is back, at the same address, all is well.
    b.restart();
    network.settle(b_place, b.listen());
    until_equal(&[a.client(), b.client()], PATIENCE);
    assert_undisturbed(&a, 1);
}

#[tokio::test]
async fn a_hello_that_does_not_fit_is_refused_by_name() {
    let directory = directory();
    let daemon = Daemon::start(&directory.path().join("a"), &[]);
    let token: JoinToken = daemon.client().token().parse().unwrap();
    let (own, other) = (Some(token.cluster()), Some(ClusterId([9; 16])));
    let good = Greeting::Hello(hello(own, None)).encode().unwrap();
    // The second byte is the version.
    let mut later = good.clone();
    later[1] = 99;
    let mut trailing = good.clone();
    trailing.push(0);
    let foreign = Greeting::Hello(hello(other, Some(token.secret()))).encode();
    let guessed = Greeting::Hello(hello(own, Some(JoinSecret([0; 16])))).encode();
    let cases = [
        (later, RefusalCode::UnknownProtocolVersion),
        (trailing, RefusalCode::Malformed),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), RefusalCode::Malformed),
        (foreign.unwrap(), RefusalCode::OtherCluster),
        (good, RefusalCode::NotAMember),
        (guessed.unwrap(), RefusalCode::WrongToken),
    ];
    for (greeting, code) in cases {
        let mut intruder = Intruder::dial(daemon.listen(), 1).await;
        match intruder.greet(&greeting).await {
            Greeting::Refused(refused) => {
                assert_eq!(refused.code, code, "{refused:?}");
                assert!(!refused.reason.is_empty());
                assert_eq!((refused.version_oldest, refused.version_newest), (1, 1));
            }
            other => panic!("{other:?} instead of {code:?}"),
        }
    }
    assert_undisturbed(&daemon, 0);
}

#[tokio::test]
async fn frames_past_the_bound_and_messages_that_are_none_end_their_connection_and_nothing_else() {
    let directory = directory();
    let daemon = Daemon::start(&directory.path().join("a"), &[]);
    let token: JoinToken = daemon.client().token().parse().unwrap();

    // From a stranger.
    let mut intruder = Intruder::dial(daemon.listen(), 1).await;
    intruder.say(&(HANDSHAKE_BYTES_MAX + 1).to_be_bytes()).await;
    assert_eq!(intruder.closed().await.0, BAD_FRAME);
    assert_undisturbed(&daemon, 0);

    // From one that has joined, and so is a member from now on.
    let welcomed = async || {
        let mut intruder = Intruder::dial(daemon.listen(), 1).await;
        let hello = hello(Some(token.cluster()), Some(token.secret()));
        let greeting = Greeting::Hello(hello).encode().unwrap();
        let answer = intruder.greet(&greeting).await;
        assert!(matches!(answer, Greeting::Welcome(_)), "{answer:?}");
        intruder
    };
    let mut intruder = welcomed().await;
    intruder.say(&(FRAME_BYTES_MAX + 1).to_be_bytes()).await;
    assert_eq!(intruder.closed().await.0, BAD_FRAME);
    let mut intruder = welcomed().await;
    intruder.say(&[0; 4]).await;
    assert_eq!(intruder.closed().await.0, BAD_FRAME);
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    for length in [1, 2, 3, 50, 5_000, 2_000_000] {
        let mut frame = vec![0; length];
        rng.fill_bytes(&mut frame);
        // A byte that begins no message.
        frame[0] = 0xc1;
        let mut intruder = welcomed().await;
        intruder.frame(&frame).await;
        let (code, reason) = intruder.closed().await;
        assert_eq!(code, BAD_MESSAGE, "{reason}");
        assert!(!reason.is_empty());
    }
    // Nested deeper than any message is.
    let mut intruder = welcomed().await;
    intruder.frame(&[0x91; 100_000]).await;
    assert_eq!(intruder.closed().await.0, BAD_MESSAGE);
    assert_undisturbed(&daemon, 1);
}

#[test]
fn garbage_on_the_port_for_peers_does_not_come_between_them() {
    let directory = directory();
    let mut network = Network::new(13);
    let places = [network.place()];
    let a = network.start(places[0], &directory.path().join("a"), None);
    let b_place = network.place();
    let token = a.client().token();
    let b = network.start(b_place, &directory.path().join("b"), Some(&token));
    // What they say to each other is garbled too.
    network.weather(
        &[places[0], b_place],
        Weather {
            garbled: 0.1,
            ..Weather::default()
        },
    );
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(14);
    for round in 0..4_000_usize {
        let mut datagram = vec![0; rng.random_range(0..1_400)];
        rng.fill_bytes(&mut datagram);
        // Some look like the first packet of a connection, some like one of a version to come.
        if let Some(head) = datagram.first_chunk_mut::<7>().filter(|_| round % 3 > 0) {
            let version = if round % 3 == 1 { 1 } else { 0x77 };
            *head = [0xc0 | head[0], 0, 0, 0, version, 8, head[6]];
        }
        let to = [a.listen(), b.listen()][round % 2];
        socket.send_to(&datagram, to).unwrap();
        if round % 400 == 0 {
            a.client().apply(&format!("add /a{round}")).unwrap();
            b.client().apply(&format!("add /b{round}")).unwrap();
        }
    }
    until_equal(&[a.client(), b.client()], PATIENCE);
    assert_eq!(a.client().logged().len(), 20);
    assert_undisturbed(&a, 1);
    assert_undisturbed(&b, 1);
}

#[test]
fn a_second_daemon_on_a_directory_is_refused_and_the_first_goes_on() {
    let directory = directory();
    let data = directory.path().join("a");
    let daemon = Daemon::start(&data, &[]);
    until("it has written its member record", || {
        daemon.client().tree("system").contains("members")
    });
    let before = daemon.client().tree("system");
    assert_refused(&data, &[], &["in use"]);
    assert_eq!(daemon.client().tree("system"), before);
    assert_undisturbed(&daemon, 0);
}

#[test]
fn a_daemon_that_is_asked_to_end_does_so_within_two_seconds_and_keeps_what_it_acknowledged() {
    let directory = directory();
    let mut daemon = Daemon::start(&directory.path().join("a"), &[]);
    let mut ids = Vec::new();
    for round in 0..3 {
        let ending = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let (client, ending) = (daemon.client().clone(), &ending);
                    scope.spawn(move || {
                        let mut ids = Vec::new();
                        for i in 0.. {
                            let script = format!("add /n-{round}-{writer}-{i}");
                            match client.apply(&script) {
                                Ok(saved) => ids.extend(saved),
                                Err(_) if ending.load(Ordering::Relaxed) => break,
                                Err(failure) => panic!("{failure:?}"),
                            }
                        }
                        ids
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(700));
            ending.store(true, Ordering::Relaxed);
            let (code, time) = daemon.terminate();
            assert_eq!(code, Some(0));
            assert!(time < Duration::from_secs(2), "{time:?}");
            for writer in writers {
                ids.extend(writer.join().unwrap());
            }
        });
        daemon.restart();
        let logged = daemon.client().logged();
        assert!(
            ids.iter().all(|id| logged.contains(id)),
            "an acknowledged save is gone"
        );
    }
    assert!(ids.len() > 50, "{} saves only", ids.len());
}
