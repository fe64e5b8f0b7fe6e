//! What lies beyond the end of an origin that its author has closed: it does not count any more, so
//! nobody offers it. But its author saves it again, and needs it for that, and what that had seen
//! (`again`). If it is not here, everybody is asked for it, one a tick; whoever has it answers.

use rand::Rng;

use crate::model::{Dependency, OriginId, RepoId, Sequence};
use crate::replica::output::ConnectionId;
use crate::replica::{Message, Replica};

/// Most streams that are asked for at a time.
const ASKED_MAX: usize = 16;

impl Replica {
    /// This much of a stream is needed, though it may have ended before that.
    pub(in crate::replica) fn want_beyond(&mut self, repo: RepoId, on: Dependency) {
        let stream = self.repo(repo).streams.get(&on.origin);
        let ended = stream.and_then(|stream| stream.enough());
        if ended.is_none_or(|enough| enough >= on.sequence) {
            return; // it is offered, or wanted already
        }
        if let Some(stream) = self.repo_mut(repo).streams.get_mut(&on.origin) {
            stream.wanted = on.sequence;
        }
        self.gossip.beyond.insert((repo, on.origin));
    }

    /// Asks somebody for what is wanted of streams that have ended.
    pub(super) fn ask_beyond(&mut self, to: ConnectionId) {
        if self.gossip.beyond.is_empty() {
            return;
        }
        let mut beyond = std::mem::take(&mut self.gossip.beyond);
        beyond.retain(|(repo, origin)| self.next_beyond(*repo, *origin).is_some());
        // Others each time, if they are too many: for some nobody may ever have an answer.
        let start = match beyond.len() > ASKED_MAX {
            true => self.rng.random_range(0..beyond.len()),
            false => 0,
        };
        let some = beyond.iter().cycle().skip(start);
        for place in some.take(beyond.len().min(ASKED_MAX)) {
            self.ask_on_beyond(to, *place);
        }
        self.gossip.beyond = beyond;
    }

    /// Asks somebody for the next part of what is wanted, if there is more, and the rest has come by
    /// the usual way.
    pub(super) fn ask_on_beyond(&mut self, to: ConnectionId, place: (RepoId, OriginId)) {
        let (repo, origin) = place;
        let Some(after) = self.next_beyond(repo, origin) else {
            return;
        };
        let connection = self.gossip.connections.get(&to);
        let member = connection.is_some_and(|it| self.membership.is_known(&it.key));
        let ended = self.repo(repo).streams[&origin].ended;
        if member && ended.is_some_and(|last| last <= after) {
            self.counters.wants_sent += 1;
            let message = Message::Want {
                repo,
                origin,
                after,
            };
            self.send(to, message);
        }
    }

    /// After which number a stream is wanted beyond its end; nothing if all of that is here.
    fn next_beyond(&self, repo: RepoId, origin: OriginId) -> Option<Sequence> {
        let stream = self.repo(repo).streams.get(&origin)?;
        (stream.tip.sequence < stream.wanted).then_some(stream.tip.sequence)
    }
}
