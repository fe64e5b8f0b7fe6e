//! A daemon under load is killed, over and over.
//!
//! Two daemons of a cluster, on a real disk, saved to by several clients at once. One is killed at a
//! random moment, and looked at twice: a copy of its directory, as it lies there, is checked from the
//! outside; then the daemon starts again on the directory itself, and is asked.

mod backup;
mod client;
mod copy;
mod daemon;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use leveret_sim::chance::Chance;
use serde_json::Value;

use crate::judge::must_be_sound;
use crate::trial::{Trial, copy_files};
use backup::Backup;
use client::Client;
use daemon::Daemon;
use writer::Writers;

/// Kills of one pair of daemons; then a new pair begins, so that histories stay small.
const KILLS_A_PAIR: u64 = 20;
/// How long a daemon is under load before it is killed, in milliseconds.
const LOAD_MS: (u64, u64) = (20, 900);
/// The first stretches of a pair are so short and so gently loaded that the naive model can fold all
/// that was saved up to then, over all the kills.
const GENTLE_KILLS: u64 = 4;
const GENTLE_LOAD_MS: (u64, u64) = (20, 200);
/// In so many of a thousand stretches a backup is written when the daemon is killed.
const BACKUPS_PERMILLE: u32 = 250;
/// Writers at the daemon that is killed, and at the other one.
const WRITERS: (usize, usize) = (4, 1);
/// How long the two may take to come to the same state, in the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kill a daemon under load, over and over
///
/// After each kill, every save that was acknowledged and every change set that the other daemon has
/// of it must be there, none of them half, and all that is stored must be sound.
#[derive(clap::Args)]
pub(crate) struct Kills {
    /// How many kills
    #[arg(long, value_name = "N", default_value_t = 30)]
    kills: u64,
    /// Where the moments are drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The program `leveret` [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

#[derive(Default)]
struct Total {
    kills: u64,
    saves: u64,
    received: u64,
    change_sets: u64,
    folded: u64,
    backups: u64,
    whole: u64,
}

impl Kills {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("leveret"),
        };
        ensure!(
            program.is_file(),
            "{} is not there; build it (`cargo build`), or name it with --program",
            program.display()
        );
        let mut total = Total::default();
        let mut pair = 0;
        while total.kills < self.kills {
            let kills = KILLS_A_PAIR.min(self.kills - total.kills);
            let mut chance = Chance::new(self.seed, &format!("pair {pair}"));
            let mut trial = Trial::new()?;
            let done = kill_pair(&program, &trial, kills, &mut chance, &mut total);
            if done.is_err() {
                trial.keep();
            }
            done.with_context(|| {
                let place = trial.root.display();
                format!("kill {} (the files are kept in {place})", total.kills + 1)
            })?;
            pair += 1;
        }
        ensure!(
            total.saves > 0 && total.received > 0,
            "nothing was acknowledged, or nothing came to the other daemon: that shows nothing"
        );
        println!(
            "kills: {} of a daemon under load; {} acknowledged saves and {} change sets that another \
             had of it were all there; {} change sets checked on disk; {} times the naive model came \
             to the same; {} amid a backup or just after it, of which {} were whole and the others \
             written to their end by the next life",
            total.kills,
            total.saves,
            total.received,
            total.change_sets,
            total.folded,
            total.backups,
            total.whole
        );
        Ok(())
    }
}

/// Two daemons, of which one is killed so many times.
fn kill_pair(
    program: &Path,
    trial: &Trial,
    kills: u64,
    chance: &mut Chance,
    total: &mut Total,
) -> anyhow::Result<()> {
    let other = Daemon::start(program, &trial.root.join("other"), &[])?;
    let token = other.client().token()?;
    let mut killed = Daemon::start(program, &trial.root.join("killed"), &["--join", &token])?;
    let mut writers = Writers::new(&[(killed.client(), WRITERS.0), (other.client(), WRITERS.1)]);
    let mut backup = Backup::new(trial.root.join("backup"));
    for kill in 0..kills {
        let gently = kill < GENTLE_KILLS;
        let (least, most) = if gently { GENTLE_LOAD_MS } else { LOAD_MS };
        let load = Duration::from_millis(chance.within(least, most));
        let backed_up = chance.permille(BACKUPS_PERMILLE);
        let delay = load.mul_f64(chance.within(0, 999) as f64 / 1_000.0);
        writers.write(gently, || {
            std::thread::scope(|scope| {
                let client = killed.client();
                let backup = &mut backup;
                if backed_up {
                    scope.spawn(move || backup.try_after(delay, &client));
                }
                std::thread::sleep(load);
                killed.kill()
            })
        })?;
        if backed_up {
            total.backups += 1;
            total.whole += u64::from(backup.look()?);
        }
        let received = stored_at(&other.client(), &writers.origins(&killed.client()))?;
        let copy = trial.root.join("copy");
        copy_files(killed.data(), &copy)?;
        let checked = copy::check(&copy, gently)?;
        must_be_sound(&copy).context("a copy of the killed daemon's directory")?;
        std::fs::remove_dir_all(&copy)?;
        killed.restart()?;
        let client = killed.client();
        must_have(&client, &received)?;
        if backed_up {
            backup.finish(&client)?;
        }
        total.saves += writers.must_be_there(&client)?;
        total.received += received.values().sum::<u64>();
        total.change_sets += checked.change_sets;
        total.folded += u64::from(checked.folded);
        total.kills += 1;
    }
    client::until_equal(&killed.client(), &other.client(), PATIENCE)?;
    killed.end()?;
    other.end()
}

/// How many change sets a daemon has of each of some origins.
fn stored_at(daemon: &Client, origins: &BTreeSet<String>) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut stored = stored(&daemon.json("/v1/status", &[])?)?;
    stored.retain(|origin, _| origins.contains(origin));
    Ok(stored)
}

/// What a status says is stored of `main`, by origin.
fn stored(status: &Value) -> anyhow::Result<BTreeMap<String, u64>> {
    let text = status["repositories"]["main"]["stored"].as_str();
    let text = text.context("a status says what is stored")?;
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (origin, sequence) = part.split_once(':').context("origin:sequence")?;
            Ok((origin.to_owned(), sequence.parse()?))
        })
        .collect()
}

/// A daemon has at least so much of each origin, and warns of nothing.
fn must_have(client: &Client, received: &BTreeMap<String, u64>) -> anyhow::Result<()> {
    let status = client.json("/v1/status", &[])?;
    let here = stored(&status)?;
    for (origin, sequence) in received {
        let found = here.get(origin).copied().unwrap_or(0);
        ensure!(
            found >= *sequence,
            "another daemon has {sequence} change sets of {origin}, and their author {found}"
        );
    }
    let warnings = status["warnings"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(warnings.is_empty(), "the daemon warns: {warnings:?}");
    Ok(())
}
