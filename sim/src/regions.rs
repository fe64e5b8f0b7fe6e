//! The world: 19 regions as clouds have them, and how long a packet takes between any two.
//!
//! No measurement is in here, so anybody can check the numbers with a globe. A packet follows
//! [`LINES`], each a great circle between two cities, by the shortest way there is. Light in glass
//! goes [`KM_PER_MS`]; a cable is [`DETOUR`] times as long as the great circle; and each round trip
//! costs [`EQUIPMENT_MS`] wherever it goes. What is far apart without a line, as Sydney and São
//! Paulo, is so for packets too.
//!
//! The result is rounded to 0.1 ms, and a test holds that no pair is anywhere near a point where
//! rounding tips: sines differ between machines in the last bits, but these numbers do not.

use std::f64::consts::PI;
use std::fmt::Write;
use std::sync::LazyLock;

/// Kilometres that light in glass goes in a millisecond: two thirds of its speed in vacuum.
pub const KM_PER_MS: f64 = 200.0;

/// How many times longer a cable is than the great circle between its ends.
pub const DETOUR: f64 = 1.3;

/// Milliseconds that a round trip costs besides the way: switches, and the way within the cities.
pub const EQUIPMENT_MS: f64 = 1.0;

/// Mean radius of the earth, in kilometres.
const EARTH_KM: f64 = 6371.0;

/// Where a region is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Site {
    /// What the region is called.
    pub name: &'static str,
    /// A city that stands for all of it.
    pub city: &'static str,
    /// Degrees north of the equator.
    pub latitude: f64,
    /// Degrees east of Greenwich.
    pub longitude: f64,
}

/// The regions, from west to east within each part of the world.
pub const SITES: [Site; 19] = [
    site("us-northwest", "Portland", 45.52, -122.68),
    site("us-west", "San Jose", 37.34, -121.89),
    site("us-central", "Council Bluffs", 41.26, -95.86),
    site("us-east", "Ashburn", 39.04, -77.49),
    site("canada", "Montreal", 45.50, -73.57),
    site("chile", "Santiago", -33.45, -70.67),
    site("brazil", "São Paulo", -23.55, -46.63),
    site("ireland", "Dublin", 53.35, -6.26),
    site("britain", "London", 51.51, -0.13),
    site("germany", "Frankfurt", 50.11, 8.68),
    site("sweden", "Stockholm", 59.33, 18.07),
    site("south-africa", "Johannesburg", -26.20, 28.05),
    site("gulf", "Manama", 26.23, 50.59),
    site("india", "Mumbai", 19.08, 72.88),
    site("singapore", "Singapore", 1.35, 103.82),
    site("hong-kong", "Hong Kong", 22.32, 114.17),
    site("korea", "Seoul", 37.57, 126.98),
    site("japan", "Tokyo", 35.68, 139.69),
    site("australia", "Sydney", -33.87, 151.21),
];

/// The lines between regions, by name. Whatever has none goes by way of others.
pub const LINES: [(&str, &str); 29] = [
    ("us-northwest", "us-west"),
    ("us-northwest", "us-central"),
    ("us-west", "us-central"),
    ("us-central", "us-east"),
    ("us-east", "canada"),
    ("us-west", "chile"),
    ("us-east", "brazil"),
    ("chile", "brazil"),
    ("us-east", "ireland"),
    ("us-east", "britain"),
    ("canada", "ireland"),
    ("ireland", "britain"),
    ("britain", "germany"),
    ("germany", "sweden"),
    ("britain", "south-africa"),
    ("germany", "gulf"),
    ("gulf", "india"),
    ("south-africa", "india"),
    ("india", "singapore"),
    ("singapore", "hong-kong"),
    ("singapore", "japan"),
    ("hong-kong", "korea"),
    ("hong-kong", "japan"),
    ("korea", "japan"),
    ("singapore", "australia"),
    ("japan", "australia"),
    ("us-northwest", "japan"),
    ("us-west", "japan"),
    ("us-west", "australia"),
];

const fn site(name: &'static str, city: &'static str, latitude: f64, longitude: f64) -> Site {
    Site {
        name,
        city,
        latitude,
        longitude,
    }
}

/// One of the regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(u8);

