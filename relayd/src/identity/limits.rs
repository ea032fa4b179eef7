//! Requests a minute (contract section 1.3).
//!
//! A request must fit the limit of its mode and the global one; a key may carry lower limits of
//! its own; guests are counted by address. A window lasts one minute from its first request. A
//! refused request is not counted, and is refused before anything is reserved or sent.
//!
//! On SQLite the counts are this process's own; on PostgreSQL all replicas count together.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{Code, CustomerId, Fault, KeyId, Mode, RateLimits};
use crate::store::{Engine, Store};
use crate::telemetry::names;

use super::leases::Leases;
use super::principal::Principal;

/// How long a window lasts.
const WINDOW: Duration = Duration::from_mins(1);

/// What a refused caller is told to wait, in seconds (contract section 1.3).
const RETRY_AFTER_S: u32 = 60;

/// Locks over which the windows are spread, so that requests rarely wait for each other.
const SHARDS: usize = 16;

/// Windows one shard holds in each of its two generations: 16 shards hold 131,072 callers in about
/// 16 MiB. Above it the least recently begun windows are forgotten early, which can only let a
/// caller start anew.
const GENERATION_MAX: usize = 4_096;

/// Counts requests. Shared by every listener.
#[derive(Debug)]
pub(super) enum Limits {
    /// This process alone serves.
    Own(Box<Counts>),
    /// Replicas count together.
    Shared(Leases),
}

/// What this process counted.
#[derive(Debug)]
pub(super) struct Counts {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// All keys of a customer share.
    Customer(CustomerId),
    /// One key, when it carries limits of its own.
    Key(KeyId),
    /// A guest's address; of IPv6 the /64, because one host owns all of it.
    Guest(IpAddr),
}

/// Seconds between two looks for windows that are over.
const LOOKS_PER_FORGET: u32 = 60;

/// Two generations of windows. A window lasts a minute and a generation at least one, so what
/// falls out of the older generation has ended, unless the bound was reached.
#[derive(Debug)]
struct Shard {
    young: HashMap<Subject, Window>,
    old: HashMap<Subject, Window>,
    turned: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    direct: u32,
    opengpu: u32,
}

/// Which limit a request does not fit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Breach {
    Mode { count: u32, limit: u32 },
    Global { count: u32, limit: u32 },
}

impl Default for Limits {
    fn default() -> Self {
        Self::Own(Box::new(Counts::new()))
    }
}

impl Limits {
    /// For a store: shared where other processes may serve from it.
    pub(super) fn of(store: &Store) -> Self {
        match store.engine() {
            Engine::Sqlite => Self::default(),
            Engine::Postgres => Self::Shared(Leases::new(store.clone())),
        }
    }

    /// Counts one request in `mode`, or refuses it. `tier` and `tier_limits` are those of the
    /// caller's tier.
    ///
    /// # Errors
    /// [`Code::RateLimited`] with the contract's text and `Retry-After`; where replicas count
    /// together, also when the database cannot be asked.
    pub(super) async fn admit(
        &self,
        principal: &Principal,
        mode: Mode,
        tier: &str,
        tier_limits: &RateLimits,
    ) -> Result<(), Fault> {
        let of_tier = || format!("tier: {tier}");
        match principal {
            Principal::Guest { addr } => {
                self.count(Subject::Guest(guest_block(*addr)), mode, tier_limits, of_tier).await
            }
            Principal::Key(key) => {
                if key.limits != RateLimits::NONE {
                    let of_key = || "limit of this API key".to_owned();
                    self.count(Subject::Key(key.key_id.clone()), mode, &key.limits, of_key).await?;
                }
                let customer = Subject::Customer(key.customer_id.clone());
                self.count(customer, mode, tier_limits, of_tier).await
            }
        }
    }

