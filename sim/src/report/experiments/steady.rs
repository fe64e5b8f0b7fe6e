//! One run in which nothing goes wrong but that datagrams are lost: a while idle, and then saves at
//! an even pace.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::cluster::Cluster;
use super::{LOAD, Place, Terms};
use crate::chance::Chance;
use crate::world::Micros;

/// How long the idle cluster is measured.
pub(super) const IDLE: Micros = Micros::from_seconds(30);
/// Nodes that the saves write to.
pub(super) const NODES: u64 = 500;
/// Letters of a value.
pub(super) const LETTERS: usize = 64;

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Steady {
    /// Saves that were taken.
    pub(super) saves: u64,
    /// Of each change set, how long until half of the replicas showed it, in microseconds; in
    /// ascending order.
    pub(super) half: Vec<u64>,
    /// The same until 99 of a hundred did.
    pub(super) most: Vec<u64>,
    /// The same until all did.
    pub(super) all: Vec<u64>,
    /// Change sets that came in messages.
    pub(super) payloads: u64,
    /// Change sets that were wanted: each at each replica but its author.
    pub(super) arrived: u64,
    /// Bytes that each replica sent while idle, a second.
    pub(super) idle_bytes: f64,
    /// Messages that each replica sent while idle, a second.
    pub(super) idle_messages: f64,
    /// Bytes that each replica sent at load, a second.
    pub(super) load_bytes: f64,
    /// Messages that each replica sent at load, a second.
    pub(super) load_messages: f64,
}

/// The runs that have been made.
#[derive(Default)]
pub(super) struct Steadies(BTreeMap<(usize, Place, u32), Steady>);

impl Steadies {
    /// What a run comes to, made now or before.
    ///
    /// # Errors
    /// If the cluster does not come to rest.
    pub(super) fn get(
        &mut self,
        terms: &Terms,
        (replicas, place, lost_permille): (usize, Place, u32),
        tell: &mut dyn FnMut(&str),
    ) -> Result<&Steady, String> {
        match self.0.entry((replicas, place, lost_permille)) {
            Entry::Occupied(made) => Ok(made.into_mut()),
            Entry::Vacant(entry) => {
                let percent = f64::from(lost_permille) / 10.0;
                let name = place.name();
                tell(&format!(
                    "{replicas} replicas, {name}, {percent} % of datagrams lost"
                ));
                Ok(entry.insert(measure(terms, replicas, place, lost_permille)?))
            }
        }
    }
}

fn measure(
    terms: &Terms,
    replicas: usize,
    place: Place,
    lost_permille: u32,
) -> Result<Steady, String> {
    let mut cluster = Cluster::new(terms, replicas, place)?;
    let nodes: Vec<String> = (0..NODES).map(|node| format!("add /n{node}")).collect();
    cluster.prepare(&nodes)?;
    cluster.lose(lost_permille);
    // Checkpoints and comparisons that the beginning has left to do.
    cluster.pass(Micros::from_seconds(5));
    let rate = |count: u64, time: Micros| count as f64 * 1e6 / time.0 as f64 / replicas as f64;
    let traffic = |cluster: &Cluster| (cluster.tally().bytes, cluster.tally().messages);

    let before = traffic(&cluster);
    cluster.pass(IDLE);
    let after = traffic(&cluster);
    let idle_bytes = rate(after.0 - before.0, IDLE);
    let idle_messages = rate(after.1 - before.1, IDLE);

    cluster.begin();
    let (payloads, before) = (cluster.tally().payloads, traffic(&cluster));
    cluster.load(LOAD, terms.gap(), &mut line);
    let after = traffic(&cluster);
    cluster.come_together()?;
    let seen = cluster.seen();
    Ok(Steady {
        saves: seen.count() as u64,
        half: seen.times_to(50),
        most: seen.times_to(99),
        all: seen.times_to(100),
        payloads: cluster.tally().payloads - payloads,
        arrived: seen.arrived(),
        idle_bytes,
        idle_messages,
        load_bytes: rate(after.0 - before.0, LOAD),
        load_messages: rate(after.1 - before.1, LOAD),
    })
}

/// Sets one of three properties of one of the nodes to a text.
fn line(chance: &mut Chance) -> String {
    let (node, property) = (chance.below(NODES), chance.below(3));
    let text: String = (0..LETTERS / 16)
        .map(|_| format!("{:016x}", chance.below(u64::MAX)))
        .collect();
    format!("set /n{node} p{property} \"{text}\"")
}
