//! Who had seen what (M2): for each change set, how far its author had seen every other origin.
//!
//! A change set names a frontier; whether it has *seen* another is a question about everything
//! behind that. What is known at its turn is all that its *parents* knew, which are its dependencies
//! and the one before it of its own origin, and the parents themselves. Mostly the newest parent has
//! seen all that the others had. So a change set's knowledge is told from that of a *base*, by what
//! it has seen besides: that is what came to be at the same time as the base, however many authors
//! there are. A few steps are told as one, and after [`DEPTH_MAX`] of them all is told anew, which
//! bounds what a question costs.
//!
//! The base is chosen by ids alone, so the records do not depend on what came when. Times serve as
//! well as sequence numbers, since both rise along an origin, and stamps carry times. A change set
//! that knows no more than the one before it has no record of its own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::{Fault, on};
use super::overlay::Overlay;
use super::view::{ReadError, View};
use super::{Heads, History};
use crate::codec::bytes::MalformedRecord;
use crate::codec::record::{Head, Record, SeenRecord};
use crate::codec::state_key as key;
use crate::model::{ChangeSet, ChangeSetId, Dependency, OriginId, Sequence, Time};

/// Most records from one to that which tells all.
const DEPTH_MAX: u8 = 32;
/// Up to so many origins are told of in one record, rather than that it becomes a base.
const NEWS_ENOUGH: usize = 4;

/// How far `id`'s author had seen `other`; the least time if not at all.
pub(crate) fn seen_of(
    view: &dyn View,
    id: ChangeSetId,
    other: OriginId,
) -> Result<Time, ReadError> {
    Chain::of(view, id)?.seen(view, other)
}

/// How far one author had seen others, asked for more than once.
pub(crate) struct Knowledge {
    id: ChangeSetId,
    chain: RefCell<Option<Chain>>,
}

impl Knowledge {
    /// What `id`'s author had seen. Nothing is read yet.
    pub(crate) fn of(id: ChangeSetId) -> Self {
        let chain = RefCell::default();
        Self { id, chain }
    }

    /// How far it had seen `other`; the least time if not at all.
    pub(crate) fn up_to(&self, view: &dyn View, other: OriginId) -> Result<Time, ReadError> {
        let mut chain = self.chain.borrow_mut();
        let chain = match &mut *chain {
            Some(chain) => chain,
            none => none.insert(Chain::of(view, self.id)?),
        };
        chain.seen(view, other)
    }
}

/// What one change set had seen, read as far as it is asked for.
struct Chain {
    id: ChangeSetId,
    /// Its record, that of the first one's base, and so on.
    records: Vec<Arc<SeenRecord>>,
    /// Of which change set the next one is.
    next: Option<ChangeSetId>,
}

impl Chain {
    fn of(view: &dyn View, id: ChangeSetId) -> Result<Self, ReadError> {
        let mut chain = Self {
            id,
            records: Vec::new(),
            next: Some(id),
        };
        chain.read(view)?;
        Ok(chain)
    }

    /// Reads the next record; false if there is none.
    fn read(&mut self, view: &dyn View) -> Result<bool, ReadError> {
        let Some(id) = self.next.take() else {
            return Ok(false);
        };
        let record = record(view, id)?;
        if let Some(above) = self.records.last()
            && above.depth <= record.depth
        {
            let key = key::seen(view.repo(), id.origin, id.time);
            let what = MalformedRecord("not below what is told from it");
            return Err(ReadError::malformed(&key, what));
        }
        self.next = record.base;
        self.records.push(record);
        Ok(true)
    }

    /// How far it had seen an origin: itself, if that is its own.
    fn seen(&mut self, view: &dyn View, other: OriginId) -> Result<Time, ReadError> {
        if other == self.id.origin {
            return Ok(self.id.time);
        }
        let mut at = 0;
        while at < self.records.len() || self.read(view)? {
            let record = &self.records[at];
            if let Ok(found) = record.news.binary_search_by_key(&other, |news| news.0) {
                return Ok(record.news[found].1);
            }
            if let Some(base) = record.base.filter(|base| base.origin == other) {
                return Ok(base.time);
            }
            at += 1;
        }
        Ok(Time(0))
    }