    async fn count(
        &self,
        subject: Subject,
        mode: Mode,
        limits: &RateLimits,
        whose: impl FnOnce() -> String,
    ) -> Result<(), Fault> {
        match self {
            Self::Own(counts) => {
                counts.count(subject, mode, limits).map_err(|breach| breach.fault(mode, &whose()))
            }
            Self::Shared(leases) => leases
                .count(subject, mode, limits)
                .await
                .map_err(|refused| refused.fault(mode, &whose())),
        }
    }

    /// What is to be done once a second.
    pub(super) async fn look_after(&self, look: u32) {
        if let Self::Shared(leases) = self {
            leases.return_unused().await;
            if look.is_multiple_of(LOOKS_PER_FORGET) {
                leases.forget_old().await;
            }
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Customer(id) => write!(f, "customer:{id}"),
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Guest(addr) => write!(f, "guest:{addr}"),
        }
    }
}

impl Counts {
    fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::new(Shard::new())),
            hasher: RandomState::new(),
        }
    }

    fn count(&self, subject: Subject, mode: Mode, limits: &RateLimits) -> Result<(), Breach> {
        if *limits == RateLimits::NONE {
            return Ok(());
        }
        let at = self.hasher.hash_one(&subject) as usize % SHARDS;
        let mut shard = self.shards[at].lock().unwrap_or_else(PoisonError::into_inner);
        shard.window(subject, Instant::now()).count(mode, limits)
    }
}

impl Shard {
    fn new() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), turned: Instant::now() }
    }

    /// The caller's window that runs now, begun anew when the last one ended.
    fn window(&mut self, subject: Subject, now: Instant) -> &mut Window {
        if now.duration_since(self.turned) >= WINDOW || self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
            self.turned = now;
        }
        let carried = self.old.remove(&subject);
        let window =
            self.young.entry(subject).or_insert_with(|| carried.unwrap_or(Window::new(now)));
        if now.duration_since(window.began) >= WINDOW {
            *window = Window::new(now);
        }
        window
    }
}

impl Window {
    const fn new(began: Instant) -> Self {
        Self { began, direct: 0, opengpu: 0 }
    }

    fn count(&mut self, mode: Mode, limits: &RateLimits) -> Result<(), Breach> {
        let total = self.direct.saturating_add(self.opengpu).saturating_add(1);
        let of_mode = match mode {
            Mode::Direct => &mut self.direct,
            Mode::Opengpu => &mut self.opengpu,
        };
        let count = of_mode.saturating_add(1);
        if let Some(limit) = limits.of(mode).filter(|&limit| count > limit) {
            return Err(Breach::Mode { count, limit });
        }
        if let Some(limit) = limits.global.filter(|&limit| total > limit) {
            return Err(Breach::Global { count: total, limit });
        }
        *of_mode = count;
        Ok(())
    }
}

impl Breach {
    /// What the caller is told.
    pub(super) fn fault(self, mode: Mode, whose: &str) -> Fault {
        let limit = if matches!(self, Self::Global { .. }) { "global" } else { mode.as_str() };
        metrics::counter!(names::RATE_LIMITED, "limit" => limit).increment(1);
        let text = match self {
            Self::Mode { count, limit } => {
                format!("Rate limit exceeded: {count}/{limit} RPM for {mode} mode ({whose})")
            }
            Self::Global { count, limit } => {
                format!(
                    "Global rate limit exceeded: {count}/{limit} RPM across all modes ({whose})"
                )
            }
        };
        Fault::new(Code::RateLimited, text).retry_after(RETRY_AFTER_S)
    }
}

