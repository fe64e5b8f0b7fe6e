//! The network between machines: how long a frame takes, what is lost, which ways are cut.
//!
//! Replicas talk over connections as QUIC gives them: frames of one direction arrive in order (see
//! `way`), a lost datagram is sent again and costs time, a connection that hears nothing for
//! [`IDLE_TIMEOUT`] ends, and one that ends takes with it what was under way. On top of what QUIC
//! allows, frames can be made to vanish, to come twice and to overtake one another: the core is to
//! bear that too. A frame is one message; handshakes and encryption are left out.

use std::collections::BTreeMap;

use super::queue::Micros;
use super::way::Way;
use crate::chance::Chance;
use crate::plan::Kind;
use crate::regions::{Region, round_trip_us};

/// After this long without a word a connection is taken for dead.
pub(super) const IDLE_TIMEOUT: Micros = Micros::from_seconds(15);
/// Bytes of a frame that go into one datagram.
const DATAGRAM_BYTES: u64 = 1_200;
/// Bytes of headers for each datagram.
const DATAGRAM_OVERHEAD_BYTES: u64 = 60;
/// Most times that one frame's datagrams are sent again before the delay grows no further.
const RESENDS_MAX: u64 = 12;
/// What a slow way adds at the least to what is delayed by it, in microseconds.
const SLOW_US_MIN: u64 = 1_000;
/// Least time until a lost datagram is sent again, in microseconds.
const RESEND_US_MIN: u64 = 2_000;

/// Where the machines stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Geography {
    /// All on one machine.
    Loopback,
    /// In one building.
    Lan,
    /// Spread over the regions of the world: the region of each machine.
    World(Vec<Region>),
}

impl Geography {
    /// Time from one machine to another, in microseconds, and how much it varies.
    fn one_way_us(&self, from: usize, to: usize) -> (u64, u64) {
        match self {
            Self::Loopback => (30, 20),
            Self::Lan => (200, 200),
            Self::World(regions) => {
                let region = |machine: usize| regions[machine % regions.len()];
                let way = round_trip_us(region(from), region(to)) / 2;
                (way, way / 20 + 100)
            }
        }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Lan => "lan",
            Self::World(_) => "world",
        }
    }
}

/// What is wrong with the network as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Of a thousand datagrams, so many are lost and sent again.
    pub lost_permille: u32,
    /// Of a thousand frames, so many vanish.
    pub vanished_permille: u32,
    /// Of a thousand frames, so many come twice.
    pub doubled_permille: u32,
    /// Of a thousand frames, so many may be overtaken by later ones.
    pub overtaken_permille: u32,
}

/// What becomes of a frame that was handed in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passage {
    /// When all of it is under way.
    pub(super) sent: Micros,
    /// When it arrives, each time that it does.
    pub(super) arrivals: Vec<Micros>,
    /// Whether a datagram was lost on the way.
    pub(super) lost: bool,
    /// Whether it takes longer to send than it usually does.
    pub(super) slowed: bool,
}

/// Why a way is cut, and since when.
#[derive(Clone, Debug)]
struct Cut {
    /// Which of all cuts it is.
    serial: CutSerial,
    /// What cut it, once for each time; it is cut as long as any is left.
    by: Vec<Kind>,
}

/// Tells the cuts that there have been from one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CutSerial(u64);

/// What lies between the machines.
pub struct Network {
    pub(super) geography: Geography,
    pub(crate) weather: Weather,
    /// Bytes a second of every way that has no bound of its own.
    pub(super) bytes_per_second: u64,
    slow: BTreeMap<(usize, usize), u64>,
    cuts: BTreeMap<(usize, usize), Cut>,
    /// Counts the cuts there have been.
    cut_serial: CutSerial,
    chance: Chance,
}

impl Network {
    /// A network without faults, of 125 MB a second each way.
    pub(super) fn new(geography: Geography, chance: Chance) -> Self {
        Self {
            geography,
            weather: Weather::default(),
            bytes_per_second: 125_000_000,
            slow: BTreeMap::new(),
            cuts: BTreeMap::new(),
            cut_serial: CutSerial::default(),
            chance,
        }
    }

