//! Between the store's rows and what documents say.

use std::collections::BTreeMap;

use crate::domain::Scope;
use crate::engines::AgentAddress;
use crate::ledger::Price;
use crate::store::{
    BackendModel, BackendRow, CatalogueRows, IntakeRow, Model as ModelRow, StoreError, Versioned,
};

use super::spec::{BackendSpec, Desired, ModelSpec, OfferSpec, ServedModel};

/// Of each scope the price row that holds at `now_ms`: of those that have begun the latest, or the
/// first where none has, so that a clock that was set back leaves no offer without a price.
pub(super) fn current_prices(prices: Vec<Price>, now_ms: i64) -> impl Iterator<Item = Price> {
    let mut current: BTreeMap<Scope, Price> = BTreeMap::new();
    for price in prices {
        match current.get(&price.scope) {
            Some(held)
                if price.valid_from_ms > now_ms || price.valid_from_ms < held.valid_from_ms => {}
            _ => {
                current.insert(price.scope.clone(), price);
            }
        }
    }
    current.into_values()
}

/// The catalogue as documents would say it.
pub(super) fn desired(
    rows: &CatalogueRows,
    backends: &[Versioned<BackendRow>],
    now_ms: i64,
) -> Result<Desired, StoreError> {
    let prices: BTreeMap<Scope, Price> = current_prices(rows.prices.clone(), now_ms)
        .map(|price| (price.scope.clone(), price))
        .collect();
    let model = |row: &ModelRow| {
        let offer = |&(mode, source)| {
            let scope = Scope { mode, source, model: row.name.clone() };
            let price = prices.get(&scope)?;
            let provider_bps = price.provider_bps;
            Some(OfferSpec { mode, source, rates: price.rates, long: price.long, provider_bps })
        };
        ModelSpec {
            name: row.name.clone(),
            display_name: row.display_name.clone(),
            tag: row.tag.clone(),
            retired: row.retired,
            guests: row.guests,
            context_tokens: row.context_tokens,
            max_output_default: row.max_output_default,
            template_overhead_tokens: row.template_overhead_tokens,
            capabilities: row.capabilities.clone(),
            tokenizer: row.tokenizer.clone(),
            offers: row.offers.iter().filter_map(offer).collect(),
        }
    };
    let mut desired = Desired {
        tiers: rows.tiers.iter().map(|tier| tier.row.clone()).collect(),
        models: rows.models.iter().map(|known| model(&known.row)).collect(),
        backends: backends
            .iter()
            // Providers' engines follow from approvals, not from documents.
            .filter(|known| !AgentAddress::is_meant(&known.row.url))
            .map(|known| backend(&known.row))
            .collect::<Result<_, _>>()?,
    };
    desired.sort();
    Ok(desired)
}

/// The row of a model.
pub(super) fn model(spec: &ModelSpec) -> ModelRow {
    ModelRow {
        name: spec.name.clone(),
        display_name: spec.display_name.clone(),
        tag: spec.tag.clone(),
        retired: spec.retired,
        guests: spec.guests,
        context_tokens: spec.context_tokens,
        max_output_default: spec.max_output_default,
        template_overhead_tokens: spec.template_overhead_tokens,
        capabilities: spec.capabilities.clone(),
        tokenizer: spec.tokenizer.clone(),
        offers: spec.offers.iter().map(|offer| (offer.mode, offer.source)).collect(),
    }
}

/// What a backend's row says.
pub(super) fn backend(row: &BackendRow) -> Result<BackendSpec, StoreError> {
    let unknown = |what: &str| StoreError::Internal(format!("backend {}: unknown {what}", row.id));
    let served = |served: &BackendModel| ServedModel {
        model: served.model.clone(),
        upstream: served.upstream.clone(),
    };
    Ok(BackendSpec {
        name: row.id.clone(),
        url: row.url.clone(),
        dialect: row.dialect.parse().map_err(|_| unknown("dialect"))?,
        engine: row.engine.parse().map_err(|_| unknown("engine"))?,
        max_concurrency: row.max_concurrency,
        queue: row.queue,
        weight: row.weight,
        credential_file: row.credential_file.clone(),
        models: row.models.iter().map(served).collect(),
    })
}

/// The row of a backend. A new one takes requests; the intake of a known one stays as it is.
pub(super) fn backend_row(spec: &BackendSpec) -> BackendRow {
    let served = |served: &ServedModel| BackendModel {
        model: served.model.clone(),
        upstream: served.upstream.clone(),
    };
    BackendRow {
        id: spec.name.clone(),
        url: spec.url.clone(),
        dialect: spec.dialect.as_str().to_owned(),
        engine: spec.engine.as_str().to_owned(),
        max_concurrency: spec.max_concurrency,
        queue: spec.queue,
        weight: spec.weight,
        intake: IntakeRow::Open,
        credential_file: spec.credential_file.clone(),
        models: spec.models.iter().map(served).collect(),
        deployment: String::new(),
        drain_until_ms: None,
    }
}
