//! Requests between formats.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::dialect::{Dialect, EngineKind};
use crate::request::{ChatRequest, Defaults, Upstream};
use crate::surface::Surface;

fn target(engine: EngineKind) -> Upstream<'static> {
    Upstream { model: "tiny", output_cap: 99, engine, defaults: Defaults::default() }
}

fn scan(surface: Surface, body: &Value) -> ChatRequest {
    ChatRequest::scan(surface, Bytes::from(body.to_string())).unwrap()
}

fn to(dialect: Dialect, surface: Surface, body: &Value) -> Value {
    let request = scan(surface, body);
    let out = request.upstream(dialect, &target(EngineKind::Unknown));
    serde_json::from_slice(&out.unwrap_or_else(|errors| panic!("{errors:?}"))).unwrap()
}

/// The paths of the fields that cannot be expressed.
fn refused(dialect: Dialect, engine: EngineKind, surface: Surface, body: &Value) -> Vec<String> {
    let request = scan(surface, body);
    match request.upstream(dialect, &target(engine)) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .iter()
            .map(|error| error.to_string().split(':').next().unwrap().to_owned())
            .collect(),
    }
}

fn openai() -> Value {
    json!({
        "model": "m", "max_tokens": 5, "stream": true,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is \"this\"?"},
                {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/AA=="}},
            ]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "a", "type": "function",
                 "function": {"name": "look", "arguments": "{\"at\":\"it\"}"}},
                {"id": "b", "type": "function", "function": {"name": "now", "arguments": ""}},
            ]},
            {"role": "tool", "tool_call_id": "a", "content": "a cat"},
            {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "noon"}]},
            {"role": "user", "content": "And?"},
        ],
        "tools": [{"type": "function", "function": {
            "name": "look", "description": "d", "parameters": {"type": "object"}}}],
        "temperature": 0.5, "top_p": 0.9, "top_k": 4, "seed": 7, "stop": "END",
        "user": "u1", "frequency_penalty": 0,
    })
}

fn anthropic() -> Value {
    json!({
        "model": "m", "max_tokens": 5, "stream": true, "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "What is \"this\"?"},
                {"type": "image", "source":
                    {"type": "base64", "media_type": "image/jpeg", "data": "/9j/AA=="}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "x"},
                {"type": "tool_use", "id": "a", "name": "look", "input": {"at": "it"}},
                {"type": "tool_use", "id": "b", "name": "now", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "a cat"},
                {"type": "tool_result", "tool_use_id": "b",
                 "content": [{"type": "text", "text": "noon"}]},
                {"type": "text", "text": "And?"},
            ]},
        ],
        "tools": [{"name": "look", "description": "d", "input_schema": {"type": "object"}}],
        "temperature": 0.5, "top_p": 0.9, "top_k": 4, "stop_sequences": ["END"],
        "metadata": {"user_id": "u1"},
    })
}

fn ollama() -> Value {
    json!({
        "model": "m", "stream": true,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is \"this\"?", "images": ["/9j/AA=="]},
            {"role": "assistant", "content": "", "tool_calls": [
                {"function": {"name": "look", "arguments": {"at": "it"}}},
                {"function": {"name": "now", "arguments": {}}},
            ]},
            {"role": "tool", "tool_name": "look", "content": "a cat"},
            {"role": "tool", "tool_name": "now", "content": "noon"},
            {"role": "user", "content": "And?"},
        ],
        "tools": [{"type": "function", "function": {
            "name": "look", "description": "d", "parameters": {"type": "object"}}}],
        "options": {"temperature": 0.5, "top_p": 0.9, "top_k": 4, "seed": 7, "stop": ["END"]},
    })
}

#[test]
fn openai_to_anthropic() {
    let mut expected = anthropic();
    expected["model"] = json!("tiny");
    expected["max_tokens"] = json!(99);
    // Earlier thinking is unknown to the source; a result's text stands in a block.
    let content = &mut expected["messages"][1]["content"];
    content.as_array_mut().unwrap().remove(0);
    expected["messages"][2]["content"][0]["content"] = json!([{"type": "text", "text": "a cat"}]);
    assert_eq!(to(Dialect::Anthropic, Surface::Openai, &openai()), expected);
}

