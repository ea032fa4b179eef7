//! Whole bodies, from every dialect to every surface.

use relay_domain::Mode;
use serde_json::{Value, json};

use super::*;

const OPENAI: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":7,"model":"tiny","system_fingerprint":"b0","choices":[{"index":0,"message":{"role":"assistant","content":"H\u00fc \"you\"","reasoning_content":"Hm"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":33,"completion_tokens":24,"total_tokens":57,"prompt_tokens_details":{"cached_tokens":24}},"timings":{"prompt_n":9}}"#;
const OPENAI_TOOLS: &str = r#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_a","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Gen\u00e8ve\"}"}},{"id":"call_b","type":"function","function":{"name":"time","arguments":""}}]},"finish_reason":"tool_calls"}]}"#;
const ANTHROPIC: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"thinking","thinking":"Hm","signature":"x"},{"type":"text","text":"H\u00fc "},{"type":"text","text":"\"you\""},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Bern"}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":9,"cache_creation_input_tokens":6,"cache_read_input_tokens":24,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":2},"output_tokens":12,"service_tier":"standard"}}"#;
const OLLAMA: &str = r#"{"model":"gpt-oss:20b","created_at":"2026-11-22T10:00:00Z","message":{"role":"assistant","content":"H\u00fc \"you\"","thinking":"Hm","tool_calls":[{"function":{"name":"weather","arguments":{"city":"Bern"}}}]},"done_reason":"stop","done":true,"total_duration":5,"load_duration":1,"prompt_eval_count":26,"prompt_eval_duration":2,"eval_count":8,"eval_duration":2}"#;

fn stamp() -> Stamp {
    Stamp {
        model: "vendor/model".into(),
        task_id: "direct:0b1c".into(),
        mode: Mode::Direct,
        request_id: "r".into(),
        created: 1_790_000_000,
    }
}

fn through(surface: Surface, dialect: Dialect, body: &str) -> Result<(Value, Answer), WireError> {
    let timing = Timing { total_ns: 9, load_ns: 0, prompt_ns: 4, eval_ns: 5 };
    let body = Bytes::copy_from_slice(body.as_bytes());
    let answer = answer(surface, dialect, &body, &stamp(), &timing)?;
    Ok((serde_json::from_slice(&answer.body).unwrap(), answer))
}

#[test]
fn a_body_of_the_same_format_keeps_its_slices() {
    let (_, answer) = through(Surface::Openai, Dialect::Openai, OPENAI).unwrap();
    assert_eq!(
        std::str::from_utf8(&answer.body).unwrap(),
        r#"{"id":"chatcmpl-1","object":"chat.completion","created":7,"model":"vendor/model","system_fingerprint":"b0","choices":[{"index":0,"message":{"role":"assistant","content":"H\u00fc \"you\"","reasoning_content":"Hm"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":33,"completion_tokens":24,"total_tokens":57,"prompt_tokens_details":{"cached_tokens":24}},"task_id":"direct:0b1c","task_address":null,"mode":"direct"}"#
    );
    let usage = answer.usage.unwrap();
    assert_eq!((usage.in_uncached, usage.in_cache_read, usage.out_text), (9, 24, 24));
    assert_eq!(answer.finish, Finish::Stop);
    assert_eq!(answer.out_bytes, 11);

    let (body, answer) = through(Surface::Anthropic, Dialect::Anthropic, ANTHROPIC).unwrap();
    assert_eq!(body["model"], "vendor/model");
    assert_eq!(body["usage"]["service_tier"], "standard");
    assert_eq!(body["task_address"], Value::Null);
    let usage = answer.usage.unwrap();
    assert_eq!((usage.in_cache_write_5m, usage.in_cache_write_1h), (4, 2));
    assert_eq!(answer.finish, Finish::ToolCalls);

    let (body, answer) = through(Surface::Ollama, Dialect::Ollama, OLLAMA).unwrap();
    assert_eq!(body["model"], "vendor/model");
    assert_eq!(body["total_duration"], 5);
    assert_eq!(body["task_id"], "direct:0b1c");
    assert_eq!(body["mode"], "direct");
    assert_eq!(answer.usage.unwrap().output(), 8);
    assert_eq!(answer.finish, Finish::ToolCalls);
}

