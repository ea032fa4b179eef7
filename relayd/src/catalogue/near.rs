//! Which model a mistyped name may have meant.
//!
//! Only names that the catalogue shows to everybody are ever suggested.

use crate::domain::{ModelName, Source};

use super::snapshot::{CatalogueSnapshot, Listing};

/// Models compared with one wrong name: a refusal must stay cheaper than an answer.
const COMPARED_MAX: usize = 256;

/// Longest wrong name that is looked at, in bytes: longer than every name of a catalogue.
const NAME_MAX_BYTES: usize = 160;

/// Likeness, from 0 to 1, from which a name is suggested: about one wrong letter in four.
const LIKENESS_MIN: f64 = 0.75;

/// Likeness of a name to one that only goes on after it.
const BEGINNING: f64 = 0.9;

/// Shortest name, in bytes, that counts as another's beginning.
const BEGINNING_MIN_BYTES: usize = 4;

impl CatalogueSnapshot {
    /// The model on offer, by `source` where one is named, whose name is most like `wrong`.
    #[must_use]
    pub fn near(&self, source: Option<Source>, wrong: &str) -> Option<&ModelName> {
        if wrong.len() > NAME_MAX_BYTES {
            return None;
        }
        let wrong = wrong.to_ascii_lowercase();
        self.listings()
            .filter(|listing| offered(listing, source))
            .take(COMPARED_MAX)
            .map(|listing| (likeness(&wrong, listing.model.name.as_str()), &listing.model.name))
            .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, name)| name)
    }
}

fn offered(listing: &Listing, source: Option<Source>) -> bool {
    let mut offers = listing.offers.iter();
    offers.any(|offer| source.is_none_or(|source| offer.scope.source == source))
}

/// How alike two names are, with their vendors or without, whatever their case.
fn likeness(wrong: &str, name: &str) -> f64 {
    let name = name.to_ascii_lowercase();
    let (wrong_tail, tail) = (without_vendor(wrong), without_vendor(&name));
    if wrong_tail.len() >= BEGINNING_MIN_BYTES && tail.starts_with(wrong_tail) {
        return BEGINNING.max(strsim::normalized_damerau_levenshtein(wrong, &name));
    }
    let whole = strsim::normalized_damerau_levenshtein(wrong, &name);
    whole.max(strsim::normalized_damerau_levenshtein(wrong_tail, tail))
}

fn without_vendor(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, tail)| tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_alike_and_another_model_is_not() {
        let model = "SmolLM2-135M-Instruct";
        for slip in ["smollm2-135m-instruct", "smollm2-135m-instrct", "smollm2", "hf/smollm2-135m"]
        {
            assert!(likeness(slip, model) >= LIKENESS_MIN, "{slip}");
        }
        assert!(likeness("gpt-5.5", "openai/gpt-5.4") >= LIKENESS_MIN);
        assert!(likeness("openai/gpt-5.4", "openai/gpt-5.4-mini") >= LIKENESS_MIN);
        for other in ["gpt-4", "llama3", "s", "", "nope/nope"] {
            assert!(likeness(other, model) < LIKENESS_MIN, "{other}");
        }
    }
}
