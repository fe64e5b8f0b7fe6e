//! What is from the future waits (M16): nobody shows a change set of others that is further ahead of
//! all that its own clock has ever shown, and of all that it has shown before, than is allowed.

use std::collections::BTreeMap;

use leveret::model::{PublicKey, Time};
use leveret::replica::Replica;

use super::{Checker, End};
use crate::world::{Note, Watcher};

/// By how much a replica's clock can be above what it has shown, in milliseconds: the bound that it
/// keeps on disk is.
const BOUND_MS: u64 = 100;

/// See the top of the file.
#[derive(Default)]
pub(super) struct Future {
    /// The greatest time that was shown under each key. A copied directory has the clock's bound of
    /// the original.
    reached: BTreeMap<PublicKey, Time>,
}

fn newest(replica: &Replica) -> Time {
    let states = leveret::model::RepoId::ALL.map(|repo| replica.state(repo).snapshot());
    let heads = states.iter().flat_map(|state| state.heads().iter());
    let times = heads.map(|(_, head)| head.time);
    times.max().unwrap_or(Time(0))
}

impl Watcher for Future {
    fn note(&mut self, note: &Note<'_>) -> Result<(), String> {
        match note {
            Note::Opened { replica, .. } => {
                let key = replica.identity().public();
                let reached = self.reached.entry(key).or_insert(Time(0));
                *reached = newest(replica).max(*reached);
            }
            Note::Event {
                machine,
                event,
                latest,
                replica,
                ..
            } => {
                let key = replica.identity().public();
                let reached = self.reached.entry(key).or_insert(Time(0));
                for set in &event.change_sets {
                    let skew = replica.config().skew_max_ms;
                    let allowed = latest.plus_millis(skew).max(reached.plus_millis(BOUND_MS));
                    if !set.local && set.id.time > allowed {
                        return Err(format!(
                            "m{machine} shows {}, which is {} ms ahead of its clock",
                            set.id,
                            set.id.time.unix_millis() - latest.unix_millis()
                        ));
                    }
                    *reached = set.id.time.max(*reached);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Checker for Future {
    fn name(&self) -> &'static str {
        "future"
    }

    fn finish(&mut self, _: &End<'_>) -> Result<(), String> {
        Ok(())
    }
}
