//! Chains that break the rules (M15, M17): how that is noticed, shown, and believed.
//!
//! Two histories under one origin differ from some number on. Whoever is sent a sealed piece that
//! is not what it has goes back through the sender's chain, halving the distance, until it has the
//! first difference. That and the next seal on either side is the proof.

use super::{Link, Refusal, decode_chain, verify_seals};
use crate::codec::change_set::decode;
use crate::codec::message::{MESSAGE_BYTES_MAX, SealedBytes};
use crate::model::{OriginId, PublicKey, RepoId, Sequence};
use crate::replica::ends::Proof;
use crate::replica::fault::{self, Fault};
use crate::replica::journal::RECORD_OVERHEAD_BYTES;
use crate::replica::output::{Alarm, ConnectionId};
use crate::replica::stream::{SealPlace, Tip};
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
        let stream = &self.repo(repo_id).streams[&origin];
        let (author, top) = (stream.key, stream.appliable());
        let verified = decode_chain(repo_id, origin, first, records).and_then(|mut links| {
            verify_seals(self.good_seals(), place, &author, records, &mut links)?;
            Ok(links)
        });
        let links = match verified {
            Ok(links) => links,
            Err(refusal) => return self.refuse(from, repo_id, origin, refusal),
        };
        let before = Sequence(first.0 - 1);
        if before > top {
            return; // what is beyond an end is nobody's business
        }
        let ours = self.hash_at(repo_id, origin, before);
        if before > Sequence(0) && ours.is_some_and(|ours| ours != links[0].change_set.previous) {
            return self.search_below(from, repo_id, origin, before);
        }
        let differs = links.iter().position(|link| {
            let at = link.change_set.sequence;
            at <= top && self.hash_at(repo_id, origin, at) != Some(link.hash)
        });
        let Some(differs) = differs else {
            return;
        };
        let at = links[differs].change_set.sequence;
        self.search_done(from);
        if origin == self.origin {
            self.renew_origin(&at.0.to_be_bytes());
        }
        let proof = Proof {
            last: Sequence(at.0 - 1),
            one: self.evidence(repo_id, origin, at),
            other: to_seal(&links[differs..]),
        };
        // What is here may still be on its way to the disk. Comparing brings the other back.
        if proof.one.is_empty() {
            return;
        }
        if self.fork(repo_id, origin, author, &proof) {
            self.show(from, repo_id, origin, proof);
        }
    }

    /// What is here from a number on, up to the next seal; nothing if it is not on disk.
    fn evidence(&self, repo_id: RepoId, origin: OriginId, from: Sequence) -> Vec<SealedBytes> {
        let repo = self.repo(repo_id);
        let sealed = repo.streams[&origin].sealed;
        let before = Sequence(from.0 - 1);
        let range = repo.journal.reader().range(origin, before, sealed);
        let mut range = range.unwrap_or_default();
        let end = range.iter().position(|record| record.seal.is_some());
        range.truncate(end.map_or(0, |end| end + 1));
        range
    }

    fn fork(&mut self, repo: RepoId, origin: OriginId, author: PublicKey, proof: &Proof) -> bool {
        if fault::on(Fault::ForkUnnoticed) {
            return false;
        }
        let known = self.is_ended(repo, origin);
        if !self.end_by_proof(repo, origin, author, proof) {
            return false;
        }
        self.counters.forks += 1;
        if !known {
            self.alarm(Alarm::Fork {
                repo,
                origin,
                author,
                sequence: proof.last.next(),
            });
        }
        true
    }

    fn is_ended(&self, repo: RepoId, origin: OriginId) -> bool {
        let stream = self.repo(repo).streams.get(&origin);
        stream.is_some_and(|stream| stream.ended.is_some())
    }

    /// Ends an origin if one of these ids is not above the one before it (M15). False if that can
    /// not be shown yet.
    pub(super) fn check_rising(
        &mut self,
        repo_id: RepoId,
        origin: OriginId,
        author: PublicKey,
        tip: Tip,
        links: &[Link],
    ) -> bool {
        let mut last = tip.time;
        let mut falls = None;
        for (i, link) in links.iter().enumerate() {
            let (sequence, time) = (link.change_set.sequence, link.change_set.id.time);
            if sequence > Sequence(1) && time <= last {
                falls = Some((i, sequence));
                break;
            }
            last = time;
        }
        let Some((i, sequence)) = falls else {
            return true;
        };
        let before = Sequence(sequence.0 - 1);
        let stream = self.repo(repo_id).streams.get(&origin);
        if stream.is_some_and(|stream| stream.within(before) < before) {
            return true; // it ends before that anyway
        }
        let body = match i.checked_sub(1) {
            Some(i) => links[i].body.clone(),
            None => match self.repo(repo_id).journal.reader().record(origin, before) {
                Ok(Some(record)) => record.body.into(),
                _ => return false,
            },
        };
        let proof = Proof {
            last: before,
            one: vec![SealedBytes { body, seal: None }],
            other: to_seal(&links[i..]),
        };
        if self.end_by_proof(repo_id, origin, author, &proof) {
            self.break_rules(repo_id, origin, author, sequence, NOT_RISING);
        }
        true
    }

    fn break_rules(
        &mut self,
        repo: RepoId,
        origin: OriginId,
        author: PublicKey,
        sequence: Sequence,
        reason: &str,
    ) {
        self.counters.invalid += 1;
        self.alarm(Alarm::Invalid {
            repo,
            origin,
            author,
            sequence,
            reason: reason.to_owned(),
        });
    }

    /// A change set breaks the rules with what it depends on, so it waits for ever (M2).
    pub(in crate::replica) fn tell_invalid(
        &mut self,
        repo: RepoId,
        origin: OriginId,
        sequence: Sequence,
        reason: &str,
    ) {
        let author = self.repo(repo).streams[&origin].key;
        self.break_rules(repo, origin, author, sequence, reason);
    }

    /// Another replica shows that an origin ends. It is believed if both pieces say so.
    pub(in crate::replica) fn receive_fork(
        &mut self,
        from: ConnectionId,
        repo_id: RepoId,
        origin: OriginId,
        held: Vec<SealedBytes>,
        refused: Vec<SealedBytes>,
    ) {
        let Some((one, other)) = self.both_halves(from, (repo_id, origin), held, refused) else {
            return;
        };
        let first = match one.first().map(|record| decode(&record.body)) {
            Some(Ok(change_set)) => change_set,
            _ => return self.close_for(from, "a proof without a change set".into()),
        };
        let stream = self.repo(repo_id).streams.get(&origin);
        let author = match (stream, &first.birth) {
            (Some(stream), _) => stream.key,
            (None, Some(birth)) if first.id.origin == origin => birth.key,
            // Whose it is shows when its chain comes; then this is asked for.
            _ => return,
        };
        if !self.membership.is_known(&author) {
            return;
        }
        let place = self.seal_place(repo_id, origin);
        match check_proof(place, &author, first.sequence, one, other) {
            Ok((proof, true)) => {
                self.fork(repo_id, origin, author, &proof);
            }
            Ok((proof, false)) => {
                let (told, next) = (self.is_ended(repo_id, origin), proof.last.next());
                if self.end_by_proof(repo_id, origin, author, &proof) && !told {
                    self.break_rules(repo_id, origin, author, next, NOT_RISING);
                }
            }
            Err(refusal) => self.refuse(from, repo_id, origin, refusal),
        }
    }

    /// Shows somebody where an origin ends, in two messages if it must be.
    pub(in crate::replica) fn show(
        &mut self,
        to: ConnectionId,
        repo: RepoId,
        origin: OriginId,
        proof: Proof,
    ) {
        let bytes = proof.bytes();
        let Proof { one, other, .. } = proof;
        let message = |held, refused| Message::Fork {
            repo,
            origin,
            held,
            refused,
        };
        if bytes + RECORD_OVERHEAD_BYTES < MESSAGE_BYTES_MAX {
            self.send(to, message(one, other));
        } else {
            self.send(to, message(one, Vec::new()));
            self.send(to, message(Vec::new(), other));
        }
    }
}

