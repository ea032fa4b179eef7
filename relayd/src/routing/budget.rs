//! How many retries and second copies a scope may make.

use tokio::time::Instant;

/// What may be spent, in thousandths of one.
#[derive(Clone, Copy, Debug)]
struct Terms {
    /// What one request adds.
    per_request: u64,
    /// What one second adds.
    per_second: u64,
    /// Most that is saved up.
    saved: u64,
}

/// 10 % of requests may be retried, and five a second, so that quiet scopes may retry as well.
/// Saved up is one minute of the steady part: enough that one backend that dies with a full queue
/// (256 requests) can hand all of them over at once.
const RETRIES: Terms = Terms { per_request: 100, per_second: 5_000, saved: 300_000 };

/// 5 % of requests may be sent twice, and no others: where everything is late, a second copy of
/// everything makes it later.
const HEDGES: Terms = Terms { per_request: 50, per_second: 0, saved: 20_000 };

/// A budget: when it is empty, a failing or slow backend's load is not doubled onto the others.
#[derive(Debug)]
pub(super) struct Budget {
    terms: Terms,
    milli: u64,
    at: Instant,
}

/// The budgets of one scope.
#[derive(Debug)]
pub(super) struct Budgets {
    /// Of requests that failed.
    pub(super) retries: Budget,
    /// Of requests that are late.
    pub(super) hedges: Budget,
}

impl Budgets {
    /// Counts a first attempt.
    pub(super) fn request(&mut self) {
        self.retries.request();
        self.hedges.request();
    }
}

impl Default for Budgets {
    fn default() -> Self {
        // Retries begin with all that may be saved, second copies have to be earned.
        let budget = |terms, milli| Budget { terms, milli, at: Instant::now() };
        Self { retries: budget(RETRIES, RETRIES.saved), hedges: budget(HEDGES, 0) }
    }
}

impl Budget {
    fn request(&mut self) {
        self.earn();
        self.milli = (self.milli + self.terms.per_request).min(self.terms.saved);
    }

    /// Whether one is left.
    pub(super) const fn is_left(&self) -> bool {
        self.milli >= 1000
    }

    /// Takes one out, if there is one.
    pub(super) fn may_spend(&mut self) -> bool {
        self.earn();
        let left = self.milli.checked_sub(1000);
        self.milli = left.unwrap_or(self.milli);
        left.is_some()
    }

    fn earn(&mut self) {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.at).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let added = passed.saturating_mul(self.terms.per_second) / 1000;
        if added > 0 {
            self.milli = self.milli.saturating_add(added).min(self.terms.saved);
            self.at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn spend(budget: &mut Budget) -> usize {
        std::iter::repeat_with(|| budget.may_spend()).take_while(|may| *may).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenth_of_requests_and_five_a_second_are_retried() {
        let mut budgets = Budgets::default();
        assert_eq!(spend(&mut budgets.retries), 300);
        for _ in 0..100 {
            budgets.request();
        }
        assert_eq!(spend(&mut budgets.retries), 10);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(spend(&mut budgets.retries), 10);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(spend(&mut budgets.retries), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn one_in_twenty_is_sent_twice_and_time_adds_none() {
        let mut budgets = Budgets::default();
        assert_eq!(spend(&mut budgets.hedges), 0);
        for _ in 0..100 {
            budgets.request();
        }
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(budgets.hedges.is_left());
        assert_eq!(spend(&mut budgets.hedges), 5);
        for _ in 0..100_000 {
            budgets.request();
        }
        assert_eq!(spend(&mut budgets.hedges), 20, "a quiet day is not saved up for a bad minute");
    }
}
