//! The JSON Schemas of a surface's request and answer, as clients are told of them (contract
//! section 3.5). The request's is printed from the table that requests are checked by, so that
//! what is published is what is kept.
//!
//! Clients look for "URL", "base64" and "data:" in a description to tell what they may upload: no
//! description here holds them but that of a field that takes such a value.

use serde_json::{Map, Value, json};

use super::rule::{Field, Rule};
use super::table::{field, fields};
use crate::Surface;

/// The schema of a request body.
#[must_use]
pub fn request_schema(surface: Surface) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields(surface).iter().filter_map(|named| field(surface, named.key)) {
        if field.required {
            required.push(field.key);
        }
        properties.insert(field.key.to_owned(), property(surface, field));
    }
    let (title, description) = match surface {
        Surface::Openai => ("OpenAIChatRequest", "OpenAI Chat Completions request"),
        Surface::Vllm => ("VllmChatRequest", "OpenAI Chat Completions request with vLLM's options"),
        Surface::Anthropic => ("AnthropicMessagesRequest", "Anthropic Messages request"),
        Surface::Ollama => ("OllamaChatRequest", "Ollama chat request"),
    };
    json!({
        "properties": properties,
        "additionalProperties": surface.is_open(),
        "type": "object",
        "required": required,
        "title": title,
        "description": description,
    })
}

/// The schema of a whole answer.
#[must_use]
pub fn response_schema(surface: Surface) -> Value {
    let any = || json!({"additionalProperties": true, "type": "object"});
    let list = |items: Value| json!({"items": items, "type": "array"});
    let text = || json!({"type": "string"});
    let maybe = |schema: Value| json!({"anyOf": [schema, {"type": "null"}]});
    let integer = || json!({"type": "integer"});
    let (title, mut properties, required) = match surface {
        Surface::Openai | Surface::Vllm => (
            "OpenAIChatResponse",
            json!({
                "id": maybe(text()),
                "object": {"type": "string", "default": "chat.completion"},
                "created": maybe(integer()),
                "model": text(),
                "choices": list(any()),
                "usage": maybe(any()),
                "system_fingerprint": maybe(text()),
            }),
            vec!["model", "choices"],
        ),
        Surface::Anthropic => (
            "AnthropicMessagesResponse",
            json!({
                "id": maybe(text()),
                "type": {"type": "string", "default": "message"},
                "role": {"type": "string", "default": "assistant"},
                "model": text(),
                "content": list(any()),
                "stop_reason": maybe(text()),
                "stop_sequence": maybe(text()),
                "usage": maybe(any()),
            }),
            vec!["model", "content"],
        ),
        Surface::Ollama => (
            "OllamaChatResponse",
            json!({
                "model": text(),
                "created_at": text(),
                "message": any(),
                "done": {"type": "boolean"},
                "done_reason": maybe(text()),
                "total_duration": maybe(integer()),
                "load_duration": maybe(integer()),
                "prompt_eval_count": maybe(integer()),
                "prompt_eval_duration": maybe(integer()),
                "eval_count": maybe(integer()),
                "eval_duration": maybe(integer()),
            }),
            vec!["model", "message", "done"],
        ),
    };
    if let Some(properties) = properties.as_object_mut() {
        properties.insert("task_id".to_owned(), maybe(text()));
        if surface != Surface::Ollama {
            properties.insert("task_address".to_owned(), maybe(text()));
        }
        properties.insert("mode".to_owned(), maybe(text()));
    }
    json!({
        "properties": properties,
        "additionalProperties": true,
        "type": "object",
        "required": required,
        "title": title,
    })
}

/// One member. One that may be left out may be null as well.
fn property(surface: Surface, field: &Field) -> Value {
    let mut kinds = alternatives(field.rule);
    let mut schema = match (field.required, kinds.len()) {
        (true, 1) => kinds.remove(0),
        (true, _) => json!({ "anyOf": kinds }),
        // Anything at all may be null already.
        (false, 0) => json!({}),
        (false, _) => {
            kinds.push(json!({"type": "null"}));
            json!({ "anyOf": kinds })
        }
    };
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("title".to_owned(), title(field.key).into());
        schema.insert("description".to_owned(), description(surface, field.key).into());
        if let Some(usual) = default(surface, field.key) {
            schema.insert("default".to_owned(), usual);
        }
    }
    schema
}

fn alternatives(rule: Rule) -> Vec<Value> {
    let text = || json!({"type": "string"});
    let object = || json!({"additionalProperties": true, "type": "object"});
    let texts = |most: usize| {
        let mut list = json!({"items": text(), "type": "array"});
        if most != usize::MAX {
            list["maxItems"] = most.into();
        }
        list
    };
    match rule {
        Rule::Any => Vec::new(),
        Rule::Text => vec![text()],
        Rule::TextUpTo(most) => vec![json!({"type": "string", "minLength": 1, "maxLength": most})],
        Rule::Bool => vec![json!({"type": "boolean"})],
        Rule::BoolOrText => vec![json!({"type": "boolean"}), text()],
        Rule::Integer { min, max } => vec![range("integer", bound(min), bound(max))],
        Rule::Number { min, max } => {
            let max = (max != i32::MAX).then(|| max.into());
            vec![range("number", Some(min.into()), max)]
        }
        Rule::OneOf(words) => vec![json!({"type": "string", "enum": words})],
        Rule::Object => vec![object()],
        Rule::Objects => vec![json!({"items": object(), "type": "array"})],
        Rule::TextOrObject => vec![text(), object()],
        Rule::TextOrList => vec![text(), json!({"items": object(), "type": "array"})],
        Rule::Texts => vec![texts(usize::MAX)],
        Rule::TextOrTexts(most) => vec![text(), texts(most)],
    }
}

