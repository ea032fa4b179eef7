//! An inference server in the OpenAI format that does what a test tells it, faults included.
//!
//! It stands in for commercial upstreams and for broken servers, which cannot be had here; what a
//! healthy server does is tested on the real llama.cpp server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use futures::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::served::Served;

/// How the server answers the next requests.
#[derive(Clone, Debug)]
pub enum Script {
    /// Streams or answers so many tokens, a pause between two of them.
    Tokens {
        /// How many.
        count: u64,
        /// The pause.
        gap: Duration,
    },
    /// As `Tokens` without a pause, but each so many-th request fails: a stream is cut after half of
    /// its tokens, and what is not streamed is answered with 500.
    Flaky {
        /// Tokens of the others.
        count: u64,
        /// Which ones fail.
        every: u64,
    },
    /// As `Tokens` without a pause, but whoever asks for likelihoods is refused.
    WordsAlone {
        /// How many.
        count: u64,
    },
    /// As `Tokens` without a pause, but whoever asks for likelihoods is answered without.
    Reticent {
        /// How many.
        count: u64,
    },
    /// As `Tokens` without a pause, but what is not streamed fails.
    StreamsAlone {
        /// How many.
        count: u64,
    },
    /// As `Tokens` without a pause, but no usage is ever reported.
    NoUsage {
        /// How many.
        count: u64,
    },
    /// As `Tokens` without a pause, with the usage so far in every chunk.
    CumulativeUsage {
        /// How many.
        count: u64,
    },
    /// As `Tokens` without a pause, each so many bytes large.
    Heavy {
        /// How many.
        count: u64,
        /// Bytes of each.
        bytes: usize,
    },
    /// Takes the request and says nothing.
    HangBeforeFirstByte,
    /// Takes the request and answers it by the next script.
    UntilNext,
    /// Says nothing more after so many tokens.
    HangAfter(u64),
    /// Cuts the connection after so many tokens.
    ResetAfter(u64),
    /// Ends the stream after so many tokens without a finish marker.
    EndAfter(u64),
    /// Answers with a status and a body.
    Refuse(u16, &'static str),
    /// Answers with a status and an error that repeats the prompt.
    RefuseEchoing(u16),
    /// After so many tokens, an error event that repeats the prompt and names a status.
    ErrorEventEchoing(u64, u16),
    /// After so many tokens, a broken frame that repeats the prompt.
    GarbageEchoing(u64),
    /// Answers 200 with a login page.
    Html,
    /// Answers 200 and reports an error as its first event.
    ErrorEvent,
    /// Answers 200 with bytes that are no event.
    Garbage,
    /// Reports usage that cannot be.
    AbsurdUsage,
    /// As `Tokens` without a pause, but says that the allowed length was reached.
    Truncated {
        /// How many.
        count: u64,
    },
    /// Answers with these words, claimed as one token each four bytes.
    Says(&'static str),
    /// As `Tokens` without a pause, but claims so many times the tokens of prompt and answer.
    Inflated {
        /// How many.
        count: u64,
        /// How many times.
        times: u64,
    },
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    likelihoods: AtomicU64,
    cancelled: AtomicU64,
    sent: AtomicU64,
}

struct Shared {
    script: watch::Sender<Script>,
    counts: Counts,
    last: Mutex<Option<(HeaderMap, Value)>>,
}

/// A running server; ends when dropped.
pub struct Scripted {
    /// `http://127.0.0.1:port`.
    pub url: String,
    shared: Arc<Shared>,
    _served: Served,
}

/// Prompt tokens that the server reports.
pub const PROMPT_TOKENS: u64 = 10;
/// One token's text. Four bytes, so that an estimate by bytes and a count of events agree.
pub const WORD: &str = "word";
/// Time between the last token and a reset.
const RESET_AFTER: Duration = Duration::from_millis(300);
/// The model it lists.
pub const MODEL: &str = "scripted";

impl Scripted {
    /// Starts a server, on a thread of its own: a test may block while a daemon asks it.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(script: Script) -> anyhow::Result<Self> {
        Self::with(script, get(models))
    }

    /// Starts one that counts tokens for whoever asks, as vLLM does, and says that it is vLLM.
    /// Four bytes are a token.
    ///
    /// # Errors
    /// As [`Scripted::start`].
    pub fn counting(script: Script) -> anyhow::Result<Self> {
        Self::with(script, get(models_of_vllm))
    }

    fn with(script: Script, models: MethodRouter<Arc<Shared>>) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            script: watch::Sender::new(script),
            counts: Counts::default(),
            last: Mutex::new(None),
        });
        let routes = Router::new()
            .route("/v1/models", models)
            .route("/health", get(StatusCode::OK))
            .route("/tokenize", post(tokenize))
            .route("/v1/chat/completions", post(chat))
            .with_state(Arc::clone(&shared));
        let served = Served::start(routes)?;
        Ok(Self { url: served.url.clone(), shared, _served: served })
    }

    /// Answers the next requests so.
    pub fn then(&self, script: Script) {
        self.shared.script.send_replace(script);
    }

    /// Chat requests taken so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.counts.requests.load(Ordering::Relaxed)
    }

    /// How many of them asked for likelihoods.
    #[must_use]
    pub fn likelihoods(&self) -> u64 {
        self.shared.counts.likelihoods.load(Ordering::Relaxed)
    }

    /// Events that streams handed to their connections so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.counts.sent.load(Ordering::Relaxed)
    }

    /// Streams whose reader left before their end.
    #[must_use]
    pub fn cancelled(&self) -> u64 {
        self.shared.counts.cancelled.load(Ordering::Relaxed)
    }

    /// Head and body of the last chat request.
    #[must_use]
    pub fn last(&self) -> Option<(HeaderMap, Value)> {
        self.shared.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Counts a stream that is dropped before its end.
struct Reader {
    shared: Arc<Shared>,
    done: bool,
}

impl Reader {
    fn finish(&mut self) {
        self.done = true;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.done {
            self.shared.counts.cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn models() -> Json<Value> {
    Json(json!({"object":"list","data":[{"id":MODEL,"object":"model","owned_by":"stand-in"}]}))
}

async fn models_of_vllm() -> Json<Value> {
    Json(
        json!({"object":"list","data":[{"id":MODEL,"object":"model","owned_by":"vllm","max_model_len":8192}]}),
    )
}

async fn tokenize(Json(body): Json<Value>) -> Json<Value> {
    let text = body["prompt"].as_str().unwrap_or_default();
    let count = text.len().div_ceil(WORD.len());
    Json(json!({"count":count,"max_model_len":8192,"tokens":vec![0; count]}))
}

async fn chat(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let number = 1 + shared.counts.requests.fetch_add(1, Ordering::Relaxed);
    let streams = body["stream"] == true;
    let likelihoods = body["logprobs"] == true;
    if likelihoods {
        shared.counts.likelihoods.fetch_add(1, Ordering::Relaxed);
    }
    let prompt = body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
    *shared.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((headers, body));
    let mut scripts = shared.script.subscribe();
    let next = scripts.wait_for(|script| !matches!(script, Script::UntilNext)).await;
    let Some(script) = next.ok().map(|script| script.clone()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let script = match script {
        Script::Flaky { count, every } if number % every != 0 => {
            Script::Tokens { count, gap: Duration::ZERO }
        }
        Script::Flaky { count, .. } if streams => Script::ResetAfter(count / 2),
        Script::Flaky { .. } => Script::Refuse(500, r#"{"error":{"message":"out of memory"}}"#),
        script => script,
    };
    match script {
        Script::WordsAlone { .. } if likelihoods => {
            let error = json!({"error":{"message":"logprobs are not supported","code":400}});
            (StatusCode::BAD_REQUEST, Json(error)).into_response()
        }
        Script::StreamsAlone { .. } if !streams => {
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Script::Refuse(status, body) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Script::RefuseEchoing(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, Json(echo(&prompt, status.as_u16()))).into_response()
        }
        Script::Html => ([(header::CONTENT_TYPE, "text/html")], "<html><body>Log in</body></html>")
            .into_response(),
        Script::HangBeforeFirstByte => std::future::pending().await,
        script if streams => {
            let events = events(&script, &prompt);
            let reader = Reader { shared, done: false };
            let body = Body::from_stream(paced(script, events, reader));
            ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
        }
        Script::ErrorEventEchoing(_, status) => Json(echo(&prompt, status)).into_response(),
        Script::GarbageEchoing(_) => {
            let body = format!("{{\"{prompt}\":{prompt}");
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        script => {
            let mut answer = whole(&script);
            if likelihoods && !matches!(script, Script::Reticent { .. }) {
                answer["choices"][0]["logprobs"] = sure(&answer["choices"][0]["message"]);
            }
            Json(answer).into_response()
        }
    }
}

/// An error that repeats the prompt in each of its members.
fn echo(prompt: &str, status: u16) -> Value {
    json!({"error":{"message":format!("cannot do: {prompt}"),"type":prompt,"param":prompt,"code":status}})
}

fn usage(output: u64) -> Value {
    json!({"prompt_tokens":PROMPT_TOKENS,"completion_tokens":output,"total_tokens":PROMPT_TOKENS + output})
}

fn inflated(output: u64, times: u64) -> Value {
    json!({"prompt_tokens":PROMPT_TOKENS * times,"completion_tokens":output * times,
        "total_tokens":(PROMPT_TOKENS + output) * times})
}

fn tokens(script: &Script) -> u64 {
    match script {
        Script::Tokens { count, .. }
        | Script::NoUsage { count }
        | Script::WordsAlone { count }
        | Script::Reticent { count }
        | Script::StreamsAlone { count }
        | Script::CumulativeUsage { count }
        | Script::Inflated { count, .. }
        | Script::Truncated { count }
        | Script::Heavy { count, .. } => *count,
        Script::HangAfter(count) | Script::ResetAfter(count) | Script::EndAfter(count) => *count,
        Script::Says(text) => (text.len() as u64).div_ceil(WORD.len() as u64),
        Script::ErrorEventEchoing(count, _) | Script::GarbageEchoing(count) => *count,
        _ => 4,
    }
}

/// Why it says that the answer ended.
const fn finish(script: &Script) -> &'static str {
    match script {
        Script::Truncated { .. } => "length",
        _ => "stop",
    }
}

/// One token's text.
fn word(script: &Script) -> String {
    match script {
        Script::Heavy { bytes, .. } => "x".repeat(*bytes),
        _ => WORD.to_owned(),
    }
}

fn whole(script: &Script) -> Value {
    let count = tokens(script);
    let text = match script {
        Script::Says(text) => (*text).to_owned(),
        script => word(script).repeat(usize::try_from(count).unwrap_or(0)),
    };
    let mut answer = json!({
        "id":"chatcmpl-1","object":"chat.completion","created":1,"model":MODEL,
        "choices":[{"index":0,"finish_reason":finish(script),
            "message":{"role":"assistant","content":text}}],
    });
    match script {
        Script::NoUsage { .. } => {}
        Script::AbsurdUsage => {
            answer["usage"] = json!({"prompt_tokens":-5,"completion_tokens":1_000_000_000_000_u64});
        }
        Script::Inflated { times, .. } => answer["usage"] = inflated(count, *times),
        _ => answer["usage"] = usage(count),
    }
    answer
}

/// The likelihoods of an answer by a model that is sure of each of its tokens, four bytes each.
fn sure(message: &Value) -> Value {
    let text = message["content"].as_str().unwrap_or_default().as_bytes();
    let token = |bytes: &[u8]| {
        let token = String::from_utf8_lossy(bytes);
        let likely = json!({"token":token,"logprob":-0.01,"bytes":bytes});
        json!({"token":token,"logprob":-0.01,"bytes":bytes,"top_logprobs":[likely]})
    };
    let content: Vec<_> = text.chunks(WORD.len()).map(token).collect();
    json!({ "content": content })
}

/// The events of a stream, in order.
fn events(script: &Script, prompt: &str) -> Vec<Bytes> {
    let chunk = |delta: Value, finish: Value, usage: Option<Value>| {
        let mut chunk = json!({"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":MODEL,
            "choices":[{"index":0,"delta":delta,"finish_reason":finish}]});
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    match script {
        Script::ErrorEvent => {
            return vec![
                "data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n".into(),
            ];
        }
        Script::Garbage => return vec!["\u{1}\u{2}\u{3} not an event\n\n".into()],
        _ => {}
    }
    let cumulative = matches!(script, Script::CumulativeUsage { .. });
    let count = tokens(script);
    let mut events = match script {
        // As its very first event.
        Script::ErrorEventEchoing(0, _) | Script::GarbageEchoing(0) => Vec::new(),
        _ => vec![chunk(json!({"role":"assistant","content":""}), Value::Null, None)],
    };
    let word = word(script);
    if let Script::Says(text) = script {
        events.push(chunk(json!({"content":text}), Value::Null, None));
    }
    let pieces = if matches!(script, Script::Says(_)) { 0 } else { count };
    // One piece of memory, however many are sent.
    let piece = chunk(json!({"content":word}), Value::Null, None);
    for n in 1..=pieces {
        events.push(if cumulative {
            chunk(json!({"content":word}), Value::Null, Some(usage(n)))
        } else {
            piece.clone()
        });
    }
    match script {
        Script::HangAfter(_) | Script::ResetAfter(_) | Script::EndAfter(_) => return events,
        Script::ErrorEventEchoing(_, status) => {
            events.push(format!("data: {}\n\n", echo(prompt, *status)).into());
            return events;
        }
        Script::GarbageEchoing(_) => {
            events.push(format!("data: {{\"{prompt}\":{prompt}\n\n{prompt}\n\n").into());
            return events;
        }
        _ => {}
    }
    events.push(chunk(json!({}), json!(finish(script)), None));
    match script {
        Script::NoUsage { .. } => {}
        Script::AbsurdUsage => events.push(
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":1000000000000}}\n\n".into(),
        ),
        Script::Inflated { times, .. } => {
            let usage = inflated(count, *times);
            events.push(format!("data: {}\n\n", json!({"choices":[],"usage":usage})).into());
        }
        _ => events.push(format!("data: {}\n\n", json!({"choices":[],"usage":usage(count)})).into()),
    }
    events.push("data: [DONE]\n\n".into());
    events
}

/// The events, paced and broken as the script says.
fn paced(
    script: Script,
    events: Vec<Bytes>,
    reader: Reader,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
    let gap = match script {
        Script::Tokens { gap, .. } => gap,
        _ => Duration::ZERO,
    };
    stream::unfold(
        (events.into_iter(), reader, script),
        move |(mut events, mut reader, script)| async move {
            match events.next() {
                Some(event) => {
                    if !gap.is_zero() {
                        tokio::time::sleep(gap).await;
                    }
                    reader.shared.counts.sent.fetch_add(1, Ordering::Relaxed);
                    Some((Ok(event), (events, reader, script)))
                }
                None => match script {
                    Script::HangAfter(_) => std::future::pending::<Option<(_, _)>>().await,
                    Script::ResetAfter(_) => {
                        reader.finish();
                        // A reset throws away what the other side did not read yet.
                        tokio::time::sleep(RESET_AFTER).await;
                        let cut =
                            std::io::Error::new(std::io::ErrorKind::ConnectionReset, "scripted");
                        Some((Err(cut), (events, reader, Script::Html)))
                    }
                    _ => {
                        reader.finish();
                        None
                    }
                },
            }
        },
    )
}
