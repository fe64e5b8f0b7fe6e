//! A member that breaks the protocol: what it overhears, and the chains it writes by hand.
//!
//! It has a key that everybody accepts, and no replica. When it does what is decided in `act`.

use std::collections::VecDeque;
use std::sync::Arc;

use leveret::codec::change_set::{chain_hash, encode};
use leveret::codec::journal::Seal;
use leveret::codec::message::{self, Message, SealedBytes};
use leveret::model::change_set::ChainHash;
use leveret::model::{
    Birth, ChangeSet, ChangeSetId, ClusterId, NodeId, NodeName, Operation, OriginId, RepoId,
    Sequence, Time,
};
use leveret::replica::Identity;

use super::World;
use super::links::LinkId;
use super::machine::Role;

/// Most origins that are asked for at a time.
const WANTS_MAX: usize = 4;
/// Most frames that are remembered.
const OVERHEARD_MAX: usize = 64;

/// See the top of the file.
#[derive(Default)]
pub(crate) struct Hostile {
    overheard: VecDeque<Vec<u8>>,
    /// Counts what it has written.
    pub(crate) written: u64,
}

impl Hostile {
    /// The newest frames that have come, oldest first.
    pub(crate) fn overheard(&self) -> &VecDeque<Vec<u8>> {
        &self.overheard
    }
}

/// A chain that is written by hand.
#[derive(Clone)]
pub(crate) struct Chain {
    identity: Identity,
    cluster: ClusterId,
    /// The origin.
    pub(crate) origin: OriginId,
    nonce: [u8; 16],
    sequence: Sequence,
    previous: ChainHash,
    time: Time,
}

impl Chain {
    /// A new origin of this key.
    pub(crate) fn new(identity: Identity, cluster: ClusterId, nonce: [u8; 16]) -> Self {
        Self {
            origin: Birth::origin(&identity.public(), &nonce),
            identity,
            cluster,
            nonce,
            sequence: Sequence(0),
            previous: ChainHash::default(),
            time: Time(0),
        }
    }

    /// The next change set, sealed: adds a node of this name. Ids rise, whatever `time` says,
    /// unless `falling`.
    pub(crate) fn write(&mut self, time: Time, name: &str, falling: bool) -> SealedBytes {
        let time = match falling {
            true => Time(self.time.0.saturating_sub(1)),
            false => time.max(Time(self.time.0.saturating_add(1))),
        };
        let change_set = ChangeSet {
            repo: RepoId::MAIN,
            id: ChangeSetId {
                time,
                origin: self.origin,
            },
            sequence: self.sequence.next(),
            previous: self.previous,
            birth: (self.sequence == Sequence(0)).then(|| Birth {
                key: self.identity.public(),
                nonce: self.nonce,
                predecessor: None,
            }),
            dependencies: Vec::new(),
            rules: 1,
            all_or_nothing: false,
            message: None,
            operations: vec![Operation::Add {
                parent: NodeId::ROOT,
                name: NodeName::new(name).expect("a plain name"),
                truncated_at: None,
                generation: 0,
            }],
        };
        let body: Arc<[u8]> = encode(&change_set).into();
        self.sequence = change_set.sequence;
        self.previous = chain_hash(&body);
        self.time = time;
        SealedBytes {
            seal: Some(self.seal(&self.identity, change_set.sequence, self.previous)),
            body,
        }
    }

    fn seal(&self, identity: &Identity, sequence: Sequence, hash: ChainHash) -> Seal {
        let text = Seal::text(self.cluster, RepoId::MAIN, self.origin, sequence, hash);
        Seal(identity.sign(&text))
    }

    /// A range of it, of which the first has this number.
    pub(crate) fn range(&self, first: u64, records: Vec<SealedBytes>) -> Vec<u8> {
        message::encode(&Message::Range {
            repo: RepoId::MAIN,
            origin: self.origin,
            first: Sequence(first),
            records,
            more: false,
        })
    }
}

impl World {
    /// Turns a machine that was never started into a hostile member.
    pub(crate) fn turn_hostile(&mut self, machine: usize) {
        self.machines[machine].role = Role::Hostile;
        self.machines[machine].hostile = Some(Box::default());
    }

    /// Remembers a frame that has come; and asks for what others have, so that there is something to
    /// remember.
    pub(super) fn overhear(&mut self, machine: usize, (link, side): (LinkId, usize), frame: &[u8]) {
        let Some(hostile) = &mut self.machines[machine].hostile else {
            return;
        };
        if hostile.overheard.len() == OVERHEARD_MAX {
            hostile.overheard.pop_front();
        }
        hostile.overheard.push_back(frame.to_vec());
        let answers = match message::decode(frame) {
            Ok(Message::Summary { repo, .. }) => vec![Message::Heads {
                repo,
                heads: Vec::new(),
                reply: true,
                hash: [0; 16],
            }],
            Ok(Message::Heads { repo, heads, .. }) => heads
                .into_iter()
                .take(WANTS_MAX)
                .map(|(origin, _)| Message::Want {
                    repo,
                    origin,
                    after: Sequence(0),
                })
                .collect(),
            _ => Vec::new(),
        };
        for answer in answers {
            self.transmit(link, side, message::encode(&answer));
        }
    }

    /// A chain of a machine's own key, under a fresh origin.
    pub(crate) fn hostile_chain(&mut self, machine: usize, nonce: [u8; 16]) -> Chain {
        let identity = self.machines[machine].identity.clone();
        let chain = Chain::new(identity, self.founder.cluster(), nonce);
        self.hostile_origins.insert(chain.origin);
        chain
    }

    /// Sends bytes from a machine to those it is connected to for which `pick` says so, by their
    /// place in the list of connections.
    pub(crate) fn shout(&mut self, machine: usize, frame: &[u8], pick: impl Fn(usize) -> bool) {
        for (i, (link, side, _)) in self.connections_of(machine).into_iter().enumerate() {
            if pick(i) {
                self.transmit(link, side, frame.to_vec());
            }
        }
    }
}
