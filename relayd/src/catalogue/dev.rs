//! A catalogue for what `relayd dev` found on this machine.

use std::collections::BTreeMap;

use crate::domain::{BackendId, Mode, ModelName, RateLimits, Source, Tier, TokenizerSource};
use crate::ledger::Rates;
use crate::wire::{Dialect, EngineKind};

use super::document::{Document, DocumentError, parse};
use super::print::print;
use super::spec::{BackendSpec, Desired, ModelSpec, OfferSpec, ServedModel};

/// The tiers that a new Relay begins with.
pub const SHIPPED_TIERS: &str = include_str!("../../../config/catalogue/tiers.toml");

/// The tier of the developer's own customer: custom, so that its first key is a superkey, and
/// without a rate limit.
pub const DEV_TIER: &str = "dev";

/// Keys of the developer's customer.
const DEV_MAX_KEYS: u32 = 1_000;

/// Requests that may wait for a backend found on this machine.
const DEV_QUEUE: u32 = 256;

/// What a token costs here, in nano-credits for a million: invented, but never zero, so that every
/// answer shows in the ledger. At least 100 ncr a token.
const DEV_RATES: Rates = Rates {
    in_uncached: 150_000_000,
    in_cache_read: 100_000_000,
    in_cache_write_5m: 187_500_000,
    in_cache_write_1h: 300_000_000,
    out_text: 600_000_000,
    out_reasoning: 600_000_000,
};

/// Tokens that a chat template may add to a prompt here.
const DEV_TEMPLATE_OVERHEAD: u64 = 256;

/// A provider's part of each charge here, in basis points.
const DEV_PROVIDER_BPS: u16 = 8_000;

/// Output cap of a request that names none.
const DEV_OUTPUT_DEFAULT: u64 = 1_024;

/// An inference server that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEngine {
    /// What to call it.
    pub name: BackendId,
    /// Its origin.
    pub url: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// What it is.
    pub kind: EngineKind,
    /// Requests it runs at once.
    pub max_concurrency: u32,
    /// What it serves.
    pub models: Vec<FoundModel>,
}

/// A model that a server reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundModel {
    /// Its canonical name.
    pub name: ModelName,
    /// What the server calls it.
    pub upstream: String,
    /// Longest prompt and answer together, in tokens.
    pub context_tokens: u64,
}

/// The document for what was found: the shipped tiers, one tier for the developer, every model on
/// every chat route in mode direct, and the servers.
///
/// # Errors
/// Never for the shipped tiers, which a test reads.
pub fn dev_document(engines: &[FoundEngine]) -> Result<String, DocumentError> {
    let mut desired = parse(&[Document { name: "tiers.toml", toml: SHIPPED_TIERS }])?;
    desired.tiers.push(Tier {
        name: DEV_TIER.to_owned(),
        level: 100,
        custom: true,
        max_keys: DEV_MAX_KEYS,
        weight: 1,
        limits: RateLimits::NONE,
        denied_scopes: Vec::new(),
    });
    desired.models = models(engines);
    desired.backends = engines.iter().map(backend).collect();
    desired.sort();
    Ok(print(&desired))
}

/// A model on several servers is one model, with the smallest of their contexts.
fn models(engines: &[FoundEngine]) -> Vec<ModelSpec> {
    let mut contexts: BTreeMap<&ModelName, u64> = BTreeMap::new();
    for model in engines.iter().flat_map(|engine| &engine.models) {
        let context = contexts.entry(&model.name).or_insert(u64::MAX);
        *context = (*context).min(model.context_tokens.max(1));
    }
    let offer = |source| OfferSpec {
        mode: Mode::Direct,
        source,
        rates: DEV_RATES,
        long: None,
        provider_bps: DEV_PROVIDER_BPS,
    };
    // The servers that count tokens for whoever asks.
    let counts =
        |engine: &&FoundEngine| matches!(engine.kind, EngineKind::Llamacpp | EngineKind::Vllm);
    let tokenizer = |name: &ModelName| {
        let mut serving = engines.iter().filter(counts);
        let engine = serving.find(|engine| engine.models.iter().any(|model| model.name == *name));
        engine.map(|engine| TokenizerSource::Engine(engine.name.clone()))
    };
    let sources = [Source::Ollama, Source::Vllm, Source::Openai, Source::Anthropic];
    let model = |(name, context_tokens): (&ModelName, u64)| ModelSpec {
        name: name.clone(),
        display_name: name.as_str().chars().take(80).collect(),
        tag: "text-to-text".to_owned(),
        retired: false,
        guests: false,
        context_tokens,
        max_output_default: DEV_OUTPUT_DEFAULT.min(context_tokens),
        template_overhead_tokens: DEV_TEMPLATE_OVERHEAD,
        capabilities: Vec::new(),
        tokenizer: tokenizer(name),
        offers: sources.map(offer).to_vec(),
    };
    contexts.into_iter().map(model).collect()
}

