//! A look at the first event of a stream, before anything of it is shown.
//!
//! An engine may answer 200 and then report an error as its first event, or send a login page. As
//! long as the client has seen nothing such an answer can still be a failure that another backend
//! makes good, so the head of the stream is judged here.

use super::error::{EngineError, read_report};
use crate::wire::Dialect;

/// How much of a stream is looked at for its first event, in bytes. A longer first event passes
/// unjudged; the translator reads it anyway.
pub(crate) const HEAD_MAX_BYTES: usize = 64 * 1024;

/// What the head of a stream says.
pub(crate) enum Head {
    /// Not enough yet.
    More,
    /// The first event is no error.
    Good,
    /// It is an error, or no event at all.
    Bad(EngineError),
}

/// Judges the bytes received so far.
pub(crate) fn judge(dialect: Dialect, head: &[u8]) -> Head {
    let mut rest = head;
    while let Some(end) = rest.iter().position(|&b| b == b'\n') {
        let line = rest[..end].trim_ascii();
        rest = &rest[end + 1..];
        let verdict = match dialect {
            Dialect::Openai | Dialect::Anthropic => sse_line(line),
            Dialect::Ollama => json_line(line),
        };
        if !matches!(verdict, Head::More) {
            return verdict;
        }
    }
    // A page or a bare JSON error has no reason to contain a line end early.
    match rest.trim_ascii_start().first() {
        Some(b'<') => not_an_event(),
        _ if head.len() >= HEAD_MAX_BYTES => Head::Good,
        _ => Head::More,
    }
}

/// Judges a stream that ended before its first event was complete.
pub(crate) fn judge_end(dialect: Dialect, head: &[u8]) -> Head {
    let line = head.rsplit(|&b| b == b'\n').next().unwrap_or_default().trim_ascii();
    let verdict = match dialect {
        Dialect::Openai | Dialect::Anthropic => sse_line(line),
        Dialect::Ollama => json_line(line),
    };
    match verdict {
        Head::More => Head::Bad(EngineError::mismatch("the stream ended before its first event")),
        known => known,
    }
}

fn sse_line(line: &[u8]) -> Head {
    let Some(payload) = line.strip_prefix(b"data:") else {
        // Blank lines, comments and the other fields of an event say nothing yet; a line that
        // begins like JSON or a page belongs to no event stream.
        return match line.first() {
            Some(b'{') => reported(line).map_or_else(not_an_event, Head::Bad),
            Some(b'<') => not_an_event(),
            _ => Head::More,
        };
    };
    let payload = payload.trim_ascii();
    match payload.first() {
        None => Head::More,
        Some(b'{') => reported(payload).map_or(Head::Good, Head::Bad),
        Some(_) if payload == b"[DONE]" => Head::Good,
        Some(_) => not_an_event(),
    }
}

fn json_line(line: &[u8]) -> Head {
    match line.first() {
        None => Head::More,
        Some(b'{') => reported(line).map_or(Head::Good, Head::Bad),
        Some(_) => not_an_event(),
    }
}

fn not_an_event() -> Head {
    Head::Bad(EngineError::mismatch("something else than an event"))
}

/// The error that a JSON text reports, if it does. Without a status of its own it counts as 500.
pub(crate) fn reported(json: &[u8]) -> Option<EngineError> {
    // Most first events hold no such word; this keeps them from being parsed twice.
    if !json.windows(5).any(|word| word == b"error") {
        return None;
    }
    let said = read_report(json)?;
    Some(EngineError::refused(said.status.unwrap_or(500), &said, None))
}