impl Region {
    /// How many there are.
    pub const COUNT: usize = SITES.len();

    /// All of them, in the order of [`SITES`].
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self::nth)
    }

    /// The region at `index` of [`SITES`], which is gone through again from its start as often as
    /// it takes: to deal replicas out to regions.
    #[must_use]
    pub fn nth(index: usize) -> Self {
        let index = index % Self::COUNT;
        Self(u8::try_from(index).expect("there are 19 regions"))
    }

    /// The region of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|region| region.site().name == name)
    }

    /// Where it is.
    #[must_use]
    pub fn site(self) -> &'static Site {
        &SITES[self.index()]
    }

    fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Microseconds that a small packet takes from one region to another and back: a whole number of
/// tenths of a millisecond, the same in both directions, and [`EQUIPMENT_MS`] within a region.
#[must_use]
pub fn round_trip_us(a: Region, b: Region) -> u64 {
    static TENTHS: LazyLock<Matrix<u64>> = LazyLock::new(|| {
        // Rounding a positive number of at most some thousands.
        round_trips_ms().map(|row| row.map(|ms| (ms * 10.0).round() as u64))
    });
    TENTHS[a.index()][b.index()] * 100
}

/// The regions, the lines, the formula and the full table of round-trip times in milliseconds, as
/// plain text.
#[must_use]
pub fn table() -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    for (number, site) in SITES.iter().enumerate() {
        let north = if site.latitude < 0.0 { 'S' } else { 'N' };
        let east = if site.longitude < 0.0 { 'W' } else { 'E' };
        line(format!(
            "{:>2}  {:<13} {:<15} {:>5.2} {north}  {:>6.2} {east}",
            number + 1,
            site.name,
            site.city,
            site.latitude.abs(),
            site.longitude.abs(),
        ));
    }
    line(String::new());
    for (a, b) in LINES {
        let km = line_km(a, b);
        line(format!("{a} - {b}: {km:.0} km"));
    }
    line(String::new());
    line(format!(
        "round trip = 2 x shortest way over the lines / {KM_PER_MS} km a ms x {DETOUR} + {EQUIPMENT_MS} ms"
    ));
    line(String::new());
    let mut head = " ".repeat(16);
    for number in 1..=Region::COUNT {
        write!(head, "{number:>7}").expect("a string takes all");
    }
    line(head);
    for (number, a) in Region::all().enumerate() {
        let mut row = format!("{:>2} {:<13}", number + 1, a.site().name);
        // The other half is the same.
        for b in Region::all().take(number + 1) {
            let tenths = round_trip_us(a, b) / 100;
            write!(row, "{:>5}.{}", tenths / 10, tenths % 10).expect("a string takes all");
        }
        line(row);
    }
    text
}

type Matrix<T> = [[T; Region::COUNT]; Region::COUNT];

/// The round-trip times before rounding, in milliseconds.
fn round_trips_ms() -> Matrix<f64> {
    let mut km = [[f64::INFINITY; Region::COUNT]; Region::COUNT];
    for (i, row) in km.iter_mut().enumerate() {
        row[i] = 0.0;
    }
    for (a, b) in LINES {
        let length = line_km(a, b);
        let (a, b) = (end(a), end(b));
        km[a.index()][b.index()] = length;
        km[b.index()][a.index()] = length;
    }
    // Floyd and Warshall.
    for over in 0..Region::COUNT {
        for a in 0..Region::COUNT {
            for b in 0..Region::COUNT {
                km[a][b] = km[a][b].min(km[a][over] + km[over][b]);
            }
        }
    }
    km.map(|row| row.map(|km| 2.0 * km / KM_PER_MS * DETOUR + EQUIPMENT_MS))
}

/// The region at an end of a line.
fn end(name: &str) -> Region {
    Region::named(name).expect("lines are between regions")
}

/// The length of a line, in kilometres.
fn line_km(a: &str, b: &str) -> f64 {
    great_circle_km(end(a).site(), end(b).site())
}

