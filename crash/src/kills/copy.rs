//! What lies on disk, read without a peer: a copied directory must not be opened as one, since it
//! would be a second life of the same replica among the others.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use leveret::model::{ChangeSet, Sequence, Time};
use leveret::replica::{Founder, Identity, Replica, ReplicaConfig};
use leveret::storage::Storage;
use leveret::storage::sled::{SledOptions, SledStorage};
use leveret::{ClusterId, PublicKey, RepoId};

use crate::judge::{MODEL_SETS_MAX, must_equal_model};

/// Memory for the store, in bytes.
const CACHE_BYTES: u64 = 8 << 20;

/// What was looked at.
pub(super) struct Checked {
    /// Change sets of `main` in the state.
    pub(super) change_sets: u64,
    /// Whether the naive model has folded them.
    pub(super) folded: bool,
}

/// Opens the replica of a directory without a network, as the next life would; if `fold` is asked
/// for and the history is short enough, compares its state with the naive model's.
///
/// # Errors
/// If it does not open, or the two differ.
pub(super) fn check(data: &Path, fold: bool) -> anyhow::Result<Checked> {
    let replica = open(data)?;
    let status = replica.repo_status(RepoId::MAIN);
    let mut checked = Checked {
        change_sets: status.applied.values().map(|sequence| sequence.0).sum(),
        folded: false,
    };
    if fold && checked.change_sets <= MODEL_SETS_MAX as u64 {
        let snapshot = replica.state(RepoId::MAIN).snapshot();
        must_equal_model(&history(&replica)?, &snapshot)?;
        checked.folded = true;
    }
    Ok(checked)
}

/// How many change sets of `main` a directory has, by origin.
///
/// # Errors
/// If it does not open.
pub(super) fn stored(data: &Path) -> anyhow::Result<BTreeMap<String, u64>> {
    let status = open(data)?.repo_status(RepoId::MAIN);
    let stored = status.stored.iter();
    Ok(stored
        .map(|(origin, sequence)| (origin.to_string(), sequence.0))
        .collect())
}

fn open(data: &Path) -> anyhow::Result<Replica> {
    let store = SledStorage::open(
        &data.join("store"),
        &SledOptions::default().with_cache_bytes(CACHE_BYTES),
    )?;
    let store: Arc<dyn Storage> = Arc::new(store);
    let config = ReplicaConfig::new(founder(data)?);
    // A public key has the same text form.
    let seed: PublicKey = fs::read_to_string(data.join("key"))?.trim().parse()?;
    let identity = Identity::from_seed(&seed.0);
    Ok(Replica::open(config, identity, store, [7; 32], now())?)
}

/// What the state has, in the order of origins.
fn history(replica: &Replica) -> anyhow::Result<Vec<ChangeSet>> {
    let journal = replica.journal(RepoId::MAIN);
    let snapshot = replica.state(RepoId::MAIN).snapshot();
    let mut sets = Vec::new();
    for (origin, head) in snapshot.heads().iter() {
        for sequence in 1..=head.sequence.0 {
            let set = journal.change_set(*origin, Sequence(sequence))?;
            sets.push(set.context("the journal has what the state has")?);
        }
    }
    Ok(sets)
}

/// Who founded the cluster, from the small file that says so.
fn founder(data: &Path) -> anyhow::Result<Founder> {
    let text = fs::read_to_string(data.join("cluster"))?;
    let field = |name: &str| -> anyhow::Result<&str> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim)
            .with_context(|| format!("no {name} in the cluster file"))
    };
    Ok(Founder {
        key: field("founder ")?.parse()?,
        // As many hex digits.
        nonce: field("nonce ")?.parse::<ClusterId>()?.0,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a replica is told the time of day"
)]
fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    Time::from_unix_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}
