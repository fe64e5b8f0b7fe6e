//! Who belongs: member records and join tokens in the repository `system`.
//!
//! ```text
//! /members/KEY            name, admitted_by       KEY: 64 hex digits
//! /members/KEY/at/ADDRESS
//! /tokens/HASH            expires                 HASH: blake3 of the secret, 64 hex digits
//! ```
//!
//! They are written with ordinary saves, and merge like anything else. Chains are taken only from
//! keys that are or once were members': a key becomes known with the first applied change set
//! that adds a node of its name, which is the same on every replica, and stays known, so that what
//! a former member wrote in its time is not lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::RngCore;

use super::fault::{self, Fault};
use super::output::{Output, Ticket};
use super::{Replica, SaveError};
use crate::codec::key;
use crate::merge::{Draft, ReadError, ReadTree, Snapshot};
use crate::model::script::PathOperation;
use crate::model::{
    ChangeSet, NodeId, NodeName, NodePath, Operation, OriginId, PathStep, PropertyName, PublicKey,
    RepoId, Time, Timestamp, Value,
};

/// Most origins remembered of which nothing is taken for now. Further ones are asked for again.
const REFUSED_MAX: usize = 4_096;
/// Most members and addresses read at a time.
const PAGE_NODES: usize = 256;
/// Most addresses of a member that are told to the driver.
pub(super) const ADDRESSES_MAX: usize = 16;
/// Length of the secret of a join token, in bytes.
pub(super) const SECRET_BYTES: usize = 16;

/// A member of the cluster, as its record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its key.
    pub key: PublicKey,
    /// What it is called.
    pub name: String,
    /// Where to dial it, ascending.
    pub addresses: Vec<String>,
    /// The key of the replica that let it in.
    pub admitted_by: Option<PublicKey>,
}

/// What a join token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinCheck {
    /// Whoever shows it may join.
    Ok,
    /// No such token is known here.
    Wrong,
    /// It was good once.
    Expired,
}

/// What the replica knows of who belongs.
#[derive(Default)]
pub(super) struct Membership {
    /// Keys from which chains are taken.
    known: BTreeSet<PublicKey>,
    /// Origins of which nothing is taken for now, since their key is not known yet.
    refused: BTreeMap<(RepoId, OriginId), PublicKey>,
    /// The members as of the published state.
    members: Vec<Member>,
    /// Whether `members` is to be read again.
    pub(super) stale: bool,
    /// Whether this replica's own record has been brought up to date in this life.
    own_record: bool,
}

impl Membership {
    pub(super) fn is_known(&self, key: &PublicKey) -> bool {
        self.known.contains(key)
    }

    /// Whether anybody else is or was a member.
    pub(super) fn has_others(&self) -> bool {
        self.known.len() > 1
    }

    pub(super) fn learn(&mut self, key: PublicKey) -> bool {
        self.known.insert(key)
    }

    /// Whether nothing of this origin is to be asked for.
    pub(super) fn is_refused(&self, repo: RepoId, origin: OriginId) -> bool {
        self.refused.contains_key(&(repo, origin))
    }
}

fn members_path() -> NodePath {
    "/members".parse().expect("a constant path")
}

fn below(path: &NodePath, name: &str) -> Option<NodePath> {
    Some(path.join(PathStep::Plain(NodeName::new(name).ok()?)))
}

fn property(name: &str) -> PropertyName {
    PropertyName::new(name).expect("a constant name")
}

fn text_of(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::Str(text)) => Some(text.to_string()),
        _ => None,
    }
}

/// Every child of a node, by its plain name.
fn children(tree: &impl ReadTree, node: NodeId) -> Result<Vec<(NodeId, String)>, ReadError> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = tree.children(node, after.as_ref(), PAGE_NODES)?;
        let full = page.len() == PAGE_NODES;
        for child in page {
            all.push((child.id, child.name.as_str().to_owned()));
            after = Some(child.cursor);
        }
        if !full {
            return Ok(all);
        }
    }
}

fn addresses(tree: &impl ReadTree, record: &NodePath) -> Result<Vec<String>, ReadError> {
    let Some(at) = below(record, "at") else {
        return Ok(Vec::new());
    };
    let Some(node) = tree.resolve(&at)? else {
        return Ok(Vec::new());
    };
    let mut addresses: Vec<_> = children(tree, node)?
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    Ok(addresses)
}

