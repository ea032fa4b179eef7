//! Cheap quantiles of times to first byte, over the last one to two minutes.

use std::time::Duration;

use tokio::time::Instant;

/// Buckets of a quarter octave from 1 ms on: 64 of them reach 65 s. A quantile is off by at most
/// a tenth.
const BUCKETS: usize = 64;

/// Buckets in which the time doubles.
const PER_OCTAVE: f64 = 4.0;

/// How long one half is filled before it becomes the older half.
const HALF: Duration = Duration::from_secs(60);

/// Weight of the newest time in the moving average.
const EWMA: f64 = 0.1;

/// Two histograms, the current minute and the one before, and a moving average.
#[derive(Debug)]
pub(crate) struct Sketch {
    now: [u32; BUCKETS],
    before: [u32; BUCKETS],
    since: Option<Instant>,
    ewma_ms: Option<f64>,
}

impl Sketch {
    pub(crate) const fn new() -> Self {
        Self { now: [0; BUCKETS], before: [0; BUCKETS], since: None, ewma_ms: None }
    }

    pub(crate) fn record(&mut self, time: Duration, at: Instant) {
        self.turn(at);
        let ms = time.as_secs_f64() * 1000.0;
        let bucket = &mut self.now[bucket(ms)];
        *bucket = bucket.saturating_add(1);
        self.ewma_ms = Some(self.ewma_ms.map_or(ms, |old| old + EWMA * (ms - old)));
    }

    /// The time below which `share` (0 to 1) of the recent times lie; `None` without any.
    pub(crate) fn quantile(&mut self, share: f64, at: Instant) -> Option<Duration> {
        self.turn(at);
        let counts =
            || self.now.iter().zip(&self.before).map(|(a, b)| u64::from(*a) + u64::from(*b));
        let total: u64 = counts().sum();
        if total == 0 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank between 1 and the total"
        )]
        let rank = ((total as f64 * share).ceil() as u64).clamp(1, total);
        let mut below = 0;
        let index = counts().position(|count| {
            below += count;
            below >= rank
        })?;
        #[expect(clippy::cast_precision_loss, reason = "an index below 64")]
        let middle = ((index as f64 + 0.5) / PER_OCTAVE).exp2();
        Some(Duration::from_secs_f64(middle / 1000.0))
    }

    /// How many recent times it knows.
    pub(crate) fn len(&mut self, at: Instant) -> u64 {
        self.turn(at);
        self.now.iter().chain(&self.before).map(|count| u64::from(*count)).sum()
    }

    /// The moving average.
    pub(crate) fn average(&self) -> Option<Duration> {
        self.ewma_ms.map(|ms| Duration::from_secs_f64(ms / 1000.0))
    }

    fn turn(&mut self, at: Instant) {
        let since = *self.since.get_or_insert(at);
        let passed = at.saturating_duration_since(since);
        if passed < HALF {
            return;
        }
        let fresh = [0; BUCKETS];
        // After two halves without a turn the older one is too old as well.
        self.before = if passed < 2 * HALF { self.now } else { fresh };
        self.now = fresh;
        self.since = Some(at);
    }
}

fn bucket(ms: f64) -> usize {
    let place = (ms.max(1.0).log2() * PER_OCTAVE).floor();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative, and cut to the last bucket"
    )]
    let place = place as usize;
    place.min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_tenth() {
        let mut sketch = Sketch::new();
        let at = Instant::now();
        assert_eq!(sketch.quantile(0.5, at), None);
        for ms in 1..=1000 {
            sketch.record(Duration::from_millis(ms), at);
        }
        for (share, exact) in [(0.5, 500.0), (0.95, 950.0), (0.1, 100.0)] {
            let found = sketch.quantile(share, at).unwrap().as_secs_f64() * 1000.0;
            assert!((found / exact - 1.0).abs() < 0.1, "{share}: {found}");
        }
    }

    #[test]
    fn old_times_are_forgotten() {
        let mut sketch = Sketch::new();
        let at = Instant::now();
        sketch.record(Duration::from_secs(9), at);
        assert!(sketch.quantile(0.5, at + HALF).is_some());
        assert_eq!(sketch.quantile(0.5, at + 2 * HALF), None);
        sketch.record(Duration::from_secs(9), at + 2 * HALF);
        assert_eq!(sketch.quantile(0.5, at + 9 * HALF), None);
    }

    #[test]
    fn times_out_of_range_fall_into_the_last_buckets() {
        assert_eq!(bucket(0.0), 0);
        assert_eq!(bucket(f64::MAX), BUCKETS - 1);
    }
}
