//! Two histories under one origin (M17): how that is noticed, shown, and believed.

use std::collections::BTreeMap;

use super::{decode_chain, verify_seals};
use crate::codec::change_set::decode;
use crate::codec::message::{MESSAGE_BYTES_MAX, SealedBytes};
use crate::model::change_set::ChainHash;
use crate::model::{OriginId, RepoId, Sequence};
use crate::replica::fault::{self, Fault};
use crate::replica::journal::RECORD_OVERHEAD_BYTES;
use crate::replica::output::{Alarm, ConnectionId, Output};
use crate::replica::{Message, Replica};

impl Replica {
    /// A range that is not what is here under the same numbers. If its author has sealed it, it is
    /// a fork (M17); if not, it is the sender's invention.
    pub(super) fn receive_other(
        &mut self,
        from: ConnectionId,
        repo_id: RepoId,
        origin: OriginId,
        first: Sequence,
        records: &[SealedBytes],
    ) {
        let place = self.seal_place(repo_id, origin);
        let author = self.repo(repo_id).streams[&origin].key;
        let verified = decode_chain(repo_id, origin, first, records).and_then(|mut links| {
            verify_seals(place, &author, records, &mut links)?;
            Ok(links)
        });
        let links = match verified {
            Ok(links) => links,
            Err(refusal) => return self.refuse(from, repo_id, origin, refusal),
        };
        let tip = self.repo(repo_id).streams[&origin].tip;
        let differs = links
            .iter()
            .map(|link| (link.change_set.sequence, link.hash))
            .find(|(sequence, hash)| {
                *sequence > tip.sequence || self.hash_at(repo_id, origin, *sequence) != Some(*hash)
            })
            .map_or(first, |(sequence, _)| sequence.min(tip.sequence));
        self.counters.forks += 1;
        let held = self.evidence(repo_id, origin, differs);
        let skip = differs.0.saturating_sub(first.0);
        let refused = cut_to_run(records, usize::try_from(skip).unwrap_or(usize::MAX));
        let bytes: usize = held
            .iter()
            .chain(&refused)
            .map(|record| record.body.len() + RECORD_OVERHEAD_BYTES)
            .sum();
        if bytes + RECORD_OVERHEAD_BYTES < MESSAGE_BYTES_MAX {
            let message = Message::Fork {
                repo: repo_id,
                origin,
                held,
                refused,
            };
            self.put(Output::Send { to: from, message });
        }
        self.quarantine_fork(repo_id, origin, differs);
    }

    /// What is here from a number on, up to the next seal.
    fn evidence(&self, repo_id: RepoId, origin: OriginId, from: Sequence) -> Vec<SealedBytes> {
        let repo = self.repo(repo_id);
        let sealed = repo.streams[&origin].sealed;
        let before = Sequence(from.0.saturating_sub(1));
        let range = repo.journal.reader().range(origin, before, sealed);
        cut_to_run(&range.unwrap_or_default(), 0)
    }

    fn quarantine_fork(&mut self, repo_id: RepoId, origin: OriginId, sequence: Sequence) {
        if fault::on(Fault::ForkUnnoticed) {
            return;
        }
        if origin == self.origin {
            self.renew_origin(&sequence.0.to_be_bytes());
        }
        let Some(stream) = self.repo_mut(repo_id).streams.get_mut(&origin) else {
            return;
        };
        if stream.quarantined.is_some() {
            return;
        }
        let (last, author) = (stream.tip.sequence, stream.key);
        stream.quarantined = Some(last);
        self.note_quarantine(repo_id, origin, last);
        self.alarm(Alarm::Fork {
            repo: repo_id,
            origin,
            author,
            sequence,
        });
    }

    /// Another replica says that an origin has two histories. It is believed if it shows both.
    pub(in crate::replica) fn receive_fork(
        &mut self,
        from: ConnectionId,
        repo_id: RepoId,
        origin: OriginId,
        held: &[SealedBytes],
        refused: &[SealedBytes],
    ) {
        let Some(stream) = self.repo(repo_id).streams.get(&origin) else {
            return;
        };
        if stream.quarantined.is_some() {
            return;
        }
        let author = stream.key;
        let place = self.seal_place(repo_id, origin);
        let mut hashes: BTreeMap<Sequence, ChainHash> = BTreeMap::new();
        let mut differs = None;
        for records in [held, refused] {
            let first = match records.first().map(|record| decode(&record.body)) {
                Some(Ok(change_set)) => change_set.sequence,
                _ => return,
            };
            let links = decode_chain(repo_id, origin, first, records).and_then(|mut links| {
                verify_seals(place, &author, records, &mut links)?;
                Ok(links)
            });
            let links = match links {
                Ok(links) => links,
                Err(refusal) => return self.refuse(from, repo_id, origin, refusal),
            };
            for link in links {
                let set = &link.change_set;
                let before = Sequence(set.sequence.0 - 1);
                for (sequence, hash) in [(before, set.previous), (set.sequence, link.hash)] {
                    if *hashes.entry(sequence).or_insert(hash) != hash {
                        differs = Some(sequence);
                    }
                }
            }
        }
        if let Some(sequence) = differs {
            self.counters.forks += 1;
            self.quarantine_fork(repo_id, origin, sequence);
        }
    }
}

/// The records from `start` up to the first sealed one.
fn cut_to_run(records: &[SealedBytes], start: usize) -> Vec<SealedBytes> {
    let rest = records.get(start..).unwrap_or_default();
    let end = rest.iter().position(|record| record.seal.is_some());
    rest[..end.map_or(0, |end| end + 1)].to_vec()
}
