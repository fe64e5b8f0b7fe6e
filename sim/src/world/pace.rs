//! Notices a world that does not get on: so much happens in so little virtual time that it would go
//! on for ever.

use std::collections::VecDeque;

use super::queue::Micros;

/// Most happenings in [`STRETCH`], many times what a large cluster at work has.
const HAPPENINGS_MAX: u64 = 5_000_000;
/// Virtual time over which they are counted.
const STRETCH: Micros = Micros::from_seconds(10);
/// So many of the last happenings are named.
const NAMED: usize = 12;

/// Something that happened: when, what, and where.
type Beat = (Micros, &'static str, Option<usize>);

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Pace {
    since: Micros,
    happened: u64,
    last: VecDeque<Beat>,
}

impl Pace {
    /// Something happens; false if that is too much.
    pub(super) fn beat(&mut self, now: Micros, what: &'static str, whom: Option<usize>) -> bool {
        if now >= self.since.after(STRETCH) {
            (self.since, self.happened) = (now, 0);
        }
        if self.is_over() {
            return false;
        }
        self.happened += 1;
        if self.last.len() == NAMED {
            self.last.pop_front();
        }
        self.last.push_back((now, what, whom));
        !self.is_over()
    }

    fn is_over(&self) -> bool {
        self.happened > HAPPENINGS_MAX
    }

    /// What is wrong, if it was too much.
    pub(super) fn stuck(&self) -> Option<String> {
        let named = |(at, what, whom): &Beat| match whom {
            Some(machine) => format!("{at} m{machine} {what}"),
            None => format!("{at} {what}"),
        };
        self.is_over().then(|| {
            let last: Vec<_> = self.last.iter().map(named).collect();
            format!(
                "it goes on for ever: {HAPPENINGS_MAX} happenings since {}, the last of them {}",
                self.since,
                last.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_whose_time_stands_still_is_stuck_and_says_where() {
        let mut pace = Pace::default();
        let steps = (0..).take_while(|n| pace.beat(Micros(*n / 1_000), "wake", Some(3)));
        assert_eq!(steps.count() as u64, HAPPENINGS_MAX);
        let stuck = pace.stuck().unwrap();
        assert!(stuck.ends_with("m3 wake"), "{stuck}");
    }

    #[test]
    fn a_world_that_gets_on_is_not_stuck_however_long_it_goes_on() {
        let mut pace = Pace::default();
        assert!((0..3 * HAPPENINGS_MAX).all(|n| pace.beat(Micros(n * 10), "arrive", None)));
        assert_eq!(pace.stuck(), None);
    }
}
