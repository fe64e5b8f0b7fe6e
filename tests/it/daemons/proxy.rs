//! A network that delays, loses, doubles, garbles and cuts, for UDP on loopback.
//!
//! Every daemon has a *front*: a socket of the network whose address it advertises in place of its
//! own. What arrives at the front of B from the socket of A goes on to the socket of B from the
//! front of A. So both see each other at fronts only, whoever dialled, and every datagram passes
//! the directed link from A to B. What a link does to a datagram is drawn from a generator of its
//! own; only the times at which datagrams come are the machine's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::daemon::{Daemon, now};

/// How long a thread of the network may take to see that it shall end.
const LOOK: Duration = Duration::from_millis(50);

/// What a link does to datagrams that it carries.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// How long each is under way, at least.
    pub(crate) delay: Duration,
    /// How much longer at most; drawn for each, so that they overtake each other.
    pub(crate) jitter: Duration,
    /// Share of those that are lost.
    pub(crate) loss: f64,
    /// Share of those that come twice.
    pub(crate) doubled: f64,
    /// Share of those that come with a changed byte.
    pub(crate) garbled: f64,
}

/// A daemon's place in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(usize);

/// A network. Ends with its threads when it is dropped.
pub(crate) struct Network {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    seed: u64,
    fronts: Vec<Front>,
    links: BTreeMap<(Place, Place), Link>,
    under_way: BinaryHeap<Reverse<Datagram>>,
    /// Datagrams that were put on their way; tells apart those that are due together.
    count: u64,
    ended: bool,
}

struct Front {
    socket: Arc<UdpSocket>,
    /// The daemon's own socket, once known.
    behind: Option<SocketAddr>,
}

