//! Reads catalogue documents: TOML in, [`Desired`] out, every mistake with its file and line.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::hash::Hash;
use std::ops::{Range, RangeInclusive};

use serde::Deserialize;
use toml::Spanned;

use crate::domain::{
    BackendId, GUEST_TIER, Meter, Mode, ModelName, Ncr, RateLimits, Scope, Source, TIER_WEIGHT_MAX,
    Tier, TokenizerSource,
};

use crate::ledger::{LongContext, Rates};
use crate::wire::{Dialect, EngineKind};

use super::spec::{BackendSpec, Desired, ModelSpec, OfferSpec, ServedModel};

/// Longest name of a tier and longest display name or tag, in characters: a column of the console.
const NAME_MAX_CHARS: usize = 80;

/// Output cap of a request that names none, where the model's row does not say.
const MAX_OUTPUT_DEFAULT: u64 = 4_096;

/// Tokens allowed for an engine's chat template, where the model's row does not say.
const TEMPLATE_OVERHEAD_DEFAULT: u64 = 256;

/// Requests a backend runs at once, where its row does not say.
const CONCURRENCY_DEFAULT: u32 = 16;

/// Requests that may wait for a backend, where its row does not say.
const QUEUE_DEFAULT: u32 = 256;

/// Weight of a backend, where its row does not say, and the largest.
const WEIGHT_DEFAULT: u32 = 100;
const WEIGHT_MAX: u32 = 1_000;

/// Most requests a backend may be given at once or made to hold in its queue.
const BACKEND_BOUND_MAX: u32 = 65_535;

/// Most tokens any bound of a model may name: far above every known context.
const TOKENS_MAX: u64 = 100_000_000;

/// A provider's part of a charge, in thousandths, where the offer does not say.
const PROVIDER_SHARE_DEFAULT: u16 = 800;

/// Documents name shares in thousandths, the ledger counts in ten-thousandths.
pub(super) const BPS_PER_PERMILLE: u16 = 10;

/// What a model may turn into what (contract section 3.5).
const TAGS: [&str; 9] = [
    "text-to-text",
    "text-to-image",
    "image-to-image",
    "text-to-video",
    "image-to-video",
    "video-to-video",
    "text-to-speech",
    "speech-to-text",
    "text-to-embedding",
];

/// Sources that are served: the chat routes.
const SOURCES: [Source; 4] = [Source::Ollama, Source::Vllm, Source::Openai, Source::Anthropic];

/// One document and what it is called in errors.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// The file's name.
    pub name: &'a str,
    /// Its text.
    pub toml: &'a str,
}

