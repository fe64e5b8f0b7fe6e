//! Three daemons in a line: the ends never hear of each other but through the one between.

use std::time::Duration;

use serde_json::Value;

use super::proxy::{Network, Weather};
use super::three::verify;
use crate::daemon::{Client, PATIENCE, until, until_equal};

fn key(client: &Client) -> String {
    client.status()["replica"].as_str().unwrap().to_owned()
}

/// What a daemon knows of another one.
fn peer(client: &Client, key: &str) -> Option<Value> {
    let status = client.status();
    let mut peers = status["peers"].as_array().unwrap().iter();
    peers.find(|peer| peer["replica"] == key).cloned()
}

#[test]
fn the_ends_of_a_line_get_each_others_saves_and_member_records_with_their_signatures() {
    let directory = tempfile::tempdir().unwrap();
    let mut network = Network::new(5);
    let places = [0, 1, 2].map(|_| network.place());
    network.weather(
        &places,
        Weather {
            delay: Duration::from_millis(2),
            jitter: Duration::from_millis(8),
            loss: 0.02,
            ..Weather::default()
        },
    );
    network.set_cut_between(places[0], places[2], true);

    let data = ["a", "b", "c"].map(|name| directory.path().join(name));
    let mut a = network.start(places[0], &data[0], None);
    a.client()
        .apply("add /from-a\nset /from-a by \"a\"")
        .unwrap();
    let mut b = network.start(places[1], &data[1], Some(&a.client().token()));
    // B lets C in, of whom A has never heard.
    let mut c = network.start(places[2], &data[2], Some(&b.client().token()));
    let keys = [&a, &b, &c].map(|daemon| key(daemon.client()));
    let ids: Vec<String> = [(&a, "a"), (&b, "b"), (&c, "c")]
        .map(|(daemon, name)| {
            let script: String = (0..50)
                .map(|i| format!("add /{name}{i}\nset /{name}{i} x {i}\n---\n"))
                .collect();
            daemon.client().apply(&script).unwrap()
        })
        .concat();
    until_equal(&[a.client(), b.client(), c.client()], PATIENCE);

    for daemon in [&a, &b, &c] {
        let client = daemon.client();
        assert_eq!(client.tree("main"), a.client().tree("main"));
        assert_eq!(client.tree("system"), a.client().tree("system"));
        let history = client.history();
        let written: Vec<(&str, &str)> = history
            .iter()
            .map(|entry| {
                (
                    entry["id"].as_str().unwrap(),
                    entry["author"].as_str().unwrap(),
                )
            })
            .collect();
        for (i, id) in ids.iter().enumerate() {
            let author = keys[i / 50].as_str();
            assert!(written.contains(&(id.as_str(), author)), "{id} of {author}");
        }
    }

    // The ends know each other as members, with the addresses that they would be reached at.
    let fronts = places.map(|place| network.front(place).to_string());
    for (client, other) in [(a.client(), 2), (c.client(), 0)] {
        let known = peer(client, &keys[other]).expect("it is a member");
        assert_eq!(known["connected"], false, "{known}");
        assert_eq!(known["address"], fronts[other].as_str(), "{known}");
        assert_eq!(peer(client, &keys[1]).unwrap()["connected"], true);
    }
    assert_eq!(network.delivered(places[0], places[2]), 0);
    assert_eq!(network.delivered(places[2], places[0]), 0);

    // Whom B has let in A takes as well, once it can be reached, though B is gone by then.
    b.kill();
    c.client().apply("add /when-b-was-gone").unwrap();
    network.set_cut_between(places[0], places[2], false);
    until("A and C are connected", || {
        peer(a.client(), &keys[2]).unwrap()["connected"] == true
    });
    until_equal(&[a.client(), c.client()], PATIENCE);
    assert!(a.client().tree("main").contains("when-b-was-gone"));

    for daemon in [&mut a, &mut c] {
        assert_eq!(daemon.terminate().0, Some(0));
        verify(daemon.data());
    }
    // The one that was killed too.
    verify(b.data());
}
