//! The clock on the wall of one machine, which may be wrong in every way that clocks are.

use leveret::model::Time;

use super::queue::Micros;

/// Where virtual time begins, in milliseconds after 1970.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// A machine's physical clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct MachineClock {
    /// How far it is ahead, in milliseconds, but for its drift.
    lead_ms: i64,
    /// How much too fast it goes, in parts of a million.
    drift_ppm: i64,
    /// Since when it has had this drift.
    drifting_since: Micros,
    /// The instant at which it stands still, if it does.
    frozen_at: Option<Micros>,
}

impl MachineClock {
    /// What it shows.
    pub fn read(&self, now: Micros) -> Time {
        let now = self.frozen_at.unwrap_or(now);
        let millis = i64::try_from(EPOCH_MS + now.millis()).expect("within some thousand years");
        let shown = millis.saturating_add(self.lead_ms(now));
        Time::from_unix_millis(u64::try_from(shown).unwrap_or(0))
    }

    /// How far it is ahead of the true time, in milliseconds.
    pub fn lead_ms(&self, now: Micros) -> i64 {
        let drifting = now.0.saturating_sub(self.drifting_since.0);
        let drifted = i128::from(drifting) * i128::from(self.drift_ppm) / 1_000_000_000;
        self.lead_ms + i64::try_from(drifted).expect("a drift is small")
    }

    /// Sets it forward, or back if that is negative.
    pub fn jump(&mut self, millis: i64) {
        self.lead_ms += millis;
    }

    /// Makes it go too fast, or too slow, from here on.
    pub fn drift(&mut self, now: Micros, ppm: i64) {
        self.lead_ms = self.lead_ms(now);
        self.drifting_since = now;
        self.drift_ppm = ppm;
    }

    /// Lets it stand still; false if it does already.
    pub fn freeze(&mut self, now: Micros) -> bool {
        let went = self.frozen_at.is_none();
        self.frozen_at.get_or_insert(now);
        went
    }

    /// Lets it go again: it shows what it would show had it never stood still.
    pub fn thaw(&mut self) {
        self.frozen_at = None;
    }

    /// Sets it right in every way.
    pub fn repair(&mut self) {
        *self = Self::default();
    }

    /// In how many microseconds, at the least, it will show `due`; nothing if it stands still.
    /// Whoever waits looks again then.
    pub fn until(&self, now: Micros, due: Time) -> Option<u64> {
        let left = due
            .unix_millis()
            .saturating_sub(self.read(now).unix_millis());
        // Rounded up; the sleeper of a peer looks at its clock at least once a second.
        let wait = left.saturating_add(1).min(SLEEP_MAX_MS) * 1_000;
        (due.0 != u64::MAX).then_some(wait)
    }
}

/// The longest sleep of a peer before it looks at its clock again, in milliseconds.
const SLEEP_MAX_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_drifts_jumps_stands_still_and_is_set_right() {
        let mut clock = MachineClock::default();
        let at = Micros::from_seconds;
        assert_eq!(clock.read(at(5)).unix_millis(), EPOCH_MS + 5_000);
        clock.drift(at(10), 1_000);
        assert_eq!(clock.lead_ms(at(20)), 10);
        clock.jump(-3_000);
        assert_eq!(clock.lead_ms(at(20)), -2_990);
        assert!(clock.freeze(at(20)) && !clock.freeze(at(30)));
        assert_eq!(clock.read(at(20)), clock.read(at(99)));
        clock.thaw();
        assert_eq!(clock.lead_ms(at(30)), -2_980);
        clock.repair();
        assert_eq!(clock.read(at(99)).unix_millis(), EPOCH_MS + 99_000);
    }
}
