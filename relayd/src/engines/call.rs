//! One chat call: send the body, judge head and first event, hand over the answer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Method};
use tokio::time::{Instant, timeout, timeout_at};

use super::Engine;
use super::error::{EngineError, Said, read_refusal};
use super::first::{HEAD_MAX_BYTES, Head, judge, judge_end, reported};
use super::transport::{Body, Broken, Outgoing};
use crate::wire::{Dialect, EngineKind};

/// Largest whole answer, in bytes: far above any chat answer, small enough to hold in memory.
pub const WHOLE_MAX_BYTES: usize = 32 * 1024 * 1024;

/// How much of a refusal's body is read, in bytes: enough for its message.
const REFUSAL_MAX_BYTES: usize = 16 * 1024;

/// How long the body of a refusal may take to arrive; its status alone is enough.
const REFUSAL_WAIT: Duration = Duration::from_secs(2);

/// How long a whole answer may stand still once it began to arrive. It is made before it is sent,
/// so what remains is the network.
const WHOLE_IDLE: Duration = Duration::from_secs(30);

/// Largest whole answer that is looked through for an error report, in bytes.
const REPORT_MAX_BYTES: usize = 64 * 1024;

/// What to send.
#[derive(Clone, Debug)]
pub struct ChatCall {
    /// The body in the engine's dialect.
    pub body: Bytes,
    /// Whether the body asks for a stream.
    pub stream: bool,
    /// W3C trace context of the span that makes the call.
    pub traceparent: Option<String>,
    /// Its vendor part.
    pub tracestate: Option<String>,
    /// The request's id, for the engine's log.
    pub request_id: String,
    /// Time until the first byte of the answer's body (for a stream: of its first event). An
    /// answer that is not streamed is made before its first byte, so give it the whole time.
    pub first_byte_timeout: Duration,
    /// Whether it must have a connection of its own: the answer to [`Retry::SafeAgain`].
    ///
    /// [`Retry::SafeAgain`]: super::Retry::SafeAgain
    pub fresh: bool,
}

/// An answer whose status, type and first event were good.
#[derive(Debug)]
pub enum Reply {
    /// All of it: one JSON object, at most [`WHOLE_MAX_BYTES`].
    Whole(Bytes),
    /// As it comes.
    Stream(ReplyStream),
}

/// The chunks of a streamed answer, as they arrive. Dropping it cancels the engine's work.
#[derive(Debug)]
pub struct ReplyStream {
    /// What was read to judge the first event.
    head: Option<Bytes>,
    body: Option<Body>,
}

impl Engine {
    /// Sends one chat request. Cancel-safe: dropping the future cancels the engine's work.
    ///
    /// The bounds kept here are the time to the first byte and, for an answer that is not
    /// streamed, its size. [`super::Timed`] bounds a stream.
    ///
    /// # Errors
    /// [`EngineError`] says who is to blame and whether another backend may be tried.
    pub async fn chat(&self, call: ChatCall) -> Result<Reply, EngineError> {
        let until = Instant::now() + call.first_byte_timeout;
        let late = |_| EngineError::first_byte_timeout();
        let out = Outgoing {
            method: Method::POST,
            path: super::kind::chat_path(self.dialect()),
            body: Some(call.body),
            accept: match (call.stream, self.dialect()) {
                (false, _) => "application/json",
                (true, Dialect::Ollama) => "application/x-ndjson",
                (true, Dialect::Openai | Dialect::Anthropic) => "text/event-stream",
            },
            traceparent: call.traceparent.as_deref(),
            tracestate: call.tracestate.as_deref(),
            request_id: Some(&call.request_id),
            // llama.cpp's server closes the connection after a streamed answer without saying so:
            // another request written into it meanwhile would be lost.
            closes: call.stream && self.kind() == EngineKind::Llamacpp,
            fresh: call.fresh,
        };
        let response = timeout_at(until, self.transport.send(out)).await.map_err(late)??;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            return Err(refusal(head.status.as_u16(), &head.headers, body).await);
        }
        let kind = Kind::of(&head.headers);
        if call.stream && kind.may_stream(self.dialect()) {
            let stream = timeout_at(until, begin(self.dialect(), body)).await.map_err(late)??;
            return Ok(Reply::Stream(stream));
        }
        if !kind.may_be_json() {
            return Err(EngineError::mismatch(kind.shown()));
        }
        let whole = whole(body, until).await?;
        if call.stream {
            // JSON where a stream was asked for: an error, or an engine that cannot stream.
            let other = || EngineError::mismatch("a stream was asked for, a whole answer came");
            return Err(reported(&whole).unwrap_or_else(other));
        }
        Ok(Reply::Whole(whole))
    }
}

/// The content type of an answer, as far as it matters.
enum Kind {
    Absent,
    EventStream,
    Ndjson,
    Json,
    Html,
    Other,
}

