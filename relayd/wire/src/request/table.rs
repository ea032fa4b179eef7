//! The fields of each surface (contract section 3.1), as data.

use super::rule::{Field, Rule};
use crate::Surface;

/// Largest output cap a caller may ask for, in tokens.
pub(crate) const OUTPUT_CAP_MAX: i64 = 128_000;

/// Longest webhook address, in characters.
const WEBHOOK_URL_MAX_CHARS: usize = 2048;

/// Longest model name that is looked at, in characters; the catalogue's names are shorter.
const MODEL_MAX_CHARS: usize = 256;

const CAP: Rule = Rule::Integer { min: 1, max: OUTPUT_CAP_MAX };
const COUNT: Rule = Rule::Integer { min: 0, max: i64::MAX };
const ANY_INTEGER: Rule = Rule::Integer { min: i64::MIN, max: i64::MAX };
const UNIT: Rule = Rule::Number { min: 0, max: 1 };
const PENALTY: Rule = Rule::Number { min: -2, max: 2 };
const ALL_MODES: Rule = Rule::OneOf(&["auto", "opengpu", "direct"]);
const MODEL: Field = Field::ours("model", Rule::TextUpTo(MODEL_MAX_CHARS)).required();
const MESSAGES: Field = Field::kept("messages", Rule::Objects).required();
const STREAM: Field = Field::ours("stream", Rule::Bool);
const ASYNC: Field = Field::ours("async", Rule::Bool);
const WEBHOOK_URL: Field = Field::ours("webhook_url", Rule::TextUpTo(WEBHOOK_URL_MAX_CHARS));

const OPENAI: &[Field] = &[
    MODEL,
    MESSAGES,
    Field::ours("max_tokens", CAP),
    Field::ours("max_completion_tokens", CAP),
    Field::kept("temperature", Rule::Number { min: 0, max: 2 }),
    Field::kept("top_p", UNIT),
    Field::kept("frequency_penalty", PENALTY),
    Field::kept("presence_penalty", PENALTY),
    Field::kept("stop", Rule::TextOrTexts(4)),
    STREAM,
    Field::ours("stream_options", Rule::Object),
    Field::kept("response_format", Rule::Object),
    Field::kept("seed", ANY_INTEGER),
    Field::kept("n", Rule::Integer { min: 1, max: 10 }),
    Field::kept("logprobs", Rule::Bool),
    Field::kept("top_logprobs", Rule::Integer { min: 0, max: 20 }),
    Field::kept("tools", Rule::Objects),
    Field::kept("tool_choice", Rule::TextOrObject),
    Field::kept("user", Rule::Text),
    Field::kept("store", Rule::Bool),
    Field::kept("chat_template_kwargs", Rule::Object),
    Field::kept("top_k", COUNT),
    Field::kept("min_p", UNIT),
    Field::kept("repetition_penalty", Rule::Number { min: 0, max: i32::MAX }),
    Field::kept("logit_bias", Rule::Object),
    Field::kept(
        "reasoning_effort",
        Rule::OneOf(&["none", "low", "medium", "high", "xhigh", "max"]),
    ),
    Field::kept("reasoning", Rule::Object),
    Field::kept("include_reasoning", Rule::Bool),
    // A switch of the relay, not of any engine: engines hold to a given schema anyway.
    Field::ours("structured_outputs", Rule::Bool),
    Field::ours("routing", Rule::Object),
    Field::ours("mode", ALL_MODES),
    ASYNC,
    WEBHOOK_URL,
];

/// What vLLM's own route takes differently; everything else is as on the OpenAI surface.
const VLLM: &[Field] = &[
    Field::kept("top_k", Rule::Integer { min: -1, max: i64::MAX }),
    Field::kept("reasoning_effort", Rule::Text),
    Field::kept("structured_outputs", Rule::Any),
    Field::kept("stop", Rule::TextOrTexts(usize::MAX)),
];

