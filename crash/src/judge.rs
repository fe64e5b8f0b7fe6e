//! What became of what had been promised: opens a data directory and looks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use leveret::model::ChangeSet;
use leveret::peer::{DirectoryError, VerifyError, verify};
use leveret::{Peer, ReadTree as _, RepoId, Snapshot, Value};
use leveret_sim::engine::to_spec;
use leveret_sim::observation::{Observation, nodes_of};
use merge_spec::fold;

use crate::work::{NUMBER, TRIPLE, options};

/// How often a lock is tried, and the pause in between.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Longer histories are not folded by the naive model.
pub(crate) const MODEL_SETS_MAX: usize = 600;

/// What the run before had said, up to the moment that counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    /// The ids of acknowledged saves, by number.
    pub(crate) saved: BTreeMap<u64, String>,
    /// The number of the last save that was begun.
    pub(crate) asked: u64,
    /// What it said of failures, the last one.
    pub(crate) failure: Option<String>,
}

impl Promises {
    /// Takes in a line of output.
    pub(crate) fn hear(&mut self, line: &str) {
        let mut words = line.splitn(3, ' ');
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok());
        match words.next() {
            Some("asking") => self.asked = number(words.next()).unwrap_or(self.asked),
            Some("saved") => {
                if let (Some(number), Some(id)) = (number(words.next()), words.next()) {
                    self.saved.insert(number, id.to_owned());
                }
            }
            Some("failed" | "refused" | "unclosed") => self.failure = Some(line.to_owned()),
            _ => {}
        }
    }

    /// What a whole output promises.
    pub(crate) fn of(output: &str) -> Self {
        let mut promises = Self::default();
        output.lines().for_each(|line| promises.hear(line));
        promises
    }
}

/// How it stands with the promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everything that was acknowledged is there.
    Kept,
    /// So many acknowledged saves are not there, and the peer says so.
    Told {
        /// How many.
        missing: usize,
        /// What the peer says.
        alarm: String,
    },
    /// The peer does not open, and says why. Nothing in the directory was thrown away.
    Refused(String),
}

/// Opens a directory, checks all that must hold, and says what became of the promises.
///
/// # Errors
/// What does not hold: an acknowledged save is missing and nobody says so, half of a save is there,
/// the state is not what its change sets make, or what is stored is not sound.
pub(crate) fn judge(directory: &Path, promises: &Promises) -> anyhow::Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let verdict = runtime.block_on(open_and_look(directory, promises))?;
    if !matches!(verdict, Verdict::Refused(_)) {
        must_be_sound(directory)?;
    }
    Ok(verdict)
}

/// Checks the stored bytes of a directory that no peer has open: chains, seals, and the state
/// against what the journal makes.
///
/// # Errors
/// What is wrong.
pub(crate) fn must_be_sound(directory: &Path) -> anyhow::Result<()> {
    let mut tries = 0;
    let report = loop {
        match verify(directory, false) {
            // A process that is just being started by another thread of this one holds all that is
            // open here, for a moment.
            Err(VerifyError::Directory(DirectoryError::InUse { .. })) if tries < LOCK_TRIES => {
                tries += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            done => break done.context("verify")?,
        }
    };
    let problems = report.repos.iter().flat_map(|repo| &repo.problems);
    let problems: Vec<&str> = problems.map(String::as_str).collect();
    ensure!(report.is_sound(), "verify: {}", problems.join("; "));
    Ok(())
}

async fn open_and_look(directory: &Path, promises: &Promises) -> anyhow::Result<Verdict> {
    let peer = match Peer::open(directory, options()).await {
        Ok(peer) => peer,
        Err(error) => return Ok(Verdict::Refused(error.to_string())),
    };
    let found = look(&peer, promises).await;
    let closed = peer.close().await;
    let verdict = found?;
    closed.context("it does not close")?;
    Ok(verdict)
}

async fn look(peer: &Peer, promises: &Promises) -> anyhow::Result<Verdict> {
    let snapshot = peer.snapshot();
    let mut log = peer.history(RepoId::MAIN, None, None)?;
    let mut ids = Vec::new();
    while let Some(entry) = log.next_entry()? {
        ids.push(entry.id);
    }
    let there: BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
    let missing: Vec<u64> = promises
        .saved
        .iter()
        .filter(|(_, id)| !there.contains(*id))
        .map(|(number, _)| *number)
        .collect();

    let property = NUMBER.parse()?;
    let mut numbers = Vec::new();
    for path in TRIPLE {
        let node = snapshot.resolve(&path.parse()?)?;
        let value = node.map(|node| snapshot.property(node, &property));
        numbers.push(value.transpose()?.flatten());
    }
    ensure!(
        numbers.iter().all(|number| *number == numbers[0]),
        "half of a save is there: {numbers:?}"
    );
    let found = match &numbers[0] {
        None => 0,
        Some(Value::Int(number)) => u64::try_from(*number)?,
        Some(other) => bail!("the number is {other:?}"),
    };
    ensure!(
        found <= promises.asked,
        "save {found} is there, and {} was the last that was asked for",
        promises.asked
    );
    if ids.len() <= MODEL_SETS_MAX {
        let mut journal = peer.change_sets(RepoId::MAIN);
        let mut sets = Vec::new();
        for id in ids {
            let set = journal.get(id)?;
            let set = set.context("the log lists what can not be read")?;
            sets.push(set.as_ref().clone());
        }
        must_equal_model(&sets, &snapshot)?;
    }
    let Some(first) = missing.first() else {
        let last = promises.saved.keys().last().copied().unwrap_or(0);
        ensure!(
            found >= last,
            "save {last} is in the journal, and has no effect"
        );
        return Ok(Verdict::Kept);
    };
    let alarms = peer.status().await.alarms;
    let told = alarms
        .into_iter()
        .find(|alarm| alarm.contains("acknowledged"));
    match told {
        Some(alarm) => Ok(Verdict::Told {
            missing: missing.len(),
            alarm,
        }),
        None => bail!(
            "{} acknowledged saves are not there, the first is number {first}, and nobody says so",
            missing.len()
        ),
    }
}

/// Folds a history with the naive model of the rules, and compares everything with a state.
///
/// # Errors
/// Where they differ.
pub(crate) fn must_equal_model(sets: &[ChangeSet], snapshot: &Snapshot) -> anyhow::Result<()> {
    let sets: Vec<_> = sets.iter().map(to_spec).collect();
    let fold = fold(&sets);
    let found = Observation::of_engine(snapshot, nodes_of(&fold));
    match found.first_difference(&Observation::of_model(&fold)) {
        None => Ok(()),
        Some(difference) => bail!("the state is not what the model makes: {difference}"),
    }
}
