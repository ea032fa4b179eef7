//! The catalogue in use: loaded from the store, swapped whole, changed by documents.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::{Code, Fault, PriceId, Scope};
use crate::ledger::Price;
use crate::store::{
    BackendRow, CatalogueRows, Change, Counter, Store, StoreError, Trail, Versioned,
};

use super::diff::{Difference, Noun, diff};
use super::document::{Document, DocumentError, parse};
use super::print::print;
use super::rows;
use super::snapshot::{CatalogueSnapshot, Listing, Model, Offer};
use super::spec::{Desired, ModelSpec, OfferSpec};

/// Time between two looks at the store's counters: how long another replica's change may take to
/// be seen here.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The catalogue. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Catalogue(Arc<Inner>);

struct Inner {
    store: Store,
    current: ArcSwap<CatalogueSnapshot>,
    /// The counters that `current` was read at; also the lock that lets one reload run at a time.
    read_at: Mutex<Option<ReadAt>>,
    swapped: watch::Sender<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct ReadAt {
    catalogue: i64,
    backends: i64,
}

/// What documents ask for, or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What is different.
    pub differences: Vec<Difference>,
    /// Whether it was written.
    pub applied: bool,
}

/// Why documents were not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A mistake in a document.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness for the ids of new prices.
    #[error("no randomness: {0}")]
    Randomness(getrandom::Error),
}

impl From<ApplyError> for Fault {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Document(error) => Self::new(Code::ValidationError, error.to_string()),
            ApplyError::Store(error) => error.into(),
            ApplyError::Randomness(error) => {
                tracing::error!(%error, "the operating system gives no randomness");
                Self::internal()
            }
        }
    }
}

impl Catalogue {
    /// Loads the catalogue.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        let catalogue = Self(Arc::new(Inner {
            store,
            current: ArcSwap::from_pointee(CatalogueSnapshot::default()),
            read_at: Mutex::new(None),
            swapped: watch::Sender::new(0),
        }));
        catalogue.reload().await?;
        Ok(catalogue)
    }

    /// The catalogue as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<CatalogueSnapshot> {
        self.0.current.load_full()
    }

    /// Changes whenever the snapshot was swapped, backends included.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.swapped.subscribe()
    }

    /// Reads the store again if it changed since it was read last.
    ///
    /// # Errors
    /// When the store cannot be read; the old snapshot stays.
    pub async fn reload(&self) -> Result<(), StoreError> {
        let store = &self.0.store;
        let mut read_at = self.0.read_at.lock().await;
        // The counters first: what changes while this reads is read again by the next look.
        let now = ReadAt {
            catalogue: store.counter(Counter::Catalogue).await?,
            backends: store.counter(Counter::Backends).await?,
        };
        if *read_at == Some(now) {
            return Ok(());
        }
        let rows = store.catalogue().await?;
        let backends = store.backends().await?;
        self.0.current.store(Arc::new(snapshot(rows, backends, now_ms())?));
        *read_at = Some(now);
        self.0.swapped.send_modify(|swaps| *swaps = swaps.wrapping_add(1));
        Ok(())
    }

    /// Follows changes of other replicas until `stop`.
    pub async fn watch(self, stop: CancellationToken) {
        let mut reachable = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            match self.reload().await {
                Ok(()) => reachable = true,
                Err(error) if reachable => {
                    reachable = false;
                    tracing::warn!(%error, "the catalogue cannot be read, the last one stays");
                }
                Err(_) => {}
            }
        }
    }

    /// What documents would change.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub async fn plan(&self, documents: &[Document<'_>]) -> Result<Applied, ApplyError> {
        let desired = parse(documents)?;
        let differences = diff(&self.stored().await?, &desired);
        Ok(Applied { differences, applied: false })
    }

    /// Makes the store say what the documents say, as one change, and returns when it survives a
    /// power cut. Changes nothing, and writes no `trail`, where nothing is different.
    ///
    /// # Errors
    /// [`ApplyError`]. A document that another change overtook is a
    /// [`StoreError::Version`]: nothing was written then.
    pub async fn apply(
        &self,
        documents: &[Document<'_>],
        trail: Option<Trail>,
    ) -> Result<Applied, ApplyError> {
        let desired = parse(documents)?;
        let store = &self.0.store;
        let rows = store.catalogue().await?;
        let backends = store.backends().await?;
        let now_ms = now_ms();
        let current = rows::desired(&rows, &backends, now_ms)?;
        let differences = diff(&current, &desired);
        if differences.is_empty() {
            return Ok(Applied { differences, applied: false });
        }
        let changes = changes(&differences, &desired, &rows, &backends, now_ms)?;
        store.write(changes, trail).await?;
        self.reload().await?;
        Ok(Applied { differences, applied: true })
    }

    /// The whole catalogue as a document that, applied, changes nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn export(&self) -> Result<String, StoreError> {
        Ok(print(&self.stored().await?))
    }

    /// Whether nothing was ever applied.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.stored().await? == Desired::default())
    }

    async fn stored(&self) -> Result<Desired, StoreError> {
        let rows = self.0.store.catalogue().await?;
        let backends = self.0.store.backends().await?;
        rows::desired(&rows, &backends, now_ms())
    }
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogue").finish_non_exhaustive()
    }
}

