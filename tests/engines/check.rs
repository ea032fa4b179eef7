//! The stand-ins against what they stand in for: the official clients of the real ones take them
//! for real, and their answers have the documented members.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use relay_tests::anthropic::{self, Anthropic, Reply};
use relay_tests::{Llama, OllamaAdapter, Python, client};
use serde_json::{Value, json};

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> =
        value.as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default();
    keys.sort_unstable();
    keys
}

async fn post(url: &str, body: &Value) -> (u16, String) {
    let client = client().unwrap();
    let request = client.post(url).header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[test]
fn ollamas_own_client_takes_the_adapter_for_ollama() {
    let llama = Llama::start().unwrap();
    let adapter = OllamaAdapter::start(&llama.url, &llama.model).unwrap();
    let said = Python::run("converse.py", &["ollama", &adapter.url, "-", "relay-tiny:latest", ""])
        .unwrap();
    for which in ["plain", "stream"] {
        let answer = &said[which];
        assert_eq!(answer["model"], "relay-tiny:latest", "{said}");
        assert_eq!(answer["finish"], "length", "{said}");
        assert_eq!(answer["output"], 24, "{said}");
        assert!(answer["input"].as_u64().unwrap() > 5, "{said}");
        assert!(!answer["text"].as_str().unwrap().is_empty(), "{said}");
    }
}

#[tokio::test]
async fn the_adapters_answers_have_the_documented_members() {
    let llama = Llama::start().unwrap();
    let adapter = OllamaAdapter::start(&llama.url, &llama.model).unwrap();
    let chat = format!("{}/api/chat", adapter.url);
    let messages = json!([{"role": "user", "content": "Hello"}]);
    let body = |stream: bool| {
        json!({"model": "relay-tiny", "messages": messages, "stream": stream,
            "options": {"num_predict": 6, "temperature": 0, "seed": 1}})
    };
    let final_keys = [
        "created_at",
        "done",
        "done_reason",
        "eval_count",
        "eval_duration",
        "load_duration",
        "message",
        "model",
        "prompt_eval_count",
        "prompt_eval_duration",
        "total_duration",
    ];
    let (status, plain) = post(&chat, &body(false)).await;
    let plain: Value = serde_json::from_str(&plain).unwrap();
    assert_eq!((status, keys(&plain)), (200, final_keys.to_vec()), "{plain}");
    let (_, stream) = post(&chat, &body(true)).await;
    let lines: Vec<Value> =
        stream.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, parts) = lines.split_last().unwrap();
    assert_eq!(keys(last), final_keys, "{last}");
    assert_eq!((&last["done"], &last["eval_count"]), (&json!(true), &json!(6)), "{last}");
    let text: String = parts.iter().map(|p| p["message"]["content"].as_str().unwrap()).collect();
    assert_eq!(plain["message"]["content"], *text, "the same seed, the same text");
    for part in parts {
        assert_eq!(keys(part), ["created_at", "done", "message", "model"], "{part}");
    }

    let (status, missing) = post(&chat, &json!({"model": "other", "messages": messages})).await;
    assert_eq!((status, missing.as_str()), (404, "{\"error\":\"model 'other' not found\"}"));
    let (_, loaded) = post(&chat, &json!({"model": "relay-tiny", "messages": []})).await;
    assert!(loaded.contains("\"done_reason\":\"load\""), "{loaded}");
}

#[tokio::test]
async fn anthropics_own_client_takes_the_stand_in_for_real() {
    let upstream = Anthropic::start(Reply::Text(3)).unwrap();
    let arguments = ["anthropic", &upstream.url, anthropic::KEY, anthropic::MODEL, ""];
    let said = Python::run("converse.py", &arguments).unwrap();
    for which in ["plain", "stream"] {
        assert_eq!(said[which]["text"], "word word word ", "{said}");
        assert_eq!(said[which]["finish"], "end_turn", "{said}");
        assert_eq!(said[which]["output"], 3, "{said}");
        assert_eq!(said[which]["input"], anthropic::INPUT_TOKENS, "{said}");
    }
    upstream.then(Reply::Cached { read: 100, write_5m: 30, write_1h: 7 });
    let said = Python::run("converse.py", &arguments).unwrap();
    assert_eq!(said["plain"]["input"], anthropic::INPUT_TOKENS + 137, "{said}");
    upstream.then(Reply::Thinking);
    let said = Python::run("converse.py", &arguments).unwrap();
    assert_eq!(said["stream"]["text"], "word word ", "{said}");
    assert_eq!(upstream.asked().len(), 6);
    let (status, text) = post(&format!("{}/v1/messages", upstream.url), &json!({})).await;
    assert_eq!(status, 401, "{text}");
}