#[test]
fn anthropic_to_openai() {
    let out = to(Dialect::Openai, Surface::Anthropic, &anthropic());
    let mut expected = openai();
    expected["model"] = json!("tiny");
    expected["max_tokens"] = json!(99);
    expected["stop"] = json!(["END"]);
    expected["stream_options"] = json!({"include_usage": true});
    expected["messages"][2]["tool_calls"][1]["function"]["arguments"] = json!("{}");
    expected["messages"][4]["content"] = json!("noon");
    for key in ["seed", "frequency_penalty"] {
        expected.as_object_mut().unwrap().remove(key);
    }
    assert_eq!(out, expected);
}

#[test]
fn openai_to_ollama() {
    let out = to(Dialect::Ollama, Surface::Openai, &openai());
    let mut expected = ollama();
    expected["model"] = json!("tiny");
    expected["options"]["num_predict"] = json!(99);
    expected["options"]["frequency_penalty"] = json!(0);
    assert_eq!(out, expected);
}

#[test]
fn ollama_to_openai() {
    let out = to(Dialect::Openai, Surface::Ollama, &ollama());
    assert_eq!(
        out["messages"][1]["content"][1]["image_url"]["url"],
        "data:image/jpeg;base64,/9j/AA=="
    );
    let calls = &out["messages"][2]["tool_calls"];
    assert_eq!(calls[0]["id"], "call_0");
    assert_eq!(calls[0]["function"]["arguments"], "{\"at\":\"it\"}");
    assert_eq!(
        out["messages"][3],
        json!({"role": "tool", "tool_call_id": "call_0", "content": "a cat"})
    );
    assert_eq!(out["messages"][4]["tool_call_id"], "call_1");
    assert_eq!(out["stop"], json!(["END"]));
    assert_eq!((&out["temperature"], &out["seed"]), (&json!(0.5), &json!(7)));
    assert_eq!(out["max_tokens"], 99);
}

#[test]
fn ollama_to_anthropic_and_back() {
    let out = to(Dialect::Anthropic, Surface::Ollama, &ollama());
    assert_eq!(out["system"], "Be brief.");
    assert_eq!(out["messages"].as_array().unwrap().len(), 3);
    assert_eq!(out["messages"][2]["content"][0]["tool_use_id"], "call_0");
    assert_eq!(out["messages"][2]["content"][2]["text"], "And?");
    assert!(out.get("seed").is_none());
    let mut back = out.clone();
    back["stream"] = json!(true);
    let out = to(Dialect::Ollama, Surface::Anthropic, &back);
    let mut expected = ollama();
    expected["model"] = json!("tiny");
    expected["options"]["num_predict"] = json!(99);
    expected["options"].as_object_mut().unwrap().remove("seed");
    assert_eq!(out, expected);
}

#[test]
fn results_find_their_calls_by_name() {
    let mut body = ollama();
    body["messages"].as_array_mut().unwrap().swap(3, 4);
    let out = to(Dialect::Openai, Surface::Ollama, &body);
    assert_eq!(out["messages"][3]["tool_call_id"], "call_1");
    assert_eq!(out["messages"][4]["tool_call_id"], "call_0");
    body["messages"] = json!([{"role": "tool", "tool_name": "look", "content": "x"}]);
    let found = refused(Dialect::Openai, EngineKind::Unknown, Surface::Ollama, &body);
    assert_eq!(found, ["messages.0"]);
}

