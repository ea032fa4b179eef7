//! `GET /v2/models`, `/v2/models/{name}`, `/v2/pricing` and `/v2/tiers` (contract section 3.5).
//!
//! Each is printed from one snapshot of the catalogue, so that no answer mixes two of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use crate::catalogue::{CatalogueSnapshot, Listing, Model, Offer};
use crate::domain::{Code, Fault, GUEST_TIER, Mode, Ncr, RateLimits, Source};
use crate::ledger::Rates;
use crate::wire::{Surface, request_schema, response_schema};

use super::access::Anyone;
use super::error::Refused;
use super::input::Segment;
use super::money::Usd;
use super::respond::print;
use super::routes::Reads;

/// A family of routes' chat route, as clients are told of it.
#[derive(Clone, Copy, Serialize)]
struct Endpoint {
    method: &'static str,
    path: &'static str,
    operation_id: &'static str,
    model_in_body: bool,
    model_default: Option<&'static str>,
    async_default: bool,
    streams: bool,
}

#[derive(Serialize)]
struct ModelRow<'a> {
    name: &'a str,
    tag: &'a str,
    store_output_supported: bool,
    display_name: &'a str,
    endpoint: Option<Endpoint>,
}

type BySource<'a> = BTreeMap<&'static str, Vec<ModelRow<'a>>>;

#[derive(Serialize)]
struct Models<'a> {
    auto: BySource<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    direct: BySource<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    opengpu: BySource<'a>,
    model_restrictions_per_tier: BTreeMap<&'a str, Vec<String>>,
}

#[derive(Serialize)]
struct ModelDetail<'a> {
    name: &'a str,
    display_name: Option<&'a str>,
    tag: Option<&'a str>,
    modes: Vec<&'static str>,
    sources: Vec<&'static str>,
    endpoint: Option<Endpoint>,
    request_schema: Option<Value>,
    request_schema_url: Option<()>,
    request_example: Option<Value>,
    response_schema: Option<Value>,
    response_schema_url: Option<()>,
    store_output_supported: bool,
    restricted_tiers: Vec<&'a str>,
    pricing: Vec<PriceRow>,
    available: bool,
    status: &'static str,
}

#[derive(Serialize)]
struct Pricing {
    pricing: Vec<PriceRow>,
    total_count: usize,
}

/// A per-token price. A cache rate that is absent is the input rate.
#[derive(Serialize)]
pub(super) struct PriceRow {
    mode: Mode,
    model: String,
    billing_type: &'static str,
    #[serde(flatten)]
    usual: UsualRates,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_tier_threshold: Option<u64>,
    #[serde(flatten)]
    long: Option<LongRates>,
}

#[derive(Serialize)]
struct UsualRates {
    per_1m_input_tokens: Usd,
    per_1m_output_tokens: Usd,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_1m_cached_input_tokens: Option<Usd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_1m_cache_write_5m_input_tokens: Option<Usd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_1m_cache_write_1h_input_tokens: Option<Usd>,
}

#[derive(Serialize)]
struct LongRates {
    per_1m_input_tokens_long: Usd,
    per_1m_output_tokens_long: Usd,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_1m_cached_input_tokens_long: Option<Usd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_1m_cache_write_5m_input_tokens_long: Option<Usd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_1m_cache_write_1h_input_tokens_long: Option<Usd>,
}

#[derive(Serialize)]
struct Tiers<'a> {
    tiers: Vec<TierRow<'a>>,
    current_tier: &'a str,
}

#[derive(Serialize)]
struct TierRow<'a> {
    tier: &'a str,
    model_restrictions: Vec<String>,
    rate_limits: RateLimits,
    max_keys: u32,
}

/// `GET /v2/models`
pub(super) async fn list(State(reads): State<Reads>, _: Anyone) -> Result<Response, Refused> {
    print(&models(&reads.catalogue.snapshot()))
}

/// `GET /v2/models/{name}`; names hold slashes.
pub(super) async fn detail(
    State(reads): State<Reads>,
    _: Anyone,
    Segment(name): Segment,
) -> Result<Response, Refused> {
    let snapshot = reads.catalogue.snapshot();
    let listing = snapshot.listing(&name).ok_or_else(|| not_found(&snapshot, None, &name))?;
    print(&model_detail(&snapshot, listing))
}