fn read_members(snapshot: &Snapshot) -> Result<Vec<Member>, ReadError> {
    let path = members_path();
    let Some(node) = snapshot.resolve(&path)? else {
        return Ok(Vec::new());
    };
    let mut members = BTreeMap::new();
    for (id, name) in children(snapshot, node)? {
        let (Ok(key), Some(record)) = (name.parse::<PublicKey>(), below(&path, &name)) else {
            continue;
        };
        let text = |name| Ok::<_, ReadError>(text_of(snapshot.property(id, &property(name))?));
        let member = Member {
            key,
            name: text("name")?.unwrap_or_default(),
            addresses: addresses(snapshot, &record)?,
            admitted_by: text("admitted_by")?.and_then(|key| key.parse().ok()),
        };
        members.insert(key, member);
    }
    Ok(members.into_values().collect())
}

fn add_missing(draft: &mut Draft, path: &NodePath) -> Result<(), SaveError> {
    if draft.resolve(path)?.is_none() {
        apply(draft, &PathOperation::Add(path.clone()));
    }
    Ok(())
}

fn set_missing(
    draft: &mut Draft,
    path: &NodePath,
    name: &str,
    text: &str,
) -> Result<(), SaveError> {
    let Some(node) = draft.resolve(path)? else {
        return Ok(());
    };
    let name = property(name);
    if text_of(draft.property(node, &name)?).as_deref() != Some(text) {
        let value = Value::from(text);
        apply(draft, &PathOperation::Set(path.clone(), name, value));
    }
    Ok(())
}

/// What is refused here (a name that clashes, say) can wait for people: the record then is less
/// complete than it could be.
fn apply(draft: &mut Draft, operation: &PathOperation) {
    if let Err(error) = draft.apply(operation) {
        tracing::debug!(%error, ?operation, "left out of a member record");
    }
}

/// Whom a record is written for, and what it is to say.
struct Record<'a> {
    key: PublicKey,
    name: &'a str,
    addresses: &'a [String],
    admitted_by: Option<PublicKey>,
    /// Whether addresses that are not in the list are taken out.
    exact: bool,
}

fn draft_record(draft: &mut Draft, record: &Record<'_>) -> Result<(), SaveError> {
    let members = members_path();
    add_missing(draft, &members)?;
    let path = below(&members, &record.key.to_string()).expect("hex digits are a name");
    add_missing(draft, &path)?;
    if !record.name.is_empty() {
        set_missing(draft, &path, "name", record.name)?;
    }
    if let Some(by) = record.admitted_by {
        set_missing(draft, &path, "admitted_by", &by.to_string())?;
    }
    let present = addresses(draft, &path)?;
    let Some(at) = below(&path, "at") else {
        return Ok(());
    };
    for address in record.addresses.iter().take(ADDRESSES_MAX) {
        if let Some(place) = below(&at, address)
            && !present.contains(address)
        {
            add_missing(draft, &at)?;
            add_missing(draft, &place)?;
        }
    }
    for address in present {
        if record.exact
            && !record.addresses.contains(&address)
            && let Some(place) = below(&at, &address)
        {
            apply(draft, &PathOperation::Remove(place));
        }
    }
    Ok(())
}

impl Replica {
    /// The members as of the published state, by key.
    pub fn members(&self) -> &[Member] {
        &self.membership.members
    }

    /// Whether a key belongs to the cluster: the founder's does, and those with a member record.
    pub fn is_member(&self, key: &PublicKey) -> bool {
        *key == self.config.founder.key
            || self
                .membership
                .members
                .binary_search_by(|member| member.key.cmp(key))
                .is_ok()
    }

    /// Makes a join token that is good until a time, and returns its secret. It is good once the
    /// save with this ticket is done.
    ///
    /// # Errors
    /// If it can not be saved; nothing has changed then.
    pub fn issue_token(
        &mut self,
        now: Time,
        expires: Time,
    ) -> Result<([u8; SECRET_BYTES], Ticket), SaveError> {
        self.advance_to(now);
        let mut secret = [0; SECRET_BYTES];
        self.rng.fill_bytes(&mut secret);
        let mut draft = self.system_draft();
        let tokens: NodePath = "/tokens".parse().expect("a constant path");
        add_missing(&mut draft, &tokens)?;
        let path = below(&tokens, &token_name(&secret)).expect("hex digits are a name");
        add_missing(&mut draft, &path)?;
        apply(
            &mut draft,
            &PathOperation::Set(path, property("expires"), timestamp(expires).into()),
        );
        let ticket = self.save(now, &draft)?;
        Ok((secret, ticket))
    }

    /// What the secret of a join token is worth now.
    ///
    /// # Errors
    /// If the state can not be read.
    pub fn check_join(&self, now: Time, secret: &[u8]) -> Result<JoinCheck, ReadError> {
        let snapshot = self.repo(RepoId::SYSTEM).state.snapshot();
        let path = format!("/tokens/{}", token_name(secret));
        let path: NodePath = path.parse().expect("hex digits are a name");
        let Some(node) = snapshot.resolve(&path)? else {
            return Ok(JoinCheck::Wrong);
        };
        match snapshot.property(node, &property("expires"))? {
            Some(Value::Time(expires)) if timestamp(now) < expires => Ok(JoinCheck::Ok),
            _ => Ok(JoinCheck::Expired),
        }
    }

