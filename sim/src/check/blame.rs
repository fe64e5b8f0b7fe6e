//! Nobody honest is blamed: no alarm says that an honest member has broken the rules, and no origin of
//! one ends. Every life writes under an origin of its own, so an old copy of a directory and a copied
//! one break no rule either. Nor does a journal have gaps that no disk has made.

use leveret::model::RepoId;
use leveret::replica::Alarm;
use leveret::storage::StorageError;

use super::{Checker, End};
use crate::plan::Kind;
use crate::world::{Down, Note, Watcher, World};

/// Kinds of faults after which something honest can be ahead of somebody's clock.
const CLOCKS: [Kind; 6] = [
    Kind::Skew,
    Kind::Drift,
    Kind::JumpForward,
    Kind::JumpBack,
    Kind::Frozen,
    Kind::YearAhead,
];

/// Kinds of faults after which a directory lacks what its replica has written.
const DIRECTORIES: [Kind; 2] = [Kind::RestoredBackup, Kind::Clone];

/// See the top of the file.
#[derive(Default)]
pub(super) struct Blame {
    /// Whether some disk has lost what it had said it had.
    lied: bool,
    /// The first alarm that an honest author was ahead of time.
    ahead: Option<String>,
    /// The first alarm that something of a replica's own came from others.
    came_back: Option<String>,
}

impl Watcher for Blame {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        match note {
            Note::Down {
                how: Down::TailLost,
                ..
            } => self.lied = true,
            Note::Alarm {
                machine,
                alarm,
                of_hostile,
            } => {
                let wrong = match alarm {
                    Alarm::Fork { .. } | Alarm::Invalid { .. } => !of_hostile,
                    Alarm::Journal { .. } | Alarm::Cloned { .. } => true,
                    Alarm::TailLost { .. } => !self.lied,
                    Alarm::Storage(error) => !matches!(error, StorageError::Full(_)),
                    _ => false,
                };
                if wrong {
                    return Err(format!("m{machine} gives an alarm without cause: {alarm}"));
                }
                if matches!(alarm, Alarm::CameBack { .. }) {
                    let said = format!("m{machine} says, while every disk is its own: {alarm}");
                    self.came_back.get_or_insert(said);
                }
                let ahead = matches!(
                    alarm,
                    Alarm::Future { .. }
                        | Alarm::OwnHeld { .. }
                        | Alarm::Ahead { .. }
                        | Alarm::Behind { .. }
                );
                if ahead && !of_hostile {
                    let said = format!("m{machine} says, while all clocks are right: {alarm}");
                    self.ahead.get_or_insert(said);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Checker for Blame {
    fn name(&self) -> &'static str {
        "blame"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        // Until both histories of somebody are known everywhere, what honest authors have built on
        // one of them does not fit the other.
        match world.tally.kinds.contains_key(&Kind::Equivocation) {
            true => Ok(()),
            false => nobody_honest_ends(world),
        }
    }

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        nobody_honest_ends(end.world)?;
        let kinds = &end.world.tally.kinds;
        let met = |of: &[Kind]| of.iter().any(|kind| kinds.contains_key(kind));
        match (self.ahead.take(), self.came_back.take()) {
            (Some(said), _) if !met(&CLOCKS) => Err(said),
            (_, Some(said)) if !self.lied && !met(&DIRECTORIES) => Err(said),
            _ => Ok(()),
        }
    }
}

fn nobody_honest_ends(world: &World) -> Result<(), String> {
    for machine in world.running() {
        for repo in RepoId::ALL {
            let status = world.replica(machine).repo_status(repo);
            let honest = status.quarantined.iter().find(|origin| {
                let author = status.authors.get(origin);
                author.is_none_or(|author| !world.is_hostile(author))
            });
            if let Some(origin) = honest {
                return Err(format!(
                    "{origin} has ended in `{}` on m{machine}, and its author broke no rule",
                    repo.name()
                ));
            }
        }
    }
    Ok(())
}
