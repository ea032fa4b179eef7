//! Keys that were asked for lately.
//!
//! Holds what the store said, for at most [`LIFE`]. A change makes what was read before it stale
//! at once: a look-up that began earlier may come back later, but is not believed then.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use moka::future::Cache;

use crate::domain::{CustomerId, KeyId};
use crate::store::{KeyLogin, Store, StoreError};

use super::principal::KeyPrincipal;

/// How long an answer of the store is believed when nothing was heard of a change.
const LIFE: Duration = Duration::from_secs(30);

/// How long a secret that the store does not know is refused without asking again, and how many
/// of them are remembered.
const UNKNOWN_LIFE: Duration = Duration::from_secs(5);
const UNKNOWN_MAX: u64 = 10_000;

/// Scopes in a key's restrictions that weigh as much as the rest of it.
const SCOPES_PER_UNIT: usize = 16;

/// Longest wait for the store.
const LOAD_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a change is remembered: longer than anything read before it can still be held.
const STALE_LIFE: Duration = Duration::from_secs(60);

/// Changes remembered one by one; beyond it everything held is forgotten at once.
const STALE_MAX: usize = 10_000;

/// A use of a key is noted again after this long, in milliseconds.
const TOUCH_AFTER_MS: i64 = 10_000;

/// Notes of uses that wait to be written; beyond it they are dropped.
const USED_MAX: usize = 100_000;

/// Why there is no key.
#[derive(Clone, Debug)]
pub(super) enum Miss {
    /// The store knows no such secret.
    Unknown,
    /// The store could not be asked.
    Store(StoreError),
}

/// A key as it was read.
#[derive(Debug)]
pub(super) struct Held {
    /// What it may do.
    pub(super) principal: Arc<KeyPrincipal>,
    /// It was revoked.
    pub(super) revoked: bool,
    /// The number of changes when the reading began.
    began: u64,
    noted_ms: AtomicI64,
}

/// The keys.
pub(super) struct KeyCache {
    held: Cache<[u8; 32], Arc<Held>>,
    unknown: Cache<[u8; 32], ()>,
    /// Counts changes.
    changes: AtomicU64,
    stale: RwLock<Stale>,
    used: Mutex<HashMap<KeyId, i64>>,
}

/// What changed lately, each with the number of its change.
#[derive(Default)]
struct Stale {
    keys: HashMap<[u8; 32], (u64, Instant)>,
    customers: HashMap<CustomerId, (u64, Instant)>,
}

impl KeyCache {
    /// An empty cache for this many keys.
    pub(super) fn new(keys: u64) -> Self {
        let weigh = |_: &[u8; 32], held: &Arc<Held>| {
            let scopes = held.principal.denied_scopes.len()
                + held.principal.allowlist.as_ref().map_or(0, Vec::len);
            u32::try_from(1 + scopes / SCOPES_PER_UNIT).unwrap_or(u32::MAX)
        };
        Self {
            held: Cache::builder().max_capacity(keys).weigher(weigh).time_to_live(LIFE).build(),
            unknown: Cache::builder().max_capacity(UNKNOWN_MAX).time_to_live(UNKNOWN_LIFE).build(),
            changes: AtomicU64::new(0),
            stale: RwLock::default(),
            used: Mutex::default(),
        }
    }

    /// The key whose secret has this hash, from here or from the store. Many that ask for the same
    /// one at once ask the store once.
    pub(super) async fn get(&self, store: &Store, hash: &[u8; 32]) -> Result<Arc<Held>, Miss> {
        if let Some(held) = self.held.get(hash).await {
            if self.is_fresh(hash, &held) {
                return Ok(held);
            }
            self.held.invalidate(hash).await;
        }
        if self.unknown.contains_key(hash) {
            return Err(Miss::Unknown);
        }
        let loaded = self.held.try_get_with(*hash, self.load(store, hash)).await;
        match loaded {
            Ok(held) => Ok(held),
            Err(miss) => {
                if matches!(*miss, Miss::Unknown) {
                    self.unknown.insert(*hash, ()).await;
                }
                Err(Miss::clone(&miss))
            }
        }
    }

    async fn load(&self, store: &Store, hash: &[u8; 32]) -> Result<Arc<Held>, Miss> {
        let began = self.changes.load(Ordering::Acquire);
        let late = || Miss::Store(StoreError::Unavailable("a key look-up took too long".into()));
        let login = tokio::time::timeout(LOAD_TIMEOUT, store.key_by_hash(hash))
            .await
            .map_err(|_| late())?
            .map_err(Miss::Store)?
            .ok_or(Miss::Unknown)?;
        let revoked = login.key.revoked_ms.is_some();
        let principal = Arc::new(principal(login));
        Ok(Arc::new(Held { principal, revoked, began, noted_ms: AtomicI64::new(0) }))
    }

    fn is_fresh(&self, hash: &[u8; 32], held: &Held) -> bool {
        let stale = self.stale.read().unwrap_or_else(PoisonError::into_inner);
        let later = |change: Option<&(u64, Instant)>| change.is_some_and(|(n, _)| *n > held.began);
        !later(stale.keys.get(hash)) && !later(stale.customers.get(&held.principal.customer_id))
    }

    /// A key changed.
    pub(super) async fn key_changed(&self, hash: [u8; 32]) {
        let n = self.changes.fetch_add(1, Ordering::AcqRel) + 1;
        if self.mark(|stale| &mut stale.keys, hash, n) {
            self.held.invalidate_all();
        }
        self.held.invalidate(&hash).await;
        self.unknown.invalidate(&hash).await;
    }

    /// A customer changed: so did all its keys.
    pub(super) fn customer_changed(&self, customer: CustomerId) {
        let n = self.changes.fetch_add(1, Ordering::AcqRel) + 1;
        if self.mark(|stale| &mut stale.customers, customer, n) {
            self.held.invalidate_all();
        }
    }

    /// Remembers a change; true when so many came that everything must be forgotten.
    fn mark<K: Eq + Hash>(
        &self,
        of: impl Fn(&mut Stale) -> &mut HashMap<K, (u64, Instant)>,
        what: K,
        n: u64,
    ) -> bool {
        let mut stale = self.stale.write().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let marks = of(&mut stale);
        if marks.len() >= STALE_MAX {
            marks.retain(|_, (_, at)| now.duration_since(*at) < STALE_LIFE);
        }
        let full = marks.len() >= STALE_MAX;
        marks.insert(what, (n, now));
        full
    }

    /// Notes that a key was used.
    pub(super) fn note_use(&self, held: &Held, now_ms: i64) {
        let before = held.noted_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(before) < TOUCH_AFTER_MS {
            return;
        }
        held.noted_ms.store(now_ms, Ordering::Relaxed);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() < USED_MAX {
            used.insert(held.principal.key_id.clone(), now_ms);
        }
    }

    /// Takes the uses noted since the last time.
    pub(super) fn take_used(&self) -> Vec<(KeyId, i64)> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *used).into_iter().collect()
    }
}

fn principal(KeyLogin { key, customer }: KeyLogin) -> KeyPrincipal {
    KeyPrincipal {
        key_id: key.id,
        name: key.name,
        customer_id: customer.id,
        tier: customer.tier,
        // The allowlist is for the keys that a customer hands out, not for its own.
        allowlist: customer.model_allowlist.filter(|_| !key.superkey),
        superkey: key.superkey,
        account_active: customer.status == crate::store::CustomerStatus::Active,
        denied_scopes: key.restrictions.denied_scopes,
        limits: key.restrictions.limits,
        budgeted: key.budget.is_some(),
        warning_threshold: customer.warning_threshold,
    }
}
