//! Ollama's API in front of a llama.cpp server: real tokens, prompts and usage in Ollama's format.
//!
//! There is no Ollama server to be had from a package registry. This adapter is written after
//! Ollama's own API document and shares nothing with Relay's translator.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::StreamExt as _;
use futures::stream::{self, Stream};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::served::{Served, client};

/// A running adapter; ends when dropped.
pub struct OllamaAdapter {
    /// `http://127.0.0.1:port`.
    pub url: String,
    _server: Served,
}

/// The llama.cpp server behind it.
struct Behind {
    client: reqwest::Client,
    url: String,
    model: String,
}

impl OllamaAdapter {
    /// Puts Ollama's API before a llama.cpp server that lists `model`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(llama_url: &str, model: &str) -> anyhow::Result<Self> {
        let client = client()?;
        let behind =
            Arc::new(Behind { client, url: llama_url.to_owned(), model: model.to_owned() });
        let routes = Router::new()
            .route("/", get(async || "Ollama is running"))
            .route("/api/version", get(async || Json(json!({"version": "0.12.6"}))))
            .route("/api/tags", get(tags))
            .route("/api/ps", get(running))
            .route("/api/show", post(show))
            .route("/api/chat", post(chat))
            .with_state(behind);
        let server = Served::start(routes)?;
        Ok(Self { url: server.url.clone(), _server: server })
    }
}

fn details() -> Value {
    json!({"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"],
        "parameter_size": "360K", "quantization_level": "F32"})
}

impl Behind {
    /// How the model is listed: Ollama gives a name without a tag the tag `latest`.
    fn tagged(&self) -> String {
        if self.model.contains(':') { self.model.clone() } else { format!("{}:latest", self.model) }
    }

    fn entry(&self) -> Map<String, Value> {
        let mut entry = Map::new();
        for (key, value) in [
            ("name", json!(self.tagged())),
            ("model", json!(self.tagged())),
            ("size", json!(1_400_000)),
            ("digest", json!("0".repeat(64))),
            ("details", details()),
        ] {
            entry.insert(key.to_owned(), value);
        }
        entry
    }

    /// The refusal of a request that names no model or another one.
    fn faulty(&self, asked: &Value) -> Option<Response> {
        let Some(asked) = asked["model"].as_str() else {
            return Some(refuse(StatusCode::BAD_REQUEST, "model is required"));
        };
        let is_ours = asked == self.model || asked == self.tagged();
        (!is_ours).then(|| refuse(StatusCode::NOT_FOUND, &format!("model '{asked}' not found")))
    }
}

fn refuse(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({"error": text}))).into_response()
}

async fn tags(State(behind): State<Arc<Behind>>) -> Json<Value> {
    let mut entry = behind.entry();
    entry.insert("modified_at".into(), json!("2026-01-01T00:00:00Z"));
    Json(json!({"models": [entry]}))
}

async fn running(State(behind): State<Arc<Behind>>) -> Json<Value> {
    let mut entry = behind.entry();
    entry.insert("expires_at".into(), json!("2036-01-01T00:00:00Z"));
    entry.insert("size_vram".into(), json!(0));
    Json(json!({"models": [entry]}))
}

async fn show(State(behind): State<Arc<Behind>>, body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(refusal) = behind.faulty(&asked) {
        return refusal;
    }
    Json(json!({
        "modelfile": "FROM relay-tiny", "parameters": "", "template": "{{ .Prompt }}",
        "details": details(), "model_info": {"general.architecture": "llama",
        "llama.context_length": 1024}, "capabilities": ["completion"],
        "modified_at": "2026-01-01T00:00:00Z",
    }))
    .into_response()
}

