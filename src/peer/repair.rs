//! What a person does after this machine's clock was far ahead: says that it is right, and has what
//! was saved then saved again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::handle::Inner;
use crate::merge::ReadError;
use crate::model::RepoId;
use crate::replica::journal::JournalReader;
use crate::replica::{ClosedOrigin, Repair, RepairAnyway, RepairError, count_again};

/// Time between two looks at how far it is.
const PAUSE: Duration = Duration::from_millis(20);

/// How often others are looked for who are connected, and what they have is waited for.
const PATIENCE: u32 = 500;
const PATIENCE_BEHIND: u32 = 1_750;

/// An origin that was closed, and what has become of what it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairedOrigin {
    /// The origin.
    pub closed: ClosedOrigin,
    /// Saves that were made once more.
    pub saved_again: u64,
    /// Saves that were not, since they are too large for that by some bytes. They do not count any
    /// more.
    pub not_again: u64,
}

/// What a repair has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClockRepair {
    /// The origins that were closed.
    pub closed: Vec<RepairedOrigin>,
    /// Saves that were made once more, of all of them.
    pub saved_again: u64,
    /// Saves that were not, of all of them.
    pub not_again: u64,
    /// Open conflicts that some of them lost: what could not be done again, or has been overwritten
    /// meanwhile.
    pub conflicts: u64,
}

/// Why a clock was not repaired, or not to the end. What has begun is finished by asking again, or
/// when the peer is opened the next time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClockRepairError {
    /// It is refused; nothing is closed. If it was said that the clock is right, that has been taken.
    #[error(transparent)]
    Refused(#[from] RepairError),
    /// What has been done could not be counted; all else is done.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The peer has ended.
    #[error("the peer has ended")]
    Ended,
}

/// Asks the replica until it is done. The store may be opened again meanwhile.
pub(super) async fn repair_clock(
    inner: &Arc<Inner>,
    anyway: RepairAnyway,
) -> Result<ClockRepair, ClockRepairError> {
    let mut closed: Vec<ClosedOrigin> = Vec::new();
    let (mut alone, mut behind) = (PATIENCE, PATIENCE_BEHIND);
    loop {
        let asked = inner
            .core
            .run(move |engine| engine.replica.repair_clock(clock::now(), anyway));
        match asked.await.ok_or(ClockRepairError::Ended)? {
            Ok(Repair::Done) => break,
            Ok(Repair::Reopening) => (alone, behind) = (PATIENCE, PATIENCE_BEHIND),
            // When it has just been opened, others have not told yet what they have.
            Err(RepairError::Alone) if alone > 0 => alone -= 1,
            Err(RepairError::Behind) if behind > 0 => behind -= 1,
            Err(error) => return Err(error.into()),
            Ok(Repair::Working(origins)) => {
                for one in origins {
                    if !closed.contains(&one) {
                        closed.push(one);
                    }
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    let inner = inner.clone();
    let counting = tokio::task::spawn_blocking(move || count(&inner, closed));
    counting.await.map_err(|_| ClockRepairError::Ended)?
}

/// What has become of what was closed.
fn count(inner: &Inner, closed: Vec<ClosedOrigin>) -> Result<ClockRepair, ClockRepairError> {
    let conflicts = conflicts(inner, &closed)?;
    let mut counts = BTreeMap::new();
    for repo in RepoId::ALL {
        let reader = JournalReader::new(repo, inner.core.store());
        let counted = count_again(&reader, &closed).map_err(ReadError::from)?;
        counts.extend(counted.into_iter().map(|(origin, n)| ((repo, origin), n)));
    }
    let mut done = ClockRepair {
        conflicts,
        ..ClockRepair::default()
    };
    for closed in closed {
        let place = (closed.repo, closed.origin);
        let saved_again = counts.get(&place).copied().unwrap_or_default();
        let not_again = (closed.tip.0 - closed.last.0).saturating_sub(saved_again);
        done.saved_again += saved_again;
        done.not_again += not_again;
        done.closed.push(RepairedOrigin {
            closed,
            saved_again,
            not_again,
        });
    }
    Ok(done)
}

fn conflicts(inner: &Inner, closed: &[ClosedOrigin]) -> Result<u64, ReadError> {
    let mut count = 0;
    for repo in RepoId::ALL {
        let here = closed.iter().filter(|one| one.repo == repo);
        let again: BTreeSet<_> = here.map(|one| one.again).collect();
        if !again.is_empty() {
            let open = inner.core.state(repo).snapshot().conflicts()?;
            let lost = open.iter().filter(|one| again.contains(&one.loser.origin));
            count += lost.count() as u64;
        }
    }
    Ok(count)
}
