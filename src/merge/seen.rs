//! Who had seen what (M2): for each origin a timeline of how far it had seen each other one.
//!
//! A change set names a frontier; whether it has *seen* another is a question about everything
//! behind that. So at its turn a change set's whole knowledge is worked out from that of its
//! dependencies, and what is new in it is written down as `origin, other, from this time on: up to
//! that time`. Within one origin knowledge only grows, so the newest entry that is not newer than a
//! change set answers for it. Times serve as well as sequence numbers, since both rise along an
//! origin, and stamps carry times.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::{Fault, on};
use super::view::{Overlay, ReadError, View};
use super::{Heads, History};
use crate::codec::record::{Head, Record};
use crate::codec::state_key as key;
use crate::model::{ChangeSet, ChangeSetId, Dependency, OriginId, Sequence, Time};

/// What one change set had seen of other origins.
pub(crate) type Knowledge = BTreeMap<OriginId, Time>;

/// How far `id`'s author had seen `other`, from the timelines; the least time if not at all.
pub(crate) fn seen_of(
    view: &dyn View,
    id: ChangeSetId,
    other: OriginId,
) -> Result<Time, ReadError> {
    let from = key::seen(view.repo(), id.origin, other, Time(0));
    let mut to = key::seen(view.repo(), id.origin, other, id.time);
    to.push(0);
    match view.last(&from, &to)? {
        Some((_, Record::Seen(time))) => Ok(time),
        _ => Ok(Time(0)),
    }
}

/// Notes what a change set has seen and makes it its origin's applied head.
///
/// Gives what it had seen, itself left out. The batch's change sets come in order of their ids, so
/// whatever one depends on has been noted.
pub(crate) fn note(
    overlay: &mut Overlay<'_>,
    heads: &mut Heads,
    frontier: &mut Vec<Dependency>,
    set: &ChangeSet,
    batch: &BTreeMap<(OriginId, Sequence), Arc<ChangeSet>>,
    history: &dyn History,
) -> Result<Arc<Knowledge>, ReadError> {
    let repo = set.repo;
    let origin = set.id.origin;
    let mut seen = heads
        .get(&origin)
        .map(|head| head.seen.clone())
        .unwrap_or_default();
    let mut learn = |other: OriginId, up_to: Time, seen: &mut Arc<Knowledge>| {
        let known = seen.get(&other).copied().unwrap_or_default();
        if other != origin && known < up_to {
            Arc::make_mut(seen).insert(other, up_to);
            overlay.put(
                key::seen(repo, origin, other, set.id.time),
                Record::Seen(up_to),
            );
        }
    };
    let mut indirect = Vec::new();
    for dependency in &set.dependencies {
        let head = heads.get(&dependency.origin);
        let time = match head {
            Some(head) if head.sequence == dependency.sequence => {
                for (other, up_to) in head.seen.iter() {
                    if !on(Fault::IndirectForgotten) {
                        learn(*other, *up_to, &mut seen);
                    }
                }
                head.time
            }
            _ => {
                let id = match batch.get(&(dependency.origin, dependency.sequence)) {
                    Some(set) => set.id,
                    None => {
                        history
                            .change_set(dependency.origin, dependency.sequence)?
                            .id
                    }
                };
                indirect.push(id);
                id.time
            }
        };
        learn(dependency.origin, time, &mut seen);
    }
    indirect.retain(|_| !on(Fault::OlderForgotten));
    for id in indirect {
        for other in heads.keys().copied().collect::<Vec<_>>() {
            let up_to = seen_of(overlay, id, other)?;
            let known = seen.get(&other).copied().unwrap_or_default();
            if other != origin && known < up_to {
                Arc::make_mut(&mut seen).insert(other, up_to);
                overlay.put(
                    key::seen(repo, origin, other, set.id.time),
                    Record::Seen(up_to),
                );
            }
        }
    }
    let head = Head {
        sequence: set.sequence,
        time: set.id.time,
        seen: seen.clone(),
    };
    overlay.put(
        key::head(repo, origin),
        Record::Head(Arc::new(head.clone())),
    );
    heads.insert(origin, head);
    // What it depends on has a descendant now, and so has the one before it of its own origin.
    frontier.retain(|old| {
        on(Fault::FrontierKeepsSeen)
            || old.origin != origin && !set.dependencies.iter().any(|seen| seen == old)
    });
    let own = Dependency {
        origin,
        sequence: set.sequence,
    };
    let position = frontier.partition_point(|other| *other < own);
    frontier.insert(position, own);
    Ok(seen)
}
