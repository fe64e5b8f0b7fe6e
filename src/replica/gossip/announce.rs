//! After a commit: own chains are pushed, everything else is offered.

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::SliceRandom;

use super::OwnChains;
use crate::codec::message::{HeadList, SealedBytes};
use crate::model::{OriginId, RepoId, Sequence};
use crate::replica::fault::{self, Fault};
use crate::replica::journal::{RANGE_BYTES_MAX, RECORD_OVERHEAD_BYTES};
use crate::replica::output::ConnectionId;
use crate::replica::{Message, Replica};

/// Most connections that own change sets are pushed to, and that others are offered to.
const FANOUT: usize = 8;

impl Replica {
    /// After a commit: pushes own chains, tells those who sent something that it is here, and
    /// offers it to some others.
    pub(in crate::replica) fn announce(
        &mut self,
        own: OwnChains,
        advanced: &BTreeMap<RepoId, BTreeMap<OriginId, Sequence>>,
        sources: &BTreeMap<ConnectionId, BTreeSet<(RepoId, OriginId)>>,
    ) {
        let mut order: Vec<_> = self.gossip.connections.keys().copied().collect();
        order.shuffle(&mut self.rng);
        let mut pushed = BTreeSet::new();
        for &to in order.iter().take(FANOUT) {
            for ((repo, origin), (first, records)) in &own {
                if self.push(to, *repo, *origin, *first, records) {
                    pushed.insert((to, *repo, *origin));
                }
            }
        }
        for (i, &to) in order.iter().enumerate() {
            let sent = sources.get(&to);
            if sent.is_none() && i >= 2 * FANOUT {
                continue;
            }
            for (repo, heads) in advanced {
                let mut news = HeadList::new();
                for (origin, sequence) in heads {
                    let place = (*repo, *origin);
                    if sent.is_some_and(|sent| sent.contains(&place)) {
                        self.owe(to, place, true);
                        continue;
                    }
                    let is_own = own.contains_key(&place);
                    // Own ones go to a second group, too: the first has been pushed them.
                    let offered = i < if is_own { 2 * FANOUT } else { FANOUT };
                    let has = self.gossip.connections[&to].knows(*repo, *origin);
                    if !offered || has >= *sequence || pushed.contains(&(to, *repo, *origin)) {
                        continue;
                    }
                    if is_own {
                        news.push((*origin, *sequence));
                    } else {
                        self.owe(to, place, false);
                    }
                }
                if !news.is_empty() {
                    let message = Message::Have {
                        repo: *repo,
                        heads: news,
                    };
                    self.send(to, message);
                }
            }
        }
        self.tell_owed();
    }

    /// Sends own change sets to somebody who has all before them. Whether it did.
    fn push(
        &mut self,
        to: ConnectionId,
        repo: RepoId,
        origin: OriginId,
        first: Sequence,
        records: &[SealedBytes],
    ) -> bool {
        let Some(connection) = self.gossip.connections.get_mut(&to) else {
            return false;
        };
        let complete = connection.known.get(&repo).is_some_and(|k| k.complete);
        let place = (repo, origin);
        let sent = connection.pushed.get(&place).copied().unwrap_or_default();
        let has = connection.knows(repo, origin).max(sent);
        if !complete || has.next() < first || !connection.may_push() {
            if complete && fault::on(Fault::DroppedOnFullQueue) {
                let last = Sequence(first.0 + records.len() as u64 - 1);
                connection.pushed.insert(place, last);
                return true;
            }
            return false;
        }
        let mut at = first;
        for piece in pieces(records) {
            let end = Sequence(at.0 + piece.len() as u64 - 1);
            let bytes = piece.iter().map(|record| record.body.len()).sum();
            let Some(connection) = self.gossip.connections.get_mut(&to) else {
                return false;
            };
            connection.pushed.insert(place, end);
            connection
                .unacknowledged
                .push_back((repo, origin, end, bytes));
            connection.unacknowledged_bytes += bytes;
            self.counters.pushes += 1;
            let message = Message::Range {
                repo,
                origin,
                first: at,
                records: piece.to_vec(),
                more: false,
            };
            self.send(to, message);
            at = end.next();
        }
        true
    }
}

/// Cuts own change sets into ranges that fit a message and end sealed.
fn pieces(records: &[SealedBytes]) -> Vec<&[SealedBytes]> {
    let mut pieces = Vec::new();
    let (mut start, mut sealed, mut bytes) = (0, 0, 0);
    let mut i = 0;
    while i < records.len() {
        bytes += records[i].body.len() + RECORD_OVERHEAD_BYTES;
        if bytes > RANGE_BYTES_MAX && sealed > start {
            pieces.push(&records[start..sealed]);
            start = sealed;
            (i, bytes) = (start, 0);
            continue;
        }
        if records[i].seal.is_some() {
            sealed = i + 1;
        }
        i += 1;
    }
    if sealed > start {
        pieces.push(&records[start..sealed]);
    }
    pieces
}