fn snapshot(
    rows: CatalogueRows,
    backends: Vec<Versioned<BackendRow>>,
    now_ms: i64,
) -> Result<CatalogueSnapshot, StoreError> {
    let mut prices: HashMap<Scope, Arc<Price>> = HashMap::new();
    for price in rows::current_prices(rows.prices, now_ms) {
        prices.insert(price.scope.clone(), Arc::new(price));
    }
    let listing = |Versioned { row, version }: Versioned<crate::store::Model>| {
        let scopes: Vec<Scope> = row
            .offers
            .iter()
            .map(|&(mode, source)| Scope { mode, source, model: row.name.clone() })
            .collect();
        let model = Arc::new(Model {
            name: row.name,
            display_name: row.display_name,
            tag: row.tag,
            retired: row.retired,
            guests: row.guests,
            context_tokens: row.context_tokens,
            max_output_default: row.max_output_default,
            template_overhead_tokens: row.template_overhead_tokens,
            capabilities: row.capabilities,
            tokenizer: row.tokenizer,
            version,
        });
        let offer = |scope: Scope| {
            let price = Arc::clone(prices.get(&scope)?);
            Some(Arc::new(Offer { scope, price, model: Arc::clone(&model) }))
        };
        let offers = scopes.into_iter().filter_map(offer).collect();
        Listing { model, offers }
    };
    let backends = backends
        .iter()
        .map(|backend| rows::backend(&backend.row).map(Arc::new))
        .collect::<Result<_, _>>()?;
    Ok(CatalogueSnapshot::new(
        rows.models.into_iter().map(listing),
        rows.tiers.into_iter().map(|tier| Arc::new(tier.row)).collect(),
        backends,
    ))
}

/// The writes that make the differences go away. Each expects the version that was read.
fn changes(
    differences: &[Difference],
    desired: &Desired,
    rows: &CatalogueRows,
    backends: &[Versioned<BackendRow>],
    now_ms: i64,
) -> Result<Vec<Change>, ApplyError> {
    let differs =
        |noun: Noun, name: &str| differences.iter().any(|d| d.noun == noun && d.name == name);
    let mut changes = Vec::new();
    for tier in desired.tiers.iter().filter(|tier| differs(Noun::Tier, &tier.name)) {
        let known = rows.tiers.iter().find(|known| known.row.name == tier.name);
        let expected = Some(known.map_or(0, |known| known.version));
        changes.push(Change::PutTier { tier: tier.clone(), expected });
    }
    for model in &desired.models {
        let known = rows.models.iter().find(|known| known.row.name == model.name);
        let new = rows::model(model);
        if known.is_none_or(|known| known.row != new) {
            let expected = Some(known.map_or(0, |known| known.version));
            changes.push(Change::PutModel { model: new, expected });
        }
        for offer in &model.offers {
            if differs(Noun::Price, &model.scope(offer).to_string()) {
                let price = new_price(model, offer, &rows.prices, now_ms)?;
                changes.push(Change::NewPrice { price, at_ms: now_ms });
            }
        }
    }
    for backend in &desired.backends {
        if differs(Noun::Backend, backend.name.as_str()) {
            let known = backends.iter().find(|known| known.row.id == backend.name);
            let expected = Some(known.map_or(0, |known| known.version));
            changes.push(Change::PutBackend { backend: rows::backend_row(backend), expected });
        }
    }
    Ok(changes)
}

/// A price row that holds from now on, later than every row of its scope.
fn new_price(
    model: &ModelSpec,
    offer: &OfferSpec,
    known: &[Price],
    now_ms: i64,
) -> Result<Price, ApplyError> {
    let scope = model.scope(offer);
    let latest = known.iter().filter(|price| price.scope == scope).map(|p| p.valid_from_ms).max();
    Ok(Price {
        id: price_id()?,
        rates: offer.rates,
        long: offer.long,
        provider_bps: offer.provider_bps,
        valid_from_ms: latest.map_or(now_ms, |latest| now_ms.max(latest.saturating_add(1))),
        scope,
    })
}

fn price_id() -> Result<PriceId, ApplyError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(ApplyError::Randomness)?;
    format!("price_{}", hex::encode(bytes))
        .parse()
        .map_err(|_| ApplyError::Randomness(getrandom::Error::UNEXPECTED))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
