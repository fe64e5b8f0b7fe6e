//! Ids rise (M15): along each origin, above all that their author had seen, and no two change sets
//! have the same one.

use std::collections::{BTreeMap, BTreeSet};

use leveret::model::{ChangeSetId, OriginId, PublicKey, RepoId, Sequence, Time};

use super::{Checker, End};
use crate::world::{Note, Watcher};

/// See the top of the file.
#[derive(Default)]
pub(super) struct Ids {
    /// Every change set that was seen in an event or an answer.
    ids: BTreeMap<(RepoId, OriginId, Sequence), ChangeSetId>,
    /// The only place of each id.
    places: BTreeMap<ChangeSetId, (RepoId, Sequence)>,
    /// The greatest time of each author.
    newest: BTreeMap<PublicKey, Time>,
    /// Numbers that were answered, each once.
    answered: BTreeSet<(RepoId, OriginId, Sequence)>,
}

impl Ids {
    /// The greatest time that was shown of those authors that count.
    pub(super) fn newest(&self, counts: impl Fn(&PublicKey) -> bool) -> Time {
        let times = self.newest.iter().filter(|(author, _)| counts(author));
        times.map(|(_, time)| *time).max().unwrap_or(Time(0))
    }

    fn learn(&mut self, repo: RepoId, sequence: Sequence, id: ChangeSetId) -> Result<(), String> {
        let place = (repo, id.origin, sequence);
        if let Some(known) = self.ids.get(&place) {
            return match *known == id {
                true => Ok(()),
                false => Err(format!(
                    "number {sequence} of {} is {known} and {id}",
                    id.origin
                )),
            };
        }
        let before = (repo, id.origin, Sequence(sequence.0.saturating_sub(1)));
        let after = (repo, id.origin, sequence.next());
        if self.ids.get(&before).is_some_and(|before| *before >= id) {
            return Err(format!("{id} does not exceed the one before it"));
        }
        if self.ids.get(&after).is_some_and(|after| *after <= id) {
            return Err(format!("{id} is not below the one after it"));
        }
        if let Some((repo, other)) = self.places.insert(id, (repo, sequence)) {
            return Err(format!(
                "{id} is number {sequence}, and number {other} in `{}`",
                repo.name()
            ));
        }
        self.ids.insert(place, id);
        Ok(())
    }
}

impl Watcher for Ids {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        match note {
            Note::Saved { receipt, seen, .. } => {
                let (repo, id) = (receipt.repo, receipt.id);
                self.learn(repo, receipt.sequence, id)?;
                if !self.answered.insert((repo, id.origin, receipt.sequence)) {
                    return Err(format!(
                        "number {} of {} was given out twice",
                        receipt.sequence, id.origin
                    ));
                }
                for on in *seen {
                    let known = self.ids.get(&(repo, on.origin, on.sequence));
                    if known.is_some_and(|seen| *seen >= id) {
                        return Err(format!("{id} does not exceed {known:?}, which it had seen"));
                    }
                }
                Ok(())
            }
            // Whoever writes by hand gives one number to many.
            Note::Event { event, hostile, .. } => {
                let honest = event
                    .change_sets
                    .iter()
                    .filter(|set| !hostile.contains(&set.id.origin));
                for set in honest {
                    let newest = self.newest.entry(set.author).or_insert(Time(0));
                    *newest = set.id.time.max(*newest);
                    self.learn(event.repo, set.sequence, set.id)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Checker for Ids {
    fn name(&self) -> &'static str {
        "ids"
    }

    fn finish(&mut self, _: &End<'_>) -> Result<(), String> {
        Ok(())
    }
}
