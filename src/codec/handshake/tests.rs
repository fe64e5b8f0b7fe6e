//! Tests of the handshake's bytes.

use super::*;
use proptest::prelude::*;

fn hello() -> Hello {
    Hello {
        cluster: Some(ClusterId([0xc1; 16])),
        instance: [0x1a; 16],
        name: "north".into(),
        addresses: vec!["10.0.0.1:7400".into()],
        join_secret: Some(JoinSecret([0x5e; 16])),
        frame_bytes_max: 2 << 20,
    }
}

fn welcome() -> Welcome {
    Welcome {
        cluster: ClusterId([0xc1; 16]),
        founder_key: PublicKey([0xf0; 32]),
        founder_nonce: [0x40; 16],
        instance: [0x1a; 16],
        name: "süd".into(),
        addresses: vec![],
        frame_bytes_max: 2 << 20,
    }
}

fn greetings() -> [Greeting; 4] {
    let newcomer = Hello {
        cluster: None,
        join_secret: None,
        ..hello()
    };
    [
        Greeting::Hello(hello()),
        Greeting::Hello(newcomer),
        Greeting::Welcome(welcome()),
        Greeting::Refused(Refused::new(RefusalCode::WrongToken, "no such token")),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_of_every_greeting_are_what_they_were() {
    let (c1, a1, e5) = ("c1".repeat(16), "1a".repeat(16), "5e".repeat(16));
    let (f0, n4) = ("f0".repeat(32), "40".repeat(16));
    let address = hex(b"10.0.0.1:7400");
    let golden = [
        // [version, kind, body]: structs are arrays, ids and secrets byte strings.
        format!(
            "930101c45196c410{c1}c410{a1}a5{}91ad{address}c410{e5}ce00200000",
            hex(b"north")
        ),
        format!(
            "930101c42f96c0c410{a1}a5{}91ad{address}c0ce00200000",
            hex(b"north")
        ),
        format!(
            "930102c46497c410{c1}c420{f0}c410{n4}c410{a1}a4{}90ce00200000",
            hex("süd".as_bytes())
        ),
        format!("930103c413000400010001{}", hex(b"no such token")),
    ];
    for (greeting, golden) in greetings().iter().zip(golden) {
        assert_eq!(hex(&greeting.encode().unwrap()), golden, "{greeting:?}");
    }
}

#[test]
fn what_was_encoded_is_decoded() {
    for greeting in greetings() {
        assert_eq!(Greeting::decode(&greeting.encode().unwrap()), Ok(greeting));
    }
}

#[test]
fn another_version_is_named_whatever_its_body_holds() {
    let frame = pack(&Envelope(7, KIND_HELLO, Bytes::new(b"\xc1 anything")));
    let error = Greeting::decode(&frame).unwrap_err();
    assert_eq!(error, HandshakeError::UnknownVersion { version: 7 });
}

#[test]
fn a_refusal_of_another_version_can_be_read() {
    let body = [
        &[0, 99, 0, 7, 0, 9][..],
        "bad\nnews \u{9b}".as_bytes(),
        &[0xff],
    ]
    .concat();
    let frame = pack(&Envelope(9, KIND_REFUSED, Bytes::new(&body)));
    let Greeting::Refused(refused) = Greeting::decode(&frame).unwrap() else {
        panic!("not a refusal");
    };
    assert_eq!(refused.code, RefusalCode::Other(99));
    assert_eq!((refused.version_oldest, refused.version_newest), (7, 9));
    assert_eq!(refused.reason, "bad news  \u{fffd}");
}

#[test]
fn every_code_keeps_its_number() {
    for number in 0..20 {
        let code = RefusalCode::of_number(number);
        assert_eq!(code.number(), number);
        assert_eq!(
            matches!(code, RefusalCode::Other(_)),
            !(1..=10).contains(&number)
        );
    }
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let refused = Refused::new(RefusalCode::Unable, &"ü".repeat(400));
    assert_eq!(refused.reason.len(), REASON_BYTES_MAX);
    let refused = Refused::new(RefusalCode::Unable, &format!("a{}", "ü".repeat(400)));
    assert_eq!(refused.reason.len(), REASON_BYTES_MAX - 1);
}

#[test]
fn fields_past_their_bounds_are_refused_at_both_ends() {
    let many = vec!["a:1".to_owned(); ADDRESSES_MAX + 1];
    let broken = [
        Hello {
            name: "n".repeat(256),
            ..hello()
        },
        Hello {
            name: "bell\u{7}".into(),
            ..hello()
        },
        Hello {
            addresses: many,
            ..hello()
        },
        Hello {
            addresses: vec!["nowhere".into()],
            ..hello()
        },
        Hello {
            frame_bytes_max: 100,
            ..hello()
        },
    ];
    for hello in broken {
        assert!(
            Greeting::Hello(hello.clone()).encode().is_err(),
            "{hello:?}"
        );
        let wire = HelloWire {
            cluster: None,
            instance: ByteArray::new(hello.instance),
            name: &hello.name,
            addresses: hello.addresses.iter().map(String::as_str).collect(),
            join_secret: None,
            frame_bytes_max: hello.frame_bytes_max,
        };
        let frame = pack(&Envelope(1, KIND_HELLO, Bytes::new(&pack(&wire))));
        let error = Greeting::decode(&frame).unwrap_err();
        assert!(matches!(error, HandshakeError::Malformed(_)), "{error}");
    }
}

#[test]
fn bytes_behind_a_greeting_and_long_forms_of_numbers_are_refused() {
    let mut frame = Greeting::Hello(hello()).encode().unwrap();
    frame.push(0);
    assert!(Greeting::decode(&frame).is_err());
    let good = Greeting::Hello(hello()).encode().unwrap();
    // Kind 1 as a two-byte number.
    let long = [&good[..2], &[0xcc, 0x01], &good[3..]].concat();
    assert!(Greeting::decode(&long).is_err());
    assert!(Greeting::decode(&vec![0xc4; HANDSHAKE_BYTES_MAX as usize + 1]).is_err());
}

#[test]
fn addresses_are_a_host_and_a_port() {
    for good in ["a:1", "example.org:7400", "127.0.0.1:65535", "[::1]:7400"] {
        assert!(is_address(good), "{good}");
    }
    let bad = [
        "", ":", "a", "a:", ":1", "a:0", "a:65536", "a:+1", "::1:7400", "[::1]", "[x]:1", "a b:1",
        "a\u{7}:1", "ä:1",
    ];
    for bad in bad {
        assert!(!is_address(bad), "{bad:?}");
    }
    assert!(!is_address(&format!("{}:1", "a".repeat(ADDRESS_BYTES_MAX))));
}

#[test]
fn a_secret_is_not_shown() {
    let shown = format!("{:?}", hello());
    assert!(shown.contains("JoinSecret(..)"), "{shown}");
    assert!(!shown.contains("5e") && !shown.contains("94"), "{shown}");
}

proptest! {
    #[test]
    fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Greeting::decode(&bytes);
    }

    #[test]
    fn a_changed_byte_never_makes_another_form_of_the_same_greeting(at in 0_usize..84, to: u8) {
        let original = Greeting::Hello(hello());
        let mut frame = original.encode().unwrap();
        prop_assume!(frame[at] != to);
        frame[at] = to;
        prop_assert_ne!(Greeting::decode(&frame), Ok(original));
    }
}
