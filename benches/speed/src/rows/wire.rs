//! Bytes that daemons send one another, against the journal bytes of the change sets in them.

use std::time::Duration;

use serde_json::Value;

use super::daemons::{Daemon, are_equal, bench, counter, wait_until};
use crate::measure::{self, Aim, Row, Settings};

/// Daemons.
const COUNT: usize = 3;

/// What all of a cluster have sent.
struct Sent {
    /// Of frames.
    frames: f64,
    /// Of UDP payloads.
    udp: f64,
    /// Of the journal: what each has of the others' change sets was sent to it.
    journal: f64,
}

fn sent(daemons: &[Daemon]) -> Sent {
    let statuses: Vec<Value> = daemons.iter().map(Daemon::status).collect();
    let all = |name: &str| -> f64 {
        let peers = statuses.iter().flat_map(|s| s["peers"].as_array().unwrap());
        peers
            .map(|peer| peer["traffic"][name].as_u64().unwrap() as f64)
            .sum()
    };
    let committed = statuses
        .iter()
        .map(|status| counter(status, "committed_bytes") as f64)
        .sum::<f64>();
    Sent {
        frames: all("sent_bytes"),
        udp: all("udp_sent_bytes"),
        // Every change set is in each journal, and was sent to all but its author.
        journal: committed * (COUNT - 1) as f64 / COUNT as f64,
    }
}

/// At two rates, and as fast as one can.
pub(crate) fn bytes(settings: &Settings) {
    for rate in [Some(50), Some(500), None] {
        let time = format!("{}ms", settings.time().as_millis());
        let shown = rate.map(|rate: u32| rate.to_string());
        let mut arguments = vec!["--for", &time, "--nodes", "100"];
        if let Some(rate) = &shown {
            arguments.extend(["--rate", rate]);
        }
        let (mut frames, mut udp) = (Vec::new(), Vec::new());
        for _ in 0..measure::ROUNDS {
            let daemons = Daemon::cluster(COUNT);
            // What connecting takes is no part of it.
            std::thread::sleep(Duration::from_millis(500));
            let before = sent(&daemons);
            bench(&[&daemons[0].api], &arguments);
            wait_until("all are equal", || are_equal(&daemons));
            std::thread::sleep(Duration::from_millis(200));
            let after = sent(&daemons);
            let journal = after.journal - before.journal;
            frames.push(((after.frames - before.frames) / 1e3, journal / 1e3));
            udp.push(((after.udp - before.udp) / 1e3, journal / 1e3));
        }
        let how = match rate {
            Some(rate) => format!("{rate} saves/s"),
            None => "as fast as 4 connections can".to_owned(),
        };
        for (of, pairs) in [("frames", &frames), ("UDP payloads", &udp)] {
            let row = Row {
                what: &format!("bytes of {of} between three daemons, one saves, {how}"),
                unit: "kB",
                against: "journal bytes of what was sent",
                aim: Aim::AtMost(1.3),
            };
            row.print(pairs);
        }
    }
}