    /// Makes a replica a member, or brings its record up to date. Nothing if there is nothing to
    /// change; otherwise it is one once the save with this ticket is done.
    ///
    /// # Errors
    /// If it can not be saved; nothing has changed then.
    pub fn admit(
        &mut self,
        now: Time,
        key: PublicKey,
        name: &str,
        addresses: &[String],
    ) -> Result<Option<Ticket>, SaveError> {
        let mut draft = self.system_draft();
        let new = !self.is_member(&key);
        let admitted_by = new.then_some(self.identity.public());
        let record = Record {
            key,
            name,
            addresses,
            admitted_by,
            exact: false,
        };
        draft_record(&mut draft, &record)?;
        if draft.operations() == 0 {
            return Ok(None);
        }
        self.save(now, &draft).map(Some)
    }

    /// Brings this replica's own record up to date, once in a life: as soon as it is a member.
    pub(super) fn keep_own_record(&mut self) {
        let key = self.identity.public();
        if self.membership.own_record || self.failed.is_some() || !self.is_member(&key) {
            return;
        }
        self.membership.own_record = true;
        let (name, addresses) = (self.config.name.clone(), self.config.addresses.clone());
        let mut draft = self.system_draft();
        let record = Record {
            key,
            name: &name,
            addresses: &addresses,
            admitted_by: None,
            exact: true,
        };
        let saved = draft_record(&mut draft, &record).and_then(|()| match draft.operations() {
            0 => Ok(()),
            _ => self.save(self.now, &draft).map(drop),
        });
        if let Err(error) = saved {
            // It is tried again in the next life, and nothing but dialling depends on it.
            tracing::debug!(%error, "the own member record was not brought up to date");
        }
    }

    /// A draft on the newest state of `system`, published or not.
    fn system_draft(&self) -> Draft {
        Draft::new(self.repo(RepoId::SYSTEM).state.latest(), self.origin)
    }

    /// Learns the keys that change sets of `system` make known, and asks again for what was not
    /// taken for want of them.
    pub(super) fn learn_members(&mut self, change_sets: &[Arc<ChangeSet>]) {
        let mut learnt = false;
        for operation in change_sets.iter().flat_map(|set| &set.operations) {
            let Operation::Add { name, .. } = operation else {
                continue;
            };
            if let Ok(key) = name.as_str().parse::<PublicKey>()
                && self.membership.learn(key)
            {
                self.batch.notes.insert(key::member(&key), Vec::new());
                learnt = true;
            }
        }
        if learnt && !fault::on(Fault::RefusedForGood) {
            self.ask_refused_again();
        }
    }

    fn ask_refused_again(&mut self) {
        let membership = &mut self.membership;
        let known = &membership.known;
        let again: Vec<_> = membership
            .refused
            .iter()
            .filter(|(_, key)| known.contains(key))
            .map(|(place, _)| *place)
            .collect();
        for (repo, origin) in again {
            self.membership.refused.remove(&(repo, origin));
            self.look_for(repo, origin);
        }
    }

    /// Takes nothing of an origin until its author is known.
    pub(super) fn refuse_for_now(&mut self, repo: RepoId, origin: OriginId, author: PublicKey) {
        self.counters.not_members += 1;
        if self.membership.refused.len() < REFUSED_MAX {
            self.membership.refused.insert((repo, origin), author);
        }
    }

    /// Reads the members again if the published state of `system` has changed.
    pub(super) fn refresh_members(&mut self) {
        if !std::mem::take(&mut self.membership.stale) || self.failed.is_some() {
            return;
        }
        let snapshot = self.repo(RepoId::SYSTEM).state.snapshot();
        match read_members(&snapshot) {
            Ok(members) if members == self.membership.members => {}
            Ok(members) => {
                self.membership.members = members;
                self.put(Output::MembersChanged);
            }
            Err(error) => self.fail(super::save::as_storage(error)),
        }
        self.keep_own_record();
    }
}

fn token_name(secret: &[u8]) -> String {
    blake3::hash(secret).to_hex().to_string()
}

/// A time as people write it.
pub(super) fn timestamp(time: Time) -> Timestamp {
    let millis = time.unix_millis();
    let seconds = i64::try_from(millis / 1_000).expect("32 bits of seconds fit");
    let nanos = u32::try_from(millis % 1_000).expect("below a thousand") * 1_000_000;
    Timestamp::new(seconds, nanos).expect("64-bit NTP ends in the year 2106")
}
