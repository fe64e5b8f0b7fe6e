//! Damage: bytes of a peer's files change, are cut off, or are gone.
//!
//! Two peers come to the same state. One of them ends, in good order or not; something of its files
//! is damaged; it is opened, by itself, and then with the other one there. Whatever it lacks must be
//! told, and must come back; where the store can not be opened, by fetching it again.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use leveret::peer::verify;
use leveret::{JoinToken, OpenError, Peer, PeerOptions, RepoId};
use leveret_sim::chance::Chance;

use crate::judge::{Promises, Verdict, judge};
use crate::trial::{Trial, copy_files, run_work};
use crate::work::options;

/// How long the two peers may take to come to the same state.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at what is waited for, and how often an address is tried: an endpoint that
/// was dialling somebody who does not answer keeps its own for some seconds after it was closed.
const PAUSE: Duration = Duration::from_millis(20);
const BIND_TRIES: u32 = 3_000;
/// Ports that are tried.
const PORTS: (u64, u64) = (20_000, 32_000);
/// Validity of the token with which the peers join one another.
const TOKEN_TIME: Duration = Duration::from_secs(86_400);
/// Most bytes that are overwritten at once.
const OVERWRITTEN_MAX: u64 = 5_000;

/// Damage files of a peer that has ended, and look whether it notices and gets everything back
#[derive(clap::Args)]
pub(crate) struct Damage {
    /// How many times
    #[arg(long, value_name = "N", default_value_t = 100)]
    times: u64,
    /// Where everything that is drawn comes from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Saves that the peer has made before
    #[arg(long, value_name = "N", default_value_t = 50)]
    saves: u64,
}

/// What became of one damaged directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Everything is as it was: what was damaged was in use for nothing.
    Unharmed,
    /// `verify` found it, and the state was made again from the journal.
    Rebuilt,
    /// Something was lost; the peer said so; it came back from the other.
    CameBack,
    /// The store did not open, and was fetched again from the other.
    Refetched,
    /// One of the small files beside the store was damaged, and the peer said which.
    Named,
}

impl Damage {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let good = runtime.block_on(Pair::new(self.saves, self.seed))?;
        let mut fates: BTreeMap<Fate, u64> = BTreeMap::new();
        for time in 0..self.times {
            let mut chance = Chance::new(self.seed, &format!("damage {time}"));
            let mut pair = good.copy()?;
            let what = damage(&pair.damaged(), &mut chance)?;
            let fate = pair.fate(&runtime);
            if fate.is_err() {
                pair.trial.keep();
            }
            let fate = fate.with_context(|| {
                let place = pair.trial.root.display();
                format!("time {time}: {what} (the files are kept in {place})")
            })?;
            *fates.entry(fate).or_default() += 1;
        }
        println!("damage: {} times", self.times);
        for (fate, times) in fates {
            let text = match fate {
                Fate::Unharmed => "it was in use for nothing",
                Fate::Rebuilt => "the state was found wrong, and made again from the journal",
                Fate::CameBack => "something was lost, was told, and came back from another peer",
                Fate::Refetched => {
                    "the store did not open, and was fetched again from another peer"
                }
                Fate::Named => "a small file beside the store was named",
            };
            println!("  {times}: {text}");
        }
        Ok(())
    }
}

/// Two peers with the same state, both ended.
struct Pair {
    trial: Trial,
    /// What the damaged one had acknowledged.
    promises: Promises,
    token: JoinToken,
    /// Where each listens.
    addresses: [SocketAddr; 2],
}

impl Pair {
    async fn new(saves: u64, seed: u64) -> anyhow::Result<Self> {
        let trial = Trial::new()?;
        let addresses = free_addresses(seed)?;
        let listening = |number: usize| options().listen(addresses[number]);
        let other = Peer::open(trial.root.join("other"), listening(1)).await?;
        let token = other.create_token(TOKEN_TIME).await?;
        let joining = listening(0).join(token.clone());
        let peer = Peer::open(trial.data(), joining).await?;
        until_same(&peer, &other).await?;
        peer.close().await?;
        other.close().await?;
        let arguments = [("--saves", saves), ("--seed", seed), ("--lives", 2)];
        let promises = run_work(&trial, &arguments)?;
        let pair = Self {
            trial,
            promises,
            token,
            addresses,
        };
        let (peer, other) = (pair.open(options()).await?, pair.open_other().await?);
        until_same(&peer, &other).await?;
        // Not closed in good order: its files are as a kill leaves them.
        copy_files(&pair.damaged(), &pair.trial.root.join("killed"))?;
        peer.close().await?;
        other.close().await?;
        fs::remove_dir_all(pair.damaged())?;
        fs::rename(pair.trial.root.join("killed"), pair.damaged())?;
        Ok(pair)
    }

    fn copy(&self) -> anyhow::Result<Self> {
        Ok(Self {
            trial: self.trial.copy()?,
            promises: self.promises.clone(),
            token: self.token.clone(),
            addresses: self.addresses,
        })
    }

    fn damaged(&self) -> PathBuf {
        self.trial.data()
    }

    async fn open(&self, options: PeerOptions) -> Result<Peer, OpenError> {
        open(&self.damaged(), options.listen(self.addresses[0])).await
    }

    async fn open_other(&self) -> Result<Peer, OpenError> {
        let options = options().listen(self.addresses[1]);
        open(&self.trial.root.join("other"), options).await
    }

