//! Documents: mistakes with their lines, and the round trip.

use proptest::prelude::*;

use crate::domain::{
    Meter, Mode, ModelName, Ncr, RateLimits, Scope, Source, Tier, TokenizerSource,
};

use crate::ledger::{LongContext, Rates};
use crate::wire::{Dialect, EngineKind};

use super::*;

const MODEL: &str = r#"
[[model]]
name = "smollm2:135m"
context_tokens = 8192

[[model.offer]]
source = "openai"
price = { in_uncached = "0.15", out_text = "0.6" }
"#;

fn one(toml: &str) -> Result<Desired, DocumentError> {
    parse(&[Document { name: "a.toml", toml }])
}

#[test]
fn a_short_row_gets_the_documented_defaults() {
    let desired = one(MODEL).unwrap();
    let model = &desired.models[0];
    assert_eq!(model.display_name, "smollm2:135m");
    assert_eq!((model.tag.as_str(), model.guests, model.retired), ("text-to-text", false, false));
    assert_eq!((model.max_output_default, model.template_overhead_tokens), (4_096, 256));
    let rates = model.offers[0].rates;
    let rate = |meter| rates.get(meter);
    assert_eq!(model.offers[0].mode, Mode::Direct);
    assert_eq!(rate(Meter::InUncached), 150_000_000);
    assert_eq!(rate(Meter::InCacheRead), 150_000_000);
    assert_eq!(rate(Meter::OutReasoning), 600_000_000);
}

#[test]
fn mistakes_name_file_and_line() {
    for (toml, line, part) in [
        ("[[model]]\nname = ", 2, ""),
        ("\n[[modell]]\nname = \"a\"", 2, "modell"),
        (&MODEL.replace("context_tokens", "contextokens"), 4, "contextokens"),
        (&MODEL.replace("8192", "0"), 4, "expected 1 to"),
        (&MODEL.replace("smollm2:135m", "a b"), 3, "not a model name"),
        (&MODEL.replace("0.15", "0.1234567891"), 8, "at most 9 decimals"),
        (&MODEL.replace("\"0.15\"", "0.15"), 8, "string"),
        (&MODEL.replace("0.15", "-1"), 8, "not negative"),
        (&MODEL.replace("openai", "grpc"), 7, "unknown source"),
        (&MODEL.replace("openai", "video"), 7, "not served"),
        (
            &format!(
                "{MODEL}\n[[model.offer]]\nsource = \"openai\"\nprice = {{ in_uncached = \"1\", out_text = \"1\" }}\n"
            ),
            11,
            "second offer",
        ),
        (&format!("{MODEL}{MODEL}"), 11, "a.toml:3 too"),
        (&MODEL.replace("source =", "mode = \"opengpu\"\nsource ="), 7, "nothing is deployed"),
        ("[[tier]]\nname = \"Basic\"\nlevel = 1\nmax_keys = 1", 2, "a tier's name"),
        ("[[tier]]\nname = \"a\"\nlevel = 1\nmax_keys = 1\nweight = 0", 5, "expected 1 to 100"),
        ("[[tier]]\nname = \"guest\"\nlevel = 1\nmax_keys = 1", 2, "max_keys = 0"),
        (
            "[[tier]]\nname = \"a\"\nlevel = 1\nmax_keys = 1\ndenied_scopes = [\n  \"direct.x\",\n]",
            6,
            "mode.source.model",
        ),
        (
            "[[backend]]\nname = \"a\"\nurl = \"http://u:p@h/\"\ndialect = \"openai\"\nmodels = {}",
            3,
            "credential_file",
        ),
        (
            "[[backend]]\nname = \"a\"\nurl = \"ftp://h/\"\ndialect = \"openai\"\nmodels = {}",
            3,
            "http or https",
        ),
        (
            "[[backend]]\nname = \"a\"\nurl = \"http://h\"\ndialect = \"grpc\"\nmodels = {}",
            4,
            "dialect",
        ),
        (
            "[[backend]]\nname = \"a\"\nurl = \"http://h\"\ndialect = \"openai\"\nweight = 1001\nmodels = {}",
            5,
            "expected 0 to 1000",
        ),
    ] {
        let error = one(toml).expect_err(toml);
        assert_eq!((error.file.as_str(), error.line), ("a.toml", line), "{toml}\n{error}");
        let told = error.to_string();
        assert!(told.starts_with(&format!("a.toml:{line}: ")), "{told}");
        assert!(part == "dialect" || told.contains(part), "{told} should mention {part}");
    }
}