    /// Cuts the way from one machine to another; which cut it is, if the way was open.
    pub(super) fn cut(&mut self, from: usize, to: usize, by: Kind) -> Option<CutSerial> {
        if let Some(cut) = self.cuts.get_mut(&(from, to)) {
            cut.by.push(by);
            return None;
        }
        self.cut_serial.0 += 1;
        let serial = self.cut_serial;
        let by = vec![by];
        self.cuts.insert((from, to), Cut { serial, by });
        Some(serial)
    }

    /// Ends every cut, and gives the ways that were cut.
    fn heal(&mut self) -> Vec<(usize, usize)> {
        std::mem::take(&mut self.cuts).into_keys().collect()
    }

    /// Ends one cut of this kind; whether the way is open now and was not.
    pub(super) fn mend(&mut self, from: usize, to: usize, by: Kind) -> bool {
        let Some(cut) = self.cuts.get_mut(&(from, to)) else {
            return false;
        };
        if let Some(at) = cut.by.iter().position(|kind| *kind == by) {
            cut.by.swap_remove(at);
        }
        let open = cut.by.is_empty();
        if open {
            self.cuts.remove(&(from, to));
        }
        open
    }

    /// Whether nothing gets from one machine to another.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    /// Whether it has been cut by this very cut all the time.
    pub(super) fn is_still_cut(&self, from: usize, to: usize, serial: CutSerial) -> bool {
        let cut = self.cuts.get(&(from, to));
        cut.is_some_and(|cut| cut.serial == serial)
    }

    /// What cuts the way from one machine to another.
    pub(super) fn cut_by(&self, from: usize, to: usize) -> &[Kind] {
        self.cuts.get(&(from, to)).map_or(&[], |cut| &cut.by)
    }

    /// Bounds the way between two machines, both ways, in bytes a second.
    pub(super) fn slow_down(&mut self, a: usize, b: usize, bytes_per_second: u64) {
        self.slow.insert((a, b), bytes_per_second);
        self.slow.insert((b, a), bytes_per_second);
    }

    /// Ends everything that is wrong, but for the distances; gives the ways that were cut.
    pub(super) fn calm(&mut self) -> Vec<(usize, usize)> {
        self.weather = Weather::default();
        self.slow.clear();
        self.heal()
    }

    /// How long it takes until so many bytes are under way, in microseconds, and whether that is
    /// long since this way is slow.
    fn sending_us(&self, from: usize, to: usize, wire_bytes: u64) -> (u64, bool) {
        let takes = |bytes_per_second: u64| {
            let time = u128::from(wire_bytes) * 1_000_000 / u128::from(bytes_per_second.max(1));
            u64::try_from(time).unwrap_or(u64::MAX)
        };
        let usual = takes(self.bytes_per_second);
        let own = self.slow.get(&(from, to)).map_or(usual, |own| takes(*own));
        (own, own >= usual + SLOW_US_MIN)
    }

    /// How long it takes until a handshake from one machine to another is through, or has failed.
    pub(super) fn handshake_us(&mut self, from: usize, to: usize) -> u64 {
        let (way, varies) = self.geography.one_way_us(from, to);
        3 * way + self.chance.below(varies + 1)
    }

    /// Sends a frame of so many bytes on its way.
    pub(super) fn pass(
        &mut self,
        way: &mut Way,
        now: Micros,
        (from, to): (usize, usize),
        bytes: usize,
    ) -> Passage {
        let (distance, varies) = self.geography.one_way_us(from, to);
        let datagrams = (bytes as u64).div_ceil(DATAGRAM_BYTES).max(1);
        let wire_bytes = bytes as u64 + datagrams * DATAGRAM_OVERHEAD_BYTES;
        let (sending, slowed) = self.sending_us(from, to, wire_bytes);
        way.busy_until = way.busy_until.max(now).plus(sending);
        let weather = self.weather;
        let resends = self.resends(datagrams);
        let again = (2 * distance).max(RESEND_US_MIN) * resends;
        let takes = distance + again + self.chance.below(varies + 1);
        let mut arrival = way.busy_until.plus(takes);
        let overtaken = self.chance.permille(weather.overtaken_permille);
        if overtaken {
            // It takes longer, and nobody waits for it.
            arrival = arrival.plus(self.chance.below(10 * distance + 5_000));
        } else {
            arrival = arrival.max(way.last_arrival);
            way.last_arrival = arrival;
        }
        let mut arrivals = Vec::new();
        if !self.chance.permille(weather.vanished_permille) {
            arrivals.push(arrival);
            if self.chance.permille(weather.doubled_permille) {
                arrivals.push(arrival.plus(self.chance.below(2 * distance + 1_000)));
            }
        }
        Passage {
            sent: way.busy_until,
            arrivals,
            lost: resends > 0,
            slowed,
        }
    }

