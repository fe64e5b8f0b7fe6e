//! Daemons as processes of their own, and what it costs them when three save as fast as they can,
//! against one alone.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::measure::{self, Aim, Row, Settings};

/// How long daemons may take to agree on anything.
const PATIENCE: Duration = Duration::from_secs(120);
/// Connections that save on each daemon.
const CONNECTIONS: usize = 4;
/// How often the daemons are asked how they are while they save.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Clock ticks a second, as `/proc` counts processor time.
const TICKS_PER_SECOND: f64 = 100.0;

/// The program, built beside this one.
fn program() -> PathBuf {
    let program = std::env::current_exe().unwrap().with_file_name("leveret");
    assert!(
        program.is_file(),
        "build the program first: cargo build --release -p leveret"
    );
    program
}

/// A daemon on a directory of its own. It is killed when this is dropped.
pub(super) struct Daemon {
    process: Child,
    _directory: TempDir,
    pub(super) api: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Daemon {
    fn start(join: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0";
        let mut command = Command::new(program());
        command.args(["serve", "--json", "--listen", any, "--api", any, "--data"]);
        command.arg(directory.path()).stdout(Stdio::piped());
        if let Some(token) = join {
            command.args(["--join", token]);
        }
        let mut process = command.env("LEVERET_LOG", "error").spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        Self {
            process,
            _directory: directory,
            api: line["api"].as_str().unwrap().to_owned(),
        }
    }

    /// So many daemons of one cluster, all connected.
    pub(super) fn cluster(count: usize) -> Vec<Self> {
        let first = Self::start(None);
        let token = first.run(&["token"]);
        let mut all = vec![first];
        all.extend((1..count).map(|_| Self::start(Some(&token))));
        wait_until("all are connected", || {
            all.iter().all(|daemon| {
                let status = daemon.status();
                let peers = status["peers"].as_array().unwrap();
                peers.len() == count - 1 && peers.iter().all(|peer| peer["connected"] == true)
            })
        });
        wait_until("all are equal", || are_equal(&all));
        all
    }

    /// Runs a command against it.
    pub(super) fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(program())
            .args(arguments)
            .env("LEVERET_API", &self.api)
            .output()
            .unwrap();
        finished(&output)
    }

    pub(super) fn status(&self) -> Value {
        let mut answer = ureq::get(format!("{}/v1/status", self.api)).call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Processor time that it has used, in seconds.
    fn processor_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // The name, in brackets, may have anything in it.
        let rest = stat.rsplit_once(')').unwrap().1;
        let ticks = |field: usize| -> f64 {
            let field = rest.split_whitespace().nth(field - 3);
            field.unwrap().parse().unwrap()
        };
        (ticks(14) + ticks(15)) / TICKS_PER_SECOND
    }

    /// Most memory that it has had, in MiB.
    fn peak_mib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib: u64 = peak
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        kib >> 10
    }
}

fn finished(output: &std::process::Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// `leveret bench`, from the first of these daemons to the others; its figures.
pub(super) fn bench(apis: &[&str], arguments: &[&str]) -> Value {
    let output = bench_command(apis, arguments).output().unwrap();
    serde_json::from_str(&finished(&output)).unwrap()
}

fn bench_command(apis: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(["bench", "--json"]).args(arguments);
    for api in apis {
        command.args(["--api", api]);
    }
    command
}

/// A counter of a status.
pub(super) fn counter(status: &Value, name: &str) -> u64 {
    status["counters"][name].as_u64().unwrap()
}

/// Whether all have the same heads, and so the same state.
pub(super) fn are_equal(daemons: &[Daemon]) -> bool {
    let heads = |daemon: &Daemon| {
        let status = daemon.status();
        let of = |repo: &str| status["repositories"][repo]["heads"].clone();
        (of("main"), of("system"))
    };
    let first = heads(&daemons[0]);
    daemons[1..].iter().all(|daemon| heads(daemon) == first)
}

/// Waits until something holds; gives how long it took.
pub(super) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    start.elapsed()
}

/// What a run of daemons that all save came to.
struct Run {
    /// Processor time for each change set applied, in microseconds.
    micros: f64,
    saves_per_second: f64,
    /// The largest lag of one behind another, in change sets: in each tenth of the time.
    lags: Vec<u64>,
    /// From the last save until all were equal, in milliseconds.
    settled_ms: f64,
    peak_mib: u64,
}

/// All of a cluster save for a while, each on nodes of its own.
fn all_save(count: usize, time: Duration) -> Run {
    let daemons = Daemon::cluster(count);
    let processor = || daemons.iter().map(Daemon::processor_seconds).sum::<f64>();
    let applied = || -> u64 {
        let statuses = daemons.iter().map(Daemon::status);
        statuses
            .map(|status| counter(&status, "saves") + counter(&status, "applied"))
            .sum()
    };
    let before = (processor(), applied());
    let begun = Instant::now();
    let seconds = format!("{}ms", time.as_millis());
    let connections = CONNECTIONS.to_string();
    let arguments = [
        "--for",
        &seconds,
        "--connections",
        &connections,
        "--nodes",
        "100",
    ];
    let loads: Vec<_> = daemons
        .iter()
        .map(|daemon| {
            let mut command = bench_command(&[&daemon.api], &arguments);
            command.stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut lags = vec![0_u64; 10];
    while begun.elapsed() < time {
        let tenth = (begun.elapsed().as_secs_f64() / time.as_secs_f64() * 10.0) as usize;
        for status in daemons.iter().map(Daemon::status) {
            for peer in status["peers"].as_array().unwrap() {
                let lag = peer["lag"].as_u64().unwrap_or_default();
                lags[tenth.min(9)] = lags[tenth.min(9)].max(lag);
            }
        }
        std::thread::sleep(LOOK_EVERY.min(time / 10));
    }
    let mut saves_per_second = 0.0;
    for load in loads {
        let figures: Value =
            serde_json::from_str(&finished(&load.wait_with_output().unwrap())).unwrap();
        saves_per_second += figures["saves_per_second"].as_f64().unwrap();
    }
    let settled = wait_until("all are equal", || are_equal(&daemons));
    let after = (processor(), applied());
    Run {
        micros: (after.0 - before.0) * 1e6 / (after.1 - before.1) as f64,
        saves_per_second,
        lags,
        settled_ms: settled.as_secs_f64() * 1e3,
        peak_mib: daemons.iter().map(Daemon::peak_mib).max().unwrap(),
    }
}

/// Three that save as fast as they can, against one alone.
pub(crate) fn together(settings: &Settings) {
    let row = Row {
        what: "processor time for each change set applied, three daemons that all save",
        unit: "µs",
        against: "one daemon alone",
        aim: Aim::AtMost(1.5),
    };
    let runs: Vec<(Run, Run)> = (0..measure::ROUNDS)
        .map(|_| (all_save(3, settings.time()), all_save(1, settings.time())))
        .collect();
    let pairs: Vec<_> = runs
        .iter()
        .map(|run| (run.0.micros, run.1.micros))
        .collect();
    row.print(&pairs);
    for (three, one) in &runs {
        println!(
            "| … in a round: {:.0} saves/s of all three, lag in each tenth of the time {:?}, equal \
             {:.0} ms after the end, peak {} MiB | | one: {:.0} saves/s, peak {} MiB | | |",
            three.saves_per_second,
            three.lags,
            three.settled_ms,
            three.peak_mib,
            one.saves_per_second,
            one.peak_mib
        );
    }
}