struct Link {
    weather: Weather,
    cut: bool,
    rng: ChaCha8Rng,
    delivered: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Datagram {
    due: Instant,
    number: u64,
    from: Place,
    to: Place,
    bytes: Vec<u8>,
}

impl Network {
    /// A network in which nothing bad happens yet.
    pub(crate) fn new(seed: u64) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                seed,
                fronts: Vec::new(),
                links: BTreeMap::new(),
                under_way: BinaryHeap::new(),
                count: 0,
                ended: false,
            }),
            changed: Condvar::new(),
        });
        let carrier = Arc::clone(&shared);
        let threads = vec![std::thread::spawn(move || carrier.carry())];
        Self { shared, threads }
    }

    /// A place for one more daemon. The daemon behind it is whoever sends next from an address
    /// that is not known yet; so places are taken one after the other.
    pub(crate) fn place(&mut self) -> Place {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        socket.set_read_timeout(Some(LOOK)).unwrap();
        let mut state = self.shared.lock();
        let place = Place(state.fronts.len());
        state.fronts.push(Front {
            socket: Arc::clone(&socket),
            behind: None,
        });
        drop(state);
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::spawn(move || shared.take_in(place, &socket));
        self.threads.push(thread);
        place
    }

    /// The address that the daemon at a place is to advertise.
    pub(crate) fn front(&self, place: Place) -> SocketAddr {
        let state = self.shared.lock();
        state.fronts[place.0].socket.local_addr().unwrap()
    }

    /// Says which socket is behind a place from now on.
    pub(crate) fn settle(&self, place: Place, behind: SocketAddr) {
        self.shared.lock().fronts[place.0].behind = Some(behind);
    }

    /// Starts a daemon at a place, and lets it join with a token, if one is given.
    pub(crate) fn start(&self, at: Place, data: &Path, join: Option<&str>) -> Daemon {
        let front = self.front(at).to_string();
        let name = data.file_name().unwrap().to_str().unwrap();
        let mut arguments = vec!["--advertise", &front, "--name", name];
        if let Some(token) = join {
            arguments.extend(["--join", token]);
        }
        let daemon = Daemon::start(data, &arguments);
        self.settle(at, daemon.listen());
        daemon
    }

    /// Changes the weather on every link that there is or will be between these places.
    pub(crate) fn weather(&self, places: &[Place], weather: Weather) {
        let mut state = self.shared.lock();
        for from in places {
            for to in places {
                state.link(*from, *to).weather = weather;
            }
        }
    }

    /// Cuts the link from one place to another, or mends it. Datagrams under way still arrive.
    pub(crate) fn set_cut(&self, from: Place, to: Place, cut: bool) {
        self.shared.lock().link(from, to).cut = cut;
    }

    /// Cuts or mends both directions.
    pub(crate) fn set_cut_between(&self, one: Place, other: Place, cut: bool) {
        self.set_cut(one, other, cut);
        self.set_cut(other, one, cut);
    }

    /// How many datagrams have arrived over a link.
    pub(crate) fn delivered(&self, from: Place, to: Place) -> u64 {
        self.shared.lock().link(from, to).delivered
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

impl State {
    fn link(&mut self, from: Place, to: Place) -> &mut Link {
        let seed = self.seed;
        self.links.entry((from, to)).or_insert_with(|| {
            let number = (from.0 as u64) << 32 | to.0 as u64;
            Link {
                weather: Weather::default(),
                cut: false,
                rng: ChaCha8Rng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                delivered: 0,
            }
        })
    }

    /// Whose socket an address is.
    fn sender(&mut self, address: SocketAddr) -> Option<Place> {
        let mut fronts = self.fronts.iter();
        if let Some(known) = fronts.position(|front| front.behind == Some(address)) {
            return Some(Place(known));
        }
        let mut fronts = self.fronts.iter_mut().enumerate();
        let (newcomer, front) = fronts.find(|(_, front)| front.behind.is_none())?;
        front.behind = Some(address);
        Some(Place(newcomer))
    }

    /// Puts a datagram on its way, or does not.
    fn send(&mut self, from: Place, to: Place, bytes: &[u8]) {
        let link = self.link(from, to);
        let (weather, rng) = (link.weather, &mut link.rng);
        // Every datagram takes the same draws, so that one decision does not shift the others.
        let lost = rng.random_bool(weather.loss);
        let doubled = rng.random_bool(weather.doubled);
        let garbled = rng.random_bool(weather.garbled);
        let (at, change) = (rng.random::<u32>() as usize, rng.random_range(1..=255_u8));
        let delays = [0, 1].map(|_| weather.delay + weather.jitter.mul_f64(rng.random::<f64>()));
        if link.cut || lost {
            return;
        }
        let mut bytes = bytes.to_vec();
        if garbled && !bytes.is_empty() {
            let at = at % bytes.len();
            bytes[at] ^= change;
        }
        for delay in &delays[..1 + usize::from(doubled)] {
            self.count += 1;
            self.under_way.push(Reverse(Datagram {
                due: now() + *delay,
                number: self.count,
                from,
                to,
                bytes: bytes.clone(),
            }));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Takes what arrives at a front, until the network ends.
    fn take_in(&self, to: Place, socket: &UdpSocket) {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let received = socket.recv_from(&mut buffer);
            let mut state = self.lock();
            if state.ended {
                return;
            }
            match received {
                Ok((length, address)) => {
                    if let Some(from) = state.sender(address) {
                        state.send(from, to, &buffer[..length]);
                        self.changed.notify_all();
                    }
                }
                // Nothing came, or the socket behind was closed and the system says so.
                Err(error) => assert!(is_passing(&error), "{error}"),
            }
        }
    }

    /// Hands out what is due, until the network ends.
    fn carry(&self) {
        let mut state = self.lock();
        while !state.ended {
            let now = now();
            let pause = match state.under_way.peek() {
                None => LOOK,
                Some(Reverse(first)) => first.due.saturating_duration_since(now),
            };
            if !pause.is_zero() || state.under_way.is_empty() {
                (state, _) = self.changed.wait_timeout(state, pause).unwrap();
                continue;
            }
            let Some(Reverse(datagram)) = state.under_way.pop() else {
                continue;
            };
            let Some(to) = state.fronts[datagram.to.0].behind else {
                continue;
            };
            state.link(datagram.from, datagram.to).delivered += 1;
            let front = Arc::clone(&state.fronts[datagram.from.0].socket);
            drop(state);
            if let Err(error) = front.send_to(&datagram.bytes, to) {
                assert!(is_passing(&error), "{error}");
            }
            state = self.lock();
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
    )
}

#[test]
fn a_network_carries_delays_loses_and_cuts() {
    let mut network = Network::new(1);
    let sockets = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let places = [0, 1].map(|_| network.place());
    for (place, socket) in places.iter().zip(&sockets) {
        socket.set_read_timeout(Some(LOOK)).unwrap();
        network.settle(*place, socket.local_addr().unwrap());
    }
    let fronts = places.map(|place| network.front(place));
    let count = |weather: Weather| {
        network.weather(&places, weather);
        for i in 0..100_u8 {
            sockets[0].send_to(&[i], fronts[1]).unwrap();
        }
        let mut buffer = [0; 9];
        let mut received = Vec::new();
        while let Ok((1, from)) = sockets[1].recv_from(&mut buffer) {
            assert_eq!(from, fronts[0]);
            received.push(buffer[0]);
        }
        received
    };
    let all: Vec<u8> = (0..100).collect();
    assert_eq!(count(Weather::default()), all);
    let mut shuffled = count(Weather {
        jitter: Duration::from_millis(30),
        ..Weather::default()
    });
    assert_ne!(shuffled, all);
    shuffled.sort_unstable();
    assert_eq!(shuffled, all);
    let rough = count(Weather {
        loss: 0.5,
        ..Weather::default()
    });
    assert!((25..75).contains(&rough.len()), "{}", rough.len());
    let doubled = count(Weather {
        doubled: 1.0,
        ..Weather::default()
    });
    assert_eq!(doubled.len(), 200);
    network.set_cut(places[0], places[1], true);
    assert!(count(Weather::default()).is_empty());
    sockets[1].send_to(b"x", fronts[0]).unwrap();
    let (length, from) = sockets[0].recv_from(&mut [0; 9]).unwrap();
    assert_eq!((length, from), (1, fronts[1]));
    assert!(network.delivered(places[0], places[1]) > 400);
}
