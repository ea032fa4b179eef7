//! What would change.

use std::fmt::Display;

use crate::domain::{Meter, Ncr, Tier};

use super::document::BPS_PER_PERMILLE;
use super::spec::{BackendSpec, Desired, ModelSpec, OfferSpec};

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// It is new.
    Add,
    /// It says something else.
    Change,
    /// It goes. Only an offer can: documents never remove what they do not name.
    Remove,
}

/// Kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noun {
    /// A tier.
    Tier,
    /// A model.
    Model,
    /// The price of one offer; named by its scope.
    Price,
    /// A backend.
    Backend,
}

/// One object that documents would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What happens to it.
    pub kind: DifferenceKind,
    /// What it is.
    pub noun: Noun,
    /// Which.
    pub name: String,
    /// One line a field: `weight: 100 -> 50`. Empty when it goes.
    pub fields: Vec<String>,
}

impl Noun {
    /// The word in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tier => "tier",
            Self::Model => "model",
            Self::Price => "price",
            Self::Backend => "backend",
        }
    }
}

/// What would change if `desired` were applied over `current`. Empty when nothing would.
#[must_use]
pub fn diff(current: &Desired, desired: &Desired) -> Vec<Difference> {
    let mut all = Vec::new();
    for tier in &desired.tiers {
        let before = current.tiers.iter().find(|other| other.name == tier.name);
        let fields = compare(before.map(tier_fields), tier_fields(tier));
        all.extend(difference(before.is_some(), Noun::Tier, &tier.name, fields));
    }
    for model in &desired.models {
        let before = current.models.iter().find(|other| other.name == model.name);
        let fields = compare(before.map(model_fields), model_fields(model));
        all.extend(difference(before.is_some(), Noun::Model, &model.name, fields));
        all.extend(offers(before, model));
    }
    for backend in &desired.backends {
        let before = current.backends.iter().find(|other| other.name == backend.name);
        let fields = compare(before.map(backend_fields), backend_fields(backend));
        all.extend(difference(before.is_some(), Noun::Backend, &backend.name, fields));
    }
    all
}

fn offers(before: Option<&ModelSpec>, model: &ModelSpec) -> Vec<Difference> {
    let old: &[OfferSpec] = before.map_or(&[], |before| &before.offers);
    let find = |offers: &[OfferSpec], like: &OfferSpec| {
        offers.iter().find(|o| (o.mode, o.source) == (like.mode, like.source)).cloned()
    };
    let mut all = Vec::new();
    for offer in &model.offers {
        let before = find(old, offer).map(|before| price_fields(&before));
        let existed = before.is_some();
        let fields = compare(before, price_fields(offer));
        all.extend(difference(existed, Noun::Price, &model.scope(offer), fields));
    }
    for gone in old.iter().filter(|&old| find(&model.offers, old).is_none()) {
        all.push(Difference {
            kind: DifferenceKind::Remove,
            noun: Noun::Price,
            name: model.scope(gone).to_string(),
            fields: Vec::new(),
        });
    }
    all
}

fn difference(
    existed: bool,
    noun: Noun,
    name: &impl Display,
    fields: Vec<String>,
) -> Option<Difference> {
    let kind = if existed { DifferenceKind::Change } else { DifferenceKind::Add };
    let said = !existed || !fields.is_empty();
    said.then(|| Difference { kind, noun, name: name.to_string(), fields })
}

type Field = (&'static str, String);

fn compare(before: Option<Vec<Field>>, after: Vec<Field>) -> Vec<String> {
    let line = |(name, value): Field, old: Option<&Field>| match old {
        Some((_, old)) if *old == value => None,
        Some((_, old)) => Some(format!("{name}: {old} -> {value}")),
        None => Some(format!("{name}: {value}")),
    };
    let old = before.unwrap_or_default();
    let find = |name: &str| old.iter().find(|(other, _)| *other == name);
    after
        .into_iter()
        .filter_map(|field| {
            let before = find(field.0);
            line(field, before)
        })
        .collect()
}

fn tier_fields(tier: &Tier) -> Vec<Field> {
    let limit = |limit: Option<u32>| limit.map_or_else(|| "none".to_owned(), |n| n.to_string());
    vec![
        ("level", tier.level.to_string()),
        ("custom", tier.custom.to_string()),
        ("max_keys", tier.max_keys.to_string()),
        ("weight", tier.weight.to_string()),
        ("rate_limits.direct", limit(tier.limits.direct)),
        ("rate_limits.opengpu", limit(tier.limits.opengpu)),
        ("rate_limits.global", limit(tier.limits.global)),
        ("denied_scopes", list(&tier.denied_scopes)),
    ]
}

fn model_fields(model: &ModelSpec) -> Vec<Field> {
    vec![
        ("display_name", model.display_name.clone()),
        ("tag", model.tag.clone()),
        ("retired", model.retired.to_string()),
        ("guests", model.guests.to_string()),
        ("context_tokens", model.context_tokens.to_string()),
        ("max_output_default", model.max_output_default.to_string()),
        ("template_overhead_tokens", model.template_overhead_tokens.to_string()),
        ("capabilities", list(&model.capabilities)),
        (
            "tokenizer",
            model.tokenizer.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string),
        ),
    ]
}

fn price_fields(price: &OfferSpec) -> Vec<Field> {
    const LONG: [&str; Meter::ALL.len()] = [
        "long.in_uncached",
        "long.in_cache_read",
        "long.in_cache_write_5m",
        "long.in_cache_write_1h",
        "long.out_text",
        "long.out_reasoning",
    ];
    let usual = Meter::ALL.iter().map(|&m| (m.as_str(), Ncr::new(price.rates.get(m)).to_string()));
    let none = || "none".to_owned();
    let above = price.long.map_or_else(none, |long| long.above_input_tokens.to_string());
    let rate = |rate: Option<i64>| rate.map_or_else(none, |rate| Ncr::new(rate).to_string());
    let long = LONG
        .iter()
        .zip(Meter::ALL)
        .map(|(&name, meter)| (name, rate(price.long.map(|long| long.rates.get(meter)))));
    let share = price.provider_bps / BPS_PER_PERMILLE;
    let rest = [("provider_share_permille", share.to_string()), ("long.above_tokens", above)];
    usual.chain(rest).chain(long).collect()
}

fn backend_fields(backend: &BackendSpec) -> Vec<Field> {
    let served: Vec<String> =
        backend.models.iter().map(|m| format!("{} = {}", m.model, m.upstream)).collect();
    vec![
        ("url", backend.url.clone()),
        ("dialect", backend.dialect.as_str().to_owned()),
        ("engine", backend.engine.as_str().to_owned()),
        ("max_concurrency", backend.max_concurrency.to_string()),
        ("queue", backend.queue.to_string()),
        ("weight", backend.weight.to_string()),
        ("credential_file", backend.credential_file.clone().unwrap_or_else(|| "none".to_owned())),
        ("models", list(&served)),
    ]
}

fn list(items: &[impl Display]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    format!("[{}]", items.join(", "))
}
