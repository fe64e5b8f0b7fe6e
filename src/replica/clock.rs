//! The hybrid logical clock: ids that rise, whatever the clock on the wall does (M15, M16).
//!
//! Built on `uhlc`, which is told the physical time before each call, and never sees a time of
//! others that has not been checked: what is too far ahead is *held* by the rules, and that is
//! decided here, not there. A bound of the times given out and seen is kept on disk; the next life
//! begins above it.

use std::cell::Cell;
use std::time::Duration;

use uhlc::{HLC, HLCBuilder, ID, NTP64, Timestamp};

use super::fault::{self, Fault};
use crate::model::{OriginId, Time};

thread_local! {
    /// What the wall clock says, set before each use of the HLC. Its clock is a plain function.
    static PHYSICAL: Cell<u64> = const { Cell::new(0) };
}

fn physical() -> NTP64 {
    NTP64(PHYSICAL.get())
}

/// Times from here on are never taken over: the clock could not go on after them.
const CEILING: Time = Time(u64::MAX - (1 << 40));

/// How far ahead of the times in use the bound on disk is set, in milliseconds; no more than a
/// quarter of the allowed skew. A restart begins there, so it must stay small.
const AHEAD_MAX_MS: u64 = 100;

/// The clock of one replica.
pub(super) struct Clock {
    hlc: HLC,
    last: Time,
    skew_max_ms: u64,
    /// Nothing above this has been given out or seen, as the disk knows once the commit that is
    /// out or gathered is through.
    bound: Time,
}

impl Clock {
    /// A clock that accepts times of others up to `skew_max_ms` ahead.
    pub(super) fn new(origin: OriginId, skew_max_ms: u64) -> Self {
        let id = ID::try_from(origin.0).expect("an origin id is not all zero");
        // The widest there is: whether a time is too far ahead is decided in `is_future`.
        let delta = Duration::from_secs(u64::from(u32::MAX));
        let hlc = HLCBuilder::new()
            .with_id(id)
            .with_clock(physical)
            .with_max_delta(delta)
            .build();
        Self {
            hlc,
            last: Time(0),
            skew_max_ms,
            bound: Time(0),
        }
    }

    /// Whether a time is further ahead than the allowed skew. What is not above a time that this
    /// clock has given out or taken over never is.
    pub(super) fn is_future(&self, now: Time, time: Time) -> bool {
        let reached = time <= self.last && !fault::on(Fault::FutureMovesClock);
        let ahead = time > now.plus_millis(self.skew_max_ms) && !fault::on(Fault::FutureApplied);
        time >= CEILING || (ahead && !reached)
    }

    /// When [`Clock::is_future`] will be false for a time.
    pub(super) fn acceptable_from(&self, time: Time) -> Time {
        if time >= CEILING {
            return Time(u64::MAX);
        }
        let skew = Time(0).plus_millis(self.skew_max_ms);
        Time(time.0.saturating_sub(skew.0))
    }

    /// Takes over a time that is not in the future: what is given out later is above it.
    pub(super) fn observe(&mut self, now: Time, time: Time) {
        assert!(
            !self.is_future(now, time),
            "what is in the future is held, not taken over"
        );
        self.take_over(time);
    }

    /// Takes over a time that this replica itself had reached in an earlier life, even if its
    /// clock has been set back since. One at the end of all times is left out.
    pub(super) fn resume(&mut self, time: Time) {
        if time < CEILING && !fault::on(Fault::ClockForgotten) {
            self.take_over(time);
        }
    }

    fn take_over(&mut self, time: Time) {
        if time <= self.last {
            return;
        }
        // The HLC would take over what the wall clock shows as well. Should that turn out to be wrong,
        // nothing of it is to stay in a clock that has given out nothing meanwhile.
        PHYSICAL.set(time.0);
        let remote = Timestamp::new(NTP64(time.0), *self.hlc.get_id());
        self.hlc
            .update_with_timestamp(&remote)
            .expect("the HLC accepts every time that has been checked");
        self.last = time;
    }