#[test]
fn a_relay_upstream_does_not_leak_its_task() {
    let body = r#"{"model":"m","choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"task_id":"direct:other","task_address":"0x1","mode":"opengpu"}"#;
    let (body, _) = through(Surface::Vllm, Dialect::Openai, body).unwrap();
    assert_eq!(body["task_id"], "direct:0b1c");
    assert_eq!(body["task_address"], Value::Null);
    assert_eq!(body["mode"], "direct");
}

#[test]
fn to_openai() {
    let (body, _) = through(Surface::Openai, Dialect::Anthropic, ANTHROPIC).unwrap();
    assert_eq!(
        body,
        json!({
            "id": "chatcmpl-0b1c", "object": "chat.completion", "created": 1_790_000_000,
            "model": "vendor/model",
            "choices": [{
                "index": 0,
                "message": {
                    "role": "assistant", "content": "Hü \"you\"", "reasoning_content": "Hm",
                    "tool_calls": [{
                        "id": "toolu_1", "type": "function",
                        "function": {"name": "weather", "arguments": "{\"city\":\"Bern\"}"},
                    }],
                },
                "logprobs": null, "finish_reason": "tool_calls",
            }],
            "usage": {
                "prompt_tokens": 39, "completion_tokens": 12, "total_tokens": 51,
                "prompt_tokens_details": {"cached_tokens": 24},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
            "task_id": "direct:0b1c", "task_address": null, "mode": "direct",
        })
    );
    let (body, _) = through(Surface::Openai, Dialect::Ollama, OLLAMA).unwrap();
    let message = &body["choices"][0]["message"];
    assert_eq!(message["content"], "Hü \"you\"");
    assert_eq!(message["tool_calls"][0]["id"], "call_0b1c_0");
    assert_eq!(message["tool_calls"][0]["function"]["arguments"], "{\"city\":\"Bern\"}");
    assert_eq!(body["usage"]["prompt_tokens"], 26);
}

#[test]
fn to_anthropic() {
    let (body, _) = through(Surface::Anthropic, Dialect::Openai, OPENAI).unwrap();
    assert_eq!(
        body,
        json!({
            "id": "msg_0b1c", "type": "message", "role": "assistant", "model": "vendor/model",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": ""},
                {"type": "text", "text": "Hü \"you\""},
            ],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {
                "input_tokens": 9, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 24,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                "output_tokens": 24,
            },
            "task_id": "direct:0b1c", "task_address": null, "mode": "direct",
        })
    );
    let (body, answer) = through(Surface::Anthropic, Dialect::Openai, OPENAI_TOOLS).unwrap();
    assert_eq!(
        body["content"],
        json!([
            {"type": "tool_use", "id": "call_a", "name": "weather", "input": {"city": "Genève"}},
            {"type": "tool_use", "id": "call_b", "name": "time", "input": {}},
        ])
    );
    assert_eq!(body["stop_reason"], "tool_use");
    assert_eq!(answer.usage, None);
    let (body, _) = through(Surface::Anthropic, Dialect::Ollama, OLLAMA).unwrap();
    assert_eq!(body["content"][2]["id"], "toolu_0b1c_0");
    assert_eq!(body["stop_reason"], "tool_use");
}

