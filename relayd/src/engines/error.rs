//! What went wrong with an engine: who is to blame, whether another may be tried, what the caller
//! may be told.
//!
//! Only the words of a refusal that the client caused are passed on, to that client alone, bounded
//! and stripped of control characters. Everything else an engine says is dropped: it may repeat a
//! prompt. Neither `Display` nor `Debug` of an [`EngineError`] shows a word of an engine.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::cause;
use crate::domain::{Code, Fault};

/// What is said of a refusal whose words are the engine's own.
const REFUSED: &str = "the provider refused the request's parameters";

/// Longest text of an engine that is kept, in bytes: a few paragraphs, never a page.
const MESSAGE_MAX_BYTES: usize = 2048;

/// How long a backend that says "busy" without naming a time is left alone.
const BUSY_DEFAULT: Duration = Duration::from_secs(1);

/// Longest time a `Retry-After` is believed: a wrong header must not park a backend for an hour.
const BUSY_MAX: Duration = Duration::from_secs(60);

/// What llama.cpp's server says of requests that it cannot take as they are, with the status of a
/// failure of its own: they would fail on every other backend as well.
const WRONG_REQUESTS: [&str; 3] =
    [" input is not supported", "Failed to parse messages", "Failed to parse tools"];

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The engine failed; its breaker should know.
    Backend,
    /// The request is wrong; the engine is fine.
    Client,
    /// relayd itself ended the call (a bound of ours, a body of ours).
    Relay,
}

/// Whether the request may be sent to another backend. Only ever asked before the first byte was
/// shown to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Another backend may do better.
    SafeElsewhere,
    /// The engine had closed a connection that was kept from an earlier request, and said nothing
    /// on it: the same backend may be asked again on a fresh one.
    SafeAgain,
    /// Every backend would answer the same, or the answer has begun.
    Never,
}

/// One failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineError {
    /// Whose fault it is.
    pub blame: Blame,
    /// Whether another backend may be tried.
    pub retry: Retry,
    /// What the caller is told.
    pub code: Code,
    /// A sentence for the caller.
    pub message: Message,
    /// Why, in one of relayd's own words: for logs and operators.
    pub cause: &'static str,
    /// The engine's HTTP status, when it gave one.
    pub status: Option<u16>,
    /// The engine works but takes no more for now; leave it alone that long. It is not broken.
    pub busy_for: Option<Duration>,
}

/// A sentence for the caller.
#[derive(Clone, PartialEq, Eq)]
pub enum Message {
    /// In our words.
    Ours(&'static str),
    /// In the engine's: for the client that caused it and nobody else. Bounded, without control
    /// characters.
    Theirs(String),
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(text) => f.write_str(text),
            Self::Theirs(text) => write!(f, "{} bytes of the engine's words", text.len()),
        }
    }
}

impl EngineError {
    /// The backend failed and another may do better.
    pub(crate) const fn backend(code: Code, message: &'static str, cause: &'static str) -> Self {
        Self {
            blame: Blame::Backend,
            retry: Retry::SafeElsewhere,
            code,
            message: Message::Ours(message),
            cause,
            status: None,
            busy_for: None,
        }
    }

    /// relayd could not even write the request.
    pub(crate) fn relay(cause: &'static str) -> Self {
        Self {
            blame: Blame::Relay,
            retry: Retry::Never,
            code: Code::InternalError,
            ..Self::backend(Code::InternalError, "the request could not be written", cause)
        }
    }

    /// The answer is not what the dialect says it is.
    pub(crate) fn mismatch(cause: &'static str) -> Self {
        Self::backend(
            Code::ProviderSchemaMismatch,
            "the provider's answer is not in the expected form",
            cause,
        )
    }

    /// The engine gave no first byte in time.
    pub(crate) fn first_byte_timeout() -> Self {
        Self::backend(
            Code::UpstreamTimeout,
            "the provider did not begin to answer in time",
            "no first byte in time",
        )
    }

    /// The operator wants the backend empty. It did nothing wrong.
    pub(crate) fn taken_away() -> Self {
        Self {
            blame: Blame::Relay,
            ..Self::backend(
                Code::ServiceUnavailable,
                "the provider was taken out of service, please retry",
                "the time of its drain is over",
            )
        }
    }

