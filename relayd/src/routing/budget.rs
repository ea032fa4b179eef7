//! How many retries a scope may make.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// What one request adds, in thousandths of a retry: 10 % of requests may be retried.
const PER_REQUEST_MILLI: u64 = 100;

/// What one second adds, in thousandths: quiet scopes may retry as well.
const PER_SECOND_MILLI: u64 = 5_000;

/// Most that is saved up, in thousandths: one minute of the steady part. Enough that one backend
/// that dies with a full queue (256 requests) can hand all of them over at once.
const SAVED_MILLI: u64 = 60 * PER_SECOND_MILLI;

/// A budget of retries: when it is empty, a failing backend's load is not doubled onto the others.
#[derive(Debug)]
pub struct RetryBudget(Mutex<Saved>);

#[derive(Debug)]
struct Saved {
    milli: u64,
    at: Instant,
}

impl RetryBudget {
    /// A full budget.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new(Saved { milli: SAVED_MILLI, at: Instant::now() }))
    }

    /// Counts a first attempt.
    pub(crate) fn request(&self) {
        self.with(|saved| saved.milli = (saved.milli + PER_REQUEST_MILLI).min(SAVED_MILLI));
    }

    /// Takes one retry out of the budget, if there is one.
    pub fn may_retry(&self) -> bool {
        self.with(|saved| {
            let left = saved.milli.checked_sub(1000);
            saved.milli = left.unwrap_or(saved.milli);
            left.is_some()
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Saved) -> T) -> T {
        let mut saved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let passed = now.saturating_duration_since(saved.at).as_millis();
        let added =
            u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(PER_SECOND_MILLI) / 1000;
        if added > 0 {
            saved.milli = saved.milli.saturating_add(added).min(SAVED_MILLI);
            saved.at = now;
        }
        change(&mut saved)
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn spend(budget: &RetryBudget) -> usize {
        std::iter::repeat_with(|| budget.may_retry()).take_while(|may| *may).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenth_of_requests_and_five_a_second() {
        let budget = RetryBudget::new();
        assert_eq!(spend(&budget), 300);
        for _ in 0..100 {
            budget.request();
        }
        assert_eq!(spend(&budget), 10);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(spend(&budget), 10);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(spend(&budget), 300);
    }
}