fn backend(engine: &FoundEngine) -> BackendSpec {
    let mut models: Vec<ServedModel> = Vec::new();
    for found in &engine.models {
        if models.iter().all(|served| served.model != found.name) {
            let upstream = found.upstream.clone();
            models.push(ServedModel { model: found.name.clone(), upstream });
        }
    }
    BackendSpec {
        name: engine.name.clone(),
        url: engine.url.trim_end_matches('/').to_owned(),
        dialect: engine.dialect,
        engine: engine.kind,
        max_concurrency: engine.max_concurrency.max(1),
        queue: DEV_QUEUE,
        weight: 100,
        credential_file: None,
        models,
    }
}

/// As [`Desired`]: what the shipped tiers say.
///
/// # Errors
/// Never; a test reads them.
pub fn shipped_tiers() -> Result<Desired, DocumentError> {
    parse(&[Document { name: "tiers.toml", toml: SHIPPED_TIERS }])
}

#[cfg(test)]
mod tests {
    use crate::domain::Meter;

    use super::*;

    #[test]
    fn the_shipped_files_read() {
        let tiers = shipped_tiers().unwrap().tiers;
        let told: Vec<_> = tiers
            .iter()
            .map(|t| (t.name.as_str(), t.max_keys, t.limits.direct, t.limits.global, t.custom))
            .collect();
        assert_eq!(
            told,
            [
                ("guest", 0, Some(5), Some(5), false),
                ("basic", 4, Some(15), Some(20), false),
                ("pro", 10, Some(60), Some(80), false),
                ("max", 50, Some(300), Some(400), false),
            ]
        );
        let toml = include_str!("../../../config/catalogue/examples/models.toml");
        let example = parse(&[Document { name: "models.toml", toml }]).unwrap();
        assert_eq!((example.models.len(), example.backends.len()), (1, 1));
        assert_eq!(example.models[0].offers.len(), 2);
    }

    #[test]
    fn what_was_found_can_be_bought_on_all_four_routes() {
        let found = |name: &str, model: &str, context_tokens| FoundEngine {
            name: name.parse().unwrap(),
            url: "http://127.0.0.1:8080/".to_owned(),
            dialect: Dialect::Openai,
            kind: EngineKind::Llamacpp,
            max_concurrency: 4,
            models: vec![FoundModel {
                name: model.parse().unwrap(),
                upstream: "model.gguf".to_owned(),
                context_tokens,
            }],
        };
        let engines = [found("a", "smollm2:135m", 8_192), found("b", "smollm2:135m", 4_096)];
        let toml = dev_document(&engines).unwrap();
        let desired = parse(&[Document { name: "dev.toml", toml: &toml }]).unwrap();
        assert_eq!(desired.models.len(), 1);
        let model = &desired.models[0];
        assert_eq!(model.context_tokens, 4_096);
        let sources: Vec<_> = model.offers.iter().map(|offer| offer.source).collect();
        assert_eq!(sources, [Source::Ollama, Source::Vllm, Source::Openai, Source::Anthropic]);
        for offer in &model.offers {
            assert!(Meter::ALL.iter().all(|&meter| offer.rates.get(meter) >= 100 * 1_000_000));
        }
        assert!(desired.backends.iter().all(|backend| backend.queue >= 256));
        let dev = desired.tiers.iter().find(|tier| tier.name == DEV_TIER).unwrap();
        assert!(dev.custom && dev.limits == RateLimits::NONE);
    }
}