#[test]
fn to_ollama() {
    let (body, _) = through(Surface::Ollama, Dialect::Openai, OPENAI).unwrap();
    assert_eq!(
        body,
        json!({
            "model": "vendor/model", "created_at": "2026-09-21T14:13:20Z",
            "message": {"role": "assistant", "content": "Hü \"you\"", "thinking": "Hm"},
            "done_reason": "stop", "done": true, "total_duration": 9, "load_duration": 0,
            "prompt_eval_count": 33, "prompt_eval_duration": 4, "eval_count": 24,
            "eval_duration": 5, "task_id": "direct:0b1c", "mode": "direct",
        })
    );
    let (body, _) = through(Surface::Ollama, Dialect::Anthropic, ANTHROPIC).unwrap();
    let calls = json!([{"function": {"name": "weather", "arguments": {"city": "Bern"}}}]);
    assert_eq!(body["message"]["tool_calls"], calls);
    assert_eq!(body["prompt_eval_count"], 39);
}

#[test]
fn what_is_no_answer_is_an_error() {
    use Dialect::{Anthropic, Ollama, Openai};
    for dialect in Dialect::ALL {
        for body in ["", "<html>Sign in</html>", "[]", "\"x\"", "{", "{}", "{\"id\":1}"] {
            let found = through(Surface::Openai, dialect, body);
            assert!(matches!(found, Err(WireError::Garbage(_))), "{dialect:?} {body}: {found:?}");
        }
    }
    for (dialect, body, status) in [
        (Openai, r#"{"error":{"message":"x","type":"server_error","code":500}}"#, Some(500)),
        (
            Openai,
            r#"{"object":"error","message":"x","type":"BadRequestError","code":400}"#,
            Some(400),
        ),
        (Openai, r#"{"error":"x","choices":[]}"#, None),
        (Openai, r#"{"error":{"message":"x","type":"upstream","code":"200"}}"#, None),
        (
            Anthropic,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#,
            Some(429),
        ),
        (Ollama, r#"{"error":"x"}"#, None),
    ] {
        match through(Surface::Openai, dialect, body) {
            Err(WireError::Upstream { status: found, message, .. }) => {
                assert_eq!(found, status, "{body}");
                assert_eq!(message, "x", "{body}");
            }
            other => panic!("{body}: {other:?}"),
        }
    }
    let unfinished = r#"{"message":{"content":"x"},"done":false}"#;
    let found = through(Surface::Ollama, Ollama, unfinished);
    assert_eq!(found.unwrap_err(), WireError::Truncated);
    let empty = r#"{"choices":[]}"#;
    assert!(matches!(through(Surface::Openai, Openai, empty), Err(WireError::Garbage(_))));
}

#[test]
fn an_upstreams_words_are_cut_to_a_bound() {
    let long = "ü".repeat(5000);
    let body = format!(r#"{{"error":{{"message":"{long}","type":"{long}"}}}}"#);
    let Err(WireError::Upstream { kind, message, .. }) =
        through(Surface::Openai, Dialect::Openai, &body)
    else {
        panic!("not an upstream error");
    };
    assert_eq!((kind.len(), message.len()), (500, 500));
}

#[test]
fn choices_that_an_engine_does_not_count_are_counted_by_their_bytes() {
    let two = r#"{"choices":[{"finish_reason":"length","index":0,"message":{"role":"assistant","content":"utorutor sh"}},{"finish_reason":"length","index":1,"message":{"role":"assistant","content":"utorutor sh, and"}}],"model":"relay-tiny","usage":{"completion_tokens":3,"prompt_tokens":20,"total_tokens":23},"timings":{"cache_n":19,"prompt_n":1,"predicted_n":3}}"#;
    let (_, answer) = through(Surface::Openai, Dialect::Openai, two).unwrap();
    let usage = answer.usage.unwrap();
    // 11 bytes are 3 tokens, so 27 bytes are 8.
    assert_eq!((usage.in_uncached, usage.out_text, answer.estimated), (20, 8, true));
    // A vendor counts them all.
    let counted = two.replace(r#""timings""#, r#""times""#);
    let (_, answer) = through(Surface::Openai, Dialect::Openai, &counted).unwrap();
    assert_eq!((answer.usage.unwrap().out_text, answer.estimated), (3, false));
}