/// The first mistake found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct DocumentError {
    /// In which document.
    pub file: String,
    /// On which line, from 1.
    pub line: usize,
    /// What is wrong and what is expected.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    tier: Vec<TierTable>,
    #[serde(default)]
    model: Vec<ModelTable>,
    #[serde(default)]
    backend: Vec<BackendTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TierTable {
    name: Spanned<String>,
    level: u32,
    #[serde(default)]
    custom: bool,
    max_keys: u32,
    weight: Option<Spanned<u32>>,
    #[serde(default)]
    rate_limits: RateLimits,
    #[serde(default)]
    denied_scopes: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelTable {
    name: Spanned<String>,
    display_name: Option<Spanned<String>>,
    tag: Option<Spanned<String>>,
    #[serde(default)]
    retired: bool,
    #[serde(default)]
    guests: bool,
    context_tokens: Spanned<u64>,
    max_output_default: Option<Spanned<u64>>,
    template_overhead_tokens: Option<Spanned<u64>>,
    #[serde(default)]
    capabilities: Vec<Spanned<String>>,
    tokenizer: Option<Spanned<String>>,
    #[serde(default)]
    offer: Vec<OfferTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfferTable {
    mode: Option<Spanned<String>>,
    source: Spanned<String>,
    provider_share_permille: Option<Spanned<u16>>,
    price: Spanned<RatesTable>,
    long: Option<LongTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LongTable {
    above_tokens: Spanned<u64>,
    price: Spanned<RatesTable>,
}

/// US dollars for one million tokens, as text, so that no rate passes through a float.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RatesTable {
    in_uncached: Spanned<String>,
    in_cache_read: Option<Spanned<String>>,
    in_cache_write_5m: Option<Spanned<String>>,
    in_cache_write_1h: Option<Spanned<String>>,
    out_text: Spanned<String>,
    out_reasoning: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendTable {
    name: Spanned<String>,
    url: Spanned<String>,
    dialect: Dialect,
    engine: Option<EngineKind>,
    max_concurrency: Option<Spanned<u32>>,
    queue: Option<Spanned<u32>>,
    weight: Option<Spanned<u32>>,
    credential_file: Option<String>,
    models: BTreeMap<Spanned<String>, Spanned<String>>,
}

/// Reads documents that together make one change.
///
/// # Errors
/// The first mistake: syntax, an unknown key, a value out of bounds, a name given twice.
pub fn parse(documents: &[Document<'_>]) -> Result<Desired, DocumentError> {
    let mut desired = Desired::default();
    let mut seen = Seen::default();
    for document in documents {
        let reader = Reader { document };
        let file: File = toml::from_str(document.toml).map_err(|error| {
            reader.error(&error.span().unwrap_or_default(), error.message().trim())
        })?;
        for table in file.tier {
            desired.tiers.push(reader.tier(table, &mut seen)?);
        }
        for table in file.model {
            desired.models.push(reader.model(table, &mut seen)?);
        }
        for table in file.backend {
            desired.backends.push(reader.backend(table, &mut seen)?);
        }
    }
    desired.sort();
    Ok(desired)
}

/// Where each name was given first.
#[derive(Default)]
struct Seen {
    tiers: HashMap<String, String>,
    models: HashMap<ModelName, String>,
    backends: HashMap<BackendId, String>,
}

struct Reader<'a> {
    document: &'a Document<'a>,
}

impl Reader<'_> {
    fn tier(&self, table: TierTable, seen: &mut Seen) -> Result<Tier, DocumentError> {
        let name = table.name.get_ref().clone();
        let plain =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        if name.is_empty() || name.len() > NAME_MAX_CHARS || !name.bytes().all(plain) {
            let problem = "a tier's name is 1 to 80 of a-z, 0-9, hyphen, underscore";
            return Err(self.error(&table.name.span(), problem));
        }
        if name == GUEST_TIER && (table.custom || table.max_keys != 0) {
            let problem = "the guest tier cannot be custom and has max_keys = 0";
            return Err(self.error(&table.name.span(), problem));
        }
        self.first(&mut seen.tiers, &name, &table.name)?;
        let scopes = table.denied_scopes.iter().map(|scope| self.parsed::<Scope>(scope));
        Ok(Tier {
            level: table.level,
            custom: table.custom,
            max_keys: table.max_keys,
            weight: self.bound(&table.weight, 1, 1..=TIER_WEIGHT_MAX)?,
            limits: table.rate_limits,
            denied_scopes: scopes.collect::<Result<_, _>>()?,
            name,
        })
    }

    fn model(&self, table: ModelTable, seen: &mut Seen) -> Result<ModelSpec, DocumentError> {
        let name: ModelName = self.parsed(&table.name)?;
        self.first(&mut seen.models, &name, &table.name)?;
        let display_name = match &table.display_name {
            Some(text) => self.label(text)?,
            None => name.as_str().to_owned(),
        };
        let tag = match &table.tag {
            Some(tag) => self.one_of(tag, &TAGS)?,
            None => TAGS[0].to_owned(),
        };
        let context_tokens = self.tokens(&table.context_tokens, 1)?;
        let max_output_default = match &table.max_output_default {
            Some(tokens) => self.tokens(tokens, 1)?,
            None => MAX_OUTPUT_DEFAULT.min(context_tokens),
        };
        let template_overhead_tokens = match &table.template_overhead_tokens {
            Some(tokens) => self.tokens(tokens, 0)?,
            None => TEMPLATE_OVERHEAD_DEFAULT,
        };
        let mut offers: Vec<OfferSpec> = Vec::with_capacity(table.offer.len());
        for offer in table.offer {
            let span = offer.source.span();
            let offer = self.offer(offer)?;
            if offers.iter().any(|o| (o.mode, o.source) == (offer.mode, offer.source)) {
                let problem = format!("a second offer in {}.{}", offer.mode, offer.source);
                return Err(self.error(&span, problem));
            }
            offers.push(offer);
        }
        let capabilities = table.capabilities.iter().map(|word| self.label(word));
        Ok(ModelSpec {
            name,
            display_name,
            tag,
            retired: table.retired,
            guests: table.guests,
            context_tokens,
            max_output_default,
            template_overhead_tokens,
            capabilities: capabilities.collect::<Result<_, _>>()?,
            tokenizer: table
                .tokenizer
                .map(|text| self.parsed::<TokenizerSource>(&text))
                .transpose()?,
            offers,
        })
    }

    fn offer(&self, table: OfferTable) -> Result<OfferSpec, DocumentError> {
        let mode = match &table.mode {
            Some(mode) => self.parsed::<Mode>(mode)?,
            None => Mode::Direct,
        };
        if let (Mode::Opengpu, Some(at)) = (mode, &table.mode) {
            let problem = "mode opengpu cannot be offered: nothing is deployed on the chain";
            return Err(self.error(&at.span(), problem));
        }
        let source: Source = self.parsed(&table.source)?;
        if !SOURCES.contains(&source) {
            let problem = format!(
                "source {source} is not served; expected ollama, vllm, openai or anthropic"
            );
            return Err(self.error(&table.source.span(), problem));
        }
        let long = match &table.long {
            Some(long) => Some(LongContext {
                above_input_tokens: self.tokens(&long.above_tokens, 1)?,
                rates: self.rates(long.price.get_ref())?,
            }),
            None => None,
        };
        let rates = self.rates(table.price.get_ref())?;
        let share = match &table.provider_share_permille {
            None => PROVIDER_SHARE_DEFAULT,
            Some(share) if *share.get_ref() <= 1_000 => *share.get_ref(),
            Some(share) => return Err(self.error(&share.span(), "expected 0 to 1000")),
        };
        let provider_bps = share * BPS_PER_PERMILLE;
        Ok(OfferSpec { mode, source, rates, long, provider_bps })
    }

    /// A rate that is absent costs what its nearest relative costs: reading or writing a cache as
    /// a fresh token, reasoning as text.
    fn rates(&self, table: &RatesTable) -> Result<Rates, DocumentError> {
        let rate = |text: &Spanned<String>| -> Result<i64, DocumentError> {
            let rate: Ncr = self.parsed(text)?;
            if rate.is_negative() {
                return Err(self.error(&text.span(), "a price is not negative"));
            }
            Ok(rate.get())
        };
        let or = |text: &Option<Spanned<String>>, other: i64| text.as_ref().map_or(Ok(other), rate);
        let (input, output) = (rate(&table.in_uncached)?, rate(&table.out_text)?);
        let mut rates = Rates::default();
        rates.set(Meter::InUncached, input);
        rates.set(Meter::InCacheRead, or(&table.in_cache_read, input)?);
        rates.set(Meter::InCacheWrite5m, or(&table.in_cache_write_5m, input)?);
        rates.set(Meter::InCacheWrite1h, or(&table.in_cache_write_1h, input)?);
        rates.set(Meter::OutText, output);
        rates.set(Meter::OutReasoning, or(&table.out_reasoning, output)?);
        Ok(rates)
    }

    fn bound(
        &self,
        value: &Option<Spanned<u32>>,
        default: u32,
        bounds: RangeInclusive<u32>,
    ) -> Result<u32, DocumentError> {
        let Some(value) = value else { return Ok(default) };
        let number = *value.get_ref();
        if bounds.contains(&number) {
            return Ok(number);
        }
        let problem = format!("expected {} to {}", bounds.start(), bounds.end());
        Err(self.error(&value.span(), problem))
    }

    fn backend(&self, table: BackendTable, seen: &mut Seen) -> Result<BackendSpec, DocumentError> {
        let name: BackendId = self.parsed(&table.name)?;
        self.first(&mut seen.backends, &name, &table.name)?;
        let url = self.origin(&table.url)?;
        let mut models = Vec::with_capacity(table.models.len());
        for (model, upstream) in &table.models {
            let model: ModelName = self.parsed(model)?;
            let upstream = self.parsed::<ModelName>(upstream)?.as_str().to_owned();
            models.push(ServedModel { model, upstream });
        }
        let most = BACKEND_BOUND_MAX;
        Ok(BackendSpec {
            name,
            url,
            dialect: table.dialect,
            engine: table.engine.unwrap_or(EngineKind::Unknown),
            max_concurrency: self.bound(&table.max_concurrency, CONCURRENCY_DEFAULT, 1..=most)?,
            queue: self.bound(&table.queue, QUEUE_DEFAULT, 0..=most)?,
            weight: self.bound(&table.weight, WEIGHT_DEFAULT, 0..=WEIGHT_MAX)?,
            credential_file: table.credential_file,
            models,
        })
    }

    fn origin(&self, text: &Spanned<String>) -> Result<String, DocumentError> {
        let fail = |problem: &str| self.error(&text.span(), problem);
        let url = url::Url::parse(text.get_ref()).map_err(|error| fail(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(fail("expected an http or https URL"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(fail("a credential does not belong in a URL; use credential_file"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(fail("expected an origin, without a query or fragment"));
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }

    fn tokens(&self, value: &Spanned<u64>, least: u64) -> Result<u64, DocumentError> {
        let tokens = *value.get_ref();
        if (least..=TOKENS_MAX).contains(&tokens) {
            return Ok(tokens);
        }
        Err(self.error(&value.span(), format!("expected {least} to {TOKENS_MAX} tokens")))
    }

    fn label(&self, text: &Spanned<String>) -> Result<String, DocumentError> {
        let label = text.get_ref();
        let chars = label.chars().count();
        if chars == 0 || chars > NAME_MAX_CHARS || label.chars().any(char::is_control) {
            let problem = "expected 1 to 80 characters, none of them a control character";
            return Err(self.error(&text.span(), problem));
        }
        Ok(label.clone())
    }

    fn one_of(&self, text: &Spanned<String>, words: &[&str]) -> Result<String, DocumentError> {
        if words.contains(&text.get_ref().as_str()) {
            return Ok(text.get_ref().clone());
        }
        Err(self.error(&text.span(), format!("expected one of {}", words.join(", "))))
    }

    fn parsed<T>(&self, text: &Spanned<String>) -> Result<T, DocumentError>
    where
        T: std::str::FromStr,
        T::Err: Display,
    {
        text.get_ref().parse().map_err(|error: T::Err| self.error(&text.span(), error))
    }

    fn first<K: Clone + Eq + Hash + Display>(
        &self,
        seen: &mut HashMap<K, String>,
        key: &K,
        at: &Spanned<String>,
    ) -> Result<(), DocumentError> {
        let here = format!("{}:{}", self.document.name, self.line(&at.span()));
        match seen.insert(key.clone(), here) {
            Some(before) => Err(self.error(&at.span(), format!("'{key}' stands at {before} too"))),
            None => Ok(()),
        }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        1 + self.document.toml.bytes().take(span.start).filter(|&b| b == b'\n').count()
    }

    fn error(&self, span: &Range<usize>, message: impl Display) -> DocumentError {
        DocumentError {
            file: self.document.name.to_owned(),
            line: self.line(span),
            message: message.to_string(),
        }
    }
}
