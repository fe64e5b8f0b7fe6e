//! What a person does after this machine's clock was far ahead: says that it is right, and has what
//! was saved then saved again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::handle::Inner;
use crate::merge::ReadError;
use crate::model::RepoId;
use crate::replica::{ClosedOrigin, Repair, RepairError};

/// Time between two looks at how far it is.
const PAUSE: Duration = Duration::from_millis(20);

/// How often others are waited for.
const PATIENCE: u32 = 500;

/// What a repair has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClockRepair {
    /// The origins that were closed.
    pub closed: Vec<ClosedOrigin>,
    /// Saves that were made once more.
    pub saved_again: u64,
    /// Open conflicts that some of them lost: what could not be done again, or has been overwritten
    /// meanwhile.
    pub conflicts: u64,
}

/// Why a clock was not repaired, or not to the end. What has begun is finished by asking again, or
/// when the peer is opened the next time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClockRepairError {
    /// It is refused; nothing has changed.
    #[error(transparent)]
    Refused(#[from] RepairError),
    /// The conflicts could not be counted; all else is done.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The peer has ended.
    #[error("the peer has ended")]
    Ended,
}

/// Asks the replica until it is done. The store may be opened again meanwhile.
pub(super) async fn repair_clock(
    inner: &Arc<Inner>,
    alone: bool,
) -> Result<ClockRepair, ClockRepairError> {
    let mut done = ClockRepair::default();
    let mut patience = PATIENCE;
    loop {
        let asked = inner
            .core
            .run(move |engine| engine.replica.repair_clock(clock::now(), alone));
        match asked.await.ok_or(ClockRepairError::Ended)? {
            Ok(Repair::Done) => break,
            Ok(Repair::Reopening) => patience = PATIENCE,
            // When it has just been opened, others have not told yet what they have.
            Err(RepairError::Alone | RepairError::Behind) if patience > 0 => patience -= 1,
            Err(error) => return Err(error.into()),
            Ok(Repair::Working(closed)) => {
                for one in closed {
                    if !done.closed.contains(&one) {
                        done.closed.push(one);
                    }
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    let closed = done.closed.iter();
    done.saved_again = closed.map(|one| one.tip.0 - one.last.0).sum();
    let inner = inner.clone();
    let counting = tokio::task::spawn_blocking(move || {
        done.conflicts = conflicts(&inner, &done.closed)?;
        Ok(done)
    });
    counting.await.map_err(|_| ClockRepairError::Ended)?
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
