//! From a save's answer on one daemon to the event on another, over loopback.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Saves a second while this is measured.
const SAVES_PER_SECOND: u32 = 50;

use crate::measure::{Settings, percentile};

/// The program, built beside this one.
fn program() -> PathBuf {
    let program = std::env::current_exe().unwrap().with_file_name("leveret");
    assert!(
        program.is_file(),
        "build the program first: cargo build --release -p leveret"
    );
    program
}

struct Daemon {
    process: Child,
    api: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Daemon {
    fn start(directory: &Path, join: Option<&str>) -> Self {
        let mut command = Command::new(program());
        command.args([
            "serve",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--api",
            "127.0.0.1:0",
        ]);
        command.arg("--data").arg(directory).stdout(Stdio::piped());
        if let Some(token) = join {
            command.args(["--join", token]);
        }
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        let api = line["api"].as_str().unwrap();
        let api = if api.starts_with("http") {
            api.to_owned()
        } else {
            format!("http://{api}")
        };
        Self { process, api }
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(program())
            .args(arguments)
            .env("LEVERET_API", &self.api)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// Prints the median and the 99th percentile.
pub(crate) fn visibility(settings: &Settings) {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = Daemon::start(one.path(), None);
    let token = first.run(&["token"]);
    let second = Daemon::start(two.path(), Some(&token));
    first.run(&["add", "/n"]);

    // What the second tells, with the time at which it was told.
    let (told, events) = mpsc::channel();
    let url = format!("{}/v1/watch", second.api);
    std::thread::spawn(move || {
        let mut answer = ureq::get(&url).call().unwrap();
        for line in BufReader::new(answer.body_mut().as_reader()).lines() {
            let Ok(line) = line else { return };
            let now = Instant::now();
            let event: Value = serde_json::from_str(&line).unwrap();
            for set in event["change_sets"].as_array().into_iter().flatten() {
                if told
                    .send((set["id"].as_str().unwrap().to_owned(), now))
                    .is_err()
                {
                    return;
                }
            }
        }
    });
    let agent = ureq::agent();
    let mut answered = HashMap::new();
    for i in 0..(settings.seconds * f64::from(SAVES_PER_SECOND)) as u32 {
        let start = Instant::now();
        let mut answer = agent
            .post(format!("{}/v1/apply", first.api))
            .send(format!("set /n x {i}\n"))
            .unwrap();
        let mut text = String::new();
        answer
            .body_mut()
            .as_reader()
            .read_to_string(&mut text)
            .unwrap();
        let now = Instant::now();
        let saved: Value = serde_json::from_str(&text).unwrap();
        answered.insert(saved["saved"][0]["id"].as_str().unwrap().to_owned(), now);
        let pause = Duration::from_secs(1) / SAVES_PER_SECOND;
        std::thread::sleep(pause.saturating_sub(start.elapsed()));
    }
    let mut delays: Vec<f64> = Vec::new();
    while delays.len() < answered.len() {
        let Ok((id, seen)) = events.recv_timeout(Duration::from_secs(10)) else {
            break;
        };
        if let Some(then) = answered.get(&id) {
            delays.push(seen.saturating_duration_since(*then).as_secs_f64() * 1e3);
        }
    }
    assert_eq!(
        delays.len(),
        answered.len(),
        "every save was seen on the other daemon"
    );
    delays.sort_by(f64::total_cmp);
    let at = |share: f64| percentile(&delays, share);
    println!(
        "| a save's answer to the event on another daemon, {SAVES_PER_SECOND} saves/s | median \
         {:.2} ms, p99 {:.2} ms | Corrosion 1.0, three agents on such a machine: 315 ms, 613 ms \
         | {:.4} | |",
        at(0.5),
        at(0.99),
        at(0.5) / 315.0,
    );
}