    /// The engine stopped sending in the middle of an answer.
    pub(crate) fn idle() -> Self {
        Self {
            retry: Retry::Never,
            ..Self::backend(
                Code::UpstreamTimeout,
                "the provider stopped sending in the middle of its answer",
                "nothing new for too long",
            )
        }
    }

    /// The whole call took longer than allowed. Nobody is blamed: a long answer may be honest.
    pub(crate) fn total_timeout() -> Self {
        Self {
            blame: Blame::Relay,
            retry: Retry::Never,
            ..Self::backend(
                Code::UpstreamTimeout,
                "the request took longer than allowed",
                "the total time is over",
            )
        }
    }

    /// The connection broke in the middle of an answer.
    pub(crate) fn cut(cause: &'static str) -> Self {
        Self {
            retry: Retry::Never,
            ..Self::backend(
                Code::UpstreamError,
                "the provider's answer broke off before its end",
                cause,
            )
        }
    }

    /// A refusal by status, with what the engine says. `retry_after` is the header's value in
    /// seconds.
    pub(crate) fn refused(status: u16, said: &Said, retry_after: Option<u64>) -> Self {
        use Message::Ours;
        let text = printable(&said.text);
        let wrong = status == 500 && WRONG_REQUESTS.iter().any(|words| text.contains(words));
        let (blame, retry, code, message) = match if wrong { 400 } else { status } {
            400 | 404 | 413 | 422 => {
                let message = if text.is_empty() { Ours(REFUSED) } else { Message::Theirs(text) };
                (Blame::Client, Retry::Never, Code::UpstreamInvalidRequest, message)
            }
            401..=403 => (
                Blame::Backend,
                Retry::SafeElsewhere,
                Code::ProviderUnavailable,
                Ours("the provider does not accept relayd's credential"),
            ),
            408 | 425 | 429 | 503 | 529 => (
                Blame::Backend,
                Retry::SafeElsewhere,
                Code::CapacityExhausted,
                Ours("the provider is busy, please retry shortly"),
            ),
            500.. => (
                Blame::Backend,
                Retry::SafeElsewhere,
                Code::UpstreamError,
                Ours("the provider took the request and failed"),
            ),
            _ => (
                Blame::Backend,
                Retry::SafeElsewhere,
                Code::ProviderSchemaMismatch,
                Ours("the provider's answer is not in the expected form"),
            ),
        };
        let busy_for = (code == Code::CapacityExhausted).then(|| {
            retry_after.map_or(BUSY_DEFAULT, Duration::from_secs).clamp(BUSY_DEFAULT, BUSY_MAX)
        });
        let cause = said.kind.unwrap_or("refused");
        Self { blame, retry, code, message, cause, status: Some(status), busy_for }
    }

    /// An error that an engine reported in its answer, by its own word and sentence.
    pub(crate) fn reported(status: u16, kind: &str, message: &str) -> Self {
        let text = format!("{kind}: {message}");
        Self::refused(status, &Said { status: None, kind: cause::known(kind), text }, None)
    }

    /// The error for a caller.
    #[must_use]
    pub fn fault(&self) -> Fault {
        let fault = match &self.message {
            Message::Ours(text) => Fault::new(self.code, *text),
            Message::Theirs(text) => Fault::new(self.code, text.clone()),
        };
        match self.busy_for {
            Some(wait) => fault.retry_after(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX)),
            None => fault,
        }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.message {
            Message::Ours(text) => text,
            Message::Theirs(_) => REFUSED,
        })?;
        if let Some(status) = self.status {
            write!(f, " (status {status})")?;
        }
        write!(f, ": {}", self.cause)
    }
}

impl std::error::Error for EngineError {}

/// The members by which the known engines report an error in a JSON body.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Report<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<Cow<'a, str>>,
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
}

/// What an engine says of an error.
#[derive(Default)]
pub(crate) struct Said {
    /// The status that it stands for.
    pub(crate) status: Option<u16>,
    /// The engine's word for it, where it is a known one.
    pub(crate) kind: Option<&'static str>,
    /// The engine's sentence: at most for the client that caused it.
    pub(crate) text: String,
}

