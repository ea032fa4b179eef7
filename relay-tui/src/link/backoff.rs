//! How long to wait before the next attempt.

use std::time::Duration;

/// Doubles from `first` to `most`; the wait is a uniform share of that (full jitter), so that many
/// consoles do not come back at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), most: Duration::from_secs(10) }
    }
}

impl Backoff {
    /// The longest wait after this many failures in a row.
    pub(crate) fn ceiling(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.first.saturating_mul(1 << doublings).min(self.most)
    }

    /// The wait; `chance` is uniform over all of `u32`.
    pub(crate) fn delay(&self, failures: u32, chance: u32) -> Duration {
        self.ceiling(failures).mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_ten_seconds_and_stays_there() {
        let ceilings: Vec<_> =
            (1..9).map(|failures| Backoff::default().ceiling(failures).as_millis()).collect();
        assert_eq!(ceilings, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]);
        assert_eq!(Backoff::default().ceiling(u32::MAX).as_secs(), 10);
    }

    #[test]
    fn the_jitter_is_full() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay(4, 0), Duration::ZERO);
        assert_eq!(backoff.delay(4, u32::MAX), Duration::from_secs(4));
        let half = backoff.delay(4, u32::MAX / 2).as_millis();
        assert!((1_999..=2_000).contains(&half), "{half}");
    }
}
