//! How long to wait before dialling a peer again that could not be reached.

use std::time::Duration;

use rand::Rng;

/// Waiting times that double from a quarter of a second to half a minute, each shortened by chance
/// to no less than its half, so that peers who lost one another together do not dial together.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Longest wait after the first failure.
    pub const FIRST: Duration = Duration::from_millis(250);
    /// Longest wait there is.
    pub const LONGEST: Duration = Duration::from_secs(30);

    /// Begins anew: nothing has failed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a failure, and says how long to wait before the next attempt.
    pub fn failed(&mut self, rng: &mut impl Rng) -> Duration {
        let doubled = Self::FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(!0));
        self.failures = self.failures.saturating_add(1);
        doubled
            .min(Self::LONGEST)
            .mul_f64(rng.random_range(0.5..=1.0))
    }

    /// Notes a success: the next failure counts as the first.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How many attempts have failed since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut backoff = Backoff::new();
        for _ in 0..2 {
            for failures in 0..100 {
                let most = (0.25 * 2_f64.powi(failures)).min(30.0);
                let wait = backoff.failed(&mut rng).as_secs_f64();
                assert!(
                    (most / 2.0 - 1e-6..=most + 1e-6).contains(&wait),
                    "{failures}: {wait}"
                );
            }
            assert_eq!(backoff.failures(), 100);
            backoff.succeeded();
        }
    }

    #[test]
    fn two_that_fail_together_do_not_wait_alike() {
        let [one, two] = [1, 2].map(|seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            Backoff::new().failed(&mut rng)
        });
        assert_ne!(one, two);
    }
}
