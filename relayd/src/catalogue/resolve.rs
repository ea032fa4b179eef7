//! From what a request names to the offer it gets (contract sections 2 and 5).
//!
//! The order of the checks is part of the contract: retired, then known and provided for, then
//! mode, then what the caller's tier, key and allowlist permit.

use std::sync::Arc;

use crate::domain::{Code, Fault, GUEST_TIER, Mode, ModeRequest, Scope, Source};

use super::snapshot::{CatalogueSnapshot, Listing, Offer};

/// What the caller may use, as far as the caller's own row says.
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// A caller without a credential.
    Guest,
    /// A key.
    Key {
        /// The tier of its customer.
        tier: &'a str,
        /// Scopes that the key may not use.
        denied: &'a [Scope],
        /// The only scopes that the customer's keys may use, where the customer set such a list.
        allowlist: Option<&'a [Scope]>,
    },
}

impl CatalogueSnapshot {
    /// The offer that a request gets.
    ///
    /// # Errors
    /// [`Code::ModelRetired`], [`Code::ModelNotAvailable`] or [`Code::ScopeDenied`], checked in
    /// this order, with the contract's texts.
    pub fn resolve(
        &self,
        source: Source,
        model: &str,
        mode: ModeRequest,
        access: Access<'_>,
    ) -> Result<Arc<Offer>, Fault> {
        let listing = self.listing(model).ok_or_else(|| self.unknown(source, model))?;
        if listing.model.retired {
            let text = format!("Model '{model}' has been retired and is no longer served");
            return Err(Fault::new(Code::ModelRetired, text));
        }
        let has_source = listing.offers.iter().any(|offer| offer.scope.source == source);
        if !has_source || !self.is_served(&listing.model.name) {
            return Err(not_available(model, &elsewhere(listing, source)));
        }
        match mode {
            ModeRequest::Only(mode) => {
                let offer =
                    listing.offer(mode, source).ok_or_else(|| lacks(listing, source, mode))?;
                self.permit(offer, access)?;
                Ok(Arc::clone(offer))
            }
            ModeRequest::Auto => self.choose(listing, source, access),
        }
    }

    /// Direct where the caller may use the model there, else opengpu, else direct's refusal.
    fn choose(
        &self,
        listing: &Listing,
        source: Source,
        access: Access<'_>,
    ) -> Result<Arc<Offer>, Fault> {
        let mut refusal = None;
        for mode in Mode::ALL {
            let Some(offer) = listing.offer(mode, source) else { continue };
            match self.permit(offer, access) {
                Ok(()) => return Ok(Arc::clone(offer)),
                Err(fault) => refusal = refusal.or(Some(fault)),
            }
        }
        Err(refusal.unwrap_or_else(|| not_available(listing.model.name.as_str(), "")))
    }

    /// The refusal of a name that the catalogue does not know.
    fn unknown(&self, source: Source, model: &str) -> Fault {
        let near = self.near(Some(source), model);
        not_available(
            model,
            &near.map_or_else(String::new, |near| format!(". Did you mean '{near}'?")),
        )
    }

    fn permit(&self, offer: &Offer, access: Access<'_>) -> Result<(), Fault> {
        let scope = &offer.scope;
        let by_tier =
            |name: &str| self.tier(name).is_none_or(|tier| !tier.denied_scopes.contains(scope));
        let denied = |text: String| Err(Fault::new(Code::ScopeDenied, text));
        let what = scope.source_model();
        match access {
            Access::Guest if !offer.model.guests || !by_tier(GUEST_TIER) => denied(format!(
                "{what} is not available for unauthenticated (guest) access. \
                 Send an API key to use this model."
            )),
            Access::Key { tier, .. } if !by_tier(tier) => {
                denied(format!("Your tier does not have access to {what} in {} mode", scope.mode))
            }
            Access::Key { denied: own, .. } if own.contains(scope) => denied(format!(
                "This API key does not have access to {what} in {} mode",
                scope.mode
            )),
            Access::Key { allowlist: Some(allowed), .. } if !allowed.contains(scope) => {
                let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
                denied(format!(
                    "{scope} is blocked by your account's model allowlist (set by your key \
                     issuer). Allowed models: {}",
                    allowed.join(", ")
                ))
            }
            Access::Guest | Access::Key { .. } => Ok(()),
        }
    }
}

