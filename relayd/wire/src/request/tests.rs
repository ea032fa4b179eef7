//! Bodies as callers send them: what is refused and why, what is read, what goes on.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const TARGET: Upstream<'static> = Upstream {
    model: "tiny",
    output_cap: 99,
    engine: EngineKind::Unknown,
    defaults: Defaults { temperature_milli: None, top_p_milli: None },
};

fn scan(surface: Surface, body: &str) -> Result<ChatRequest, Vec<FieldError>> {
    ChatRequest::scan(surface, Bytes::copy_from_slice(body.as_bytes()))
}

/// The errors of a body as `kind path` lines.
fn errors(surface: Surface, body: &str) -> Vec<String> {
    let shown = |error: &FieldError| {
        let loc: Vec<String> = error
            .loc
            .iter()
            .map(|step| match step {
                Loc::Key(key) => key.to_string(),
                Loc::Index(index) => index.to_string(),
            })
            .collect();
        format!("{} {}", error.kind, loc.join("."))
    };
    scan(surface, body).map_or_else(|all| all.iter().map(shown).collect(), |_| Vec::new())
}

/// A minimal body of a surface with more members.
fn body(surface: Surface, more: &str) -> String {
    let cap = if surface == Surface::Anthropic { r#","max_tokens":5"# } else { "" };
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{cap}{more}}}"#)
}