#[test]
fn a_name_in_two_documents_is_told_with_both_places() {
    let error = parse(&[
        Document { name: "a.toml", toml: MODEL },
        Document { name: "b.toml", toml: MODEL },
    ]);
    assert_eq!(error.unwrap_err().to_string(), "b.toml:3: 'smollm2:135m' stands at a.toml:3 too");
}

#[test]
fn the_difference_names_each_field() {
    let current = one(MODEL).unwrap();
    assert_eq!(diff(&current, &current), []);
    let changed = one(&MODEL.replace("0.15", "0.2").replace("8192", "4096")).unwrap();
    let told: Vec<(Noun, String, Vec<String>)> = diff(&current, &changed)
        .into_iter()
        .map(|difference| (difference.noun, difference.name, difference.fields))
        .collect();
    assert_eq!(told[0].0, Noun::Model);
    assert_eq!(told[0].2, ["context_tokens: 8192 -> 4096"]);
    assert_eq!(told[1].1, "direct.openai.smollm2:135m");
    assert_eq!(
        told[1].2,
        [
            "in_uncached: 0.15 -> 0.2",
            "in_cache_read: 0.15 -> 0.2",
            "in_cache_write_5m: 0.15 -> 0.2",
            "in_cache_write_1h: 0.15 -> 0.2",
        ]
    );
    let moved = one(&MODEL.replace("openai", "vllm")).unwrap();
    let kinds: Vec<_> = diff(&current, &moved).into_iter().map(|d| (d.kind, d.name)).collect();
    assert_eq!(
        kinds,
        [
            (DifferenceKind::Add, "direct.vllm.smollm2:135m".to_owned()),
            (DifferenceKind::Remove, "direct.openai.smollm2:135m".to_owned()),
        ]
    );
    assert_eq!(diff(&current, &Desired::default()), [], "what is not named stays");
}

fn model_name() -> impl Strategy<Value = ModelName> {
    "[!-~]{1,40}".prop_filter_map("quotes", |name| ModelName::new(&name).ok())
}

fn rates() -> impl Strategy<Value = Rates> {
    prop::array::uniform6(0..=i64::MAX).prop_map(|values| {
        let mut rates = Rates::default();
        for (meter, value) in Meter::ALL.into_iter().zip(values) {
            rates.set(meter, value);
        }
        rates
    })
}

fn offer() -> impl Strategy<Value = OfferSpec> {
    let sources = [Source::Ollama, Source::Vllm, Source::Openai, Source::Anthropic];
    let long = prop::option::of(
        (1..1_000_000_u64, rates())
            .prop_map(|(above_input_tokens, rates)| LongContext { above_input_tokens, rates }),
    );
    (prop::sample::select(sources.to_vec()), rates(), long).prop_map(|(source, rates, long)| {
        OfferSpec { mode: Mode::Direct, source, rates, long, provider_bps: 8_000 }
    })
}

