//! What a catalogue says, free of where it is written: models with offers and prices, tiers,
//! backends.

use crate::domain::{BackendId, Mode, ModelName, Scope, Source, Tier, TokenizerSource};
use crate::ledger::{LongContext, Rates};
use crate::wire::{Dialect, EngineKind};

/// One way to buy a model: a mode and a family of routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferSpec {
    /// Where it runs.
    pub mode: Mode,
    /// Which family of routes it answers.
    pub source: Source,
    /// What a million tokens cost, in nano-credits.
    pub rates: Rates,
    /// What they cost when the prompt is long.
    pub long: Option<LongContext>,
    /// The part of each charge that a provider earns, in basis points, 0 to 10,000.
    pub provider_bps: u16,
}

/// A model and all its offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    /// Its canonical name.
    pub name: ModelName,
    /// Its name for people.
    pub display_name: String,
    /// What it turns into what: `text-to-text`.
    pub tag: String,
    /// Withdrawn: still described, no longer served.
    pub retired: bool,
    /// Usable without a credential.
    pub guests: bool,
    /// Longest prompt and answer together, in tokens.
    pub context_tokens: u64,
    /// Output cap, in tokens, of a request that names none.
    pub max_output_default: u64,
    /// Tokens that the engine's chat template may add to the text of a prompt.
    pub template_overhead_tokens: u64,
    /// What it can do beyond text: `tools`, `vision`, `reasoning`, ...
    pub capabilities: Vec<String>,
    /// Where its tokenizer is; without one no independent provider serves it.
    pub tokenizer: Option<TokenizerSource>,
    /// Its offers, at most one per mode and source.
    pub offers: Vec<OfferSpec>,
}

/// An inference server that relayd calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSpec {
    /// Its name.
    pub name: BackendId,
    /// Its origin, with a path when it is mounted under one.
    pub url: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// Which server it is.
    pub engine: EngineKind,
    /// Requests it runs at once.
    pub max_concurrency: u32,
    /// Requests that may wait for it.
    pub queue: u32,
    /// Its share of requests against other backends, 0 to 1000.
    pub weight: u32,
    /// File with the credential that it asks for.
    pub credential_file: Option<String>,
    /// What it serves.
    pub models: Vec<ServedModel>,
}

/// One model on one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedModel {
    /// Its canonical name.
    pub model: ModelName,
    /// What the engine calls it.
    pub upstream: String,
}

/// What documents ask the catalogue to say. What they do not name stays as it is.
///
/// Sorted by name, lists within sorted too, so that equal catalogues print equal documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Tiers, by level and name.
    pub tiers: Vec<Tier>,
    /// Models, by name.
    pub models: Vec<ModelSpec>,
    /// Backends, by name.
    pub backends: Vec<BackendSpec>,
}

impl ModelSpec {
    /// The full name of one of its offers.
    #[must_use]
    pub fn scope(&self, offer: &OfferSpec) -> Scope {
        Scope { mode: offer.mode, source: offer.source, model: self.name.clone() }
    }
}

impl Desired {
    /// Brings everything into its one order.
    pub fn sort(&mut self) {
        self.tiers.sort_by(Tier::by_level);
        for tier in &mut self.tiers {
            tier.denied_scopes.sort();
            tier.denied_scopes.dedup();
        }
        self.models.sort_by(|a, b| a.name.cmp(&b.name));
        for model in &mut self.models {
            model.offers.sort_by_key(|offer| (offer.mode, offer.source));
            model.capabilities.sort();
            model.capabilities.dedup();
        }
        self.backends.sort_by(|a, b| a.name.cmp(&b.name));
        for backend in &mut self.backends {
            backend.models.sort_by(|a, b| a.model.cmp(&b.model));
        }
    }
}