/// Reads an error report: `{"error":"..."}`, `{"error":{"message","code","type"}}`,
/// `{"object":"error","message"}`, `{"type":"error","error":{..}}`. `None` where the text is no
/// JSON object or reports no error.
pub(crate) fn read_report(json: &[u8]) -> Option<Said> {
    let report: Report<'_> = serde_json::from_slice(json).ok()?;
    let flagged =
        [&report.object, &report.r#type].into_iter().flatten().any(|kind| kind == "error");
    let inner = report.error.filter(|value| value.get() != "null");
    if inner.is_none() && !flagged {
        return None;
    }
    Some(inner.map_or_else(|| said(&report), |value| read_value(value.get())))
}

/// The same, of a body that is known to be a refusal: FastAPI's `{"detail":..}` and a bare
/// `{"message":..}` count as well, and a text that is no JSON speaks for itself.
pub(crate) fn read_refusal(body: &[u8]) -> Said {
    read_report(body).unwrap_or_else(|| match serde_json::from_slice::<Report<'_>>(body) {
        Ok(report) => said(&report),
        Err(_) => Said { text: String::from_utf8_lossy(body).into_owned(), ..Said::default() },
    })
}

fn read_value(value: &str) -> Said {
    if let Ok(text) = serde_json::from_str::<String>(value) {
        return Said { text, ..Said::default() };
    }
    match serde_json::from_str::<Report<'_>>(value) {
        Ok(report) => said(&report),
        Err(_) => Said { text: value.to_owned(), ..Said::default() },
    }
}

fn said(report: &Report<'_>) -> Said {
    let number = report.code.and_then(|code| code.get().trim_matches('"').parse::<u16>().ok());
    let status = number
        .filter(|status| (400..600).contains(status))
        .or_else(|| report.r#type.as_deref().and_then(status_of_type));
    let text = match (&report.message, report.detail) {
        (Some(text), _) => text.clone().into_owned(),
        (None, Some(detail)) => {
            serde_json::from_str::<String>(detail.get()).unwrap_or_else(|_| detail.get().to_owned())
        }
        (None, None) => String::new(),
    };
    let code = report.code.map(|code| code.get().trim_matches('"'));
    let kind = report.r#type.as_deref().and_then(cause::known).or_else(|| cause::known(code?));
    Said { status, kind, text }
}

/// The status that an error type of OpenAI or Anthropic stands for.
fn status_of_type(kind: &str) -> Option<u16> {
    Some(match kind {
        "invalid_request_error" | "BadRequestError" => 400,
        "authentication_error" => 401,
        "permission_error" => 403,
        "not_found_error" | "NotFoundError" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "unavailable_error" => 503,
        "overloaded_error" => 529,
        _ => return None,
    })
}

/// A foreign text as it may be shown: at most [`MESSAGE_MAX_BYTES`], line breaks as blanks, no
/// control characters.
fn printable(text: &str) -> String {
    let mut kept = String::with_capacity(text.len().min(MESSAGE_MAX_BYTES));
    for c in text.trim().chars() {
        let c = match c {
            '\n' | '\r' | '\t' => ' ',
            // Bidirectional overrides and other invisible characters forge what a terminal shows.
            c if c.is_control() || is_invisible(c) => continue,
            c => c,
        };
        if kept.len() + c.len_utf8() > MESSAGE_MAX_BYTES {
            break;
        }
        kept.push(c);
    }
    kept
}

const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, text: &str) -> EngineError {
        EngineError::refused(status, &Said { text: text.to_owned(), ..Said::default() }, None)
    }

    #[test]
    fn a_wrong_request_is_the_clients_also_where_an_engine_says_500() {
        for said in [
            "image input is not supported - hint: you may need to provide the mmproj",
            "Failed to parse tools: Missing tool type: {}",
        ] {
            let error = refused(500, said);
            assert_eq!((error.blame, error.retry), (Blame::Client, Retry::Never), "{said}");
            assert_eq!((error.code, &*error.fault().message), (Code::UpstreamInvalidRequest, said));
        }
        let error = refused(502, "Failed to parse tools");
        assert_eq!(error.blame, Blame::Backend, "a proxy's own failure");
        assert_eq!(refused(500, "out of memory").blame, Blame::Backend);
    }
}
