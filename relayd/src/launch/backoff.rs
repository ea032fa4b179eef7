//! How long to wait before a child is started again.

use std::time::Duration;

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

/// Pause after the first failure.
const FIRST: Duration = Duration::from_millis(500);

/// Longest pause: an operator who mends a cause should not wait for a minute.
const LONGEST: Duration = Duration::from_secs(30);

/// A child that ran this long was healthy; its next failure is a first one again.
const HEALTHY: Duration = Duration::from_secs(60);

/// Pauses between restarts: from half a second, doubled each time, at most 30 s, each varied by a
/// fifth so that children that fell together do not rise together.
#[derive(Debug)]
pub struct Backoff {
    failures: u32,
    rng: SmallRng,
}

impl Backoff {
    /// A backoff whose variation follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { failures: 0, rng: SmallRng::seed_from_u64(seed) }
    }

    /// The pause after a child that ran for `ran`.
    pub fn pause(&mut self, ran: Duration) -> Duration {
        if ran >= HEALTHY {
            self.failures = 0;
        }
        let doubled = FIRST.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let varied = doubled.min(LONGEST).mul_f64(self.rng.random_range(0.8..1.2));
        varied.clamp(FIRST, LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_start_over_after_a_healthy_minute() {
        let mut backoff = Backoff::new(1);
        let pauses: Vec<_> = (0..12).map(|_| backoff.pause(Duration::ZERO)).collect();
        assert!(pauses[0] <= FIRST.mul_f64(1.2), "{pauses:?}");
        assert!(pauses.windows(2).take(5).all(|pair| pair[0] < pair[1]), "{pauses:?}");
        assert!(pauses.iter().all(|pause| (FIRST..=LONGEST).contains(pause)), "{pauses:?}");
        assert!(pauses[11] >= LONGEST.mul_f64(0.8), "{pauses:?}");
        assert!(backoff.pause(HEALTHY) <= FIRST.mul_f64(1.2));
    }
}
