//! Further places for a request that has one: at once or not at all, and never twice with one owner.

use std::sync::Arc;
use std::time::Duration;

use super::budget::Budgets;
use super::{Ask, Attempt, Permit, Router};
use crate::domain::{BackendId, Scope};
use crate::fleet::Backend;

/// Least recent answers of a backend by which it is known when one is late.
const KNOWN_BY: u64 = 20;

/// A request is not late before this, whatever is usual: a second copy would not be sooner.
const LATE_MIN: Duration = Duration::from_millis(20);

impl Router {
    /// After what time without content a request of this scope is later than 95 of 100 usually are:
    /// the middle one of what that is on each of its backends, the lower where they are even. None
    /// before enough was seen.
    #[must_use]
    pub fn late_after(&self, scope: &Scope) -> Option<Duration> {
        let snapshot = self.shared.fleet.snapshot();
        let known = snapshot.serving(scope).iter().filter(|backend| backend.is_open());
        let mut known: Vec<Duration> =
            known.filter_map(|backend| backend.runtime.late_after(KNOWN_BY)).collect();
        known.sort_unstable();
        known.get(known.len().saturating_sub(1) / 2).map(|late| (*late).max(LATE_MIN))
    }

    /// The backends of a scope that are in the same hands as those: each itself, and of a provider
    /// all. The operator's own are each for themselves.
    #[must_use]
    pub fn beside(&self, scope: &Scope, taken: &[Arc<Backend>]) -> Vec<BackendId> {
        let snapshot = self.shared.fleet.snapshot();
        let same = |backend: &&Arc<Backend>| {
            taken.iter().any(|taken| {
                let provider = backend.provider();
                taken.id() == backend.id() || (provider.is_some() && provider == taken.provider())
            })
        };
        snapshot.serving(scope).iter().filter(same).map(|backend| backend.id().clone()).collect()
    }

    /// A place that is free now; none where the request would have to wait.
    #[must_use]
    pub fn admit_now(&self, ask: &Ask<'_>) -> Option<Permit> {
        match self.attempt(ask, false) {
            Ok(Attempt::Granted(grant)) => Some(self.permit(grant, Duration::ZERO)),
            Ok(Attempt::Waits(..)) | Err(_) => None,
        }
    }

    /// The same for a second copy of a late request, within the scope's budget of those: one for
    /// twenty requests.
    #[must_use]
    pub fn hedge(&self, ask: &Ask<'_>) -> Option<Permit> {
        let left = |budgets: &Budgets| budgets.hedges.is_left();
        if !self.shared.desk().budgets.get(ask.scope).is_some_and(left) {
            return None;
        }
        let permit = self.admit_now(ask)?;
        // Between the look and here another may have taken the last one; then there is one more.
        if let Some(budgets) = self.shared.desk().budgets.get_mut(ask.scope) {
            budgets.hedges.may_spend();
        }
        Some(permit)
    }
}
