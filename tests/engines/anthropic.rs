//! An upstream in Anthropic's Messages format that answers what a test tells it.
//!
//! It stands in for the commercial API, written after its public reference; shares nothing with
//! Relay's translator. As the real one it refuses requests without key, version or output cap.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::served::Served;

/// The model it lists.
pub const MODEL: &str = "claude-stand-in";
/// The key it takes.
pub const KEY: &str = "sk-ant-stand-in-0001";
/// Uncached prompt tokens that it reports.
pub const INPUT_TOKENS: u64 = 20;

/// Between the last event and the end of a cut connection.
const BEFORE_CUT: Duration = Duration::from_millis(50);

/// What it answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// So many words of text, a token each.
    Text(u64),
    /// As `Text(2)`, with prompt tokens read from and written to its cache.
    Cached {
        /// Read.
        read: u64,
        /// Written to be kept for five minutes.
        write_5m: u64,
        /// Written to be kept for an hour.
        write_1h: u64,
    },
    /// A block of thinking, then text: 7 tokens in all.
    Thinking,
    /// A call of the tool `weather` for Paris: 11 tokens.
    ToolUse,
    /// A refusal: status and error type.
    Refuse(u16, &'static str),
    /// Two words, then the event of an overloaded server. Not streamed: a 529.
    Overloaded,
    /// Two words, then the end of the connection. Not streamed: a cut answer.
    Cut,
}

/// A running upstream; ends when dropped.
pub struct Anthropic {
    /// `http://127.0.0.1:port`.
    pub url: String,
    shared: Arc<Shared>,
    _server: Served,
}

struct Shared {
    reply: Mutex<Reply>,
    asked: Mutex<Vec<Value>>,
}

impl Anthropic {
    /// Starts an upstream.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(reply: Reply) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared { reply: Mutex::new(reply), asked: Mutex::default() });
        let routes = Router::new()
            .route("/v1/models", get(models))
            .route("/v1/messages", post(messages))
            .with_state(Arc::clone(&shared));
        let server = Served::start(routes)?;
        Ok(Self { url: server.url.clone(), shared, _server: server })
    }

    /// Answers the next requests so.
    pub fn then(&self, reply: Reply) {
        *lock(&self.shared.reply) = reply;
    }

    /// Bodies of all requests it took, oldest first.
    #[must_use]
    pub fn asked(&self) -> Vec<Value> {
        lock(&self.shared.asked).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A message and what it cost.
struct Message {
    /// Content blocks, whole.
    blocks: Vec<Value>,
    stop: &'static str,
    /// Usage but for `output_tokens`.
    input: Value,
    output: u64,
}

impl Reply {
    fn message(&self) -> Message {
        let text = |count| json!({"type": "text", "text": "word ".repeat(count)});
        let mut message = Message {
            blocks: vec![text(2)],
            stop: "end_turn",
            input: json!({"input_tokens": INPUT_TOKENS, "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0, "service_tier": "standard",
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}}),
            output: 2,
        };
        match self {
            Self::Text(count) => {
                message.blocks = vec![text(usize::try_from(*count).unwrap_or(0))];
                message.output = *count;
            }
            Self::Cached { read, write_5m, write_1h } => {
                message.input["cache_read_input_tokens"] = json!(read);
                message.input["cache_creation_input_tokens"] = json!(write_5m + write_1h);
                message.input["cache_creation"] = json!({
                    "ephemeral_5m_input_tokens": write_5m, "ephemeral_1h_input_tokens": write_1h});
            }
            Self::Thinking => {
                let thought = json!({"type": "thinking", "thinking": "Let me see. ",
                    "signature": "c2lnbmF0dXJl"});
                message.blocks.insert(0, thought);
                message.output = 7;
            }
            Self::ToolUse => {
                message.blocks = vec![json!({"type": "tool_use", "id": "toolu_01",
                    "name": "weather", "input": {"city": "Paris"}})];
                (message.stop, message.output) = ("tool_use", 11);
            }
            Self::Refuse(..) | Self::Overloaded | Self::Cut => {}
        }
        message
    }
}

fn refuse(status: u16, kind: &str, text: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({"type": "error", "error": {"type": kind, "message": text},
        "request_id": "req_stand_in"});
    (status, [("request-id", "req_stand_in")], Json(body)).into_response()
}

