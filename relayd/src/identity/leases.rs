//! Requests a minute, counted by all replicas together.
//!
//! A replica takes a few requests of a caller's window at a time and serves them without asking
//! again; what it does not need it gives back within two seconds. So the sum over all replicas
//! never passes a limit, and a caller is refused early by at most what the other replicas hold.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{Fault, Mode, RateLimits};
use crate::store::{RateWish, Store, StoreError};

use super::limits::{Breach, Subject};

/// How long a lease serves; then what is left of it goes back.
const LIFE: Duration = Duration::from_secs(1);

/// Share of a limit that is taken at a time, and the most requests: small enough that what other
/// replicas hold is little of a limit, large enough that a busy caller rarely waits for the
/// database.
const SHARE: u32 = 16;
const TAKE_MAX: u32 = 32;

/// Callers whose leases are held, about 8 MiB; beyond it every request is counted by itself.
const HELD_MAX: usize = 65_536;

/// The requests that this replica may still serve without asking.
#[derive(Debug)]
pub(super) struct Leases {
    store: Store,
    held: Mutex<HashMap<(Subject, Mode), Lease>>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    left: u32,
    began_ms: i64,
    until: Instant,
}

/// Why a request was not counted.
#[derive(Debug)]
pub(super) enum NotCounted {
    Breach(Breach),
    Store(StoreError),
}

impl NotCounted {
    /// What the caller is told.
    pub(super) fn fault(self, mode: Mode, whose: &str) -> Fault {
        match self {
            Self::Breach(breach) => breach.fault(mode, whose),
            Self::Store(error) => {
                tracing::warn!(%error, "requests of a minute cannot be counted");
                Fault::store_unavailable()
            }
        }
    }
}

impl Leases {
    pub(super) fn new(store: Store) -> Self {
        Self { store, held: Mutex::default() }
    }

    /// Counts one request.
    pub(super) async fn count(
        &self,
        subject: Subject,
        mode: Mode,
        limits: &RateLimits,
    ) -> Result<(), NotCounted> {
        if *limits == RateLimits::NONE {
            return Ok(());
        }
        let key = (subject, mode);
        if let Some(lease) = self.held().get_mut(&key)
            && lease.left > 0
            && Instant::now() < lease.until
        {
            lease.left -= 1;
            return Ok(());
        }
        let (limit, global) = (limits.of(mode), limits.global);
        let least = limit.into_iter().chain(global).min().unwrap_or(0);
        let subject = key.0.to_string();
        let take = (least / SHARE).clamp(1, TAKE_MAX);
        let wish = RateWish { subject, mode, take, limit, global };
        let asked = Instant::now();
        let grant = self.store.take_rate(wish).await.map_err(NotCounted::Store)?;
        let Some(left) = grant.granted.checked_sub(1) else {
            return Err(NotCounted::Breach(match (limit, global) {
                (Some(limit), _) if grant.of_mode >= limit => {
                    Breach::Mode { count: grant.of_mode.saturating_add(1), limit }
                }
                (_, global) => Breach::Global {
                    count: grant.total.saturating_add(1),
                    limit: global.unwrap_or_default(),
                },
            }));
        };
        // Counted from before the question, so that no lease outlives its window.
        let until = asked + LIFE.min(Duration::from_millis(u64::from(grant.left_ms)));
        let lost = self.keep(key, Lease { left, began_ms: grant.began_ms, until });
        if let Some(((subject, mode), lease)) = lost {
            self.give_back(&subject, mode, lease).await;
        }
        Ok(())
    }

    /// Keeps a lease; gives out what must be given back for it.
    fn keep(&self, key: (Subject, Mode), lease: Lease) -> Option<((Subject, Mode), Lease)> {
        if lease.left == 0 {
            return None;
        }
        let mut held = self.held();
        let full = held.len() >= HELD_MAX;
        match held.get_mut(&key) {
            Some(known) if known.began_ms == lease.began_ms => {
                known.left = known.left.saturating_add(lease.left);
                known.until = lease.until;
                None
            }
            // Of a window that is over: nothing is worth giving back.
            Some(known) => {
                *known = lease;
                None
            }
            None if full => Some((key, lease)),
            None => {
                held.insert(key, lease);
                None
            }
        }
    }

