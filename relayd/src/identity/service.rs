//! One handle for everything about who asks.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use crate::balance::Class;
use crate::catalogue::Catalogue;
use crate::domain::{Code, Fault, GUEST_TIER, KeyId, Mode, Ncr, Tier};
use crate::store::{Counter, Store, StoreError};

use super::cache::{Held, KeyCache, Miss};
use super::limits::Limits;
use super::principal::{Credential, KeyPrincipal, Principal};
use super::secret::{Peppers, SecretKind};

/// Time between two looks at the store's counters: how long a revocation made on another replica
/// may take to be heard here.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Looks between two writes of when keys were last used.
const LOOKS_PER_FLUSH: u32 = 10;

/// Who asks, and what they may do. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Identity(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) catalogue: Catalogue,
    pub(super) peppers: Peppers,
    pub(super) keys: KeyCache,
    limits: Limits,
}

impl Identity {
    /// Keys and customers of `store`, tiers of `catalogue`. Holds at most `key_cache` keys in
    /// memory.
    #[must_use]
    pub fn new(store: Store, catalogue: Catalogue, peppers: Peppers, key_cache: u64) -> Self {
        let keys = KeyCache::new(key_cache);
        let limits = Limits::of(&store);
        Self(Arc::new(Inner { store, catalogue, peppers, keys, limits }))
    }

    /// Who presented this.
    ///
    /// # Errors
    /// The contract's 401s: unknown key, revoked key, unknown token. A suspended account is 403.
    /// A store that cannot be asked is 503 and never a 401.
    pub async fn authenticate(
        &self,
        credential: Credential<'_>,
        addr: IpAddr,
    ) -> Result<Principal, Fault> {
        let secret = match credential {
            Credential::None => return Ok(Principal::Guest { addr }),
            Credential::Token(_) => {
                return Err(Fault::new(Code::InvalidToken, "Invalid or expired token"));
            }
            Credential::Key(secret) => secret,
        };
        let held = self.find(secret).await?;
        if held.revoked {
            return Err(Fault::new(
                Code::KeyRevoked,
                "This API key has been revoked. Use another key, or have it unrevoked.",
            ));
        }
        if !held.principal.account_active {
            return Err(Fault::new(Code::AccountInactive, "This account is suspended"));
        }
        self.0.keys.note_use(&held, now_ms());
        Ok(Principal::Key(Arc::clone(&held.principal)))
    }

    async fn find(&self, secret: &str) -> Result<Arc<Held>, Fault> {
        let unknown = || Fault::new(Code::InvalidApiKey, "Invalid API key");
        if !SecretKind::ApiKey.matches(secret) {
            return Err(unknown());
        }
        let Inner { store, peppers, keys, .. } = &*self.0;
        let first = peppers.digest(secret);
        for digest in std::iter::once(first).chain(peppers.older_digests(secret)) {
            match keys.get(store, &digest.hmac).await {
                Ok(held) => return Ok(held),
                Err(Miss::Unknown) => {}
                Err(Miss::Store(error)) => {
                    tracing::warn!(%error, "a key cannot be looked up");
                    return Err(Fault::store_unavailable());
                }
            }
        }
        Err(unknown())
    }

    /// Refuses a key whose own budget is used up. Costs one read for keys that have one, none for
    /// others.
    ///
    /// # Errors
    /// [`Code::KeyBudgetExhausted`].
    pub async fn check_budget(&self, key: &KeyPrincipal) -> Result<(), Fault> {
        if !key.budgeted {
            return Ok(());
        }
        let available = self.0.store.available(&key.customer_id, Some(&key.key_id)).await?;
        match available.budget {
            Some(budget) if budget <= Ncr::ZERO => Err(Fault::new(
                Code::KeyBudgetExhausted,
                "The budget of this API key is used up. Top up the key to continue.",
            )),
            _ => Ok(()),
        }
    }

