//! The catalogue as requests see it: immutable, shared, swapped whole.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::balance::Class;
use crate::domain::{Mode, ModelName, Scope, Source, Tier, TokenizerSource};
use crate::ledger::Price;

use super::spec::BackendSpec;

/// What is known of a model, whoever serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
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
    /// What it can do beyond text.
    pub capabilities: Vec<String>,
    /// Where its tokenizer is; without one no independent provider serves it.
    pub tokenizer: Option<TokenizerSource>,
    /// Counts changes; expected by admin calls.
    pub version: u64,
}

/// A model as it can be bought: in one mode, by one family of routes, at one price.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Its full name.
    pub scope: Scope,
    /// The price row that holds now.
    pub price: Arc<Price>,
    /// The model.
    pub model: Arc<Model>,
}

/// A model with all its offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// The model.
    pub model: Arc<Model>,
    /// Its offers, by mode and source. Empty when it is retired.
    pub offers: Vec<Arc<Offer>>,
}

/// The whole catalogue at one moment.
#[derive(Clone, Debug, Default)]
pub struct CatalogueSnapshot {
    listings: BTreeMap<ModelName, Listing>,
    tiers: Vec<Arc<Tier>>,
    backends: Vec<Arc<BackendSpec>>,
    served: HashSet<ModelName>,
}

impl CatalogueSnapshot {
    /// Puts a catalogue together. Offers of retired models are left out.
    #[must_use]
    pub fn new(
        listings: impl IntoIterator<Item = Listing>,
        mut tiers: Vec<Arc<Tier>>,
        backends: Vec<Arc<BackendSpec>>,
    ) -> Self {
        tiers.sort_by(|a, b| a.by_level(b));
        let served = backends
            .iter()
            .flat_map(|backend| backend.models.iter().map(|served| served.model.clone()))
            .collect();
        let by_name = |mut listing: Listing| {
            listing.offers.sort_by_key(|offer| (offer.scope.mode, offer.scope.source));
            if listing.model.retired {
                listing.offers.clear();
            }
            (listing.model.name.clone(), listing)
        };
        Self { listings: listings.into_iter().map(by_name).collect(), tiers, backends, served }
    }

    /// Every model, by name.
    pub fn listings(&self) -> impl Iterator<Item = &Listing> {
        self.listings.values()
    }

    /// One model. Names are case-sensitive.
    #[must_use]
    pub fn listing(&self, name: &str) -> Option<&Listing> {
        self.listings.get(&ModelName::new(name).ok()?)
    }

    /// Every tier, by level, custom ones included.
    #[must_use]
    pub fn tiers(&self) -> &[Arc<Tier>] {
        &self.tiers
    }

    /// One tier.
    #[must_use]
    pub fn tier(&self, name: &str) -> Option<&Arc<Tier>> {
        self.tiers.iter().find(|tier| tier.name == name)
    }

    /// When requests of a tier give way to others, by its place among the tiers: level 0 is free;
    /// the highest listed level, where there is more than one above 0, and every custom tier have
    /// priority; the rest, and a tier that is no longer known, is standard.
    #[must_use]
    pub fn class(&self, tier: &str) -> Class {
        let Some(tier) = self.tier(tier) else { return Class::Standard };
        let listed = || self.tiers.iter().filter(|one| !one.custom && one.level > 0);
        let highest = listed().map(|one| one.level).max();
        let several = listed().any(|one| Some(one.level) != highest);
        match (tier.custom, tier.level) {
            (true, _) => Class::Priority,
            (false, 0) => Class::Free,
            (false, level) if several && Some(level) == highest => Class::Priority,
            (false, _) => Class::Standard,
        }
    }

    /// Every declared backend, by name.
    #[must_use]
    pub fn backends(&self) -> &[Arc<BackendSpec>] {
        &self.backends
    }

    /// Whether some declared backend serves the model. Says nothing of whether it is up.
    #[must_use]
    pub fn is_served(&self, model: &ModelName) -> bool {
        self.served.contains(model)
    }

    /// Tiers, by level, that may not use any offer of a model.
    #[must_use]
    pub fn restricted_tiers(&self, listing: &Listing) -> Vec<&str> {
        let barred = |tier: &Tier| {
            let guest = tier.name == crate::domain::GUEST_TIER;
            (guest && !listing.model.guests)
                || (!listing.offers.is_empty()
                    && listing.offers.iter().all(|o| tier.denied_scopes.contains(&o.scope)))
        };
        let public = self.tiers.iter().filter(|tier| !tier.custom);
        public.filter(|tier| barred(tier)).map(|tier| tier.name.as_str()).collect()
    }
}

impl Listing {
    /// The offer in a mode and source.
    #[must_use]
    pub fn offer(&self, mode: Mode, source: Source) -> Option<&Arc<Offer>> {
        self.offers.iter().find(|o| o.scope.mode == mode && o.scope.source == source)
    }
}