const ANTHROPIC: &[Field] = &[
    MODEL,
    MESSAGES,
    Field::ours("max_tokens", CAP).required(),
    Field::kept("system", Rule::TextOrList),
    Field::kept("temperature", UNIT),
    Field::kept("top_p", UNIT),
    Field::kept("top_k", COUNT),
    Field::kept("stop_sequences", Rule::Texts),
    STREAM,
    Field::kept("tools", Rule::Objects),
    Field::kept("tool_choice", Rule::Object),
    Field::kept("thinking", Rule::Object),
    Field::kept("metadata", Rule::Object),
    Field::kept("service_tier", Rule::OneOf(&["auto", "standard_only", "priority"])),
    Field::kept("output_config", Rule::Object),
    Field::kept("cache_control", Rule::Object),
    Field::ours("mode", Rule::OneOf(&["auto", "direct"])),
    ASYNC,
    WEBHOOK_URL,
];

const OLLAMA: &[Field] = &[
    MODEL,
    MESSAGES,
    STREAM,
    Field::ours("options", Rule::Object),
    Field::kept("format", Rule::TextOrObject),
    Field::kept("tools", Rule::Objects),
    Field::kept("think", Rule::BoolOrText),
    Field::kept("logprobs", Rule::Bool),
    Field::kept("top_logprobs", Rule::Integer { min: 0, max: 20 }),
    // Whether a model stays loaded is the operator's to say: 0 would unload it under others.
    Field::ours("keep_alive", Rule::Any),
    Field::ours("mode", ALL_MODES),
    ASYNC,
    WEBHOOK_URL,
];

/// Fields refused on the open surfaces although they name no field of the contract: other names
/// of the output cap or the number of answers (they would lift an answer above its hold), and
/// switches that reach past the caller's own request.
const RESERVED: &[(&str, &str)] = &[
    ("n_predict", "Set max_tokens instead"),
    ("max_new_tokens", "Set max_tokens instead"),
    ("max_output_tokens", "Set max_tokens instead"),
    ("n_cmpl", "Set n instead"),
    ("best_of", "Set n instead"),
    ("use_beam_search", "Beam search is not offered"),
    ("id_slot", "Slots are assigned by the engine"),
    ("priority", "Priority is set by the tier"),
    ("request_id", "Request ids are assigned by the relay"),
    ("kv_transfer_params", "Cache transfer is not offered"),
    ("lora", "Adapters are models of their own"),
    ("store_output", "Chat answers are not stored"),
];

/// Options of an Ollama runner that belong to the operator's host. Not passed on.
pub(crate) const HOST_OPTIONS: &[&str] = &[
    "low_vram",
    "main_gpu",
    "num_batch",
    "num_gpu",
    "num_thread",
    "numa",
    "use_mlock",
    "use_mmap",
    "vocab_only",
];

/// The fields of a surface, those of vLLM's route as the OpenAI surface has them.
pub(crate) const fn fields(surface: Surface) -> &'static [Field] {
    match surface {
        Surface::Openai | Surface::Vllm => OPENAI,
        Surface::Anthropic => ANTHROPIC,
        Surface::Ollama => OLLAMA,
    }
}

/// The field of that name, if the surface knows it.
pub(crate) fn field(surface: Surface, key: &str) -> Option<&'static Field> {
    let own = if surface == Surface::Vllm { VLLM } else { &[] };
    own.iter().chain(fields(surface)).find(|field| field.key == key)
}

/// The fields a surface insists on.
pub(crate) fn required(surface: Surface) -> impl Iterator<Item = &'static Field> {
    fields(surface).iter().filter(|field| field.required)
}

/// Why an unknown field must not pass on an open surface, if it must not.
///
/// Some engines match keys regardless of case (Go's `encoding/json` does, with two further
/// letters), so a key that only differs in case from a known one would be read there as that
/// one: two different requests out of one body.
pub(crate) fn refusal(surface: Surface, key: &str) -> Option<&'static str> {
    let folded = fold(key);
    if let Some((_, msg)) = RESERVED.iter().find(|(reserved, _)| *reserved == folded) {
        return Some(msg);
    }
    (folded != key && field(surface, &folded).is_some())
        .then_some("Differs only in case from a known field")
}

/// The key in the folding that the laxest engine compares with.
pub(crate) fn fold(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}