    /// Whether the customer's credit is below the threshold it set.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn is_low(&self, key: &KeyPrincipal) -> Result<bool, Fault> {
        if key.warning_threshold <= Ncr::ZERO {
            return Ok(false);
        }
        let available = self.0.store.available(&key.customer_id, None).await?;
        Ok(available.credit < key.warning_threshold)
    }

    /// When the caller's requests give way to others, and what share he has against those that give
    /// way as he does (see [`CatalogueSnapshot::class`]).
    ///
    /// [`CatalogueSnapshot::class`]: crate::catalogue::CatalogueSnapshot::class
    #[must_use]
    pub fn class_and_weight(&self, principal: &Principal) -> (Class, u32) {
        let Some(key) = principal.key() else { return (Class::Free, 1) };
        let snapshot = self.0.catalogue.snapshot();
        (snapshot.class(&key.tier), snapshot.tier(&key.tier).map_or(1, |tier| tier.weight))
    }

    /// Counts one request against the caller's limits.
    ///
    /// # Errors
    /// [`Code::RateLimited`]; [`Code::ServiceUnavailable`] when the replicas' common count cannot be
    /// read.
    pub async fn admit(&self, principal: &Principal, mode: Mode) -> Result<(), Fault> {
        let name = principal.key().map_or(GUEST_TIER, |key| key.tier.as_str());
        let snapshot = self.0.catalogue.snapshot();
        // A guest tier that nobody declared lets nobody in; a customer's tier cannot be missing.
        let tier = snapshot.tier(name).ok_or_else(|| {
            Fault::new(
                Code::TierFeatureUnavailable,
                format!("Tier '{name}' is not served by this deployment"),
            )
        })?;
        self.0.limits.admit(principal, mode, name, &tier.limits).await
    }

    /// Follows changes of other replicas and writes when keys were last used, until `stop`.
    pub async fn watch(self, stop: CancellationToken) {
        let mut seen = Seen::nothing();
        for look in 1_u32.. {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            match self.look(&mut seen).await {
                Ok(()) => seen.reachable = true,
                Err(error) if seen.reachable => {
                    seen.reachable = false;
                    tracing::warn!(%error, "changes of keys cannot be read");
                }
                Err(_) => {}
            }
            self.0.limits.look_after(look).await;
            if look % LOOKS_PER_FLUSH == 0 {
                self.flush().await;
            }
        }
        self.flush().await;
    }

    pub(super) async fn look(&self, seen: &mut Seen) -> Result<(), StoreError> {
        let store = &self.0.store;
        // The first look takes everything as changed that could have been read before it.
        let since = match seen.keys {
            Some(since) => since,
            None => store.counter(Counter::Keys).await?.saturating_sub(FIRST_LOOK_BACK),
        };
        let (hashes, now) = store.keys_changed(since).await?;
        for hash in hashes {
            self.0.keys.key_changed(hash).await;
        }
        seen.keys = Some(now);
        let since = match seen.customers {
            Some(since) => since,
            None => store.counter(Counter::Customers).await?.saturating_sub(FIRST_LOOK_BACK),
        };
        let (customers, now) = store.customers_changed(since).await?;
        for customer in customers {
            self.0.keys.customer_changed(customer.id);
        }
        seen.customers = Some(now);
        Ok(())
    }

    async fn flush(&self) {
        let used = self.0.keys.take_used();
        if used.is_empty() {
            return;
        }
        if let Err(error) = self.0.store.touch_keys(used).await {
            tracing::debug!(%error, "uses of keys cannot be written");
        }
    }

    pub(super) fn tier(&self, name: &str) -> Result<Arc<Tier>, Fault> {
        self.0.catalogue.snapshot().tier(name).cloned().ok_or_else(|| {
            Fault::new(Code::FailedPrecondition, format!("there is no tier '{name}'"))
        })
    }
}

/// Changes looked back at by the first look of a process.
const FIRST_LOOK_BACK: i64 = 1_000;

#[derive(Debug)]
pub(super) struct Seen {
    keys: Option<i64>,
    customers: Option<i64>,
    reachable: bool,
}

impl Seen {
    pub(super) const fn nothing() -> Self {
        Self { keys: None, customers: None, reachable: true }
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Sixteen hex digits after a prefix, from the operating system's randomness.
pub(super) fn random_id(prefix: &str) -> Result<String, Fault> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| no_randomness(&error))?;
    Ok(format!("{prefix}{}", hex::encode(bytes)))
}

pub(super) fn no_randomness(error: &getrandom::Error) -> Fault {
    tracing::error!(%error, "the operating system gives no randomness");
    Fault::internal()
}

pub(super) fn key_id() -> Result<KeyId, Fault> {
    random_id("key_")?.parse().map_err(|_| Fault::internal())
}
