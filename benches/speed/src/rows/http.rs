//! Saves through the HTTP API, against a handler that only parses the same body.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use leveret::api::Api;
use leveret::model::script;
use leveret::peer::Durability;

use crate::measure::{Aim, Row, Settings};
use crate::scene;

/// Nodes that are saved again and again.
const HOT: usize = 1_000;
/// Connections, each with one request at a time.
const CONNECTIONS: usize = 8;

/// One property each, relaxed.
pub(crate) fn relaxed(settings: &Settings) {
    let what = format!("saves over HTTP, relaxed, {CONNECTIONS} connections, {HOT} hot nodes");
    let row = Row {
        what: &what,
        unit: "/s",
        against: "an axum handler that parses the same body",
        aim: Aim::AtLeast(0.5),
    };
    row.measure(|| saves(settings), || parses(settings));
}

fn saves(settings: &Settings) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let spool = tempfile::tempdir().unwrap();
    let runtime = scene::runtime();
    let (peer, address, stop) = runtime.block_on(async {
        let (peer, _) = scene::peer(directory.path(), Durability::Relaxed, HOT).await;
        let api = Api::bind("127.0.0.1:0".parse().unwrap(), None);
        let api = api.await.unwrap();
        let address = api.address();
        let (stop, stopping) = tokio::sync::watch::channel(false);
        tokio::spawn(api.serve(peer.clone(), spool.path().to_owned(), stopping));
        (peer, address, stop)
    });
    let rate = load(address, settings.time());
    stop.send(true).unwrap();
    runtime.block_on(peer.close()).unwrap();
    rate
}

fn parses(settings: &Settings) -> f64 {
    let runtime = scene::runtime();
    let address = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().route("/v1/apply", post(parse));
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    });
    load(address, settings.time())
}

async fn parse(body: Bytes) -> (StatusCode, String) {
    let script = std::str::from_utf8(&body).unwrap();
    let saves = script::parse_script(script).unwrap();
    (StatusCode::OK, format!("{{\"parsed\":{}}}\n", saves.len()))
}

/// Requests a second that are answered well.
fn load(address: SocketAddr, time: Duration) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let callers: Vec<_> = (0..CONNECTIONS)
        .map(|caller| {
            let done = done.clone();
            std::thread::spawn(move || {
                let mut connection = TcpStream::connect(address).unwrap();
                connection.set_nodelay(true).unwrap();
                let mut answer = vec![0; 4_096];
                let mut i = caller * 37;
                while start.elapsed() < time {
                    i += 7_919;
                    let body = format!("set /n/n{} x {i}\n", i % HOT);
                    let request = format!(
                        "POST /v1/apply?overwrite=true HTTP/1.1\r\nHost: {address}\r\n\
                         Content-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    connection.write_all(request.as_bytes()).unwrap();
                    // Answers are short, and their last byte ends a line of the body.
                    let mut length = 0;
                    while !answer[..length].ends_with(b"}\n") {
                        let read = connection.read(&mut answer[length..]).unwrap();
                        assert!(read > 0, "the connection stays open");
                        length += read;
                    }
                    assert!(answer.starts_with(b"HTTP/1.1 200 "));
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}
