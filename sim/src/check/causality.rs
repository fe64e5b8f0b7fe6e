//! No effect is visible before its cause (M2): a state that contains a change set contains all
//! that its author had seen.

use std::collections::BTreeMap;

use leveret::model::{Dependency, OriginId, RepoId, Sequence};

use super::{Checker, End};
use crate::world::{Note, Watcher};

/// See the top of the file.
#[derive(Default)]
pub(super) struct Causality {
    /// What the authors had seen, of the change sets whose saves were answered.
    seen: BTreeMap<(RepoId, OriginId, Sequence), Vec<Dependency>>,
}

impl Watcher for Causality {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        match note {
            Note::Saved { receipt, seen, .. } => {
                let place = (receipt.repo, receipt.id.origin, receipt.sequence);
                self.seen.insert(place, seen.to_vec());
                Ok(())
            }
            Note::Event {
                machine,
                event,
                replica,
                ..
            } => {
                let heads = event.snapshot.heads();
                let has = |origin: OriginId, sequence: Sequence| {
                    heads
                        .get(&origin)
                        .is_some_and(|head| head.sequence >= sequence)
                };
                for set in &event.change_sets {
                    let place = (event.repo, set.id.origin, set.sequence);
                    for on in self.seen.get(&place).into_iter().flatten() {
                        // Of an origin that has ended, what there is is all there ever will be (M17).
                        let ended = || {
                            let status = replica.repo_status(event.repo);
                            status.quarantined.contains(&on.origin)
                        };
                        if !has(on.origin, on.sequence) && !ended() {
                            return Err(format!(
                                "m{machine} shows {} without {} of {}, which its author had seen",
                                set.id, on.sequence, on.origin
                            ));
                        }
                    }
                    if !has(set.id.origin, set.sequence) {
                        return Err(format!("m{machine} tells of {} and has it not", set.id));
                    }
                }
                Ok(())
            }
            Note::Opened { .. } | Note::Down { .. } | Note::Alarm { .. } => Ok(()),
        }
    }
}

impl Checker for Causality {
    fn name(&self) -> &'static str {
        "causality"
    }

    fn finish(&mut self, _: &End<'_>) -> Result<(), String> {
        Ok(())
    }
}