    /// A time above every other that was given out or taken over; nothing if there is none left.
    pub(super) fn stamp(&mut self, now: Time) -> Option<Time> {
        if self.last >= CEILING {
            return None;
        }
        PHYSICAL.set(now.0.min(CEILING.0));
        let time = Time(self.hlc.new_timestamp().get_time().0);
        assert!(time > self.last, "stamps rise");
        self.last = time;
        Some(time)
    }

    /// The greatest time given out or taken over.
    pub(super) fn last(&self) -> Time {
        self.last
    }

    /// The bound to put on disk with the next commit, if the last one does not cover the times in
    /// use any more.
    pub(super) fn next_bound(&mut self) -> Option<Time> {
        if self.last <= self.bound {
            return None;
        }
        let ahead = AHEAD_MAX_MS.min(self.skew_max_ms / 4);
        self.bound = Time(self.last.plus_millis(ahead).0.min(CEILING.0 - 1));
        Some(self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(0x6543_2100_0000_0000);

    fn clock() -> Clock {
        Clock::new(OriginId([7; 16]), 500)
    }

    #[test]
    fn stamps_rise_while_the_wall_clock_stands_still_or_goes_back() {
        let mut clock = clock();
        let mut last = Time(0);
        for millis in [1_000, 1_000, 1_000, 400, 0, 1_001] {
            let stamp = clock.stamp(NOW.plus_millis(millis)).unwrap();
            assert!(stamp > last);
            last = stamp;
        }
    }

    #[test]
    fn a_stamp_is_above_everything_seen() {
        let mut clock = clock();
        let seen = NOW.plus_millis(499);
        clock.observe(NOW, seen);
        assert!(clock.stamp(NOW).unwrap() > seen);
    }

    #[test]
    fn what_was_only_received_leaves_no_trace_of_a_wrong_wall_clock() {
        let mut clock = clock();
        let wrong = NOW.plus_millis(600_000);
        clock.observe(wrong, NOW.plus_millis(1));
        let stamp = clock.stamp(NOW.plus_millis(2)).unwrap();
        assert!(stamp < NOW.plus_millis(10));
    }

    // M16
    #[test]
    fn what_is_further_ahead_than_the_skew_is_future_until_the_clock_gets_there() {
        let clock = clock();
        let near = Time(NOW.0 + (1 << 31) - 16);
        assert!(!clock.is_future(NOW, near));
        let far = NOW.plus_millis(10_000);
        assert!(clock.is_future(NOW, far));
        let due = clock.acceptable_from(far);
        assert!(clock.is_future(Time(due.0 - 1), far));
        assert!(!clock.is_future(due, far));
        for end in [u64::MAX, CEILING.0] {
            assert!(clock.is_future(NOW, Time(end)));
            assert!(clock.is_future(Time(u64::MAX), Time(end)));
        }
    }

    #[test]
    fn a_clock_that_was_set_back_goes_on_above_its_earlier_life() {
        let mut clock = clock();
        let before = NOW.plus_millis(3_600_000);
        clock.resume(before);
        assert!(clock.stamp(NOW).unwrap() > before);
        assert!(!clock.is_future(NOW, before), "it has been there");
        clock.resume(Time(u64::MAX));
        assert!(clock.stamp(NOW).unwrap() < CEILING);
    }

    #[test]
    fn the_bound_on_disk_is_renewed_only_when_it_does_not_cover_the_times_in_use() {
        let mut clock = clock();
        let first = clock.stamp(NOW).unwrap();
        let bound = clock.next_bound().unwrap();
        assert!(bound > first);
        clock.stamp(NOW.plus_millis(50)).unwrap();
        assert_eq!(clock.next_bound(), None);
        clock.stamp(NOW.plus_millis(200)).unwrap();
        assert!(clock.next_bound().is_some());
    }
}