fn model() -> impl Strategy<Value = ModelSpec> {
    let label = "[ -~äß]{1,20}";
    (
        model_name(),
        label,
        any::<(bool, bool)>(),
        (1..1_000_000_u64, 1..1_000_000_u64, 0..1_000_000_u64),
        prop::collection::btree_set(label, 0..3),
        prop::collection::vec(offer(), 0..4),
    )
        .prop_map(|(name, display_name, (retired, guests), tokens, words, mut offers)| {
            offers.sort_by_key(|offer| offer.source);
            offers.dedup_by_key(|offer| offer.source);
            ModelSpec {
                name,
                display_name,
                tag: "text-to-text".to_owned(),
                retired,
                guests,
                context_tokens: tokens.0,
                max_output_default: tokens.1,
                template_overhead_tokens: tokens.2,
                tokenizer: words.first().map(|word| TokenizerSource::Json(word.as_str().into())),
                capabilities: words.into_iter().collect(),
                offers,
            }
        })
}

fn tier() -> impl Strategy<Value = Tier> {
    let limit = || prop::option::of(any::<u32>());
    let scope =
        model_name().prop_map(|model| Scope { mode: Mode::Opengpu, source: Source::Image, model });
    (
        "[a-z][a-z0-9_-]{0,20}",
        any::<(u32, bool, u32)>(),
        (limit(), limit(), limit()),
        prop::collection::btree_set(scope, 0..3),
    )
        .prop_filter("guest has rules of its own", |(name, ..)| name != "guest")
        .prop_map(|(name, (level, custom, max_keys), (direct, opengpu, global), scopes)| {
            Tier {
                name,
                level,
                custom,
                max_keys,
                weight: level % 100 + 1,
                limits: RateLimits { direct, opengpu, global },
                denied_scopes: scopes.into_iter().collect(),
            }
        })
}

fn backend() -> impl Strategy<Value = BackendSpec> {
    let dialects = [Dialect::Openai, Dialect::Anthropic, Dialect::Ollama];
    (
        "[a-z0-9._-]{1,30}",
        prop::sample::select(dialects.to_vec()),
        (1..65_535_u32, 0..65_535_u32, 0..1_000_u32),
        prop::option::of("\\PC{1,20}"),
        prop::collection::btree_map(model_name(), model_name(), 0..4),
    )
        .prop_map(
            |(name, dialect, (max_concurrency, queue, weight), credential_file, models)| {
                BackendSpec {
                    name: name.parse().unwrap(),
                    url: format!("http://on-{}.test:8080/base", name.replace(['_', '.'], "-")),
                    dialect,
                    engine: EngineKind::Vllm,
                    max_concurrency,
                    queue,
                    weight,
                    credential_file,
                    models: models
                        .into_iter()
                        .map(|(model, upstream)| ServedModel {
                            model,
                            upstream: upstream.as_str().to_owned(),
                        })
                        .collect(),
                }
            },
        )
}

fn catalogue() -> impl Strategy<Value = Desired> {
    let tiers = prop::collection::vec(tier(), 0..4);
    let models = prop::collection::vec(model(), 0..4);
    let backends = prop::collection::vec(backend(), 0..4);
    (tiers, models, backends).prop_map(|(tiers, models, backends)| {
        let mut all = Desired { tiers, models, backends };
        all.sort();
        let mut names = std::collections::HashSet::new();
        all.tiers.retain(|tier| names.insert(tier.name.clone()));
        all.models.dedup_by(|a, b| a.name == b.name);
        all.backends.dedup_by(|a, b| a.name == b.name);
        all
    })
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_and_prints_the_same_bytes(all in catalogue()) {
        let printed = print(&all);
        let read = parse(&[Document { name: "export.toml", toml: &printed }])
            .map_err(|error| TestCaseError::fail(format!("{error}\n{printed}")))?;
        prop_assert_eq!(&read, &all);
        prop_assert_eq!(diff(&all, &read), []);
        prop_assert_eq!(print(&read), printed);
    }

    #[test]
    fn no_text_makes_the_reader_fall(text in "\\PC{0,200}") {
        let _ = one(&text);
    }
}

#[test]
fn amounts_survive_the_longest_rates() {
    assert_eq!(Ncr::new(i64::MAX).to_string().parse(), Ok(Ncr::new(i64::MAX)));
}
