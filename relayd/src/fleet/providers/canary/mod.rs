//! Hidden questions: whether the model behind a provider's engine is the one that it sells.
//!
//! A question that nobody asked before goes to an engine of the operator's own that serves the same
//! model, and to the provider's. Both answer without chance, so that the same weights say the same
//! words; how sure the operator's engine was of each of them says which departures are honest
//! ([`Likeness`]). llama.cpp and vLLM can be held against one another so; for any other engine, and
//! for a model that no engine of the operator's serves, nothing is offered.
//!
//! The body is one that a customer could have sent, and goes the way of a customer's. This module
//! only asks and compares: who is asked and when, and what follows, is decided elsewhere.

mod likelihoods;
mod likeness;
mod question;

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::{Instant, timeout};

pub use likelihoods::Token;
pub use likeness::{Likeness, Verdict};
pub use question::Question;

use crate::domain::{Mode, ModelName};
use crate::engines::{ChatCall, Dialect, Engine, EngineError, EngineKind, Reply};
use crate::wire::{self, ChatRequest, Defaults, Stamp, Surface, Translator, Upstream, WireError};

/// What an engine answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Its words.
    pub text: String,
    /// Its tokens with their likelihoods; empty where it was not asked for them or does not tell.
    pub tokens: Vec<Token>,
    /// Time to its first content.
    pub first: Duration,
}

/// How a question is sent.
#[derive(Clone, Debug, Default)]
pub struct Sending {
    /// The id in the engine's log.
    pub request_id: String,
    /// W3C trace context, as a request of a customer would have it.
    pub traceparent: Option<String>,
    /// Longest wait for the first byte, and again for the whole answer.
    pub patience: Duration,
    /// Whether likelihoods are asked for.
    pub told: bool,
}

/// Why a question brought no answer.
#[derive(Clone, Debug)]
pub enum Unanswered {
    /// The engine failed it.
    Engine(EngineError),
    /// What it sent is no answer.
    Wire(WireError),
    /// It took longer than anybody waits.
    Late,
    /// Its format has no word for the question.
    Inexpressible,
}

/// Whether engines of a kind can be held against one another.
#[must_use]
pub(super) const fn is_comparable(kind: EngineKind) -> bool {
    matches!(kind, EngineKind::Llamacpp | EngineKind::Vllm)
}

/// Asks an engine a question, as a customer would.
///
/// # Errors
/// [`Unanswered`].
pub async fn ask(
    engine: &Engine,
    model: &ModelName,
    upstream: &str,
    question: &Question,
    sending: Sending,
) -> Result<Answer, Unanswered> {
    let target = Upstream {
        model: upstream,
        output_cap: question.cap(),
        engine: engine.kind(),
        defaults: Defaults::default(),
    };
    let body = question.body(model, sending.told);
    let request =
        ChatRequest::scan(Surface::Openai, body).map_err(|_| Unanswered::Inexpressible)?;
    let call = ChatCall {
        body: request.upstream(engine.dialect(), &target).map_err(|_| Unanswered::Inexpressible)?,
        stream: request.stream(),
        traceparent: sending.traceparent,
        tracestate: None,
        request_id: sending.request_id,
        first_byte_timeout: sending.patience,
        fresh: false,
    };
    let sent = Instant::now();
    match engine.chat(call).await.map_err(Unanswered::Engine)? {
        Reply::Whole(body) => whole(engine.dialect(), &body, sent.elapsed()),
        Reply::Stream(stream) => {
            let read = streamed(engine.dialect(), stream, sent);
            timeout(sending.patience, read).await.unwrap_or(Err(Unanswered::Late))
        }
    }
}

fn whole(dialect: Dialect, body: &Bytes, first: Duration) -> Result<Answer, Unanswered> {
    let words = wire::transcript(dialect, body).map_err(Unanswered::Wire)?;
    let text = words.reasoning().chain(words.texts()).collect();
    Ok(Answer { text, tokens: likelihoods::read(body), first })
}

async fn streamed(
    dialect: Dialect,
    mut stream: crate::engines::ReplyStream,
    sent: Instant,
) -> Result<Answer, Unanswered> {
    let stamp = Stamp {
        model: String::new(),
        task_id: String::new(),
        mode: Mode::Direct,
        request_id: String::new(),
        created: 0,
    };
    let mut translator = Translator::new(Surface::Openai, dialect, stamp, false).transcribed();
    let (mut first, mut frames) = (None, Vec::new());
    while !translator.seen().finished {
        let Some(chunk) = stream.next().await else {
            translator.end_of_input().map_err(Unanswered::Wire)?;
            break;
        };
        let chunk = chunk.map_err(Unanswered::Engine)?;
        translator.push(&chunk, &mut frames).map_err(Unanswered::Wire)?;
        frames.clear();
        if translator.seen().first_content {
            first.get_or_insert_with(|| sent.elapsed());
        }
    }
    let words = translator.take_transcript().unwrap_or_default();
    let text = words.reasoning().chain(words.texts()).collect();
    Ok(Answer { text, tokens: Vec::new(), first: first.unwrap_or_else(|| sent.elapsed()) })
}