    fn has_seen(&mut self, view: &dyn View, id: ChangeSetId) -> Result<bool, ReadError> {
        Ok(id.time <= self.seen(view, id.origin)?)
    }

    /// Everything that it had seen of other origins, and itself.
    fn all(&mut self, view: &dyn View) -> Result<BTreeMap<OriginId, Time>, ReadError> {
        while self.read(view)? {}
        let mut all = BTreeMap::new();
        for record in self.records.iter().rev() {
            all.extend(record.base.map(|base| (base.origin, base.time)));
            all.extend(record.news.iter().copied());
        }
        all.insert(self.id.origin, self.id.time);
        Ok(all)
    }
}

/// The record that tells what a change set had seen: its own, or that of the newest one before it
/// of its origin that has one.
fn record(view: &dyn View, id: ChangeSetId) -> Result<Arc<SeenRecord>, ReadError> {
    let (_, record) = view.seen(id)?;
    Ok(record)
}

/// The same, and the time of the change set whose record it is; the least if there is none.
pub(super) fn read(
    view: &(impl View + ?Sized),
    id: ChangeSetId,
) -> Result<(Time, Arc<SeenRecord>), ReadError> {
    let from = key::seen(view.repo(), id.origin, Time(0));
    let mut end = key::seen(view.repo(), id.origin, id.time);
    end.push(0);
    match view.last(&from, &end)? {
        None => Ok((Time(0), Arc::default())),
        Some((key, Record::Seen(record))) => {
            let time = key::seen_of(&key).expect("a key of the table holds a time");
            Ok((time, record))
        }
        Some((key, _)) => {
            let what = MalformedRecord("of another kind than its table's");
            Err(ReadError::malformed(&key, what))
        }
    }
}

/// Records read before: in long runs of one author few change sets have one of their own.
#[derive(Default)]
pub(super) struct Runs(BTreeMap<(OriginId, Time), (Time, Arc<SeenRecord>)>);

impl Runs {
    /// That of a change set, if it is known, and whose it is.
    pub(super) fn get(&self, id: ChangeSetId) -> Option<(Time, Arc<SeenRecord>)> {
        let (first, (until, record)) = self.0.range(..=(id.origin, id.time)).next_back()?;
        (first.0 == id.origin && id.time < *until).then(|| (first.1, record.clone()))
    }

    /// Reads that of a change set, and up to when it is the record of those that follow.
    pub(super) fn read(
        &mut self,
        view: &dyn View,
        id: ChangeSetId,
    ) -> Result<(Time, Arc<SeenRecord>), ReadError> {
        let (time, record) = read(view, id)?;
        let until = if time == id.time {
            Time(time.0.saturating_add(1))
        } else {
            let mut from = key::seen(view.repo(), id.origin, id.time);
            from.push(0);
            let end = key::after_prefix(&key::seen(view.repo(), id.origin, Time(u64::MAX)));
            let next = view.scan(&from, &end, 1)?.pop();
            next.and_then(|(key, _)| key::seen_of(&key))
                .unwrap_or(Time(u64::MAX))
        };
        self.0.insert((id.origin, time), (until, record.clone()));
        Ok((time, record))
    }