fn upstream(request: &ChatRequest, engine: EngineKind) -> Value {
    let dialect = request.surface().dialect();
    let body = request.upstream(dialect, &Upstream { engine, ..TARGET }).unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn every_field_of_the_openai_surface_has_its_rule() {
    // (member, what is wrong with it; empty: nothing)
    for (member, expected) in [
        (r#""max_tokens":1"#, ""),
        (r#""max_tokens":128000"#, ""),
        (r#""max_tokens":0"#, "greater_than_equal body.max_tokens"),
        (r#""max_tokens":128001"#, "less_than_equal body.max_tokens"),
        (r#""max_tokens":99999999999999999999"#, "less_than_equal body.max_tokens"),
        (r#""max_tokens":-99999999999999999999"#, "greater_than_equal body.max_tokens"),
        (r#""max_tokens":1.5"#, "int_from_float body.max_tokens"),
        (r#""max_tokens":"5""#, "int_type body.max_tokens"),
        (r#""max_tokens":true"#, "int_type body.max_tokens"),
        (r#""max_tokens":null"#, ""),
        (r#""max_completion_tokens":0"#, "greater_than_equal body.max_completion_tokens"),
        (r#""temperature":2"#, ""),
        (r#""temperature":2.01"#, "less_than_equal body.temperature"),
        (r#""temperature":-0.1"#, "greater_than_equal body.temperature"),
        (r#""temperature":"hot""#, "float_type body.temperature"),
        (r#""top_p":1.1"#, "less_than_equal body.top_p"),
        (r#""frequency_penalty":-2"#, ""),
        (r#""frequency_penalty":-2.5"#, "greater_than_equal body.frequency_penalty"),
        (r#""presence_penalty":3"#, "less_than_equal body.presence_penalty"),
        (r#""stop":"x""#, ""),
        (r#""stop":["a","b","c","d"]"#, ""),
        (r#""stop":["a","b","c","d","e"]"#, "too_long body.stop"),
        (r#""stop":["a",1]"#, "string_type body.stop.1"),
        (r#""stop":1"#, "string_type body.stop"),
        (r#""stream":1"#, "bool_type body.stream"),
        (r#""stream_options":{"include_usage":true}"#, ""),
        (r#""stream_options":{"include_usage":1}"#, "bool_type body.stream_options.include_usage"),
        (r#""stream_options":{"a":1,"a":2}"#, "duplicate_key body.stream_options.a"),
        (r#""stream_options":[]"#, "dict_type body.stream_options"),
        (r#""response_format":"json""#, "dict_type body.response_format"),
        (r#""seed":-1"#, ""),
        (r#""seed":"x""#, "int_type body.seed"),
        (r#""n":10"#, ""),
        (r#""n":11"#, "less_than_equal body.n"),
        (r#""n":0"#, "greater_than_equal body.n"),
        (r#""logprobs":"yes""#, "bool_type body.logprobs"),
        (r#""top_logprobs":21"#, "less_than_equal body.top_logprobs"),
        (r#""tools":{}"#, "list_type body.tools"),
        (r#""tools":[1]"#, "dict_type body.tools.0"),
        (r#""tool_choice":1"#, "string_type body.tool_choice"),
        (r#""user":1"#, "string_type body.user"),
        (r#""store":1"#, "bool_type body.store"),
        (r#""chat_template_kwargs":1"#, "dict_type body.chat_template_kwargs"),
        (r#""top_k":-1"#, "greater_than_equal body.top_k"),
        (r#""min_p":2"#, "less_than_equal body.min_p"),
        (r#""repetition_penalty":-1"#, "greater_than_equal body.repetition_penalty"),
        (r#""logit_bias":[]"#, "dict_type body.logit_bias"),
        (r#""reasoning_effort":"max""#, ""),
        (r#""reasoning_effort":"most""#, "literal_error body.reasoning_effort"),
        (r#""reasoning":1"#, "dict_type body.reasoning"),
        (r#""include_reasoning":1"#, "bool_type body.include_reasoning"),
        (r#""structured_outputs":{}"#, "bool_type body.structured_outputs"),
        (r#""mode":"opengpu""#, ""),
        (r#""mode":"fast""#, "literal_error body.mode"),
        (r#""async":1"#, "bool_type body.async"),
        (r#""webhook_url":"""#, "string_too_short body.webhook_url"),
        (r#""webhook_url":5"#, "string_type body.webhook_url"),
        (r#""routing":1"#, "dict_type body.routing"),
        (r#""store_output":"relay1d""#, "extra_forbidden body.store_output"),
        (r#""parallel_tool_calls":true"#, "extra_forbidden body.parallel_tool_calls"),
        (r#""nope":null"#, "extra_forbidden body.nope"),
        (r#""Model":"m""#, "extra_forbidden body.Model"),
        (r#""mod\u0065l":"m""#, "duplicate_key body.model"),
    ] {
        let found = errors(Surface::Openai, &body(Surface::Openai, &format!(",{member}")));
        let expected: Vec<&str> = if expected.is_empty() { vec![] } else { vec![expected] };
        assert_eq!(found, expected, "{member}");
    }
}

#[test]
fn the_other_surfaces_have_their_own() {
    use Surface::{Anthropic, Ollama, Vllm};
    for (surface, member, expected) in [
        (Anthropic, r#""temperature":1.1"#, "less_than_equal body.temperature"),
        (Anthropic, r#""system":1"#, "string_type body.system"),
        (Anthropic, r#""system":[{"type":"text","text":"x"}]"#, ""),
        (Anthropic, r#""system":["x"]"#, "dict_type body.system.0"),
        (Anthropic, r#""mode":"opengpu""#, "literal_error body.mode"),
        (Anthropic, r#""service_tier":"flex""#, "literal_error body.service_tier"),
        (Anthropic, r#""stop_sequences":"x""#, "list_type body.stop_sequences"),
        (Anthropic, r#""n":2"#, "extra_forbidden body.n"),
        (Anthropic, r#""thinking":{"type":"adaptive"}"#, ""),
        (Vllm, r#""guided_json":{}"#, ""),
        (Vllm, r#""top_k":-1"#, ""),
        (Vllm, r#""structured_outputs":{"choice":["a"]}"#, ""),
        (Vllm, r#""n":11"#, "less_than_equal body.n"),
        // Other names of the cap and of n would lift an answer above its hold.
        (Vllm, r#""n_predict":-1"#, "extra_forbidden body.n_predict"),
        (Vllm, r#""N_Predict":-1"#, "extra_forbidden body.N_Predict"),
        (Vllm, r#""best_of":9"#, "extra_forbidden body.best_of"),
        (Vllm, r#""priority":-9"#, "extra_forbidden body.priority"),
        (Vllm, r#""store_output":"relay1d""#, "extra_forbidden body.store_output"),
        // Engines in Go match keys regardless of case, and with two letters more.
        (Ollama, r#""Options":{"num_predict":-1}"#, "extra_forbidden body.Options"),
        (Ollama, r#""KEEP_ALIVE":0"#, "extra_forbidden body.KEEP_ALIVE"),
        (Ollama, "\"option\u{17f}\":{}", "extra_forbidden body.option\u{17f}"),
        (Ollama, "\"\u{212a}eep_alive\":0", "extra_forbidden body.\u{212a}eep_alive"),
        (Ollama, r#""options":{"num_predict":-1,"mirostat":2}"#, ""),
        (Ollama, r#""options":{"num_predict":128001}"#, "less_than_equal body.options.num_predict"),
        (Ollama, r#""options":{"seed":1,"seed":2}"#, "duplicate_key body.options.seed"),
        (Ollama, r#""think":"high""#, ""),
        (Ollama, r#""think":1"#, "bool_type body.think"),
        (Ollama, r#""keep_alive":"5m""#, ""),
        (Ollama, r#""format":{"type":"object"}"#, ""),
        (Ollama, r#""format":1"#, "string_type body.format"),
        (Ollama, r#""truncate":true"#, ""),
    ] {
        let found = errors(surface, &body(surface, &format!(",{member}")));
        let expected: Vec<&str> = if expected.is_empty() { vec![] } else { vec![expected] };
        assert_eq!(found, expected, "{surface:?} {member}");
    }
}

#[test]
fn messages_have_a_shape() {
    use Surface::{Anthropic, Ollama, Openai, Vllm};
    for (surface, messages, expected) in [
        (Openai, "[]", "too_short body.messages"),
        (Openai, "{}", "list_type body.messages"),
        (Openai, "[1]", "dict_type body.messages.0"),
        (Openai, r#"[{"content":"x"}]"#, "missing body.messages.0.role"),
        (Openai, r#"[{"role":"robot","content":"x"}]"#, "literal_error body.messages.0.role"),
        (Openai, r#"[{"role":"developer","content":"x"}]"#, ""),
        (Openai, r#"[{"role":"user","content":1}]"#, "string_type body.messages.0.content"),
        (Openai, r#"[{"role":"assistant","content":null,"tool_calls":[]}]"#, ""),
        (Openai, r#"[{"role":"user","content":["x"]}]"#, "dict_type body.messages.0.content.0"),
        (
            Openai,
            r#"[{"role":"user","content":"a","c\u006fntent":"b"}]"#,
            "duplicate_key body.messages.0.content",
        ),
        (
            Openai,
            r#"[{"role":"user","content":[{"type":"text","type":"image_url"}]}]"#,
            "duplicate_key body.messages.0.content.0.type",
        ),
        (Vllm, r#"[{"role":"control","content":["x"]}]"#, ""),
        (Vllm, r#"[{"role":1,"content":"x"}]"#, "string_type body.messages.0.role"),
        (Anthropic, r#"[{"role":"system","content":"x"}]"#, "literal_error body.messages.0.role"),
        (Anthropic, r#"[{"role":"user"}]"#, "missing body.messages.0.content"),
        (
            Anthropic,
            r#"[{"role":"user","content":[{"text":"x"}]}]"#,
            "missing body.messages.0.content.0.type",
        ),
        (Ollama, r#"[{"role":"user","content":"x","images":["aGk="]}]"#, ""),
    ] {
        let cap = if surface == Anthropic { r#","max_tokens":5"# } else { "" };
        let found = errors(surface, &format!(r#"{{"model":"m","messages":{messages}{cap}}}"#));
        let expected: Vec<&str> = if expected.is_empty() { vec![] } else { vec![expected] };
        assert_eq!(found, expected, "{surface:?} {messages}");
    }
}

#[test]
fn cache_markers_are_exact_and_at_most_four() {
    let with = |marker: &str| {
        let block = format!(r#"{{"type":"text","text":"x","cache_control":{marker}}}"#);
        format!(
            r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":[{block}]}}]}}"#
        )
    };
    for marker in [
        r#"{"type":"ephemeral"}"#,
        r#"{"type":"ephemeral","ttl":"1h"}"#,
        r#"{"ttl":"5m","type":"ephemeral"}"#,
        "null",
    ] {
        assert!(errors(Surface::Anthropic, &with(marker)).is_empty(), "{marker}");
    }
    for marker in [
        "{}",
        "true",
        r#"{"type":"persistent"}"#,
        r#"{"type":"ephemeral","ttl":"2h"}"#,
        r#"{"type":"ephemeral","ttl":300}"#,
        r#"{"type":"ephemeral","scope":"org"}"#,
    ] {
        let expected = ["literal_error body.messages.0.content.0.cache_control"];
        assert_eq!(errors(Surface::Anthropic, &with(marker)), expected, "{marker}");
    }
    let mark = r#""cache_control":{"type":"ephemeral"}"#;
    let many = |blocks: usize| {
        let tool = format!(r#"{{"name":"t","input_schema":{{}},{mark}}}"#);
        let block = format!(r#"{{"type":"text","text":"x",{mark}}}"#);
        let blocks = vec![block; blocks].join(",");
        let more = format!(r#","system":[{blocks}],"tools":[{tool}],{mark}"#);
        body(Surface::Anthropic, &more)
    };
    assert_eq!(scan(Surface::Anthropic, &many(2)).unwrap().cache_markers(), 4);
    assert_eq!(errors(Surface::Anthropic, &many(3)), ["too_long body.cache_control"]);
}

#[test]
fn what_is_not_a_request_is_refused_with_its_place() {
    for (text, expected) in [
        ("", "json_invalid body.0"),
        ("{\"model\":", "json_invalid body.9"),
        ("{} x", "json_invalid body.3"),
        ("[]", "model_attributes_type body"),
        ("null", "model_attributes_type body"),
    ] {
        assert_eq!(errors(Surface::Openai, text), [expected], "{text}");
    }
    let missing = ["missing body.model", "missing body.messages"];
    assert_eq!(errors(Surface::Openai, "{}"), missing);
    assert_eq!(errors(Surface::Openai, r#"{"model":null}"#), missing);
    let missing = ["missing body.model", "missing body.messages", "missing body.max_tokens"];
    assert_eq!(errors(Surface::Anthropic, "{}"), missing);
    let model = r#"{"model":"","messages":[{"role":"user","content":""}]}"#;
    assert_eq!(errors(Surface::Openai, model), ["string_too_short body.model"]);
}

#[test]
fn errors_are_complete_but_bounded_and_hold_no_values() {
    let two = body(Surface::Openai, r#","n":0,"temperature":"secret value""#);
    let found = scan(Surface::Openai, &two).unwrap_err();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|error| !error.msg.contains("secret")));
    let junk: Vec<String> = (0..200).map(|n| format!("\"x{n}\":{n}")).collect();
    assert_eq!(errors(Surface::Openai, &format!("{{{}}}", junk.join(","))).len(), 64);
    let junk: Vec<String> = (0..300).map(|n| format!("\"x{n}\":{n}")).collect();
    let found = errors(Surface::Vllm, &format!("{{{}}}", junk.join(",")));
    assert_eq!(found, ["too_long body"]);
    let key = "k".repeat(1000);
    let found = scan(Surface::Openai, &body(Surface::Openai, &format!(",\"{key}\":1")));
    assert_eq!(found.unwrap_err()[0].loc[1], Loc::Key("k".repeat(64).into()));
}

#[test]
fn a_request_is_read() {
    let more = r#","max_tokens":70,"max_completion_tokens":50,"stream":true,"n":3,
        "stream_options":{"include_usage":true},"mode":"direct","async":true,
        "webhook_url":"https:\/\/x.example\/","routing":{}"#;
    let request = scan(Surface::Openai, &body(Surface::Openai, more)).unwrap();
    assert_eq!(request.model(), "m");
    assert_eq!(request.output_cap(), Some(50));
    assert_eq!(request.choices(), 3);
    assert!(request.stream() && request.include_usage() && request.is_async());
    assert!(request.has_routing());
    assert_eq!(request.mode(), ModeRequest::Only(Mode::Direct));
    assert_eq!(request.webhook_url(), Some("https://x.example/"));

    let plain = scan(Surface::Openai, &body(Surface::Openai, "")).unwrap();
    assert_eq!((plain.output_cap(), plain.choices()), (None, 1));
    assert!(!plain.stream() && !plain.include_usage() && !plain.is_async());
    assert_eq!(plain.mode(), ModeRequest::Auto);

    // Ollama streams unless told otherwise.
    for (more, stream) in [("", true), (r#","stream":false"#, false), (r#","async":true"#, false)] {
        let request = scan(Surface::Ollama, &body(Surface::Ollama, more)).unwrap();
        assert_eq!(request.stream(), stream, "{more}");
    }
    for (cap, read) in [("7", Some(7)), ("-1", None), ("-2", None), ("0", None), ("null", None)] {
        let more = format!(r#","options":{{"num_predict":{cap}}}"#);
        let request = scan(Surface::Ollama, &body(Surface::Ollama, &more)).unwrap();
        assert_eq!(request.output_cap(), read, "{cap}");
    }
    // Where the format has no `n`, the word means nothing.
    let request = scan(Surface::Ollama, &body(Surface::Ollama, r#","n":1000000"#)).unwrap();
    assert_eq!(request.choices(), 1);
}

#[test]
fn the_prompts_ceiling_covers_texts_tools_and_pictures() {
    let of = |surface, text: &str| scan(surface, text).unwrap().prompt_bytes();
    let bare = of(Surface::Openai, &body(Surface::Openai, ""));
    assert!((2..100).contains(&bare), "{bare}");
    // Sampling settings are no prompt.
    assert_eq!(of(Surface::Openai, &body(Surface::Openai, r#","temperature":1,"seed":5"#)), bare);
    let tool = format!(r#"{{"type":"function","function":{{"name":"{}"}}}}"#, "t".repeat(500));
    assert!(of(Surface::Openai, &body(Surface::Openai, &format!(",\"tools\":[{tool}]"))) > 500);
    let picture = |url: &str| {
        format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}]}}"#
        )
    };
    let short = of(Surface::Openai, &picture("https://x.example/a.png"));
    let long =
        of(Surface::Openai, &picture(&format!("data:image/png;base64,{}", "A".repeat(100_000))));
    assert_eq!(short, long);
    assert!((16_384..17_000).contains(&short), "{short}");
    let ollama = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"x","images":["{}"]}}]}}"#,
        "A".repeat(100_000)
    );
    assert!((16_384..17_000).contains(&of(Surface::Ollama, &ollama)));
    let system = format!(r#","system":"{}""#, "s".repeat(5000));
    assert!(of(Surface::Anthropic, &body(Surface::Anthropic, &system)) > 5000);
}

#[test]
fn the_engines_body_keeps_slices_and_has_our_fields() {
    let more = r#","max_tokens":70,"temperature" : 0.70000000000000000001,"stop":["\u0041"],
        "mode":"auto","async":false,"user":null,"webhook_url":null,"structured_outputs":true,
        "stream_options":{"include_usage":false,"x":1},"logit_bias":{ "1" : -100.0 }"#;
    let request = scan(Surface::Openai, &body(Surface::Openai, more)).unwrap();
    let out = request.upstream(Dialect::Openai, &TARGET).unwrap();
    assert_eq!(
        std::str::from_utf8(&out).unwrap(),
        r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"temperature" : 0.70000000000000000001,"stop":["\u0041"],"logit_bias":{ "1" : -100.0 },"max_tokens":99,"stream":false}"#
    );
}

#[test]
fn streams_ask_each_engine_for_its_counts() {
    let request = scan(Surface::Openai, &body(Surface::Openai, r#","stream":true"#)).unwrap();
    let plain = json!({"include_usage": true});
    let running = json!({"include_usage": true, "continuous_usage_stats": true});
    for (engine, options, timings) in [
        (EngineKind::Unknown, &plain, None),
        (EngineKind::Commercial, &plain, None),
        (EngineKind::Vllm, &running, None),
        (EngineKind::Llamacpp, &plain, Some(true)),
    ] {
        let out = upstream(&request, engine);
        assert_eq!(out["stream_options"], *options, "{engine:?}");
        assert_eq!(out.get("timings_per_token").and_then(Value::as_bool), timings, "{engine:?}");
    }
}

#[test]
fn the_cap_has_the_name_that_the_engine_takes() {
    for (more, engine, name) in [
        ("", EngineKind::Llamacpp, "max_tokens"),
        ("", EngineKind::Commercial, "max_completion_tokens"),
        (r#","max_tokens":5"#, EngineKind::Commercial, "max_tokens"),
        (r#","max_completion_tokens":5"#, EngineKind::Commercial, "max_completion_tokens"),
        (r#","max_completion_tokens":5"#, EngineKind::Vllm, "max_tokens"),
    ] {
        let request = scan(Surface::Openai, &body(Surface::Openai, more)).unwrap();
        let out = upstream(&request, engine);
        let named = |key: &str| out.get(key).is_some();
        assert_eq!(out[name], 99, "{more} {engine:?}");
        assert!(named("max_tokens") != named("max_completion_tokens"), "{more} {engine:?}");
    }
}

#[test]
fn open_surfaces_pass_what_they_do_not_know() {
    let more = r#","guided_json":{"a":[1]},"timings_per_token":true,"repetition_penalty":1.2"#;
    let request = scan(Surface::Vllm, &body(Surface::Vllm, more)).unwrap();
    let out = upstream(&request, EngineKind::Vllm);
    assert_eq!(out["guided_json"], json!({"a": [1]}));
    assert_eq!(out["repetition_penalty"], 1.2);
    assert!(out.get("timings_per_token").is_none());
    // llama.cpp has another word for it.
    let out = upstream(&request, EngineKind::Llamacpp);
    assert_eq!(out["repeat_penalty"], 1.2);
    assert!(out.get("repetition_penalty").is_none());

    let more = r#","keep_alive":0,"options":{"num_ctx":8192,"num_predict":-1,"num_gpu":99,"stop":null},"think":true"#;
    let request = scan(Surface::Ollama, &body(Surface::Ollama, more)).unwrap();
    let out = upstream(&request, EngineKind::Ollama);
    assert_eq!(out["options"], json!({"num_ctx": 8192, "stop": null, "num_predict": 99}));
    assert_eq!(out["think"], true);
    assert_eq!(out["stream"], true);
    assert!(out.get("keep_alive").is_none());
}

#[test]
fn anthropics_body_has_cap_and_stream() {
    let more = r#","system":"s","stream":true,"metadata":{"user_id":"u"},"mode":"direct""#;
    let request = scan(Surface::Anthropic, &body(Surface::Anthropic, more)).unwrap();
    assert_eq!(request.output_cap(), Some(5));
    assert_eq!(
        upstream(&request, EngineKind::Commercial),
        json!({
            "model": "tiny", "messages": [{"role": "user", "content": "hi"}], "system": "s",
            "metadata": {"user_id": "u"}, "max_tokens": 99, "stream": true,
        })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What is accepted goes on as the document it was, apart from Relay's own members.
    #[test]
    fn passing_changes_nothing_else(
        members in prop::collection::btree_map("[a-z_]{1,6}", any::<i64>().prop_map(|n| json!(n)), 0..6),
        content in any::<String>(),
        surface in prop::sample::select(&[Surface::Vllm, Surface::Ollama]),
    ) {
        let mut sent = serde_json::Map::new();
        sent.insert("model".into(), json!("m"));
        sent.insert("messages".into(), json!([{"role": "user", "content": content}]));
        for (key, value) in members {
            sent.entry(format!("x_{key}")).or_insert(value);
        }
        let text = serde_json::to_string(&sent).unwrap();
        let request = scan(surface, &text).unwrap();
        let out = upstream(&request, EngineKind::Unknown);
        for (key, value) in sent.iter().filter(|(key, _)| *key != "model") {
            prop_assert_eq!(&out[key], value);
        }
        prop_assert_eq!(&out["model"], "tiny");
    }

    #[test]
    fn damaged_bodies_never_panic(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        surface in prop::sample::select(&Surface::ALL),
    ) {
        let mut bytes = br#"{"model":"m","max_tokens":5,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}],"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}],"images":["AA"]},{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]}],"tools":[{"type":"function","function":{"name":"f"}}],"options":{"num_predict":5},"stop":["x"],"stream":true}"#.to_vec();
        for (place, byte) in places {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(request) = ChatRequest::scan(surface, bytes.into()) {
            for dialect in Dialect::ALL {
                if let Ok(body) = request.upstream(dialect, &TARGET) {
                    serde_json::from_slice::<Value>(&body).unwrap();
                }
            }
        }
    }
}

#[test]
fn defaults_stand_where_the_caller_said_nothing() {
    let defaults = Defaults { temperature_milli: Some(700), top_p_milli: Some(1_000) };
    let target = Upstream { defaults, ..TARGET };
    for surface in [Surface::Openai, Surface::Anthropic, Surface::Ollama] {
        for dialect in [Dialect::Openai, Dialect::Anthropic, Dialect::Ollama] {
            let sent = |more: &str| {
                let request = scan(surface, &body(surface, more)).unwrap();
                let body = request.upstream(dialect, &target).unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                if dialect == Dialect::Ollama { body["options"].clone() } else { body }
            };
            let silent = sent("");
            assert_eq!((&silent["temperature"], &silent["top_p"]), (&json!(0.7), &json!(1.0)));
            let more = match surface {
                Surface::Ollama => r#","options":{"temperature":0.1}"#,
                _ => r#","temperature":0.1"#,
            };
            let said = sent(more);
            assert_eq!((&said["temperature"], &said["top_p"]), (&json!(0.1), &json!(1.0)));
        }
    }
}
