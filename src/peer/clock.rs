//! Time and chance: the one place of the peer that reads the machine's clocks and draws random
//! bytes. Everything below takes both as arguments.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom, SystemRandom};

use crate::model::Time;

/// The wall clock, as a replica wants it. A clock before 1970 reads as 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the peer reads the clock for the floors below"
)]
pub(super) fn now() -> Time {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    Time((since.as_secs() << 32) | fraction)
}

/// The clock that only goes forward, for intervals.
#[expect(
    clippy::disallowed_methods,
    reason = "the peer measures its own intervals"
)]
pub(super) fn instant() -> Instant {
    Instant::now()
}

/// Bytes that nobody can guess, from the operating system.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_reads_in_this_century_and_goes_on() {
        let first = now();
        assert!(first > Time::from_unix_millis(1_700_000_000_000));
        assert!(now() >= first);
        assert_ne!(random::<16>(), random::<16>());
    }
}