/// `hint` follows the sentence.
fn not_available(model: &str, hint: &str) -> Fault {
    // The name comes from outside and may be anything; only a plain one is repeated.
    let named = crate::domain::ModelName::new(model)
        .map_or_else(|_| "The requested model".to_owned(), |name| format!("Model '{name}'"));
    Fault::new(Code::ModelNotAvailable, format!("{named} is not available on this endpoint{hint}"))
}

/// Under which other families of routes a model is on offer.
fn elsewhere(listing: &Listing, source: Source) -> String {
    let mut words: Vec<&str> = Vec::new();
    for other in listing.offers.iter().map(|offer| offer.scope.source).filter(|s| *s != source) {
        if !words.contains(&other.as_str()) {
            words.push(other.as_str());
        }
    }
    let has_source = listing.offers.iter().any(|offer| offer.scope.source == source);
    match words.as_slice() {
        _ if has_source => String::new(),
        [] => String::new(),
        words => format!("; it is served by the routes of {}", words.join(", ")),
    }
}

fn lacks(listing: &Listing, source: Source, mode: Mode) -> Fault {
    let text = format!("{source}.{} is not available in {mode} mode", listing.model.name);
    Fault::new(Code::ModelNotAvailable, text)
}

#[cfg(test)]
mod tests {
    use crate::catalogue::{BackendSpec, Model, ServedModel};
    use crate::domain::{ModelName, RateLimits, Tier};
    use crate::ledger::{Price, Rates};
    use crate::wire::{Dialect, EngineKind};

    use super::*;

    fn model(name: &str, retired: bool, guests: bool) -> Arc<Model> {
        Arc::new(Model {
            name: name.parse().unwrap(),
            display_name: name.to_owned(),
            tag: "text-to-text".to_owned(),
            retired,
            guests,
            context_tokens: 8_192,
            max_output_default: 512,
            template_overhead_tokens: 64,
            capabilities: Vec::new(),
            tokenizer: None,
            version: 1,
        })
    }

    fn listing(model: Arc<Model>, scopes: &[&str]) -> Listing {
        let offer = |scope: &&str| {
            let scope: Scope = format!("{scope}.{}", model.name).parse().unwrap();
            let price = Price {
                id: "price_0123456789abcdef".parse().unwrap(),
                scope: scope.clone(),
                rates: Rates::default(),
                long: None,
                provider_bps: 0,
                valid_from_ms: 0,
            };
            Arc::new(Offer { scope, price: Arc::new(price), model: Arc::clone(&model) })
        };
        let offers = scopes.iter().map(offer).collect();
        Listing { model, offers }
    }

    fn tier(name: &str, level: u32, denied: &[&str]) -> Arc<Tier> {
        Arc::new(Tier {
            name: name.to_owned(),
            level,
            custom: false,
            max_keys: 1,
            weight: 1,
            limits: RateLimits::NONE,
            denied_scopes: denied.iter().map(|scope| scope.parse().unwrap()).collect(),
        })
    }

    fn snapshot() -> CatalogueSnapshot {
        let served = ["a", "b", "old", "open"].map(|name| ServedModel {
            model: name.parse::<ModelName>().unwrap(),
            upstream: name.to_owned(),
        });
        let backend = BackendSpec {
            name: "one".parse().unwrap(),
            url: "http://127.0.0.1:1".to_owned(),
            dialect: Dialect::Openai,
            engine: EngineKind::Unknown,
            max_concurrency: 1,
            queue: 1,
            weight: 1,
            credential_file: None,
            models: served.to_vec(),
        };
        CatalogueSnapshot::new(
            [
                listing(model("a", false, true), &["direct.openai", "direct.vllm"]),
                listing(model("b", false, false), &["direct.openai", "opengpu.openai"]),
                listing(model("old", true, true), &["direct.openai"]),
                listing(model("orphan", false, true), &["direct.openai"]),
                listing(model("open", false, true), &["opengpu.openai"]),
            ],
            vec![
                tier("guest", 0, &["direct.vllm.a"]),
                tier("basic", 1, &["direct.openai.b"]),
                tier("max", 3, &[]),
            ],
            vec![Arc::new(backend)],
        )
    }

