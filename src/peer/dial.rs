//! The dialler: keeps trying every address of every member to which no connection stands.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;

use super::clock;
use super::connection::End;
use super::network::Network;
use crate::codec::handshake::{Hello, RefusalCode, Welcome};
use crate::model::PublicKey;
use crate::net::{Backoff, ConnectError, Link};

/// Longest time between two looks at who is missing.
const LOOK: Duration = Duration::from_secs(30);
/// How long an address rests that led to ourselves, or to a peer that is connected anyway.
const REST: Duration = Duration::from_secs(60);
/// Most attempts that run at once.
const ATTEMPTS_MAX: usize = 16;
/// Most addresses that a host name is tried at.
const RESOLVED_MAX: usize = 4;

/// An address of a member.
type Goal = (PublicKey, String);

/// What is known of one address.
struct Way {
    backoff: Backoff,
    next: Instant,
    /// Who was found there last.
    end: Option<End>,
    error: Option<String>,
    busy: bool,
}

/// See the top of the file.
#[derive(Default)]
pub(super) struct Dialler {
    ways: Mutex<BTreeMap<Goal, Way>>,
}

impl Dialler {
    fn ways(&self) -> MutexGuard<'_, BTreeMap<Goal, Way>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What went wrong last with the addresses of a member.
    pub(super) fn last_error(&self, key: PublicKey) -> Option<String> {
        let from = (key, String::new());
        self.ways()
            .range(from..)
            .take_while(|((other, _), _)| *other == key)
            .find_map(|(_, way)| way.error.clone())
    }

    /// Dials until the peer has ended.
    pub(super) async fn run(self: Arc<Self>, network: Arc<Network>) {
        let mut rng = ChaCha8Rng::from_seed(clock::random());
        let mut attempts: JoinSet<(Goal, Result<End, ConnectError>)> = JoinSet::new();
        loop {
            let Some(members) = network.core.members().await else {
                return;
            };
            let goals = members
                .into_iter()
                .flat_map(|member| member.addresses.into_iter().map(move |a| (member.key, a)))
                .filter(|(_, address)| !network.is_own(address));
            self.keep_only(goals.collect());
            let now = clock::instant();
            if !network.is_isolated() {
                for goal in self.due(&network, now) {
                    if attempts.len() >= ATTEMPTS_MAX {
                        break;
                    }
                    if let Some(way) = self.ways().get_mut(&goal) {
                        way.busy = true;
                    }
                    attempts.spawn(attempt(network.clone(), goal));
                }
            }
            let pause = self.pause(now);
            tokio::select! {
                Some(Ok((goal, result))) = attempts.join_next() => {
                    self.note(&goal, result, &mut rng);
                }
                () = network.core.members.notified() => self.hurry(&network),
                () = network.changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn keep_only(&self, goals: Vec<Goal>) {
        let mut ways = self.ways();
        let mut old = std::mem::take(&mut *ways);
        for goal in goals {
            let way = old.remove(&goal).unwrap_or_else(|| Way {
                backoff: Backoff::new(),
                next: clock::instant(),
                end: None,
                error: None,
                busy: false,
            });
            ways.insert(goal, way);
        }
    }

    fn due(&self, network: &Network, now: Instant) -> Vec<Goal> {
        let connections = network.connections();
        let is_connected = |key: PublicKey, way: &Way| match way.end {
            Some(end) => connections.iter().any(|one| one.end == end),
            // Whoever is there, we have somebody of that name. A second copy of the directory,
            // if there is one, dials us.
            None => connections.iter().any(|one| one.key == key),
        };
        self.ways()
            .iter()
            .filter(|((key, _), way)| !way.busy && way.next <= now && !is_connected(*key, way))
            .map(|(goal, _)| goal.clone())
            .collect()
    }

    /// Time until the next address is due.
    fn pause(&self, now: Instant) -> Duration {
        let next = self
            .ways()
            .values()
            .filter(|way| !way.busy && way.next > now)
            .map(|way| way.next - now)
            .min();
        next.unwrap_or(LOOK).min(LOOK)
    }

    /// Tries all at once again, after something has changed that may help.
    fn hurry(&self, network: &Network) {
        if network.is_isolated() {
            return;
        }
        let now = clock::instant();
        for way in self.ways().values_mut() {
            way.next = way.next.min(now + Backoff::FIRST);
        }
    }

    fn note(&self, goal: &Goal, result: Result<End, ConnectError>, rng: &mut ChaCha8Rng) {
        let now = clock::instant();
        let mut ways = self.ways();
        let Some(way) = ways.get_mut(goal) else {
            return;
        };
        way.busy = false;
        match result {
            Ok(end) => {
                way.end = Some(end);
                way.error = None;
                way.backoff.succeeded();
                // In case it does not last: not sooner than after a failure.
                way.next = now + Backoff::FIRST;
            }
            Err(ConnectError::Refused(refused))
                if matches!(refused.code, RefusalCode::Itself | RefusalCode::Duplicate) =>
            {
                way.error = None;
                way.next = now + REST;
            }
            Err(error) => {
                tracing::debug!(peer = %goal.0, address = goal.1, %error, "could not connect");
                way.error = Some(error.to_string());
                way.next = now + way.backoff.failed(rng);
            }
        }
    }
}

/// Dials one address; a connection that comes of it runs in a task of its own.
async fn attempt(network: Arc<Network>, goal: Goal) -> (Goal, Result<End, ConnectError>) {
    let (key, address) = &goal;
    let hello = network.hello(None);
    match dial(&network.endpoint, address, *key, &hello).await {
        Ok((link, welcome)) => {
            let end = End {
                key: *key,
                instance: welcome.instance,
            };
            if welcome.cluster == network.cluster.cluster && end != network.me {
                let network = network.clone();
                tokio::spawn(async move {
                    network.run(link, end, network.me, welcome.name).await;
                });
            }
            (goal, Ok(end))
        }
        Err(error) => (goal, Err(error)),
    }
}

/// Dials a `host:port` at which a peer of this key is expected, at each address of the host.
///
/// # Errors
/// What went wrong with the last address.
pub(super) async fn dial(
    endpoint: &crate::net::Endpoint,
    address: &str,
    key: PublicKey,
    hello: &Hello,
) -> Result<(Link, Welcome), ConnectError> {
    let unknown = |reason: String| ConnectError::Invalid {
        address: SocketAddr::from(([0, 0, 0, 0], 0)),
        reason: format!("`{address}`: {reason}"),
    };
    let resolved: Vec<SocketAddr> = tokio::net::lookup_host(address)
        .await
        .map_err(|error| unknown(error.to_string()))?
        .take(RESOLVED_MAX)
        .collect();
    let mut last = unknown("the name has no address".into());
    for address in resolved {
        match endpoint.connect(address, Some(key), hello).await {
            Ok(done) => return Ok(done),
            // An answer is an answer: another address of the same host would not know better.
            Err(error @ ConnectError::Refused(_)) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}