#[test]
fn tools_and_formats_have_their_words() {
    let with = |more: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}],
            "tools": [{"type": "function", "function": {"name": "f"}}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (choice, expected) in [
        (json!("auto"), json!({"type": "auto"})),
        (json!("none"), json!({"type": "none"})),
        (json!("required"), json!({"type": "any"})),
        (
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"type": "tool", "name": "f"}),
        ),
    ] {
        let body = with(json!({"tool_choice": choice}));
        let out = to(Dialect::Anthropic, Surface::Openai, &body);
        assert_eq!(out["tool_choice"], expected);
        assert_eq!(out["tools"][0]["input_schema"], json!({"type": "object", "properties": {}}));
        // And back again.
        let back = json!({"model": "m", "max_tokens": 1, "tool_choice": expected,
            "messages": [{"role": "user", "content": "x"}]});
        assert_eq!(to(Dialect::Openai, Surface::Anthropic, &back)["tool_choice"], choice);
    }
    let body = with(json!({"parallel_tool_calls": false}));
    let out = to(Dialect::Anthropic, Surface::Vllm, &body);
    assert_eq!(out["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let body = with(json!({"response_format": format}));
    let out = to(Dialect::Anthropic, Surface::Openai, &body);
    assert_eq!(out["output_config"]["format"], json!({"type": "json_schema", "schema": schema}));
    assert_eq!(to(Dialect::Ollama, Surface::Openai, &body)["format"], schema);
    let body = with(json!({"response_format": {"type": "json_object"}}));
    assert_eq!(to(Dialect::Ollama, Surface::Openai, &body)["format"], "json");
    let body = with(json!({"format": "json"}));
    let out = to(Dialect::Openai, Surface::Ollama, &body);
    assert_eq!(out["response_format"], json!({"type": "json_object"}));
    let body = with(json!({"tool_choice": "none"}));
    assert!(to(Dialect::Ollama, Surface::Openai, &body).get("tools").is_none());
}

#[test]
fn what_cannot_be_said_names_its_field() {
    use Dialect::{Anthropic, Ollama, Openai};
    let with = |more: Value| {
        let mut body = json!({"model": "m", "max_tokens": 5,
            "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let said = |part: Value| with(json!({"messages": [{"role": "user", "content": [part]}]}));
    let audio = json!({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}});
    let link = json!({"type": "image_url", "image_url": {"url": "https://x.example/a.png"}});
    let document = json!({"type": "document", "source": {"type": "text", "data": "x"}});
    let odd = json!({"role": "assistant", "content": "", "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "[1]"}}]});
    for (from, dialect, body, expected) in [
        (Surface::Openai, Anthropic, with(json!({"n": 2})), "n"),
        (Surface::Openai, Ollama, with(json!({"n": 2})), "n"),
        (Surface::Openai, Anthropic, with(json!({"n": 1})), ""),
        (Surface::Openai, Anthropic, with(json!({"temperature": 1.5})), "temperature"),
        (Surface::Openai, Ollama, with(json!({"temperature": 1.5})), ""),
        (Surface::Openai, Anthropic, with(json!({"presence_penalty": 1})), "presence_penalty"),
        (Surface::Openai, Anthropic, with(json!({"presence_penalty": 0.0})), ""),
        (Surface::Openai, Anthropic, with(json!({"min_p": 0.1})), "min_p"),
        (Surface::Openai, Anthropic, with(json!({"logit_bias": {"5": 1}})), "logit_bias"),
        (Surface::Openai, Ollama, with(json!({"logit_bias": {}})), ""),
        (Surface::Openai, Ollama, with(json!({"logprobs": true})), "logprobs"),
        (Surface::Openai, Anthropic, with(json!({"logprobs": false})), ""),
        (
            Surface::Openai,
            Anthropic,
            with(json!({"response_format": {"type": "json_object"}})),
            "response_format",
        ),
        (
            Surface::Openai,
            Ollama,
            with(json!({"response_format": {"type": "grammar"}})),
            "response_format",
        ),
        (Surface::Openai, Ollama, with(json!({"tool_choice": "required"})), "tool_choice"),
        (Surface::Openai, Anthropic, with(json!({"tools": [{"type": "web_search"}]})), "tools.0"),
        (Surface::Openai, Anthropic, said(audio.clone()), "messages.0.content.0"),
        (Surface::Openai, Ollama, said(link.clone()), "messages.0.content"),
        (Surface::Openai, Anthropic, said(link), ""),
        (Surface::Openai, Anthropic, with(json!({"messages": [odd]})), "messages.0.tool_calls"),
        (
            Surface::Openai,
            Anthropic,
            with(json!({"messages": [{"role": "tool", "content": "x"}]})),
            "messages.0.tool_call_id",
        ),
        (Surface::Anthropic, Openai, said(document), "messages.0.content.0"),
        (
            Surface::Anthropic,
            Openai,
            with(json!({"tools": [{"type": "bash_20250124", "name": "bash"}]})),
            "tools.0",
        ),
        (
            Surface::Anthropic,
            Openai,
            with(json!({"output_config": {"format": {"type": "grammar"}}})),
            "output_config.format",
        ),
    ] {
        let found = refused(dialect, EngineKind::Unknown, from, &body);
        let expected: Vec<&str> = if expected.is_empty() { vec![] } else { vec![expected] };
        assert_eq!(found, expected, "{from:?} to {dialect:?}: {body}");
    }
    // A vendor's own API has no settings of open engines.
    let body = with(json!({"top_k": 5}));
    let found = refused(Openai, EngineKind::Commercial, Surface::Anthropic, &body);
    assert_eq!(found, ["top_k"]);
}

#[test]
fn hints_are_dropped_with_a_reason() {
    let body = json!({"model": "m", "max_tokens": 5, "thinking": {"type": "enabled"},
        "cache_control": {"type": "ephemeral"}, "service_tier": "auto",
        "messages": [{"role": "user", "content": "x"}]});
    let request = scan(Surface::Anthropic, &body);
    let notes = request.translation_notes(Dialect::Openai, &target(EngineKind::Vllm));
    let fields: Vec<&str> = notes.iter().map(|note| note.field.as_str()).collect();
    assert_eq!(fields, ["thinking", "service_tier", "cache_control"]);
    assert!(notes.iter().all(|note| note.action == "dropped" && !note.reason.is_empty()));
    let same = request.translation_notes(Dialect::Anthropic, &target(EngineKind::Commercial));
    assert!(same.is_empty());
}

#[test]
fn thinking_can_be_turned_off_where_the_engine_can() {
    let off = json!({"model": "m", "messages": [{"role": "user", "content": "x"}],
        "reasoning_effort": "none"});
    assert_eq!(to(Dialect::Ollama, Surface::Openai, &off)["think"], false);
    let off = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "think": false});
    let body = scan(Surface::Ollama, &off).upstream(Dialect::Openai, &target(EngineKind::Vllm));
    let body: Value = serde_json::from_slice(&body.unwrap()).unwrap();
    assert_eq!(body["chat_template_kwargs"], json!({"enable_thinking": false}));
}

/// Every text in a document, in order of appearance, joined.
fn texts(value: &Value, found: &mut String) {
    match value {
        Value::String(text) => {
            found.push_str(text);
            found.push('\n');
        }
        Value::Array(list) => list.iter().for_each(|entry| texts(entry, found)),
        Value::Object(map) => map.values().for_each(|entry| texts(entry, found)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn texts_survive_every_way_round(
        said in prop::collection::vec(("\\PC{1,20}|[\"\\\\\n\t😀ü]{1,6}", any::<bool>()), 1..6),
        first in prop::sample::select(&Dialect::ALL),
        second in prop::sample::select(&Dialect::ALL),
    ) {
        let messages: Vec<Value> = said
            .iter()
            .enumerate()
            .map(|(n, (text, _))| {
                json!({"role": if n % 2 == 0 { "user" } else { "assistant" }, "content": text})
            })
            .collect();
        let mut body = json!({"model": "m", "max_tokens": 5, "messages": messages});
        for dialect in [first, second, Dialect::Openai] {
            let is_ollama = body.get("options").is_some();
            let surface = if is_ollama { Surface::Ollama } else { Surface::Vllm };
            body = to(dialect, surface, &body);
            let mut found = String::new();
            texts(&body["messages"], &mut found);
            for (text, _) in &said {
                prop_assert!(found.contains(text.as_str()), "{:?} in {:?}", text, found);
            }
            if dialect == Dialect::Anthropic {
                // Read it back by its own surface.
                body = to(Dialect::Openai, Surface::Anthropic, &body);
            }
        }
        for (n, (text, _)) in said.iter().enumerate() {
            prop_assert_eq!(&body["messages"][n]["content"], text.as_str());
        }
    }
}