async fn chat(State(behind): State<Arc<Behind>>, body: Bytes) -> Response {
    let asked: Value = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if let Some(refusal) = behind.faulty(&asked) {
        return refusal;
    }
    let model = asked["model"].clone();
    if asked["messages"].as_array().is_none_or(Vec::is_empty) {
        return Json(json!({"model": model, "created_at": now(), "done_reason": "load",
            "message": {"role": "assistant", "content": ""}, "done": true}))
        .into_response();
    }
    let streams = asked["stream"] != false;
    let sent = behind
        .client
        .post(format!("{}/v1/chat/completions", behind.url))
        .header("content-type", "application/json")
        .body(question(&asked, streams).to_string())
        .send()
        .await;
    let answer = match sent {
        Ok(answer) if answer.status() == 200 => answer,
        Ok(answer) => {
            let status = StatusCode::from_u16(answer.status().as_u16())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return refuse(status, &answer.text().await.unwrap_or_default());
        }
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    if streams {
        let body = Body::from_stream(lines(answer, model));
        return ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response();
    }
    let whole: Value = match answer.bytes().await.map(|body| serde_json::from_slice(&body)) {
        Ok(Ok(whole)) => whole,
        _ => return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the runner broke off"),
    };
    let choice = &whole["choices"][0];
    let text = choice["message"]["content"].as_str().unwrap_or_default();
    Json(last(&model, text, &choice["finish_reason"], &whole)).into_response()
}

/// The request in llama.cpp's words.
fn question(asked: &Value, streams: bool) -> Value {
    let mut question = json!({"messages": asked["messages"], "stream": streams});
    if streams {
        question["stream_options"] = json!({"include_usage": true});
    }
    let options = &asked["options"];
    for (theirs, its) in [
        ("num_predict", "max_tokens"),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("top_k", "top_k"),
        ("min_p", "min_p"),
        ("seed", "seed"),
        ("stop", "stop"),
        ("repeat_penalty", "repeat_penalty"),
    ] {
        if !options[theirs].is_null() {
            question[its] = options[theirs].clone();
        }
    }
    if asked["format"] == "json" {
        question["response_format"] = json!({"type": "json_object"});
    }
    question
}

fn now() -> String {
    Timestamp::now().to_string()
}

/// The object that ends an answer: usage, and durations in nanoseconds.
fn last(model: &Value, text: &str, finish: &Value, report: &Value) -> Value {
    let count = |key: &str| report["usage"][key].as_u64().unwrap_or(0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few seconds in nanoseconds; a duration is not negative"
    )]
    let nanos = |key: &str| (report["timings"][key].as_f64().unwrap_or(0.0) * 1e6) as u64;
    let (prompt, eval) = (nanos("prompt_ms").max(1), nanos("predicted_ms").max(1));
    json!({
        "model": model, "created_at": now(),
        "message": {"role": "assistant", "content": text},
        "done_reason": if finish == "length" { "length" } else { "stop" }, "done": true,
        "total_duration": prompt + eval + 1, "load_duration": 1,
        "prompt_eval_count": count("prompt_tokens"), "prompt_eval_duration": prompt,
        "eval_count": count("completion_tokens"), "eval_duration": eval,
    })
}

/// A stream as Ollama's lines. Breaks off when the server behind breaks off.
fn lines(
    answer: reqwest::Response,
    model: Value,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
    let from = Reading {
        body: Box::pin(answer.bytes_stream()),
        rest: Vec::new(),
        finish: Value::Null,
        model,
        done: false,
    };
    stream::try_unfold(from, async |mut from| {
        while !from.done {
            let Some(event) = from.event().await? else {
                return Err(std::io::Error::other("the runner broke off"));
            };
            if let Some(line) = from.line(&event) {
                return Ok(Some((Bytes::from(format!("{line}\n")), from)));
            }
        }
        Ok(None)
    })
}

/// The server's stream, half read.
struct Reading {
    body: futures::stream::BoxStream<'static, reqwest::Result<Bytes>>,
    rest: Vec<u8>,
    finish: Value,
    model: Value,
    done: bool,
}

impl Reading {
    /// The next event's data.
    async fn event(&mut self) -> Result<Option<Value>, std::io::Error> {
        loop {
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let Some(data) = line.strip_prefix(b"data: ") else { continue };
                if let Ok(event) = serde_json::from_slice(data) {
                    return Ok(Some(event));
                }
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.rest.extend_from_slice(&bytes),
                Some(Err(error)) => return Err(std::io::Error::other(error)),
                None => return Ok(None),
            }
        }
    }

    /// What an event becomes. The one with the usage comes last and ends the answer.
    fn line(&mut self, event: &Value) -> Option<Value> {
        let choice = &event["choices"][0];
        if !choice["finish_reason"].is_null() {
            self.finish = choice["finish_reason"].clone();
        }
        if event["usage"].is_object() && choice.is_null() {
            self.done = true;
            return Some(last(&self.model, "", &self.finish, event));
        }
        let text = choice["delta"]["content"].as_str().filter(|text| !text.is_empty())?;
        Some(json!({"model": self.model, "created_at": now(),
            "message": {"role": "assistant", "content": text}, "done": false}))
    }
}