impl Kind {
    fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(CONTENT_TYPE) else { return Self::Absent };
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        let essence = text.split(';').next().unwrap_or_default().trim();
        match essence {
            "text/event-stream" => Self::EventStream,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Self::Ndjson,
            "application/json" => Self::Json,
            other if other.ends_with("+json") => Self::Json,
            other if other.contains("html") => Self::Html,
            _ => Self::Other,
        }
    }

    fn may_stream(&self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::Openai | Dialect::Anthropic => {
                matches!(self, Self::Absent | Self::EventStream)
            }
            Dialect::Ollama => matches!(self, Self::Absent | Self::Ndjson | Self::Json),
        }
    }

    const fn may_be_json(&self) -> bool {
        matches!(self, Self::Absent | Self::Json | Self::Ndjson)
    }

    const fn shown(&self) -> &'static str {
        match self {
            Self::Absent => "no content type",
            Self::EventStream => "content type text/event-stream",
            Self::Ndjson => "content type application/x-ndjson",
            Self::Json => "content type application/json",
            Self::Html => "content type text/html",
            Self::Other => "another content type",
        }
    }
}

/// Reads until the first event can be judged.
async fn begin(dialect: Dialect, mut body: Body) -> Result<ReplyStream, EngineError> {
    let mut head = Bytes::new();
    loop {
        let Some(chunk) = body.next().await else {
            return match judge_end(dialect, &head) {
                Head::Bad(error) => Err(error),
                Head::More | Head::Good => Ok(ReplyStream { head: Some(head), body: None }),
            };
        };
        let chunk = chunk.map_err(early)?;
        // Nearly always the first chunk holds the first event and nothing is copied.
        head = if head.is_empty() {
            chunk
        } else {
            let mut joined = BytesMut::with_capacity(head.len() + chunk.len());
            joined.extend_from_slice(&head);
            joined.extend_from_slice(&chunk);
            joined.freeze()
        };
        match judge(dialect, &head) {
            Head::Good => return Ok(ReplyStream { head: Some(head), body: Some(body) }),
            Head::Bad(error) => return Err(error),
            Head::More if head.len() >= HEAD_MAX_BYTES => {
                return Ok(ReplyStream { head: Some(head), body: Some(body) });
            }
            Head::More => {}
        }
    }
}

/// Reads a whole answer: its first byte until `until`, then without standing still.
async fn whole(mut body: Body, until: Instant) -> Result<Bytes, EngineError> {
    let mut all = Bytes::new();
    let mut joined = BytesMut::new();
    loop {
        let bound = if all.is_empty() { until } else { Instant::now() + WHOLE_IDLE };
        let next = timeout_at(bound, body.next()).await.map_err(|_| match all.is_empty() {
            true => EngineError::first_byte_timeout(),
            false => EngineError::idle(),
        })?;
        let Some(chunk) = next else { break };
        let chunk = chunk.map_err(early)?;
        if joined.len().max(all.len()) + chunk.len() > WHOLE_MAX_BYTES {
            let large = EngineError::mismatch("the answer is larger than 32 MiB");
            return Err(EngineError { retry: super::Retry::Never, ..large });
        }
        if all.is_empty() {
            all = chunk;
            continue;
        }
        if joined.is_empty() {
            joined.extend_from_slice(&all);
        }
        joined.extend_from_slice(&chunk);
    }
    let all = if joined.is_empty() { all } else { joined.freeze() };
    if all.trim_ascii_start().first() != Some(&b'{') {
        return Err(EngineError::mismatch("the answer is no JSON object"));
    }
    if all.len() <= REPORT_MAX_BYTES
        && let Some(error) = reported(&all)
    {
        return Err(error);
    }
    Ok(all)
}

/// A connection that broke before anything was handed over: another backend may do better.
fn early(Broken(cause): Broken) -> EngineError {
    EngineError { retry: super::Retry::SafeElsewhere, ..EngineError::cut(cause) }
}

/// A refusal by status, with what its body says.
async fn refusal(status: u16, headers: &HeaderMap, mut body: Body) -> EngineError {
    let retry_after = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().parse::<u64>().ok());
    let mut text = Vec::new();
    let read = async {
        while let Some(Ok(chunk)) = body.next().await {
            let room = REFUSAL_MAX_BYTES - text.len();
            text.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if text.len() == REFUSAL_MAX_BYTES {
                break;
            }
        }
    };
    let _ = timeout(REFUSAL_WAIT, read).await;
    let said = match Kind::of(headers) {
        // A page is not for callers.
        Kind::Html => Said::default(),
        _ => read_refusal(&text),
    };
    EngineError::refused(status, &said, retry_after)
}

impl Stream for ReplyStream {
    type Item = Result<Bytes, EngineError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(head)));
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        body.poll_next_unpin(cx).map(|item| {
            let item = item.map(|chunk| chunk.map_err(|Broken(cause)| EngineError::cut(cause)));
            if !matches!(item, Some(Ok(_))) {
                // The connection goes back to its pool, or is closed, at once.
                self.body = None;
            }
            item
        })
    }
}
