use proptest::prelude::*;

use super::*;
use crate::codec::testing::{hex, survives};

fn samples() -> Vec<(Message, &'static str)> {
    let (repo, origin) = (RepoId::MAIN, OriginId([0xab; 16]));
    let records = vec![
        SealedBytes {
            body: b"one".as_slice().into(),
            seal: None,
        },
        SealedBytes {
            body: b"two".as_slice().into(),
            seal: Some(Seal([7; 64])),
        },
    ];
    let heads = vec![(OriginId([1; 16]), Sequence(1)), (origin, Sequence(300))];
    vec![
        (
            Message::Summary {
                repo,
                heads_hash: [1; 16],
                applied_hash: [2; 16],
                digest: [3; 16],
            },
            "930101c4389401c41001010101010101010101010101010101c41002020202020202020202020202020202c4\
         1003030303030303030303030303030303",
        ),
        (
            Message::Heads {
                repo,
                heads: heads.clone(),
                reply: true,
                hash: [4; 16],
            },
            "930102c44094019292c410010101010101010101010101010101010192c410ababababababababababababab\
         abababcd012cc3c41004040404040404040404040404040404",
        ),
        (
            Message::Want {
                repo,
                origin,
                after: Sequence(7),
            },
            "930103c4159301c410abababababababababababababababab07",
        ),
        (
            Message::Range {
                repo,
                origin,
                first: Sequence(8),
                records: records.clone(),
                more: false,
            },
            "930104c4669501c410abababababababababababababababab089292c4036f6e65c092c40374776fc4400707\
         0707070707070707070707070707070707070707070707070707070707070707070707070707070707070707\
         070707070707070707070707070707070707c2",
        ),
        (
            Message::Have {
                repo,
                heads: heads.clone(),
            },
            "930105c42d92019292c410010101010101010101010101010101010192c410ababababababababababababab\
         abababcd012c",
        ),
        (
            Message::Fork {
                repo,
                origin,
                held: records[1..].to_vec(),
                refused: Vec::new(),
            },
            "930106c45e9401c410abababababababababababababababab9192c40374776fc44007070707070707070707\
         0707070707070707070707070707070707070707070707070707070707070707070707070707070707070707\
         0707070707070707070790",
        ),
        (
            Message::Ends { repo, ends: heads },
            "930107c42d92019292c410010101010101010101010101010101010192c410ababababababababababababab\
         abababcd012c",
        ),
        (
            Message::Closing {
                repo,
                statement: b"said".as_slice().into(),
            },
            "930108c4089201c40473616964",
        ),
    ]
}

#[test]
fn the_bytes_of_every_message_stay_what_they_are() {
    for (message, golden) in samples() {
        let bytes = encode(&message);
        assert_eq!(hex(&bytes), golden, "{message:?}");
        assert_eq!(decode(&bytes), Ok(message));
    }
}

#[test]
fn a_message_of_another_kind_is_opaque_and_one_of_another_version_refused() {
    let bytes = wrap(VERSION, 200, b"whatever");
    assert_eq!(decode(&bytes), Ok(Message::Unknown { kind: 200 }));
    let bytes = wrap(VERSION + 1, WANT, b"whatever");
    assert!(matches!(
        decode(&bytes),
        Err(DecodeError::Version { found: 2, .. })
    ));
}

#[test]
fn what_is_not_canonical_or_out_of_bounds_is_refused() {
    let good = encode(&samples()[2].0);
    let mut trailing = good.clone();
    trailing.push(0);
    assert!(matches!(
        decode(&trailing),
        Err(DecodeError::NotCanonical { .. })
    ));

    // A number written longer than need be.
    let body = rmp_serde::to_vec(&(1u8, Bytes::new(&[0xab; 16]), 1u64 << 40)).unwrap();
    let mut longer = body.clone();
    let at = longer.len() - 9;
    longer[at..].copy_from_slice(&[0xcf, 0, 0, 0, 0, 0, 0, 0, 7]);
    assert!(matches!(
        decode(&wrap(VERSION, WANT, &longer)),
        Err(DecodeError::NotCanonical { .. })
    ));

    // An announced length that the bytes do not keep.
    let announced = [0x92, 1, 0xdd, 0xff, 0xff, 0xff, 0xff];
    assert!(decode(&wrap(VERSION, HAVE, &announced)).is_err());

    let unsorted = Message::Have {
        repo: RepoId::MAIN,
        heads: vec![
            (OriginId([2; 16]), Sequence(1)),
            (OriginId([1; 16]), Sequence(1)),
        ],
    };
    let error = decode(&encode(&unsorted)).unwrap_err().to_string();
    assert!(error.contains("sorted"), "{error}");

    let long = vec![0; MESSAGE_BYTES_MAX + 1];
    assert!(matches!(decode(&long), Err(DecodeError::TooLarge { .. })));
}

#[test]
fn deep_nesting_is_refused_before_the_stack_runs_out() {
    let mut deep = vec![0x91; 100_000];
    deep.push(0xc0);
    assert!(decode(&deep).is_err());
    assert!(decode(&wrap(VERSION, HAVE, &deep)).is_err());
}

#[test]
fn random_and_mutated_messages_never_panic() {
    let good: Vec<_> = samples()
        .iter()
        .map(|(message, _)| encode(message))
        .collect();
    survives(&good, |bytes| drop(decode(bytes)));
}

proptest! {
    #[test]
    fn ranges_come_back_as_they_were(
        first in any::<u64>(),
        bodies in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..300), any::<Option<u8>>()), 0..20),
        more in any::<bool>(),
    ) {
        let records = bodies
            .into_iter()
            .map(|(body, seal)| SealedBytes {
                body: body.into(),
                seal: seal.map(|byte| Seal([byte; 64])),
            })
            .collect();
        let message = Message::Range {
            repo: RepoId::SYSTEM,
            origin: OriginId([1; 16]),
            first: Sequence(first),
            records,
            more,
        };
        prop_assert_eq!(decode(&encode(&message)), Ok(message));
    }
}