    /// Opens the damaged peer, alone and then with the other.
    fn fate(&self, runtime: &tokio::runtime::Runtime) -> anyhow::Result<Fate> {
        // Looked at as it is, before anything is mended.
        let alone = self.trial.copy()?;
        let (verdict, then) = match judge(&alone.data(), &self.promises) {
            Ok(verdict) => (verdict, Fate::Unharmed),
            Err(error) => {
                // The state may be wrong where the journal is not. That has to be found.
                let report = verify(&self.damaged(), true)?;
                ensure!(!report.is_sound(), "verify finds nothing, but: {error:#}");
                let rebuilt = self.trial.copy()?;
                let verdict = judge(&rebuilt.data(), &self.promises);
                (verdict.context("after verify --rebuild")?, Fate::Rebuilt)
            }
        };
        let fate = match verdict {
            Verdict::Kept => return Ok(then),
            Verdict::Told { .. } => {
                runtime.block_on(self.come_back())?;
                Fate::CameBack
            }
            Verdict::Refused(_) => runtime.block_on(self.refetch())?,
        };
        if fate != Fate::Named {
            self.must_be_whole()?;
        }
        Ok(fate)
    }

    async fn come_back(&self) -> anyhow::Result<()> {
        let (peer, other) = (self.open(options()).await?, self.open_other().await?);
        until_same(&peer, &other).await?;
        peer.close().await?;
        Ok(other.close().await?)
    }

    async fn refetch(&self) -> anyhow::Result<Fate> {
        let refused = match self.open(options()).await {
            Ok(_) => bail!("it opened in one place and not in another"),
            Err(error) => error,
        };
        if let OpenError::Directory(error) = &refused {
            let place = self.damaged();
            ensure!(
                error.to_string().contains(&*place.to_string_lossy()),
                "the message names no file: {error}"
            );
            return Ok(Fate::Named);
        }
        let other = self.open_other().await?;
        let again = options().join(self.token.clone()).refetch(true);
        let peer = self.open(again).await.context("fetching it again")?;
        until_same(&peer, &other).await?;
        peer.close().await?;
        other.close().await?;
        ensure!(
            self.damaged().join("store.aside-1").exists(),
            "the store was not set aside"
        );
        Ok(Fate::Refetched)
    }

    /// Everything that was acknowledged is there again.
    fn must_be_whole(&self) -> anyhow::Result<()> {
        let copy = self.trial.copy()?;
        let verdict = judge(&copy.data(), &self.promises)?;
        ensure!(verdict == Verdict::Kept, "afterwards: {verdict:?}");
        Ok(())
    }
}

/// Two addresses that nobody listens at. Not among those that the system gives out by itself, so that
/// they stay free while nobody does.
fn free_addresses(seed: u64) -> anyhow::Result<[SocketAddr; 2]> {
    let mut chance = Chance::new(seed ^ u64::from(std::process::id()), "addresses");
    let mut found = Vec::new();
    for _ in 0..BIND_TRIES {
        let port = u16::try_from(chance.within(PORTS.0, PORTS.1))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if UdpSocket::bind(address).is_ok() && !found.contains(&address) {
            found.push(address);
        }
        if let [first, second] = found[..] {
            return Ok([first, second]);
        }
    }
    bail!("no two addresses are free")
}

/// Opens a peer at an address that one before it may not have let go of yet.
async fn open(directory: &Path, options: PeerOptions) -> Result<Peer, OpenError> {
    let mut tries = 0;
    loop {
        match Peer::open(directory, options.clone()).await {
            Err(OpenError::Bind(_)) if tries < BIND_TRIES => tries += 1,
            opened => return opened,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until two peers have applied the same.
async fn until_same(a: &Peer, b: &Peer) -> anyhow::Result<()> {
    let mut waited = Duration::ZERO;
    loop {
        let same = RepoId::ALL.into_iter().all(|repo| {
            let (one, other) = (a.snapshot_in(repo), b.snapshot_in(repo));
            one.digest() == other.digest() && one.heads() == other.heads()
        });
        if same {
            return Ok(());
        }
        if waited > PATIENCE {
            let alarms = a.status().await.alarms;
            bail!("they do not come to the same state; alarms: {alarms:?}");
        }
        tokio::time::sleep(PAUSE).await;
        waited += PAUSE;
    }
}

/// Damages one of the files of a directory. Says what it did.
fn damage(directory: &Path, chance: &mut Chance) -> anyhow::Result<String> {
    let mut files = Vec::new();
    list(directory, &mut files)?;
    files.retain(|(path, bytes)| *bytes > 0 && !path.ends_with("lock"));
    files.sort();
    // Mostly the log, where nearly everything is.
    let log = files.iter().find(|(path, _)| path.ends_with("db/db"));
    let (path, length) = match log {
        Some(log) if chance.permille(600) => log.clone(),
        _ => chance.one_of(&files).clone(),
    };
    let mut bytes = fs::read(&path)?;
    let at = chance.index(bytes.len());
    let what = match chance.below(5) {
        0 | 1 => {
            bytes[at] ^= 1 << chance.below(8);
            format!("a bit at {at}")
        }
        2 => {
            let most = usize::try_from(chance.within(1, OVERWRITTEN_MAX))?;
            let end = bytes.len().min(at + most);
            for byte in &mut bytes[at..end] {
                *byte = u8::try_from(chance.below(256))?;
            }
            format!("bytes {at} to {end} are others")
        }
        3 => {
            let end = bytes.len().min(at + 4_096);
            bytes[at..end].fill(0);
            format!("bytes {at} to {end} are zero")
        }
        _ => {
            bytes.truncate(at);
            format!("cut to {at} bytes")
        }
    };
    fs::write(&path, &bytes)?;
    let name = path.strip_prefix(directory)?.display();
    Ok(format!("{name} of {length} bytes: {what}"))
}

fn list(directory: &Path, files: &mut Vec<(PathBuf, u64)>) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let about = entry.metadata()?;
        match about.is_dir() {
            true => list(&entry.path(), files)?,
            false => files.push((entry.path(), about.len())),
        }
    }
    Ok(())
}