/// `GET /v2/pricing`
pub(super) async fn pricing(State(reads): State<Reads>, _: Anyone) -> Result<Response, Refused> {
    let snapshot = reads.catalogue.snapshot();
    let mut rows: Vec<PriceRow> = offers(&snapshot).map(price_row).collect();
    rows.sort_by(|a, b| (a.mode, &a.model).cmp(&(b.mode, &b.model)));
    print(&Pricing { total_count: rows.len(), pricing: rows })
}

/// `GET /v2/tiers`
pub(super) async fn tiers(
    State(reads): State<Reads>,
    Anyone(principal): Anyone,
) -> Result<Response, Refused> {
    let snapshot = reads.catalogue.snapshot();
    let current = principal.key().map_or(GUEST_TIER, |key| key.tier.as_str());
    let public = snapshot.tiers().iter().filter(|tier| !tier.custom);
    let rows = public.map(|tier| TierRow {
        tier: &tier.name,
        model_restrictions: restrictions(&snapshot, &tier.name),
        rate_limits: tier.limits,
        max_keys: tier.max_keys,
    });
    print(&Tiers { tiers: rows.collect(), current_tier: current })
}

/// The refusal of a model that the catalogue does not know, or not on this route.
pub(super) fn not_found(snapshot: &CatalogueSnapshot, source: Option<Source>, name: &str) -> Fault {
    let plain: String = name.chars().take(160).filter(|c| !c.is_control()).collect();
    let near = snapshot.near(source, name).filter(|near| near.as_str() != name);
    let hint = near.map_or_else(String::new, |near| format!(". Did you mean '{near}'?"));
    Fault::new(Code::ModelNotFound, format!("Model '{plain}' not found{hint}"))
}

/// Models that can be bought, with their offers.
pub(super) fn offered(snapshot: &CatalogueSnapshot) -> impl Iterator<Item = &Listing> {
    snapshot.listings().filter(|listing| !listing.offers.is_empty())
}

fn offers(snapshot: &CatalogueSnapshot) -> impl Iterator<Item = &Offer> {
    offered(snapshot).flat_map(|listing| &listing.offers).map(Arc::as_ref)
}

fn models(snapshot: &CatalogueSnapshot) -> Models<'_> {
    let mut answer = Models {
        auto: BySource::new(),
        direct: BySource::new(),
        opengpu: BySource::new(),
        model_restrictions_per_tier: BTreeMap::new(),
    };
    for listing in offered(snapshot) {
        let model = &listing.model;
        for offer in &listing.offers {
            let source = offer.scope.source;
            let modes = match offer.scope.mode {
                Mode::Direct => &mut answer.direct,
                Mode::Opengpu => &mut answer.opengpu,
            };
            modes.entry(source.as_str()).or_default().push(model_row(model, source));
            let auto = answer.auto.entry(source.as_str()).or_default();
            if auto.last().is_none_or(|last| last.name != model.name.as_str()) {
                auto.push(model_row(model, source));
            }
        }
    }
    let public = snapshot.tiers().iter().filter(|tier| !tier.custom);
    answer.model_restrictions_per_tier =
        public.map(|tier| (tier.name.as_str(), restrictions(snapshot, &tier.name))).collect();
    answer
}

fn model_row(model: &Model, source: Source) -> ModelRow<'_> {
    ModelRow {
        name: model.name.as_str(),
        tag: &model.tag,
        store_output_supported: false,
        display_name: &model.display_name,
        endpoint: endpoint(source),
    }
}

fn model_detail<'a>(snapshot: &'a CatalogueSnapshot, listing: &'a Listing) -> ModelDetail<'a> {
    let model = &listing.model;
    let live = !model.retired;
    let mut modes: Vec<&str> = Vec::new();
    let mut sources: Vec<&str> = Vec::new();
    for offer in &listing.offers {
        for (list, word) in
            [(&mut modes, offer.scope.mode.as_str()), (&mut sources, offer.scope.source.as_str())]
        {
            if !list.contains(&word) {
                list.push(word);
            }
        }
    }
    if !modes.is_empty() {
        modes.insert(0, "auto");
    }
    // The format that every client speaks stands for the model where it has several.
    let first = listing
        .offers
        .iter()
        .map(|offer| offer.scope.source)
        .min_by_key(|source| (*source != Source::Openai, *source));
    let endpoint = first.and_then(endpoint);
    let surface = first.and_then(surface);
    let mut prices: Vec<PriceRow> = listing.offers.iter().map(|offer| price_row(offer)).collect();
    prices.sort_by(|a, b| (a.mode, &a.model).cmp(&(b.mode, &b.model)));
    ModelDetail {
        name: model.name.as_str(),
        display_name: live.then_some(&model.display_name),
        tag: live.then_some(&model.tag),
        modes,
        sources,
        endpoint,
        request_schema: surface.map(|surface| schema_for(snapshot, surface)),
        request_schema_url: None,
        request_example: endpoint.map(|_| {
            json!({
                "model": model.name.as_str(),
                "messages": [{"role": "user", "content": "Why is the sky blue?"}],
                "max_tokens": 256,
            })
        }),
        response_schema: surface.map(response_schema),
        response_schema_url: None,
        store_output_supported: false,
        restricted_tiers: snapshot.restricted_tiers(listing),
        pricing: prices,
        available: !listing.offers.is_empty() && snapshot.is_served(&model.name),
        status: if live { "available" } else { "retired" },
    }
}