/// The block of addresses that one guest is taken to own.
fn guest_block(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(_) => addr,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::domain::Ncr;
    use crate::identity::principal::KeyPrincipal;

    use super::*;

    const BASIC: RateLimits = RateLimits { direct: Some(3), opengpu: Some(3), global: Some(4) };

    fn guest(addr: &str) -> Principal {
        Principal::Guest { addr: addr.parse().unwrap() }
    }

    fn key(n: u8, customer: u8, limits: RateLimits) -> Principal {
        Principal::Key(Arc::new(KeyPrincipal {
            key_id: format!("key_{n:016x}").parse().unwrap(),
            name: "k".to_owned(),
            customer_id: format!("cus_{customer:016x}").parse().unwrap(),
            tier: "basic".to_owned(),
            superkey: false,
            account_active: true,
            denied_scopes: Vec::new(),
            allowlist: None,
            limits,
            budgeted: false,
            warning_threshold: Ncr::ZERO,
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_is_a_minute_and_the_text_is_the_contracts() {
        let limits = Limits::default();
        let caller = key(1, 1, RateLimits::NONE);
        let admit = async |mode| limits.admit(&caller, mode, "basic", &BASIC).await;
        for _ in 0..3 {
            admit(Mode::Direct).await.unwrap();
        }
        let fault = admit(Mode::Direct).await.unwrap_err();
        assert_eq!(fault.code, Code::RateLimited);
        assert_eq!(fault.retry_after_s, Some(60));
        assert_eq!(fault.message, "Rate limit exceeded: 4/3 RPM for direct mode (tier: basic)");
        admit(Mode::Opengpu).await.unwrap();
        assert_eq!(
            admit(Mode::Opengpu).await.unwrap_err().message,
            "Global rate limit exceeded: 5/4 RPM across all modes (tier: basic)"
        );
        tokio::time::advance(Duration::from_millis(59_999)).await;
        assert!(admit(Mode::Direct).await.is_err());
        tokio::time::advance(Duration::from_millis(1)).await;
        admit(Mode::Direct).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn keys_of_a_customer_share_and_a_key_may_have_less() {
        let limits = Limits::default();
        let tight = RateLimits { direct: Some(1), ..RateLimits::NONE };
        let (one, two, other) =
            (key(1, 1, tight), key(2, 1, RateLimits::NONE), key(3, 2, RateLimits::NONE));
        let admit = async |who: &Principal| limits.admit(who, Mode::Direct, "basic", &BASIC).await;
        admit(&one).await.unwrap();
        assert_eq!(
            admit(&one).await.unwrap_err().message,
            "Rate limit exceeded: 2/1 RPM for direct mode (limit of this API key)"
        );
        admit(&two).await.unwrap();
        admit(&two).await.unwrap();
        assert!(admit(&two).await.is_err(), "the customer's limit counts both keys");
        admit(&other).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn guests_are_counted_by_address() {
        let limits = Limits::default();
        let one = RateLimits { direct: Some(1), ..RateLimits::NONE };
        let admit =
            async |addr: &str| limits.admit(&guest(addr), Mode::Direct, "guest", &one).await;
        admit("192.0.2.1").await.unwrap();
        assert!(admit("192.0.2.1").await.is_err());
        admit("192.0.2.2").await.unwrap();
        admit("2001:db8::1").await.unwrap();
        assert!(admit("2001:db8::2").await.is_err(), "one /64 is one guest");
        admit("2001:db8:0:1::1").await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_nothing_is_kept_and_the_map_is_bounded() {
        let limits = Limits::default();
        for n in 0..200_000_u32 {
            let addr = IpAddr::V4(n.into());
            limits.admit(&Principal::Guest { addr }, Mode::Direct, "guest", &BASIC).await.unwrap();
        }
        let held = |limits: &Limits| -> usize {
            let Limits::Own(counts) = limits else { return 0 };
            let shards = counts.shards.iter().map(|shard| shard.lock().unwrap());
            shards.map(|shard| shard.young.len() + shard.old.len()).sum()
        };
        assert!(held(&limits) <= 2 * GENERATION_MAX * SHARDS);
        let unlimited = Limits::default();
        unlimited.admit(&guest("192.0.2.1"), Mode::Direct, "dev", &RateLimits::NONE).await.unwrap();
        assert_eq!(held(&unlimited), 0);
    }
}
