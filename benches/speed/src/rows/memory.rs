//! Resident memory at rest, against bare sled over the same files with the same cache.

use std::path::Path;

use leveret::merge::ReadTree;
use leveret::model::{NodePath, PropertyName};
use leveret::peer::{Peer, PeerOptions};

use crate::measure::Settings;
use crate::scene::{self, Forest};
use crate::{bare, measure};

/// The usual cache of a peer.
const CACHE_BYTES: u64 = 64 << 20;

/// Prints what processes of their own take after they have read every leaf once.
pub(crate) fn memory(settings: &Settings) {
    let forest = Forest::grow(settings.large);
    let of = |which: &str| {
        let output = scene::part("part-memory")
            .arg(which)
            .arg(forest.directory.path())
            .arg(forest.leaves().to_string())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim().parse::<f64>().unwrap()
    };
    let pairs: Vec<_> = (0..measure::ROUNDS)
        .map(|_| (of("leveret"), of("sled")))
        .collect();
    let ours = measure::median(pairs.iter().map(|pair| pair.0));
    let theirs = measure::median(pairs.iter().map(|pair| pair.1));
    println!(
        "| resident memory, {} leaves read once | {ours:.0} MiB | sled, the same cache: {theirs:.0} \
         MiB | {:+.0} MiB | ≤ +150 MiB |",
        forest.leaves(),
        ours - theirs,
    );
}

/// In a process of its own: reads every leaf, and prints the resident memory in MiB.
pub(crate) fn part(arguments: &[String]) {
    let [which, directory, leaves] = arguments else {
        panic!("which, the directory, the leaves");
    };
    let directory = Path::new(directory);
    match which.as_str() {
        "sled" => {
            let db = bare::open(&scene::sled_of(directory), CACHE_BYTES);
            for entry in db.range(b"n\x01".to_vec()..b"n\x02".to_vec()) {
                let (key, _) = entry.unwrap();
                assert!(db.get(key).unwrap().is_some());
            }
            println!("{}", resident());
        }
        _ => scene::runtime().block_on(async {
            let options = PeerOptions::default().cache_bytes(CACHE_BYTES);
            let peer = Peer::open(directory, options).await.unwrap();
            let leaves: usize = leaves.parse().unwrap();
            let name: PropertyName = "x".parse().unwrap();
            let snapshot = peer.snapshot();
            for leaf in 0..leaves {
                let path: NodePath = scene::path(leaves, leaf).parse().unwrap();
                let node = snapshot.resolve(&path).unwrap().unwrap();
                assert!(snapshot.property(node, &name).unwrap().is_some());
            }
            drop(snapshot);
            println!("{}", resident());
            peer.close().await.unwrap();
        }),
    }
}

/// Of this process, in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<f64>().unwrap() / 1_024.0
}