    const MAX: Access<'static> = Access::Key { tier: "max", denied: &[], allowlist: None };
    const BASIC: Access<'static> = Access::Key { tier: "basic", denied: &[], allowlist: None };

    #[test]
    fn the_checks_come_in_the_contracts_order() {
        let (auto, only) = (ModeRequest::Auto, ModeRequest::Only);
        let scopes: Vec<Scope> = vec!["direct.openai.a".parse().unwrap()];
        let barred = Access::Key { tier: "max", denied: &scopes, allowlist: None };
        let listed = Access::Key { tier: "max", denied: &[], allowlist: Some(&scopes) };
        let (retired, absent, denied) =
            (Code::ModelRetired, Code::ModelNotAvailable, Code::ScopeDenied);
        type Expected = Result<&'static str, (Code, &'static str)>;
        let table: [(Source, &str, ModeRequest, Access<'_>, Expected); 20] = [
            (Source::Openai, "a", auto, MAX, Ok("direct.openai.a")),
            (Source::Vllm, "a", auto, MAX, Ok("direct.vllm.a")),
            (Source::Openai, "a", only(Mode::Direct), Access::Guest, Ok("direct.openai.a")),
            (Source::Openai, "old", auto, Access::Guest, Err((retired, "retired"))),
            (Source::Vllm, "old", only(Mode::Opengpu), MAX, Err((retired, "retired"))),
            (Source::Openai, "A", auto, MAX, Err((absent, "endpoint. Did you mean 'a'?"))),
            (
                Source::Openai,
                "xyz",
                auto,
                MAX,
                Err((absent, "'xyz' is not available on this endpoint")),
            ),
            (Source::Openai, "x y\u{1b}", auto, MAX, Err((absent, "The requested model"))),
            (
                Source::Anthropic,
                "a",
                auto,
                MAX,
                Err((absent, "endpoint; it is served by the routes of vllm, openai")),
            ),
            (Source::Openai, "orphan", auto, Access::Guest, Err((absent, "'orphan'"))),
            (
                Source::Openai,
                "a",
                only(Mode::Opengpu),
                barred,
                Err((absent, "openai.a is not available in opengpu mode")),
            ),
            (
                Source::Openai,
                "b",
                only(Mode::Direct),
                BASIC,
                Err((denied, "Your tier does not have access to openai.b in direct mode")),
            ),
            (Source::Openai, "b", auto, BASIC, Ok("opengpu.openai.b")),
            (Source::Openai, "b", auto, MAX, Ok("direct.openai.b")),
            (
                Source::Openai,
                "b",
                auto,
                Access::Guest,
                Err((denied, "openai.b is not available for unauthenticated (guest) access. ")),
            ),
            (Source::Vllm, "a", auto, Access::Guest, Err((denied, "vllm.a is not available for"))),
            (
                Source::Openai,
                "a",
                auto,
                barred,
                Err((denied, "This API key does not have access to openai.a in direct mode")),
            ),
            (Source::Openai, "a", auto, listed, Ok("direct.openai.a")),
            (
                Source::Vllm,
                "a",
                auto,
                listed,
                Err((
                    denied,
                    "direct.vllm.a is blocked by your account's model allowlist (set by your key \
                     issuer). Allowed models: direct.openai.a",
                )),
            ),
            (Source::Openai, "open", auto, Access::Guest, Ok("opengpu.openai.open")),
        ];
        let snapshot = snapshot();
        for (source, name, mode, access, expected) in table {
            let got = snapshot.resolve(source, name, mode, access);
            match (got, expected) {
                (Ok(offer), Ok(scope)) => assert_eq!(offer.scope.to_string(), scope),
                (Err(fault), Err((code, part))) => {
                    assert_eq!(fault.code, code, "{source}.{name}");
                    assert!(fault.message.contains(part), "{}", fault.message);
                }
                (got, expected) => panic!("{source}.{name}: {got:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn restricted_tiers_are_those_without_any_offer() {
        let snapshot = snapshot();
        let restricted = |name| snapshot.restricted_tiers(snapshot.listing(name).unwrap());
        assert_eq!(restricted("a"), Vec::<&str>::new());
        assert_eq!(restricted("b"), ["guest"]);
    }
}
