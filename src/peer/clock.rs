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
    wrong::shown(Time((since.as_secs() << 32) | fraction))
}

/// In the builds for tests alone: a clock that is wrong. A file that an environment variable names
/// says by how many milliseconds it is ahead, and can be changed while the clock is read.
#[cfg(feature = "faults")]
mod wrong {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    use crate::model::Time;

    pub(super) fn shown(time: Time) -> Time {
        static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
        let file = FILE.get_or_init(|| std::env::var_os("LEVERET_TEST_CLOCK").map(Into::into));
        let text = file
            .as_ref()
            .and_then(|file| std::fs::read_to_string(file).ok());
        let ahead: i64 = text.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        match u64::try_from(ahead) {
            Ok(ahead) => time.plus_millis(ahead),
            Err(_) => Time(
                time.0
                    .saturating_sub(Time(0).plus_millis(ahead.unsigned_abs()).0),
            ),
        }
    }
}

#[cfg(not(feature = "faults"))]
mod wrong {
    use crate::model::Time;

    pub(super) const fn shown(time: Time) -> Time {
        time
    }
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
