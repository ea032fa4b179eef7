//! How many retries a scope may make.

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
pub(super) struct RetryBudget {
    milli: u64,
    at: Instant,
}

impl RetryBudget {
    /// A full budget.
    pub(super) fn new() -> Self {
        Self { milli: SAVED_MILLI, at: Instant::now() }
    }

    /// Counts a first attempt.
    pub(super) fn request(&mut self) {
        self.earn();
        self.milli = (self.milli + PER_REQUEST_MILLI).min(SAVED_MILLI);
    }

    /// Takes one retry out of the budget, if there is one.
    pub(super) fn may_retry(&mut self) -> bool {
        self.earn();
        let left = self.milli.checked_sub(1000);
        self.milli = left.unwrap_or(self.milli);
        left.is_some()
    }

    fn earn(&mut self) {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.at).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let added = passed.saturating_mul(PER_SECOND_MILLI) / 1000;
        if added > 0 {
            self.milli = self.milli.saturating_add(added).min(SAVED_MILLI);
            self.at = now;
        }
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

    fn spend(budget: &mut RetryBudget) -> usize {
        std::iter::repeat_with(|| budget.may_retry()).take_while(|may| *may).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenth_of_requests_and_five_a_second() {
        let mut budget = RetryBudget::new();
        assert_eq!(spend(&mut budget), 300);
        for _ in 0..100 {
            budget.request();
        }
        assert_eq!(spend(&mut budget), 10);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(spend(&mut budget), 10);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(spend(&mut budget), 300);
    }
}