    /// Gives back what was not needed in time.
    pub(super) async fn return_unused(&self) {
        let now = Instant::now();
        let over: Vec<_> = self.held().extract_if(|_, lease| lease.until <= now).collect();
        for ((subject, mode), lease) in over {
            self.give_back(&subject, mode, lease).await;
        }
    }

    /// Forgets windows that ended a while ago, for all replicas.
    pub(super) async fn forget_old(&self) {
        if let Err(error) = self.store.forget_rates().await {
            tracing::debug!(%error, "old windows cannot be forgotten");
        }
    }

    async fn give_back(&self, subject: &Subject, mode: Mode, lease: Lease) {
        if lease.left == 0 {
            return;
        }
        let subject = subject.to_string();
        let given = self.store.return_rate(&subject, mode, lease.began_ms, lease.left).await;
        if let Err(error) = given {
            // They stay counted until the window ends: early refusals, never late ones.
            tracing::debug!(%error, "unused requests cannot be given back");
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<(Subject, Mode), Lease>> {
        // Every section leaves the map whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::fixture::Fixture;

    const LIMITS: RateLimits = RateLimits { direct: Some(40), opengpu: Some(40), global: Some(50) };

    fn caller() -> Subject {
        Subject::Customer("cus_0000000000000001".parse().unwrap())
    }

    async fn served(leases: &Leases, mode: Mode, most: usize) -> usize {
        for count in 0..most {
            if leases.count(caller(), mode, &LIMITS).await.is_err() {
                return count;
            }
        }
        most
    }

    #[tokio::test]
    async fn replicas_together_serve_what_the_limit_says_and_never_more() {
        let fixture = Fixture::postgres().await;
        let (one, two) = (fixture.open().await, fixture.open().await);
        let (here, there) = (Leases::new(one.clone()), Leases::new(two.clone()));
        // Both at once, several callers each: nobody serves a request that was not counted.
        let (first, second) =
            tokio::join!(served(&here, Mode::Direct, 100), served(&there, Mode::Direct, 100));
        let both = first + second;
        let held: u32 = [&here, &there]
            .iter()
            .flat_map(|leases| leases.held().values().map(|lease| lease.left).collect::<Vec<_>>())
            .sum();
        assert_eq!(both + usize::try_from(held).unwrap(), 40);
        assert!(held <= 2, "a refusal comes early by what the other holds at most: {held}");
        let refused = here.count(caller(), Mode::Direct, &LIMITS).await.unwrap_err();
        assert_eq!(
            refused.fault(Mode::Direct, "tier: basic").message,
            "Rate limit exceeded: 41/40 RPM for direct mode (tier: basic)"
        );
        // The other mode has what the global limit leaves.
        assert_eq!(served(&there, Mode::Opengpu, 100).await, 10);
        let refused = there.count(caller(), Mode::Opengpu, &LIMITS).await.unwrap_err();
        assert_eq!(
            refused.fault(Mode::Opengpu, "tier: basic").message,
            "Global rate limit exceeded: 51/50 RPM across all modes (tier: basic)"
        );
        one.close().await;
        two.close().await;
    }

    #[tokio::test]
    async fn what_is_not_needed_goes_back() {
        let fixture = Fixture::postgres().await;
        let store = fixture.open().await;
        let (here, there) = (Leases::new(store.clone()), Leases::new(store.clone()));
        here.count(caller(), Mode::Direct, &LIMITS).await.unwrap();
        assert_eq!(here.held().values().next().unwrap().left, 1);
        // As if its second had passed.
        for lease in here.held().values_mut() {
            lease.until = Instant::now();
        }
        here.return_unused().await;
        assert!(here.held().is_empty());
        assert_eq!(served(&there, Mode::Direct, 100).await, 39);
        store.close().await;
    }

    #[tokio::test]
    async fn without_the_database_nobody_is_let_in_uncounted() {
        let fixture = Fixture::postgres().await;
        let store = fixture.open().await;
        let leases = Leases::new(store.clone());
        store.close().await;
        let refused = leases.count(caller(), Mode::Direct, &LIMITS).await.unwrap_err();
        assert_eq!(refused.fault(Mode::Direct, "").code, crate::domain::Code::ServiceUnavailable);
    }
}