    /// How often datagrams of a frame have to be sent again, until all of them are there.
    fn resends(&mut self, datagrams: u64) -> u64 {
        let lost = self.weather.lost_permille;
        if lost == 0 {
            return 0;
        }
        let mut left = datagrams;
        let mut resends = 0;
        while resends < RESENDS_MAX {
            // Large frames lose their share; small ones are drawn one by one.
            left = if left > 64 {
                left * u64::from(lost) / 1_000
            } else {
                (0..left).filter(|_| self.chance.permille(lost)).count() as u64
            };
            if left == 0 {
                break;
            }
            resends += 1;
        }
        resends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(weather: Weather) -> Network {
        let mut network = Network::new(Geography::Lan, Chance::new(1, "network"));
        network.weather = weather;
        network
    }

    #[test]
    fn frames_of_one_way_arrive_in_order_however_many_datagrams_are_lost() {
        let mut network = network(Weather {
            lost_permille: 300,
            ..Weather::default()
        });
        let mut way = Way::default();
        let mut last = Micros(0);
        let mut lost = 0;
        for n in 0..1_000 {
            let passage = network.pass(&mut way, Micros(n * 50), (0, 1), 4_000);
            assert_eq!(passage.arrivals.len(), 1);
            assert!(passage.arrivals[0] >= last);
            last = passage.arrivals[0];
            lost += u32::from(passage.lost);
        }
        assert!((600..900).contains(&lost), "{lost} of 4 datagrams each");
    }

    #[test]
    fn a_way_is_cut_as_long_as_any_cut_of_it_is_left() {
        let mut network = network(Weather::default());
        let first = network.cut(0, 1, Kind::Cut).unwrap();
        assert_eq!(network.cut(0, 1, Kind::Partition), None);
        assert_eq!(network.cut_by(0, 1), [Kind::Cut, Kind::Partition]);
        assert!(!network.mend(0, 1, Kind::Cut) && network.is_still_cut(0, 1, first));
        assert!(network.mend(0, 1, Kind::Partition) && !network.is_cut(0, 1));
        let second = network.cut(0, 1, Kind::Cut).unwrap();
        assert!(!network.is_still_cut(0, 1, first) && network.is_still_cut(0, 1, second));
    }

    #[test]
    fn a_frame_takes_as_long_as_the_slowest_way_needs() {
        let mut network = network(Weather::default());
        network.slow_down(0, 1, 10_000);
        let mut way = Way::default();
        let passage = network.pass(&mut way, Micros(0), (0, 1), 100_000);
        assert!(passage.arrivals[0] > Micros::from_seconds(10));
        assert!(passage.sent > Micros::from_seconds(10) && passage.slowed);
        assert!(!network.pass(&mut way, Micros(0), (0, 2), 100_000).slowed);
    }

    #[test]
    fn frames_vanish_come_twice_and_overtake_when_told_to() {
        let mut network = network(Weather {
            vanished_permille: 200,
            doubled_permille: 200,
            overtaken_permille: 200,
            ..Weather::default()
        });
        let mut way = Way::default();
        let passages: Vec<_> = (0..1_000)
            .map(|n| {
                network
                    .pass(&mut way, Micros(n * 1_000), (0, 1), 100)
                    .arrivals
            })
            .collect();
        let count = |n: usize| passages.iter().filter(|p| p.len() == n).count();
        assert!((120..280).contains(&count(0)));
        assert!((100..240).contains(&count(2)));
        let firsts: Vec<_> = passages.iter().filter_map(|p| p.first()).collect();
        assert!(firsts.windows(2).any(|pair| pair[0] > pair[1]));
    }
}