const NOT_RISING: &str = "its id is not above that of the one before it";

/// What two pieces of chain show, and whether it is a fork.
fn check_proof(
    place: SealPlace,
    author: &PublicKey,
    first: Sequence,
    one: Vec<SealedBytes>,
    other: Vec<SealedBytes>,
) -> Result<(Proof, bool), Refusal> {
    let SealPlace { repo, origin, .. } = place;
    let second = match other.first().map(|record| decode(&record.body)) {
        Some(Ok(change_set)) => change_set.sequence,
        _ => return Err(Refusal::Sender("a proof without a change set".into())),
    };
    let mut ones = decode_chain(repo, origin, first, &one)?;
    let mut others = decode_chain(repo, origin, second, &other)?;
    verify_seals(None, place, author, &other, &mut others)?;
    let (a, b) = (&ones[0], &others[0]);
    let differ = first == second && a.hash != b.hash;
    let falls = ones.len() == 1
        && first.next() == second
        && b.change_set.previous == a.hash
        && b.change_set.id.time <= a.change_set.id.time;
    if differ {
        verify_seals(None, place, author, &one, &mut ones)?;
        let proof = Proof {
            last: Sequence(first.0 - 1),
            one: to_seal(&ones),
            other: to_seal(&others),
        };
        return Ok((proof, true));
    }
    if falls {
        let proof = Proof {
            last: first,
            one,
            other: to_seal(&others),
        };
        return Ok((proof, false));
    }
    Err(Refusal::Sender(format!(
        "two pieces of origin {origin} that prove nothing"
    )))
}

/// The records of checked links up to the first seal.
fn to_seal(links: &[Link]) -> Vec<SealedBytes> {
    let end = links.iter().position(|link| link.seal.is_some());
    let end = end.expect("what was checked ends sealed");
    links[..=end]
        .iter()
        .map(|link| SealedBytes {
            body: link.body.clone(),
            seal: link.seal,
        })
        .collect()
}