    /// Forgets all of it, since there is a new record.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Notes what a change set has seen and makes it its origin's applied head.
///
/// The batch's change sets come in order of their ids, so whatever one depends on has been noted.
pub(crate) fn note(
    overlay: &mut Overlay<'_>,
    heads: &mut Heads,
    frontier: &mut Vec<Dependency>,
    set: &ChangeSet,
    batch: &BTreeMap<(OriginId, Sequence), Arc<ChangeSet>>,
    history: &dyn History,
) -> Result<(), ReadError> {
    let origin = set.id.origin;
    let before = heads.get(&origin).map(|head| ChangeSetId {
        time: head.time,
        origin,
    });
    if !set.dependencies.is_empty() {
        let mut parents: Vec<ChangeSetId> = before.into_iter().collect();
        let mut alone = Vec::new();
        for on_it in &set.dependencies {
            let head = heads
                .get(&on_it.origin)
                .filter(|head| head.sequence == on_it.sequence);
            let time = match (head, batch.get(&(on_it.origin, on_it.sequence))) {
                (Some(head), _) => head.time,
                (None, Some(set)) => set.id.time,
                (None, None) => {
                    let set = history.change_set(on_it.origin, on_it.sequence)?;
                    set.id.time
                }
            };
            let forgotten =
                on(Fault::IndirectForgotten) || head.is_none() && on(Fault::OlderForgotten);
            let known = if forgotten { &mut alone } else { &mut parents };
            known.push(ChangeSetId {
                time,
                origin: on_it.origin,
            });
        }
        if let Some(record) = tell(overlay, set.id, before, parents, &alone)? {
            let key = key::seen(set.repo, origin, set.id.time);
            overlay.put_over(key, None, Record::Seen(Arc::new(record)));
        }
    }
    let head = Head {
        sequence: set.sequence,
        time: set.id.time,
    };
    let former = heads.insert(origin, head).map(Record::Head);
    overlay.put_over(key::head(set.repo, origin), former, Record::Head(head));
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
    Ok(())
}

/// What the author of `id` had seen, from what its parents had: `before` is that of its own origin.
/// Nothing if that is what `before` had seen.
fn tell(
    view: &dyn View,
    id: ChangeSetId,
    before: Option<ChangeSetId>,
    mut parents: Vec<ChangeSetId>,
    alone: &[ChangeSetId],
) -> Result<Option<SeenRecord>, ReadError> {
    parents.sort_unstable();
    let mut news = News {
        own: id.origin,
        base: None,
        times: BTreeMap::new(),
    };
    if let Some(base) = parents.pop() {
        news.base = Some(Chain::of(view, base)?);
    }
    for other in alone {
        news.learn(view, *other)?;
    }
    while let Some(parent) = parents.pop() {
        // What has been learned from another parent came with all that was behind it.
        if news.knows(view, parent)? {
            continue;
        }
        news.learn(view, parent)?;
        let mut chain = Chain::of(view, parent)?;
        let mut at = 0;
        while at < chain.records.len() || chain.read(view)? {
            let record = chain.records[at].clone();
            for (origin, time) in &record.news {
                let (origin, time) = (*origin, *time);
                news.learn(view, ChangeSetId { time, origin })?;
            }
            match record.base {
                Some(base) if !news.base_has_seen(view, base)? => news.learn(view, base)?,
                _ => break,
            }
            at += 1;
        }
    }
    let News { base, times, .. } = news;
    let Some(mut base) = base else {
        return Ok(Some(SeenRecord {
            depth: 0,
            base: None,
            news: times.into_iter().collect(),
        }));
    };
    if times.is_empty() && Some(base.id) == before {
        return Ok(None);
    }
    let below = base.records[0].clone();
    // From what the base was told from, if that is still short.
    let mut longer: BTreeMap<_, _> = below.news.iter().copied().collect();
    longer.insert(base.id.origin, base.id.time);
    longer.extend(&times);
    longer.remove(&id.origin);
    Ok(Some(if longer.len() <= NEWS_ENOUGH {
        SeenRecord {
            depth: below.depth,
            base: below.base,
            news: longer.into_iter().collect(),
        }
    } else if below.depth == DEPTH_MAX {
        let mut all = base.all(view)?;
        all.extend(times);
        all.remove(&id.origin);
        SeenRecord {
            depth: 0,
            base: None,
            news: all.into_iter().collect(),
        }
    } else {
        SeenRecord {
            depth: below.depth + 1,
            base: Some(base.id),
            news: times.into_iter().collect(),
        }
    }))
}

/// What a change set has seen besides its base and what that had seen.
struct News {
    own: OriginId,
    base: Option<Chain>,
    times: BTreeMap<OriginId, Time>,
}

impl News {
    fn base_has_seen(&mut self, view: &dyn View, id: ChangeSetId) -> Result<bool, ReadError> {
        match &mut self.base {
            Some(base) => base.has_seen(view, id),
            None => Ok(false),
        }
    }

    fn knows(&mut self, view: &dyn View, id: ChangeSetId) -> Result<bool, ReadError> {
        let learned = self.times.get(&id.origin);
        Ok(learned.is_some_and(|time| *time >= id.time) || self.base_has_seen(view, id)?)
    }

    fn learn(&mut self, view: &dyn View, id: ChangeSetId) -> Result<(), ReadError> {
        if id.origin != self.own && !self.knows(view, id)? {
            self.times.insert(id.origin, id.time);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