/// What a route takes, with the models it serves.
fn schema_for(snapshot: &CatalogueSnapshot, of: Surface) -> Value {
    let mut schema = request_schema(of);
    let sold = |listing: &&Listing| {
        listing.offers.iter().any(|offer| surface(offer.scope.source) == Some(of))
    };
    let names: Vec<&str> =
        offered(snapshot).filter(sold).map(|listing| listing.model.name.as_str()).collect();
    schema["properties"]["model"]["x-relay-models"] = names.into();
    schema
}

pub(super) fn price_row(offer: &Offer) -> PriceRow {
    let usd = |ncr: i64| Usd(Ncr::new(ncr));
    let apart = |rate: i64, rates: &Rates| (rate != rates.in_uncached).then(|| usd(rate));
    let usual = &offer.price.rates;
    let long = offer.price.long.as_ref();
    PriceRow {
        mode: offer.scope.mode,
        model: offer.scope.source_model(),
        billing_type: "per_token",
        usual: UsualRates {
            per_1m_input_tokens: usd(usual.in_uncached),
            per_1m_output_tokens: usd(usual.out_text),
            per_1m_cached_input_tokens: apart(usual.in_cache_read, usual),
            per_1m_cache_write_5m_input_tokens: apart(usual.in_cache_write_5m, usual),
            per_1m_cache_write_1h_input_tokens: apart(usual.in_cache_write_1h, usual),
        },
        context_tier_threshold: long.map(|long| long.above_input_tokens),
        long: long.map(|long| &long.rates).map(|rates| LongRates {
            per_1m_input_tokens_long: usd(rates.in_uncached),
            per_1m_output_tokens_long: usd(rates.out_text),
            per_1m_cached_input_tokens_long: apart(rates.in_cache_read, rates),
            per_1m_cache_write_5m_input_tokens_long: apart(rates.in_cache_write_5m, rates),
            per_1m_cache_write_1h_input_tokens_long: apart(rates.in_cache_write_1h, rates),
        }),
    }
}

/// Scopes of the catalogue that a tier may not use.
fn restrictions(snapshot: &CatalogueSnapshot, tier: &str) -> Vec<String> {
    let denied = snapshot.tier(tier).map_or(&[][..], |tier| &tier.denied_scopes);
    let barred = |offer: &&Offer| {
        (tier == GUEST_TIER && !offer.model.guests) || denied.contains(&offer.scope)
    };
    offers(snapshot).filter(barred).map(|offer| offer.scope.to_string()).collect()
}

/// The format of a source's chat route.
const fn surface(source: Source) -> Option<Surface> {
    match source {
        Source::Openai => Some(Surface::Openai),
        Source::Vllm => Some(Surface::Vllm),
        Source::Anthropic => Some(Surface::Anthropic),
        Source::Ollama => Some(Surface::Ollama),
        Source::Audio | Source::Image | Source::Video | Source::Embedding => None,
    }
}

/// The chat route of a source. Operation ids follow the rule and the two exceptions of the
/// contract's section 3.5.
fn endpoint(source: Source) -> Option<Endpoint> {
    let (path, operation_id) = match source {
        Source::Openai => ("/v2/openai/v1/chat/completions", "openai_chat_completions"),
        Source::Vllm => ("/v2/vllm/v1/chat/completions", "vllm_v1_chat_completions"),
        Source::Anthropic => ("/v2/anthropic/v1/messages", "anthropic_messages"),
        Source::Ollama => ("/v2/ollama/api/chat", "ollama_api_chat"),
        Source::Audio | Source::Image | Source::Video | Source::Embedding => return None,
    };
    Some(Endpoint {
        method: "POST",
        path,
        operation_id,
        model_in_body: true,
        model_default: None,
        async_default: false,
        streams: true,
    })
}
