//! From a save's answer on one daemon to the event on another, over loopback, against what it can
//! not do without: packets, and barriers.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use leveret::codec::frame::FRAME_BYTES_MAX;
use leveret::codec::handshake::{Hello, Welcome};
use leveret::model::ClusterId;
use leveret::net::{Endpoint, Limits};
use leveret::replica::identity::Identity;

use super::daemons::{Daemon, bench};
use crate::measure::{self, Aim, Row, Settings, percentile};
use crate::{bare, scene};

/// Saves a second while this is measured.
const RATES: [u32; 2] = [50, 500];
/// Round trips that a save may take.
const ROUND_TRIPS: f64 = 3.0;
/// Barriers that it may wait for.
const BARRIERS: f64 = 2.0;
/// How much longer one in a hundred may take, in milliseconds.
const MORE_MS: f64 = 10.0;
/// Bytes of a ping, about those of a save on the wire.
const PING_BYTES: usize = 300;
/// Pause between two pings, and between two barriers: neither is under load.
const PAUSE: Duration = Duration::from_millis(2);

/// Median and 99th percentile, and what they are to be below.
pub(crate) fn visibility(settings: &Settings) {
    let daemons = Daemon::cluster(2);
    let apis = [daemons[0].api.as_str(), daemons[1].api.as_str()];
    let time = format!("{}ms", settings.time().as_millis().max(1_000));
    for rate in RATES {
        let shown = rate.to_string();
        let arguments = ["--for", &time, "--rate", &shown, "--nodes", "100"];
        let (mut medians, mut p99s) = (Vec::new(), Vec::new());
        let mut parts = Vec::new();
        for _ in 0..measure::ROUNDS {
            let (round_trip, barrier) = (round_trip_ms(), barrier_ms());
            let bound = ROUND_TRIPS * round_trip + BARRIERS * barrier;
            let visible = &bench(&apis, &arguments)["visible_ms"];
            let at = |name: &str| visible[name].as_f64().unwrap();
            medians.push((at("median"), bound));
            p99s.push((at("p99"), bound + MORE_MS));
            parts.push((round_trip, barrier));
        }
        let parts = format!(
            "3 QUIC round trips of {:.2} ms and two barriers of {:.2} ms",
            measure::median(parts.iter().map(|part| part.0)),
            measure::median(parts.iter().map(|part| part.1)),
        );
        let what = format!("a save's answer to the event on another daemon, {rate} saves/s");
        let row = |what: &str, against: &str, pairs: &[(f64, f64)]| {
            let aim = Aim::AtMost(1.0);
            let unit = "ms";
            Row {
                what,
                unit,
                against,
                aim,
            }
            .print(pairs);
        };
        row(&format!("{what}, median"), &parts, &medians);
        row(&format!("{what}, p99"), "the same and 10 ms", &p99s);
    }
    println!("| … of Corrosion 1.0, three agents on such a machine | | 315 ms, p99 613 ms | | |");
}

/// The median time for a frame to a peer and one back, over a link as peers have it.
fn round_trip_ms() -> f64 {
    let (one, two) = (scene::runtime(), scene::runtime());
    let bind = |runtime: &tokio::runtime::Runtime, seed: u8| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let identity = Identity::from_seed(&[seed; 32]);
        runtime.block_on(async { Endpoint::bind(address, &identity, Limits::default()).unwrap() })
    };
    let (here, there) = (bind(&one, 1), bind(&two, 2));
    let address = there.local_addr().unwrap();
    let cluster = ClusterId([7; 16]);
    two.spawn(async move {
        let caller = there.accept().await.unwrap();
        let welcome = Welcome {
            cluster,
            founder_key: caller.peer_key(),
            founder_nonce: [0; 16],
            instance: [2; 16],
            name: "two".into(),
            addresses: Vec::new(),
            frame_bytes_max: FRAME_BYTES_MAX,
        };
        let (mut sender, mut receiver) = caller.welcome(&welcome).await.unwrap().split();
        while let Ok(Some(frame)) = receiver.recv().await {
            sender.send(&frame).await.unwrap();
        }
    });
    let mut times: Vec<f64> = one.block_on(async {
        let hello = Hello {
            cluster: Some(cluster),
            instance: [1; 16],
            name: "one".into(),
            addresses: Vec::new(),
            join_secret: None,
            frame_bytes_max: FRAME_BYTES_MAX,
        };
        let (link, _) = here.connect(address, None, &hello).await.unwrap();
        let (mut sender, mut receiver) = link.split();
        let ping = vec![1; PING_BYTES];
        let mut times = Vec::new();
        for _ in 0..200 {
            let start = Instant::now();
            sender.send(&ping).await.unwrap();
            receiver.recv().await.unwrap().unwrap();
            times.push(start.elapsed().as_secs_f64() * 1e3);
            std::thread::sleep(PAUSE);
        }
        times
    });
    one.shutdown_background();
    two.shutdown_background();
    times.sort_by(f64::total_cmp);
    percentile(&times, 0.5)
}

/// The median time to make one record durable with sled.
fn barrier_ms() -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let db = bare::open(directory.path(), 64 << 20);
    let file = std::fs::File::open(directory.path().join("db")).unwrap();
    let mut times: Vec<f64> = (0..200)
        .map(|i| {
            let (key, value) = bare::record(PING_BYTES, i);
            let start = Instant::now();
            db.insert(key, value).unwrap();
            db.flush().unwrap();
            file.sync_data().unwrap();
            let time = start.elapsed().as_secs_f64() * 1e3;
            std::thread::sleep(PAUSE);
            time
        })
        .collect();
    times.sort_by(f64::total_cmp);
    percentile(&times, 0.5)
}