/// The refusal of a request that the real API would refuse.
fn faulty(headers: &HeaderMap, asked: Option<&Value>) -> Option<Response> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // Its newer SDKs send the key as a bearer token.
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    match header("x-api-key").or(bearer) {
        None => return Some(refuse(401, "authentication_error", "x-api-key header is required")),
        Some(KEY) => {}
        Some(_) => return Some(refuse(401, "authentication_error", "invalid x-api-key")),
    }
    if header("anthropic-version").is_none_or(|version| version.split('-').count() != 3) {
        let text = "anthropic-version: header is required";
        return Some(refuse(400, "invalid_request_error", text));
    }
    let asked = asked?;
    for field in ["model", "messages", "max_tokens"] {
        if asked[field].is_null() {
            let text = format!("{field}: Field required");
            return Some(refuse(400, "invalid_request_error", &text));
        }
    }
    for field in ["mode", "async", "webhook_url", "stream_options", "n"] {
        if !asked[field].is_null() {
            let text = format!("{field}: Extra inputs are not permitted");
            return Some(refuse(400, "invalid_request_error", &text));
        }
    }
    (asked["model"] != MODEL).then(|| refuse(404, "not_found_error", "model: no such model"))
}

async fn models(headers: HeaderMap) -> Response {
    if let Some(refusal) = faulty(&headers, None) {
        return refusal;
    }
    let model = json!({"type": "model", "id": MODEL, "display_name": "Stand-in",
        "created_at": "2026-01-01T00:00:00Z"});
    Json(json!({"data": [model], "has_more": false, "first_id": MODEL, "last_id": MODEL}))
        .into_response()
}

async fn messages(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(refusal) = faulty(&headers, Some(&asked)) {
        return refusal;
    }
    let streams = asked["stream"] == true;
    lock(&shared.asked).push(asked);
    let reply = lock(&shared.reply).clone();
    match reply {
        Reply::Refuse(status, kind) => return refuse(status, kind, "the stand-in refuses"),
        Reply::Overloaded if !streams => return refuse(529, "overloaded_error", "Overloaded"),
        _ => {}
    }
    let message = reply.message();
    if streams {
        let whole = stream::iter(events(&message, &reply).into_iter().map(Ok));
        let is_cut = matches!(reply, Reply::Cut);
        let end = stream::iter(is_cut.then_some(())).then(async |()| {
            // What was sent must be on its way: an error throws away what is still buffered.
            tokio::time::sleep(BEFORE_CUT).await;
            Err::<Bytes, _>(std::io::Error::other("cut"))
        });
        let body = Body::from_stream(whole.chain(end));
        return ([(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")], body)
            .into_response();
    }
    let mut usage = message.input.clone();
    usage["output_tokens"] = json!(message.output);
    let mut text = json!({"id": "msg_01", "type": "message", "role": "assistant", "model": MODEL,
        "content": message.blocks, "stop_reason": message.stop, "stop_sequence": null,
        "usage": usage})
    .to_string();
    if let Reply::Cut = reply {
        text.truncate(text.len() / 2);
    }
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// The events of a stream. A broken one lacks its end.
fn events(message: &Message, reply: &Reply) -> Vec<Bytes> {
    let mut usage = message.input.clone();
    usage["output_tokens"] = json!(1);
    let start = json!({"type": "message_start", "message": {"id": "msg_01", "type": "message",
        "role": "assistant", "model": MODEL, "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": usage}});
    let mut events = vec![start, json!({"type": "ping"})];
    for (index, block) in message.blocks.iter().enumerate() {
        let (empty, deltas) = pieces(block);
        events.push(json!({"type": "content_block_start", "index": index,
            "content_block": empty}));
        events.extend(
            deltas.into_iter().map(
                |delta| json!({"type": "content_block_delta", "index": index, "delta": delta}),
            ),
        );
        if let Reply::Cut = reply {
            return events.iter().map(framed).collect();
        }
        if let Reply::Overloaded = reply {
            events.push(json!({"type": "error",
                "error": {"type": "overloaded_error", "message": "Overloaded"}}));
            return events.iter().map(framed).collect();
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(json!({"type": "message_delta",
        "delta": {"stop_reason": message.stop, "stop_sequence": null},
        "usage": {"output_tokens": message.output}}));
    events.push(json!({"type": "message_stop"}));
    events.iter().map(framed).collect()
}

fn framed(event: &Value) -> Bytes {
    let name = event["type"].as_str().unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {event}\n\n"))
}

/// A block as it begins, and the deltas that fill it.
fn pieces(block: &Value) -> (Value, Vec<Value>) {
    let mut empty = block.clone();
    match block["type"].as_str() {
        Some("thinking") => {
            empty["thinking"] = json!("");
            empty["signature"] = json!("");
            let thought = json!({"type": "thinking_delta", "thinking": block["thinking"]});
            let seal = json!({"type": "signature_delta", "signature": block["signature"]});
            (empty, vec![thought, seal])
        }
        Some("tool_use") => {
            empty["input"] = json!({});
            let input = block["input"].to_string();
            let (first, second) = input.split_at(input.len() / 2);
            let part = |part: &str| json!({"type": "input_json_delta", "partial_json": part});
            (empty, vec![part(""), part(first), part(second)])
        }
        _ => {
            empty["text"] = json!("");
            let text = block["text"].as_str().unwrap_or_default();
            let words = text.split_inclusive(' ');
            (empty, words.map(|word| json!({"type": "text_delta", "text": word})).collect())
        }
    }
}
