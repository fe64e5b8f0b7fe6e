//! What is told after a while: that something has arrived, and that it can be had here.
//!
//! Nobody is in a hurry for either. So what the commits of that while have brought goes in one
//! message, and what somebody has told of itself meanwhile it is not told any more: of two that
//! have got the same from its author, the one that speaks first spares the other.

use std::collections::BTreeMap;

use rand::Rng;

use crate::codec::message::HeadList;
use crate::model::{OriginId, RepoId, Sequence};
use crate::replica::output::ConnectionId;
use crate::replica::{Message, Replica};

/// How long is gathered, in milliseconds: something between the two.
const TELL_AFTER_MS: std::ops::RangeInclusive<u64> = 30..=50;

impl Replica {
    /// Tells somebody of a stream after a while: if it has `sent` that, in any case, else if it
    /// does not turn out to have it.
    pub(super) fn owe(&mut self, to: ConnectionId, place: (RepoId, OriginId), sent: bool) {
        let Some(connection) = self.gossip.connections.get_mut(&to) else {
            return;
        };
        *connection.owed.entry(place).or_default() |= sent;
        if self.gossip.tell_at.is_none() {
            let millis = self.rng.random_range(TELL_AFTER_MS);
            self.gossip.tell_at = Some(self.now.plus_millis(millis));
        }
    }

    /// Tells everybody what it is owed, if it is time.
    pub(super) fn tell_owed(&mut self) {
        if self.gossip.tell_at.is_none_or(|at| self.now < at) {
            return;
        }
        self.gossip.tell_at = None;
        let mut messages = Vec::new();
        for (id, connection) in &mut self.gossip.connections {
            let mut news: BTreeMap<RepoId, HeadList> = BTreeMap::new();
            for ((repo, origin), sent) in std::mem::take(&mut connection.owed) {
                let stream = self.repos[&repo].streams.get(&origin);
                let head = stream.map_or(Sequence(0), |stream| stream.head());
                if head > Sequence(0) && (sent || connection.knows(repo, origin) < head) {
                    news.entry(repo).or_default().push((origin, head));
                }
            }
            let told = news.into_iter();
            messages.extend(told.map(|(repo, heads)| (*id, Message::Have { repo, heads })));
        }
        for (to, message) in messages {
            self.send(to, message);
        }
    }

    /// Tells somebody that what it sent is here already.
    pub(in crate::replica) fn acknowledge(
        &mut self,
        to: ConnectionId,
        repo: RepoId,
        origin: OriginId,
        end: Sequence,
    ) {
        if let Some(connection) = self.gossip.connections.get_mut(&to) {
            connection.has(repo, origin, end);
        }
        let stream = &self.repo(repo).streams[&origin];
        let (end, head) = (stream.within(end), stream.head());
        if stream.stored < end {
            // On its way to the disk: they are told after that.
            let sources = self.batch.sources.entry(to).or_default();
            sources.insert((repo, origin));
        } else if head >= end && head > Sequence(0) {
            let heads = vec![(origin, head)];
            self.send(to, Message::Have { repo, heads });
        }
    }
}