/// A bound that is one; the ends of the integers are none.
fn bound(number: i64) -> Option<Value> {
    (number != i64::MIN && number != i64::MAX).then(|| number.into())
}

fn range(kind: &str, min: Option<Value>, max: Option<Value>) -> Value {
    let mut schema = json!({ "type": kind });
    for (word, bound) in [("maximum", max), ("minimum", min)] {
        if let Some(bound) = bound {
            schema[word] = bound;
        }
    }
    schema
}

fn default(surface: Surface, key: &str) -> Option<Value> {
    match key {
        "stream" => Some((surface == Surface::Ollama).into()),
        "async" => Some(false.into()),
        "mode" => Some("auto".into()),
        _ => None,
    }
}

/// `max_tokens` as `Max Tokens`.
fn title(key: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    key.split('_').map(word).collect::<Vec<_>>().join(" ")
}

/// What a field is for, in a sentence.
fn description(surface: Surface, key: &str) -> &'static str {
    match key {
        "model" => "Model name, case-sensitive, as GET /v2/models lists it for this route",
        "messages" => "The conversation, oldest message first, each with role and content",
        "system" => "Instructions that come before the conversation: a text or text blocks",
        "max_tokens" if surface == Surface::Anthropic => "Most tokens to generate",
        "max_tokens" => "Most tokens to generate (older name of max_completion_tokens)",
        "max_completion_tokens" => "Most tokens to generate, reasoning included",
        "temperature" => "Sampling temperature",
        "top_p" => "Nucleus sampling: the share of probability that is sampled from",
        "top_k" => "Sample from this many most likely tokens",
        "min_p" => "Least probability of a token, relative to the most likely one",
        "frequency_penalty" => "Penalty for tokens by how often they came already",
        "presence_penalty" => "Penalty for tokens that came already",
        "repetition_penalty" => "Repetition penalty: 1 is none, more discourages repeats",
        "stop" | "stop_sequences" => "Texts that end the answer",
        "stream" => "Send the answer as it is generated; direct mode only",
        "stream_options" => "Streaming options, such as {\"include_usage\": true}",
        "response_format" | "format" => "Form of the answer, such as a JSON object of a schema",
        "structured_outputs" => "Hold strictly to the schema that the form of the answer gives",
        "seed" => "Seed of the random choices",
        "n" => "Answers to generate",
        "logprobs" => "Return log probabilities of the generated tokens",
        "top_logprobs" => "Most likely tokens to return at each position",
        "tools" => "Tools that the model may call",
        "tool_choice" => "Whether or which tool the model calls",
        "user" => "A name for the end user",
        "metadata" => "Facts about the request for the provider",
        "store" => "Whether the provider keeps the answer",
        "chat_template_kwargs" => "Parameters of the model's chat template",
        "logit_bias" => "Bias by token id",
        "reasoning_effort" => "How deeply a reasoning model thinks",
        "reasoning" | "thinking" | "think" => "Whether and how a reasoning model thinks",
        "include_reasoning" => "Return the reasoning beside the answer",
        "service_tier" => "Provider's service tier",
        "output_config" => "Provider's output options",
        "cache_control" => "Marks the end of the prompt's part that is kept for later requests",
        "routing" => "How a router model chooses",
        "options" => "Ollama's model options, such as num_predict and temperature",
        "keep_alive" => "Accepted and without effect: the operator says what stays loaded",
        "mode" => "Where the request is served: auto is direct where the key may, else opengpu",
        "async" => "Answer with a task at once and poll it for the result",
        "webhook_url" => "HTTPS URL that is told when the task ends; needs a key and async",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_says_what_the_check_does() {
        let schema = request_schema(Surface::Openai);
        assert_eq!(schema["required"], json!(["model", "messages"]));
        assert_eq!(schema["additionalProperties"], json!(false));
        let properties = &schema["properties"];
        assert_eq!(
            properties["max_tokens"]["anyOf"],
            json!([{"type": "integer", "maximum": 128_000, "minimum": 1}, {"type": "null"}])
        );
        assert_eq!(properties["stop"]["anyOf"][1]["maxItems"], 4);
        assert_eq!(properties["messages"]["type"], "array");
        assert_eq!(properties["seed"]["anyOf"][0], json!({"type": "integer"}));
        assert_eq!(properties["mode"]["default"], "auto");
        assert_eq!(properties["webhook_url"]["title"], "Webhook Url");
        let vllm = request_schema(Surface::Vllm);
        assert_eq!(vllm["additionalProperties"], json!(true));
        assert_eq!(vllm["properties"]["top_k"]["anyOf"][0]["minimum"], -1);
        let required = request_schema(Surface::Anthropic)["required"].clone();
        assert_eq!(required, json!(["model", "messages", "max_tokens"]));
        assert_eq!(request_schema(Surface::Ollama)["properties"]["stream"]["default"], true);
    }

    #[test]
    fn every_field_is_described_and_only_links_are_called_so() {
        for surface in Surface::ALL {
            for (key, schema) in request_schema(surface)["properties"].as_object().unwrap() {
                let text = schema["description"].as_str().unwrap();
                assert!(!text.is_empty(), "{surface:?} {key}");
                let link = ["URL", "base64", "data:"].iter().any(|word| text.contains(word));
                assert_eq!(link, key.ends_with("_url"), "{surface:?} {key}");
            }
            let answer = response_schema(surface);
            assert_eq!(answer["properties"]["mode"]["anyOf"][0]["type"], "string");
        }
    }
}
