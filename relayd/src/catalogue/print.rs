//! Prints a catalogue as the document that says it.
//!
//! Everything is spelled out and in one order, so that equal catalogues print the same bytes and
//! what is printed, when read again, changes nothing.

use std::fmt::{self, Display, Write as _};

use crate::domain::{Meter, Ncr, RateLimits, Tier};
use crate::ledger::Rates;

use super::document::BPS_PER_PERMILLE;
use super::spec::{BackendSpec, Desired, ModelSpec, OfferSpec};

/// What a printed document begins with.
const HEADER: &str = "\
# The catalogue, as printed by `relayd admin export`; `relayd admin apply -f` takes it.
# Prices are US dollars for one million tokens, exact to nine decimals.
";

/// Prints a catalogue. Ends with a line end.
#[must_use]
pub fn print(catalogue: &Desired) -> String {
    let mut sorted = catalogue.clone();
    sorted.sort();
    let mut out = HEADER.to_owned();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, &sorted);
    out
}

fn write_all(out: &mut String, catalogue: &Desired) -> fmt::Result {
    for tier in &catalogue.tiers {
        write_tier(out, tier)?;
    }
    for model in &catalogue.models {
        write_model(out, model)?;
    }
    for backend in &catalogue.backends {
        write_backend(out, backend)?;
    }
    Ok(())
}

fn write_tier(out: &mut String, tier: &Tier) -> fmt::Result {
    writeln!(out, "\n[[tier]]")?;
    writeln!(out, "name = {}", Text(&tier.name))?;
    writeln!(out, "level = {}", tier.level)?;
    writeln!(out, "custom = {}", tier.custom)?;
    writeln!(out, "max_keys = {}", tier.max_keys)?;
    writeln!(out, "weight = {}", tier.weight)?;
    if tier.limits != RateLimits::NONE {
        let RateLimits { direct, opengpu, global } = tier.limits;
        let named = [("direct", direct), ("opengpu", opengpu), ("global", global)];
        let set = named.iter().filter_map(|(name, limit)| Some(format!("{name} = {}", (*limit)?)));
        writeln!(out, "rate_limits = {{ {} }}", set.collect::<Vec<_>>().join(", "))?;
    }
    if !tier.denied_scopes.is_empty() {
        writeln!(out, "denied_scopes = [")?;
        for scope in &tier.denied_scopes {
            writeln!(out, "    {},", Text(scope))?;
        }
        writeln!(out, "]")?;
    }
    Ok(())
}

fn write_model(out: &mut String, model: &ModelSpec) -> fmt::Result {
    writeln!(out, "\n[[model]]")?;
    writeln!(out, "name = {}", Text(&model.name))?;
    writeln!(out, "display_name = {}", Text(&model.display_name))?;
    writeln!(out, "tag = {}", Text(&model.tag))?;
    writeln!(out, "retired = {}", model.retired)?;
    writeln!(out, "guests = {}", model.guests)?;
    writeln!(out, "context_tokens = {}", model.context_tokens)?;
    writeln!(out, "max_output_default = {}", model.max_output_default)?;
    writeln!(out, "template_overhead_tokens = {}", model.template_overhead_tokens)?;
    let words: Vec<String> = model.capabilities.iter().map(|w| Text(w).to_string()).collect();
    writeln!(out, "capabilities = [{}]", words.join(", "))?;
    if let Some(tokenizer) = &model.tokenizer {
        writeln!(out, "tokenizer = {}", Text(tokenizer))?;
    }
    for offer in &model.offers {
        write_offer(out, offer)?;
    }
    Ok(())
}

fn write_offer(out: &mut String, offer: &OfferSpec) -> fmt::Result {
    writeln!(out, "\n[[model.offer]]")?;
    writeln!(out, "mode = {}", Text(offer.mode))?;
    writeln!(out, "source = {}", Text(offer.source))?;
    writeln!(out, "provider_share_permille = {}", offer.provider_bps / BPS_PER_PERMILLE)?;
    writeln!(out, "\n[model.offer.price]")?;
    write_rates(out, &offer.rates)?;
    if let Some(long) = &offer.long {
        writeln!(out, "\n[model.offer.long]")?;
        writeln!(out, "above_tokens = {}", long.above_input_tokens)?;
        writeln!(out, "\n[model.offer.long.price]")?;
        write_rates(out, &long.rates)?;
    }
    Ok(())
}

fn write_rates(out: &mut String, rates: &Rates) -> fmt::Result {
    Meter::ALL.iter().try_for_each(|&meter| {
        writeln!(out, "{} = {}", meter.as_str(), Text(Ncr::new(rates.get(meter))))
    })
}

fn write_backend(out: &mut String, backend: &BackendSpec) -> fmt::Result {
    writeln!(out, "\n[[backend]]")?;
    writeln!(out, "name = {}", Text(&backend.name))?;
    writeln!(out, "url = {}", Text(&backend.url))?;
    writeln!(out, "dialect = {}", Text(backend.dialect.as_str()))?;
    writeln!(out, "engine = {}", Text(backend.engine.as_str()))?;
    writeln!(out, "max_concurrency = {}", backend.max_concurrency)?;
    writeln!(out, "queue = {}", backend.queue)?;
    writeln!(out, "weight = {}", backend.weight)?;
    if let Some(file) = &backend.credential_file {
        writeln!(out, "credential_file = {}", Text(file))?;
    }
    writeln!(out, "\n[backend.models]")?;
    for served in &backend.models {
        writeln!(out, "{} = {}", Text(&served.model), Text(&served.upstream))?;
    }
    Ok(())
}

/// A value as a basic TOML string, which is also a valid quoted key.
struct Text<T>(T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.to_string().chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                c if c.is_control() => write!(f, "\\U{:08X}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