/// The haversine formula.
fn great_circle_km(a: &Site, b: &Site) -> f64 {
    let radians = |degrees: f64| degrees * PI / 180.0;
    let half_square = |angle: f64| (angle / 2.0).sin().powi(2);
    let (from, to) = (radians(a.latitude), radians(b.latitude));
    let across = half_square(radians(b.longitude - a.longitude));
    let chord = half_square(to - from) + from.cos() * to.cos() * across;
    2.0 * EARTH_KM * chord.sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(a: &str, b: &str) -> f64 {
        let region = |name| Region::named(name).expect("a region");
        round_trip_us(region(a), region(b)) as f64 / 1000.0
    }

    #[test]
    fn round_trips_are_near_what_people_measure() {
        // Milliseconds, as they are commonly seen between clouds: cables differ, so a fifth.
        let measured = [
            ("germany", "us-east", 90.0),
            ("australia", "brazil", 305.0),
            ("us-east", "us-west", 60.0),
            ("us-east", "canada", 15.0),
            ("ireland", "us-east", 68.0),
            ("japan", "us-west", 107.0),
            ("australia", "us-west", 140.0),
            ("singapore", "australia", 93.0),
            ("singapore", "india", 60.0),
            ("us-east", "brazil", 114.0),
            ("britain", "germany", 15.0),
            ("germany", "singapore", 160.0),
            ("germany", "japan", 225.0),
            ("us-east", "australia", 198.0),
        ];
        for (a, b, expected) in measured {
            let found = ms(a, b);
            let within = (found - expected).abs() / expected;
            let slack = if expected < 20.0 { 0.4 } else { 0.2 };
            assert!(within < slack, "{a} to {b}: {found} ms, not {expected}");
        }
    }

    #[test]
    fn both_directions_take_equally_long_and_the_own_region_takes_a_millisecond() {
        for a in Region::all() {
            assert_eq!(round_trip_us(a, a), 1000);
            for b in Region::all().filter(|b| *b != a) {
                assert_eq!(round_trip_us(a, b), round_trip_us(b, a));
                assert!(
                    (3_000..450_000).contains(&round_trip_us(a, b)),
                    "{a:?} {b:?}"
                );
                assert_eq!(round_trip_us(a, b) % 100, 0);
            }
        }
    }

    #[test]
    fn no_round_trip_is_so_near_to_a_tipping_point_that_machines_could_differ() {
        for ms in round_trips_ms().into_iter().flatten() {
            let above = (ms * 10.0).fract();
            assert!((above - 0.5).abs() > 1e-6, "{ms} ms");
        }
        for (a, b) in LINES {
            let km = line_km(a, b);
            assert!((km.fract() - 0.5).abs() > 1e-6, "{a} - {b}: {km} km");
        }
    }

    #[test]
    fn going_by_way_of_a_third_region_is_never_shorter() {
        let ms = round_trips_ms();
        for (a, row) in ms.iter().enumerate() {
            for (b, direct) in row.iter().enumerate() {
                let by_way = |over: usize| ms[a][over] + ms[over][b];
                assert!((0..Region::COUNT).all(|over| by_way(over) >= *direct));
            }
        }
    }

    #[test]
    fn a_quarter_of_the_equator_is_ten_thousand_kilometres() {
        let (a, b) = (site("a", "", 0.0, 0.0), site("b", "", 0.0, -90.0));
        assert!((great_circle_km(&a, &b) - 10_007.5).abs() < 0.1);
    }

    #[test]
    fn names_find_their_regions_and_the_20th_is_the_first_again() {
        assert!(Region::all().all(|region| Region::named(region.site().name) == Some(region)));
        assert_eq!(Region::named("atlantis"), None);
        assert_eq!(Region::nth(19), Region::nth(0));
    }

    #[test]
    fn the_table_shows_every_region_and_every_pair() {
        let table = table();
        assert_eq!(table.lines().count(), 19 + 1 + 29 + 3 + 1 + 19, "{table}");
        let last = table.lines().last().expect("a last line");
        let times: Vec<&str> = last.split_whitespace().skip(2).collect();
        assert_eq!(times.len(), 19, "{last}");
        assert_eq!(times[18], "1.0");
        assert_eq!(times[6].parse(), Ok(ms("australia", "brazil")));
        assert!(
            table
                .lines()
                .all(|line| line.len() < 160 && line.trim_end() == line)
        );
    }
}
